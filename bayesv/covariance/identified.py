"""Which combinations of (Σ_f, σ²) the data can tell apart, and inverses that keep to those."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayesv.covariance.information import Information
from bayesv.errors import ComponentsError
from bayesv.linalg import Array, symmetrize

__all__ = ["Identified", "identified"]

# Eigenvalues of the information in units of its diagonal. Where V, X and the columns of Z carry no
# scale, what is linearly dependent has eigenvalues of 1e-15 or so and what is not seldom one
# below 1e-4: between the two bounds a judgement would be a guess.
_NULL, _CLEAR = 1e-11, 1e-8
_ZERO_ELEMENT = 1e-10  # element of a unit vector that is 0
_SUSPECT_EIGENVALUE = 1e-5  # smallest eigenvalue at the estimates below which the rank is looked at


@dataclass(frozen=True, eq=False)
class Identified:
    """Directions of the m parameters that V, or the residuals, do not depend on.

    Attributes
    ----------
    aliased : ndarray, shape (m, a)
        Orthonormal, in units of ``unit``: Σ n_i V_i = 0, so one V is stated in many ways.
    lost : ndarray, shape (m, l)
        The others with 𝒫(Σ n_i V_i)𝒫 = 0: V moves, but REML's likelihood does not.
    unit : ndarray, shape (m,)
        Scale of each parameter.
    doubtful : bool
        Whether an eigenvalue is neither clearly zero nor clearly not.
    """

    aliased: Array
    lost: Array
    unit: Array
    doubtful: bool

    @property
    def directions_aliased(self) -> Array:
        """Aliased directions, parameters in their own units, shape (m, a)."""
        return np.asarray(self.aliased * self.unit[:, None])

    @property
    def directions_lost(self) -> Array:
        """Lost directions, parameters in their own units, shape (m, l)."""
        return np.asarray(self.lost * self.unit[:, None])

    @property
    def kept(self) -> Array:
        """Orthonormal complement, parameters in their own units, shape (m, m − a − l)."""
        null = np.column_stack([self.aliased, self.lost])
        basis = np.linalg.qr(null, mode="complete")[0][:, null.shape[1] :]
        return np.asarray(basis * self.unit[:, None])

    def inverse(self, information: Array) -> Array:
        """Return a reflexive g-inverse of information on all m parameters.

        Notes
        -----
        B(B'IB)⁻¹B' with B the directions that are identified. What depends on V alone does not
        depend on which g-inverse it is.
        """
        kept = self.kept
        inner = symmetrize(kept.T @ information @ kept)
        unit = np.sqrt(np.diagonal(inner))
        try:
            half = np.linalg.inv(np.linalg.cholesky(inner / np.outer(unit, unit))) / unit
        except np.linalg.LinAlgError as error:
            raise ComponentsError(
                "The information on the variance parameters cannot be factored in double "
                "precision: the variances of the random effects are too large beside sigma2, or "
                "too unequal, for a Kenward–Roger adjustment."
            ) from error
        return np.asarray(kept @ half.T @ half @ kept.T)

    def along(self, changes: Array) -> Array:
        """Return what changes of the parameters, (m, k), are along the identified directions."""
        return np.asarray((self.kept / self.unit[:, None] ** 2).T @ changes)


def identified(info: Information, without_effects: Callable[[], Information]) -> Identified:
    """Judge what is identified.

    Parameters
    ----------
    info : Information
        At the estimates.
    without_effects : callable
        Returns it at V = R, with the same derivatives.

    Notes
    -----
    The rank does not depend on the estimates, because 𝒫 A 𝒫 = 0 for one V is 0 for all. So where
    the information at the estimates is near singular, rank is judged at V = R, where neither
    large nor zero variances hide it: from tr(V_iV_j) what is aliased, from tr(𝒫V_i𝒫V_j) what is
    lost besides.
    """
    m, unit = len(info.products), _unit(info.products)
    scaled = info.projected * np.outer(unit, unit)
    if not m or np.linalg.eigvalsh(scaled)[0] > _SUSPECT_EIGENVALUE:
        return Identified(np.zeros((m, 0)), np.zeros((m, 0)), unit, False)
    at_zero = without_effects()
    unit = _unit(at_zero.products)
    scale = np.outer(unit, unit)
    aliased, doubt_alias = _null(at_zero.products * scale)
    lost, doubt_lost = _null(at_zero.projected * scale)
    # Of all that is lost, what is not aliased.
    rest = lost - aliased @ (aliased.T @ lost)
    left, size, _ = np.linalg.svd(rest, full_matrices=False)
    return Identified(aliased, left[:, size > 0.5], unit, doubt_alias or doubt_lost)


def _unit(information: Array) -> Array:
    size = np.sqrt(np.clip(np.diagonal(information), 0.0, None))
    return np.asarray(1.0 / np.where(size > 0, size, 1.0))


def _null(information: Array) -> tuple[Array, bool]:
    """Return the null space, and whether it is doubtful."""
    values, vectors = np.linalg.eigh(information)
    null = values < _CLEAR
    directions = np.where(np.abs(vectors[:, null]) > _ZERO_ELEMENT, vectors[:, null], 0.0)
    # A gap must lie between what is taken for zero and the rest.
    return directions, bool((np.abs(values[null]) > _NULL).any())
