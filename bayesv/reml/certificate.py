"""How far estimates would move with other probes of the log-determinant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesv.linalg import Array
from bayesv.reml.criterion import Criterion

__all__ = ["Certificate", "certify"]

_SOLVED = 1e-5  # largest relative residual of a system that counts as solved


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is random in a fit by iteration, judged by a second, independent set of probes.

    Attributes
    ----------
    shift : Series
        Distance of each SD, and of the residual one, from where the second set puts it, in units of
        its standard error.
    criterion_se : float
        Standard error of −2 log likelihood as a number; differences between values near each other
        have far less.
    n_probes : int
        In either set.
    tolerance : float
        Largest shift that was asked for.
    residual : float
        Largest relative residual that the iteration leaves of its linear systems.
    """

    shift: pd.Series
    criterion_se: float
    n_probes: int
    tolerance: float
    residual: float

    @property
    def largest(self) -> float:
        """Largest shift."""
        return float(self.shift.max())

    @property
    def met(self) -> bool:
        """Whether no shift is larger than was asked for, and the iteration came to its end."""
        return self.solved and self.largest <= self.tolerance

    @property
    def solved(self) -> bool:
        """Whether the iteration came to its end before its steps did."""
        return self.residual <= _SOLVED

    @property
    def problem(self) -> str | None:
        """What is wrong, in words, or None."""
        if self.met:
            return None
        if not self.solved:
            return (
                "the iteration over crossed effects ran out of steps: it solves its linear systems "
                f"to {self.residual:.1g}, relative, where {_SOLVED:g} is needed. Use "
                "elimination='crossed' if memory allows the dense block"
            )
        return (
            f"the stochastic part of the log-determinant is too coarse: with {self.n_probes} other "
            f"probes the SD of {self.shift.idxmax()} moves by {self.largest:.1%} of its standard "
            f"error (tolerance {self.tolerance:.1%}). Ask for a larger tolerance=, or use "
            "elimination='crossed' if memory allows the dense block"
        )

    def describe(self) -> str:
        """Return the certificate in words."""
        return (
            f"by iteration with {self.n_probes} probes: others move SDs by at most "
            f"{self.largest:.2%} of their standard errors; −2 log likelihood ± "
            f"{self.criterion_se:.2g}"
        )


def certify(
    criteria: tuple[Criterion, Criterion], minima: tuple[Array, Array], tolerance: float
) -> Certificate:
    """Judge the minimum of a criterion with probes by that with others.

    Parameters
    ----------
    criteria : tuple of Criterion
        With two independent sets of probes.
    minima : tuple of ndarray, shape (d,)
        Of each.
    tolerance : float

    Notes
    -----
    The unit is the standard error of a variance v over J levels in a balanced layout without other
    terms, √(2/J)(1/m + v) with m rows of columns of mean square 1 a level: others are larger. It is
    that of variances, which do not mind a boundary.
    """
    one = criteria[0]
    stats, probes = one.stats, one.stats.probes
    assert probes is not None
    v, other_v = (_variances(one, x) for x in minima)
    levels = np.concatenate([np.full(t.n_columns, float(t.n_levels)) for t in one.design.terms])
    sizes = zip(stats.bases, stats.squares, strict=True)
    squares = np.concatenate([np.diagonal(b.T @ A.sum(axis=0) @ b) for b, A in sizes])
    unit = np.sqrt(2.0 / levels) * (levels / np.where(squares > 0, squares, 1.0) + v)
    ends = [criterion.eliminated(x) for criterion, x in zip(criteria, minima, strict=True)]
    sigma2, other_sigma2 = (
        criterion.profiled_sigma2(end) for criterion, end in zip(criteria, ends, strict=True)
    )
    of_sigma = abs(other_sigma2 / sigma2 - 1.0) * np.sqrt(one.df / 2.0)
    names = [f"{column} in {term.group}" for term in one.design.terms for column in term.columns]
    return Certificate(
        pd.Series([*np.abs(other_v - v) / unit, of_sigma], [*names, "Residual"], name="shift"),
        criterion_se=float(np.mean([end.logdet_se for end in ends])),
        n_probes=probes.number(stats.p + 1),
        tolerance=tolerance,
        residual=max(end.residual for end in ends),
    )


def _variances(criterion: Criterion, x: Array) -> Array:
    """Return variances over σ² of all effects."""
    return np.concatenate([(root**2).sum(axis=1) for root in criterion.roots(x)])
