"""Sums of [X y] by missingness pattern: all that residuals correlated over visits need of the rows.

Series that were seen at the same visits share their residual covariance R_p, a block of the R of
all planned visits. What is left of their rows are the products of every two visits: an evaluation
costs the same whatever the number of series.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesv.design.series import Series
from bayesv.linalg import Array
from bayesv.support.memory import refuse_unless

__all__ = ["PatternSums", "VisitSums", "Whitened", "pattern_sums", "visit_sums"]

Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _Patterns:
    """Patterns with equally many visits.

    Attributes
    ----------
    visits : ndarray of int, shape (P, T)
        In increasing order.
    counts : ndarray, shape (P,)
        Number of series.
    summed : ndarray of int, shape (P₁,)
        Which of them are in the sums: those of which it is the shorter way.
    series : ndarray of int, shape (S,)
        Pattern of each series that is kept by its rows.
    rows : ndarray, shape (S, T, m)
    """

    visits: Index
    counts: Array
    summed: Index
    series: Index
    rows: Array

    @cached_property
    def pairs(self) -> tuple[Index, Index]:
        """Positions (s, t), s ≤ t, of the products of two visits."""
        return np.triu_indices(self.visits.shape[1])


@dataclass(frozen=True, eq=False)
class Whitened:
    """What is left of the rows at one R.

    Attributes
    ----------
    logdet : float
        Σ log|R_i| over the series.
    T : ndarray, shape (m, m)
        Σ W_i'R_i⁻¹W_i with W = [X y].
    gradient : callable
        ``gradient(T_bar, by_logdet=1.0)``: the derivative, (n_visits, n_visits) and symmetric, of
        ``by_logdet`` log|R| + f(T) by R, given T_bar = ∂f/∂T (symmetric). Elements of visits never
        seen together are 0.
    """

    logdet: float
    T: Array
    gradient: Callable[..., Array]


@dataclass(frozen=True, eq=False)
class PatternSums:
    """Products of rows of [X y] by missingness pattern and pair of visits.

    Attributes
    ----------
    n, m, n_visits : int
        Numbers of rows, of columns of [X y], and of planned visits.
    patterns : tuple
        Patterns, by their number of visits.
    products : ndarray, shape (N, m (m + 1)/2)
        Upper triangles of w_s w_t' + w_t w_s' (of w_s w_s' where s = t) summed over the series of
        each pattern, in the order of patterns and their pairs.
    """

    n: int
    m: int
    n_visits: int
    patterns: tuple[_Patterns, ...]
    products: Array

    @cached_property
    def met(self) -> NDArray[np.bool_]:
        """Which visits were seen together in some series, shape (n_visits, n_visits)."""
        met = np.zeros((self.n_visits, self.n_visits), dtype=bool)
        for part in self.patterns:
            met[part.visits[:, :, None], part.visits[:, None, :]] = True
        return met

    @cached_property
    def counts(self) -> Array:
        """Number of rows at each visit, shape (n_visits,)."""
        counts = np.zeros(self.n_visits)
        for part in self.patterns:
            np.add.at(counts, part.visits, part.counts[:, None])
        return counts

    def whiten(self, R: Array) -> Whitened:
        """Return log|R| and [X y]'R⁻¹[X y] for the covariance R of all visits.

        Parameters
        ----------
        R : ndarray, shape (n_visits, n_visits)

        Raises
        ------
        numpy.linalg.LinAlgError
            If a block of R is not positive definite.
        """
        inverses, logdet = self._inverted(R)
        if np.isnan(logdet):
            raise np.linalg.LinAlgError("R of some visits is not positive definite")

        def gradient(T_bar: Array, by_logdet: float = 1.0) -> Array:
            return self._gradient(inverses, T_bar, by_logdet)

        return Whitened(float(logdet), self.contract(inverses), gradient)

    def whiten_many(self, R: Array) -> tuple[Array, Array]:
        """Return log|R|, shape (S,), and T, shape (S, m, m), of many R, (S, n_visits, n_visits).

        log|R| is NaN where a block of R is not positive definite.
        """
        inverses, logdet = self._inverted(R)
        return logdet, self.contract(inverses)

    def _inverted(self, R: Array) -> tuple[list[Array], Array]:
        """Return the inverse of the block of each pattern, and Σ log|R_i|; NaN if there is none."""
        from bayesv.gram.small import invert_many  # compiled: loaded when it is needed

        inverses, logdet = list[Array](), np.zeros(R.shape[:-2])
        for part in self.patterns:
            blocks = _blocks(part, R)
            flat = blocks.reshape(-1, *blocks.shape[-2:])
            inverse = np.empty_like(flat)
            logs = invert_many(flat, inverse).reshape(blocks.shape[:-2])
            inverses.append(inverse.reshape(blocks.shape))
            logdet = logdet + logs @ part.counts
        return inverses, logdet

    def contract(self, inner: Sequence[Array]) -> Array:
        """Return Σ_i W_i'M_iW_i, (..., m, m), for symmetric M of each pattern, (..., P, T, T).

        One call for many M is faster than many calls.
        """
        coefficients = [
            M[..., part.summed, :, :][..., *part.pairs].reshape(*M.shape[:-3], -1)
            for part, M in zip(self.patterns, inner, strict=True)
        ]
        total = _full(np.concatenate(coefficients, axis=-1) @ self.products, self.m)
        for part, M in zip(self.patterns, inner, strict=True):
            if len(part.series):
                white = M[..., part.series, :, :] @ part.rows
                total += part.rows.reshape(-1, self.m).T @ white.reshape(
                    *white.shape[:-3], -1, self.m
                )
        return total

    def _gradient(self, inverses: list[Array], T_bar: Array, by_logdet: float) -> Array:
        by_R = np.zeros((self.n_visits, self.n_visits))
        by_pair = self.products @ _upper(T_bar)
        start = 0
        for part, inverse in zip(self.patterns, inverses, strict=True):
            n_patterns, size = part.visits.shape
            rows, columns = part.pairs
            count = len(part.summed) * len(rows)
            K = np.zeros((n_patterns, size, size))
            # A product of two visits stands once for both of their orders.
            halves = 0.5 * by_pair[start : start + count].reshape(-1, len(rows))
            K[part.summed[:, None], rows, columns] = halves
            K += np.swapaxes(K, 1, 2)
            if len(part.series):
                np.add.at(K, part.series, part.rows @ T_bar @ np.swapaxes(part.rows, 1, 2))
            start += count
            bar = by_logdet * part.counts[:, None, None] * inverse - inverse @ K @ inverse
            np.add.at(by_R, (part.visits[:, :, None], part.visits[:, None, :]), bar)
        return by_R


class VisitSums(NamedTuple):
    """Sums of rows whose residuals are correlated over visits, in good coordinates.

    Attributes
    ----------
    sums : PatternSums
        Of [Q e] with X = QR in weighted rows and e the residual of least squares, so that large
        means cost no digits; visits of different groups are different visits.
    upper : ndarray, shape (p, p)
        R.
    start : ndarray, shape (p,)
        Q'y: β = R⁻¹(start + γ).
    rest : ndarray, shape (n,)
        e.
    """

    sums: PatternSums
    upper: Array
    start: Array
    rest: Array


def visit_sums(
    series: Series, n_visits: int, X: Array, y: Array, weights: Array | None
) -> VisitSums:
    """Sum rows by missingness pattern.

    Parameters
    ----------
    series : Series
        By visit.
    n_visits : int
        Number of planned visits.
    X : ndarray, shape (n, p)
        Of full column rank.
    y : ndarray, shape (n,)
    weights : ndarray, shape (n,), or None
        Known w: a row's variance is divided by it.
    """
    root = np.ones(len(y)) if weights is None else np.sqrt(weights)
    Q, upper = np.linalg.qr(X * root[:, None])
    start = Q.T @ (root * y)
    rest = root * y - Q @ start
    visits = series.group * n_visits + series.visit
    total = max(len(series.groups), 1) * n_visits
    sums = pattern_sums(visits, series.codes, np.column_stack([Q, rest]), total)
    return VisitSums(sums, upper, start, rest)


def pattern_sums(visits: Index, series: Index, rows: Array, n_visits: int) -> PatternSums:
    """Sum the products of rows by missingness pattern.

    Parameters
    ----------
    visits, series : ndarray of int, shape (n,)
        Visit and series of each row; no series has a visit twice.
    rows : ndarray, shape (n, m)
        [X y].
    n_visits : int
        Number of planned visits.
    """
    order = np.lexsort([visits, series])
    visits, rows = visits[order], rows[order]
    _, starts, sizes = np.unique(series[order], return_index=True, return_counts=True)
    m = rows.shape[1]
    parts, products = [], []
    for size in np.unique(sizes):
        places = starts[sizes == size, None] + np.arange(size)
        seen, pattern, counts = np.unique(
            visits[places], axis=0, return_inverse=True, return_counts=True
        )
        pattern = pattern.ravel()
        by_sums = size * (size + 1) * m * (m + 1) / 4
        by_rows = counts * size * m * (size + m)
        summed = np.flatnonzero(by_sums <= by_rows)
        kept = ~np.isin(pattern, summed)
        _refuse_too_many(int(size), m, int(counts[summed].max(initial=0)), len(summed))
        part = _Patterns(seen, counts.astype(float), summed, pattern[kept], rows[places[kept]])
        parts.append(part)
        products += [_products(part, rows[places[pattern == p]]) for p in summed]
    empty = np.zeros((0, m * (m + 1) // 2))
    return PatternSums(len(rows), m, n_visits, tuple(parts), np.concatenate([empty, *products]))


def _refuse_too_many(size: int, m: int, series: int, patterns: int) -> None:
    """Refuse sums of more pairs of visits than memory holds."""
    pairs = 0.5 * size * (size + 1.0)
    refuse_unless(
        8.0 * pairs * m * (2.0 * series + 2.0 * m + 0.5 * (m + 1.0) * patterns) * (patterns > 0),
        f"The sums over pairs of the {size:,} visits of a series",
        "Use car1, whose positions are times, or fewer visits.",
    )


def _products(part: _Patterns, rows: Array) -> Array:
    """Return the products of one pattern, (pairs, m (m + 1)/2), of its series' rows, (S, T, m)."""
    s, t = part.pairs
    by_visit = np.ascontiguousarray(np.moveaxis(rows, 0, 2))  # (T, m, S)
    full = by_visit[s] @ np.swapaxes(by_visit[t], 1, 2)
    both = np.where((s == t)[:, None, None], full, full + np.swapaxes(full, 1, 2))
    above = np.triu_indices(rows.shape[2])
    return np.asarray(both[:, *above])


def _blocks(part: _Patterns, matrix: Array) -> Array:
    return np.asarray(matrix[..., part.visits[:, :, None], part.visits[:, None, :]])


def _full(upper: Array, m: int) -> Array:
    """Return the symmetric matrices (..., m, m) of upper triangles, row by row."""
    rows, columns = np.triu_indices(m)
    full = np.empty((*upper.shape[:-1], m, m))
    full[..., rows, columns] = upper
    full[..., columns, rows] = upper
    return full


def _upper(matrix: Array) -> Array:
    """Return what an upper triangle is multiplied by: elements off the diagonal count twice."""
    rows, columns = np.triu_indices(len(matrix))
    return np.where(rows == columns, 1.0, 2.0) * matrix[rows, columns]
