"""Gram statistics of [Z X y]: everything a Gaussian mixed model needs to know of its rows.

Terms are split into a *chain* of factors, each nested in the next, which is eliminated level by
level in batches of small blocks, and a *border* of the other (crossed) terms, kept as one dense
block. Single and nested designs have an empty border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayesv.linalg import Array

__all__ = ["BorderTerm", "ChainLevel", "GramStatistics", "Grouping", "gram_statistics"]

Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Grouping:
    """One grouping factor as numbers.

    Attributes
    ----------
    codes : ndarray of int, shape (n,)
        Level of each row.
    values : ndarray, shape (n, k)
        Columns that vary over levels.
    n_levels : int
    basis : ndarray, shape (k, k), or None
        If the user's columns are ``values @ basis``: λ of the values is basis @ λ of the columns.
    """

    codes: Index
    values: Array
    n_levels: int
    basis: Array | None = None

    @classmethod
    def orthonormal(
        cls, codes: Index, columns: Array, n_levels: int, blocks: Sequence[Sequence[int]]
    ) -> Grouping:
        """Return the grouping with columns of mean square 1 that are orthogonal within blocks.

        A random slope over x far from 0 is nearly collinear with its intercept; in this basis the
        offset of x costs no digits. Only columns that are correlated with each other may be mixed,
        because Λ must stay as free as λ.
        """
        n, k = columns.shape
        values, basis = columns.astype(float), np.eye(k)
        for block in blocks:
            at = np.array(block)
            Q, R = np.linalg.qr(columns[:, at])
            diagonal = np.abs(np.diagonal(R))
            if (diagonal > 1e-12 * np.linalg.norm(columns[:, at], axis=0)).all():
                values[:, at] = Q * np.sqrt(n)
                basis[np.ix_(at, at)] = R / np.sqrt(n)
        return cls(codes, values, n_levels, basis)

    @property
    def k(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])


@dataclass(frozen=True, eq=False)
class ChainLevel:
    """Statistics of one factor of the chain.

    Attributes
    ----------
    term : int
        Position of the factor among the design's terms.
    A : ndarray, shape (J, k, k)
        Z_j'WZ_j of every level j.
    H : ndarray, shape (J, k, s)
        Z_j'W[Z of coarser chain factors, X, y], where only the level above j is not zero.
    parents : tuple of ndarray of int, shape (J,)
        The level above, for each coarser factor of the chain.
    E : scipy.sparse.csr_array, shape (J k, q_border)
        Z'WZ_border.
    """

    term: int
    A: Array
    H: Array
    parents: tuple[Index, ...]
    E: sparse.csr_array


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
    chain : tuple of ChainLevel
        Factors, finest first, each nested in the next.
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
    chain: tuple[ChainLevel, ...]
    border: tuple[BorderTerm, ...]
    A_border: Array
    B_border: Array
    C: Array
    R: Array
    start: Array
    log_weights: float
    total: float
    scales: tuple[Array, ...]
    bases: tuple[Array, ...]

    def in_basis(self, lambdas: Sequence[Array]) -> list[Array]:
        """Return λ of the user's columns, shapes (..., k, k), in the basis of the statistics."""
        return [basis @ lam for basis, lam in zip(self.bases, lambdas, strict=True)]

    def describe(self, labels: Sequence[str]) -> str:
        """Return the structure in words, such as ``nested: tch:sch (319×2) in sch (79×2)``."""
        chain = " in ".join(
            f"{labels[level.term]} ({level.A.shape[0]}×{level.A.shape[1]})" for level in self.chain
        )
        kind = "nested" if len(self.chain) > 1 else "single"
        if not self.border:
            return f"{kind}: {chain}"
        border = " + ".join(f"{labels[t.term]} ({t.n_levels}×{t.k})" for t in self.border)
        return f"crossed: {chain}, dense block of {len(self.A_border)}: {border}"


