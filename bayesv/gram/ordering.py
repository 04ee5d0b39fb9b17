"""An order of a dense border's columns in which its factor has few numbers, where there is one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from bayesv.gram.scaling import Index
from bayesv.gram.tables import BorderTable

__all__ = ["Ordering", "ordering_of"]

_WORTH = 400  # columns, below which a dense factor costs next to nothing
_PRODUCTS = 3e7  # of pairs of columns that units meet: more, and to look for an order costs
_FULL = 0.3  # share of the pairs of columns that couple, beyond which no order helps
_GAIN = 0.25  # share of a dense factor's time that is worth the order
_SCATTERED, _DENSE = 1.2, 0.07  # nanoseconds of an operation at scattered places, and in a block


class Ordering(NamedTuple):
    """Order of elimination: columns with few others below them, then a dense block.

    A factor, and what of an inverse is wanted, is one flat array: s numbers of the diagonal, the
    columns below it, and the block row by row.

    Attributes
    ----------
    order : ndarray of int, shape (q,)
        Columns of the border in the order of their elimination; positions are counted by it.
    starts, rows : ndarray of int, shapes (s + 1,) and (nnz,)
        Positions below that of each of the first s columns where its factor is not 0, ascending.
    one, two : ndarray of int, shape (pairs,)
        Levels of the border that couple, one ≥ two.
    places : ndarray of int
        Where the products of their columns stand in a flat array, pair by pair, by rows.
    """

    order: Index
    starts: Index
    rows: Index
    one: Index
    two: Index
    places: Index

    @property
    def block(self) -> tuple[int, int]:
        """Where the dense block starts in a flat array, and how many columns it has."""
        s = len(self.starts) - 1
        return s + len(self.rows), len(self.order) - s


def ordering_of(edges: Index, columns: Index, levels: BorderTable) -> Ordering | None:
    """Return the order for a border whose columns units of a chain couple; None for a full one.

    Parameters
    ----------
    edges, columns : ndarray of int
        Columns of the border that each unit meets, as in `Tables`.
    levels : BorderTable

    Notes
    -----
    Columns couple where a row meets both, and where a unit does that is eliminated before: a row
    has a unit of every factor of the chain, so that the units tell all. The order is SciPy's
    (SuperLU's) minimum degree.
    """
    widths, q = np.diff(edges), int(levels.widths.sum())
    if q < _WORTH or not len(widths) or float((widths.astype(float) ** 2).sum()) > _PRODUCTS:
        return None
    shape = (len(widths), q)
    meets = sparse.csr_array((np.ones(len(columns)), columns, edges), shape)
    couples = sparse.csc_array(meets.T @ meets + sparse.eye_array(q))
    if couples.nnz > _FULL * q**2:
        return None
    order = _minimum_degree(couples)
    below = _filled(couples[:, order][order].toarray() != 0)
    counts = below.sum(axis=1).astype(float)
    scattered = np.concatenate([[0.0], np.cumsum(0.5 * _SCATTERED * counts**2)])
    dense = _DENSE / 3.0 * (q - np.arange(q + 1.0)) ** 3
    s = int(np.argmin((scattered + dense)[:-1]))  # the last column is a block
    if (scattered + dense)[s] > _GAIN * dense[0]:
        return None
    starts = np.concatenate([[0], np.cumsum(counts[:s])]).astype(np.intp)
    rows = np.nonzero(below[:s])[1].astype(np.intp)
    of_levels = sparse.coo_array(couples[levels.starts][:, levels.starts])
    lower = of_levels.row >= of_levels.col
    one, two = of_levels.row[lower].astype(np.intp), of_levels.col[lower].astype(np.intp)
    places = _places(order, starts, rows, levels, one, two)
    return Ordering(order, starts, rows, one, two, places)


def _places(
    order: Index, starts: Index, rows: Index, levels: BorderTable, one: Index, two: Index
) -> Index:
    """Return where the products of the columns of two levels stand in a flat array."""
    q, s = len(order), len(starts) - 1
    counts = levels.widths[one] * levels.widths[two]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first, second = np.divmod(within, np.repeat(levels.widths[two], counts))
    position = np.argsort(order)
    a = position[np.repeat(levels.starts[one], counts) + first]
    b = position[np.repeat(levels.starts[two], counts) + second]
    low, high = np.minimum(a, b), np.maximum(a, b)
    keys = np.repeat(np.arange(s), np.diff(starts)) * q + rows
    below = s + np.searchsorted(keys, low * q + high)
    in_block = s + len(rows) + (high - s) * (q - s) + low - s
    return np.where(low >= s, in_block, np.where(low == high, low, below)).astype(np.intp)


def _minimum_degree(couples: sparse.csc_array) -> Index:
    from scipy.sparse.linalg import splu  # takes long to import and is rarely needed

    small = couples.copy()
    small.data[:] = 1.0 / couples.shape[0]
    small = sparse.csc_array(small + sparse.eye_array(couples.shape[0]))
    options = {"SymmetricMode": True}
    factor = splu(small, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    return np.argsort(factor.perm_c).astype(np.intp)


def _filled(couples: np.ndarray) -> np.ndarray:
    """Return which columns are below each one in the factor, shape (q, q).

    Elimination couples all that couple with a column: what is below it is below the next of these.
    """
    below = np.triu(couples, 1)
    for j in range(len(below) - 1):
        parent = j + 1 + int(np.argmax(below[j, j + 1 :]))
        below[parent, parent + 1 :] |= below[j, parent + 1 :]
    return below
