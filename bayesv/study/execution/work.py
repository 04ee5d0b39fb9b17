"""What computes one chunk, here or elsewhere: the work as bytes, and the time that it takes."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from bayesv.errors import BayesvError
from bayesv.gram.threads import one_blas_thread, threads

__all__ = ["Work", "packed", "run_packed", "timed"]

type Work = Callable[[tuple[Any, ...]], Any]

_ONE_AT_A_TIME = threading.Lock()  # limits of threads and records of warnings are the process's


def timed(work: Work, chunk: tuple[Any, ...]) -> tuple[Any, float]:
    """Compute a chunk with one thread; return what comes of it, and the seconds that it took."""
    with threads(1), one_blas_thread():
        started = time.perf_counter()
        result = work(chunk)
        return result, time.perf_counter() - started


def run_packed(payload: bytes, chunk: tuple[Any, ...]) -> tuple[Any, float]:
    """Compute a chunk in a worker."""
    with _ONE_AT_A_TIME:
        return timed(_unpacked(payload), chunk)


def packed(work: Work) -> bytes:
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
