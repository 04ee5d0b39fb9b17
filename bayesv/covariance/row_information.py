"""The same sums from rows, cluster by cluster, for any R; clusters with equal V share it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesv.covariance.clusters import row_batches
from bayesv.covariance.frame import Frame
from bayesv.covariance.information import Information, inverse_gram
from bayesv.errors import ComponentsError, DataError
from bayesv.linalg import Array, symmetrize
from bayesv.support.memory import refuse_unless

__all__ = ["row_information"]

Index = NDArray[np.intp]

_BATCH_NUMBERS = 1 << 22  # of derivatives of V in a batch
_MOST_NUMBERS = 1 << 28  # of one cluster's
_KEPT_NUMBERS = 1 << 24  # of derivatives that are kept for the adjustment


def row_information(frame: Frame, variances: Sequence[Array] | None = None) -> Information:
    """Return the sums.

    Parameters
    ----------
    frame : Frame
    variances : sequence of ndarray, shapes (r_f,), optional
        Diagonal of Σ_f* of every term, in V but not in its derivatives; those of the frame if left
        out.

    Raises
    ------
    ComponentsError
        If V or X'V⁻¹X cannot be factored.
    DataError, MemoryNeededError
        If one connected cluster has too many rows.

    Notes
    -----
    With V_c = L_cL_c' of clusters of rows, U = L⁻¹X Φ^½, v = L⁻¹e and M_i = L⁻¹V_iL'⁻¹: sums over
    clusters with the same V need Σ UU' and Σ vv' alone, whatever their number. A derivative V_ij
    enters by its product with L'⁻¹(NI − ΣUU' − Σvv')L⁻¹.
    """
    batches = _batches(frame, variances)
    S = np.sum([batch.gram for batch in batches], axis=0)
    Phi = inverse_gram(S[:-1, :-1])
    half = np.linalg.cholesky(Phi)
    delta = Phi @ S[:-1, -1]
    sums = _Sums(frame, len(Phi))
    for batch in batches:
        sums.add(batch, half, delta)
    inverse = np.linalg.inv(half)

    def inner(W: Array, linear: bool) -> Array:
        total = np.zeros_like(Phi)
        for batch in batches:
            total += batch.inner(half, W, linear)
        between = np.einsum("ij,iab,jbc->ac", W, sums.P, sums.P, optimize=True)
        return np.asarray(inverse.T @ (total - between) @ inverse)

    squared = np.einsum("iab,jba->ij", sums.P, sums.P)
    return Information(
        Phi=Phi,
        delta=delta,
        P=-inverse.T @ sums.P @ inverse,
        traces=sums.traces,
        products=symmetrize(sums.products),
        projected=symmetrize(sums.products - 2.0 * sums.shared + squared),
        squares=sums.squares,
        curvatures=symmetrize(sums.curvatures) - sums.along @ sums.along.T,
        bent={"REML": sums.bent, "ML": sums.bent_ML},
        largest=max(batch.largest for batch in batches),
        inner=inner,
    )


class _Sums:
    """Sums over clusters; coefficients in coordinates in which Φ = I."""

    def __init__(self, frame: Frame, p: int) -> None:
        m = frame.m
        self.P, self.along = np.zeros((m, p, p)), np.zeros((m, p))
        self.traces, self.squares = np.zeros(m), np.zeros(m)
        self.products, self.shared, self.curvatures = (np.zeros((m, m)) for _ in range(3))
        self.bent, self.bent_ML = np.zeros((m, m)), np.zeros((m, m))

    def add(self, batch: _Batch, half: Array, delta: Array) -> None:
        """Add clusters of the same size."""
        M, U, v = batch.slopes, batch.white[..., :-1] @ half, batch.white[..., -1:]
        v = v - batch.white[..., :-1] @ delta[:, None]
        UU, vv = batch.by_pattern(U @ np.swapaxes(U, 1, 2)), batch.by_pattern(
            v @ np.swapaxes(v, 1, 2)
        )  # fmt: skip
        counts = batch.counts[:, None, None]
        for i, slope in enumerate(M):
            turned = slope[batch.pattern] @ U
            self.P[i] += np.tensordot(turned, U, ((0, 1), (0, 1)))
            self.along[i] += np.tensordot(turned, v[..., 0], 2 * ((0, 1),))
        flat = M.reshape(len(M), -1)
        self.traces += np.trace(M, axis1=-2, axis2=-1) @ batch.counts
        self.squares += flat @ vv.ravel()
        self.products += flat @ (M * counts).reshape(len(M), -1).T
        self.shared += flat @ (M @ UU).reshape(len(M), -1).T
        self.curvatures += flat @ (M @ vv).reshape(len(M), -1).T
        eye = counts * np.eye(batch.rows.shape[1])
        batch.add_bends(self.bent, eye - UU - vv)
        batch.add_bends(self.bent_ML, eye - vv)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Clusters of m rows, and the P different V that they have.

    Attributes
    ----------
    frame : Frame
    rows : ndarray of int, shape (N, m)
    pattern : ndarray of int, shape (N,)
        Which V each cluster has.
    counts : ndarray, shape (P,)
        How many clusters have it.
    inverse : ndarray, shape (P, m, m)
        L⁻¹, V = LL'.
    white : ndarray, shape (N, m, p + 1)
        L⁻¹[X e].
    largest : float
        Largest sum over a cluster's rows of the random effects' variance over the residual's.
    """

    frame: Frame
    rows: Index
    pattern: Index
    counts: Array
    inverse: Array
    white: Array
    largest: float

    @property
    def gram(self) -> Array:
        """[X e]'V⁻¹[X e], (p + 1, p + 1)."""
        return np.asarray(np.tensordot(self.white, self.white, ((0, 1), (0, 1))))

    @cached_property
    def chosen(self) -> Index:
        """Rows of one cluster of every pattern, (P, m)."""
        _, first = np.unique(self.pattern, return_index=True)
        return self.rows[first]

    @property
    def slopes(self) -> Array:
        """L⁻¹V_iL'⁻¹, (h, P, m, m)."""
        if "_kept" in self.__dict__:
            return np.asarray(self.__dict__["_kept"])
        first = np.concatenate(
            [*_of_terms(self.frame, self.chosen, 1), self.frame.residual.first(self.chosen)]
        )
        slopes = np.asarray(self.inverse @ first @ np.swapaxes(self.inverse, 1, 2))
        if slopes.size <= _KEPT_NUMBERS:
            self.__dict__["_kept"] = slopes
        return slopes

    def by_pattern(self, matrices: Array) -> Array:
        """Return sums over the clusters of each pattern, (N, …) → (P, …)."""
        if len(matrices) == len(self.counts):
            return np.asarray(matrices[np.argsort(self.pattern)])
        order = np.argsort(self.pattern, kind="stable")
        starts = np.cumsum([0, *self.counts[:-1].astype(int)])
        return np.asarray(np.add.reduceat(matrices[order], starts, axis=0))

    def add_bends(self, total: Array, weights: Array) -> None:
        """Add Σ <L⁻¹V_ijL'⁻¹, weights of a pattern> to the (m, m) of all parameters."""
        if not list(_bending(self.frame)):
            return
        inside = np.swapaxes(self.inverse, 1, 2) @ weights @ self.inverse
        for span, second in self.seconds():
            total[span, span] += np.tensordot(second, inside, 3)

    def seconds(self) -> Iterator[tuple[slice, Array]]:
        """Yield a range of parameters and V_ij of these, (k, k, P, m, m), where not 0."""
        for f, span in _bending(self.frame):
            if f is None:
                yield span, self.frame.residual.second(self.chosen)
            else:
                yield span, next(_of_terms(self.frame, self.chosen, 2, f))

    def inner(self, half: Array, W: Array, linear: bool) -> Array:
        """Return Σ_ij W_ij U'(M_iM_j − ¼L⁻¹V_ijL'⁻¹)U, (p, p)."""
        slopes = self.slopes
        middle = np.zeros(slopes.shape[1:])
        for slope, weights in zip(slopes, W, strict=True):
            middle += slope @ np.tensordot(weights, slopes, 1)
        if not linear:
            for span, second in self.seconds():
                bend = np.tensordot(W[span, span], second, 2)
                middle -= 0.25 * self.inverse @ bend @ np.swapaxes(self.inverse, 1, 2)
        U = self.white[..., :-1] @ half
        return np.tensordot(U, middle[self.pattern] @ U, ((0, 1), (0, 1)))


