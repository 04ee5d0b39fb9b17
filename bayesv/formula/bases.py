"""Transforms that look at all rows: fitted once, then the same for any rows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bayesv.linalg import Array

__all__ = ["Centered", "Cut", "NaturalSpline", "Polynomial", "Spline"]


@dataclass(frozen=True)
class Centered:
    """(x − center) / scale, as R's ``scale``: the SD with n − 1."""

    center: float
    scale: float

    @classmethod
    def fit(cls, x: Array, center: bool | float = True, scale: bool | float = True) -> Centered:
        """Take mean and SD of the rows, or the numbers given."""
        mean = float(np.mean(x)) if center is True else float(center)
        if scale is True:
            scale = float(np.sqrt(np.sum((x - mean) ** 2) / max(len(x) - 1, 1)))
            if scale == 0:
                raise ValueError("divides by an SD of 0: the values are all equal")
        return cls(mean, float(scale) if scale is not False else 1.0)

    def __call__(self, x: Array) -> Array:
        """Return values of any rows."""
        return (x - self.center) / self.scale


@dataclass(frozen=True)
class Polynomial:
    """Orthonormal polynomials of the fitted rows by their three-term recurrence, as R's ``poly``.

    Notes
    -----
    p₋₁ = 0, p₀ = 1, p_{j+1} = (x − α_j) p_j − (‖p_j‖²/‖p_{j−1}‖²) p_{j−1}; columns are p_j/‖p_j‖.
    Kennedy and Gentle (1980), Statistical Computing, pp. 343–344.
    """

    alpha: tuple[float, ...]
    norms: tuple[float, ...]

    @classmethod
    def fit(cls, x: Array, degree: int) -> Polynomial:
        """Find the recurrence for some rows."""
        if degree < 1:
            raise ValueError("needs a degree of at least 1")
        if degree >= len(np.unique(x)):
            raise ValueError(
                f"of degree {degree} needs more than {degree} different values; "
                f"there are {len(np.unique(x))}"
            )
        alpha: list[float] = []
        norms = [float(len(x))]
        before, current = np.zeros(len(x)), np.ones(len(x))
        for _ in range(degree):
            alpha.append(float(x @ current**2 / norms[-1]))
            ratio = norms[-1] / norms[-2] if len(norms) > 1 else 0.0
            before, current = current, (x - alpha[-1]) * current - ratio * before
            norms.append(float(current @ current))
        return cls(tuple(alpha), tuple(norms))

    def __call__(self, x: Array) -> Array:
        """Return columns of any rows, shape (n, degree)."""
        before, current = np.zeros(len(x)), np.ones(len(x))
        columns = []
        for j, alpha in enumerate(self.alpha):
            ratio = self.norms[j] / self.norms[j - 1] if j else 0.0
            before, current = current, (x - alpha) * current - ratio * before
            columns.append(current / np.sqrt(self.norms[j + 1]))
        return np.column_stack(columns)


@dataclass(frozen=True)
class Spline:
    """B-splines, as R's ``bs``; beyond the boundary the polynomials go on.

    ``knots`` are the full sequence, with boundaries repeated.
    """

    knots: tuple[float, ...]
    degree: int
    intercept: bool

    @classmethod
    def fit(
        cls,
        x: Array,
        df: int | None = None,
        knots: tuple[float, ...] | None = None,
        degree: int = 3,
        intercept: bool = False,
        boundary: tuple[float, ...] | None = None,
    ) -> Spline:
        """Place the knots."""
        if degree < 1:
            raise ValueError("needs a degree of at least 1")
        full = _full_knots(x, df, degree + int(intercept), knots, boundary, degree + 1)
        return cls(full, degree, intercept)

    def __call__(self, x: Array) -> Array:
        """Return columns of any rows, shape (n, df)."""
        basis = _splines(self.knots, self.degree, x)
        return basis if self.intercept else basis[:, 1:]


@dataclass(frozen=True)
class NaturalSpline:
    """Cubic splines whose second derivative is 0 at the boundary, as R's ``ns``.

    Beyond the boundary they are straight lines.
    """

    knots: tuple[float, ...]
    intercept: bool

    @classmethod
    def fit(
        cls,
        x: Array,
        df: int | None = None,
        knots: tuple[float, ...] | None = None,
        intercept: bool = False,
        boundary: tuple[float, ...] | None = None,
    ) -> NaturalSpline:
        """Place the knots."""
        return cls(_full_knots(x, df, 1 + int(intercept), knots, boundary, 4), intercept)

    def __call__(self, x: Array) -> Array:
        """Return columns of any rows, shape (n, df)."""
        low, high = self.knots[0], self.knots[-1]
        ends = np.array([low, high])
        basis = _splines(self.knots, 3, np.clip(x, low, high))
        slopes = _splines(self.knots, 3, ends, 1)
        basis = basis + np.minimum(x - low, 0)[:, None] * slopes[0]
        basis = basis + np.maximum(x - high, 0)[:, None] * slopes[1]
        bent = _splines(self.knots, 3, ends, 2)
        if not self.intercept:
            basis, bent = basis[:, 1:], bent[:, 1:]
        Q = np.linalg.qr(bent.T, mode="complete")[0]
        return np.asarray((basis @ Q)[:, 2:])


