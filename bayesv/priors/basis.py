"""The effects that a prior of one random term speaks of: those at the centre of its covariates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bayesv.design.scales import ColumnFacts
from bayesv.errors import PriorError
from bayesv.linalg import Array
from bayesv.names import canonical

__all__ = ["Basis", "CentredBlock", "centred_basis", "centres_by_name", "default_sizes"]

_ZERO = 1e-13  # of a column's size: below, its mean is 0 but for rounding


@dataclass(frozen=True, eq=False)
class Basis:
    """Effects c = A u of a term whose columns are centred: Z u = (Z A⁻¹) c.

    SDs and correlations of a prior are those of Σ_c = A Σ_f A'. With ``(x | g)`` and x centred at
    m, c = (u₀ + m u₁, u₁): the intercept where x = m, and the slope. A is unit-triangular up to
    the order of columns, so |A| = 1 and the map Σ_f → Σ_c has Jacobian 1.

    Attributes
    ----------
    map : ndarray, shape (r, r)
        A.
    units : ndarray, shape (r,)
        Size of each column of Z A⁻¹, which makes coordinates free of units.
    labels : tuple of str
        What each element of c is, such as ``"Intercept at Days = 4.5"``.
    centres : mapping of str to float
        Where covariates are centred.
    """

    map: Array
    units: Array
    labels: tuple[str, ...]
    centres: Mapping[str, float]

    @classmethod
    def as_written(cls, term: Any) -> Basis:
        """Return the basis of the term's own columns."""
        rms = np.asarray(term.rms)
        return cls(np.eye(term.n_columns), np.where(rms > 0, rms, 1.0), tuple(term.columns), {})

    @classmethod
    def of(cls, term: Any, blocks: Sequence[CentredBlock], centres: Mapping[int, float]) -> Basis:
        """Return the basis of columns centred at given values, by position; others stay."""
        basis = cls.as_written(term)
        # A covariate that is centred already has a mean by rounding alone: it stays.
        centres = {j: value for j, value in centres.items() if abs(value) > _ZERO * basis.units[j]}
        back, units = np.eye(term.n_columns), basis.units.copy()
        places: list[list[str]] = [[] for _ in term.columns]
        for block in blocks:
            own = {j: value for j, value in centres.items() if j in block.free}
            if not own:
                continue
            T = block.columns(own)
            whole = _inverse(T)
            back += T - np.eye(len(T))
            units[list(block.columns_of)] = block.sizes[list(block.columns_of)]
            for j, value in own.items():
                # What moves with this centre is stated at it.
                rest = block.columns({k: v for k, v in own.items() if k != j})
                for i in np.flatnonzero((whole != _inverse(rest)).any(axis=1)):
                    places[i].append(f"{term.columns[j]} = {value:.6g}")
        labels = [
            f"{name} at {', '.join(parts)}" if parts else name
            for name, parts in zip(term.columns, places, strict=True)
        ]
        named = {term.columns[j]: float(value) for j, value in centres.items()}
        return cls(_inverse(back), units, tuple(labels), named)

    @cached_property
    def back(self) -> Array:
        """A⁻¹, shape (r, r): u = A⁻¹ c."""
        return _inverse(self.map)

    @cached_property
    def centred(self) -> bool:
        """Whether c differs from u."""
        return bool((self.map != np.eye(len(self.map))).any())

    def moved(self, i: int) -> bool:
        """Whether element i of c is another effect than column i of the user's."""
        return bool((self.map[i] != np.eye(len(self.map))[i]).any())