def _bending(frame: Frame) -> Iterator[tuple[int | None, slice]]:
    """Yield terms, None for R, whose parameters V is not linear in."""
    for f, (span, own) in enumerate(zip(frame.spans, frame.directions, strict=False)):
        if own.second is not None:
            yield f, span
    if not frame.residual.is_linear:
        yield None, frame.spans[-1]


def _of_terms(frame: Frame, rows: Index, order: int, chosen: int | None = None) -> Iterator[Array]:
    """Yield the derivatives of V by each term's parameters, ((h,) · order, P, m, m)."""
    for f, (term, own) in enumerate(zip(frame.design.terms, frame.directions, strict=True)):
        if chosen not in (None, f):
            continue
        z, codes = term.values[rows], term.codes[rows]
        shared = term.shared(codes[:, :, None], codes[:, None, :])
        inside = own.first if order == 1 else own.second
        assert inside is not None
        yield (z @ inside[..., None, :, :] @ np.swapaxes(z, 1, 2)) * shared


def _batches(frame: Frame, variances: Sequence[Array] | None) -> list[_Batch]:
    design = frame.design
    rows_of = design.residual.draw(frame.white)  # rows themselves: L times what was whitened
    features = _features(frame)
    order = np.lexsort([*features.T[::-1], design.clusters])
    batches: list[_Batch] = []
    for rows in row_batches(design.clusters[order]):
        rows = order[rows]
        _refuse_long(frame, rows.shape[1])
        keys = np.concatenate([features[rows].reshape(len(rows), -1), _levels(frame, rows)], 1)
        _, pattern = np.unique(_as_bytes(keys), return_inverse=True)
        step = max(1, _BATCH_NUMBERS // (_width(frame) * rows.shape[1] ** 2))
        for start in range(0, int(pattern.max()) + 1, step):
            mine = (pattern >= start) & (pattern < start + step)
            batches.append(_batch(frame, rows[mine], pattern[mine] - start, rows_of, variances))
    return batches


def _batch(
    frame: Frame, rows: Index, pattern: Index, rows_of: Array, variances: Sequence[Array] | None
) -> _Batch:
    chosen = rows[np.unique(pattern, return_index=True)[1]]
    V = frame.residual.covariance(chosen)
    noise = np.diagonal(V, axis1=1, axis2=2)
    effects = np.zeros_like(V)
    sizes = frame.variances if variances is None else variances
    for term, variance in zip(frame.design.terms, sizes, strict=True):
        z, codes = term.values[chosen], term.codes[chosen]
        shared = term.shared(codes[:, :, None], codes[:, None, :])
        effects += ((z * variance) @ np.swapaxes(z, 1, 2)) * shared
    shares = np.diagonal(effects, axis1=1, axis2=2) / noise
    largest = float(shares.sum(axis=1).max())
    try:
        inverse = np.linalg.inv(np.linalg.cholesky(V + effects))
    except np.linalg.LinAlgError as error:
        raise ComponentsError(
            "V of a cluster cannot be factored in double precision: rows are perfectly "
            "correlated, or the variances of the random effects are too large beside R."
        ) from error
    return _Batch(
        frame=frame,
        rows=rows,
        pattern=pattern,
        counts=np.bincount(pattern).astype(float),
        inverse=inverse,
        white=inverse[pattern] @ rows_of[rows],
        largest=largest,
    )


def _features(frame: Frame) -> Array:
    """Return what of each row its share of V depends on, shape (n, f)."""
    columns = [frame.residual.features, *(term.values for term in frame.design.terms)]
    return np.column_stack(columns) + 0.0  # no negative zeros


def _levels(frame: Frame, rows: Index) -> Array:
    """Return which rows of a cluster share levels: the first row of the same one, (N, ·).

    Of related levels it is how they are related.
    """
    terms = frame.design.terms
    codes = [term.codes for term in terms if term.related is None]
    if (clusters := frame.design.residual.clusters) is not None:
        codes.append(clusters)
    firsts = []
    for code in codes:
        part = code[rows]
        firsts.append((part[:, :, None] == part[:, None, :]).argmax(axis=2).astype(float))
    for term in terms:
        if term.related is not None:
            part = term.codes[rows]
            firsts.append(term.shared(part[:, :, None], part[:, None, :]).reshape(len(rows), -1))
    return np.concatenate([np.zeros((len(rows), 0)), *firsts], axis=1)


def _as_bytes(keys: Array) -> NDArray[np.void]:
    """Return each row of numbers as one thing that can be compared."""
    keys = np.ascontiguousarray(keys)
    if not keys.shape[1]:
        keys = np.zeros((len(keys), 1))
    return keys.view(np.dtype((np.void, keys.dtype.itemsize * keys.shape[1]))).ravel()


def _width(frame: Frame) -> int:
    """Return how many m × m matrices a cluster needs at a time."""
    sizes = [span.stop - span.start for _, span in _bending(frame)]
    return frame.m + max([size**2 for size in sizes], default=0) + 3


def _refuse_long(frame: Frame, m: int) -> None:
    numbers = _width(frame) * m**2
    if numbers > _MOST_NUMBERS:
        raise DataError(
            f"Kenward–Roger: {m} rows are connected by levels and series, and R has parameters of "
            f"its own, so that {_width(frame)} matrices of {m} × {m} would be needed "
            f"({8 * numbers / 2**30:.1f} GiB). fit.cov_beta has (X'V⁻¹X)⁻¹; bv.bootstrap allows "
            "for the estimation of V."
        )
    if numbers > _BATCH_NUMBERS:
        refuse_unless(
            8.0 * numbers,
            f"Kenward–Roger of a connected cluster of {m} rows",
            "fit.cov_beta has (X'V⁻¹X)⁻¹.",
        )
