"""Independent parts: rows without correlation, and direct sums of other families."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bayesv.linalg import Array, connected
from bayesv.structures.elements import ElementForm
from bayesv.structures.structure import Blocks, CovarianceStructure
from bayesv.structures.unstructured import Unstructured

__all__ = ["Diagonal", "DirectSum", "direct_sum", "of_blocks", "of_linked"]

Part = tuple[tuple[int, ...], CovarianceStructure]
_Rows = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class Diagonal(ElementForm):
    """Diagonal covariances: r standard deviations and no correlation."""

    kind: ClassVar[str] = "diag"
    size: int

    @property
    def n_sds(self) -> int:  # noqa: D102
        return self.size

    @property
    def n_corrs(self) -> int:  # noqa: D102
        return 0

    @property
    def mask(self) -> NDArray[np.bool_]:  # noqa: D102
        return np.eye(self.size, dtype=bool)

    @property
    def blocks(self) -> Blocks:  # noqa: D102
        return tuple((i,) for i in range(self.size))

    @property
    def free_blocks(self) -> Blocks:  # noqa: D102
        return self.blocks

    def root(self, z: Array) -> Array:  # noqa: D102
        root = np.zeros((*z.shape[:-1], self.size, self.size))
        root[..., np.arange(self.size), np.arange(self.size)] = 1.0
        return root

    def pullback(self, z: Array, bar: Array) -> Array:  # noqa: D102
        return np.zeros(0)

    def coordinates(self, corr: Array) -> Array:  # noqa: D102
        return np.zeros((*corr.shape[:-2], 0))

    def log_density(  # noqa: D102
        self,
        z: Array,
        eta: float,
        *,
        by_coordinates: bool = True,
    ) -> Array:
        return np.zeros(z.shape[:-1])

    def log_density_gradient(self, z: Array, eta: float) -> Array:  # noqa: D102
        return np.zeros(0)

    def draw(  # noqa: D102
        self,
        rng: np.random.Generator,
        count: int,
        eta: float,
    ) -> Array:
        return np.zeros((count, 0))

    def sd_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return tuple(columns)

    def corr_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return ()

    def natural(self, z: Array) -> Array:  # noqa: D102
        return z

    def from_natural(self, psi: Array) -> Array:  # noqa: D102
        return psi

    def project(self, cov: Array) -> Array:
        """Return the covariances without what stands off the diagonal."""
        return np.where(self.mask, cov, 0.0)


@dataclass(frozen=True)
class DirectSum(CovarianceStructure):
    """Independent parts on sets of rows, such as of ``(x + z | g) + (0 + w | g)``.

    Parameters
    ----------
    summands : tuple of (tuple of int, CovarianceStructure)
        Rows of each part, increasing, and its family; each row is in one part.

    Notes
    -----
    Free standard deviations stand in the order of the first row that has them, coordinates of the
    correlation part by part. `draw` and densities take the same η for all parts.
    """

    kind: ClassVar[str] = "sum"
    summands: tuple[Part, ...]

    @property
    def size(self) -> int:  # type: ignore[override]  # noqa: D102
        return sum(part.size for _, part in self.summands)

    @property
    def n_sds(self) -> int:  # noqa: D102
        return sum(part.n_sds for _, part in self.summands)

    @property
    def n_corrs(self) -> int:  # noqa: D102
        return sum(part.n_corrs for _, part in self.summands)

    @property
    def parts(self) -> tuple[Part, ...]:  # noqa: D102
        return self.summands

    @cached_property
    def mask(self) -> NDArray[np.bool_]:  # noqa: D102
        mask = np.zeros((self.size, self.size), dtype=bool)
        for rows, part in self.summands:
            mask[np.ix_(rows, rows)] = part.mask
        return mask

    @property
    def blocks(self) -> Blocks:  # noqa: D102
        return tuple(
            tuple(rows[i] for i in block) for rows, part in self.summands for block in part.blocks
        )

    @property
    def free_blocks(self) -> Blocks:  # noqa: D102
        return tuple(
            tuple(rows[i] for i in block)
            for rows, part in self.summands
            for block in part.free_blocks
        )

    @cached_property
    def sd_of_row(self) -> NDArray[np.intp]:  # noqa: D102
        owners: dict[int, tuple[int, int]] = {}
        for k, (rows, part) in enumerate(self.summands):
            owners |= {row: (k, int(sd)) for row, sd in zip(rows, part.sd_of_row, strict=True)}
        order = list(dict.fromkeys(owners[row] for row in range(self.size)))
        return np.array([order.index(owners[row]) for row in range(self.size)], dtype=np.intp)

    def _each(self) -> Iterator[tuple[NDArray[np.intp], CovarianceStructure, slice]]:
        """Yield rows, family and place of the coordinates of every part."""
        start = 0
        for rows, part in self.summands:
            yield np.array(rows), part, slice(start, start + part.n_corrs)
            start += part.n_corrs

    def root(self, z: Array) -> Array:  # noqa: D102
        root = np.zeros((*z.shape[:-1], self.size, self.size))
        for rows, part, own in self._each():
            root[..., rows[:, None], rows] = part.root(z[..., own])
        return root

    def pullback(self, z: Array, bar: Array) -> Array:  # noqa: D102
        parts = [part.pullback(z[own], bar[np.ix_(rows, rows)]) for rows, part, own in self._each()]
        return np.concatenate(parts)

    def coordinates(self, corr: Array) -> Array:  # noqa: D102
        parts = [part.coordinates(corr[..., rows[:, None], rows]) for rows, part, _ in self._each()]
        return np.concatenate(parts, axis=-1)

    def log_density(  # noqa: D102
        self, z: Array, eta: float, *, by_coordinates: bool = True
    ) -> Array:
        parts = [
            part.log_density(z[..., own], eta, by_coordinates=by_coordinates)
            for _, part, own in self._each()
        ]
        return np.asarray(np.sum(parts, axis=0))

    def log_density_gradient(self, z: Array, eta: float) -> Array:  # noqa: D102
        parts = [part.log_density_gradient(z[own], eta) for _, part, own in self._each()]
        return np.concatenate(parts)

    def draw(self, rng: np.random.Generator, count: int, eta: float) -> Array:  # noqa: D102
        return np.concatenate([part.draw(rng, count, eta) for _, part in self.summands], axis=1)

    def sd_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        labels = [""] * self.n_sds
        names = self._told_apart(columns, [part.sd_labels for _, part in self.summands])
        for (rows, part, _), own in zip(self._each(), names, strict=True):
            for row, sd in zip(rows, part.sd_of_row, strict=True):
                labels[self.sd_of_row[row]] = own[sd]
        return tuple(labels)

    def corr_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        names = self._told_apart(columns, [part.corr_labels for _, part in self.summands])
        return tuple(label for own in names for label in own)

    def _told_apart(
        self, columns: Sequence[str], labels: Sequence[Callable[[Sequence[str]], tuple[str, ...]]]
    ) -> list[tuple[str, ...]]:
        """Return labels of each part; where two parts have one, with the part's first column."""
        of_parts = [[columns[row] for row in rows] for rows, _ in self.summands]
        names = [label(own) for label, own in zip(labels, of_parts, strict=True)]
        shared = [set(a) & set(b) for k, a in enumerate(names) for b in names[:k]]
        if not any(shared):
            return names
        return [
            tuple(f"{name} of {part.kind}({own[0]} …)" for name in few)
            if any(few and few[0] in both for both in shared)
            else few
            for few, own, (_, part) in zip(names, of_parts, self.summands, strict=True)
        ]

    def natural(self, z: Array) -> Array:  # noqa: D102
        parts = [part.natural(z[..., own]) for _, part, own in self._each()]
        return np.concatenate(parts, axis=-1)

    def from_natural(self, psi: Array) -> Array:  # noqa: D102
        parts = [part.from_natural(psi[..., own]) for _, part, own in self._each()]
        return np.concatenate(parts, axis=-1)

    @property
    def is_linear(self) -> bool:  # noqa: D102
        return all(part.is_linear for _, part in self.summands)

    def theta_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return tuple(
            label
            for rows, part in self.summands
            for label in part.theta_labels([columns[row] for row in rows])
        )

    def theta(self, free_sds: Array, z: Array) -> Array:  # noqa: D102
        sds = self.sds(free_sds)
        parts = [part.theta(part.free_sds(sds[rows]), z[own]) for rows, part, own in self._each()]
        return np.concatenate(parts)

    def _by_theta(self, theta: Array) -> Iterator[tuple[_Rows, CovarianceStructure, Array]]:
        """Yield rows, family and θ of every part: as many as it has labels."""
        start = 0
        for rows, part, _ in self._each():
            stop = start + len(part.theta_labels([""] * part.size))
            yield (rows[:, None], rows), part, theta[start:stop]
            start = stop

    def natural_covariance(self, theta: Array) -> Array:  # noqa: D102
        cov = np.zeros((self.size, self.size))
        for block, part, mine in self._by_theta(theta):
            cov[block] = part.natural_covariance(mine)
        return cov

    def first(self, theta: Array) -> Array:  # noqa: D102
        slopes, start = np.zeros((len(theta), self.size, self.size)), 0
        for block, part, mine in self._by_theta(theta):
            slopes[start : start + len(mine), block[0], block[1]] = part.first(mine)
            start += len(mine)
        return slopes

    def second(self, theta: Array) -> Array:  # noqa: D102
        curvature, start = np.zeros((len(theta), len(theta), self.size, self.size)), 0
        for block, part, mine in self._by_theta(theta):
            places = slice(start, start + len(mine))
            curvature[places, places, block[0], block[1]] = part.second(mine)
            start += len(mine)
        return curvature

    def project(self, cov: Array) -> Array:
        """Return the covariances with every part in its family, and 0 between parts."""
        projected = np.zeros_like(cov)
        for rows, part, _ in self._each():
            block = np.ix_(rows, rows)
            projected[..., *block] = part.project(cov[..., *block])
        return projected

    def __str__(self) -> str:
        return " + ".join(str(part) for _, part in self.summands)


