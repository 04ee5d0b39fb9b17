"""Residuals whose parameters cannot be told from a random term's: refused before any search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesv.design.design import Design, RandomTerm
from bayesv.design.series import Series
from bayesv.design.structured import Sequential, StructuredResidual
from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.structures.kinds import kind_of
from bayesv.structures.structure import CovarianceStructure
from bayesv.structures.unstructured import Unstructured

__all__ = ["refuse_ridges", "refuse_unseen", "slopes_of"]

_FREE = ("us", "toep", "toeph", "ad", "adh")  # kinds that take up what a random term explains
_STEP = 1e-5  # of a coordinate, for slopes by central differences
_TOLERANCE = 1e-7  # of the largest singular value: a direction in which V stands still
_SHOWN = 5  # pairs of visits that a message names
_POINT = 0.4  # coordinate of a general point of a family


def refuse_ridges(design: Design) -> None:
    """Refuse residuals that make the same V as a random term of the same series.

    Parameters
    ----------
    design : Design
        With a `StructuredResidual`; of others nothing is asked.

    Raises
    ------
    DataError
        If a term whose levels are the series has columns that are functions of the visit, and the
        residuals are free enough to take its part: any covariance of the visits (us), toep, toeph,
        ad or adh; or V stands still along a line of both, as with cs and an intercept.

    Notes
    -----
    V of a series is B Σ B' + R(θ) with B the term's columns by visit. Where levels hold several
    series, their covariance tells Σ.
    """
    form = design.residual
    if not isinstance(form, StructuredResidual) or not form.by_visit:
        return
    part = form.sequential
    assert part is not None
    for term in design.terms:
        # The whole term, and its independent parts: of (x || g) one may be a function of the visit.
        whole = (tuple(range(term.n_columns)), term.structure)
        free = [(block, Unstructured(len(block))) for block in term.structure.free_blocks]
        for columns, structure in dict.fromkeys([whole, *term.structure.parts, *free]):
            B = _by_visit(term, columns, part.series)
            if B is not None:
                _refuse_ridge(form, part, term, columns, structure, B)


def _refuse_ridge(
    form: StructuredResidual,
    part: Sequential,
    term: RandomTerm,
    columns: Sequence[int],
    structure: CovarianceStructure,
    B: Array,
) -> None:
    """Refuse effects of some columns of a term, B by visit, that the residuals can stand for."""
    head = (
        f"Residuals {form.text} beside the random effects of {term.group!r} "
        f"({', '.join(term.columns[i] for i in columns)}), which are functions of the visit:"
    )
    if type(part.structure) in [kind_of(word) for word in _FREE]:
        raise DataError(
            f"{head} the correlation of the residuals takes up what these effects would "
            "explain, and the data do not tell the two apart. Leave one of them out, or use a "
            "residual correlation with one parameter, such as ar1."
        )
    if _is_same(part.structure, structure, B):
        raise DataError(
            f"{head} both are {part.structure.kind} over the same positions, and V is the same "
            "with the two exchanged, so that no data tell them apart. Leave one of them out."
        )
    if form.known is None and _stands_still(part, structure, B):
        raise DataError(
            f"{head} along a line of their parameters V stays the same, so that no data tell "
            "them apart. Leave one of them out."
        )


def refuse_unseen(form: StructuredResidual) -> None:
    """Refuse free covariances of visits that no series has both.

    Raises
    ------
    DataError
        Which names them.
    """
    part = form.sequential
    if part is None or not part.series.by_visit or not part.structure.free_blocks:
        return
    if pairs := part.series.never_met:
        names = "; ".join(" and ".join(pair) for pair in pairs[:_SHOWN])
        more = f" and {len(pairs) - _SHOWN} pairs more" if len(pairs) > _SHOWN else ""
        raise DataError(
            f"Residuals {form.text}: no series has both visits {names}{more}, so that the data say "
            "nothing of their covariance, which is a parameter here. Use a family with fewer "
            "parameters, such as toeph or ar1h, or leave one of the visits out."
        )


def _by_visit(term: RandomTerm, columns: Sequence[int], series: Series) -> Array | None:
    """Return columns of a term by visit, (v, r), if levels are series and rows say so."""
    values = term.values[:, list(columns)]
    if len(np.unique(np.column_stack([series.codes, term.codes]), axis=0)) > len(
        np.unique(term.codes)
    ):
        return None
    B = np.zeros((len(series.visits), len(columns)))
    B[series.visit] = values
    scale = np.abs(values).max(axis=0)
    return B if (np.abs(B[series.visit] - values) <= 1e-9 * scale).all() else None


def _is_same(of_residual: CovarianceStructure, of_term: CovarianceStructure, B: Array) -> bool:
    """Return whether a family of a term, one effect a visit, is that of the residuals, too."""
    if type(of_residual) is not type(of_term) or B.shape != (of_residual.size, of_term.size):
        return False
    z = np.linspace(_POINT, 0.8 * _POINT, of_residual.n_corrs)
    moved = B @ of_term.corr(z) @ B.T
    return bool(np.allclose(moved, of_residual.corr(z), atol=_TOLERANCE))


def _stands_still(part: Sequential, structure: CovarianceStructure, B: Array) -> bool:
    """Return whether some direction of all parameters leaves V of every pair of visits."""
    seen = part.series.met
    places = np.nonzero(np.triu(seen))
    of_term = (B @ slopes_of(structure) @ B.T)[:, places[0], places[1]]
    groups = part.n_groups
    of_residual = slopes_of(part.structure)[:, places[0], places[1]]
    blocks = [np.tile(of_term, (1, groups))]
    blocks += [
        np.concatenate([of_residual * (g == k) for k in range(groups)], axis=1)
        for g in range(groups)
    ]
    slopes = np.concatenate(blocks)
    sizes = np.linalg.norm(slopes, axis=1)
    slopes = slopes[sizes > 0] / sizes[sizes > 0, None]
    values = np.linalg.svd(slopes, compute_uv=False)
    return bool(len(slopes) > slopes.shape[1] or values[-1] < _TOLERANCE * values[0])


def slopes_of(structure: CovarianceStructure) -> Array:
    """Return slopes of Σ by log SDs and coordinates at a general point, (k, r, r)."""
    base = np.concatenate(
        [0.1 * np.arange(structure.n_sds), np.linspace(_POINT, 0.8 * _POINT, structure.n_corrs)]
    )

    def covariance(x: Array) -> Array:
        sds = structure.sds(np.exp(x[: structure.n_sds]))
        return np.asarray(structure.corr(x[structure.n_sds :]) * np.outer(sds, sds))

    steps = _STEP * np.eye(len(base))
    return np.array([(covariance(base + s) - covariance(base - s)) / (2 * _STEP) for s in steps])
