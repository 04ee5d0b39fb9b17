"""What derivatives of the likelihood, and Kenward and Roger's adjustment, need of V."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayesv.errors import ComponentsError
from bayesv.linalg import Array, symmetrize

__all__ = ["Information", "inverse_gram"]


@dataclass(frozen=True, eq=False)
class Information:
    """Sums at one V; i, j are its m parameters, V_i and V_ij derivatives, 𝒫 = V⁻¹ − V⁻¹XΦX'V⁻¹.

    Attributes
    ----------
    Phi : ndarray, shape (p, p)
        (X'V⁻¹X)⁻¹, X in the columns of the frame.
    delta : ndarray, shape (p,)
        γ̂ of GLS less γ of GLS for R.
    P : ndarray, shape (m, p, p)
        −X'V⁻¹V_iV⁻¹X.
    traces : ndarray, shape (m,)
        tr(V⁻¹V_i).
    products : ndarray, shape (m, m)
        tr(V⁻¹V_iV⁻¹V_j).
    projected : ndarray, shape (m, m)
        tr(𝒫V_i𝒫V_j): twice the expected information of REML.
    squares : ndarray, shape (m,)
        y'𝒫V_i𝒫y.
    curvatures : ndarray, shape (m, m)
        y'𝒫V_i𝒫V_j𝒫y.
    bent : dict
        For "REML" tr(𝒫V_ij) − y'𝒫V_ij𝒫y, for "ML" tr(V⁻¹V_ij) − y'𝒫V_ij𝒫y, shapes (m, m).
    largest : float
        Largest variance of an effect's share of the rows beside that of R: it times 1e-16 are the
        digits that are lost.
    inner : callable
        ``inner(W, linear)``: Σ_ij W_ij (Q_ij − P_iΦP_j − ¼R_ij), (p, p), with Q_ij =
        X'V⁻¹V_iV⁻¹V_jV⁻¹X, and R_ij = X'V⁻¹V_ijV⁻¹X left out if ``linear``.
    """

    Phi: Array
    delta: Array
    P: Array
    traces: Array
    products: Array
    projected: Array
    squares: Array
    curvatures: Array
    bent: dict[str, Array]
    largest: float
    inner: Callable[[Array, bool], Array]

    def gradient(self, method: str) -> Array:
        """Return the derivative of −2 log (restricted) likelihood, shape (m,)."""
        traces = self.traces
        if method == "REML":
            traces = traces + np.einsum("ab,iba->i", self.Phi, self.P)
        return np.asarray(traces - self.squares)

    def hessian(self, method: str) -> Array:
        """Return the second derivative of −2 log (restricted) likelihood, shape (m, m)."""
        expected = self.projected if method == "REML" else self.products
        return symmetrize(2.0 * self.curvatures - expected + self.bent[method])


def inverse_gram(S: Array) -> Array:
    """Return (X'V⁻¹X)⁻¹.

    Raises
    ------
    ComponentsError
        If X'V⁻¹X cannot be factored.
    """
    unit = np.sqrt(np.diagonal(S))
    try:
        half = np.linalg.inv(np.linalg.cholesky(symmetrize(S / np.outer(unit, unit)))) / unit
    except np.linalg.LinAlgError as error:
        raise ComponentsError(
            "X'V⁻¹X cannot be factored in double precision: the variances of the random effects "
            "are too large beside sigma2."
        ) from error
    return np.asarray(half.T @ half)
