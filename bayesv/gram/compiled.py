"""How loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from bayesv.gram.linked import LinkedLoop
from bayesv.gram.loop_cache import remember
from bayesv.gram.tables import K, S

__all__ = ["FLUSH", "compiled", "widths"]

FLUSH = 1e200  # pivots are multiplied until here before one logarithm is taken of them
_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a loop at its first call, once per machine where a disk can keep it.

    Callers may run chunks in threads: no lock is held. A division by zero gives inf as in NumPy,
    and a*b + c may be one instruction.
    """
    return LinkedLoop(function, remember(njit(**_OPTIONS)(function)), _OPTIONS)


@compiled
def widths(table):
    """Return the largest number of columns and the largest width of couplings."""
    k, s = 1, 1
    for f in range(len(table)):
        k, s = max(k, table[f, K]), max(s, table[f, S])
    return k, s
