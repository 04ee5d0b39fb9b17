"""What all replicates share: where parameters come from, what is simulated, and what is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance import ComponentDraws
from bayesv.design.design import Design, RandomTerm
from bayesv.design.simulation import normal_scores, simulate
from bayesv.errors import BayesvError, PriorError
from bayesv.formula import ModelFrame
from bayesv.formula.frame import as_factor
from bayesv.linalg import Array
from bayesv.model import Model
from bayesv.posterior.posterior import Posterior
from bayesv.priors.draws import draw_prior
from bayesv.priors.families import Flat

__all__ = [
    "Drawn",
    "Setting",
    "drawn_of",
    "posterior_setting",
    "prior_setting",
    "stacked",
]


@dataclass(frozen=True, eq=False)
class Drawn:
    """S values of everything that is drawn.

    Attributes
    ----------
    values : ComponentDraws, shape (S,)
    u : mapping of group to ndarray, shape (S, J, r)
        Empty where random effects are not looked at.
    """

    values: ComponentDraws
    u: Mapping[str, Array]

    def followed_by(self, other: Drawn) -> Drawn:
        """Return both, one after the other; with u if the other has it."""
        u = {group: np.concatenate([self.u[group], x]) for group, x in other.u.items()}
        return Drawn(self.values.followed_by(other.values), u)


def drawn_of(post: Posterior, each: slice, *, keep_u: bool = False) -> Drawn:
    """Return some draws of every chain, chain after chain."""
    kept = (slice(None), each)
    u = {group: x[kept].reshape(-1, *x.shape[2:]) for group, x in post.u.items()} if keep_u else {}
    return Drawn(post.values.take(kept).flat, u)


@dataclass(frozen=True, eq=False)
class Setting:
    """What all replicates share.

    Attributes
    ----------
    simulated : Design
        Rows that get a simulated response.
    template : Model
        What is fitted, but for the response. The simulated rows are its last and their levels the
        last ones. Its priors are stated one by one, so that none moves with the data.
    truths : ComponentDraws or None
        Draws of p(θ | y_obs) that replicates start from, one each; None: draws from the priors.
    """

    simulated: Design
    template: Model
    truths: ComponentDraws | None

    def replicate(self, k: int, rng: np.random.Generator) -> tuple[Drawn, Model]:
        """Return parameters, one of each, and the model of data simulated from them."""
        if self.truths is None:
            truth = draw_prior(self.template.priors, 1, rng)
        else:
            truth = self.truths.take(slice(k, k + 1))
        rows, scores = self._rows_at(truth.take(0)), normal_scores(self.simulated, rng)
        y, effects = simulate(rows, truth.take(0), scores)
        y = np.concatenate([self.template.design.y[: -len(y)], y])
        model = self.template.with_response(y)
        u = {
            group: self._after_old(group, v)
            for group, v in zip(self.simulated.groups, effects, strict=True)
        }
        return Drawn(replace(truth, design=model.design), u), model

    def _rows_at(self, point: ComponentDraws) -> Design:
        """Return the simulated rows with R/σ² at a point, where residuals have parameters."""
        form = self.simulated.structured_residual
        if form is None or point.residual is None:
            return self.simulated
        return self.simulated.with_residual(form.member_of(point.residual))

    def _after_old(self, group: str, u: Array) -> Array:
        """Effects of all fitted levels, shape (1, J, r); those of levels of y_obs are not known."""
        effects = np.full((1, self.template.design.term(group).n_levels, u.shape[1]), np.nan)
        effects[0, -len(u) :] = u
        return effects


def prior_setting(model: Model, engine: str) -> Setting:
    """Parameters from the priors, data of the user's design; see `sbc`."""
    priors, design = model.priors, model.design
    flat = [
        name
        for name, prior in zip(design.fixed_names, priors.beta, strict=True)
        if isinstance(prior, Flat)
    ]
    if flat:
        raise PriorError(
            f"The prior of {', '.join(flat)} is flat and has no draws. For kind='prior' give every "
            "fixed effect a proper one, such as bv.Priors(beta=bv.Normal(0, 10)), or calibrate "
            "around the data, where flat ones are fine: kind='posterior'."
        )
    flat_sds = [
        group
        for group, of_group in [*priors.sd.items(), ("Residual", (priors.sigma,))]
        if any(isinstance(prior, Flat) for prior in of_group)
    ]
    if flat_sds:
        raise PriorError(
            f"The prior of an SD of {', '.join(flat_sds)} is flat and has no draws. Give a proper "
            "one, such as bv.HalfStudentT(3, scale), or use kind='posterior'."
        )
    return Setting(design, _template(model, design, engine), None)


