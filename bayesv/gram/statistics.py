"""Gram statistics of [Z X y], arranged for elimination: all that a mixed model needs of its rows.

Terms are split into a *chain* of factors, each nested in the next, which is eliminated unit by unit
in small blocks, and a *border* of the other (crossed) terms, kept as one dense block. Single and
nested designs have an empty border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bayesv.errors import BayesvError
from bayesv.gram.chain import Chain, ChainLevel, pack
from bayesv.gram.moments import Moments, Pairs, accumulate
from bayesv.gram.units import Index, Rows, Units
from bayesv.linalg import Array, independent_columns, psd_root
from bayesv.support.memory import refuse_unless

__all__ = [
    "LARGEST_ERROR",
    "STRUCTURES",
    "BorderTerm",
    "GramStatistics",
    "arrange",
    "check_structure",
    "gram_statistics",
    "independent",
]

STRUCTURES = ("auto", "single", "nested", "crossed")
_LARGE_BORDER = 150  # columns
_ROUNDINGS = 16.0  # that the relative error of estimates has for each unit of n_j λ², about
_NOTED_ERROR = 1e-6
_COPIES_OF_BORDER = 6  # in an evaluation with its gradient

LARGEST_ERROR = 1e-3
"""Relative error of estimates, about, beyond which a fit is refused."""


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


@dataclass(frozen=True, eq=False)
class GramStatistics:
    """Statistics of [Z X y] in coordinates where X is orthonormal and y is a residual.

    Attributes
    ----------
    n, p : int
        Numbers of rows and of fixed effects.
    levels : tuple of ChainLevel
        Factors of the chain, finest first, each nested in the next.
    chain : Chain
        The same for the compiled loops, with equal units merged.
    border : tuple of BorderTerm
        The other factors.
    A_border, B_border : ndarray, shapes (q_border, q_border) and (q_border, p + 1)
        Z_b'WZ_b and Z_b'W[X y].
    C : ndarray, shape (p + 1, p + 1)
        [X y]'W[X y].
    R : ndarray, shape (p, p)
        X = QR: β = start + R⁻¹γ for the γ of the orthonormal columns.
    start : ndarray, shape (p,)
        Weighted least squares, taken off y beforehand so that large means cost no digits.
    kept : ndarray of int, shape (p,)
        Columns of X that earlier ones do not determine.
    log_weights : float
        Σ log w.
    total : float
        y'Wy before anything was taken off: what rounding is measured against.
    scales : tuple of ndarray, shape (k,)
        Root mean square of each term's columns, in the order of the design's terms.
    bases : tuple of ndarray, shape (k, k)
        λ in the basis of the statistics is basis @ λ of the user's columns.
    """

    n: int
    p: int
    levels: tuple[ChainLevel, ...]
    chain: Chain
    border: tuple[BorderTerm, ...]
    A_border: Array
    B_border: Array
    C: Array
    R: Array
    start: Array
    kept: Index
    log_weights: float
    total: float
    scales: tuple[Array, ...]
    bases: tuple[Array, ...]

    @cached_property
    def apart(self) -> Chain:
        """The chain with every unit on its own, for what differs between equal units: effects."""
        if self.chain.n_leaves == len(self.levels[0].A):
            return self.chain
        return pack(self.levels, self.p + 1, None)

    @cached_property
    def remembered(self) -> dict[str, Any]:
        """What was found out about the design, whatever the response; shared by `Responses`."""
        return {}

    def in_basis(self, lambdas: Sequence[Array]) -> list[Array]:
        """Return λ of the user's columns, shapes (..., k, k), in the basis of the statistics."""
        return [basis @ lam for basis, lam in zip(self.bases, lambdas, strict=True)]

    @property
    def large_border(self) -> bool:
        """Whether the dense block is so large that LAPACK is faster than compiled loops."""
        return len(self.A_border) >= _LARGE_BORDER

    def relative_error(self, lambdas: Sequence[Array]) -> float:
        """Return about the largest relative error of estimates near these λ of the user's columns.

        T = C − B'ΛF cancels where between-level variances dwarf σ²/n_j: it keeps a relative error
        of some roundings times the largest n_j λ².
        """
        inner = self.in_basis(lambdas)
        blocks = [(level.term, level.A) for level in self.levels]
        for part in self.border:
            diagonal = self.A_border[part.slice, part.slice].reshape(
                part.n_levels, part.k, part.n_levels, part.k
            )
            blocks.append((part.term, np.einsum("jajb->jab", diagonal)))
        largest = max(float(np.abs(inner[t].T @ A @ inner[t]).max()) for t, A in blocks)
        return _ROUNDINGS * float(np.finfo(float).eps) * largest

    def lost_digits(self, lambdas: Sequence[Array]) -> str | None:
        """Say so if variances between levels are so large at these λ that digits are lost."""
        error = self.relative_error(lambdas)
        if error <= _NOTED_ERROR:
            return None
        ratio = error / (_ROUNDINGS * np.finfo(float).eps)
        return (
            f"a random effect's variance is {ratio:.1g} times what its rows leave unexplained; "
            f"half of the digits are lost, and estimates are good to {error:.0e} relative or so"
        )

    def describe(self, labels: Sequence[str]) -> str:
        """Return the structure in words.

        Such as ``nested: tch:sch (319×2) in sch (79×2); 1 dense block of 0``, and what was merged.
        """
        chain = " in ".join(
            f"{labels[level.term]} ({len(level.A)}×{level.k})" for level in self.levels
        )
        kind = "crossed" if self.border else "nested" if len(self.levels) > 1 else "single"
        border = " + ".join(f"{labels[t.term]} ({t.n_levels}×{t.k})" for t in self.border)
        text = f"{kind}: {chain}; 1 dense block of {len(self.A_border)}"
        text += f" ({border})" if border else ""
        finest = self.levels[0]
        if self.chain.n_leaves < len(finest.A):
            text += (
                f"; {len(finest.A)} levels of {labels[finest.term]} merged into "
                f"{self.chain.n_leaves} with equal rows"
            )
        return text


