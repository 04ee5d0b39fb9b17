"""Families in which a correlation depends on the lag of two positions alone."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.structures.family import Family, mean_where
from bayesv.support.memory import refuse_unless

__all__ = ["Lagged", "Stationary"]

_COPIES = 3  # of the distances, while correlations are made of them


@dataclass(frozen=True)
class Stationary(Family):
    """Correlations as a function of lags, so also with rows that are not among the positions."""

    @abstractmethod
    def at_lags(self, psi: Array, lags: Array) -> Array:
        """Return correlations at lags ≥ 0 of any shape S, (..., m) → (..., *S)."""

    @abstractmethod
    def first_at_lags(self, psi: Array, lags: Array) -> Array:
        """Return their derivatives by ψ at one ψ, shape (m, *S)."""

    @abstractmethod
    def second_at_lags(self, psi: Array, lags: Array) -> Array:
        """Return their second derivatives by ψ at one ψ, shape (m, m, *S)."""

    @cached_property
    def lags(self) -> Array:
        """Distances of positions, shape (r, r)."""
        places = np.asarray(self.positions, dtype=float)
        refuse_unless(
            8.0 * _COPIES * len(places) ** 2,
            f"'{self.kind}' of {len(places):,} positions, of which all distances are formed,",
            "Round the positions, or divide the rows into more series.",
        )
        if places.ndim == 1:
            return np.asarray(np.abs(np.subtract.outer(places, places)))
        squares = np.zeros((len(places), len(places)))
        for axis in places.T:
            squares += np.subtract.outer(axis, axis) ** 2
        return np.asarray(np.sqrt(squares))

    @cached_property
    def increases(self) -> bool:
        """Whether positions are times, each after the one before."""
        places = np.asarray(self.positions, dtype=float)
        return places.ndim == 1 and bool((np.diff(places) > 0.0).all())

    def correlations(self, psi: Array) -> Array:  # noqa: D102
        return self.at_lags(psi, self.lags)

    def corr_first(self, psi: Array) -> Array:  # noqa: D102
        return self.first_at_lags(psi, self.lags)

    def corr_second(self, psi: Array) -> Array:  # noqa: D102
        return self.second_at_lags(psi, self.lags)

    def mean_at_lag(self, corr: Array, lag: float) -> Array:
        """Return the mean correlation of pairs at one lag, (..., r, r) → (...)."""
        return mean_where(corr, self.lags == lag)


@dataclass(frozen=True)
class Lagged(Stationary):
    """A stationary family of integer positions, which may have gaps."""

    @cached_property
    def distinct_lags(self) -> tuple[int, ...]:
        """Lags above 0 between any two positions, increasing."""
        return tuple(int(lag) for lag in np.unique(self.lags) if lag > 0)

    def check(self) -> None:  # noqa: D102
        super().check()
        places = np.asarray(self.positions, dtype=float)
        if places.ndim != 1 or (places % 1 != 0).any():
            odd = next(p for p in self.positions if np.ndim(p) or p % 1 != 0)  # type: ignore[operator]
            raise DataError(
                f"'{self.kind}' needs integer positions, because lags are counted; there is {odd}. "
                "Round them, number the visits, or take 'car1' or a spatial kind for real times."
            )

    def refuse_lags(self, missing: list[int]) -> None:
        """Say which lags no two positions have."""
        names = ", ".join(map(str, missing[:5]))
        raise DataError(
            f"No two positions of '{self.kind}' are {names} apart, so that its parameters cannot "
            "be told. Number the positions by the step between them, or take 'ar1', 'car1' or 'us'."
        )
