"""Progress of long work: a bar on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress"]


@contextmanager
def progress(
    label: str, total: int | None = None, *, show: bool | None = None
) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error while the block runs; it vanishes afterwards.

    Parameters
    ----------
    label : str
        What is being done.
    total : int, optional
        Steps in all; unknown if left out.
    show : bool, optional
        Left out: whether standard error is a terminal.

    Yields
    ------
    callable
        Takes the number of steps done since the last call.
    """
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    counted = (MofNCompleteColumn(), TimeRemainingColumn()) if total is not None else ()
    columns = (TextColumn("{task.description}"), BarColumn(), *counted, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda steps: bar.advance(task, steps)
