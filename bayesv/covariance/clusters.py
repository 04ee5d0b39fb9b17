"""Random effects cluster by cluster: what is connected through rows, in batches of equal shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from bayesv.covariance.components import VarianceComponents
from bayesv.design.design import Design
from bayesv.errors import DataError
from bayesv.linalg import Array

__all__ = ["cluster_roots", "gram_batches", "v_blocks"]

_MOST = 12_000  # random effects of one connected cluster: their q × q matrix takes 8 q² bytes
_AT_ONCE = 2e7  # numbers in a batch of such matrices


def gram_batches(design: Design) -> Iterator[tuple[tuple[int, ...], NDArray[np.intp], Array]]:
    """Yield Z_c'WZ_c of connected clusters of the same shape, batch by batch.

    Parameters
    ----------
    design : Design
        With its rows.

    Yields
    ------
    counts : tuple of int
        Levels of each term in a cluster.
    effects : ndarray of int, shape (b, q_c)
        Columns of Z of each cluster, term by term.
    gram : ndarray, shape (b, q_c, q_c)

    Raises
    ------
    DataError
        If one cluster has more than 12,000 random effects.
    """
    Z = design.Z
    weighted = Z if design.weights is None else sparse.diags_array(design.weights) @ Z
    A = sparse.coo_array(Z.T @ weighted)
    place, local = np.empty(design.q, dtype=int), np.empty(design.q, dtype=int)
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


def cluster_roots(counts: Sequence[int], roots: Sequence[Array]) -> Array:
    """Return blockdiag over terms of I ⊗ λ_f for a cluster, shape (…, q_c, q_c).

    Parameters
    ----------
    counts : sequence of int
        Levels of each term.
    roots : sequence of ndarray, shapes (…, r, r)
    """
    q = sum(J * lam.shape[-1] for J, lam in zip(counts, roots, strict=True))
    out, at = np.zeros((*roots[0].shape[:-2], q, q)), 0
    for J, lam in zip(counts, roots, strict=True):
        r = lam.shape[-1]
        for start in range(at, at + J * r, r):
            out[..., start : start + r, start : start + r] = lam
        at += J * r
    return out


def v_blocks(design: Design, vc: VarianceComponents, rows: NDArray[np.intp]) -> Array:
    """Return the dense V of many clusters of m rows, shape (b, m, m).

    Parameters
    ----------
    design : Design
    vc : VarianceComponents
    rows : ndarray of int, shape (b, m)
        Rows of each cluster.
    """
    b, m = rows.shape
    out = np.zeros((b, m, m))
    inverse = 1.0 if design.weights is None else 1.0 / design.weights[rows]
    out[:, np.arange(m), np.arange(m)] = vc.sigma2 * inverse
    for term in design.terms:
        z, codes = term.values[rows], term.codes[rows]
        shared = codes[:, :, None] == codes[:, None, :]
        out += (z @ vc.block_for(term) @ np.swapaxes(z, 1, 2)) * shared
    return out


def _shapes(design: Design) -> Iterator[tuple[tuple[int, ...], NDArray[np.intp]]]:
    terms = design.terms
    starts = np.cumsum([0, *(t.n_levels for t in terms)])
    total = int(starts[-1])
    label = np.arange(total)
    if len(terms) > 1:
        first = np.tile(terms[0].codes, len(terms) - 1)
        others = np.concatenate([t.codes + s for t, s in zip(terms[1:], starts[1:-1], strict=True)])
        graph = sparse.coo_array((np.ones(len(first)), (first, others)), shape=(total, total))
        label = connected_components(graph, directed=False)[1]
    term_of = np.repeat(np.arange(len(terms)), [t.n_levels for t in terms])
    columns = np.array([t.n_columns for t in terms])
    counts = np.zeros((int(label.max()) + 1, len(terms)), dtype=int)
    np.add.at(counts, (label, term_of), 1)
    widest = int((counts @ columns).max())
    if widest > _MOST:
        raise DataError(
            f"A connected cluster has {widest} random effects; at most {_MOST} fit: their q × q "
            "matrix is dense."
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
        chunk = max(1, int(_AT_ONCE // (q * q)))
        for at in range(0, len(members), chunk):
            yield (
                tuple(int(c) for c in shape),
                order[members[at : at + chunk, None] + np.arange(q)],
            )
