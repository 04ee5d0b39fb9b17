"""Whether a file may be there, whoever may look at it."""

from __future__ import annotations

import os

__all__ = ["may_exist"]


def may_exist(path: str | os.PathLike[str]) -> bool:
    """Whether something has this name, or the system does not say: opening it tells why then.

    A folder that may not be entered, or a name that is too long, is an error of whoever opens the
    file, who says so; `pathlib.Path.exists` would raise it before.

    Examples
    --------
    >>> may_exist("."), may_exist("no/such/file"), may_exist("x" * 10_000)
    (True, False, True)
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True