@dataclass(frozen=True, eq=False)
class CentredBlock:
    """How correlated columns beside an intercept change when covariates are centred.

    The intercept is a constant column or, in ``(0 + f | g)``, the indicators that divide the rows
    among them. Every other column is centred at its mean, or within its cell if it is 0 outside,
    as in ``(f + x:f | g)``; a column that is the product of others, such as ``x:z`` or
    ``I(x ** 2)``, becomes the product of the centred ones, so that no effect depends on where
    covariates have their zero.

    Parameters
    ----------
    facts : ColumnFacts
    columns_of : tuple of int
        Columns of the block.
    """

    facts: ColumnFacts
    columns_of: tuple[int, ...]

    @cached_property
    def base(self) -> tuple[int, ...]:
        """The intercept, or the indicators that together are one; empty if there is none."""
        facts = self.facts
        constant = [i for i in self.columns_of if facts.constant[i] and facts.mean[i] != 0]
        if constant:
            return (constant[0],)
        cells: list[int] = []
        for i in self.columns_of:
            if self._indicator(i) and not facts.together[i, cells].any():
                cells.append(i)
        return tuple(cells) if facts.together[cells, cells].sum() == facts.n else ()

    @cached_property
    def free(self) -> dict[int, dict[int, float]]:
        """Columns that have a centre, each with the columns that take it up.

        These, so weighted, add up to the indicator of the column's cell, or to 1 in all rows.
        """
        mean, constant = self.facts.mean, self.facts.constant
        one = {b: 1.0 / float(mean[b]) if constant[b] else 1.0 for b in self.base}
        return {j: self._cells.get(j, one) for j in self._centred}

    @cached_property
    def _centred(self) -> tuple[int, ...]:
        left_out = {*self.base, *self.products}
        rest = [j for j in self.columns_of if j not in left_out and not self.facts.constant[j]]
        return tuple(rest) if self.base else ()

    @cached_property
    def _cells(self) -> dict[int, dict[int, float]]:
        """Columns that are 0 outside of a cell, each with its cell's indicator, as `free`.

        Beside a constant, a factor's cells are its indicators and what they leave. Columns count
        as cells' own if every cell has one: a column alone may be 0 there by where its zero is.
        """
        facts, divided = self.facts, len(self.base) > 1
        rest = [j for j in self.columns_of if j not in self.base and not facts.constant[j]]
        marks = self.base if divided else [b for b in rest if self._indicator(b)]
        inside: dict[int, int] = {}
        for j in rest:
            around = [b for b in marks if b != j and facts.together[j, b] == facts.together[j, j]]
            if around:
                inside[j] = min(around, key=lambda b: float(facts.together[b, b]))
        own = {j: {b: 1.0} for j, b in inside.items()}
        if divided or not (self.base and inside):
            return own if divided else {}
        cells = sorted(set(inside.values()))
        seen = facts.together[np.ix_(cells, cells)]
        outside = [j for j in rest if not facts.together[j, cells].any()]
        if not outside or seen.sum() != np.trace(seen):
            return {}
        constant = self.base[0]
        left = {constant: 1.0 / float(facts.mean[constant]), **dict.fromkeys(cells, -1.0)}
        return {**own, **dict.fromkeys(outside, left)}

    def _rows_of(self, cell: Mapping[int, float]) -> float:
        """Return the number of rows of a cell, given as in `free`."""
        facts = self.facts
        return float(
            sum(
                facts.n if facts.constant[b] else weight * facts.together[b, b]
                for b, weight in cell.items()
            )
        )

    @cached_property
    def products(self) -> dict[int, tuple[int, int]]:
        """Columns that are products of two others, where centring those stays in the block."""
        facts = self.facts
        parts: dict[int, set[int]] = {b: {b} for b in self.base}
        found: dict[int, tuple[int, int]] = {}
        for k in self.columns_of:
            if not self.base or k in self.base or facts.constant[k]:
                continue
            parts[k] = {k, *self._cells.get(k, self.base)}
            for n, i, j in facts.products:
                if n != k or not {i, j} <= parts.keys() or facts.constant[[i, j]].any():
                    continue
                pairs = [self._product(a, b) for a in parts[i] for b in parts[j]]
                if {i, j} & set(self.base) or any(pair is None for pair in pairs):
                    continue
                found[k] = (i, j)
                parts[k] = {c for pair in pairs if pair for c in pair}
                break
        return found

    @cached_property
    def centres(self) -> dict[int, float]:
        """Mean of each column with a centre, over the rows or over those of its cell."""
        facts = self.facts
        return {
            j: float(facts.mean[j] * facts.n / self._rows_of(cell)) for j, cell in self.free.items()
        }

    @cached_property
    def sizes(self) -> Array:
        """Size of each column about its centre, shape (r,); meaningful for the block's columns.

        The standard deviation; for a column with two values their difference, so that the effect
        is that of a group on it; for a product the product.
        """
        facts = self.facts
        sizes = facts.spread.copy()
        sizes[facts.two] = (facts.high - facts.low)[facts.two]
        for j, cell in self.free.items():
            if j in self._cells and not facts.two[j]:
                n = self._rows_of(cell)
                square = facts.squares[j] + facts.n * facts.mean[j] ** 2
                sizes[j] = np.sqrt(max(square / n - self.centres[j] ** 2, 0.0))
                if sizes[j] <= 1e-7 * abs(self.centres[j]):  # constant there
                    sizes[j] = abs(self.centres[j])
        for k, (i, j) in self.products.items():
            sizes[k] = sizes[i] * sizes[j]
        fixed = facts.constant | (sizes == 0)
        sizes[fixed] = np.abs(facts.mean)[fixed]
        return np.where(sizes > 0, sizes, 1.0)

    def columns(self, centres: Mapping[int, float]) -> Array:
        """Return A⁻¹, shape (r, r): the centred columns in terms of the user's."""
        T = np.eye(len(self.facts.mean))
        for j, value in centres.items():
            for b, weight in self.free[j].items():
                T[b, j] = -value * weight
        for k, (i, j) in self.products.items():
            T[:, k] = 0.0
            for a in map(int, np.flatnonzero(T[:, i])):
                for b in map(int, np.flatnonzero(T[:, j])):
                    for c, size in (self._product(a, b) or {}).items():
                        T[c, k] += T[a, i] * T[b, j] * size
        return T

    def _indicator(self, i: int) -> bool:
        return bool(self.facts.two[i] and self.facts.low[i] == 0 and self.facts.high[i] == 1)

    def _product(self, a: int, b: int) -> dict[int, float] | None:
        """Return the product of two columns as a multiple of a column; empty if 0, or None."""
        facts = self.facts
        for one, other in ((a, b), (b, a)):
            if facts.constant[one]:
                return {other: float(facts.mean[one])}
        if facts.together[a, b] == 0:
            return {}
        for one, other in ((a, b), (b, a)):
            # An indicator times what is 0 outside of it.
            if self._indicator(one) and facts.together[other, one] == facts.together[other, other]:
                return {other: 1.0}
        low, high = min(a, b), max(a, b)
        for k, i, j in facts.products:
            if (i, j) == (low, high) and k in self.columns_of:
                return {k: 1.0}
        return None