def check_structure(structure: str) -> None:
    """Refuse a structure that does not exist."""
    if structure not in STRUCTURES:
        raise BayesvError(f"structure must be one of {', '.join(STRUCTURES)}; found {structure!r}.")


def gram_statistics(rows: Rows, structure: str = "auto", *, dedupe: bool = True) -> GramStatistics:
    """Accumulate the statistics of all rows at once; rows are not needed afterwards.

    Parameters
    ----------
    rows : Rows
    structure : {"auto", "single", "nested", "crossed"}
    dedupe : bool
        Whether levels with equal rows are eliminated once.
    """
    units = Units.of(rows)
    return arrange(accumulate(rows, units), units, structure, dedupe=dedupe)


def arrange(
    moments: Moments, units: Units, structure: str = "auto", *, dedupe: bool = True
) -> GramStatistics:
    """Bring sums over rows into the form that is eliminated.

    Parameters
    ----------
    moments : Moments
        Of all rows, in ``units``.
    units : Units
    structure : {"auto", "single", "nested", "crossed"}
        ``crossed`` eliminates the largest factor and puts all others into the dense block, even if
        they are nested; ``auto`` chooses the longest chain from the largest factor.
    dedupe : bool
        Whether levels of the finest factor with equal rows of (z, w) are eliminated once.

    Raises
    ------
    BayesvError
        If the design does not have the structure asked for.
    """
    transform, R, start, kept = _orthonormal(moments, units)
    B = [b @ transform for b in moments.B]
    C = transform.T @ moments.C @ transform
    chain_terms, border_terms = _split(moments, structure)
    border, A_border, B_border = _border(moments, B, border_terms)
    levels = _levels(moments, B, chain_terms, border)
    # With a border, equal rows of the finest factor meet different columns of it.
    hashes = moments.hashes[chain_terms[0]][levels[0].order] if dedupe and not border else None
    return GramStatistics(
        n=moments.n,
        p=len(kept),
        levels=levels,
        chain=pack(levels, len(C), hashes),
        border=border,
        A_border=A_border,
        B_border=B_border,
        C=C,
        R=R,
        start=start,
        kept=kept,
        log_weights=moments.log_weights,
        total=moments.total,
        scales=tuple(_rms(a, moments.n) for a in moments.A),
        bases=units.bases,
    )


