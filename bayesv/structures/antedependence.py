"""Chains of neighbours: each position depends on the one before alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.structures.coordinate_maps import CORRELATION, CoordinateMap, sech
from bayesv.structures.coordinate_priors import BetaShare
from bayesv.structures.family import Family, Positions
from bayesv.structures.roots import markov_corr, markov_pullback, markov_root

__all__ = ["AnteDependence", "ChainRoot", "HeterogeneousAnteDependence"]


class ChainRoot(Family):
    """Roots of families whose rows are a Markov chain, where positions increase."""

    @property
    @abstractmethod
    def is_chain(self) -> bool:
        """Whether rows stand in the order of the chain."""

    @property
    def is_markov(self) -> bool:
        """Whether rows are a Markov chain once they are sorted by position."""
        return True

    @abstractmethod
    def neighbours(self, z: Array) -> tuple[Array, Array]:
        """Return ρ of neighbouring rows and √(1 − ρ²), each (..., r − 1)."""

    @abstractmethod
    def neighbour_slopes(self, z: Array) -> tuple[Array, Array]:
        """Return their derivatives by z, each (r − 1, m), at one z."""

    def root(self, z: Array) -> Array:  # noqa: D102
        return markov_root(*self.neighbours(z)) if self.is_chain else super().root(z)

    def pullback(self, z: Array, bar: Array) -> Array:  # noqa: D102
        if not self.is_chain:
            return super().pullback(z, bar)
        adjacent, rest = self.neighbours(z)
        by_adjacent, by_rest = markov_pullback(markov_root(adjacent, rest), adjacent, bar)
        adjacent_slopes, rest_slopes = self.neighbour_slopes(z)
        return np.asarray(by_adjacent @ adjacent_slopes + by_rest @ rest_slopes)


@dataclass(frozen=True)
class AnteDependence(ChainRoot):
    """Ante-dependence of order 1: r_ab = Π ρ_k over the steps k between a and b.

    Each ρ is Beta(η, η) on (1 + ρ)/2.

    Parameters
    ----------
    chain : tuple, optional
        All positions in order, between which the steps are; ``positions`` if left out.
    """

    kind: ClassVar[str] = "ad"
    chain: Positions = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if not self.chain:
            object.__setattr__(self, "chain", self.positions)

    def check(self) -> None:  # noqa: D102
        super().check()
        if any(right <= left for left, right in pairwise(self.chain)):  # type: ignore[operator]
            raise DataError(
                f"'{self.kind}' needs positions in their order, each after the one before; there "
                f"are {', '.join(map(str, self.chain[:8]))}. Sort them."
            )

    @property
    def maps(self) -> tuple[CoordinateMap, ...]:  # noqa: D102
        return (CORRELATION,) * (len(self.chain) - 1)

    def own_priors(self, eta: float) -> tuple[BetaShare, ...]:  # noqa: D102
        return (BetaShare(eta, eta, 2.0),) * len(self.maps)

    @cached_property
    def _places(self) -> NDArray[np.intp]:
        """Place of each position in the chain."""
        place = {position: i for i, position in enumerate(self.chain)}
        strange = [position for position in self.positions if position not in place]
        if strange:
            raise DataError(
                f"'{self.kind}' knows no position {strange[0]}: its steps are between "
                f"{', '.join(map(str, self.chain[:8]))}. Leave such rows out, or take 'ar1'."
            )
        return np.array([place[position] for position in self.positions], dtype=np.intp)

    @cached_property
    def is_chain(self) -> bool:  # noqa: D102
        return bool((np.diff(self._places) > 0).all())

    @cached_property
    def _steps(self) -> NDArray[np.bool_]:
        """Whether step k lies between rows a and b, shape (m, r, r)."""
        k = np.arange(len(self.chain) - 1)[:, None, None]
        low = np.minimum.outer(self._places, self._places)
        high = np.maximum.outer(self._places, self._places)
        return np.asarray((low <= k) & (k < high))

    def psi_of(self, corr: Array) -> Array:  # noqa: D102
        psi = np.zeros((*corr.shape[:-2], self.n_corrs))
        order = np.argsort(self._places)
        for left, right in pairwise(order):
            # A step over missing positions says the product alone: equal shares of its size.
            start, stop = self._places[left], self._places[right]
            known = np.nan_to_num(corr[..., left, right])
            share = np.abs(known) ** (1.0 / (stop - start))
            psi[..., start:stop] = share[..., None]
            psi[..., start] *= np.where(known < 0.0, -1.0, 1.0)
        return psi

    def corr_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        if len(self.chain) != self.size:
            return tuple(f"{a}, {b}" for a, b in pairwise(map(str, self.chain)))
        return tuple(f"{a}, {b}" for a, b in pairwise(columns))

    def correlations(self, psi: Array) -> Array:  # noqa: D102
        whole = markov_corr(psi)
        return np.asarray(whole[..., self._places[:, None], self._places])

    def corr_first(self, psi: Array) -> Array:  # noqa: D102
        return np.array([self._without(psi, (k,)) for k in range(len(psi))]).reshape(
            len(psi), self.size, self.size
        )

    def corr_second(self, psi: Array) -> Array:  # noqa: D102
        m = len(psi)
        curvature = np.zeros((m, m, self.size, self.size))
        for k in range(m):
            for j in range(k):
                curvature[k, j] = curvature[j, k] = self._without(psi, (j, k))
        return curvature

    def _without(self, psi: Array, steps: tuple[int, ...]) -> Array:
        """Return the products without these factors, 0 where one of them is not in the product."""
        rest = psi.copy()
        rest[list(steps)] = 1.0
        return np.asarray(self.correlations(rest) * self._steps[list(steps)].all(axis=0))

    def neighbours(self, z: Array) -> tuple[Array, Array]:  # noqa: D102
        rho, rest = np.tanh(z), sech(z)
        starts, stops = self._places[:-1], self._places[1:]
        if np.array_equal(stops - starts, np.ones_like(starts)):
            return rho[..., starts], rest[..., starts]
        pairs = list(zip(starts, stops, strict=True))
        products = [rho[..., a:b].prod(axis=-1) for a, b in pairs]
        # 1 − Π ρ² = s₁² + ρ₁² s₂² + …, without cancellation
        squares = []
        for a, b in pairs:
            before = np.cumprod(rho[..., a:b] ** 2, axis=-1)
            before = np.concatenate([np.ones_like(before[..., :1]), before[..., :-1]], axis=-1)
            squares.append((before * rest[..., a:b] ** 2).sum(axis=-1))
        return np.stack(products, axis=-1), np.sqrt(np.stack(squares, axis=-1))

    def neighbour_slopes(self, z: Array) -> tuple[Array, Array]:  # noqa: D102
        adjacent, rest = self.neighbours(z)
        by_product = np.zeros((self.size - 1, len(z)))
        by_rest = np.zeros_like(by_product)
        rho, small = np.tanh(z), sech(z) ** 2
        for row, (a, b) in enumerate(pairwise(self._places)):
            for k in range(a, b):
                others = np.delete(rho[a:b], k - a).prod()
                by_product[row, k] = others * small[k]
                if rest[row] > 0.0:
                    by_rest[row, k] = -adjacent[row] * by_product[row, k] / rest[row]
        return by_product, by_rest


@dataclass(frozen=True)
class HeterogeneousAnteDependence(AnteDependence):
    """Ante-dependence with a standard deviation for each position, SAS's ANTE(1)."""

    kind: ClassVar[str] = "adh"
    heterogeneous: ClassVar[bool] = True
