"""Progress of long work: a bar on a terminal once it has taken a while, nothing in a pipe."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["no_progress", "progress"]

_PATIENCE = 1.0  # seconds: shorter work shows no bar
# One bar at a time: work inside shown work is not shown on its own, nor beside that of a thread.
_inside: ContextVar[bool] = ContextVar(
    "inside of work that has a bar, or wants none", default=False
)
_only_one = threading.Lock()


@contextmanager
def progress(
    label: str, total: int | None = None, *, show: bool | None = None
) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error if the block takes more than a second; it vanishes afterwards.

    Parameters
    ----------
    label : str
        What is being done.
    total : int, optional
        Steps in all; unknown if left out.
    show : bool, optional
        Left out: whether standard error is a terminal. True shows it elsewhere, too.

    Yields
    ------
    callable
        Takes the number of steps done since the last call. What is done never depends on it.

    Examples
    --------
    >>> with progress("counting", total=3) as step:
    ...     for _ in range(3):
    ...         step(1)
    """
    if show is None:
        show = sys.stderr is not None and sys.stderr.isatty()  # None: closed, or no console
    if _inside.get() or not show or not _only_one.acquire(blocking=False):
        yield lambda steps: None
        return
    bar = _Bar(label, total)
    before = _inside.set(True)
    try:
        yield bar.step
    finally:
        _inside.reset(before)
        bar.close()
        _only_one.release()


@contextmanager
def no_progress(wanted: bool) -> Iterator[None]:
    """Show nothing of what is inside, if that is wanted."""
    before = _inside.set(_inside.get() or wanted)
    try:
        yield
    finally:
        _inside.reset(before)


class _Bar:
    """A bar that appears, with what was done so far, when patience is over.

    Steps may come from several threads.
    """

    def __init__(self, label: str, total: int | None) -> None:
        self.label, self.total, self.done = label, total, 0
        self.started = time.monotonic()
        self.shown: Any = None
        self.lock = threading.Lock()

    def step(self, steps: int) -> None:
        with self.lock:
            self.done += steps
            if self.shown is not None:
                self.shown.update(self.shown.task_ids[0], completed=self.done)
            elif time.monotonic() - self.started >= _PATIENCE:
                self.shown = _rich(self.total)
                self.shown.start()
                self.shown.add_task(self.label, total=self.total, completed=self.done)

    def close(self) -> None:
        if self.shown is not None:
            self.shown.stop()


def _rich(total: int | None) -> Any:
    """Return rich's display, which is loaded when there is something to show."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if total is None:
        counted: tuple[Any, ...] = (TextColumn("{task.completed:,.0f}"),)
    else:
        counted = (MofNCompleteColumn(), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), *counted, TimeElapsedColumn())
    return Progress(*columns, console=Console(file=sys.stderr), transient=True)
