"""Changes of the whole process that threads share: made for the first user, undone after the last.

Saving and restoring a state of the process in each thread leaves it changed for ever: what the
second thread saves is what the first has changed, and it may be the last to restore.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np

__all__ = ["USUAL_FLOATS", "Shared", "computing", "own_warnings"]

# Inside, numbers may underflow whatever np.seterr says outside.
USUAL_FLOATS: dict[str, Any] = {
    "divide": "warn",
    "over": "warn",
    "under": "ignore",
    "invalid": "warn",
}


def computing[**P, T](function: Callable[P, T]) -> Callable[P, T]:
    """Let numbers underflow in a function, and end it in an interrupt wherever Ctrl-C strikes.

    Compiled loops that are interrupted as they take their arguments end in a SystemError.
    """

    @functools.wraps(function)
    def computed(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with np.errstate(**USUAL_FLOATS):
                return function(*args, **kwargs)
        except SystemError as error:
            if isinstance(error.__cause__, KeyboardInterrupt):
                raise KeyboardInterrupt(*error.__cause__.args) from None
            raise

    return computed


_filtering = threading.RLock()


@contextmanager
def own_warnings(*, record: bool = False) -> Iterator[list[warnings.WarningMessage]]:
    """Catch warnings as `warnings.catch_warnings`, in one thread at a time.

    Filters are the process's: what a thread restores must not be what another has set.
    """
    with _filtering, warnings.catch_warnings(record=record) as caught:
        yield [] if caught is None else caught


class Shared:
    """A context manager that any number of threads may be inside at a time, also nested.

    Parameters
    ----------
    change : callable
        Makes the change and returns what undoes it; both may be called from any thread.

    Examples
    --------
    >>> state = []
    >>> def change():
    ...     state.append("changed")
    ...     return state.clear
    >>> shared = Shared(change)
    >>> with shared, shared:
    ...     print(state)
    ['changed']
    >>> state
    []
    """

    def __init__(self, change: Callable[[], Callable[[], None]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._users = 0
        self._undo: Callable[[], None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._undo is None:
                self._undo = self._change()
            self._users += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._undo is not None:
                undo, self._undo = self._undo, None
                undo()