def posterior_setting(
    model: Model, posterior: Posterior, replicates: int, order: np.random.Generator, engine: str
) -> Setting:
    """Parameters from the posterior in random order, new data beside the user's; see `sbc`."""
    design = model.design
    S = posterior.sigma2.size
    if replicates > S:
        raise BayesvError(
            f"{replicates} replicates start from as many draws of the posterior, which has {S}; "
            "sample more of them, or ask for fewer replicates."
        )
    # Neighbours in a chain are apart, and the k-th does not depend on how many are used.
    chosen = order.permutation(S)[:replicates]
    truths = posterior.values.flat.take(chosen)
    return Setting(design, _template(model, stacked(design), engine), truths)


def stacked(design: Design) -> Design:
    """Return the design's rows twice, the second time with levels of their own."""

    def twice(x: Array | None) -> Array | None:
        return None if x is None else np.concatenate([x, x])

    terms = tuple(
        RandomTerm(
            term.group,
            term.columns,
            np.concatenate([term.levels, _new(term.levels)]),
            np.concatenate([term.codes, term.codes + term.n_levels]),
            np.concatenate([term.values, term.values]),
            term.structure,
        )
        for term in design.terms
    )
    if related := [term.group for term in design.terms if term.relationship is not None]:
        raise BayesvError(
            f"Levels of {related[0]!r} have a known relationship, and a second copy of the rows "
            "has levels that are not in it: calibration given data is there for levels that are "
            "not related."
        )
    if design.residual.clusters is not None:
        raise BayesvError(
            "Residuals are correlated within series, and a second copy of the rows would belong to "
            "the same series: calibration given data is there for uncorrelated residuals."
        )
    return replace(
        design,
        y=np.concatenate([design.y, design.y]),
        X=np.concatenate([design.X, design.X]),
        terms=terms,
        residual=design.residual.take(np.tile(np.arange(design.n), 2)),
        offset=twice(design.offset),
        rows=np.arange(2 * design.n),
        row_labels=design.row_labels.append(pd.Index(_new(design.row_labels), dtype=object)),
        n_rows_given=2 * design.n,
    )


def _new(labels: Any) -> Any:
    """Labels of the second copy: as the first, with more primes than any of those has."""
    texts = [str(label) for label in labels]
    primes = "'" * (1 + max(len(text) - len(text.rstrip("'")) for text in texts))
    return np.array([text + primes for text in texts], dtype=object)


def _template(model: Model, design: Design, engine: str) -> Model:
    """Return the model of these rows with every prior stated; Bambi's is read from its formula."""
    priors = model.priors.stated()
    if engine != "bambi":
        return Model.from_design(design, priors)
    if not design.residual.iid:
        raise BayesvError("Bambi cannot state known weights; use another engine.")
    frame = model.frame.with_response(model.design.y)  # says so if the response is no column
    data = frame.data if design is model.design else _stacked_frame(frame)
    template = Model(frame.formula.text, data, priors, namespace=frame.namespace)
    if not np.allclose(template.design.X, design.X, rtol=1e-12):
        raise BayesvError(
            "A function in the formula takes other values when rows are added, such as scale() or "
            "poly(), or a grouping factor is a fixed effect as well. Compute such columns "
            "beforehand, or use another engine than bambi."
        )
    return template


def _stacked_frame(frame: ModelFrame) -> pd.DataFrame:
    """Return the frame's rows twice, the second time with levels of their own."""
    old, new = frame.data, frame.data
    for name in {factor for term in frame.formula.random for factor in term.factors}:
        factor = as_factor(frame.data[name])
        labels = [*factor.categories, *_new(factor.categories)]
        first, second = factor.codes, factor.codes + len(factor.categories)
        old = old.assign(**{name: pd.Categorical.from_codes(first, labels, ordered=True)})
        new = new.assign(**{name: pd.Categorical.from_codes(second, labels, ordered=True)})
    return pd.concat([old, new], ignore_index=True)
