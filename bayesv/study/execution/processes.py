"""Local processes, which neither run the user's script nor feel Ctrl-C, and end with their parent.

They are the standard library's, spawned. Loky's would import no script either, but they outlive a
parent that is killed, and are interrupted with it as they start.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from bayesv.errors import BayesvError
from bayesv.study.execution.pool import KILLED
from bayesv.study.execution.work import Work, packed, run_packed
from bayesv.support.process import Shared

__all__ = ["Processes"]

_STARTS = 3  # of a pool whose first process dies, before it is said


class Processes:
    """Local processes, started anew if one of them dies."""

    def __init__(self, work: Work, count: int) -> None:
        self.payload, self.count, self.width = packed(work), count, 2 * count
        self.pool: concurrent.futures.ProcessPoolExecutor | None = None
        self.lifeline: Any = None  # processes end as soon as this end of a pipe is closed

    def submit(self, chunk: tuple[Any, ...]) -> Any:  # noqa: D102
        pool = self.pool or self._started()
        try:
            with _sparing_children(), _without_main:
                return pool.submit(run_packed, self.payload, chunk)
        except BrokenProcessPool as error:  # found broken before a future could say so
            future: concurrent.futures.Future[Any] = concurrent.futures.Future()
            future.set_exception(error)
            return future

    def _started(self) -> concurrent.futures.ProcessPoolExecutor:
        """Return a pool of which a first process has come up; one may be killed meanwhile."""
        for _ in range(_STARTS):
            try:
                return self._start()
            except BrokenProcessPool:
                self.close()
        raise BayesvError("Processes die as they start; is there too little memory? Use workers=1.")

    def _start(self) -> concurrent.futures.ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        theirs, self.lifeline = context.Pipe(duplex=False)
        arguments = (self.count, context, _begin, (theirs,))
        pool = self.pool = concurrent.futures.ProcessPoolExecutor(*arguments)
        with _sparing_children(), _without_main:
            up = pool.submit(os.getpid)
        up.result()
        return pool

    def wait(self, futures: Sequence[Any]) -> Iterable[Any]:  # noqa: D102
        return concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_COMPLETED).done

    def death(self, future: Any) -> str | None:  # noqa: D102
        if not isinstance(future.exception(), BrokenProcessPool):
            return None
        self.close()
        return KILLED

    def close(self) -> None:  # noqa: D102
        if self.pool is not None:
            self.lifeline.close()  # what is under way may be long, and nobody waits for it
            self.pool.shutdown(wait=True, cancel_futures=True)
        self.pool = None


@contextmanager
def _sparing_children() -> Iterator[None]:
    """Start processes that Ctrl-C on the terminal does not reach, not even as they come up."""
    before = signal.getsignal(signal.SIGINT)
    # Only the main thread may change it, and only what Python has set can be set again.
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _hide_main() -> Callable[[], None]:
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    return lambda: sys.modules.update(__main__=main)


# Processes that start do not import the user's script, which would run all of it again: the work
# comes with all that it needs of the script.
_without_main = Shared(_hide_main)


def _begin(lifeline: Any) -> None:
    """Start a worker: Ctrl-C is the parent's, and a worker ends when its parent lets go of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Any) -> None:
    """Wait until the other end is closed, by the parent or with it."""
    lifeline.poll(None)
    os._exit(1)
