"""What an engine returns, the same for every engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bayesv.covariance import ComponentDraws
from bayesv.linalg import Array

__all__ = ["Draws"]


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws with leading axes (chain, draw), and what is known of the run that made them.

    Attributes
    ----------
    values : ComponentDraws
        Of (Σ_f, σ², β).
    u : mapping of group to ndarray, shape (chain, draw, J_f, r_f)
        Empty unless random effects were asked for.
    sample_stats : mapping of str to ndarray, shape (chain, draw)
    attrs : mapping
        Facts about the run: seed, versions, seconds.
    log_weights : ndarray, shape (proposals,), or None
        Log of density over proposal density of all points that were proposed, accepted or not, by
        engines that draw from a proposal; both by the same coordinates.
    problems : tuple of str
        What the engine knows to be wrong.
    """

    values: ComponentDraws
    u: Mapping[str, Array] = field(default_factory=dict)
    sample_stats: Mapping[str, Array] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    log_weights: Array | None = None
    problems: tuple[str, ...] = ()
