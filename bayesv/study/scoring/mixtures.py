"""Scores of an average over structures of V, or of the one that was chosen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bayesv.comparison.averaged import weighted_quantile
from bayesv.covariance import ComponentDraws
from bayesv.linalg import Array
from bayesv.study.estimation.estimate import Mixture
from bayesv.study.results.row import Row
from bayesv.study.scoring.estimands import OF_ANY_V, Estimand, Estimands
from bayesv.study.scoring.fixed import FixedEffects, approximation, combined, drawn, of_reml
from bayesv.study.scoring.scores import Scores
from bayesv.study.simulation.replicate import Truth

__all__ = ["fixed_of_mixture", "scalars_of_mixture", "weights_of"]

_NAN = float("nan")


def weights_of(mixture: Mixture) -> Iterator[Row]:
    """Yield the weight of each structure."""
    for name, share in mixture.shares.items():
        yield Row("weight", name, "", _NAN, share)


def _of_v(scores: Scores) -> Scores:
    """Return the scores that any V has, whatever its structure."""
    functionals = [name for name in scores.functionals if name in OF_ANY_V]
    return replace(scores, scales=(), functionals=functionals, at={})


def scalars_of_mixture(mixture: Mixture, scores: Scores, truth: Truth) -> Iterator[Row]:
    """Yield elements and functionals of V, with quantiles of the mixture of posteriors."""
    scores = _of_v(scores)
    tails = [(1 - scores.prob) / 2, (1 + scores.prob) / 2]
    values: list[Array] = []
    draws: list[Array] = []
    true: dict[Estimand, float] = {}
    for part in mixture.parts:
        estimands = Estimands(part.model.design, part.model.density.statistics, scores)
        point = ComponentDraws.with_parameters(part.model.design, part.components, part.beta)
        values.append(estimands(point.flat)[0])
        if part.draws is not None:
            draws.append(estimands.of_draws(part.draws.values))
        true = true or estimands.of_any_v(truth)
    estimate = mixture.weights @ np.array(values)
    for k, estimand in enumerate(estimands.list):
        method, se, low, high = "", _NAN, _NAN, _NAN
        if draws:
            each = [x[:, k] for x in draws]
            method, se = "posterior", _sd(each, mixture.weights)
            low, high = weighted_quantile(each, mixture.weights, tails)
        yield Row(
            estimand.kind, estimand.name, method, true[estimand], float(estimate[k]), se, _NAN,
            low, high,
        )  # fmt: skip


def fixed_of_mixture(mixture: Mixture, scores: Scores) -> Iterator[tuple[str, FixedEffects]]:
    """Yield what is scored of β by each method that is for such estimates."""
    parts, weights, prob = mixture.parts, mixture.weights, scores.prob
    adjusted = [of_reml(part) for part in parts]
    for method in scores.beta:
        if method == "posterior":
            draws = [part.draws.values.flat.beta for part in parts if part.draws is not None]
            if draws:
                yield method, drawn(draws, weights, prob)
            continue
        # REML's estimates have draws beside them; CR2 is of the former.
        each = [
            approximation(method, replace(part, draws=None), kr)
            for part, kr in zip(parts, adjusted, strict=True)
        ]
        kept = [one for one in each if one is not None]
        if len(kept) == len(parts):
            yield method, combined(kept, weights, prob)


def _sd(draws: list[Array], weights: Array) -> float:
    means = np.array([x.mean() for x in draws])
    within = np.array([x.var(ddof=1) for x in draws])
    return float(np.sqrt(weights @ (within + (means - weights @ means) ** 2)))
