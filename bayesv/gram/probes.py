"""Random vectors for log-determinants: the same at every value of λ."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayesv.linalg import Array

__all__ = ["Probes"]

_LEAST = 12  # probes


@dataclass(frozen=True)
class Probes:
    """Vectors of random signs, z with E[zz'] = I, that are a function of these numbers alone.

    Attributes
    ----------
    seed : int
    group : int
        Vectors of different groups are independent.
    scale : int
        There are about 12 times so many; a larger scale has the same vectors and more.
    """

    seed: int = 0
    group: int = 0
    scale: int = 1

    def number(self, m: int) -> int:
        """Return how many there are beside m other columns: all fill blocks of eight columns.

        The number of blocks is even, as most machines have an even number of processors.
        """
        return 16 * -(-(m + _LEAST * self.scale) // 16) - m

    def least(self, m: int) -> int:
        """Return how many there are beside m other columns at the least scale."""
        return replace(self, scale=1).number(m)

    def draw(self, q: int, places: range) -> Array:
        """Return the probes at some places, shape (q, places)."""
        columns = [
            np.random.default_rng([self.seed, self.group, place]).integers(0, 2, q, dtype=np.int8)
            for place in places
        ]
        return 2.0 * np.array(columns, dtype=float).reshape(len(places), q).T - 1.0

    @property
    def others(self) -> Probes:
        """As many that are independent of these."""
        return replace(self, group=self.group + 1)

    def times(self, factor: int) -> Probes:
        """Return more probes, these among them."""
        return replace(self, scale=factor * self.scale)
