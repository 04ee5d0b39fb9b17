"""Variances of û − u, without a matrix of all random effects."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy import sparse
from scipy.linalg import solve_triangular

from bayesv.covariance.combinations import Combinations
from bayesv.covariance.iterative_factor import IterativeFactor
from bayesv.covariance.marginal import MarginalCovariance
from bayesv.errors import FitWarning, warn
from bayesv.gram import Probes
from bayesv.linalg import Array

__all__ = ["conditional_variances", "quadratic_forms"]

_DENSE = 3000  # columns beside those of the largest term, whose inverse may be dense
_FEW = 64  # combinations, each of which is solved for
_NUMBERS = 4e6  # of the dense rows that are worked on at a time
_ROWS = 100_000  # at a time, at most
_FEWEST, _MOST = 32, 256  # probes
_SAMPLE = 2000  # rows by which their number is chosen
_ERROR = 0.01  # of a standard error by probes, relative, in the root mean square


def conditional_variances(V: MarginalCovariance, A: sparse.csr_array) -> Array:
    """Return the diagonal of A Var(û − u | β) A', shape (m,).

    Parameters
    ----------
    V : MarginalCovariance
    A : scipy.sparse array, shape (m, q)
        Combinations of the random effects, one a row.

    Warns
    -----
    FitWarning
        If effects are so many that the variances are estimated by probes, and the standard errors
        that they make are not good to 1 %.

    Notes
    -----
    With u = Λv, M = I + Λ'Z'R⁻¹ZΛσ²: σ² AΛM⁻¹Λ'A'. The largest term is eliminated, and of what is
    left, S, the inverse is dense, or estimated: its part along constants of each term, along which
    S is nearly singular, and the identity are exact, and the rest, E, is by c'Ec = E[(c'z)(c'Ez)]
    for random signs z.
    """
    design, A = V.design, sparse.csr_array(A @ V.root_of_G)
    if not design.terms:
        return np.zeros(A.shape[0])
    related = any(term.related is not None for term in design.terms)
    if related or A.shape[0] <= _FEW:
        return V.vc.sigma2 * quadratic_forms(V.factor.solve, A)
    parts = IterativeFactor.of(design, V.white_root)
    if len(parts.rest) <= _DENSE:
        return V.vc.sigma2 * _dense(parts, A)
    if isinstance(V.factor, IterativeFactor):
        return V.vc.sigma2 * _probed(parts, A)
    return V.vc.sigma2 * quadratic_forms(V.factor.solve, A)


def quadratic_forms(solve: Callable[[Array], Array], A: sparse.csr_array) -> Array:
    """Return the diagonal of AM⁻¹A', shape (m,), of what solves with M, some rows at a time."""
    values = np.empty(A.shape[0])
    for rows in _batches(*A.shape):
        sides = A[rows].toarray().T
        values[rows] = (sides * solve(sides)).sum(axis=0)
    return values


def _dense(parts: IterativeFactor, A: sparse.csr_array) -> Array:
    """Return the diagonal of AM⁻¹A' by the inverse of S."""
    whole = Combinations.of(parts, A)
    if not (size := len(parts.rest)):
        return whole.known()
    half = solve_triangular(np.linalg.cholesky(parts.scaled().toarray()), np.eye(size), lower=True)
    inverse, values = half.T @ half, np.empty(A.shape[0])
    for some in whole.batches(int(_NUMBERS / max(size, 1)), _ROWS):
        values[some.rows] = some.known() + some.forms(inverse)
    return values


def _probed(parts: IterativeFactor, A: sparse.csr_array) -> Array:
    """Return the diagonal of AM⁻¹A' by probes of S⁻¹."""
    q, K, probes = len(parts.rest), parts.flat.shape[1], Probes()
    y = parts.solve_scaled(parts.flat)
    along_flat = np.linalg.inv(np.linalg.cholesky(parts.flat.T @ y)).T
    exact, basis = y @ along_flat, np.linalg.qr(parts.flat)[0]
    z, rest = np.zeros((q, 0)), np.zeros((q, 0))
    whole, m = Combinations.of(parts, A), A.shape[0]
    sample = whole.take(np.unique(np.linspace(0, m - 1, min(_SAMPLE, m)).astype(int)))
    while True:
        more = probes.draw(q, range(z.shape[1], max(_FEWEST, 2 * z.shape[1])))
        x = parts.solve_scaled(more) - exact @ (exact.T @ more)
        z = np.hstack([z, more])
        rest = np.hstack([rest, x - more + basis @ (basis.T @ more)])
        value, of_mean = _estimated(sample, exact, basis, z, rest)
        error = 0.5 * of_mean[value > 0] / value[value > 0]
        rms = float(np.sqrt((error**2).mean())) if error.size else 0.0
        if rms <= _ERROR or z.shape[1] >= _MOST:
            break
    if rms > _ERROR:
        warn(
            f"Standard errors of random effects are estimated by {z.shape[1]} probes, with errors "
            f"of {rms:.1%} (root mean square): {q:,} effects are crossed with the largest term, "
            f"{K} of their directions are exact.",
            FitWarning,
        )
    values, most = np.empty(m), int(_NUMBERS / (4 * z.shape[1]))
    for some in whole.batches(most, most):
        values[some.rows] = _estimated(some, exact, basis, z, rest)[0]
    return values


def _estimated(
    some: Combinations, exact: Array, basis: Array, z: Array, rest: Array
) -> tuple[Array, Array]:
    """Return the diagonal of AM⁻¹A' by probes z with what S⁻¹ leaves of them, and its error."""
    known = some.known() + (some.times(exact) ** 2).sum(axis=1)
    inside = some.squares() - (some.times(basis) ** 2).sum(axis=1)
    products = some.times(z) * some.times(rest)
    # Whatever the probes say, S⁻¹ ≥ 0.
    values = known + np.maximum(inside + products.mean(axis=1), 0.0)
    return values, products.std(axis=1, ddof=1) / np.sqrt(z.shape[1])


def _batches(m: int, width: int) -> Iterator[slice]:
    step = max(1, int(_NUMBERS / max(width, 1)))
    yield from (slice(start, min(start + step, m)) for start in range(0, m, step))
