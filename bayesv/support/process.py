"""Changes of the whole process that threads share: made for the first user, undone after the last.

Saving and restoring a state of the process in each thread leaves it changed for ever: what the
second thread saves is what the first has changed, and it may be the last to restore.
"""

from __future__ import annotations

import functools
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, TracebackType
from typing import Any

import numpy as np

__all__ = ["USUAL_FLOATS", "Shared", "computing", "own_warnings", "uninterrupted"]

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
    See `uninterrupted`.
    """

    @functools.wraps(function)
    def computed(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with _interrupts, np.errstate(**USUAL_FLOATS):
                return function(*args, **kwargs)
        except SystemError as error:
            if isinstance(error.__cause__, KeyboardInterrupt):
                raise KeyboardInterrupt(*error.__cause__.args) from None
            raise

    return computed


def uninterrupted[**P, T](function: Callable[P, T]) -> Callable[P, T]:
    """Let Ctrl-C wait until a function has returned, where `computing` is further up.

    Compiled loops that are interrupted as they make Python's objects of arrays end the process.
    """

    def whole(*args: P.args, **kwargs: P.kwargs) -> T:
        result = function(*args, **kwargs)
        if _interrupts.waiting:
            _interrupts.strike()
        return result

    _interrupts.spared.add(whole.__code__)
    return functools.wraps(function)(whole)


class _Interrupts:
    """What SIGINT does to the main thread: as before, but not within what is `uninterrupted`."""

    def __init__(self) -> None:
        self.spared: set[CodeType] = set()
        self.waiting: list[int] = []
        self.depth = 0
        self.before: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if self.depth == 0:
            now = signal.getsignal(signal.SIGINT)
            # Where an interrupt struck right here before, this one still listens.
            self.before = self.before if now == self._hear else now
            if callable(self.before):
                signal.signal(signal.SIGINT, self._hear)
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self.depth -= 1
        if self.depth == 0 and callable(self.before):
            signal.signal(signal.SIGINT, self.before)
            self.strike()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        above = frame
        while above is not None:
            if above.f_code in self.spared:
                self.waiting.append(number)
                return
            above = above.f_back
        self.before(number, frame)

    def strike(self) -> None:
        """Do what an interrupt that waits does, in the main thread."""
        if self.waiting and threading.current_thread() is threading.main_thread():
            number = self.waiting[0]
            self.waiting.clear()
            self.before(number, sys._getframe())


_interrupts = _Interrupts()

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
