"""Gram statistics of [Z X y]: all that a mixed model needs of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bayesv.gram.fixed import FixedCoordinates
from bayesv.gram.layout import Layout
from bayesv.gram.probes import Probes
from bayesv.gram.tables import StackedSums, Sums, combined
from bayesv.linalg import Array, Mask

__all__ = ["LARGEST_ERROR", "GramStatistics", "keeps_digits", "smallest_kept"]

_ROUNDINGS = 16.0  # that the relative error of estimates has for each unit of n_j λ², about
_NOTED_ERROR = 1e-6  # relative

LARGEST_ERROR = 1e-3
"""Relative error of estimates, about, beyond which a fit is refused."""


@dataclass(frozen=True, eq=False)
class GramStatistics:
    """Statistics of [Z X y] in coordinates where X is orthonormal and y is a residual.

    Attributes
    ----------
    layout : Layout
        What does not depend on the response.
    fixed : FixedCoordinates
        β = start + U⁻¹γ for the γ of the orthonormal columns.
    sums : Sums
        Products of all units, linear in the weights of the rows.
    log_weights : float
        Σ log w.
    total : float
        y'Wy before anything was taken off: what rounding is measured against.
    parts : tuple of Sums
        The K sums that ``sums`` combines linearly, where there are several; see `at`.
    totals : tuple of float
        Of each of them.
    """

    layout: Layout
    fixed: FixedCoordinates
    sums: Sums
    log_weights: float
    total: float
    parts: tuple[Sums, ...] = ()
    totals: tuple[float, ...] = ()

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.layout.n

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return self.layout.p

    @property
    def bases(self) -> tuple[Array, ...]:
        """λ in the basis of the statistics is basis @ λ of the user's columns."""
        return self.layout.bases

    @property
    def large_border(self) -> bool:
        """Whether the border is so large that LAPACK is faster than compiled loops, or sparse."""
        return self.layout.large_border

    @property
    def probes(self) -> Probes | None:
        """Probes of the log-determinant; None if it is exact."""
        return None if self.layout.iteration is None else self.layout.iteration.probes

    def with_probes(self, probes: Probes) -> GramStatistics:
        """Return the statistics of the same rows with other probes."""
        new = copy(self)
        object.__setattr__(new, "layout", self.layout.with_probes(probes))
        return new

    @cached_property
    def merged(self) -> Sums:
        """The sums with those of equal units once: what is eliminated."""
        return self.layout.merged([self.sums])[0]

    @cached_property
    def merged_parts(self) -> list[Sums]:
        """The K sums with those of equal units once; what is eliminated is linear in them, too."""
        return self.layout.merged(self.parts)

    @cached_property
    def squares(self) -> list[Array]:
        """Z_j'WZ_j of each term, shape (J, k, k), in the order of its units or levels."""
        return self.layout.squares(self.sums)

    def at(
        self, coefficients: Array | Sequence[float], log_weights: float | None = None
    ) -> GramStatistics:
        """Return the statistics whose sums are Σ_k c_k Sums_k.

        Parameters
        ----------
        coefficients : array_like, shape (K,)
            Such as 1/σ_s² of strata s. Coordinates of γ and y stay those they were arranged for.
        log_weights : float, optional
            Another Σ log w.
        """
        c = np.asarray(coefficients, dtype=float)
        merged = self.stacked.combined(c)
        sums = merged if self.layout.merging is None else combined(self.parts, c)
        log_weights = self.log_weights if log_weights is None else log_weights
        total = float(np.dot(c, self.totals))
        new = replace(self, sums=sums, log_weights=log_weights, total=total)
        new.__dict__.update(merged=merged, merged_parts=self.merged_parts, stacked=self.stacked)
        new.__dict__["rounding"] = float(self.roundings(c))
        return new

    @cached_property
    def stacked(self) -> StackedSums:
        """The K sums that are eliminated, as one matrix."""
        return StackedSums(self.merged_parts)

    def by_coefficients(self, by_sums: Sums) -> Array:
        """Return the derivative by the coefficients of `at`, (K,), given that by the sums."""
        return self.stacked.inner(by_sums)

    def in_basis(self, lambdas: Sequence[Array]) -> list[Array]:
        """Return λ of the user's columns, shapes (..., k, k), in the basis of the statistics."""
        return self.layout.in_basis(lambdas)

    @cached_property
    def rounding(self) -> float:
        """About the rounding error of y'V_r⁻¹y, the last element of T, at any λ."""
        return _rounding(self.sums, self.total)

    def roundings(self, coefficients: Array) -> Array:
        """Return `rounding` of the statistics at coefficients, (..., K) → (...)."""
        parts = zip(self.parts, self.totals, strict=True)
        return np.asarray(np.abs(coefficients) @ [_rounding(*part) for part in parts])

    def relative_error(self, lambdas: Sequence[Array]) -> float:
        """Return about the largest relative error of estimates near these λ of the user's columns.

        T = C − B'ΛF cancels where between-level variances dwarf σ²/n_j: it keeps a relative error
        of some roundings times the largest n_j λ².
        """
        blocks = zip(self.in_basis(lambdas), self.squares, strict=True)
        largest = max((float(np.abs(lam.T @ A @ lam).max()) for lam, A in blocks), default=0.0)
        return _ROUNDINGS * float(np.finfo(float).eps) * largest

    def lost_digits(self, error: float) -> str | None:
        """Say so if digits are lost by an error, a `relative_error`."""
        if error <= _NOTED_ERROR:
            return None
        ratio = error / (_ROUNDINGS * np.finfo(float).eps)
        return (
            f"a random effect's variance is {ratio:.1g} times what its rows leave unexplained; "
            f"half of the digits are lost, and estimates are good to {error:.0e} relative or so"
        )

    def describe(self, labels: Sequence[str]) -> str:
        """Return in words how random effects are eliminated; see `Layout.describe`."""
        return self.layout.describe(labels)


def keeps_digits(squares: Array, rounding: Array | float) -> Mask:
    """Return which y'V_r⁻¹y have 3 digits or more, given about their rounding error."""
    return np.asarray(squares > smallest_kept(rounding))


def smallest_kept(rounding: Array | float) -> Any:
    """Return the y'V_r⁻¹y beyond which there are 3 digits or more."""
    return _ROUNDINGS * rounding / LARGEST_ERROR


def _rounding(sums: Sums, total: float) -> float:
    eps = float(np.finfo(float).eps)
    return eps * max(float(sums.C[-1, -1]), eps * total)
