"""Scores of one estimate against the truth, as rows of the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy.linalg import block_diag
from scipy.special import ndtri

from bayesv.covariance import ComponentDraws, KenwardRoger
from bayesv.design.design import Design
from bayesv.model import Model
from bayesv.study.estimation.estimate import Estimate, Mixture
from bayesv.study.results.row import Row
from bayesv.study.scoring.estimands import Estimands, interval
from bayesv.study.scoring.fixed import FixedEffects, approximation, combined, drawn, of_reml
from bayesv.study.scoring.losses import Losses
from bayesv.study.scoring.mixtures import fixed_of_mixture, scalars_of_mixture, weights_of
from bayesv.study.scoring.scores import Scores
from bayesv.study.simulation.replicate import Replicate, Truth

__all__ = ["Scorer"]

_NAN = float("nan")
_ROUNDING = 1e-4  # of slopes by differences, relative to their size


class Scorer:
    """Scores estimates; what depends on design and truth alone is computed once for both.

    Parameters
    ----------
    scores : Scores
    """

    def __init__(self, scores: Scores) -> None:
        self.scores = scores
        self.z = float(ndtri((1 + scores.prob) / 2))
        self._known: _Known | None = None

    def __call__(self, replicate: Replicate, estimate: Estimate | Mixture) -> list[Row]:
        """Return the rows of one estimate."""
        known = self._of(replicate.model, replicate.truth)
        rows = [Row("status", name, "", _NAN, float(on)) for name, on in estimate.flags.items()]
        if isinstance(estimate, Mixture):
            return rows + list(self._of_mixture(known, replicate, estimate))
        kr = of_reml(estimate)
        rows += self._scalars(known, estimate, kr)
        if known.losses is not None:
            rows += self._lost(known.losses(estimate.components), known.losses.missing)
        prob = self.scores.prob
        for method in self.scores.beta:
            if method == "posterior":
                draws = [] if estimate.draws is None else [estimate.draws.values.flat.beta]
                scored = drawn(draws, np.ones(1), prob) if draws else None
            else:
                approximate = approximation(method, estimate, kr)
                parts = [] if approximate is None else [approximate]
                scored = combined(parts, np.ones(1), prob) if parts else None
            if scored is not None:
                rows += _rows(known, replicate.model.design, method, scored)
        return rows

    def _of_mixture(self, known: _Known, replicate: Replicate, mixture: Mixture) -> Iterator[Row]:
        """Yield the rows of an average over structures: weights, V, losses of it, and β."""
        design, truth = replicate.model.design, replicate.truth
        yield from weights_of(mixture)
        yield from scalars_of_mixture(mixture, self.scores, truth)
        if (losses := known.losses) is not None:
            designs = [part.model.design for part in mixture.parts]
            if not losses.covers(designs):
                losses = Losses(design, truth, also=designs)
            parts = [(part.model.design, part.components) for part in mixture.parts]
            yield from self._lost(losses.of_mean(parts, mixture.weights), losses.missing)
        for method, scored in fixed_of_mixture(mixture, self.scores):
            yield from _rows(known, design, method, scored)

    def _lost(self, losses: Mapping[str, float], why: str) -> Iterator[Row]:
        for name in self.scores.losses:
            yield Row("loss", name, "", 0.0, losses[name], message=why)

    def check(self, replicate: Replicate) -> None:
        """Raise the error that the scores have with a design, if any."""
        self._of(replicate.model, replicate.truth)

    def _of(self, model: Model, truth: Truth) -> _Known:
        known = self._known
        if known is None or not known.same(model.design, truth):
            known = self._known = _Known(model, truth, self.scores)
        return known

    def _scalars(
        self, known: _Known, estimate: Estimate, kr: KenwardRoger | str | None
    ) -> list[Row]:
        estimands, design = known.estimands, estimate.model.design
        point = ComponentDraws.with_parameters(design, estimate.components, estimate.beta).flat
        method = "Wald" if kr is not None else ""  # also where it gives no interval
        if (post := estimate.draws) is not None:
            values, draws = estimands.with_draws(point, post.values)
            method, se = "posterior", draws.std(axis=0, ddof=1)
            low, high = np.quantile(draws, _ends(self.scores.prob), axis=0)
        elif (
            isinstance(kr, KenwardRoger) and estimands.has_slopes and not estimate.flags["singular"]
        ):
            # At the boundary the estimate is not approximately normal on any scale.
            # REML's estimates of (Σ, σ²) and of β are asymptotically independent.
            spread = block_diag(kr.W, estimate.cov_beta)
            steps = np.sqrt(np.diagonal(estimate.cov_beta))
            values, slopes = estimands.with_slopes(point, steps)
            with np.errstate(invalid="ignore"):
                se = np.sqrt(np.einsum("ik,ij,jk->k", slopes, spread, slopes))
            se[_moved_along(kr.aliased, slopes)] = _NAN
            low, high = interval(values, se, estimands.list, self.z)
        else:
            values = estimands(point)[0]
            se = low = high = np.full(len(values), _NAN)
        true = np.array([known.truth.get(estimand, _NAN) for estimand in estimands.list])
        columns = (true, values, se, low, high)
        return [
            Row(estimand.kind, estimand.name, method, true, value, s, _NAN, a, b)
            for estimand, true, value, s, a, b in zip(
                estimands.list, *(column.tolist() for column in columns), strict=True
            )
        ]


class _Known:
    """What design and truth say before there is an estimate."""

    def __init__(self, model: Model, truth: Truth, scores: Scores) -> None:
        self.terms, self.residual, self.of = model.design.terms, model.design.residual, truth
        self.estimands = Estimands(model.design, model.density.statistics, scores)
        self.truth = self.estimands.truth(truth)
        self.beta = truth.beta.reindex(list(model.design.fixed_names)).to_numpy(dtype=float)
        self.losses = Losses(model.design, truth) if scores.losses else None

    def same(self, design: Design, truth: Truth) -> bool:
        """Whether all that was computed holds for them too."""
        same = design.terms is self.terms and design.residual is self.residual
        return same and truth is self.of


def _moved_along(aliased: Any, slopes: Any) -> Any:
    """Which estimands change along directions in which V does not: the data cannot know them."""
    slopes = slopes[: len(aliased)]
    size = np.abs(aliased).T @ np.abs(slopes)
    moved = np.abs(aliased.T @ slopes) > _ROUNDING * np.where(size > 0, size, 1.0)
    return moved.any(axis=0)


def _rows(known: _Known, design: Design, method: str, scored: FixedEffects) -> Iterator[Row]:
    numbers = (known.beta, *scored[:-1])
    for name, true, value, se, df, low, high in zip(
        design.fixed_names, *(column.tolist() for column in numbers), strict=True
    ):
        yield Row("beta", f"beta {name}", method, true, value, se, df, low, high, scored.why)


def _ends(prob: float) -> list[float]:
    return [(1 - prob) / 2, (1 + prob) / 2]
