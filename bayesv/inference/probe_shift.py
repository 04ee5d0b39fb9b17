"""How far the posterior is from where all probes of the log-determinant would put it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import stdtrit

from bayesv.gram import probe_logs
from bayesv.inference.target import Target
from bayesv.linalg import Array

__all__ = ["coarse", "probe_shift"]

_MOST = 0.02  # standard deviations
_STEP = 0.1  # of differences, posterior SDs
_SURE = 0.975  # probability up to which an error of the probes is covered, on either side


def probe_shift(target: Target, x: Array) -> dict[str, Any]:
    """Return what is said of a density with probes: how well they know the mean of a coordinate.

    Parameters
    ----------
    target : Target
    x : ndarray, shape (S, d)
        Draws.

    Returns
    -------
    dict
        ``n_probes`` and ``probe_shift``, how far a mean may be from where infinitely many probes
        put it, in posterior SDs, covered with 95 %, of the coordinate where that is most; empty if
        the density is exact.

    Notes
    -----
    Where the draws are the part of a probe is next to linear; with its slope g and the draws'
    covariance C, it would put the means Cg elsewhere.
    """
    density = target.density
    stats, probes = density.stats, density.stats.probes
    if probes is None:
        return {}
    n = probes.number(stats.p + 1)
    centre, covariance = x.mean(axis=0), np.atleast_2d(np.cov(x.T))
    sds = np.sqrt(np.diagonal(covariance))
    lambdas, _ = target.coordinates.to_lambdas(
        centre + _STEP * np.vstack([0.0 * sds, np.diag(sds)])
    )
    logs = probe_logs(stats, stats.in_basis(lambdas))
    slopes = -0.5 * (logs[1:] - logs[0]) / (_STEP * sds[:, None])
    shift = (covariance @ slopes).std(axis=1, ddof=1) / np.sqrt(n) / sds
    return {
        "n_probes": n,
        "probe_shift": float(shift.max() * stdtrit(n - 1, _SURE)),
    }


def coarse(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Say so if probes leave the posterior less well known than does not matter."""
    if said.get("probe_shift", 0.0) <= _MOST:
        return ()
    return (
        f"with {said['n_probes']} probes of the log-determinant a posterior mean is known to "
        f"{said['probe_shift']:.1%} of its posterior SD: call model.reml(tolerance=…) with a "
        "smaller tolerance first, whose probes are used",
    )
