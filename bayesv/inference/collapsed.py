"""The collapsed engine: independence Metropolis–Hastings on p(Σ, σ | y), u and β integrated out."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesv.covariance import ComponentDraws, VarianceComponents
from bayesv.gram import draw_effects
from bayesv.inference.adaptation import Effort, ProposalError
from bayesv.inference.density import Conditional, MarginalDensity, joined
from bayesv.inference.draws import Draws
from bayesv.inference.log_prior import coordinates_for
from bayesv.inference.modes import find_modes
from bayesv.inference.options import NutsOptions
from bayesv.inference.probe_shift import coarse, probe_shift
from bayesv.inference.target import Target
from bayesv.inference.teams import MAX_KHAT, Proposed, Team, agreed, evidence_gap, form_teams
from bayesv.linalg import Array

__all__ = ["labelled", "limit_reached", "sample_collapsed"]

# What adaptation may cost, by the cost of an evaluation.
_CHEAP, _EXPENSIVE = Effort(1000, 0.05, 0.02), Effort(500, 0.03, 0.002)
_HALF = 1.0  # proposals per draw times squared importance ESS, where bulk ESS is half of the draws
_MAX_HELD = 0.04  # share of a chain that one point may hold: more, and the proposal is no use
_MAX_THIN = 8
_MIN_ACCEPTANCE = 0.2
_MAX_GAP_SE = 4.5  # standard errors between the log evidences of two teams
_SHARE_AT_LIMIT = 1e-3  # share of draws near the limit of what can be evaluated
_ATTEMPTS = 4
_JUDGED_DRAWS = 500  # draws of a chain, on which the proposal is judged however few are kept


def sample_collapsed(
    density: MarginalDensity, start: VarianceComponents, options: NutsOptions, keep_u: bool
) -> Draws:
    """Draw from p(Σ, σ, β | y) without sampling u.

    Parameters
    ----------
    density : MarginalDensity
    start : VarianceComponents
        Where the search for the mode starts, such as the REML estimate.
    options : NutsOptions
        Of which draws, chains and seed are used.
    keep_u : bool
        Whether to draw u exactly from its conditional, too.

    Returns
    -------
    Draws
        ``sample_stats`` has ``accepted`` and ``lp``; attributes ``pareto_k``, ``acceptance``,
        ``thin`` and ``n_evaluations``; ``log_weights`` are those of all proposals.

    Raises
    ------
    ProposalError
        If Pareto k̂ of the importance weights exceeds 0.7, fewer than 20 % are accepted or a chain
        stays at one point too long.

    Notes
    -----
    A mixture of multivariate t distributions starts at mode and Hessian and is adapted by
    population Monte Carlo. Its draws are proposals of an independence Metropolis–Hastings chain,
    so that the result needs no weights, and their evaluation is one vectorised batch. β is drawn
    exactly from its normal conditional.
    """
    *first, last = coordinates_for(density.priors)
    for coordinates in first:
        target = Target(density, options.progressbar, coordinates)
        with contextlib.suppress(ProposalError):
            return _sample(target, start, options, keep_u)
    return _sample(Target(density, options.progressbar, last), start, options, keep_u)


def _sample(target: Target, start: VarianceComponents, options: NutsOptions, keep_u: bool) -> Draws:
    """Draw in given coordinates; ProposalError if no proposal covers the posterior there."""
    started = time.perf_counter()
    draws, rng = options.draws, np.random.default_rng(options.seed)
    modes = find_modes(target, start, rng)
    if target.expensive:
        for mode in modes:
            target.interpolate(mode.x, mode.root)
    effort = _EXPENSIVE if target.expensive else _CHEAP
    teams = form_teams(target, modes, options.chains, rng, effort)
    for attempt in range(_ATTEMPTS):
        length = max(draws, _JUDGED_DRAWS)
        proposed = [team.propose(target, length) for team in teams]
        thin = _thinning(min(p.efficiency for p in proposed))
        length = max(round(draws * thin), length)
        proposed = [team.go_on(target, p, length) for team, p in zip(teams, proposed, strict=True)]
        gap = evidence_gap(proposed)
        if gap <= _MAX_GAP_SE and all(p.suffices(length, draws) for p in proposed):
            break
        if attempt < _ATTEMPTS - 1:  # the last ones stay the proposals of these draws
            teams = agreed(teams, proposed)
    walks = [_walk(target, t, p, length) for t, p in zip(teams, proposed, strict=True)]
    khat = max(p.pareto_k for p in proposed)
    rate = float(np.mean([walk.accepted.mean() for walk in walks]))
    stuck = max(p.largest for p in proposed) / length
    _refuse_unless_covered(all(p.is_covered for p in proposed), khat, rate, stuck)
    last = length - 1 - np.floor(thin * np.arange(draws)[::-1]).astype(np.intp)
    kept = [walk.state[:, last].ravel() for walk in walks]
    x = np.concatenate([w.x[k] for w, k in zip(walks, kept, strict=True)])
    log_density = [w.log_density[k] for w, k in zip(walks, kept, strict=True)]
    conditional = joined([w.conditional.take(k) for w, k in zip(walks, kept, strict=True)])
    shape = (options.chains, draws)
    result = labelled(
        target,
        x,
        conditional,
        shape,
        rng,
        keep_u=keep_u,
        sample_stats={
            "accepted": np.concatenate([walk.accepted[:, last] for walk in walks]),
            "lp": np.concatenate(log_density).reshape(shape),
        },
        attrs={
            "method": "independence Metropolis–Hastings",
            "pareto_k": khat,
            "acceptance": rate,
            "thin": round(thin, 2),
            "n_modes": len(modes),
            "evidence_gap": gap,
            "n_evaluations": target.n_evaluations - target.n_interpolated,
            **_approximation(target, x),
            "seconds": round(time.perf_counter() - started, 4),
            "seed": "none" if options.seed is None else str(options.seed),
        },
    )
    return replace(
        result,
        log_weights=np.concatenate([p.log_weights for p in proposed]),
        problems=(*_disagreement(gap), *coarse(result.attrs), *limit_reached(target, x)),
    )


def _thinning(efficiency: float) -> float:
    """Return how many proposals to make for each draw, so that the ESS is half of these or more."""
    return float(np.clip(_HALF / efficiency**2, 1.0, _MAX_THIN))


def _refuse_unless_covered(covered: bool, khat: float, rate: float, stuck: float) -> None:
    """Raise the ProposalError of a proposal whose chains would not be the posterior's."""
    if not (covered and rate >= _MIN_ACCEPTANCE and stuck <= _MAX_HELD):
        raise ProposalError(
            f"Pareto k̂ {khat:.2f} (at most {MAX_KHAT}), acceptance {rate:.2f} (at least "
            f"{_MIN_ACCEPTANCE}), one point holds {stuck:.1%} of a chain (at most {_MAX_HELD:.0%})"
        )