def _full_knots(
    x: Array,
    df: int | None,
    least_df: int,
    knots: tuple[float, ...] | None,
    boundary: tuple[float, ...] | None,
    order: int,
) -> tuple[float, ...]:
    """Return inner knots between ``order`` copies of the boundaries.

    Left out, inner knots are at equally spaced quantiles of the rows within, as many as ``df``
    exceeds the number of columns without any.
    """
    low, high = _boundary(x, boundary)
    if knots is None:
        n_inner = 0 if df is None else df - least_df
        if n_inner < 0:
            raise ValueError(f"needs df of at least {least_df}; found {df}")
        within = x[(x >= low) & (x <= high)]
        knots = tuple(float(k) for k in np.quantile(within, np.linspace(0, 1, n_inner + 2)[1:-1]))
    return (low,) * order + _checked_knots(knots, low, high) + (high,) * order


def _boundary(x: Array, knots: tuple[float, ...] | None) -> tuple[float, float]:
    if knots is not None and len(knots) != 2:
        raise ValueError("needs two boundary knots")
    low, high = (float(x.min()), float(x.max())) if knots is None else sorted(knots)
    if not low < high:
        raise ValueError("needs more than one value between its boundaries")
    return float(low), float(high)


def _checked_knots(knots: tuple[float, ...], low: float, high: float) -> tuple[float, ...]:
    inner = tuple(sorted(float(k) for k in knots))
    if inner and not (low < inner[0] and inner[-1] < high):
        raise ValueError(
            f"has a knot outside its boundaries, or on one: {inner[0]:g} to {inner[-1]:g}, and the "
            f"boundaries are {low:g} and {high:g}"
        )
    return inner


def _splines(knots: tuple[float, ...], degree: int, x: Array, derivative: int = 0) -> Array:
    """B-splines or a derivative of them, shape (n, number of splines)."""
    from scipy.interpolate import BSpline

    n = len(knots) - degree - 1
    spline: Any = BSpline(np.asarray(knots), np.eye(n), degree, extrapolate=True)
    present = np.isfinite(x)
    values = np.full((len(x), n), np.nan)
    values[present] = spline(x[present], nu=derivative)
    return values


@dataclass(frozen=True)
class Cut:
    """Intervals with their labels, as R's ``cut``."""

    breaks: tuple[float, ...]
    labels: tuple[str, ...]
    right: bool = True
    lowest: bool = False

    @classmethod
    def fit(
        cls,
        x: Array,
        breaks: tuple[float, ...] | float,
        labels: tuple[str, ...] | None,
        right: bool = True,
        lowest: bool = False,
    ) -> Cut:
        """Place the breaks: as given, or so many intervals of equal width."""
        if isinstance(breaks, tuple) and len(breaks) > 1:
            edges = sorted(float(b) for b in breaks)
            if len(set(edges)) < len(edges):
                raise ValueError("has a break twice")
        else:
            n = float(breaks[0] if isinstance(breaks, tuple) else breaks)
            if n < 2 or n % 1:
                raise ValueError("needs two intervals or more, or their breaks as c(…)")
            low, high = float(x.min()), float(x.max())
            width = high - low or abs(low)
            edges = list(np.linspace(low, high, int(n) + 1))
            edges[0], edges[-1] = low - width / 1000, high + width / 1000
            if high == low:
                edges = list(np.linspace(low - width / 1000, high + width / 1000, int(n) + 1))
        if labels is None:
            labels = _interval_labels(edges, right, lowest)
        if len(labels) != len(edges) - 1:
            raise ValueError(f"has {len(edges) - 1} intervals and {len(labels)} labels")
        return cls(tuple(float(e) for e in edges), labels, right, lowest)

    def __call__(self, x: Array) -> Any:
        """Return the interval of any rows, -1 outside all of them."""
        edges = np.asarray(self.breaks)
        codes = np.searchsorted(edges, x, side="left" if self.right else "right") - 1
        if self.lowest:
            codes[x == (edges[0] if self.right else edges[-1])] = 0 if self.right else -2
            codes[codes == -2] = len(edges) - 2
        codes[(codes < 0) | (codes >= len(edges) - 1) | ~np.isfinite(x)] = -1
        return codes.astype(np.intp)


def _interval_labels(edges: list[float], right: bool, lowest: bool) -> tuple[str, ...]:
    """Labels such as ``(1,2]``, with as many digits as tell the breaks apart, from three on."""
    for digits in range(3, 17):
        # R pads the infinite one to the width of its longest number.
        texts = [{np.inf: " Inf", -np.inf: "-Inf"}.get(e, f"{e:.{digits}g}") for e in edges]
        if len(set(texts)) == len(texts):
            break
    left, close = ("(", "]") if right else ("[", ")")
    labels = [f"{left}{a},{b}{close}" for a, b in pairwise(texts)]
    if lowest and right:
        labels[0] = "[" + labels[0][1:]
    elif lowest:
        labels[-1] = labels[-1][:-1] + "]"
    return tuple(labels)
