"""The coordinates of all λ_f in one vector, term by term."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bayesv.design.design import Design
from bayesv.gram.layout import Layout
from bayesv.linalg import Array, Mask
from bayesv.reml.elements import ElementTable, joined
from bayesv.reml.maps import Elements, TermMap, map_of

__all__ = ["Coordinates", "coordinates_of"]

Index = NDArray[np.intp]

_NONE = np.zeros(0)


def coordinates_of(design: Design, layout: Layout) -> Coordinates:
    """Return the coordinates of the λ_f of a design, which its layout remembers."""
    if "coordinates" not in layout.remembered:
        given = zip(design.terms, layout.bases, layout.scales, strict=True)
        maps = tuple(map_of(term, basis, scale, layout.n) for term, basis, scale in given)
        layout.remembered["coordinates"] = Coordinates(maps, tuple(layout.chain_terms))
    coordinates: Coordinates = layout.remembered["coordinates"]
    return coordinates


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Coordinates x of all λ_f; those beside them, after x, are not looked at.

    Attributes
    ----------
    maps : tuple of TermMap
        Of each term, in the order of the design's terms.
    chain_terms : tuple of int
        Those that are eliminated as a chain, finest first.
    """

    maps: tuple[TermMap, ...]
    chain_terms: tuple[int, ...]

    @cached_property
    def size(self) -> int:
        """Number of coordinates."""
        return sum(one.size for one in self.maps)

    @cached_property
    def parts(self) -> list[slice]:
        """Those of each term."""
        stops = np.cumsum([0, *(one.size for one in self.maps)]).tolist()
        return [slice(*ends) for ends in pairwise(stops)]

    @cached_property
    def places(self) -> tuple[Index, Index, Mask]:
        """Rows and columns of λ of the coordinates, counted over all terms; which are of elements.

        Coordinates of families with parameters have numbers of their own, below 0.
        """
        rows, columns = -1 - np.arange(self.size), -1 - np.arange(self.size)
        is_element, start = np.zeros(self.size, dtype=bool), 0
        for one, part in zip(self.maps, self.parts, strict=True):
            if isinstance(one, Elements):
                rows[part], columns[part] = start + one.rows, start + one.columns
                is_element[part] = True
            start += one.k
        return rows, columns, is_element

    @cached_property
    def table(self) -> ElementTable | None:
        """Where they stand in the flat λ of a chain, if all are elements of λ."""
        tables = [one.table for one in self.maps if isinstance(one, Elements)]
        if len(tables) < len(self.maps) or len(self.chain_terms) < len(self.maps):
            return None
        starts, stop = [0] * len(tables), 0
        for term in self.chain_terms:
            starts[term], stop = stop, stop + tables[term].size
        return joined(tables, starts)

    def each(self, x: Array) -> Iterator[tuple[TermMap, Array]]:
        """Yield the map and the coordinates, (..., d), of each term."""
        return zip(self.maps, [x[..., part] for part in self.parts], strict=True)

    def start(self, scale: float, decay: float) -> Array:
        """Return SDs of one size relative to σ, with correlations that decay with the lag."""
        return np.concatenate([_NONE, *(one.start(scale, decay) for one in self.maps)])

    def lambdas(self, x: Array) -> list[Array]:
        """Return λ_f of every term, (S, k, k), at S points x, shape (S, d)."""
        return [one.lambdas(part) for one, part in self.each(x)]

    def roots(self, x: Array) -> list[Array]:
        """Return λ_f of every term by the user's columns, (k, k)."""
        return [one.root(part) for one, part in self.each(x)]

    def pullback(self, x: Array, bars: Sequence[Array]) -> Array:
        """Return the derivative by x, given those by each λ_f."""
        pairs = zip(bars, self.each(x), strict=True)
        return np.concatenate([_NONE, *(one.pullback(part, bar) for bar, (one, part) in pairs)])

    def near(self, roots: Sequence[Array]) -> Array:
        """Return x of members near λλ' = root root', in the basis of the statistics."""
        pairs = zip(self.maps, roots, strict=True)
        return np.concatenate([_NONE, *(one.near(root) for one, root in pairs)])

    def curvature(self, x: Array) -> Array:
        """Return about the second derivatives of the criterion by x."""
        return np.concatenate([_NONE, *(one.curvature(part) for one, part in self.each(x))])

    def row_sizes(self, x: Array) -> Array:
        """Return the relative SD that each coordinate is of, the size of its row of λ; or 1."""
        return np.concatenate([_NONE, *(one.sizes(part) for one, part in self.each(x))])

    def same_sign(self, x: Array) -> Array:
        """Return the same λλ' by coordinates of one sign."""
        return np.concatenate([_NONE, *(one.same_sign(part) for one, part in self.each(x))])

    def ends(self, x: Array) -> dict[int, float]:
        """Return coordinates next to a boundary, and where on it: 0, or the end of a range."""
        ends = [one.ends(part) for one, part in self.each(x)]
        pairs = zip(self.parts, ends, strict=True)
        return {own.start + i: end for own, found in pairs for i, end in found.items()}