def limit_reached(target: Target, x: Array) -> tuple[str, ...]:
    """Say so if draws reach the largest SD over σ at which the density is evaluated."""
    share = float(target.near_limit(x).mean())
    if share < _SHARE_AT_LIMIT:
        return ()
    return (
        f"{share:.1%} of the draws are at the largest ratio of SD to σ that can be computed "
        "(e¹²); the posterior is cut off there: the rows leave almost nothing to the residual",
    )


def _disagreement(gap: float) -> tuple[str, ...]:
    if gap <= _MAX_GAP_SE:
        return ()
    return (
        f"independent proposals give log evidences that are {gap:.1f} standard errors apart (at "
        f"most {_MAX_GAP_SE:g}): a mode may have been missed by some chains; run with another seed "
        "and more draws",
    )


def labelled(
    target: Target,
    x: Array,
    conditional: Conditional,
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    keep_u: bool,
    sample_stats: dict[str, Array],
    attrs: dict[str, Any],
) -> Draws:
    """Return draws of (Σ, σ) at x, chain after chain, with β (and u) from their conditionals."""
    density, stats = target.density, target.density.stats
    values = target.coordinates.to_values(x)
    z = rng.normal(size=conditional.mean.shape)
    noise = np.linalg.solve(np.swapaxes(conditional.root, -1, -2), z[..., None])[..., 0]
    gamma = conditional.mean + noise
    beta = stats.fixed.to_beta(gamma)
    u: dict[str, Array] = {}
    if keep_u:
        u = _effects(density, values, gamma, rng)
    return Draws(
        replace(values, beta=beta).reshape(*shape),
        u={g: v.reshape(*shape, *v.shape[1:]) for g, v in u.items()},
        sample_stats=sample_stats,
        attrs=attrs,
    )


def _approximation(target: Target, x: Array) -> dict[str, Any]:
    """Say how much was interpolated, how well, and how well its probes know draws x."""
    said = probe_shift(target, x)
    if target.interpolants:
        said["interpolation_error"] = max(one.error for one in target.interpolants)
        said["n_interpolated"] = target.n_interpolated
    return said


@dataclass(frozen=True, eq=False)
class _Walk:
    """The path of a team's chains over its proposals; behind them stand the chains' first points.

    ``state`` and ``accepted`` have shape (chains, length).
    """

    x: Array
    log_density: Array
    conditional: Conditional
    state: NDArray[np.intp]
    accepted: NDArray[np.bool_]


def _walk(target: Target, team: Team, proposed: Proposed, length: int) -> _Walk:
    """Accept or reject proposal by proposal."""
    from bayesv.inference.loops import accept  # compiled: loaded when it is needed

    chains = team.chains
    first = team.population[team.rng.integers(len(team.population), size=chains)]
    log_density, conditional = target.evaluate(first)
    log_w_first = log_density - team.proposal.log_density(first)
    log_u = np.log(team.rng.uniform(size=(chains, length)))
    log_w = proposed.log_weights.reshape(chains, length)
    state = np.empty((chains, length), dtype=np.intp)
    accept(log_w, log_u, log_w_first, state)
    accepted = state == np.arange(chains * length).reshape(chains, length)
    x = np.concatenate([proposed.x, first])
    log_density = np.concatenate([proposed.log_density, log_density])
    return _Walk(x, log_density, joined([proposed.conditional, conditional]), state, accepted)


def _effects(
    density: MarginalDensity, values: ComponentDraws, gamma: Array, rng: np.random.Generator
) -> dict[str, Array]:
    """Draw u | β, Σ, σ, y exactly, for each draw."""
    terms, relative = density.priors.design.terms, values.relative_roots()
    arrays = [np.empty((values.size, term.n_levels, term.n_columns)) for term in terms]
    for s, point in enumerate(values):
        stats = density.statistics(point)
        roots = stats.in_basis([lam[s] for lam in relative])
        drawn = draw_effects(stats, roots, float(point.sigma), gamma[s], rng, moments=False)
        for to, own in zip(arrays, drawn.u, strict=True):
            to[s] = own
    return {term.group: own for term, own in zip(terms, arrays, strict=True)}
