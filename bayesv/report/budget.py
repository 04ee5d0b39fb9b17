"""How many draws suffice for what a page says, where each draw takes long."""

from __future__ import annotations

from dataclasses import replace

from bayesv.linalg import evenly_spaced
from bayesv.posterior.posterior import Posterior

__all__ = ["affordable", "thinned"]

_MAX_OPERATIONS = 1e11  # floating-point, about five seconds
_MIN_DRAWS = 20
_OPERATIONS_PER_EFFECT = 1e3


def affordable(post: Posterior, most: int) -> int:
    """Return how many draws, ``most`` at most, random effects or log|V| are computed from.

    Notes
    -----
    One draw of log|V| or of all effects takes about b³ + 1000q operations for a dense block of b
    crossed effects. From 100 draws a mean is known to a tenth of a posterior SD and an SD to 7 %,
    which is less than the width of a line in a picture; the mean of E[u | ·] is closer still.
    """
    effects = [term.n_effects for term in post.design.terms]
    if post.density is None:
        border_work = float(sum(effects) - max(effects, default=0)) ** 3
    else:
        border_work = post.density.stats.layout.border_work
    cost = max(border_work + _OPERATIONS_PER_EFFECT * sum(effects), 1.0)  # without terms: 0
    return int(min(max(_MAX_OPERATIONS / cost, _MIN_DRAWS), most, post.n_chains * post.n_draws))


def thinned(post: Posterior, draws: int) -> Posterior:
    """Return a posterior of at most so many draws in all, evenly spaced along each chain."""
    kept = max(draws // post.n_chains, 1)
    if kept >= post.n_draws:
        return post
    return replace(post, draws=post.draws.isel(draw=evenly_spaced(post.n_draws, kept)))
