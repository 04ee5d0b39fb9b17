"""Standard deviations of residuals as functions of the row: strata, powers and exponentials."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bayesv.design.labels import check_fields
from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.support.arguments import TEXT, TEXTS, a, array, optional, some

__all__ = ["Exponential", "Power", "RowScales", "Strata"]

Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Strata:
    """A standard deviation for each level of a factor.

    Attributes
    ----------
    name : str
    levels : tuple of str
    codes : ndarray of int, shape (n,)
    """

    name: str
    levels: tuple[str, ...]
    codes: Index

    def __post_init__(self) -> None:
        check_fields(self, {"name": TEXT, "levels": TEXTS, "codes": array(1, "iu")})
        if len(self.codes) and not 0 <= self.codes.min() <= self.codes.max() < len(self.levels):
            raise DataError(f"Strata {self.name!r}: a code is outside 0…{len(self.levels) - 1}.")

    def take(self, rows: Index) -> Self:
        """Return some of the rows."""
        return replace(self, codes=self.codes[rows])


@dataclass(frozen=True, eq=False)
class Power:
    """SD ∝ |x|^δ.

    Attributes
    ----------
    name : str
    log_x : ndarray, shape (n,)
        log|x|; that of exp(δx) is x itself.
    """

    name: str
    log_x: Array

    def __post_init__(self) -> None:
        check_fields(self, {"name": TEXT, "log_x": array(1, "biuf")})

    @classmethod
    def of(cls, name: str, x: Array) -> Self:
        """Return the power of a covariate.

        Raises
        ------
        DataError
            If it is 0 somewhere, or on both sides of 0.
        """
        if (x == 0).any() or (np.sign(x) != np.sign(x[0])).any():
            raise DataError(
                f"residual_sd: power({name}) needs a covariate that stays on one side of 0, found "
                f"values from {x.min():g} to {x.max():g}. Use exp({name}), or shift the column."
            )
        return cls(name, np.log(np.abs(x)))

    def take(self, rows: Index) -> Self:
        """Return some of the rows."""
        return replace(self, log_x=self.log_x[rows])


class Exponential(Power):
    """SD ∝ exp(δx)."""


@dataclass(frozen=True, eq=False)
class RowScales:
    """A product of factors of the SD.

    Attributes
    ----------
    strata : Strata or None
    powers : tuple of Power
    """

    strata: Strata | None = None
    powers: tuple[Power, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, {"strata": optional(a(Strata)), "powers": some(a(Power))})

    @property
    def sizes(self) -> set[int]:
        """Numbers of rows that the factors have."""
        rows = [part.log_x for part in self.powers]
        return set(map(len, rows if self.strata is None else [*rows, self.strata.codes]))

    @property
    def exponent_labels(self) -> tuple[str, ...]:
        """Label of each δ."""
        return tuple(
            f"{'exp' if isinstance(part, Exponential) else 'power'} {part.name}"
            for part in self.powers
        )

    def __bool__(self) -> bool:
        return self.strata is not None or bool(self.powers)

    def at(self, exponents: Array, n: int) -> Array:
        """Return the factor of every row, shape (..., n), of the exponents δ, (..., e)."""
        scale = np.ones(n)
        for k, part in enumerate(self.powers):
            scale = scale * np.exp(exponents[..., k, None] * part.log_x)
        return np.asarray(scale)

    def take(self, rows: Index) -> Self:
        """Return some of the rows."""
        strata = None if self.strata is None else self.strata.take(rows)
        return replace(self, strata=strata, powers=tuple(part.take(rows) for part in self.powers))
