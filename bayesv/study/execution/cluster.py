"""Workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bayesv.errors import BayesvError, require
from bayesv.study.execution.pool import KILLED
from bayesv.study.execution.work import Work, packed, run_packed

__all__ = ["Cluster"]

_BYTES_SENT_ALONG = 1_000_000  # of the work, with every chunk


class Cluster:
    """Workers of a Dask cluster; one chunk at a time in each process."""

    def __init__(self, work: Work, client: Any) -> None:
        self.distributed = require("distributed", "dask")
        if not isinstance(client, self.distributed.Client) or client.asynchronous:
            raise BayesvError(
                f"client must be a dask.distributed.Client; found {type(client).__name__}."
            )
        self.client = client
        self.running: set[Any] = set()
        payload = packed(work)
        # Scattered data are lost with the workers that hold them; what is small goes along.
        small = len(payload) <= _BYTES_SENT_ALONG
        self.payload = payload if small else client.scatter(payload, broadcast=True, hash=False)

    @property
    def width(self) -> int:
        """Chunks to keep under way; workers come and go."""
        with _answering():
            return 2 * max(1, len(self.client.nthreads()))

    def submit(self, chunk: tuple[Any, ...]) -> Any:  # noqa: D102
        with _answering():
            future = self.client.submit(run_packed, self.payload, chunk, pure=False)
        self.running.add(future)
        return future

    def wait(self, futures: Sequence[Any]) -> Iterable[Any]:  # noqa: D102
        with _answering():
            done: set[Any] = self.distributed.wait(futures, return_when="FIRST_COMPLETED").done
        self.running -= done
        return done

    def death(self, future: Any) -> str | None:  # noqa: D102
        if future.status != "error":
            return None
        killed = isinstance(future.exception(), self.distributed.KilledWorker)
        return KILLED if killed else None

    def close(self) -> None:  # noqa: D102
        if self.client.status == "running":
            self.client.cancel(list(self.running))


@contextmanager
def _answering() -> Iterator[None]:
    """Say what it means if a cluster raises an error, whatever that is."""
    try:
        yield
    except Exception as error:
        raise BayesvError(
            f"The cluster does not answer any more, or was restarted ({error}). What was done "
            "before is kept where it was stored; on a new cluster the same call goes on from there."
        ) from error
