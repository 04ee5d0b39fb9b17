"""Bridge sampling: the evidence from draws of a posterior, whatever engine made them."""

from __future__ import annotations

import numpy as np

from bayesv.diagnostics.convergence import ess_mean
from bayesv.errors import BayesvError
from bayesv.inference.evidence import Evidence, imprecise
from bayesv.inference.proposal import Part, Warp, spread
from bayesv.inference.target import Target, width_root
from bayesv.linalg import Array, log_sum

__all__ = ["by_bridge"]

_ROUNDS = 3  # in which a mixture is fitted to draws
_WIDE = 0.1  # share of its wide component
_MOST_STEPS, _TOLERANCE = 1000, 1e-10  # of the fixed point of log m
_MAX_GAP = 4.5  # standard errors between the two halves
_MOST_OUTSIDE = 1e-3  # share of draws where the density cannot be evaluated


def by_bridge(
    target: Target, x: Array, rng: np.random.Generator, flat: tuple[str, ...] = ()
) -> Evidence:
    """Return the evidence by bridge sampling.

    Parameters
    ----------
    target : Target
        The density with all constants.
    x : ndarray, shape (chains, draws, d)
        Draws of it, in its coordinates.
    rng : Generator
        Of the points that are proposed.
    flat : tuple of str
        As of `Evidence`.

    Raises
    ------
    BayesvError
        If there are fewer than 100 draws, or they are not draws of this density.

    Notes
    -----
    A mixture of t distributions is fitted to one half of every chain, and the optimal bridge of
    Meng and Wong (1996) between as many points of it and the other half gives m; then the halves
    change places, and the two values are averaged. The error is that of Frühwirth-Schnatter
    (2004, https://doi.org/10.1111/j.1368-423X.2004.00125.x), with autocorrelation.
    """
    chains, draws, d = x.shape
    if chains * draws < 100:
        raise BayesvError(f"Bridge sampling needs 100 draws or more; found {chains * draws}.")
    if target.expensive:
        flat_x = x.reshape(-1, d)
        root = width_root(np.cov(flat_x.T).reshape(d, d))
        target.interpolate(flat_x.mean(axis=0), root)
    log_density = target.evaluate(x.reshape(-1, d))[0].reshape(chains, draws)
    outside = float((~np.isfinite(log_density)).mean())
    if outside > _MOST_OUTSIDE:
        raise BayesvError(
            f"The density cannot be evaluated at {outside:.1%} of the draws: they are not draws "
            "of this model, or lie where digits are lost."
        )
    middle = draws // 2
    first, second = slice(0, middle), slice(middle, 2 * middle)
    parts = [
        _one_way(target, x[:, fitted], x[:, used], log_density[:, used], rng)
        for fitted, used in ((first, second), (second, first))
    ]
    logs, errors, sizes = np.array(parts).T
    mcse = float(0.5 * np.sqrt((errors**2).sum()))
    gap = float(abs(logs[0] - logs[1]) / (2.0 * max(mcse, 1e-3)))
    problems = list(imprecise(mcse))
    if gap > _MAX_GAP:
        problems.append(
            f"the two halves of the chains give log evidences that are {gap:.1f} standard errors "
            "apart: draw more, or use engine='collapsed'"
        )
    return Evidence(
        float(logs.mean()), mcse, "bridge", float(sizes.sum()), flat=flat, problems=tuple(problems)
    )


def _one_way(
    target: Target, fitted: Array, used: Array, log_density: Array, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return log m by a proposal of one half and draws of the other, its error, and their ESS."""
    chains, draws, d = used.shape
    proposal = _proposal(fitted.reshape(-1, d), rng)
    points = proposal.sample(rng, chains * draws)
    of_draws = log_density - proposal.log_density(used.reshape(-1, d)).reshape(chains, draws)
    of_points = target.evaluate(points)[0] - proposal.log_density(points)
    # Draws count by their effective number.
    effective = float(np.clip(np.median(ess_mean(used)), 1.0, chains * draws))
    share = effective / (effective + len(points))
    log_m = _fixed_point(of_draws.ravel(), of_points, share)
    at_points = np.exp(of_points - log_m)  # posterior over proposal density
    at_points = at_points / (share * at_points + 1.0 - share)
    at_draws = 1.0 / (share * np.exp(of_draws - log_m) + 1.0 - share)
    size = float(min(ess_mean(at_draws[..., None])[0], at_draws.size))
    square = at_points.var() / at_points.mean() ** 2 / len(points)
    square += at_draws.var() / at_draws.mean() ** 2 / size
    return log_m, float(np.sqrt(square)), size


def _proposal(x: Array, rng: np.random.Generator) -> Part:
    """Fit a mixture to draws, (S, d), in coordinates that are straightened one by one."""
    weights = np.full(len(x), 1.0 / len(x))
    warp = Warp.of(x, weights)
    z = warp.to_z(x)
    root = width_root(np.cov(z.T).reshape(z.shape[1], -1))
    part = Part(spread(z.mean(axis=0), root, rng, _WIDE), warp)
    for _ in range(_ROUNDS):
        part = part.adapted(x, weights)
    return part


def _fixed_point(of_draws: Array, of_points: Array, share: float) -> float:
    """Iterate Meng and Wong's estimate of log m to its fixed point.

    Parameters
    ----------
    of_draws, of_points : ndarray, shapes (S,) and (T,)
        Log of unnormalised posterior over proposal density.
    share : float
        Of draws among draws and points.
    """
    log_s, log_rest = np.log(share), np.log1p(-share)
    of_draws = of_draws[np.isfinite(of_draws)]
    log_m = float(np.median(of_draws))
    for _ in range(_MOST_STEPS):
        top = of_points - np.logaddexp(log_s + of_points, log_rest + log_m)
        bottom = -np.logaddexp(log_s + of_draws, log_rest + log_m)
        new = float(log_sum(top) - log_sum(bottom) + np.log(len(bottom) / len(top)))
        if abs(new - log_m) < _TOLERANCE:
            return new
        log_m = new
    raise BayesvError("Bridge sampling did not converge: draws and proposal hardly overlap.")
