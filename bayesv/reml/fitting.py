"""Fit by REML or ML: the lowest minimum of the criterion, and certified where it has probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesv.design.design import Design
from bayesv.errors import BayesvError, none_of
from bayesv.gram import GramStatistics
from bayesv.linalg import Array
from bayesv.reml.certificate import certify
from bayesv.reml.criterion import Criterion
from bayesv.reml.fit import RemlFit
from bayesv.reml.search import Optimum, Search
from bayesv.support.progress import progress

__all__ = ["fit_reml", "search_from"]

_MOST_PROBES = 64  # times the number that an iteration starts with
_LOWER_WITHOUT_RESIDUAL = (
    "the criterion is lower still, and may have no minimum, where the random effects reproduce the "
    "response and leave no residual variance; reported is a minimum with one. There are too few "
    "rows for so many effects: simplify the model"
)


_LOWER_DEGENERATE = (
    "the criterion is lower still where {} is next to 0, and the random effects are what those "
    "rows show; reported is a minimum inside. Give the residuals one SD, or leave the term out"
)


def fit_reml(
    design: Design,
    stats: GramStatistics,
    method: str = "REML",
    max_iterations: int = 500,
    tolerance: float = 0.01,
) -> RemlFit:
    """Fit by REML or ML.

    Parameters
    ----------
    design : Design
    stats : GramStatistics
        Of the same design.
    method : {"REML", "ML"}
    max_iterations : int
        Of the quasi-Newton search from each start.
    tolerance : float
        Where random effects are eliminated by iteration: how far an SD may be from where
        all probes would put it, in units of its standard error. Probes are added until it is not.

    Raises
    ------
    DataError
        If the response is reproduced exactly, so that σ² = 0, or so nearly that fewer than 3 digits
        of the estimates would be right.

    Warns
    -----
    FitWarning
        If the optimiser did not converge, if the data do not identify some of the variances (the
        estimates say nothing of how V is split between these), or if digits are lost. Singular
        fits are flagged, not warned about.

    Notes
    -----
    The criterion is minimised over lower-triangular λ_f without bounds, because it does not change
    when a column of λ_f changes sign; 0 is an interior point of that space. The search starts away
    from 0 (where the gradient vanishes), and what ends near 0 is put there exactly if the criterion
    is no worse for it.
    """
    if method not in ("REML", "ML"):
        raise BayesvError(none_of("method", method, ("REML", "ML")))
    search = Search(Criterion(design, stats, method), max_iterations, tolerance)
    return search_from(search, [np.zeros(0)])


def search_from(search: Search, others: Sequence[Array]) -> RemlFit:
    """Return the fit at the lowest minimum that is found.

    Parameters
    ----------
    search : Search
    others : sequence of ndarray
        Coordinates beside those of λ, each of which a search starts from.
    """
    with progress(f"evaluating the {search.criterion.method} criterion") as step:
        search.criterion.step = step
        return _searched(search, others)


def _searched(search: Search, others: Sequence[Array]) -> RemlFit:
    try:
        first, *starts = search.ranked([search.start(1.0, rest=rest) for rest in others])
        best, exact = search.run(first), False
        for start in [*starts, *search.elsewhere(best)]:
            if search.finds_lower(start, best):
                lower = search.run_with_residual(start)
                best, exact = lower or best, exact or lower is None
        best, degenerate = _away_from_degenerate(search, best)
        problems = ((_LOWER_WITHOUT_RESIDUAL,) if exact else ()) + degenerate
        if search.criterion.stats.probes is None:
            return search.finish(best, problems)
        return _certified(search, best, problems)
    except np.linalg.LinAlgError:
        raise search.criterion.reproduced() from None


def _away_from_degenerate(search: Search, best: Optimum) -> tuple[Optimum, tuple[str, ...]]:
    """Return the lowest minimum inside, and what is lower where a part of R is next to 0."""
    criterion, problems = search.criterion, list[str]()
    for label, start in criterion.near_degenerate():
        if search.finds_lower(start, best):
            lower = search.run_with_residual(start)
            if lower is None or criterion.degenerate(lower.x):
                problems.append(_LOWER_DEGENERATE.format(label))
            else:
                best = lower
    return best, (*problems, *criterion.degenerate(best.x))


def _certified(search: Search, best: Optimum, problems: tuple[str, ...]) -> RemlFit:
    """Return the fit with so many probes that more would hardly move it."""
    while True:
        criterion, probes = search.criterion, search.criterion.stats.probes
        assert probes is not None
        here = criterion.eliminated(best.x)
        certificate = certify(criterion, here, best.x, best.free, best.gradient, search.tolerance)
        wanted = int(np.ceil((certificate.largest / search.tolerance) ** 2))
        factor = min(max(wanted, 2), 8, _MOST_PROBES // probes.scale)
        if certificate.met or factor < 2 or not certificate.solved:
            break
        search = search.with_probes(probes.times(factor))
        best = search.run(best.x)
    if certificate.problem:
        problems = (*problems, certificate.problem)
    return replace(search.finish(best, problems, here.T), certificate=certificate)
