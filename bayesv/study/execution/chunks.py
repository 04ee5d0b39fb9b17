"""Where replicates run: this process, local processes or a Dask cluster, with the same results.

What is computed for a key must depend on that key alone; then neither the size of chunks nor the
scheduler can be seen in the results.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, Protocol

from bayesv.errors import BayesvError, require
from bayesv.gram.threads import n_threads, one_blas_thread, threads

__all__ = ["KILLED", "Died", "in_chunks"]

type Work = Callable[[tuple[Any, ...]], Any]

_SENT_ALONG = 1_000_000  # bytes of the work that are sent with every chunk
KILLED = "its process died: killed, or out of memory"
_SECONDS = 1.0  # of a chunk: long beside the cost of sending it, short beside a coffee break


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
    seconds: float = _SECONDS,
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
    >>> sorted(sum((found for _, found in in_chunks(list, range(4), workers=1)), []))
    [0, 1, 2, 3]
    """
    if workers is not None and (type(workers) is not int or workers < 1):
        raise BayesvError(f"workers must be a positive integer; found {workers!r}.")
    todo = deque(keys)
    if client is not None:
        yield from _spread(_Cluster(work, client), todo, seconds)
    elif (count := min(workers or n_threads(), len(todo))) > 1:
        yield from _spread(_Processes(work, count), todo, seconds)
    else:
        yield from _here(work, todo, seconds)


def _here(work: Work, todo: deque[Any], seconds: float) -> Iterator[tuple[tuple[Any, ...], Any]]:
    size = 1
    while todo:
        chunk = _take(todo, size)
        found, took = _timed(work, chunk)
        size = _next_size(chunk, took, seconds)
        yield chunk, found


class _Pool(Protocol):
    """Something that computes chunks elsewhere."""

    @property
    def width(self) -> int:
        """Chunks to keep under way."""
        raise NotImplementedError

    def submit(self, chunk: tuple[Any, ...]) -> Any:
        """Start a chunk; return a future."""

    def wait(self, futures: Sequence[Any]) -> Iterable[Any]:
        """Return the futures that are done, at least one."""

    def death(self, future: Any) -> str | None:
        """Say why the process died that computed it, if it did."""

    def close(self) -> None:
        """Give up what is under way."""


def _spread(pool: _Pool, todo: deque[Any], seconds: float) -> Iterator[tuple[tuple[Any, ...], Any]]:
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
                    found, took = future.result()
                    size = _next_size(chunk, took, seconds)
                    yield chunk, found
                elif alone:
                    yield chunk, Died(reason)
                else:
                    suspects.extend(chunk)
    finally:
        pool.close()


class _Processes:
    """Local processes, started anew if one of them dies."""

    def __init__(self, work: Work, count: int) -> None:
        self.payload, self.count, self.width = _packed(work), count, 2 * count
        self.pool: concurrent.futures.ProcessPoolExecutor | None = None
        self.lifeline: Any = None  # processes end as soon as this end of a pipe is closed

    def submit(self, chunk: tuple[Any, ...]) -> Any:
        pool = self.pool or self._started()
        try:
            with _sparing_children(), _without_main():
                return pool.submit(_run, self.payload, chunk)
        except BrokenProcessPool as error:  # found broken before a future could say so
            future: concurrent.futures.Future[Any] = concurrent.futures.Future()
            future.set_exception(error)
            return future

    def _started(self) -> concurrent.futures.ProcessPoolExecutor:
        """Return a pool of which a first process has come up."""
        context = multiprocessing.get_context("spawn")
        theirs, self.lifeline = context.Pipe(duplex=False)
        arguments = (self.count, context, _begin, (theirs,))
        pool = self.pool = concurrent.futures.ProcessPoolExecutor(*arguments)
        try:
            with _sparing_children(), _without_main():
                up = pool.submit(os.getpid)
            up.result()
        except BrokenProcessPool as error:
            raise BayesvError(
                "Processes die as they start; is there too little memory? Use workers=1."
            ) from error
        return pool

    def wait(self, futures: Sequence[Any]) -> Iterable[Any]:
        return concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_COMPLETED).done

    def death(self, future: Any) -> str | None:
        if not isinstance(future.exception(), BrokenProcessPool):
            return None
        self.close()
        return KILLED

    def close(self) -> None:
        if self.pool is not None:
            self.lifeline.close()  # what is under way may be long, and nobody waits for it
            self.pool.shutdown(wait=True, cancel_futures=True)
        self.pool = None


