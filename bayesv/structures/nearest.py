"""The member of a family that is nearest to a covariance."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import scipy  # .optimize is loaded when it is used

from bayesv.linalg import Array, Mask, cov_to_sd_corr

__all__ = ["nearest_member"]

_FARTHEST = 12.0  # of |z|: correlations within 1e-10 of the ends of their range
_FLOOR = 1e-10  # added to eigenvalues of C, so that rounding does not make one negative


class _Member(Protocol):
    """What of a family is needed here."""

    @property
    def heterogeneous(self) -> bool: ...
    @property
    def n_corrs(self) -> int: ...
    def corr(self, z: Array) -> Array: ...
    def corr_derivatives(self, z: Array) -> Array: ...
    def coordinates(self, corr: Array) -> Array: ...
    def is_member(self, cov: Array) -> bool: ...
    def root(self, z: Array) -> Array: ...


def nearest_member(family: _Member, cov: Array) -> Array:
    """Return the member Σ with the least tr(Σ⁻¹S) + log|Σ|, S being ``cov``, (r, r).

    Rows of variance 0 keep it where each row has its own; their correlations are then those that
    the others say. S itself comes back where it is in the family.
    """
    if not np.isfinite(cov).all():
        return np.full_like(cov, np.nan)
    sds, corr = cov_to_sd_corr(cov)
    if not sds.any() or family.is_member(cov):
        return cov
    if not family.heterogeneous:
        sds = np.full_like(sds, np.sqrt((sds**2).mean()))
    live = sds > 0.0
    scale = np.where(live, sds, 1.0)
    S = cov / np.outer(scale, scale)
    start = np.clip(family.coordinates(corr), -3.0, 3.0)
    best = min(
        (_descend(family, S, live, z) for z in (start, np.zeros_like(start))),
        key=lambda result: result[0],
    )
    z, logs = best[1][: family.n_corrs], best[1][family.n_corrs :]
    widths = scale * live * np.exp(logs if family.heterogeneous else logs[0])
    return np.asarray(np.outer(widths, widths) * family.corr(z))


def _descend(family: _Member, S: Array, live: Mask, z_start: Array) -> tuple[float, Array]:
    """Return the least loss found from a start, and (z, logs of SDs relative to those of S)."""
    m, r = family.n_corrs, len(S)
    n_sds = r if family.heterogeneous else 1
    rows = np.ix_(live, live)
    S_live = S[rows]

    def loss(x: Array) -> tuple[float, Array]:
        logs = np.broadcast_to(x[m:], (r,))[live]
        spread = np.exp(-logs)
        C = family.corr(x[:m])[rows]
        C = C + _FLOOR * np.eye(len(C))
        root = np.linalg.cholesky(C)
        inverse = np.linalg.inv(root)
        inner = inverse @ (spread[:, None] * S_live * spread) @ inverse.T
        value = np.trace(inner) + 2.0 * np.log(np.diagonal(root)).sum() + 2.0 * logs.sum()
        by_C = inverse.T @ (np.eye(len(C)) - inner) @ inverse
        by_logs = np.zeros(r)
        by_logs[live] = 2.0 - 2.0 * np.einsum("ij,ji->i", inverse.T @ inner, root.T)
        by_z = np.einsum("kij,ij->k", family.corr_derivatives(x[:m])[:, *rows], by_C)
        by_sds = by_logs if n_sds == r else np.atleast_1d(by_logs.sum())
        return float(value), np.concatenate([by_z, by_sds])

    bounds = [(-_FARTHEST, _FARTHEST)] * m + [(-_FARTHEST, _FARTHEST)] * n_sds
    start = np.concatenate([z_start, np.zeros(n_sds)])
    options = {"maxiter": 500, "ftol": 1e-15, "gtol": 1e-9}
    result = scipy.optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    return float(result.fun), np.asarray(result.x)