def gram_statistics(
    groupings: Sequence[Grouping], X: Array, y: Array, weights: Array | None
) -> GramStatistics:
    """Accumulate the statistics; rows are not needed afterwards.

    Parameters
    ----------
    groupings : sequence of Grouping
        One per random term.
    X : ndarray, shape (n, p)
        Full column rank.
    y : ndarray, shape (n,)
        Response less offset.
    weights : ndarray, shape (n,), or None
        Known w in R = σ² diag(1/w).
    """
    n, p = X.shape
    root = np.ones(n) if weights is None else np.sqrt(weights)
    Q, R = np.linalg.qr(X * root[:, None])
    residual = y * root
    start = np.zeros(p)
    for _ in range(2):  # the second pass removes the rounding of the first
        gamma = Q.T @ residual
        residual = residual - Q @ gamma
        start += np.linalg.solve(R, gamma) if p else 0.0
    fixed = np.column_stack([Q, residual])
    Z = [grouping.values * root[:, None] for grouping in groupings]
    chain_terms, border_terms = _arrange(groupings)
    border, border_Z = _border(groupings, Z, border_terms)
    chain = []
    for depth, term in enumerate(chain_terms):
        grouping, coarser = groupings[term], chain_terms[depth + 1 :]
        J, k = grouping.n_levels, grouping.k
        right = np.hstack([*(Z[other] for other in coarser), fixed])
        own = _level_design(grouping, Z[term])
        chain.append(
            ChainLevel(
                term=term,
                A=_sum_products(grouping, Z[term], Z[term]),
                H=np.asarray(own.T @ right).reshape(J, k, -1),
                parents=tuple(_parents(grouping, groupings[other]) for other in coarser),
                E=sparse.csr_array(own.T @ border_Z),
            )
        )
    return GramStatistics(
        n=n,
        p=p,
        chain=tuple(chain),
        border=border,
        A_border=(border_Z.T @ border_Z).toarray(),
        B_border=np.asarray(border_Z.T @ fixed),
        C=fixed.T @ fixed,
        R=R,
        start=start,
        log_weights=0.0 if weights is None else float(np.log(weights).sum()),
        total=float(((y * root) ** 2).sum()),
        scales=tuple(_rms(z) for z in Z),
        bases=tuple(np.eye(g.k) if g.basis is None else g.basis for g in groupings),
    )


def _arrange(groupings: Sequence[Grouping]) -> tuple[list[int], list[int]]:
    """Split terms into the chain that starts at the largest term, and the border."""
    order = sorted(range(len(groupings)), key=lambda i: -groupings[i].n_levels * groupings[i].k)
    chain, border = [order[0]], []
    for term in sorted(order[1:], key=lambda i: -groupings[i].n_levels):
        if _is_nested(groupings[chain[-1]], groupings[term]):
            chain.append(term)
        else:
            border.append(term)
    return chain, border


def _is_nested(fine: Grouping, coarse: Grouping) -> bool:
    if fine.n_levels < coarse.n_levels:
        return False
    return bool((_parents(fine, coarse)[fine.codes] == coarse.codes).all())


def _parents(fine: Grouping, coarse: Grouping) -> Index:
    parents = np.zeros(fine.n_levels, dtype=np.intp)
    parents[fine.codes] = coarse.codes
    return parents


def _border(
    groupings: Sequence[Grouping], Z: Sequence[Array], terms: Sequence[int]
) -> tuple[tuple[BorderTerm, ...], sparse.csr_array]:
    places, start = [], 0
    for term in terms:
        grouping = groupings[term]
        places.append(BorderTerm(term, start, grouping.n_levels, grouping.k))
        start += grouping.n_levels * grouping.k
    n = len(groupings[0].codes)
    if not terms:
        return (), sparse.csr_array((n, 0))
    stacked = sparse.hstack([_level_design(groupings[t], Z[t]) for t in terms], format="csr")
    return tuple(places), sparse.csr_array(stacked)


def _level_design(grouping: Grouping, Z: Array) -> sparse.csr_array:
    n, k = Z.shape
    columns = (grouping.codes[:, None] * k + np.arange(k)).ravel()
    return sparse.csr_array(
        (Z.ravel(), columns, np.arange(n + 1) * k), shape=(n, grouping.n_levels * k)
    )


def _sum_products(grouping: Grouping, left: Array, right: Array) -> Array:
    """Σ over the rows of each level of left' right, shape (J, k, l)."""
    products = (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)
    n = len(left)
    member = sparse.csr_array(
        (np.ones(n), grouping.codes, np.arange(n + 1)), shape=(n, grouping.n_levels)
    )
    sums = np.asarray(member.T @ products)
    return sums.reshape(grouping.n_levels, left.shape[1], right.shape[1])


def _rms(Z: Array) -> Array:
    rms = np.sqrt((Z**2).mean(axis=0))
    return np.where(rms > 0, rms, 1.0)
