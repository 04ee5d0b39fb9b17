"""How loops are compiled, and the table that tells them where things are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from bayesv.gram.loop_cache import remember

__all__ = [
    "A_START",
    "FLUSH",
    "H_START",
    "K",
    "L_START",
    "PLACE",
    "S",
    "U_START",
    "compiled",
    "widths",
]

# Columns of the table with one row per chain factor: number of columns k, width s of its couplings
# H, its place in the frontal matrix, and where its A, H, units and λ start in the flat arrays.
K, S, PLACE, A_START, H_START, U_START, L_START = range(7)

FLUSH = 1e200  # pivots are multiplied until here before one logarithm is taken of them


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a loop at its first call, once per machine where a disk can keep it.

    Callers may run chunks in threads: no lock is held. A division by zero gives inf as in NumPy,
    and a*b + c may be one instruction.
    """
    return remember(njit(nogil=True, error_model="numpy", fastmath={"contract"})(function))


@compiled
def widths(table):
    """Return the largest number of columns and the largest width of couplings."""
    k, s = 1, 1
    for f in range(len(table)):
        k, s = max(k, table[f, K]), max(s, table[f, S])
    return k, s
