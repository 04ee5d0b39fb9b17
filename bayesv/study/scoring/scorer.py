"""Scores of one estimate against the truth, as rows of the result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.linalg import block_diag
from scipy.special import ndtri, stdtrit

from bayesv.covariance import ComponentDraws, KenwardRoger, kenward_roger
from bayesv.covariance.sandwich import robust
from bayesv.design.design import Design
from bayesv.errors import BayesvError
from bayesv.linalg import Array
from bayesv.model import Model
from bayesv.study.estimation.estimate import Estimate
from bayesv.study.results.row import Row
from bayesv.study.scoring.estimands import Estimands, interval
from bayesv.study.scoring.losses import Losses
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

    def __call__(self, replicate: Replicate, estimate: Estimate) -> list[Row]:
        """Return the rows of one estimate."""
        model = replicate.model
        known = self._of(model, replicate.truth)
        rows = [Row("status", name, "", _NAN, float(on)) for name, on in estimate.flags.items()]
        kr = self._kenward_roger(model, estimate)
        rows += self._scalars(known, model.design, estimate, kr)
        if known.losses is not None:
            losses = known.losses(estimate.components)
            why = known.losses.missing
            rows += [
                Row("loss", name, "", 0.0, losses[name], message=why) for name in self.scores.losses
            ]
        rows += self._fixed(known, model.design, estimate, kr)
        return rows

    def check(self, replicate: Replicate) -> None:
        """Raise the error that the scores have with a design, if any."""
        self._of(replicate.model, replicate.truth)

    def _of(self, model: Model, truth: Truth) -> _Known:
        known = self._known
        if known is None or not known.same(model.design, truth):
            known = self._known = _Known(model, truth, self.scores)
        return known

    def _kenward_roger(self, model: Model, estimate: Estimate) -> KenwardRoger | str | None:
        """Return what follows from REML's information, or why it does not exist."""
        if not (estimate.reml and model.design.p):
            return None
        try:
            return kenward_roger(model.design, estimate.components)
        except BayesvError as error:
            return str(error)

    def _scalars(
        self, known: _Known, design: Design, estimate: Estimate, kr: KenwardRoger | str | None
    ) -> list[Row]:
        estimands = known.estimands
        point = ComponentDraws.of(design, estimate.components, estimate.beta).flat
        values = estimands(point)[0]
        se = low = high = np.full(len(values), _NAN)
        method = "Wald" if kr is not None else ""  # also where it gives no interval
        if (post := estimate.draws) is not None:
            drawn = estimands(post.values.flat)
            method, se = "posterior", drawn.std(axis=0, ddof=1)
            low, high = np.quantile(drawn, _ends(self.scores.prob), axis=0)
        elif isinstance(kr, KenwardRoger) and not estimate.flags["singular"]:
            # At the boundary the estimate is not approximately normal on any scale.
            # REML's estimates of (Σ, σ²) and of β are asymptotically independent.
            spread = block_diag(kr.W, estimate.cov_beta)
            slopes = estimands.slopes(point, np.sqrt(np.diagonal(estimate.cov_beta)))
            with np.errstate(invalid="ignore"):
                se = np.sqrt(np.einsum("ik,ij,jk->k", slopes, spread, slopes))
            se[_moved_along(kr.aliased, slopes)] = _NAN
            low, high = interval(values, se, estimands.list, self.z)
        columns = (known.truth, values, se, low, high)
        return [
            Row(estimand.kind, estimand.name, method, true, value, s, _NAN, a, b)
            for estimand, true, value, s, a, b in zip(
                estimands.list, *(column.tolist() for column in columns), strict=True
            )
        ]

    def _fixed(
        self, known: _Known, design: Design, estimate: Estimate, kr: KenwardRoger | str | None
    ) -> Iterator[Row]:
        """Rows of β by each method."""
        methods, prob = self.scores.beta, self.scores.prob
        for method in methods:
            df: Any = np.full(design.p, np.inf)
            beta, why, cov = estimate.beta, "", estimate.cov_beta
            if method == "posterior":
                if estimate.draws is None:
                    continue
                drawn = estimate.draws.values.flat.beta
                low, high = np.quantile(drawn, _ends(prob), axis=0)
                columns = (drawn.mean(axis=0), drawn.std(axis=0, ddof=1), df * _NAN, low, high)
                yield from _rows(known, design, method, columns, why)
                continue
            if method in ("Satterthwaite", "Kenward–Roger"):
                if kr is None:
                    continue
                if isinstance(kr, str):
                    cov, why = np.full_like(cov, _NAN), kr
                elif method == "Satterthwaite":
                    cov, df = kr.cov_plugin.to_numpy(), kr.df_satterthwaite.to_numpy()
                else:
                    cov, df = kr.cov.to_numpy(), kr.df.to_numpy()
            elif method == "CR2":
                if estimate.draws is not None:
                    continue
                try:
                    cr = robust(design, estimate.components)
                    cov, df = cr.cov.to_numpy(), cr.df.to_numpy()
                except BayesvError as error:
                    cov, why = np.full_like(cov, _NAN), str(error)
            with np.errstate(invalid="ignore"):
                se = np.sqrt(np.diagonal(cov))
            half = se * np.where(
                np.isinf(df), self.z, stdtrit(np.where(np.isinf(df), 1.0, df), (1 + prob) / 2)
            )
            yield from _rows(known, design, method, (beta, se, df, beta - half, beta + half), why)


class _Known:
    """What design and truth say before there is an estimate."""

    def __init__(self, model: Model, truth: Truth, scores: Scores) -> None:
        self.terms, self.of = model.design.terms, truth
        self.estimands = Estimands(model.design, model.statistics, scores)
        self.truth = self.estimands.truth(truth)
        self.beta = truth.beta.reindex(list(model.design.fixed_names)).to_numpy(dtype=float)
        self.losses = Losses(model.design, truth) if scores.losses else None

    def same(self, design: Design, truth: Truth) -> bool:
        """Whether all that was computed holds for them too."""
        return design.terms is self.terms and truth is self.of


def _moved_along(aliased: Any, slopes: Any) -> Any:
    """Which estimands change along directions in which V does not: the data cannot know them."""
    slopes = slopes[: len(aliased)]
    size = np.abs(aliased).T @ np.abs(slopes)
    moved = np.abs(aliased.T @ slopes) > _ROUNDING * np.where(size > 0, size, 1.0)
    return moved.any(axis=0)


def _rows(
    known: _Known, design: Design, method: str, columns: tuple[Array, ...], why: str
) -> Iterator[Row]:
    for name, true, value, se, df, low, high in zip(
        design.fixed_names, known.beta.tolist(), *(c.tolist() for c in columns), strict=True
    ):
        yield Row("beta", f"beta {name}", method, true, value, se, df, low, high, why)


def _ends(prob: float) -> list[float]:
    return [(1 - prob) / 2, (1 + prob) / 2]
