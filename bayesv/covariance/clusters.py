"""Random effects cluster by cluster: what is connected through rows, in batches of equal shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from bayesv.covariance.components import VarianceComponents
from bayesv.design.design import Design
from bayesv.errors import MemoryNeededError
from bayesv.linalg import Array
from bayesv.support.memory import size

__all__ = [
    "cluster_names",
    "cluster_roots",
    "gram_batches",
    "refuse_slow",
    "row_batches",
    "rows_by_size",
    "v_blocks",
]

_MOST_EFFECTS = 12_000  # of one connected cluster: their q × q matrix takes 8 q² bytes
_QUICK_EFFECTS = 5_000  # beyond, what is made of that matrix takes minutes
_BATCH_NUMBERS = 2e7  # in a batch of such matrices


def gram_batches(design: Design) -> Iterator[tuple[tuple[int, ...], NDArray[np.intp], Array]]:
    """Yield Z_c'R_c⁻¹Z_c σ² of connected clusters of the same shape, batch by batch.

    Z is `Design.Z_independent`: of related levels its columns are those of independent effects.

    Parameters
    ----------
    design : Design
        With its rows.

    Yields
    ------
    counts : tuple of int
        Levels of each term in a cluster, or independent effects of a column if they are related.
    effects : ndarray of int, shape (b, q_c)
        Columns of Z of each cluster, term by term.
    gram : ndarray, shape (b, q_c, q_c)

    Raises
    ------
    MemoryNeededError
        If one cluster has more than 12,000 random effects.
    """
    white = design.residual.whiten(design.Z_independent)
    A = sparse.coo_array(white.T @ white)
    place, local = np.empty(white.shape[1], dtype=int), np.empty(white.shape[1], dtype=int)
    for counts, effects in _shapes(design):
        b, q = effects.shape
        place[:] = -1
        place[effects] = np.arange(b)[:, None]
        local[effects] = np.arange(q)
        here = place[A.coords[0]] >= 0
        i, k = A.coords[0][here], A.coords[1][here]
        gram = np.zeros((b, q, q))
        gram[place[i], local[i], local[k]] = A.data[here]
        yield counts, effects, gram


def refuse_slow(design: Design) -> None:
    """Refuse Kenward–Roger's sums where they would take minutes and nobody asked for them.

    Raises
    ------
    MemoryNeededError
        If one connected cluster has more than 5,000 random effects.
    """
    if not design.terms:
        return
    _, _, columns, counts = _counted(design)
    if (widest := int((counts @ columns).max())) > _QUICK_EFFECTS:
        asked = "; bv.kenward_roger(fit) makes them" if widest <= _MOST_EFFECTS else ""
        raise MemoryNeededError(
            f"A connected cluster has {widest:,} random effects, and beyond {_QUICK_EFFECTS:,} "
            f"Kenward–Roger's q × q matrices take minutes and {size(8.0 * widest**2)} each{asked}."
        )


def cluster_roots(counts: Sequence[int], roots: Sequence[Array]) -> Array:
    """Return blockdiag over terms of I ⊗ λ_f for a cluster, shape (…, q_c, q_c).

    Parameters
    ----------
    counts : sequence of int
        Levels of each term.
    roots : sequence of ndarray, shapes (…, r, r)
    """
    q = sum(J * lam.shape[-1] for J, lam in zip(counts, roots, strict=True))
    whole, offset = np.zeros((*roots[0].shape[:-2], q, q)), 0
    for J, lam in zip(counts, roots, strict=True):
        r = lam.shape[-1]
        for start in range(offset, offset + J * r, r):
            whole[..., start : start + r, start : start + r] = lam
        offset += J * r
    return whole


def row_batches(codes: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Yield the rows of each cluster, shape (b, m), clusters of m rows together.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Cluster of each row.
    """
    for rows in rows_by_size(codes, np.arange(len(codes))):
        step = max(1, int(_BATCH_NUMBERS // rows.shape[1] ** 2))
        yield from (rows[start : start + step] for start in range(0, len(rows), step))


def rows_by_size(codes: NDArray[np.intp], order: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Yield the rows of all clusters of m rows, shape (b, m), for each m.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Cluster of each row.
    order : ndarray of int, shape (n,)
        In which the rows of a cluster stand.
    """
    order = order[np.argsort(codes[order], kind="stable")]
    sizes = np.bincount(codes)
    starts = np.cumsum(sizes) - sizes
    for m in np.unique(sizes[sizes > 0]):
        yield order[starts[sizes == m][:, None] + np.arange(m)]


def v_blocks(design: Design, vc: VarianceComponents, rows: NDArray[np.intp]) -> Array:
    """Return the dense V of many clusters of m rows, shape (b, m, m).

    Parameters
    ----------
    design : Design
    vc : VarianceComponents
    rows : ndarray of int, shape (b, m)
        Rows of each cluster.
    """
    V = vc.sigma2 * design.residual.block(rows)
    for term in design.terms:
        z, codes = term.values[rows], term.codes[rows]
        shared = term.shared(codes[:, :, None], codes[:, None, :])
        V += (z @ vc.block_for(term) @ np.swapaxes(z, 1, 2)) * shared
    return V


def _shapes(design: Design) -> Iterator[tuple[tuple[int, ...], NDArray[np.intp]]]:
    """Yield levels of each term in a cluster, and columns of Z of clusters that have as many."""
    terms = design.terms
    label, term_of, columns, counts = _counted(design)
    widest = int((counts @ columns).max())
    if widest > _MOST_EFFECTS:
        raise MemoryNeededError(
            f"A connected cluster has {widest:,} random effects, whose q × q matrix is dense: at "
            f"most {_MOST_EFFECTS:,} fit. What needs no such matrix is β with its standard errors "
            "(fit.beta, fit.se), and fit.confint(), whose intervals of β are then normal."
        )
    # All effects sorted by cluster, within a cluster term by term and level by level.
    cluster = np.concatenate(
        [np.repeat(label[term_of == f], t.n_columns) for f, t in enumerate(terms)]
    )
    order = np.argsort(cluster, kind="stable")
    bounds = np.cumsum([0, *(counts @ columns)])
    shapes, which = np.unique(counts, axis=0, return_inverse=True)
    for s, shape in enumerate(shapes):
        q = int(shape @ columns)
        members = bounds[np.flatnonzero(which.ravel() == s)]
        chunk = max(1, int(_BATCH_NUMBERS // (q * q)))
        for start in range(0, len(members), chunk):
            firsts = members[start : start + chunk, None]
            yield tuple(int(count) for count in shape), order[firsts + np.arange(q)]


def _counted(
    design: Design,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the cluster of each level, its term, columns of terms, and levels by cluster."""
    terms = design.terms
    label = _level_clusters(design)
    term_of = np.repeat(np.arange(len(terms)), [t.n_independent for t in terms])
    counts = np.zeros((int(label.max()) + 1, len(terms)), dtype=np.intp)
    np.add.at(counts, (label, term_of), 1)
    return label, term_of, np.array([t.n_columns for t in terms], dtype=np.intp), counts


def _level_clusters(design: Design) -> NDArray[np.intp]:
    """Cluster of each level, term by term, numbered by their first ones, shape (Σ J_f,).

    Of related levels, cluster of each independent effect: that of any level that has a part in it.
    """
    labels, start = [np.zeros(0, dtype=np.intp)], design.n
    for term in design.terms:
        label = start + np.arange(term.n_levels)  # levels without rows are clusters of their own
        label[term.codes] = design.clusters
        start += term.n_levels
        if term.related is not None:
            L = term.related.root.matrix.tocsc()
            label = label[L.indices[L.indptr[:-1]]]
        labels.append(label)
    return np.asarray(pd.factorize(np.concatenate(labels))[0], dtype=np.intp)


def cluster_names(design: Design, clusters: NDArray[np.intp]) -> tuple[str, list[str]]:
    """Return what clusters are of, and what each is called: a level, a series, or its first row.

    Parameters
    ----------
    design : Design
    clusters : ndarray of int, shape (n,)
        The cluster of each row, numbered from 0.
    """
    firsts = np.unique(clusters, return_index=True)[1]
    for term in design.terms:
        codes = np.asarray(term.codes)
        if (codes == codes[firsts][clusters]).all():
            return term.group, [str(term.levels[codes[i]]) for i in firsts]
    form = design.parametric_residual
    if form is not None and form.series is not None:
        return form.series.label, [str(form.series.labels[form.series.codes[i]]) for i in firsts]
    return "first row", [str(design.row_labels[i]) for i in firsts]
