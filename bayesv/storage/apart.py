"""Files that may do harm to their reader are read by another process first, within limits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from bayesv.errors import StorageError

__all__ = ["REFUSED", "read_apart"]

REFUSED = 3  # exit status of the other process

_SECONDS, _BYTES_A_SECOND = 60.0, 4e6  # what reading may take, beside so many bytes in a second
# Modules are found where they are found here, and nowhere else, such as the current folder.
_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from bayesv.storage.within_limits import read_within_limits; "
    "sys.exit(read_within_limits(sys.argv[2], json.loads(sys.argv[3])))"
)


def read_apart(path: Path, kinds: Collection[str]) -> None:
    """Read a file in another process; come back only if that ended well.

    HDF5 can wait for ever or end the process over a damaged file, and unpacking can ask for
    any amount of memory. What has been read once within limits will be again.

    Raises
    ------
    StorageError
        With the reason: that of the other process, or that it took too long or died.
    """
    size = sum(file.stat().st_size for file in [path, *path.rglob("*")])
    seconds = _SECONDS + size / _BYTES_A_SECOND
    command = [sys.executable, "-P", "-c", _CODE]
    arguments = [json.dumps([*map(str, sys.path)]), str(path), json.dumps(list(kinds))]
    try:
        done = subprocess.run(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StorageError(
            f"{path} cannot be read within {seconds:.0f} seconds: it is damaged, or made so that "
            "reading it does not end."
        ) from None
    if done.returncode == REFUSED:
        raise StorageError(done.stdout.decode())
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise StorageError(
            f"{path} cannot be read: the process that tried ended with status {done.returncode}"
            f"{''.join(f' ({line})' for line in last)}. The file is damaged, or made to do so."
        )
