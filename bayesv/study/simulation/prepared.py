"""A scenario with a seed: its replicates, each the same whoever makes it and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance import ComponentDraws, VarianceComponents
from bayesv.design.design import Design
from bayesv.errors import ScenarioError
from bayesv.formula import build
from bayesv.model import Model
from bayesv.posterior.posterior import Posterior
from bayesv.study.declared.content import ScenarioContent
from bayesv.study.declared.reading import number
from bayesv.study.simulation.parameters import chosen_beta, chosen_components, fit_columns
from bayesv.study.simulation.replicate import Replicate
from bayesv.study.simulation.rows import DrawnRows, draw_rows
from bayesv.study.simulation.simulator import Parameters, Simulator, autoregression

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
        parameters = setting.parameters_of(k)
        y = setting.simulator.draw(parameters, np.random.default_rng(of_response))
        seed = int(of_fits.generate_state(1)[0]) >> 1
        return Replicate(setting.model.with_response(y), parameters.truth, k, seed)


@dataclass(frozen=True, eq=False)
class DrawnDesign:
    """One design with what responses are simulated from.

    Attributes
    ----------
    model : Model
        The fitted formula on the design, with whatever response.
    simulator : Simulator
    source : Parameters or PosteriorTruths
        Of all replicates, or of which each takes another.
    """

    model: Model
    simulator: Simulator
    source: Parameters | PosteriorTruths

    @classmethod
    def draw(cls, scenario: ScenarioContent, sequence: np.random.SeedSequence) -> DrawnDesign:
        """Draw rows, evaluate the formulas and find the parameters."""
        rng = np.random.default_rng(sequence)
        rows = draw_rows(scenario, rng)
        model, design, rows = _designs(scenario, rows)
        root = None
        if scenario.ar1 is not None and rows.series is not None and rows.times is not None:
            root = autoregression(scenario.ar1["rho"], rows.series, rows.times)
        simulator = Simulator(
            design, model.design, rows.scale, root, scenario.effects, scenario.errors
        )
        given = scenario.true_parameters
        if isinstance(given, Posterior):
            return cls(model, simulator, PosteriorTruths.of(given, design, rng))
        if given is None:
            beta, vc = chosen_beta(scenario, design), chosen_components(scenario, design)
        else:
            values = given.beta.to_numpy()[fit_columns(given, design)]
            beta, vc = pd.Series(values, list(design.fixed_names)), given.components
        return cls(model, simulator, simulator.parameters(beta, vc))

    def parameters_of(self, k: int) -> Parameters:
        """Return the parameters of replicate k."""
        if isinstance(self.source, Parameters):
            return self.source
        return self.simulator.parameters(*self.source.of_replicate(k))


@dataclass(frozen=True, eq=False)
class PosteriorTruths:
    """Draws from a posterior, each the truth of a replicate.

    Attributes
    ----------
    values : ComponentDraws, shape (S,)
        Of the posterior's design, in an order of their own.
    beta : DataFrame, shape (S, p)
        Of the true design.
    """

    values: ComponentDraws
    beta: pd.DataFrame

    @classmethod
    def of(cls, post: Posterior, design: Design, rng: np.random.Generator) -> PosteriorTruths:
        """Take the draws of a posterior in random order, with the coefficients of a design."""
        draws = post.values.flat
        values = draws.take(rng.permutation(draws.size))
        beta = values.beta[:, fit_columns(post, design)]
        return cls(values, pd.DataFrame(beta, columns=list(design.fixed_names)))

    def of_replicate(self, k: int) -> tuple[pd.Series, VarianceComponents]:
        """Return β and the components of replicate k."""
        i = k % self.values.size
        return self.beta.iloc[i], self.values.components(i)


def _designs(scenario: ScenarioContent, rows: DrawnRows) -> tuple[Model, Design, DrawnRows]:
    """Return the fitted model, the true design, and the rows that both have."""
    frame = rows.frame
    response = scenario.response
    if response.isidentifier() and response not in frame.columns:
        frame = frame.assign(**{response: np.arange(len(frame)) % 2.0})
    model = Model(scenario.formula, frame, var_weights=rows.weights)
    kept = model.design.rows
    rows = rows.take(kept)
    if scenario.truth_formula is None:
        return model, model.design, rows
    design, _ = build(scenario.truth_formula, frame.iloc[kept], rows.weights)
    if design.n != len(kept):
        raise ScenarioError(
            f"truth_formula: {len(kept) - design.n} rows that the formula uses lack a value of it; "
            "drop them from the data."
        )
    return model, design, rows
