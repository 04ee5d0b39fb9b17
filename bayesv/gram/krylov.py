"""Krylov spaces of a symmetric positive definite operator: solutions, logarithms and roots.

A Lanczos basis Q of the powers of A times z, with T = Q'AQ tridiagonal, gives
f(A)z = |z| Q f(T)e₁ to an error that falls geometrically with the number of steps: solutions as in
conjugate gradients, and z'log(A)z = |z|² e₁'log(T)e₁ by Gauss's quadrature (Golub and Meurant 2010,
https://doi.org/10.1515/9781400833887; Ubaru, Chen and Saad 2017,
https://doi.org/10.1137/16M1104974).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesv.linalg import Array, aligned

__all__ = ["EIGHT", "Krylov", "krylov"]

EIGHT = 8  # columns that have their spaces built together

_STEPS = 16  # for which there is room at first
# Of a column relative to what the operator made of it, or of the residual of its solution: its
# space is complete, and what would come next is rounding.
_DEAD = 1e-13
_LITTLE = 1e-3  # of it, with so much rounding that it is made orthogonal twice
_RANK = 1e-12  # of the largest eigenvalue of a derivative, below which it is left out


@dataclass(frozen=True, eq=False)
class Krylov:
    """Bases for eight columns.

    Attributes
    ----------
    basis : ndarray, shape (k, q, 8)
    alpha, beta : ndarray, shape (k, 8)
        Diagonal of T, and what stands below it.
    norms : ndarray, shape (8,)
        Of the columns; 0 for none.
    residual : float
        Largest norm of what a solution leaves of its right side, relative to that.
    """

    basis: Array
    alpha: Array
    beta: Array
    norms: Array
    residual: float

    @cached_property
    def _eigen(self) -> tuple[Array, Array]:
        """Eigenvalues (8, k) and eigenvectors (8, k, k) of T."""
        k = len(self.alpha)
        T = np.zeros((self.alpha.shape[1], k, k))
        places = np.arange(k)
        T[:, places, places] = self.alpha.T
        T[:, places[1:], places[:-1]] = self.beta[:-1].T
        values, vectors = np.linalg.eigh(T)
        return np.maximum(values, np.finfo(float).tiny), vectors

    def apply(self, function: Callable[[Array], Array]) -> Array:
        """Return f(A) times the columns, shape (q, 8)."""
        from bayesv.gram.sparse import combine  # compiled: loaded when it is needed

        values, vectors = self._eigen
        weights = np.einsum("cst,ct,ct->sc", vectors, function(values), vectors[:, 0])
        return np.asarray(combine(self.basis, (weights * self.norms)[:, :, None])[:, :, 0])

    @property
    def logarithms(self) -> Array:
        """z'log(A)z of every column, shape (8,)."""
        values, vectors = self._eigen
        return np.asarray(self.norms**2 * np.einsum("ct,ct->c", np.log(values), vectors[:, 0] ** 2))

    def derivative(self, columns: slice) -> Array:
        """Return F, (q, r), with ∂ Σ z'log(A)z = tr(FF' ∂A) over some of the columns.

        Notes
        -----
        It is ∫ (A + t)⁻¹zz'(A + t)⁻¹ dt over t > 0, in the space Q M Q' with
        M = Y[(y₁y₁') ∘ L]Y' of T = YθY' and L the divided differences of the logarithm. M has few
        eigenvalues that count.
        """
        from bayesv.gram.sparse import combine  # compiled: loaded when it is needed

        values, vectors = self._eigen
        first = vectors[:, 0]
        total, gap = (values[:, :, None] + sign * values[:, None, :] for sign in (1.0, -1.0))
        ratio = gap / total
        small = np.abs(ratio) < 1e-4
        safe = np.where(small, 0.5, ratio)
        slope = np.where(small, 1.0 + ratio**2 / 3.0, np.arctanh(safe) / safe) * 2.0 / total
        inner, turn = np.linalg.eigh(first[:, :, None] * slope * first[:, None, :])
        size = inner.max(axis=1, keepdims=True)
        rank = int((inner > _RANK * size).sum(axis=1).max())
        roots = np.sqrt(np.maximum(inner[:, -rank:], 0.0)) * self.norms[:, None]
        factors = vectors @ turn[:, :, -rank:] * roots[:, None, :]
        used = np.zeros(len(self.norms), dtype=bool)
        used[columns] = True
        parts = combine(self.basis, np.ascontiguousarray(np.moveaxis(factors, 0, 1)))
        return np.asarray(parts[:, used].reshape(len(parts), -1))


def krylov(times: Callable[[Array], Array], columns: Array, tolerance: Array, most: int) -> Krylov:
    """Build the Krylov spaces of eight columns until solutions are within a tolerance.

    Parameters
    ----------
    times : callable
        A times columns, (q, 8).
    columns : ndarray, shape (q, 8)
    tolerance : ndarray, shape (8,)
        Of the norm of the residual relative to the column.
    most : int
        Steps at most.

    Notes
    -----
    Bases are kept orthogonal to all digits. The residual of the solution after k steps is
    Π β_i/d_i, with d the pivots of T = LDL'.
    """
    from bayesv.gram.sparse import orthogonalise  # compiled: loaded when it is needed

    norms = np.sqrt(np.einsum("qc,qc->c", columns, columns))
    basis = aligned((_STEPS, *columns.shape))
    basis[0] = columns / np.where(norms > 0, norms, 1.0)
    alphas: list[Array] = []
    betas: list[Array] = []
    pivot, residual = np.ones(len(norms)), np.where(norms > 0, 1.0, 0.0)
    alive = norms > 0
    while True:
        k = len(alphas)
        w = times(basis[k])
        size = np.sqrt(np.einsum("qc,qc->c", w, w))
        alpha = np.where(alive, orthogonalise(basis, k + 1, w)[k], 1.0)
        pivot = alpha - (betas[-1] ** 2 / pivot if k else 0.0)
        beta = np.sqrt(np.einsum("qc,qc->c", w, w))
        if (little := alive & (beta < _LITTLE * size)).any():
            again = w.copy()
            orthogonalise(basis, k + 1, again)
            w = np.where(little, again, w)
            beta = np.sqrt(np.einsum("qc,qc->c", w, w))
        alive = alive & (beta > _DEAD * size) & (residual * beta > _DEAD * np.abs(pivot))
        beta = np.where(alive, beta, 0.0)
        residual = np.where(residual > 0, residual * beta / np.abs(pivot), 0.0)
        alphas.append(alpha)
        betas.append(beta)
        if not (residual > tolerance).any() or k + 1 == min(most, len(columns)):
            break
        if k + 1 == len(basis):
            more = aligned((2 * len(basis), *columns.shape))
            more[: len(basis)] = basis
            basis = more
        basis[k + 1] = np.where(alive, w / np.where(alive, beta, 1.0), 0.0)
    return Krylov(basis[: k + 1], np.array(alphas), np.array(betas), norms, float(residual.max()))