def _orthonormal(moments: Moments, units: Units) -> tuple[Array, Array, Array, Index]:
    """Return U with [X y]U orthonormal and a residual, R of the kept columns, start, and these.

    With LL' = S of the columns E = X R₀⁻¹, L'R₀ = QR has the R of the columns themselves.
    """
    p = len(units.R)
    L = psd_root(moments.C[:p, :p])
    # In these units columns that differ have mean square 1, wherever their zero was.
    kept = independent_columns(L.T, np.zeros(p))
    Q, R = np.linalg.qr(L.T @ units.R[:, kept])
    U = np.linalg.solve(R.T, units.R[:, kept].T).T
    gamma = U.T @ moments.C[:p, p]
    taken = Q.T @ (L.T @ units.gamma)
    transform = np.zeros((p + 1, len(kept) + 1))
    transform[:p, :-1] = U
    transform[:p, -1] = -U @ gamma
    if len(kept) < p:
        # What the units took off the response along a dropped column is put back: that column may
        # be determined to 7 digits only, and the response still depend on the others.
        transform[:p, -1] += units.gamma - units.R[:, kept] @ np.linalg.solve(R, taken)
    transform[p, -1] = 1.0
    return transform, R, np.linalg.solve(R, taken + gamma), kept


def independent(moments: Moments, units: Units) -> tuple[Index, float]:
    """Return the columns of X that those before do not determine, and Σ w r² of y after them."""
    transform, _, _, kept = _orthonormal(moments, units)
    return kept, float(transform[:, -1] @ moments.C @ transform[:, -1])


def _split(moments: Moments, structure: str) -> tuple[list[int], list[int]]:
    """Split terms into the chain that starts at the largest term, and the border."""
    check_structure(structure)
    sizes = [len(a) for a in moments.A]
    order = sorted(range(len(sizes)), key=lambda i: -moments.A[i][:, 0].size)
    chain, border = [order[0]], []
    for term in sorted(order[1:], key=lambda i: -sizes[i]):
        if structure != "crossed" and _is_nested(moments, chain[-1], term):
            chain.append(term)
        else:
            border.append(term)
    if structure == "single" and len(sizes) > 1:
        raise BayesvError(
            f"structure='single' needs one grouping factor; there are {len(sizes)}. Use 'auto'."
        )
    if structure == "nested" and border:
        raise BayesvError(
            "structure='nested' needs every grouping factor nested in the next; some are crossed. "
            "Use 'auto' or 'crossed'."
        )
    return chain, border


def _of(moments: Moments, f: int, g: int) -> Pairs:
    """Return the products of factors f and g, ordered by level of f, then of g."""
    pairs = moments.pairs[f, g] if f < g else moments.pairs[g, f].transposed
    order = np.lexsort([pairs.j, pairs.i])
    return Pairs(pairs.i[order], pairs.j[order], pairs.blocks[order])


def _is_nested(moments: Moments, fine: int, coarse: int) -> bool:
    pairs = moments.pairs[min(fine, coarse), max(fine, coarse)]
    return len(pairs.i) == len(moments.A[fine]) >= len(moments.A[coarse])


