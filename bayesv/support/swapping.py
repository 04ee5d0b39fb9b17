"""Two names change places in one step, where the system and the disk can do it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

__all__ = ["swap_names"]

_AT_FDCWD = -100  # Linux: names are relative to the current directory
_RENAME_EXCHANGE = 2  # the flag that swaps two names, of Linux and of macOS


def swap_names(one: Path, two: Path) -> None:
    """Swap two names in one step.

    Raises
    ------
    OSError
        If the system or the disk cannot.
    """
    rename = _swapping_rename()
    if rename is None:
        raise OSError("this system cannot replace a folder in one step; delete the old one first")
    if rename(os.fsencode(one), os.fsencode(two)) != 0:
        number = ctypes.get_errno()
        raise OSError(
            f"this disk cannot replace a folder in one step ({os.strerror(number)}); delete the "
            "old one first"
        )


@cache
def _swapping_rename() -> Callable[[bytes, bytes], int] | None:
    """Return the system's function that swaps two names, if it has one."""
    try:
        system = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            swap = system.renamex_np
            return lambda one, two: int(swap(one, two, ctypes.c_uint(_RENAME_EXCHANGE)))
        renameat2 = system.renameat2
    except (AttributeError, OSError, TypeError):
        return None
    here = ctypes.c_int(_AT_FDCWD)
    return lambda one, two: int(renameat2(here, one, here, two, ctypes.c_uint(_RENAME_EXCHANGE)))
