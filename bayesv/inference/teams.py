"""Chains in teams: each team has a proposal of its own, adapted apart, and its own evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bayesv.diagnostics.convergence import pareto_k
from bayesv.inference.adaptation import (
    Effort,
    adapt,
    covering,
    efficiency,
    first_proposal,
    log_mean,
    truncated,
)
from bayesv.inference.density import Conditional, joined
from bayesv.inference.modes import Mode
from bayesv.inference.proposal import Proposal, merged
from bayesv.inference.target import Target
from bayesv.linalg import Array

__all__ = ["MAX_KHAT", "Proposed", "Team", "agreed", "evidence_gap", "form_teams"]

_TEAMS = 2
_MIN_EFFICIENCY = 0.5  # importance ESS per kept draw below which the proposal is adapted again
_MAX_HELD = 0.02  # share of a chain that one point may hold; more, and it is adapted again
MAX_KHAT = 0.7  # Vehtari et al. 2024, https://jmlr.org/papers/v25/19-556.html
_MAX_WEIGHT_RATIO = 20.0  # largest weight over the mean: up to here chains mix fast whatever k̂ says
_MIN_LOG_EVIDENCE_ERROR = 0.02  # of a log evidence: Monte Carlo errors are themselves estimates


@dataclass(frozen=True, eq=False)
class Team:
    """Chains with one proposal.

    Attributes
    ----------
    chains : int
    rng : Generator
        Its own stream, from which its proposal was adapted and its points are drawn.
    proposal : Proposal
    population : ndarray, shape (S, d)
        About draws of the target, where chains start.
    """

    chains: int
    rng: np.random.Generator
    proposal: Proposal
    population: Array

    def propose(self, target: Target, length: int) -> Proposed:
        """Draw and evaluate the proposals of chains of ``length``."""
        x = self.proposal.sample(self.rng, self.chains * length)
        log_density, conditional = target.evaluate(x)
        return Proposed(x, log_density, log_density - self.proposal.log_density(x), conditional)

    def go_on(self, target: Target, proposed: Proposed, length: int) -> Proposed:
        """Return the proposals of chains of ``length``, of which some are there already."""
        more = length - len(proposed.x) // self.chains
        return proposed.followed_by(self.propose(target, more)) if more > 0 else proposed


@dataclass(frozen=True, eq=False)
class Proposed:
    """Evaluated proposals of one team.

    Attributes
    ----------
    x : ndarray, shape (S, d)
    log_density : ndarray, shape (S,)
        Of the target.
    log_weights : ndarray, shape (S,)
        Target over proposal.
    conditional : Conditional
        Of β.
    """

    x: Array
    log_density: Array
    log_weights: Array
    conditional: Conditional

    def followed_by(self, more: Proposed) -> Proposed:
        """Return these and others from the same proposal."""
        return Proposed(
            np.concatenate([self.x, more.x]),
            np.concatenate([self.log_density, more.log_density]),
            np.concatenate([self.log_weights, more.log_weights]),
            joined([self.conditional, more.conditional]),
        )

    @cached_property
    def efficiency(self) -> float:
        """Importance ESS per draw."""
        return efficiency(self.log_weights)

    @cached_property
    def pareto_k(self) -> float:
        """Pareto k̂ of the weights."""
        return pareto_k(self.log_weights)

    @cached_property
    def largest(self) -> float:
        """Largest weight over the mean weight."""
        return float(np.exp(self.log_weights.max() - self.log_evidence))

    @cached_property
    def log_evidence(self) -> float:
        """Log of the mean weight, an estimate of ∫ density up to the target's constant."""
        return log_mean(self.log_weights)

    @property
    def evidence_error(self) -> float:
        """Monte Carlo standard error of `log_evidence`: √((1/efficiency − 1)/S)."""
        return float(np.sqrt((1.0 / self.efficiency - 1.0) / len(self.x)))

    @property
    def is_covered(self) -> bool:
        """Whether the proposal reaches wherever the target is."""
        return self.pareto_k <= MAX_KHAT or self.largest <= _MAX_WEIGHT_RATIO

    def suffices(self, length: int, draws: int) -> bool:
        """Whether chains of ``length`` points mix well enough for the draws that are kept."""
        enough = self.efficiency * length >= _MIN_EFFICIENCY * draws
        return self.is_covered and enough and self.largest <= _MAX_HELD * length


def form_teams(
    target: Target,
    modes: Sequence[Mode],
    chains: int,
    rng: np.random.Generator,
    effort: Effort,
) -> list[Team]:
    """Return teams of about equal numbers of chains, adapted apart from the same modes."""
    counts = [len(part) for part in np.array_split(np.arange(chains), min(chains, _TEAMS))]
    defence = covering(target.log_prior.draws(rng, 1000))
    teams = []
    for count, stream in zip(counts, rng.spawn(len(counts)), strict=True):
        proposal, population = adapt(
            lambda x: target.evaluate(x)[0],
            first_proposal(modes, defence, stream, effort),
            stream,
            effort.size,
        )
        teams.append(Team(count, stream, proposal, population))
    return teams


def evidence_gap(proposed: Sequence[Proposed]) -> float:
    """Return the largest difference of two teams' log evidences, in its standard errors.

    Teams whose proposals do not see the same modes disagree; 0 for a single team.
    """
    log = np.array([p.log_evidence for p in proposed])
    error = np.array([p.evidence_error for p in proposed])
    scale = np.sqrt(error[:, None] ** 2 + error**2 + _MIN_LOG_EVIDENCE_ERROR**2)
    return float((np.abs(log[:, None] - log) / scale).max())


def agreed(teams: Sequence[Team], proposed: Sequence[Proposed]) -> list[Team]:
    """Return the teams with one proposal, adapted to the points of all of them.

    Once one team has met what another has not, all should know of it.
    """
    whole = merged(list({id(team.proposal): team.proposal for team in teams}.values()))
    x = np.concatenate([p.x for p in proposed])
    log_weights = np.concatenate([p.log_density for p in proposed]) - whole.log_density(x)
    proposal = whole.adapted(x, truncated(log_weights))
    share = np.exp(log_weights - log_weights.max())
    population = x[teams[0].rng.choice(len(x), 200, p=share / share.sum())]
    return [replace(team, proposal=proposal, population=population) for team in teams]
