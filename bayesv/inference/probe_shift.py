"""How far the posterior would move with other probes of the log-determinant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayesv.inference.density import MarginalDensity
from bayesv.inference.target import Target
from bayesv.linalg import Array

__all__ = ["coarse", "probe_shift"]

_MOST = 0.02  # standard deviations


def probe_shift(target: Target, x: Array) -> dict[str, Any]:
    """Return what is said of a density with probes: how far others move the mean of a coordinate.

    Parameters
    ----------
    target : Target
    x : ndarray, shape (S, d)
        Draws.

    Returns
    -------
    dict
        ``n_probes`` and ``probe_shift``, the largest shift in posterior SDs; empty if the density
        is exact.

    Notes
    -----
    The log densities of two sets of probes differ by next to a linear function where the draws are;
    with its slope g and the draws' covariance C, means differ by Cg.
    """
    density = target.density
    stats, probes = density.stats, density.stats.probes
    if probes is None:
        return {}
    others = MarginalDensity(stats.with_probes(probes.others), density.priors)
    other = Target(others, coordinates=target.coordinates)
    centre, covariance = x.mean(axis=0), np.atleast_2d(np.cov(x.T))
    slopes = [one.value_and_gradient(centre)[1] for one in (target, other)]
    shift = covariance @ (slopes[1] - slopes[0]) / np.sqrt(np.diagonal(covariance))
    return {
        "n_probes": probes.number(stats.p + 1),
        "probe_shift": float(np.abs(shift).max()),
    }


def coarse(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Say so if other probes would move the posterior by more than does not matter."""
    if said.get("probe_shift", 0.0) <= _MOST:
        return ()
    return (
        f"with {said['n_probes']} other probes of the log-determinant a posterior mean would move "
        f"by {said['probe_shift']:.1%} of its posterior SD: call model.reml(tolerance=…) with a "
        "smaller tolerance first, whose probes are used",
    )
