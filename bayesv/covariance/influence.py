"""How far the fixed effects move without a cluster, V held: Cook's distances of groups of rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.covariance.clusters import cluster_names
from bayesv.covariance.gls import GLSFit
from bayesv.errors import BayesvError, MemoryNeededError
from bayesv.linalg import Array
from bayesv.support.shown import WholeFrame

__all__ = ["influence"]

_MOST_ELEMENTS = 2e7  # of V⁻¹ within clusters: 160 MB


def influence(gls: GLSFit, group: str | None = None) -> pd.DataFrame:
    """Return how β̂ moves as the rows of one cluster are left out, V held at its estimate.

    Parameters
    ----------
    gls : GLSFit
    group : str, optional
        Grouping factor whose levels are left out one by one; clusters of V, whose rows are
        independent of all others, if left out.

    Returns
    -------
    DataFrame
        By level, in the order of the design: ``rows``; ``cook``, Cook's distance
        d' X'V⁻¹X d / p with d = β̂ − β̂ without them; and for each coefficient its move −d over its
        standard error. NaN where the other rows do not estimate a coefficient.

    Raises
    ------
    BayesvError
        If there are no fixed effects, or one cluster alone and no ``group``.
    MemoryNeededError
        If clusters of V are too large.

    Notes
    -----
    Exact without refits: d = (X'V⁻¹X)⁻¹ X'V⁻¹E (E'PE)⁻¹ E'Py with the columns E of the identity for
    the rows left out, and P = V⁻¹ − V⁻¹X(X'V⁻¹X)⁻¹X'V⁻¹.
    Cook 1977, https://doi.org/10.1080/00401706.1977.10489493; for mixed models Demidenko and Stukel
    2005, https://doi.org/10.1002/sim.1974.
    """
    V, cov = gls.V, gls.cov.to_numpy()
    if not len(cov):
        raise BayesvError("Influence is on the fixed effects, of which this model has none.")
    clusters = np.asarray(V.clusters)
    codes, names = _units(gls, clusters, group)
    places, sizes = _places(clusters)
    if len(clusters) * float(sizes.max()) > _MOST_ELEMENTS:
        raise MemoryNeededError(
            f"Influence needs V⁻¹ within clusters, and the largest has {sizes.max():,} of "
            f"{len(clusters):,} rows: crossed factors connect them. Leave out by hand whom you "
            "doubt: bv.Model(formula, data without them)."
        )
    unit_columns = np.zeros((len(clusters), int(sizes.max())))
    unit_columns[np.arange(len(clusters)), places] = 1.0
    inverse = V.solve(unit_columns)  # of all clusters at once: none has rows in another's
    VX, Vr = V.solve(np.asarray(V.design.X)), V.solve(gls.left)
    moves = np.full((len(names), len(cov)), np.nan)
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes, minlength=len(names))
    for k, rows in enumerate(np.split(order, np.cumsum(counts)[:-1])):
        P = inverse[np.ix_(rows, places[rows])] - VX[rows] @ cov @ VX[rows].T
        moves[k] = -cov @ VX[rows].T @ _solve(P, Vr[rows])
    information = np.linalg.inv(cov)
    cook = np.einsum("ki,ij,kj->k", moves, information, moves) / len(cov)
    table = pd.DataFrame(moves / gls.se.to_numpy(), names, list(gls.beta.index))
    table.insert(0, "cook", cook)
    table.insert(0, "rows", counts)
    return WholeFrame(table)


def _units(
    gls: GLSFit, clusters: NDArray[np.intp], group: str | None
) -> tuple[NDArray[np.intp], pd.Index[str]]:
    """Return what each row belongs to that is left out with it, and what these are called."""
    design = gls.V.design
    if group is not None:
        term = design.term(group)
        return np.asarray(term.codes), pd.Index(map(str, term.levels), name=term.group)
    if clusters.max() == 0:
        raise BayesvError(
            "All rows are connected: say whose levels are left out, as in "
            f"fit.influence({next(iter(design.groups), 'group')!r})."
        )
    of, names = cluster_names(design, clusters)
    return clusters, pd.Index(names, name=of)


def _places(clusters: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the place of each row within its cluster, and the number of rows of each cluster."""
    sizes = np.bincount(clusters)
    order = np.argsort(clusters, kind="stable")
    places = np.empty(len(clusters), dtype=np.intp)
    places[order] = np.arange(len(clusters)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return places, sizes


def _solve(P: Array, right: Array) -> Array:
    """Return P⁻¹ of a vector; NaN where the rows left out are all there is of a coefficient."""
    values, vectors = np.linalg.eigh((P + P.T) / 2)
    if values[0] <= 1e-10 * values[-1]:
        return np.full_like(right, np.nan)
    return np.asarray(vectors @ ((vectors.T @ right) / values))