def direct_sum(structures: Sequence[CovarianceStructure]) -> CovarianceStructure:
    """Return the family of independent parts on consecutive rows.

    Examples
    --------
    >>> direct_sum([Unstructured(1), Unstructured(1)])
    Diagonal(size=2)
    >>> str(direct_sum([Diagonal(2), Unstructured(2)]))
    'us(1) + us(1) + us(2)'
    """
    starts = np.cumsum([0, *(structure.size for structure in structures)]).tolist()
    return _simplest(
        (tuple(start + row for row in rows), part)
        for start, structure in zip(starts, structures, strict=False)
        for rows, part in structure.parts
    )


def of_blocks(blocks: Iterable[Sequence[int]]) -> CovarianceStructure:
    """Return the family of covariances that are any within sets of rows and 0 between them.

    Parameters
    ----------
    blocks : iterable of sequence of int
        Every row in one of them; ``((0, 1),)`` for ``(x | g)``, ``((0,), (1,))`` for ``(x || g)``.

    Examples
    --------
    >>> of_blocks([[0, 1]]), of_blocks([[0], [1]]), str(of_blocks([[0], [1, 2]]))
    (Unstructured(size=2), Diagonal(size=2), 'us(1) + us(2)')
    """
    return _simplest((tuple(sorted(block)), Unstructured(len(block))) for block in blocks)


def of_linked(linked: Array) -> CovarianceStructure:
    """Return the family of `of_blocks` for rows that are linked directly or by others, (r, r)."""
    block = connected(len(linked), *np.nonzero(linked))
    return of_blocks(np.flatnonzero(block == b).tolist() for b in np.unique(block))


def _simplest(parts: Iterable[Part]) -> CovarianceStructure:
    """Return the plainest family of the parts: families that are equal compare as equal."""
    single: list[Part] = []
    for rows, part in parts:
        if isinstance(part, Diagonal):
            single += [((row,), Unstructured(1)) for row in rows]
        else:
            single.append((rows, part))
    if all(part == Unstructured(1) for _, part in single) and len(single) != 1:
        return Diagonal(len(single))
    return single[0][1] if len(single) == 1 else DirectSum(tuple(single))
