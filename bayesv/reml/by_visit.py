"""REML and ML of residual covariances over visits, where there are no random effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # .optimize is loaded when it is used

from bayesv.design.series import Series
from bayesv.gram.patterns import visit_sums
from bayesv.linalg import Array, block_diagonal, cov_to_sd_corr
from bayesv.reml.valleys import scattered
from bayesv.structures.structure import CovarianceStructure

__all__ = ["VisitCriterion", "VisitFit", "search_by_visit"]

_DECREMENT = 1e-11  # of the criterion, that another Newton step would take away
_ROUNDS = 5  # of the search, each from where the last one ended
_DECAY, _EQUAL = 0.5, 0.3  # correlations to start from: of neighbours, of all
_FAR = 2.0  # coordinate of a correlation, beyond which a start is near the boundary
_INSIDE = 0.95  # of the correlations of least squares' residuals, to start inside the family
_LEAST_VALUE = 0.05  # eigenvalue of a correlation to start from inside the family
_FLAT = 1e-9  # the same of one to start from near its end
_NOTHING_LEFT = 1e-8  # of the variance of a visit: the criterion falls on, or nearly so
_LARGEST = 340.0  # log SD, whose square is a double


@dataclass(frozen=True, eq=False)
class VisitFit:
    """Where the search ended.

    Attributes
    ----------
    x : ndarray
        See `VisitCriterion`.
    criterion : float
        −2 log (restricted) likelihood.
    converged : bool
    decrement : float
        What another Newton step would take away from the criterion.
    n_evaluations : int
    left : float
        Least share of the variance of a visit that those before it leave to chance.
    falls_elsewhere : bool
        Whether the criterion is lower where that share vanishes, and has no minimum there.
    """

    x: Array
    criterion: float
    converged: bool
    decrement: float
    n_evaluations: int
    left: float
    falls_elsewhere: bool = False


class VisitCriterion:
    """−2 log (restricted) likelihood with V = R, by coordinates x.

    For each group of series with parameters of their own x has the log SDs, then the coordinates of
    the correlation.

    Parameters
    ----------
    series : Series
    X : ndarray, shape (n, p)
        Of full column rank.
    y : ndarray, shape (n,)
        Response less the offset.
    structure : CovarianceStructure
        Of the planned visits.
    weights : ndarray, shape (n,), optional
        Known w: a row's variance is divided by it.
    method : {"REML", "ML"}
    """

    def __init__(
        self,
        series: Series,
        X: Array,
        y: Array,
        structure: CovarianceStructure,
        weights: Array | None = None,
        method: str = "REML",
    ) -> None:
        self.structure, self.method, self.series = structure, method, series
        self.n, self.p = X.shape
        self.df = self.n - (self.p if method == "REML" else 0)
        self.log_weights = 0.0 if weights is None else float(np.log(weights).sum())
        self.n_groups = max(len(series.groups), 1)
        summed = visit_sums(series, structure.size, X, y, weights)
        self.sums, self.upper, self.start, self.rest = summed
        self.n_evaluations = 0

    def parts(self, x: Array) -> tuple[Array, Array]:
        """Return log SDs, shape (groups, n_sds), and coordinates of correlations, (groups, m)."""
        table = x.reshape(self.n_groups, -1)
        return table[:, : self.structure.n_sds], table[:, self.structure.n_sds :]

    def roots(self, x: Array) -> Array:
        """Return DL with R = DLL'D of each group, shape (groups, v, v)."""
        log_sds, z = self.parts(x)
        sds = self.structure.sds(np.exp(log_sds))
        return np.asarray(sds[:, :, None] * self.structure.root(z))

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Return the criterion and its derivative by x; infinity where R is nearly singular."""
        self.n_evaluations += 1
        if not self.parts(x)[0].max() < _LARGEST:
            return np.inf, np.zeros(len(x))
        p, roots = self.p, self.roots(x)
        try:
            done = self.sums.whiten(block_diagonal(roots @ np.swapaxes(roots, 1, 2)))
            half = np.linalg.cholesky(done.T[:p, :p])
        except np.linalg.LinAlgError:
            return np.inf, np.zeros(len(x))
        inverse = np.linalg.inv(half)
        Phi = inverse.T @ inverse
        e = np.append(-Phi @ done.T[:p, p], 1.0)
        value = done.logdet - self.log_weights + float(e @ done.T @ e)
        T_bar = np.outer(e, e)
        if self.method == "REML":
            value += 2.0 * float(np.log(np.diagonal(half)).sum())
            value += 2.0 * float(np.log(np.abs(np.diagonal(self.upper))).sum())
            T_bar[:p, :p] += Phi
        with np.errstate(over="ignore", invalid="ignore"):
            bar = done.gradient(T_bar)
        if not np.isfinite(bar).all():  # a step so long that squares of R⁻¹ are no numbers
            return np.inf, np.zeros(len(x))
        return value + self.df * np.log(2 * np.pi), self._pullback(x, roots, bar)

    def fixed(self, x: Array) -> tuple[Array, Array]:
        """Return β̂ and (X'V⁻¹X)⁻¹."""
        p, roots = self.p, self.roots(x)
        T = self.sums.whiten(block_diagonal(roots @ np.swapaxes(roots, 1, 2))).T
        inverse = np.linalg.inv(np.linalg.cholesky(T[:p, :p]).T)
        half = np.linalg.solve(self.upper, inverse)
        beta = np.linalg.solve(self.upper, self.start) + half @ (inverse.T @ T[:p, p])
        return beta, half @ half.T

    def _pullback(self, x: Array, roots: Array, bar: Array) -> Array:
        """Return the derivative by x of what has derivative ``bar`` by R, symmetric."""
        structure, v = self.structure, self.structure.size
        log_sds, z = self.parts(x)
        sds = structure.sds(np.exp(log_sds))
        slopes = np.empty((self.n_groups, structure.n_sds + structure.n_corrs))
        for k, (root, sd) in enumerate(zip(roots, sds, strict=True)):
            visits = slice(k * v, (k + 1) * v)
            by_root = 2.0 * bar[visits, visits] @ root
            slopes[k, : structure.n_sds] = structure.sds_pullback((by_root * root).sum(axis=1))
            slopes[k, structure.n_sds :] = structure.pullback(z[k], by_root * sd[:, None])
        return slopes.ravel()

    # --- where the search starts, and in which units ----------------------------------------------

    def left(self, x: Array) -> float:
        """Return the least share of the variance of a visit that those before leave to chance."""
        roots = self.structure.root(self.parts(x)[1])
        return float((np.diagonal(roots, axis1=-2, axis2=-1) ** 2).min(initial=1.0))

    def beginnings(self) -> list[Array]:
        """Return points to start from.

        Moments of least squares' residuals, inside the family, and as they are where visits nearly
        determine each other; where the family is no more than a part of all covariances, so that
        there may be several valleys, also correlations that decay with the lag, that are equal, and
        none, and of any family where valleys are to be expected, points at random.
        """
        both = [self._moments(k) for k in range(self.n_groups)]
        moments = [inside for inside, _, _ in both]
        points = [np.concatenate(moments)]
        if min(least for _, _, least in both) < _LEAST_VALUE:
            points.append(np.concatenate([raw for _, raw, _ in both]))
        log_sds = self.parts(np.concatenate(moments))[0]
        points += [
            np.hstack([log_sds, z]).ravel()
            for z in scattered(self.structure, self.n, self.n_groups)
        ]
        if self.structure.free_blocks:
            return points
        lags = np.abs(np.subtract.outer(*[np.arange(self.structure.size)] * 2))
        for corr in (_DECAY**lags, np.where(lags > 0, _EQUAL, 1.0), np.eye(len(lags))):
            z = np.clip(self.structure.coordinates(corr), -_FAR, _FAR)
            points.append(
                np.concatenate([np.append(m[: self.structure.n_sds], z) for m in moments])
            )
        return points

    def _moments(self, group: int) -> tuple[Array, Array, float]:
        """Return SDs and correlations of the residuals of least squares, series by series.

        Inside the family, and as they are; and the least eigenvalue of the latter.
        """
        v, mine = self.structure.size, self.series.group == group
        table = np.full((len(self.series.labels), v), np.nan)
        table[self.series.codes[mine], self.series.visit[mine]] = self.rest[mine]
        seen = np.isfinite(table)
        filled = np.where(seen, table, 0.0)
        counts, products = seen.T.astype(float) @ seen, filled.T @ filled
        overall = float((self.rest**2).mean()) * np.eye(v)
        sds, corr = cov_to_sd_corr((products + overall) / (counts + 1.0))
        free = np.log(self.structure.free_sds(sds))
        corr = np.where(np.eye(v) > 0, 1.0, np.clip(_INSIDE * corr, -0.9, 0.9))
        inside, _ = self._positive(corr, _LEAST_VALUE)
        _, corr = cov_to_sd_corr((products + _FLAT * overall) / np.maximum(counts, 1.0))
        raw, least = self._positive(corr, _FLAT)
        return np.append(free, inside), np.append(free, raw), least

    def _positive(self, corr: Array, least: float) -> tuple[Array, float]:
        """Return coordinates near a correlation with no smaller eigenvalues, and its smallest."""
        values, vectors = np.linalg.eigh(corr)
        _, inside = cov_to_sd_corr((vectors * np.maximum(values, least)) @ vectors.T)
        return self.structure.coordinates(inside), float(values.min(initial=1.0))

    def units(self) -> Array:
        """Return about how far each coordinate may move: it changes the criterion by about 1."""
        structure, counts = self.structure, self.sums.counts.reshape(self.n_groups, -1)
        by_sd = [4.0 * structure.sds_pullback(part) for part in counts]
        pairs = 2.0 * counts.sum(axis=1) / structure.size
        by_z = np.repeat(pairs[:, None], structure.n_corrs, axis=1)
        return np.asarray(1.0 / np.sqrt(np.maximum(np.hstack([by_sd, by_z]), 1.0))).ravel()


def search_by_visit(criterion: VisitCriterion, starts: Sequence[Array] | None = None) -> VisitFit:
    """Minimise the criterion.

    Parameters
    ----------
    criterion : VisitCriterion
    starts : sequence of ndarray, optional
        Points to start from; moments and independence if left out.
    """
    units = criterion.units()
    ends = [
        _descend(criterion, point, units)
        for point in (criterion.beginnings() if starts is None else starts)
    ]
    minima = [end for end in ends if criterion.left(end[1]) > _NOTHING_LEFT]
    lowest = min(end[0] for end in ends)
    value, x, decrement = min(minima or ends, key=lambda end: end[0])
    falls = lowest < value
    for _ in range(_ROUNDS):
        left = criterion.left(x)
        rounding = criterion.n * np.finfo(float).eps / left
        tolerance = max(_DECREMENT * max(1.0, abs(value) * 1e-3), rounding)
        if abs(decrement) < tolerance:
            break
        value, x, decrement = _descend(criterion, x, units)
    converged = bool(abs(decrement) < tolerance)
    left = criterion.left(x)
    return VisitFit(x, value, converged, decrement, criterion.n_evaluations, left, falls)


def _descend(criterion: VisitCriterion, x: Array, units: Array) -> tuple[float, Array, float]:
    """Return the criterion, x and the decrement where a descent from x ended."""

    def scaled(u: Array) -> tuple[float, Array]:
        value, gradient = criterion(x + units * u)
        return (value, units * gradient) if np.isfinite(value) else (1e300, gradient)

    start, options = np.zeros(len(x)), {"gtol": 1e-6}
    done = scipy.optimize.minimize(scaled, start, jac=True, method="BFGS", options=options)
    decrement = 0.5 * float(done.jac @ done.hess_inv @ done.jac)
    return float(done.fun), x + units * done.x, decrement