class _Cluster:
    """Workers of a Dask cluster; one chunk at a time in each process."""

    def __init__(self, work: Work, client: Any) -> None:
        self.distributed = require("distributed", "dask")
        if not isinstance(client, self.distributed.Client) or client.asynchronous:
            raise BayesvError(
                f"client must be a dask.distributed.Client; found {type(client).__name__}."
            )
        self.client = client
        self.running: set[Any] = set()
        packed = _packed(work)
        # Scattered data are lost with the workers that hold them; what is small goes along.
        small = len(packed) <= _SENT_ALONG
        self.payload = packed if small else client.scatter(packed, broadcast=True, hash=False)

    @property
    def width(self) -> int:
        """Chunks to keep under way; workers come and go."""
        with _answering():
            return 2 * max(1, len(self.client.nthreads()))

    def submit(self, chunk: tuple[Any, ...]) -> Any:
        with _answering():
            future = self.client.submit(_run, self.payload, chunk, pure=False)
        self.running.add(future)
        return future

    def wait(self, futures: Sequence[Any]) -> Iterable[Any]:
        with _answering():
            done: set[Any] = self.distributed.wait(futures, return_when="FIRST_COMPLETED").done
        self.running -= done
        return done

    def death(self, future: Any) -> str | None:
        if future.status != "error":
            return None
        killed = isinstance(future.exception(), self.distributed.KilledWorker)
        return KILLED if killed else None

    def close(self) -> None:
        if self.client.status == "running":
            self.client.cancel(list(self.running))


@contextmanager
def _answering() -> Iterator[None]:
    """Say what it means if a cluster raises an error, whatever that is."""
    try:
        yield
    except Exception as error:
        raise BayesvError(
            f"The cluster does not answer any more, or was restarted ({error}). What was done "
            "before is kept where it was stored; on a new cluster the same call goes on from there."
        ) from error


_ONE_AT_A_TIME = threading.Lock()  # limits of threads and records of warnings are the process's


def _run(payload: bytes, chunk: tuple[Any, ...]) -> tuple[Any, float]:
    """Compute a chunk in a worker."""
    with _ONE_AT_A_TIME:
        return _timed(_unpacked(payload), chunk)


def _timed(work: Work, chunk: tuple[Any, ...]) -> tuple[Any, float]:
    with threads(1), one_blas_thread():
        started = time.perf_counter()
        found = work(chunk)
        return found, time.perf_counter() - started


def _next_size(chunk: tuple[Any, ...], took: float, seconds: float) -> int:
    """Return how many keys take about so many seconds; at most twice as many as before."""
    return max(1, min(2 * len(chunk), round(len(chunk) * seconds / max(took, 1e-9))))


def _take(todo: deque[Any], size: int) -> tuple[Any, ...]:
    return tuple(todo.popleft() for _ in range(min(size, len(todo))))


def _packed(work: Work) -> bytes:
    """Serialise the work, functions of a notebook or script by value."""
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(work))
    except Exception as error:
        raise BayesvError(
            f"The work cannot be sent to other processes ({error}). Use workers=1, or functions "
            "and data that can be pickled."
        ) from error


@lru_cache(maxsize=2)
def _unpacked(payload: bytes) -> Work:
    """Return the work, once for all chunks: it keeps what it has prepared."""
    work: Work = pickle.loads(payload)
    return work


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


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not import the user's script, which would run all of it again.

    The work comes with all that it needs of the script.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _begin(lifeline: Any) -> None:
    """Start a worker: Ctrl-C is the parent's, and a worker ends when its parent lets go of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Any) -> None:
    """Wait until the other end is closed, by the parent or with it."""
    lifeline.poll(None)
    os._exit(1)
