"""Wall time of calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

__all__ = ["Stopwatch", "repeated", "timed", "warm"]

# Seconds of a call: below which 51 or 5 more are made, and from which it is the only one.
_SHORT, _SOME, _LONG = 0.05, 4.0, 120.0


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and result of a call."""
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def repeated(call: Callable[[], Any], budget: float = 0.5, least: int = 5) -> float:
    """Return the median seconds of calls, made for about ``budget`` seconds."""
    seconds = [timed(call)[0]]
    while len(seconds) < least or sum(seconds) < budget:
        if len(seconds) >= 3 and sum(seconds) > 10 * budget:
            break
        seconds.append(timed(call)[0])
    return median(seconds)


def warm(call: Callable[[], tuple[dict[str, float], Any]]) -> tuple[dict[str, float], Any]:
    """Return the median seconds of calls after the first, and the last one's result.

    Parameters
    ----------
    call : callable
        Returns the seconds of its steps, ``total_s`` among them, and its result.

    Returns
    -------
    dict
        Median of each step, and ``first_s``, the total of the first call.
    """
    first, result = call()
    runs = [first]
    if first["total_s"] < _LONG:
        second, result = call()
        seconds = second["total_s"]
        more = 50 if seconds < _SHORT else 4 if seconds < _SOME else 0
        runs = [second, *(call()[0] for _ in range(more))]
    medians = {step: median(run[step] for run in runs) for step in first}
    return medians | {"first_s": first["total_s"]}, result


class Stopwatch:
    """Replaces a function of a module by one that adds up the seconds spent in it."""

    def __init__(self, module: Any, name: str) -> None:
        self.seconds = 0.0
        self._call = getattr(module, name)
        setattr(module, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function that was replaced."""
        seconds, result = timed(lambda: self._call(*args, **kwargs))
        self.seconds += seconds
        return result
