"""Simulation-based calibration of the collapsed engine.

Parameters are drawn from the priors, data from the parameters, and the parameters are ranked among
posterior draws; ranks are uniform if priors, density and sampler agree with the simulator (Talts et
al. 2018, https://arxiv.org/abs/1804.06788). Quantities of data and parameters, such as the
likelihood, see what parameters alone do not (Modrák et al. 2023,
https://doi.org/10.1214/23-BA1404). Simulator and likelihoods here are dense and share no code with
the library. ``python -m tests.sbc --help`` runs the cases that are too slow for the tests.
"""

from __future__ import annotations

import argparse
import multiprocessing
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom

import bayesv as bv
from bayesv.priors import ResolvedPriors, SdPrior

Array = NDArray[Any]
Values = dict[str, Array]


@dataclass(frozen=True, eq=False)
class Band:
    """Simultaneous band for the ECDF of ranks: limits of the number of ranks below 1, 2, …"""

    lower: Array  # (n_ranks - 1,)
    upper: Array  # (n_ranks - 1,)
    smallest: Array  # sorted smallest pointwise p-values of simulated uniform ranks

    def excess(self, ranks: Array) -> float:
        """Return how far the ECDF leaves the band, as a probability; 0 if it does not."""
        counts = self._counts(ranks)
        outside = np.maximum(self.lower - counts, counts - self.upper).max()
        return float(max(outside, 0.0) / len(ranks))

    def p_value(self, ranks: Array) -> float:
        """Return the share of uniform samples that stray as far."""
        found = _smallest_p(self._counts(ranks)[None], len(ranks))
        return float(np.searchsorted(self.smallest, found, side="right")[0] / len(self.smallest))

    def _counts(self, ranks: Array) -> Array:
        return np.cumsum(np.bincount(ranks, minlength=len(self.lower) + 1))[:-1]


@lru_cache(maxsize=16)
def ecdf_band(n_replicates: int, n_ranks: int, prob: float = 0.95, seed: int = 0) -> Band:
    """Return the band that the whole ECDF of uniform ranks stays in with probability `prob`.

    Its pointwise coverage is 1 − γ, γ the (1 − prob)-quantile of the smallest pointwise p-value of
    simulated ranks (Säilynoja et al. 2022, https://doi.org/10.1007/s11222-022-10090-6).
    """
    rng = np.random.default_rng(seed)
    cells = rng.multinomial(n_replicates, np.full(n_ranks, 1 / n_ranks), size=20_000)
    smallest = np.sort(_smallest_p(np.cumsum(cells, axis=1)[:, :-1], n_replicates))
    # The margin is for rounding: a count whose p-value is γ itself lies inside.
    gamma = smallest[int((1 - prob) * len(smallest))] * (1 - 1e-9)
    z = np.arange(1, n_ranks) / n_ranks
    lower, upper = (binom.ppf(q, n_replicates, z) for q in (gamma / 2, 1 - gamma / 2))
    return Band(lower, upper, smallest)


def _smallest_p(counts: Array, n: int) -> Array:
    """Smallest two-sided binomial p-value in each row of counts, shape (S, n_ranks − 1)."""
    at = np.arange(counts.shape[1])
    z, possible = (at[:, None] + 1) / (len(at) + 1), np.arange(n + 1)
    tail = np.minimum(binom.cdf(possible, n, z), binom.sf(possible - 1, n, z))
    return np.asarray(2 * tail[at, counts].min(axis=1))


@dataclass(frozen=True, eq=False)
class Result:
    """Ranks of every quantity among draws, and whether they are uniform."""

    ranks: dict[str, Array]
    band: Band
    n_draws: int
    fallbacks: int  # replicates that the collapsed engine refused; they have no ranks

    @property
    def excess(self) -> dict[str, float]:
        """How far each quantity leaves its band, as a probability."""
        return {name: self.band.excess(ranks) for name, ranks in self.ranks.items()}

    @property
    def failed(self) -> dict[str, float]:
        """The quantities that leave their band, with their excess."""
        return {name: excess for name, excess in self.excess.items() if excess > 0}

    def __str__(self) -> str:
        # A spread above 1 means that the draws are too narrow, or dependent.
        lines = []
        for name, ranks in self.ranks.items():
            u, excess = (ranks + 0.5) / (self.n_draws + 1), self.excess[name]
            lines.append(
                f"{name:24}{'FAIL' if excess else 'pass'}  excess {excess:.4f}  "
                f"p {self.band.p_value(ranks):.4f}  mean {u.mean():.3f}  "
                f"spread {u.std() * 12**0.5:.3f}"
            )
        return "\n".join([*lines, f"{len(u)} replicates ranked, {self.fallbacks} fallbacks"])


