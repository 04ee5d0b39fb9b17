"""Threads for compiled loops. What is split never depends on how many threads there are.

Limits hold in the context that sets them and in the threads it starts, never in the process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache
from threading import Event
from typing import Any

from bayesv.support.memory import how_many
from bayesv.support.process import Shared

__all__ = ["in_this_context", "n_threads", "one_blas_thread", "run", "threads"]

_limit: ContextVar[int | None] = ContextVar("most threads", default=None)
# Of the calls of `run` that this context is inside: set when one has failed or was interrupted, so
# that its other tasks, long ones, end where they next run something.
_ended: ContextVar[tuple[Event, ...]] = ContextVar("calls that ended early", default=())


def n_threads() -> int:
    """Return how many threads may run: all processors of this process, unless limited."""
    if (limit := _limit.get()) is not None:
        return limit
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def threads(limit: int | None) -> Iterator[None]:
    """Run what is inside with at most ``limit`` threads (None: as before)."""
    if limit is None:
        yield
        return
    before = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(before)


def in_this_context(task: Callable[..., Any]) -> Callable[..., Any]:
    """Return the task as threads of others shall call it: with the limits of this one."""
    context = copy_context()
    return lambda *arguments: context.copy().run(task, *arguments)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread: its threads and ours would wait for each other.

    A pool of threads that belongs to the process has one thread until the last call ends.
    """
    with _one_for_all:
        release = _set_to_one([lib for lib in _blas() if _is_per_thread(lib)])
        try:
            yield
        finally:
            release()


@cache
def _blas() -> list[Any]:
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def _is_per_thread(library: Any) -> bool:
    """OpenMP's limits are each thread's own."""
    return getattr(library, "threading_layer", "") == "openmp"


def _set_to_one(libraries: Sequence[Any]) -> Callable[[], None]:
    """Limit libraries to one thread; return what restores them."""
    before = [(library, library.get_num_threads()) for library in libraries]
    changed = [(library, count) for library, count in before if count is not None and count != 1]
    for library, _ in changed:
        _set(library, 1)

    def restore() -> None:
        for library, count in changed:
            _set(library, count)

    return restore


def _set(library: Any, count: int) -> None:
    """Set the number of threads, from whichever thread.

    Newer versions of threadpoolctl let only the thread that came first change OpenBLAS's pool, and
    ignore others without a word: whoever enters first may not be the one who leaves last.
    """
    getattr(library, "_real_set_num_threads", library.set_num_threads)(count)


_one_for_all = Shared(lambda: _set_to_one([lib for lib in _blas() if not _is_per_thread(lib)]))


def run(
    task: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    serial: bool = False,
    bytes_each: float = 0.0,
) -> list[Any]:
    """Return task(item) of every item, in order; side by side unless ``serial``.

    No more run at a time than there is memory for, each taking ``bytes_each``.
    """
    if any(event.is_set() for event in _ended.get()):
        raise KeyboardInterrupt
    workers = 1 if serial or len(items) < 2 else min(n_threads(), len(items))
    if workers > 1 and bytes_each:
        workers = min(workers, how_many(bytes_each))
    if workers <= 1:
        return [task(item) for item in items]
    ended = Event()
    before = _ended.set((*_ended.get(), ended))
    try:
        with ThreadPoolExecutor(workers) as pool:
            try:
                return list(pool.map(in_this_context(task), items))
            except BaseException:  # interrupts reach the main thread alone
                ended.set()
                raise
    finally:
        _ended.reset(before)
