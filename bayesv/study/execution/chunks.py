"""Where replicates run: this process, local processes or a Dask cluster, with the same results.

What is computed for a key must depend on that key alone; then neither the size of chunks nor the
scheduler can be seen in the results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bayesv.errors import BayesvError
from bayesv.gram.threads import n_threads
from bayesv.study.execution.cluster import Cluster
from bayesv.study.execution.pool import Pool
from bayesv.study.execution.processes import Processes
from bayesv.study.execution.work import Work, timed

__all__ = ["Died", "in_chunks"]

_SECONDS_OF_A_CHUNK = 1.0  # long beside the cost of sending it, short beside a coffee break


@dataclass(frozen=True)
class Died:
    """In place of a result: the process that computed this key alone died.

    Attributes
    ----------
    reason : str
    """

    reason: str


def in_chunks[Key: Hashable](
    work: Callable[[tuple[Key, ...]], Any],
    keys: Iterable[Key],
    *,
    workers: int | None = None,
    client: Any = None,
    seconds: float = _SECONDS_OF_A_CHUNK,
) -> Iterator[tuple[tuple[Key, ...], Any]]:
    """Compute something for every key, in chunks of about a second, and yield as they are done.

    Parameters
    ----------
    work : callable
        Takes a tuple of keys; what it returns for them must not depend on how keys are grouped.
        Everywhere it runs with one thread for BLAS and one for compiled loops. An exception that
        it raises ends the iteration.
    keys : iterable
    workers : int, optional
        Local processes (spawned); all processors if left out. With 1 no process is started.
    client : distributed.Client, optional
        A Dask cluster to compute on, instead.
    seconds : float
        What a chunk should take.

    Yields
    ------
    chunk : tuple
        Keys.
    result : object
        What ``work`` returned for them; `Died` for a single key whose process died, be it killed
        or out of memory, both with others and on its own.

    Raises
    ------
    BayesvError
        If ``workers`` is not a positive integer, or ``work`` cannot be sent to other processes.

    Examples
    --------
    >>> sorted(sum((result for _, result in in_chunks(list, range(4), workers=1)), []))
    [0, 1, 2, 3]
    """
    if workers is not None and (type(workers) is not int or workers < 1):
        raise BayesvError(f"workers must be a positive integer; found {workers!r}.")
    todo = deque(keys)
    if client is not None:
        yield from _spread(Cluster(work, client), todo, seconds)
    elif (count := min(workers or n_threads(), len(todo))) > 1:
        yield from _spread(Processes(work, count), todo, seconds)
    else:
        yield from _here(work, todo, seconds)


def _here(work: Work, todo: deque[Any], seconds: float) -> Iterator[tuple[tuple[Any, ...], Any]]:
    size = 1
    while todo:
        chunk = _take(todo, size)
        result, took = timed(work, chunk)
        size = _next_size(chunk, took, seconds)
        yield chunk, result


def _spread(pool: Pool, todo: deque[Any], seconds: float) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Keep a pool busy; keys of chunks that died are tried one by one, to find which one kills."""
    size = 1
    suspects: deque[Any] = deque()
    running: dict[Any, tuple[Any, ...]] = {}
    try:
        while todo or suspects or running:
            alone = bool(suspects) and not running
            if alone:
                chunk = _take(suspects, 1)
                running[pool.submit(chunk)] = chunk
            while not suspects and not alone and todo and len(running) < pool.width:
                chunk = _take(todo, size)
                running[pool.submit(chunk)] = chunk
            for future in pool.wait(list(running)):
                chunk = running.pop(future)
                if (reason := pool.death(future)) is None:
                    result, took = future.result()
                    size = _next_size(chunk, took, seconds)
                    yield chunk, result
                elif alone:
                    yield chunk, Died(reason)
                else:
                    suspects.extend(chunk)
    finally:
        pool.close()


def _next_size(chunk: tuple[Any, ...], took: float, seconds: float) -> int:
    """Return how many keys take about so many seconds; at most twice as many as before."""
    return max(1, min(2 * len(chunk), round(len(chunk) * seconds / max(took, 1e-9))))


def _take(todo: deque[Any], size: int) -> tuple[Any, ...]:
    return tuple(todo.popleft() for _ in range(min(size, len(todo))))
