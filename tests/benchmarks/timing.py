"""Wall time of calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

__all__ = ["Stopwatch", "repeated", "timed"]


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