class Case(NamedTuple):
    """The arguments of `bayesv.Model`.

    The frame's response is a place holder, and every prior is given: defaults move with the data.
    """

    formula: str
    frame: pd.DataFrame
    priors: bv.Priors
    var_weights: str | None = None


def run_sbc(
    case: Case,
    quantities: Sequence[str] | None = None,
    *,
    n_replicates: int,
    seed: int = 0,
    draws: int = 25,
    chains: int = 4,
    thin: int = 1,
    keep_u: bool = False,
    workers: int = 1,
) -> Result:
    """Simulate, fit and rank.

    Parameters
    ----------
    case : Case
    quantities : sequence of str, optional
        Which quantities to rank; all if left out. Bands are Bonferroni over them.
    n_replicates, seed, draws, chains, thin : int
        Each replicate ranks the truth among every ``thin``-th draw of each chain.
    keep_u : bool
        Whether to rank a random effect of each column and a fitted value as well.
    workers : int
        Processes; the ranks do not depend on it.
    """
    options = {"draws": draws, "chains": chains, "keep_u": keep_u, "cores": 1}
    replicate = partial(_replicate, case, bv.Model(*case).priors, options, thin)
    seeds = np.random.SeedSequence(seed).spawn(n_replicates)
    if workers == 1:
        found = [replicate(seed) for seed in seeds]
    else:
        spawn = multiprocessing.get_context("spawn")  # threads of BLAS do not survive a fork
        with ProcessPoolExecutor(workers, spawn) as pool:
            found = list(pool.map(replicate, seeds, chunksize=10))
    ranked = [ranks for ranks in found if ranks is not None]
    names = quantities or list(ranked[0])
    ranks = {name: np.array([one[name] for one in ranked]) for name in names}
    n_draws = chains * (draws // thin)
    band = ecdf_band(len(ranked), n_draws + 1, prob=1 - 0.05 / len(names))
    return Result(ranks, band, n_draws, n_replicates - len(ranked))


def _replicate(
    case: Case,
    priors: ResolvedPriors,
    options: dict[str, Any],
    thin: int,
    seed: np.random.SeedSequence,
) -> dict[str, int] | None:
    """Ranks of one replicate; None where the engine hands over to NUTS."""
    rng = np.random.default_rng(seed)
    truth, y = _simulate(priors, rng)
    fitted = bv.Model(*case._replace(frame=case.frame.assign(**{priors.design.response: y})))
    if (fitted.priors.sd, fitted.priors.sigma) != (priors.sd, priors.sigma):
        raise ValueError(f"Priors that move with the data cannot be calibrated:\n{fitted.priors}")
    with warnings.catch_warnings():
        # So few draws are kept that a low ESS is reported; a hand-over need not be carried out.
        warnings.simplefilter("ignore", bv.SamplingWarning)
        warnings.filterwarnings("error", ".*runs instead", bv.SamplingWarning)
        try:
            post = fitted.sample(seed=int(rng.integers(2**31)), **options)
        except bv.SamplingWarning:
            return None
    if post.engine != "collapsed":
        return None
    both = {}
    for name, true in truth.items():
        if name in post.draws["posterior"]:
            drawn = np.asarray(post.draws["posterior"][name])[:, thin - 1 :: thin]
            both[name] = np.concatenate([drawn.reshape(-1, *np.shape(true)), [true]])
    ranks = {}
    for name, values in _quantities(priors, both, y).items():
        below, ties = (values[:-1] < values[-1]).sum(), (values[:-1] == values[-1]).sum()
        ranks[name] = int(below + rng.integers(ties + 1))
    return ranks


def _simulate(priors: ResolvedPriors, rng: np.random.Generator) -> tuple[Values, Array]:
    """Parameters from the priors under the posterior's names, and data from the parameters."""
    design = priors.design
    beta = np.array([rng.normal(prior.mean, prior.sd) for prior in priors.beta])
    sigma = _draw_sd(priors.sigma, rng)
    truth: Values = {"sigma": np.array(sigma), "beta": beta}
    w = np.ones(design.n) if design.weights is None else design.weights
    y = design.X @ beta + sigma * rng.normal(size=design.n) / np.sqrt(w)
    for term in design.terms:
        root = np.zeros((term.n_columns, term.n_columns))
        for block in term.blocks:
            eta = priors.corr[term.group].eta if len(block) > 1 else 1.0
            root[np.ix_(block, block)] = _draw_lkj_root(len(block), eta, rng)
        sd = np.array([_draw_sd(prior, rng) for prior in priors.sd[term.group]])
        u = rng.normal(size=(term.n_levels, term.n_columns)) @ (sd[:, None] * root).T
        truth |= {f"sd_{term.group}": sd, f"corr_{term.group}": root @ root.T}
        truth[f"u_{term.group}"] = u
        y += (term.values * u[term.codes]).sum(axis=1)
    return truth, y


def _draw_sd(prior: SdPrior, rng: np.random.Generator) -> float:
    match prior:
        case bv.HalfNormal(scale):
            return abs(scale * rng.normal())
        case bv.HalfStudentT(nu, scale):
            return abs(scale * rng.standard_t(nu))
        case bv.Exponential(scale):
            return rng.exponential(scale)
        case bv.Gamma(shape, scale):
            return rng.gamma(shape, scale)
    raise ValueError(f"There is no simulator for {prior}.")


def _draw_lkj_root(r: int, eta: float, rng: np.random.Generator) -> Array:
    """Cholesky factor of an LKJ(η) correlation matrix by the onion method (LKJ 2009, 3.2)."""
    root = np.eye(r)
    for k in range(1, r):
        length2 = rng.beta(k / 2, eta + (r - 1 - k) / 2)
        direction = rng.normal(size=k)
        root[k, :k] = np.sqrt(length2) * direction / np.linalg.norm(direction)
        root[k, k] = np.sqrt(1 - length2)
    return root


def _quantities(priors: ResolvedPriors, values: Values, y: Array) -> Values:
    """Every quantity of S parameter values, shapes (S,)."""
    design, sigma, beta = priors.design, values["sigma"], values["beta"]
    out = {"sigma": sigma}
    out |= {f"beta {name}": beta[:, i] for i, name in enumerate(design.fixed_names)}
    w = np.ones(design.n) if design.weights is None else design.weights
    V = sigma[:, None, None] ** 2 * np.diag(1 / w)
    fitted = beta @ design.X[0]
    for term in design.terms:
        sd, corr = values[f"sd_{term.group}"], values[f"corr_{term.group}"]
        out |= {f"sd {term.group}: {c}": sd[:, i] for i, c in enumerate(term.columns)}
        for i, j in zip(*np.nonzero(np.tril(term.mask, -1)), strict=True):
            # Rounded, so that correlations that differ from 1 by rounding errors are ties.
            out[f"corr {term.group}: {i} {j}"] = corr[:, i, j].round(12)
        cov = np.where(term.mask, corr, 0.0) * sd[:, :, None] * sd[:, None, :]
        V += (term.codes[:, None] == term.codes) * (term.values @ cov @ term.values.T)
        if f"u_{term.group}" in values:
            u = values[f"u_{term.group}"]
            out |= {f"u {term.group}: {c}": u[:, 0, i] for i, c in enumerate(term.columns)}
            fitted = fitted + u[:, term.codes[0]] @ term.values[0]
            out["fitted value"] = fitted
    mean = np.array([prior.mean for prior in priors.beta])
    VX = design.X * np.array([prior.sd for prior in priors.beta])
    out["log p(y | Σ, σ, β)"] = _log_normal(y - beta @ design.X.T, V)
    out["log p(y | Σ, σ)"] = _log_normal(y - design.X @ mean, V + VX @ VX.T)
    return out


def _log_normal(residual: Array, V: Array) -> Array:
    """Log density of a centred normal up to a constant."""
    L = np.linalg.cholesky(V)
    z = np.linalg.solve(L, np.broadcast_to(residual, L.shape[:2])[..., None])[..., 0]
    return np.asarray(-np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1) - 0.5 * (z**2).sum(-1))


def main() -> None:
    """Print one table for each slow case."""
    from tests.test_sbc import SLOW

    parser = argparse.ArgumentParser(prog="python -m tests.sbc")
    parser.add_argument("cases", nargs="*", default=list(SLOW), help=", ".join(SLOW))
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    for name in given.cases:
        result = run_sbc(SLOW[name], n_replicates=given.replicates, workers=given.workers)
        print(f"{name}: {SLOW[name].formula}\n{result}\n", flush=True)


if __name__ == "__main__":
    main()
