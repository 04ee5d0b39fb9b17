"""Where the sums of a design stand, whatever their values: a chain of factors, and a border.

Terms are split into a *chain* of factors, each nested in the next, which is eliminated unit by unit
in small blocks, and a *border* of the other (crossed) terms, kept as one dense block. Single and
nested designs have an empty border; without random terms the chain is empty, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from bayesv.gram.chain import ChainFactor, FactorSums, Merging, Plan, plan_of
from bayesv.gram.column_sets import ColumnSets, column_sets, elements
from bayesv.gram.ordering import Ordering, ordering_of
from bayesv.gram.probes import Probes
from bayesv.gram.related import Loadings
from bayesv.gram.scaling import Index
from bayesv.gram.tables import BorderTable, Sums
from bayesv.linalg import Array

__all__ = ["BorderTerm", "Iteration", "Layout", "border_table"]

_LARGE_BORDER = 150  # columns
_STEPS = 12  # of an iteration, about


@dataclass(frozen=True, eq=False)
class BorderTerm:
    """Place of a crossed factor in the border: J levels of k columns from ``start``."""

    term: int
    start: int
    n_levels: int
    k: int

    @property
    def slice(self) -> slice:
        """Rows and columns of the border that belong to this factor."""
        return slice(self.start, self.start + self.n_levels * self.k)


def border_table(border: Sequence[BorderTerm]) -> BorderTable:
    """Return start, size and place of λ of every level of a border."""
    none = np.zeros(0, dtype=np.intp)
    starts, widths, places, place = [none], [none], [none], 0
    for part in border:
        starts.append(part.start + part.k * np.arange(part.n_levels))
        widths.append(np.full(part.n_levels, part.k))
        places.append(np.full(part.n_levels, place))
        place += part.k**2
    return BorderTable(np.concatenate(starts), np.concatenate(widths), np.concatenate(places))


@dataclass(frozen=True, eq=False)
class Iteration:
    """Where the products of a sparse border stand, and the probes of its log-determinant.

    Attributes
    ----------
    rows, places : ndarray of int, shapes (q + 1,) and (nnz,)
        Of `Sums.A_border`: row i has the columns ``places[rows[i] : rows[i + 1]]``, ascending.
    sets : ColumnSets
        Sets of columns, of whole levels, whose blocks scale the iteration.
    probes : Probes
    flat : tuple of ndarray of int, shapes (J, k)
        Of each term of the border, see `flat_columns`.
    """

    rows: Index
    places: Index
    sets: ColumnSets
    probes: Probes
    flat: tuple[Index, ...]

    @cached_property
    def row(self) -> Index:
        """The row of each product."""
        return np.repeat(np.arange(len(self.rows) - 1), np.diff(self.rows))

    def within(self, sets: ColumnSets, values: Array) -> Array:
        """Return the products within sets of columns, (q, width)."""
        blocks = np.zeros((len(self.rows) - 1, sets.width))
        inside = sets.of_column[self.row] == sets.of_column[self.places]
        blocks[self.row[inside], sets.own[self.places[inside]]] = values[inside]
        return blocks


@dataclass(frozen=True, eq=False)
class Layout:
    """Arrangement of the sums of [Z X y] for elimination: all that does not depend on y.

    Attributes
    ----------
    n, p : int
        Numbers of rows and of fixed effects.
    chain : tuple of ChainFactor
        Factors, finest first, each nested in the next.
    border : tuple of BorderTerm
        The other factors.
    merging : Merging or None
        Which units of the finest factor are eliminated once; None if no units are equal.
    scales : tuple of ndarray, shape (k,)
        Root mean square of each term's columns, in the order of the design's terms.
    bases : tuple of ndarray, shape (k, k)
        λ in the basis of the statistics is basis @ λ of the user's columns.
    loadings : Loadings
        L of terms whose levels are related, K = LL'; its columns are what stands for levels.
    remembered : dict
        What was found out about the design, whatever the response.
    iteration : Iteration or None
        How a border too large for a dense block is eliminated; None if it is one.
    connected : ColumnSets or None
        Sets of the border's columns that are eliminated by themselves; None if it is in one block.
    """

    n: int
    p: int
    chain: tuple[ChainFactor, ...]
    border: tuple[BorderTerm, ...]
    merging: Merging | None
    scales: tuple[Array, ...]
    bases: tuple[Array, ...]
    loadings: Loadings
    remembered: dict[str, Any] = field(default_factory=dict, repr=False)
    iteration: Iteration | None = None
    connected: ColumnSets | None = None

    @cached_property
    def apart(self) -> Plan:
        """Elimination of every unit on its own: what differs between equal units, as effects do."""
        return plan_of(self.chain, self.p + 1, None, self._own)

    @cached_property
    def plan(self) -> Plan:
        """Elimination with equal units merged."""
        if self.merging is None:
            return self.apart
        return plan_of(self.chain, self.p + 1, self.merging, self._own)

    @property
    def _own(self) -> Index | None:
        return None if self.connected is None else self.connected.own

    @cached_property
    def chain_terms(self) -> list[int]:
        """Terms of the chain, finest first."""
        return [factor.term for factor in self.chain]

    @cached_property
    def border_terms(self) -> list[int]:
        """Terms of the border."""
        return [part.term for part in self.border]

    @cached_property
    def border_size(self) -> int:
        """Number of columns of the border."""
        return sum(part.n_levels * part.k for part in self.border)

    @property
    def border_work(self) -> float:
        """Cube of the number of columns of the border, of each set of them if it is in sets."""
        return float(self.border_size) ** 3 if self.connected is None else self.connected.work

    @property
    def large_border(self) -> bool:
        """Whether the border is so large that LAPACK is faster than compiled loops, or sparse."""
        in_parts = self.iteration is not None or self.connected is not None
        return in_parts or self.border_size >= _LARGE_BORDER

    @property
    def cost(self) -> float:
        """About how many operations the values of one elimination take."""
        plan, q, m = self.plan, self.border_size, self.p + 1
        widest = max((factor.k for factor in self.chain), default=0)
        if self.iteration is not None:
            columns = _STEPS * (m + self.iteration.probes.number(m))
            return float(columns * widest * (len(plan.tables.columns) + q))
        width = plan.width + len(plan.tables.columns) / max(plan.n_events, 1)
        n_couplings = len(plan.tables.pointer)
        columns = q if self.connected is None else self.connected.width
        of_border = self.border_work / 3 + q * columns * m
        return float(n_couplings * widest * width**2 + of_border)

    def with_probes(self, probes: Probes) -> Layout:
        """Return the same layout with other probes."""
        assert self.iteration is not None
        new = copy(self)
        object.__setattr__(new, "iteration", replace(self.iteration, probes=probes))
        return new

    @cached_property
    def border_table(self) -> BorderTable:
        """Start, size and place of λ of every level of the border."""
        return border_table(self.border)

    @cached_property
    def mates(self) -> Index:
        """Return for each column that a unit meets the next one of its set there, in a circle.

        Empty if the sets of an iteration are of one column.
        """
        assert self.iteration is not None
        sets, tables = self.iteration.sets, self.apart.tables
        if sets.width == 1:
            return np.zeros(0, dtype=np.intp)
        from bayesv.gram.by_set import mates_of  # compiled: loaded when it is needed

        n = len(sets.sizes)
        return np.asarray(mates_of(tables.edges, tables.columns, sets.of_column, n))

    @cached_property
    def ordering(self) -> Ordering | None:
        """In what order the columns of a dense border are eliminated; None for their own."""
        if not self.chain or self.connected is not None:
            return None
        tables = self.apart.tables
        return ordering_of(tables.edges, tables.columns, self.border_table)

    def in_basis(self, lambdas: Sequence[Array]) -> list[Array]:
        """Return λ of the user's columns, shapes (..., k, k), in the basis of the statistics."""
        return [basis @ lam for basis, lam in zip(self.bases, lambdas, strict=True)]

    def by_factor(self, sums: Sums) -> list[FactorSums]:
        """Return the sums of all units of each factor of the chain: views, not copies."""
        parts, a, h, edge = [], 0, 0, 0
        for factor in self.chain:
            J, k, s = factor.n_units, factor.k, factor.width
            last = edge + len(factor.columns)
            parts.append(
                FactorSums(
                    sums.A[a : a + J * k * k].reshape(J, k, k),
                    sums.H[h : h + J * k * s].reshape(J, k, s),
                    sums.E[edge:last, :k],
                )
            )
            a, h, edge = a + J * k * k, h + J * k * s, last
        return parts

    def squares(self, sums: Sums) -> list[Array]:
        """Return Z_j'WZ_j of each term, shape (J, k, k), in the order of its units or levels."""
        blocks = [np.zeros((0, 0, 0))] * (len(self.chain) + len(self.border))
        for factor, part in zip(self.chain, self.by_factor(sums), strict=True):
            blocks[factor.term] = part.A
        if self.iteration is not None:
            levels = column_sets(np.arange(len(self.border_table.starts)), self.border_table)
            rows = self.iteration.within(levels, sums.A_border)
            for term in self.border:
                own = rows[term.slice, : term.k]
                blocks[term.term] = own.reshape(term.n_levels, term.k, term.k)
            return blocks
        for term in self.border:
            blocks[term.term] = self.of_levels(term, sums.A_border)
        return blocks

    def of_levels(self, term: BorderTerm, A: Array) -> Array:
        """Return the elements of a matrix of the border within levels of a term, (J, k, k)."""
        columns = np.arange(self.border_size) if self._own is None else self._own
        own = columns[term.slice].reshape(term.n_levels, term.k)
        rows = np.arange(term.slice.start, term.slice.stop).reshape(own.shape)
        return np.asarray(A[rows[:, :, None], own[:, None, :]])

    def products(self, A: Array) -> tuple[Index, Index, Array]:
        """Return rows, columns and values of a matrix of the border, where columns couple."""
        if self.connected is not None:
            return elements(self.connected, A)
        if self.iteration is not None:
            return self.iteration.row, self.iteration.places, A
        rows, columns = np.indices(A.shape)
        return rows.ravel(), columns.ravel(), A.ravel()

    def merged(self, parts: Sequence[Sums]) -> list[Sums]:
        """Return the sums with those of equal units once."""
        if self.merging is None:
            return list(parts)
        first, merged = self.merging.first, []
        couplings = self.merged_couplings([sums.H for sums in parts])
        for sums, H in zip(parts, couplings, strict=True):
            finest = self.by_factor(sums)[0].A
            A = np.concatenate([finest[first].ravel(), sums.A[finest.size :]])
            merged.append(sums._replace(A=A, H=H))
        return merged

    def merged_couplings(self, parts: Sequence[Array]) -> list[Array]:
        """Return what `merged` makes of the couplings."""
        if self.merging is None:
            return list(parts)
        finest = self.chain[0]
        stop = finest.n_units * finest.k * finest.width
        shape = (finest.n_units, finest.k, finest.width)
        merged = self.merging.couplings([H[:stop].reshape(shape) for H in parts])
        pairs = zip(merged, parts, strict=True)
        return [np.concatenate([short.ravel(), H[stop:]]) for short, H in pairs]

    def to_levels(self, term: int, values: Array) -> Array:
        """Return u of levels, shape (J, …), for effects of what stands for them in the sums."""
        L = self.loadings[term]
        if L is None:
            return values
        return np.asarray(L @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:])

    def from_levels(self, term: int, products: Array) -> Array:
        """Return the products of what stands for levels, given those of levels, shape (J, …)."""
        L = self.loadings[term]
        if L is None:
            return products
        moved = np.asarray(L.T @ products.reshape(len(products), -1))
        return moved.reshape(-1, *products.shape[1:])

    def describe(self, labels: Sequence[str]) -> str:
        """Return in words how random effects are eliminated.

        Such as ``nested: tch:sch (319×2) in sch (79×2)``, and what was merged.
        """
        if not self.chain and not self.border:
            return "none: there are no random effects"
        chain = " in ".join(f"{labels[f.term]} ({f.n_units}×{f.k})" for f in self.chain)
        kind = "crossed" if self.border else "nested" if len(self.chain) > 1 else "single"
        kind = f"{kind}: {chain}" if chain else "levels that are related"
        border = " + ".join(f"{labels[t.term]} ({t.n_levels}×{t.k})" for t in self.border)
        if not self.border:
            text = kind
        elif self.connected is not None:
            n, most = len(self.connected.sizes), self.connected.width
            text = f"{kind}; {self.border_size} columns in {n} disconnected sets of {most} at most"
        elif self.iteration is None:
            text = f"{kind}; 1 dense block of {self.border_size}"
        else:
            n = self.iteration.probes.number(self.p + 1)
            text = f"{kind}; {self.border_size} columns by iteration, {n} probes"
            if (sets := self.iteration.sets).width > max(term.k for term in self.border):
                text += f", {len(sets.sizes)} sets of close columns"
        text += f" ({border})" if border else ""
        if any(self.loadings[factor.term] is not None for factor in self.chain):
            text += "; in directions of the known relationship that are independent"
        if self.merging is not None:
            finest = self.chain[0]
            text += (
                f"; {finest.n_units} levels of {labels[finest.term]} merged into "
                f"{len(self.merging.counts)} with equal rows"
            )
        return text
