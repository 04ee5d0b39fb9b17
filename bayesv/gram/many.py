"""Eliminate the random effects for many λ at once: values only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bayesv.gram.elimination import eliminate_units, mirrored
from bayesv.gram.iterative import IterativeBorder
from bayesv.gram.scaling import Index
from bayesv.gram.statistics import GramStatistics
from bayesv.gram.tables import U_START, ChainProblem, K
from bayesv.gram.threads import one_blas_thread, run
from bayesv.linalg import Array, symmetrize

__all__ = ["BATCH", "WORTH_THREADS", "ChainValues", "eliminate_many", "probe_logs"]

Values = tuple[Array, Array]  # log|M| and T

_NONE = np.zeros(0, dtype=np.intp)
_NUMBERS = 1 << 20  # of sums, where each value has its own
BATCH = 256
"""Values of λ that are a task of their own."""

WORTH_THREADS = 100_000
"""Units × values of λ from which threads take less time than they cost."""


def eliminate_many(
    stats: GramStatistics,
    lambdas: Sequence[Array],
    step: Callable[[int], None] = lambda _: None,
    *,
    coefficients: Array | None = None,
) -> Values:
    """Return log|M| and T for S values of λ; see `eliminate` for one value with its gradient.

    Parameters
    ----------
    stats : GramStatistics
    lambdas : sequence of ndarray, shape (S, k, k)
        λ_f of each term, in the order of the design's terms.
    step : callable
        Told how many values are done, from several threads.
    coefficients : ndarray, shape (S, K), optional
        Of the K sums of the statistics, at each value.

    Returns
    -------
    logdet : ndarray, shape (S,)
    T : ndarray, shape (S, p + 1, p + 1)
        S is 1 if there are neither terms nor coefficients: all values are the same.
    """
    layout = stats.layout
    plain = layout.iteration is None and not layout.border
    if coefficients is not None and plain:
        return _of_coefficients(stats, lambdas, step, coefficients)
    if coefficients is not None or layout.large_border or layout.iteration is not None:
        return _one_by_one(stats, lambdas, step, coefficients)
    S = len(lambdas[0]) if lambdas else 1
    batch = _with_border if layout.border else _without_border
    lam = _flat(lambdas, layout.chain_terms, S)
    lam_border = _flat(lambdas, layout.border_terms, S)

    def part(start: int) -> Values:
        values = slice(start, start + BATCH)
        result = batch(stats, lam[values], lam_border[values])
        step(len(result[0]))
        return result

    serial = S * (layout.plan.n_events + layout.border_size**2) < WORTH_THREADS
    parts = run(part, range(0, S, BATCH), serial=serial)
    T = stats.sums.C + mirrored(np.concatenate([part[1] for part in parts]))
    return np.concatenate([part[0] for part in parts]), symmetrize(T)


class ChainValues:
    """The profiled criterion of a chain at many λ, of which few differ in the finest factor.

    What its units leave is kept for every λ of it that was met: all others are eliminated anew.
    """

    def __init__(self, problem: ChainProblem) -> None:
        table, units, m = problem.tables.table, problem.tables.mult, len(problem.sums.C)
        stops = [*table[1:, U_START].tolist(), len(units), len(units)]  # of each factor's units
        self.problem, self.size = problem, int(table[0, K]) ** 2
        self._n_inner = problem.width * (problem.width + 1) // 2 - m * (m + 1) // 2
        self._shapes = (stops[1] - stops[0], self._n_inner), (m, m + 1)
        self.room = max(8, _NUMBERS // max(1, self._n_inner * self._shapes[0][0]))
        self._known: dict[Any, int] = {}
        self._fronts, self._corners = self._empty(0)

    def __call__(self, lam: Array) -> Array:
        """Return the values at S flat λ, shape (S, Σk²); ∞ where rounding leaves none."""
        batch = min(BATCH, self.room)
        if len(lam) <= batch:
            return self._values(lam)
        parts = [lam[start : start + batch] for start in range(0, len(lam), batch)]
        if len(lam) * len(self.problem.tables.unit) < WORTH_THREADS:
            return np.concatenate([self._values(part) for part in parts])
        return np.concatenate(run(lambda part: ChainValues(self.problem)(part), parts))

    def _values(self, lam: Array) -> Array:
        from bayesv.gram.profiled import profile_lanes  # compiled: loaded when it is needed

        finest = np.ascontiguousarray(lam[:, : self.size])
        places, new, first = self._met(finest) if self._n_inner else (_NONE, finest, 0)
        return np.asarray(
            profile_lanes(self.problem, lam, new, self._fronts, self._corners, first, places)
        )

    def _met(self, finest: Array) -> tuple[Index, Array, int]:
        """Return places of λ of the finest factor, those that are new, and the place of these."""
        kind = np.dtype((np.void, finest.shape[1] * 8))
        keys: list[Any] = finest.view(kind).ravel().tolist()
        known = self._known
        if len(known) + len(keys) > self.room:
            known.clear()
        first, new = len(known), list[int]()
        for i, key in enumerate(keys):
            if key not in known:
                known[key] = len(known)
                new.append(i)
        self._reserve(len(known))
        return np.array([known[key] for key in keys]), finest[new], first

    def _reserve(self, n: int) -> None:
        """Have room for what n values of λ leave, that of those before among it."""
        before = len(self._corners)
        if n > before:
            fronts, corners = self._empty(max(n, min(2 * n, self.room)))
            fronts[:before], corners[:before] = self._fronts, self._corners
            self._fronts, self._corners = fronts, corners

    def _empty(self, n: int) -> tuple[Array, Array]:
        of_units, of_all = self._shapes
        return np.empty((n, *of_units)), np.empty((n, *of_all))


def probe_logs(stats: GramStatistics, lambdas: Sequence[Array]) -> Array:
    """Return what each probe of an iteration says of log|M|, up to a constant, (S, probes)."""
    layout, logs = stats.layout, []
    for s in range(len(lambdas[0])):
        at = [lam[s] for lam in lambdas]
        border = eliminate_units(layout, layout.plan, stats.merged, at, gradient=False).border
        assert isinstance(border, IterativeBorder)
        logs.append(border.logs)
    return np.array(logs)


def _flat(lambdas: Sequence[Array], terms: Sequence[int], S: int) -> Array:
    return np.concatenate([np.zeros((S, 0)), *(lambdas[t].reshape(S, -1) for t in terms)], axis=1)


def _without_border(stats: GramStatistics, lam: Array, _: Array) -> Values:
    """Return log|M| and what T loses, in its upper triangle, without a border."""
    from bayesv.gram.lanes import forward_many  # compiled: loaded when it is needed

    plan, m = stats.layout.plan, stats.p + 1
    logdet, T = np.empty(len(lam)), np.empty((len(lam), m, m))
    forward_many(
        plan.tables, stats.merged, plan.starts_and_stops, np.ascontiguousarray(lam), plan.width,
        logdet, T,
    )  # fmt: skip
    return logdet, T


def _with_border(stats: GramStatistics, lam: Array, lam_border: Array) -> Values:
    """Return log|M| and what T loses, in its upper triangle, with a small border."""
    from bayesv.gram.bordered import forward_bordered  # compiled: loaded when it is needed

    layout, m = stats.layout, stats.p + 1
    logdet, T = np.zeros(len(lam)), np.zeros((len(lam), m, m))
    forward_bordered(
        layout.plan.tables, stats.merged, lam, layout.plan.width, len(layout.chain) > 1,
        layout.border_table, lam_border, logdet, T,
    )  # fmt: skip
    return logdet, T


def _of_coefficients(
    stats: GramStatistics,
    lambdas: Sequence[Array],
    step: Callable[[int], None],
    coefficients: Array,
) -> Values:
    """Return log|M| and T where each value has sums of its own, without a border."""
    from bayesv.gram.several import forward_several  # compiled: loaded when it is needed

    layout, m, S = stats.layout, stats.p + 1, len(coefficients)
    plan, lam = layout.plan, _flat(lambdas, layout.chain_terms, S)
    size = max(1, _NUMBERS // stats.stacked.matrix.shape[1])

    def part(start: int) -> Values:
        values = slice(start, start + size)
        sums = stats.stacked.combined(coefficients[values])
        own = np.ascontiguousarray(lam[values])
        logdet, lost = np.zeros(len(own)), np.zeros((len(own), m, m))
        for span in plan.spans:
            forward_several(plan.tables, sums, *span, own, plan.width, logdet, lost)
        step(len(own))
        return logdet, sums.C + mirrored(lost)

    parts = run(part, range(0, S, size), serial=S * plan.n_events < WORTH_THREADS)
    T = np.concatenate([part[1] for part in parts])
    return np.concatenate([part[0] for part in parts]), symmetrize(T)


def _one_by_one(
    stats: GramStatistics,
    lambdas: Sequence[Array],
    step: Callable[[int], None],
    coefficients: Array | None,
) -> Values:
    """Return log|M| and T of several evaluations side by side."""
    layout, m = stats.layout, stats.p + 1

    def one(s: int) -> tuple[float, Array]:
        sums = stats.merged if coefficients is None else stats.at(coefficients[s]).merged
        done = eliminate_units(
            layout, layout.plan, sums, [lam[s] for lam in lambdas], gradient=False
        )
        step(1)
        return done.logdet, done.T

    S = len(lambdas[0]) if coefficients is None else len(coefficients)
    size = sum(values.nbytes for values in stats.sums) if coefficients is not None else 0
    with one_blas_thread():  # instead of several in each
        # An iterative elimination has threads of its own.
        done = run(
            one,
            range(S),
            serial=layout.iteration is not None,
            bytes_each=2.0 * stats.sums.A_border.nbytes + size,
        )
    return np.array([d[0] for d in done]), np.array([d[1] for d in done]).reshape(S, m, m)
