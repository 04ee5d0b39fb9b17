"""What the other process does that reads a file first."""

from __future__ import annotations

import sys
from pathlib import Path

from bayesv.errors import BayesvError
from bayesv.storage.apart import REFUSED
from bayesv.storage.files import groups_of
from bayesv.support.memory import limit_growth

__all__ = ["read_within_limits"]

_SPARE = 1 << 30  # bytes of memory, for the readers' own arenas
_COPIES = 4  # of what the arrays declare, while they are read


def read_within_limits(path: str, kinds: list[str]) -> int:
    """Read a file in this process, whose memory may grow by what the file warrants.

    Returns the exit status; why a file is refused is on the standard output.
    """
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        limit_growth(_SPARE)
        groups_of(Path(path), kinds, lambda size, _: limit_growth(_SPARE + _COPIES * size))
    except BayesvError as error:
        print(error, end="")
        return REFUSED
    return 0
