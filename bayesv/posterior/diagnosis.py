"""What is wrong with draws, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.covariance.quantities import Quantity
from bayesv.diagnostics.convergence import rhat_and_ess
from bayesv.gram import GramStatistics
from bayesv.inference.tails import Tails
from bayesv.linalg import Array, psd_root
from bayesv.reml import rounded_response, unidentified

__all__ = ["of_chains", "of_model", "of_tails"]

_MAX_RHAT = 1.01
_MIN_ESS = 400  # Vehtari et al. 2021, https://doi.org/10.1214/20-BA1221


def of_chains(quantities: Sequence[Quantity], sample_stats: Mapping[str, Array]) -> list[str]:
    """Return divergences, R-hat and effective sample sizes that are not as they should be.

    Parameters
    ----------
    quantities : sequence of Quantity
        Draws of every scalar, (chain, draw).
    sample_stats : mapping of str to ndarray, shape (chain, draw)
    """
    problems = []
    free = [q for q in quantities if q.scale in ("sd", "corr", "beta")]
    x = np.stack([q.values for q in free], axis=-1)
    n_chains, n_draws = x.shape[:2]
    diverging = sample_stats.get("diverging")
    if diverging is not None and (count := int(np.sum(diverging))):
        problems.append(
            f"{count} divergent transition{'s' * (count > 1)} of {n_chains * n_draws}; the "
            "posterior may be explored incompletely (raise target_accept or tune)"
        )
    ratio, bulk, tail = rhat_and_ess(x)
    ess = np.fmin(bulk, tail)
    if n_chains > 1 and (ratio > _MAX_RHAT).any():
        i = int(np.nanargmax(ratio))
        worst = min(float(ratio[i]), 10.0)
        problems.append(f"R-hat up to {worst:.3f} ({free[i].label}), above {_MAX_RHAT}")
    if np.isnan(ess).all():
        problems.append(f"{n_draws} draws a chain are too few for diagnostics; draw more")
    elif (ess < _MIN_ESS).any():
        i = int(np.nanargmin(ess))
        problems.append(
            f"effective sample size down to {int(ess[i])} ({free[i].label}), below {_MIN_ESS}; "
            "draw more"
        )
    return problems


def of_tails(tails: Tails) -> list[str]:
    """Return whose tails are so heavy that E[V | y] does not exist."""
    if not (heavy := tails.infinite_mean):
        return []
    return [
        f"E[V | y] is infinite: the posterior of the SD of {', '.join(heavy)} has a tail too heavy "
        "for a mean of its square (few levels, a prior with a heavy tail); use medians, or "
        "HalfNormal or HalfStudentT(3, …)"
    ]


def of_model(values: ComponentDraws, stats: GramStatistics) -> list[str]:
    """Return what the data cannot tell apart, and digits that are lost at the median draw."""
    problems = [*unidentified(values.design, stats)]
    sigma2 = float(np.median(values.sigma2))
    middle = [np.median(cov, axis=(0, 1)) / sigma2 for cov in values.covs.values()]
    lost = stats.lost_digits(stats.relative_error([psd_root(cov) for cov in middle]))
    rounded = rounded_response(values.design, sigma2**0.5)
    return [*problems, *(digits for digits in (lost, rounded) if digits)]