def _border(
    moments: Moments, B: Sequence[Array], terms: Sequence[int]
) -> tuple[tuple[BorderTerm, ...], Array, Array]:
    places, start = [], 0
    for term in terms:
        J, k = B[term].shape[:2]
        places.append(BorderTerm(term, start, J, k))
        start += J * k
    sizes = " + ".join(f"{place.n_levels:,} × {place.k}" for place in places)
    refuse_unless(
        8.0 * _COPIES_OF_BORDER * start**2,
        f"The dense block of the grouping factors that are crossed with the largest one has "
        f"{start:,} columns (levels × columns: {sizes}) and",
        "Leave out the crossed factor with the most levels, or merge levels of it; or sample the "
        "random effects instead of integrating them out: bv.to_pymc(model) has no such block.",
    )
    A = np.zeros((start, start))
    for b, one in enumerate(places):
        levels = np.arange(one.n_levels)
        _put(A, one, levels, one, levels, moments.A[one.term])
        for other in places[:b]:
            pairs = _of(moments, one.term, other.term)
            _put(A, one, pairs.i, other, pairs.j, pairs.blocks)
            _put(A, other, pairs.j, one, pairs.i, np.swapaxes(pairs.blocks, 1, 2))
    parts = [B[t.term].reshape(-1, B[t.term].shape[2]) for t in places]
    return tuple(places), A, np.vstack(parts) if parts else np.zeros((0, B[0].shape[2]))


def _put(A: Array, f: BorderTerm, i: Index, g: BorderTerm, j: Index, blocks: Array) -> None:
    rows = f.start + i[:, None] * f.k + np.arange(f.k)
    columns = g.start + j[:, None] * g.k + np.arange(g.k)
    A[rows[:, :, None], columns[:, None, :]] = blocks


def _levels(
    moments: Moments, B: Sequence[Array], chain: Sequence[int], border: Sequence[BorderTerm]
) -> tuple[ChainLevel, ...]:
    """Return the factors of the chain, units ordered below their parents."""
    levels: list[ChainLevel] = []
    rank = np.zeros(1, dtype=np.intp)  # of each level of the coarser factor
    for depth in reversed(range(len(chain))):
        term, J = chain[depth], len(B[chain[depth]])
        coarser = [_of(moments, term, other) for other in chain[depth + 1 :]]
        parent = rank[coarser[0].j] if coarser else np.zeros(J, dtype=np.intp)
        order = np.argsort(parent, kind="stable")
        rank = np.empty(J, dtype=np.intp)
        rank[order] = np.arange(J)
        H = np.concatenate([*(pairs.blocks for pairs in coarser), B[term]], axis=2)
        edges, columns, E = _edges(moments, term, border, rank)
        levels.append(
            ChainLevel(
                term, order, moments.A[term][order], H[order], parent[order], edges, columns, E
            )
        )
    return tuple(reversed(levels))


def _edges(
    moments: Moments, term: int, border: Sequence[BorderTerm], rank: Index
) -> tuple[Index, Index, Array]:
    """Return the border's columns that each unit meets, and Z_j'WZ_border there."""
    J, k = moments.A[term].shape[:2]
    units, columns, values = [], [], []
    for other in border:
        pairs = _of(moments, term, other.term)
        units.append(np.repeat(rank[pairs.i], other.k))
        own = other.start + pairs.j[:, None] * other.k + np.arange(other.k)
        columns.append(own.ravel())
        values.append(np.swapaxes(pairs.blocks, 1, 2).reshape(-1, k))
    if not border:
        none = np.zeros(0, dtype=np.intp)
        return np.zeros(J + 1, dtype=np.intp), none, np.zeros((0, k))
    unit, column = np.concatenate(units), np.concatenate(columns)
    order = np.lexsort([column, unit])
    edges = np.concatenate([[0], np.cumsum(np.bincount(unit, minlength=J))]).astype(np.intp)
    return edges, column[order].astype(np.intp), np.concatenate(values)[order]


def _rms(A: Array, n: int) -> Array:
    """Root mean square of a term's columns, from the sums over its levels."""
    rms = np.sqrt(np.einsum("jaa->a", A) / n)
    return np.where(rms > 0, rms, 1.0)
