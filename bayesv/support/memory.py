"""How much memory there is, and refusing what would not fit before any of it is taken."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bayesv.errors import MemoryNeededError

__all__ = ["available", "how_many", "limit_growth", "refuse_unless", "size"]

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")  # limits of a container or a job
_NOT_WORTH_ASKING = 1 << 20  # bytes


def available() -> int | None:
    """Return the bytes that this process may still take, about; None if the system does not say.

    What is free and can be freed (Linux), or all that is installed; no more than is left of the
    limits of process and container.
    """
    known = [
        value for value in (_free(), _left_of_group(), _left_of_process()) if value is not None
    ]
    return min(known, default=None)


def refuse_unless(bytes_needed: float, what: str, instead: str) -> None:
    """Refuse work that needs more memory than there is.

    Parameters
    ----------
    bytes_needed : float
    what : str
        What needs them, as the subject of "needs 3.2 GiB".
    instead : str
        What can be done, as sentences.

    Raises
    ------
    MemoryNeededError
    """
    if bytes_needed < _NOT_WORTH_ASKING:
        return
    free = available()
    if free is not None and bytes_needed > free:
        raise MemoryNeededError(
            f"{what} needs {size(bytes_needed)} of memory; {size(free)} are available. {instead}"
        )


def how_many(bytes_each: float) -> int:
    """Return how many things of a size fit into what there is; one at least."""
    free = available()
    return sys.maxsize if free is None else max(1, int(free / bytes_each))


def limit_growth(n_bytes: int) -> None:
    """Let this process take so much more memory and no more, where the system can see to that."""
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = _taken() + n_bytes
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (ImportError, OSError, ValueError):
        return


def size(n_bytes: float) -> str:
    """Return a size in words, such as ``2.0 GiB``."""
    for unit in ("bytes", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:,.1f} GiB"


def _free() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
        return next(1024 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _left_of_group() -> int | None:
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            return int((_GROUP / limit).read_text()) - int((_GROUP / used).read_text())
        except (OSError, ValueError):  # no such limit, or "max"
            continue
    return None


def _left_of_process() -> int | None:
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        return limit - _taken()
    except (ImportError, OSError, ValueError):
        return None


def _taken() -> int:
    """Return the bytes of addresses that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")
