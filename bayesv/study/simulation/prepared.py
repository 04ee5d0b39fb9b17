"""A scenario with a seed: its replicates, each the same whoever makes it and when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.design.design import Design
from bayesv.errors import ScenarioError
from bayesv.formula import build, parse
from bayesv.model import Model
from bayesv.posterior.posterior import Posterior
from bayesv.study.declared.content import ScenarioContent
from bayesv.study.declared.reading import number
from bayesv.study.simulation.parameters import chosen_beta, chosen_components, fit_columns
from bayesv.study.simulation.replicate import Replicate, Truth
from bayesv.study.simulation.rows import DrawnRows, draw_rows
from bayesv.study.simulation.simulator import Simulator, true_residual

__all__ = ["Prepared"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """The replicates of a scenario.

    Attributes
    ----------
    scenario : ScenarioContent
        Mostly a `bayesv.study.Scenario`.
    seed : int
    setting : DrawnDesign or None
        The design that all replicates share; None if each draws its own.

    Notes
    -----
    Replicate k uses ``SeedSequence(seed, spawn_key=(crc, k))`` with the checksum of what the
    scenario simulates, the shared design ``spawn_key=(crc,)``. Nothing depends on order, on
    workers, on the scenario's name, or on other scenarios of a grid.

    Examples
    --------
    >>> from bayesv.study import Scenario
    >>> scenario = Scenario(name="few", formula="y ~ 1 + (1 | g)", levels={"g": 4}, rows=3,
    ...                     sd={"g": 1}, sigma=2)
    >>> prepared = scenario.prepare(seed=1)
    >>> bool((prepared.replicate(7).model.design.y == prepared.replicate(7).model.design.y).all())
    True
    """

    scenario: ScenarioContent
    seed: int
    crc: int
    setting: DrawnDesign | None

    @classmethod
    def of(cls, scenario: ScenarioContent, seed: int) -> Prepared:
        """Draw the design that replicates share."""
        seed, crc = int(number("seed", seed, "[0, inf)", whole=True)), scenario.crc
        shared = np.random.SeedSequence(seed, spawn_key=(crc,))
        setting = DrawnDesign.draw(scenario, shared) if scenario.design == "fixed" else None
        return cls(scenario, seed, crc, setting)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process draws the same design: cheaper than to send it.
        return Prepared.of, (self.scenario, self.seed)

    def replicate(self, k: int) -> Replicate:
        """Return the k-th data set with its model and truth.

        Parameters
        ----------
        k : int
            From 0.
        """
        k = int(number("k", k, "[0, inf)", whole=True))
        sequence = np.random.SeedSequence(self.seed, spawn_key=(self.crc, k))
        of_response, of_fits = sequence.spawn(2)
        setting = self.setting
        if setting is None:
            setting = DrawnDesign.draw(self.scenario, sequence.spawn(1)[0])
        y = setting.simulator.draw(setting.point_of(k), np.random.default_rng(of_response))
        seed = int(of_fits.generate_state(1)[0]) >> 1
        return Replicate(setting.model.with_response(y), setting.truth_of(k), k, seed)


@dataclass(frozen=True, eq=False)
class DrawnDesign:
    """One design with what responses are simulated from.

    Attributes
    ----------
    model : Model
        The fitted formula on the design, with whatever response.
    simulator : Simulator
    source : ComponentDraws or PosteriorTruths
        The one point that all replicates share, or those of which each takes another.
    """

    model: Model
    simulator: Simulator
    source: ComponentDraws | PosteriorTruths

    @classmethod
    def draw(cls, scenario: ScenarioContent, sequence: np.random.SeedSequence) -> DrawnDesign:
        """Draw rows, evaluate the formulas and find the parameters."""
        rng = np.random.default_rng(sequence)
        rows = draw_rows(scenario, rng)
        model, design, rows = _designs(scenario, rows)
        residual = design.residual
        if not any((model.design.parametric_residual, design.parametric_residual)):
            rho = None if scenario.ar1 is None else scenario.ar1["rho"]
            residual = true_residual(rows, model.design.residual, rho)
        true = design if residual is design.residual else replace(design, residual=residual)
        simulator = Simulator(true, model.design, scenario.effects, scenario.errors)
        source = scenario.true_parameters
        if isinstance(source, Posterior):
            return cls(model, simulator, PosteriorTruths.of(source, true, rng))
        if source is None:
            beta = chosen_beta(scenario, design).to_numpy()
            vc = chosen_components(scenario, true)
        else:
            beta, vc = source.beta.to_numpy()[fit_columns(source, design)], source.components
        return cls(model, simulator, ComponentDraws.with_parameters(true, vc, beta))

    def point_of(self, k: int) -> ComponentDraws:
        """Return the parameters of replicate k, in the columns of the true design."""
        return self.source if isinstance(self.source, ComponentDraws) else self.source.point(k)

    def truth_of(self, k: int) -> Truth:
        """Return the truth of replicate k; the same object where replicates share it."""
        if isinstance(self.source, ComponentDraws):
            return self._shared_truth
        return self.simulator.truth(self.point_of(k))

    @cached_property
    def _shared_truth(self) -> Truth:
        return self.simulator.truth(self.point_of(0))


@dataclass(frozen=True, eq=False)
class PosteriorTruths:
    """Draws from a posterior, each the truth of a replicate.

    Attributes
    ----------
    values : ComponentDraws, shape (S,)
        Of the posterior's design, in an order of their own.
    columns : list of int
        Of β, for each fixed effect of the true design.
    design : Design
        The true one.
    """

    values: ComponentDraws
    columns: list[int]
    design: Design

    @classmethod
    def of(cls, post: Posterior, design: Design, rng: np.random.Generator) -> PosteriorTruths:
        """Take the draws of a posterior in random order."""
        draws = post.values.flat
        return cls(draws.take(rng.permutation(draws.size)), fit_columns(post, design), design)

    def point(self, k: int) -> ComponentDraws:
        """Return the parameters of replicate k, in the columns of the true design."""
        point = self.values.take(k % self.values.size)
        vc = point.components().aligned(self.design)
        return ComponentDraws.with_parameters(self.design, vc, point.beta[self.columns])


def _related_to(formula: str, relationship: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the relationships of the grouping factors of a formula."""
    groups = {name for term in parse(formula, random=False).random for name in term.factors}
    return {g: K for g, K in (relationship or {}).items() if g in groups} or None


