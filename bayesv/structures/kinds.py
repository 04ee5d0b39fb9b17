"""The words for families of covariances."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from bayesv.errors import FormulaError, near
from bayesv.structures.antedependence import AnteDependence, HeterogeneousAnteDependence
from bayesv.structures.autoregressive import Autoregressive, HeterogeneousAutoregressive
from bayesv.structures.direct_sum import Diagonal
from bayesv.structures.exchangeable import CompoundSymmetry, HeterogeneousCompoundSymmetry
from bayesv.structures.family import Family, positions_of
from bayesv.structures.identity import ScaledIdentity
from bayesv.structures.moving_average import AutoregressiveMovingAverage, MovingAverage
from bayesv.structures.spatial import (
    ContinuousAutoregressive,
    Spatial,
    SpatialExponential,
    SpatialGaussian,
    SpatialMatern,
    SpatialPower,
)
from bayesv.structures.structure import CovarianceStructure
from bayesv.structures.toeplitz import HeterogeneousToeplitz, Toeplitz
from bayesv.structures.unstructured import Unstructured

__all__ = ["KINDS", "family", "kind_of"]

KINDS: dict[str, type[CovarianceStructure]] = {
    cls.kind: cls
    for cls in (
        Unstructured,
        Diagonal,
        ScaledIdentity,
        CompoundSymmetry,
        HeterogeneousCompoundSymmetry,
        Autoregressive,
        HeterogeneousAutoregressive,
        Toeplitz,
        HeterogeneousToeplitz,
        AnteDependence,
        HeterogeneousAnteDependence,
        MovingAverage,
        AutoregressiveMovingAverage,
        ContinuousAutoregressive,
        SpatialExponential,
        SpatialGaussian,
        SpatialPower,
        SpatialMatern,
    )
}
"""Class of each kind, by its word in formulas."""


def kind_of(word: str) -> type[CovarianceStructure]:
    """Return the class of a kind.

    Raises
    ------
    FormulaError
        If there is none of this name; the near ones are named.
    """
    if word not in KINDS:
        raise FormulaError(
            f"'{word}' is no kind of covariance{near(word, KINDS)} There are {', '.join(KINDS)}."
        )
    return KINDS[word]


def family(
    kind: str, positions: int | Iterable[Any] | NDArray[Any], **options: Any
) -> CovarianceStructure:
    """Return a family of covariances of rows at positions.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    positions : int, sequence or ndarray
        Numbers of visits, times or rows of coordinates; an int stands for visits 0, 1, …
    **options
        Of the family: ``nugget`` and ``unit`` of spatial kinds and CAR(1), ``smoothness`` of
        ``sp_mat``, ``largest`` of ``cs`` and ``csh``.

    Raises
    ------
    FormulaError
        If the kind, or an option of it, does not exist.
    DataError
        If the parameters cannot be told from rows at these positions.

    Examples
    --------
    >>> import numpy as np
    >>> ar1 = family("ar1", [0, 1, 3])
    >>> ar1.corr(ar1.from_natural(np.array([0.5])))
    array([[1.   , 0.5  , 0.125],
           [0.5  , 1.   , 0.25 ],
           [0.125, 0.25 , 1.   ]])
    """
    cls = kind_of(kind)
    places = positions_of(positions)
    if not issubclass(cls, Family):
        _refuse_options(kind, options, ())
        return cls(len(places))  # type: ignore[call-arg]
    allowed = tuple(
        name
        for name, where in (("nugget", Spatial), ("smoothness", SpatialMatern), ("unit", Spatial))
        if issubclass(cls, where)
    )
    if issubclass(cls, CompoundSymmetry | HeterogeneousCompoundSymmetry):
        allowed = ("largest",)
    _refuse_options(kind, options, allowed)
    structure = cls(places, **options)
    structure.check()
    return structure


def _refuse_options(kind: str, options: dict[str, Any], allowed: tuple[str, ...]) -> None:
    """Refuse what the kind does not have."""
    for name in options:
        if name not in allowed:
            has = f"It has {', '.join(allowed)}." if allowed else "It has none."
            raise FormulaError(f"'{kind}' has no option '{name}'. {has}")