def centred_basis(term: Any) -> Basis:
    """Return the basis of a term with every covariate that can be at its mean.

    Parameters
    ----------
    term : RandomTerm or its stand-in of a streamed design
        Of one from a file of an earlier version, without facts on its columns, the columns stay.
    """
    if term.facts is None:
        return Basis.as_written(term)
    blocks = [
        CentredBlock(term.facts, block) for block in term.structure.free_blocks if len(block) > 1
    ]
    return Basis.of(term, blocks, {j: m for block in blocks for j, m in block.centres.items()})


def default_sizes(facts: ColumnFacts, blocks: Sequence[CentredBlock]) -> Array:
    """Return the size of every column of a term, shape (r,), that default priors divide by.

    Beside an intercept it is that of the centred column. Alone, a column has all of its distance
    from 0 to act by: its root mean square or, if it is an indicator (or a multiple of one), the
    value that is not 0, however rare.
    """
    sizes = np.where(facts.rms > 0, facts.rms, 1.0)
    marks = facts.two & ((facts.low == 0) | (facts.high == 0)) & (facts.low != facts.high)
    sizes[marks] = np.maximum(np.abs(facts.low), np.abs(facts.high))[marks]
    for block in blocks:
        if block.base:
            own = list(block.columns_of)
            sizes[own] = block.sizes[own]
    return sizes


def centres_by_name(
    given: Mapping[str, Any], term: Any, blocks: Sequence[CentredBlock]
) -> dict[int, float]:
    """Return centres by position, as a user names them.

    Raises
    ------
    PriorError
        If a column has no centre: an intercept, a product, or one without an intercept beside it.
    """
    free = {term.columns[j]: j for block in blocks for j in block.free}
    centres = {}
    for name, value in given.items():
        if name not in free and (wanted := canonical(name)) in (canonical(c) for c in free):
            name = next(c for c in free if canonical(c) == wanted)
        if name not in free:
            raise PriorError(
                f"center of {term.group!r} has {name!r}, which has no centre of its own; columns "
                f"beside an intercept that do are {', '.join(free) or 'none'}."
            )
        centres[free[name]] = float(value)
    return centres


def _inverse(a: Array) -> Array:
    """Return the inverse of I + N for a nilpotent N; structural zeros stay exact."""
    eye = np.eye(len(a))
    N, inverse = a - eye, eye
    for _ in range(len(a)):
        found = eye - N @ inverse
        if np.array_equal(found, inverse):  # I − N + N² − … has ended: centres are few steps deep
            break
        inverse = found
    return np.asarray(inverse)
