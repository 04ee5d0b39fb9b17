"""What every place offers that computes chunks elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

__all__ = ["KILLED", "Pool"]

KILLED = "its process died: killed, or out of memory"


class Pool(Protocol):
    """Something that computes chunks elsewhere."""

    @property
    def width(self) -> int:
        """Chunks to keep under way."""
        raise NotImplementedError

    def submit(self, chunk: tuple[Any, ...]) -> Any:
        """Start a chunk; return a future."""

    def wait(self, futures: Sequence[Any]) -> Iterable[Any]:
        """Return the futures that are done, at least one."""

    def death(self, future: Any) -> str | None:
        """Say why the process died that computed it, if it did."""

    def close(self) -> None:
        """Give up what is under way."""
