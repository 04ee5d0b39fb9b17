"""Derivatives of the (restricted) likelihood by parameters of R, from sums by pattern."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesv.gram.patterns import PatternSums
from bayesv.linalg import Array, symmetrize

__all__ = ["PatternInformation", "pattern_information"]


@dataclass(frozen=True, eq=False)
class PatternInformation:
    """Sums at one R(θ); i, j are the h parameters θ, V = R of all series.

    Attributes
    ----------
    Phi : ndarray, shape (p, p)
        (X'V⁻¹X)⁻¹.
    beta : ndarray, shape (p,)
        GLS estimate.
    P : ndarray, shape (h, p, p)
        −X'V⁻¹V_iV⁻¹X.
    Q : ndarray, shape (h, h, p, p)
        X'V⁻¹V_iV⁻¹V_jV⁻¹X, its symmetric part over X's columns.
    bends : ndarray, shape (h, h, p, p)
        X'V⁻¹V_ijV⁻¹X.
    expected, observed : ndarray, shape (h, h)
        Information on θ of REML.
    gradient : ndarray, shape (h,)
        Derivative of −2 log restricted likelihood.
    """

    Phi: Array
    beta: Array
    P: Array
    Q: Array
    bends: Array
    expected: Array
    observed: Array
    gradient: Array

    def adjusted(self, W: Array, *, linear: bool = False) -> Array:
        """Return Kenward and Roger's covariance of β̂, (p, p), given the covariance W of θ̂.

        Parameters
        ----------
        W : ndarray, shape (h, h)
        linear : bool
            Whether second derivatives of V are left out.
        """
        inner = self.Q - np.einsum("iab,bc,jcd->ijad", self.P, self.Phi, self.P, optimize=True)
        if not linear:
            inner = inner - 0.25 * self.bends
        middle = np.einsum("ij,ijab->ab", W, inner)
        return self.Phi + 2.0 * symmetrize(self.Phi @ middle @ self.Phi)


def pattern_information(
    sums: PatternSums, R: Array, first: Array, second: Array | None = None
) -> PatternInformation:
    """Return the sums at one R and its derivatives by the parameters.

    Parameters
    ----------
    sums : PatternSums
        Of [X y].
    R : ndarray, shape (v, v)
    first : ndarray, shape (h, v, v)
        Derivative of R by its parameters.
    second : ndarray, shape (h, h, v, v), optional
        Second derivatives; 0 if left out.

    Notes
    -----
    The formulas are Kenward and Roger's (1997), https://doi.org/10.2307/2533558; the observed
    information is ½[−tr(𝒫V_i𝒫V_j) + 2y'𝒫V_i𝒫V_j𝒫y + tr(𝒫V_ij) − y'𝒫V_ij𝒫y] with
    𝒫 = V⁻¹ − V⁻¹XΦX'V⁻¹.
    """
    p, h = sums.m - 1, len(first)
    inverses = [np.linalg.inv(block) for block in sums.blocks(R)]
    halves = [a @ v for a, v in zip(inverses, sums.blocks(first), strict=True)]  # R⁻¹V_i
    T = sums.contract(inverses)
    Phi = np.linalg.inv(T[:p, :p])
    beta = Phi @ T[:p, p]
    e = np.append(-beta, 1.0)
    A = sums.contract([f @ a for f, a in zip(halves, inverses, strict=True)])
    Q, products = np.zeros((h, h, p + 1, p + 1)), np.zeros((h, h))
    bends, bend_traces = np.zeros_like(Q), np.zeros_like(products)
    for i in range(h):
        both = [f[i] @ f[i:] for f in halves]  # R⁻¹V_iR⁻¹V_j
        inner = [symmetrize(f @ a) for f, a in zip(both, inverses, strict=True)]
        Q[i, i:] = Q[i:, i] = sums.contract(inner)
        products[i, i:] = products[i:, i] = sums.trace(both)
        if second is not None:
            bent = [a @ v for a, v in zip(inverses, sums.blocks(second[i, i:]), strict=True)]
            inner = [f @ a for f, a in zip(bent, inverses, strict=True)]
            bends[i, i:] = bends[i:, i] = sums.contract(inner)
            bend_traces[i, i:] = bend_traces[i:, i] = sums.trace(bent)
    P = -A[:, :p, :p]
    PhiP = Phi @ P
    squared = (  # tr 𝒫V_i𝒫V_j
        products - 2.0 * np.einsum("ab,ijab->ij", Phi, Q[:, :, :p, :p])
        + np.einsum("iab,jba->ij", PhiP, PhiP)
    )  # fmt: skip
    along = A[:, :p] @ e  # X'V⁻¹V_i𝒫y
    curvatures = np.einsum("a,ijab,b->ij", e, Q, e) - along @ Phi @ along.T
    bend_traces -= np.einsum("ab,ijab->ij", Phi, bends[:, :, :p, :p])
    bent_squares = np.einsum("a,ijab,b->ij", e, bends, e)
    traces = sums.trace(halves)
    return PatternInformation(
        Phi=Phi,
        beta=beta,
        P=P,
        Q=Q[:, :, :p, :p],
        bends=bends[:, :, :p, :p],
        expected=0.5 * symmetrize(squared),
        observed=symmetrize(curvatures - 0.5 * squared + 0.5 * (bend_traces - bent_squares)),
        gradient=traces + np.einsum("ab,iba->i", Phi, P) - np.einsum("a,iab,b->i", e, A, e),
    )
