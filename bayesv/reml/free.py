"""Descents over some coordinates of a criterion: compiled as a whole for a chain of factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesv.linalg import Array, Mask
from bayesv.reml.course import VALUE, WANTED, begun
from bayesv.reml.criterion import UNINTERRUPTED, Criterion
from bayesv.reml.descent import Point, ended, minimize, refuse_many
from bayesv.reml.elements import ChainDescent

__all__ = ["Free"]

_NEAR = 0.1  # twice the difference of the criterion, about, within which optima are the same
# Gradients over the root of the curvature. With a line search on values, which rounding limits to
# 1e-8 or so, and without: the criterion is then within 1e-12 of its minimum.
_LINE_SEARCH_GRADIENT, _SEARCH_GRADIENT = 1e-3, 1e-6
_ROUNDS = 5  # of the search, each scaled anew
_SETTLED = 1e-4  # largest element of a relative gradient, with which a descent ends


@dataclass(frozen=True, eq=False)
class Free:
    """A criterion by its free coordinates, the others held at x.

    Attributes
    ----------
    criterion : Criterion
    x : ndarray, shape (d,)
    free : ndarray of bool, shape (d,)
    known : ndarray, shape (d,), or None
        A minimum at which descents end, of one sign; they are not searched to their end then.
    """

    criterion: Criterion
    x: Array
    free: Mask
    known: Array | None = None

    def descend(self, max_iterations: int) -> Point:
        """Return x, shape (d,), the value and the gradient, 0 where held, where a descent ends.

        Raises
        ------
        DataError
            If it leads to where nothing is left to the residual.
        """
        if not self.free.any():
            return self.x, self.criterion.value_and_gradient(self.x)[0], np.zeros_like(self.x)
        part = self.x[self.free]
        refuse_many(len(part))
        loose, finer = _LINE_SEARCH_GRADIENT, None if self.known is not None else _SEARCH_GRADIENT
        # Near a zero of λ the curvature may be far below the expected one, and of either sign, and
        # far from the start it is another: what is left there is searched again, to the end.
        for _ in range(_ROUNDS):
            part, value, slopes = self._round(part, loose, finer, max_iterations)
            x = self._filled(part)
            sizes = np.maximum(self.criterion.row_sizes(x)[self.free], 1.0)
            if finer is None or float((np.abs(slopes) * sizes).max()) < _SETTLED:
                break
            if (np.abs(slopes) <= finer * np.sqrt(self.criterion.curvature(x)[self.free])).all():
                break  # another round would end where it starts
            loose = _SEARCH_GRADIENT
        gradient = np.zeros_like(self.x)
        gradient[self.free] = slopes
        return self._filled(part), value, gradient

    def _round(self, part: Array, loose: float, finer: float | None, max_iterations: int) -> Point:
        """Return where a search ends that is scaled at its start."""
        criterion = self.criterion
        curvature = criterion.curvature(self._filled(part))[self.free]
        size = np.sqrt(curvature)
        fine = None if finer is None else finer * size
        if (chain := criterion.chain) is None or (table := criterion.coordinates.table) is None:

            def arrived(part: Array) -> bool:
                if self.known is None:
                    return False
                away = criterion.same_sign(self._filled(part)) - self.known
                return bool((curvature * away[self.free] ** 2).sum() < _NEAR)

            return minimize(
                self._evaluate, part, curvature, loose * size, max_iterations, fine, arrived
            )
        from bayesv.reml.chains import search_chain  # compiled: loaded when it is needed

        course = begun(part, curvature, loose * size, fine, max_iterations)
        known = np.zeros(0) if self.known is None else self.known
        evaluations, rest = np.zeros(1, dtype=np.intp), np.empty_like(chain.sums.C)
        turn = max(1, int(UNINTERRUPTED / (criterion.work + len(part) ** 2)))
        descent = ChainDescent(
            self.x.copy(), np.flatnonzero(self.free), known, curvature, _NEAR, evaluations,
            rest, 0, 0.0, turn,
        )  # fmt: skip
        while (told := search_chain(chain, table, descent, course)) == WANTED:
            criterion.step(turn)
        criterion.n_evaluations += int(evaluations[0])
        if course.numbers[VALUE] == -np.inf:
            raise criterion.reproduced()
        criterion.remember(self._filled(course.x), rest)
        return ended(self._evaluate, course, told)

    def _filled(self, part: Array) -> Array:
        """Return all coordinates, of the free ones."""
        x = self.x.copy()
        x[self.free] = part
        return x

    def _evaluate(self, part: Array) -> tuple[float, Array]:
        """Return the criterion and its gradient."""
        try:
            value, gradient = self.criterion.value_and_gradient(self._filled(part))
        except np.linalg.LinAlgError:  # a step so long that rounding leaves nothing: go back
            return 1e300, np.zeros(len(part))
        return value, gradient[self.free]
