"""The collapsed engine: independence Metropolis–Hastings on p(Σ, σ | y), u and β integrated out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln, logsumexp

from bayesv.covariance import MarginalCovariance, VarianceComponents
from bayesv.errors import BayesvError
from bayesv.inference.coordinates import Coordinates
from bayesv.inference.density import Conditional, MarginalDensity
from bayesv.inference.draws import Draws
from bayesv.linalg import Array

__all__ = ["ProposalError", "sample_collapsed"]

_NU = 5.0  # degrees of freedom of the proposal: heavier tails than any posterior of the vocabulary
_ADAPT = 2000  # draws of each round of adaptation
_ROUNDS = 5
_ENOUGH = 0.6  # importance ESS per draw at which adaptation stops
_MAX_THIN = 8
_WIDE, _WIDE_WEIGHT = 9.0, 0.15  # scale (of the covariance) and share of the wide component
_MAX_KHAT = 0.7  # Vehtari et al. 2024, https://jmlr.org/papers/v25/19-556.html
_MIN_ACCEPTANCE = 0.2
_BOUNDED = 20.0  # largest weight over the mean: up to here chains mix fast whatever k̂ says
_ATTEMPTS = 3
_JUDGED = 1000


class ProposalError(BayesvError):
    """The adapted proposal does not cover the posterior; says Pareto k̂ and acceptance."""


@dataclass(frozen=True, eq=False)
class _Mixture:
    """Mixture of multivariate t distributions with _NU degrees of freedom."""

    weights: Array  # (K,)
    means: Array  # (K, d)
    factors: Array  # (K, d, d), lower Cholesky factors of the scale matrices

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        component = rng.choice(len(self.weights), size, p=self.weights)
        z = rng.normal(size=(size, self.means.shape[1]))
        heavy = np.sqrt(_NU / rng.chisquare(_NU, size))
        steps = np.einsum("sij,sj->si", self.factors[component], z)
        return np.asarray(self.means[component] + heavy[:, None] * steps)

    def parts(self, x: Array) -> tuple[Array, Array]:
        """Return log densities with weights, (S, K), and Mahalanobis distances², (S, K)."""
        d = x.shape[1]
        log, distance = [], []
        for weight, mean, L in zip(self.weights, self.means, self.factors, strict=True):
            m2 = (np.linalg.solve(L, (x - mean).T) ** 2).sum(axis=0)
            norm = gammaln((_NU + d) / 2) - gammaln(_NU / 2) - d / 2 * np.log(_NU * np.pi)
            norm -= np.log(np.diagonal(L)).sum()
            log.append(np.log(weight) + norm - (_NU + d) / 2 * np.log1p(m2 / _NU))
            distance.append(m2)
        return np.stack(log, axis=1), np.stack(distance, axis=1)

    def log_density(self, x: Array) -> Array:
        return np.asarray(logsumexp(self.parts(x)[0], axis=1))

    def adapted(self, x: Array, weights: Array) -> _Mixture:
        """One step of population Monte Carlo towards the weighted sample (Cappé et al. 2008)."""
        log, distance = self.parts(x)
        share = np.exp(log - logsumexp(log, axis=1, keepdims=True)) * weights[:, None]
        gamma = (_NU + x.shape[1]) / (_NU + distance)
        alive = share.sum(axis=0) > 5.0 / len(x)
        means, factors = [], []
        for k in np.flatnonzero(alive):
            w = share[:, k] * gamma[:, k]
            mean = w @ x / w.sum()
            away = x - mean
            scale = (w[:, None] * away).T @ away / share[:, k].sum()
            means.append(mean)
            factors.append(_factor(scale))
        total = share[:, alive].sum(axis=0)
        # A wide component covers tails such as log SD towards −∞ that the sample has not met.
        mean = weights @ x
        away = x - mean
        means.append(mean)
        factors.append(np.sqrt(_WIDE) * _factor((weights[:, None] * away).T @ away))
        portions = np.append((1 - _WIDE_WEIGHT) * total / total.sum(), _WIDE_WEIGHT)
        return _Mixture(portions, np.array(means), np.array(factors))


class _Target:
    """log p(x | y) in unconstrained coordinates, up to a constant."""

    def __init__(self, density: MarginalDensity) -> None:
        self.density = density
        self.coordinates = Coordinates(density.priors)
        self.n_evaluations = 0

    def conditional(self, x: Array) -> tuple[Array, Conditional]:
        self.n_evaluations += len(x)
        lambdas, sigma = self.coordinates.to_lambdas(x)
        found = self.density.conditional(lambdas, sigma**2)
        return found.log_likelihood + self.coordinates.log_prior(x), found

    def __call__(self, x: Array) -> Array:
        """Return the log density, −inf where the coordinates overflow."""
        inside = _inside(x)
        value = np.full(len(x), -np.inf)
        if inside.any():
            with np.errstate(invalid="ignore", over="ignore"):
                value[inside] = self.conditional(x[inside])[0]
        return np.where(np.isfinite(value), value, -np.inf)


def sample_collapsed(
    density: MarginalDensity,
    start: VarianceComponents,
    *,
    draws: int,
    chains: int,
    seed: int | None,
    keep_u: bool,
) -> Draws:
    """Draw from p(Σ, σ, β | y) without sampling u.

    Parameters
    ----------
    density : MarginalDensity
    start : VarianceComponents
        Where the search for the mode starts, such as the REML estimate.
    draws, chains : int
    seed : int or None
    keep_u : bool
        Whether to draw u exactly from its conditional, too.

    Returns
    -------
    Draws
        ``sample_stats`` has ``accepted`` and ``lp``; attributes ``pareto_k``, ``acceptance``,
        ``thin`` and ``n_evaluations``.

    Raises
    ------
    ProposalError
        If Pareto k̂ of the importance weights exceeds 0.7 or fewer than 20 % are accepted.

    Notes
    -----
    A mixture of multivariate t distributions starts at mode and Hessian and is adapted by
    population Monte Carlo. Its draws are proposals of an independence Metropolis–Hastings chain,
    so that the result needs no weights, and their evaluation is one vectorised batch. β is drawn
    exactly from its normal conditional.
    """
    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    target = _Target(density)
    proposal, fraction, best = _adapt(target, start, rng)
    if not fraction > 0:
        raise ProposalError("no proposal has a finite density")
    thin = int(np.clip(np.ceil(0.5 / fraction), 1, _MAX_THIN))
    # However few draws are kept, the proposal is judged on a thousand.
    length = max(draws * thin, -(-_JUDGED // chains))
    for _ in range(_ATTEMPTS):
        x = proposal.sample(rng, chains * length)
        lp, conditional = _evaluate(target, x)
        log_w = lp - proposal.log_density(x)
        khat, largest = _pareto_k(log_w), float(np.exp(log_w.max() - _log_mean(log_w)))
        covered = khat <= _MAX_KHAT or largest <= _BOUNDED
        if covered:
            break
        proposal = proposal.adapted(x, _truncated(log_w))
    first = best[rng.integers(len(best), size=chains)]
    lp_first, conditional_first = _evaluate(target, first)
    log_w_first = lp_first - proposal.log_density(first)
    log_u = np.log(rng.uniform(size=(chains, length)))
    state, accepted = _walk(log_w.reshape(chains, length), log_w_first, log_u)
    rate = float(accepted.mean())
    if not (covered and rate >= _MIN_ACCEPTANCE):
        raise ProposalError(
            f"Pareto k̂ {khat:.2f} (at most {_MAX_KHAT}), acceptance {rate:.2f} (at least "
            f"{_MIN_ACCEPTANCE})"
        )
    last = slice(length - draws * thin + thin - 1, None, thin)
    keep = state[:, last].ravel()
    # Positions index the proposals, and after them the chains' first points.
    everything = np.concatenate([x, first])
    means = np.concatenate([conditional.mean, conditional_first.mean])
    factors = np.concatenate([conditional.factor, conditional_first.factor])
    covs, sigma2 = target.coordinates.to_covs(everything[keep])
    z = rng.normal(size=(len(keep), density.stats.p))
    noise = np.linalg.solve(np.swapaxes(factors[keep], -1, -2), z[..., None])[..., 0]
    gamma = means[keep] + noise
    beta = density.stats.start + gamma @ np.linalg.inv(density.stats.R).T
    shape = (chains, draws)
    u = _effects(density, covs, sigma2, beta, rng) if keep_u else {}
    return Draws(
        covs={g: c.reshape(*shape, *c.shape[1:]) for g, c in covs.items()},
        sigma2=sigma2.reshape(shape),
        beta=beta.reshape(*shape, -1),
        u={g: v.reshape(*shape, *v.shape[1:]) for g, v in u.items()},
        sample_stats={
            "accepted": accepted[:, last],
            "lp": np.concatenate([lp, lp_first])[keep].reshape(shape),
        },
        attrs={
            "pareto_k": khat,
            "acceptance": rate,
            "thin": thin,
            "n_evaluations": target.n_evaluations,
            "seconds": round(time.perf_counter() - started, 4),
            "seed": "none" if seed is None else str(seed),
        },
    )


def _inside(x: Array) -> Any:
    """Where the density can be evaluated: effects up to e¹²σ, all coordinates far from overflow."""
    return (np.abs(x) < 30).all(axis=1) & (x[:, :-1] < 12).all(axis=1)


def _evaluate(target: _Target, x: Array) -> tuple[Array, Conditional]:
    """Log density and conditional of β; far outside, where nothing is accepted, at x = 0."""
    inside = _inside(x)
    with np.errstate(invalid="ignore", over="ignore"):
        lp, conditional = target.conditional(np.where(inside[:, None], x, 0.0))
    return np.where(inside & np.isfinite(lp), lp, -np.inf), conditional


def _adapt(
    target: _Target, start: VarianceComponents, rng: np.random.Generator
) -> tuple[_Mixture, float, Array]:
    """Return the adapted proposal, its importance ESS per draw, and a resampled population."""
    mode, L = _mode(target, start)
    d = len(mode)
    spread = [mode] + [mode + L @ rng.normal(size=d) for _ in range(3)]
    proposal = _Mixture(np.array([0.7, 0.1, 0.1, 0.1]), np.array(spread), np.stack([L] * 4))
    best = (0.0, proposal, mode[None])
    for step in range(_ROUNDS):
        x = proposal.sample(rng, _ADAPT)
        log_w = target(x) - proposal.log_density(x)
        if not np.isfinite(log_w).any():
            raise ProposalError("the density is not finite around its mode")
        weights = _truncated(log_w)
        log_w -= logsumexp(log_w)
        fraction = float(1.0 / (np.exp(2 * log_w).sum() * _ADAPT))
        if step and fraction > best[0]:
            best = (fraction, proposal, x[rng.choice(_ADAPT, 200, p=np.exp(log_w))])
        if fraction > _ENOUGH and step > 1:
            break
        proposal = proposal.adapted(x, weights)
    fraction, proposal, population = best
    return proposal, fraction, population


def _log_mean(log_w: Array) -> float:
    return float(logsumexp(log_w) - np.log(len(log_w)))


def _truncated(log_w: Array) -> Array:
    """Weights with the largest cut (Ionides 2008): no lucky point takes over the next proposal."""
    limit = _log_mean(log_w) + 0.5 * np.log(len(log_w))
    weights = np.exp(np.minimum(log_w, limit) - limit)
    return np.asarray(weights / weights.sum())


def _mode(target: _Target, start: VarianceComponents) -> tuple[Array, Array]:
    """Return the mode of p(x | y) and a factor of the inverse Hessian there."""
    design = target.density.priors.design
    covs = {term.group: start.block_for(term) for term in design.terms}
    x0 = target.coordinates.from_covs(covs, start.sigma2)
    # An SD estimated as 0 starts at a tenth of σ: at 0 the density by log SD is flat.
    is_sd = target.coordinates.is_sd
    x0[is_sd] = np.maximum(x0[is_sd], -2.5)
    d, h = len(x0), 1e-4

    def objective(x: Array) -> tuple[float, Array]:
        around = np.concatenate([x[None], x + h * np.eye(d), x - h * np.eye(d)])
        value = np.minimum(-target(around), 1e12)
        gradient = (value[1 : d + 1] - value[d + 1 :]) / (2 * h)
        return float(value[0]), gradient

    found = minimize(
        objective, x0, jac=True, method="L-BFGS-B", bounds=[(v - 15, v + 15) for v in x0]
    )
    mode = np.asarray(found.x)
    return mode, _factor(_inverse_hessian(target, mode))


def _inverse_hessian(target: _Target, x: Array) -> Array:
    """Inverse of the negative Hessian, flat and wrongly curved directions limited to variance 4."""
    d, h = len(x), 1e-2
    steps = h * np.eye(d)
    i, j = np.triu_indices(d)
    signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
    points = np.concatenate([x + a * steps[i] + b * steps[j] for a, b in signs])
    pp, pm, mp, mm = np.split(target(points), 4)
    hessian = np.zeros((d, d))
    hessian[i, j] = hessian[j, i] = -(pp - pm - mp + mm) / (4 * h * h)
    values, vectors = np.linalg.eigh(np.nan_to_num(hessian, nan=1.0, posinf=1e8, neginf=1.0))
    values = np.maximum(values, 0.25)
    return np.asarray((vectors / values) @ vectors.T)


def _factor(scale: Array) -> Array:
    """Lower Cholesky factor; a sample that has collapsed onto a line gets a little width."""
    values, vectors = np.linalg.eigh(0.5 * (scale + scale.T))
    values = np.maximum(values, 1e-8 * max(values[-1], 1e-8))
    return np.asarray(np.linalg.cholesky((vectors * values) @ vectors.T))


def _walk(log_w: Array, log_w_first: Array, log_u: Array) -> tuple[Any, Array]:
    """Accept or reject proposal by proposal; positions index proposals, first points follow."""
    chains, length = log_w.shape
    state = np.empty((chains, length), dtype=np.intp)
    accepted = np.zeros((chains, length), dtype=bool)
    for c in range(chains):
        at, current = chains * length + c, float(log_w_first[c])
        for i, (w, u) in enumerate(zip(log_w[c].tolist(), log_u[c].tolist(), strict=True)):
            if u < w - current:
                at, current = c * length + i, w
                accepted[c, i] = True
            state[c, i] = at
    return state, accepted


def _pareto_k(log_w: Array) -> float:
    from arviz_stats.base import array_stats

    finite = log_w[np.isfinite(log_w)]
    if len(finite) < 0.5 * len(log_w):
        return float("inf")
    # ArviZ takes log likelihoods, whose negatives are the log weights.
    return float(array_stats.psislw(finite.max() - finite)[1])


def _effects(
    density: MarginalDensity,
    covs: dict[str, Array],
    sigma2: Array,
    beta: Array,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """Draw u | β, Σ, σ, y exactly: u₀ + GZ'V⁻¹(y − Xβ − Zu₀ − e₀) for a prior draw (u₀, e₀)."""
    design = density.priors.design
    out = np.empty((len(sigma2), design.q))
    for s in range(len(sigma2)):
        vc = VarianceComponents({g: c[s] for g, c in covs.items()}, float(sigma2[s]))
        V = MarginalCovariance(design, vc)
        u0 = (
            np.concatenate(
                [
                    (rng.normal(size=(t.n_levels, t.n_columns)) @ vc.relative_root(t).T).ravel()
                    for t in design.terms
                ]
            )
            * vc.sigma
        )
        e0 = rng.normal(size=design.n) * np.sqrt(V.R_diagonal)
        gap = design.target - design.X @ beta[s] - design.Z @ u0 - e0
        out[s] = u0 + V.G @ (design.Z.T @ V.solve(gap))
    stops = np.cumsum([term.n_effects for term in design.terms])[:-1]
    return {
        term.group: part.reshape(len(sigma2), term.n_levels, term.n_columns)
        for term, part in zip(design.terms, np.split(out, stops, axis=1), strict=True)
    }