def _designs(scenario: ScenarioContent, rows: DrawnRows) -> tuple[Model, Design, DrawnRows]:
    """Return the fitted model, the true design, and the rows that both have."""
    frame = rows.frame
    response = scenario.response
    if response.isidentifier() and response not in frame.columns:
        frame = frame.assign(**{response: np.arange(len(frame)) % 2.0})
    related = scenario.relationships(frame)
    model = Model(
        scenario.formula,
        frame,
        var_weights=rows.weights,
        residual=scenario.residual,
        residual_sd=scenario.residual_sd,
        relationship=related,
    )
    kept = model.design.rows
    rows = rows.take(kept)
    if not scenario.has_own_truth:
        return model, model.design, rows
    formula = scenario.truth_formula or scenario.formula
    design, _ = build(
        formula,
        frame.iloc[kept],
        rows.weights,
        namespace=None,
        **scenario.true_residual,
        relationship=_related_to(formula, related),
    )
    if design.n != len(kept):
        raise ScenarioError(
            f"truth_formula: {len(kept) - design.n} rows that the formula uses lack a value of it; "
            "drop them from the data."
        )
    own, true = model.design.structured_residual, design.structured_residual
    if own is not None and true is not None and own.equals(true):
        design = design.with_residual(own)  # which says that the fitted one is the true one
    return model, design, rows
