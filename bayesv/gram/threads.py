"""Threads for compiled loops. What is split never depends on how many threads there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

__all__ = ["n_threads", "one_blas_thread", "run", "threads"]

_limit: int | None = None


def n_threads() -> int:
    """Return how many threads may run: all processors of this process, unless limited."""
    if _limit is not None:
        return _limit
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def threads(limit: int | None) -> Iterator[None]:
    """Run what is inside with at most ``limit`` threads (None: as before)."""
    global _limit
    before = _limit
    _limit = limit if limit is not None else before
    try:
        yield
    finally:
        _limit = before


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_blas_thread() -> Any:
    """Keep BLAS to one thread: its threads and ours would wait for each other."""
    return _controller().limit(limits=1, user_api="blas")


def run(task: Callable[[Any], Any], items: Sequence[Any], *, serial: bool = False) -> list[Any]:
    """Return task(item) of every item, in order; side by side unless ``serial``."""
    workers = 1 if serial else min(n_threads(), len(items))
    if workers <= 1:
        return [task(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(task, items))
