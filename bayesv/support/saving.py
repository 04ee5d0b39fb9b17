"""The verb `save`, which results have as a method; the room `storage` says how each is kept."""

from __future__ import annotations

import importlib
import os
import sys
from functools import singledispatch
from pathlib import Path
from typing import Any

from bayesv.errors import StorageError
from bayesv.support.arguments import FLAG, PATH, accepts

__all__ = ["Savable", "save"]

_STORAGE = "bayesv.storage"  # registers what can be saved; a room above, so read by its name


@singledispatch
def save(obj: Any, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a posterior or a REML or ML fit, with its design, to one file; `bayesv.load` reads it.

    Parameters
    ----------
    obj : Posterior or RemlFit
    path : str or path
        Ending in ``.nc`` (NetCDF 4, which ArviZ and R read) or ``.zarr`` (a directory; needs the
        package zarr).
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        Where it is.

    Raises
    ------
    StorageError
        If the path cannot be written, exists already, or something cannot be represented; nothing
        is left behind then.
    MissingPackageError
        If zarr is needed and not installed.

    Notes
    -----
    Draws are stored in the groups ArviZ knows, so that ``arviz.from_netcdf`` reads the file; all
    else is in the group ``bayesv``. The file takes its name when it is complete and was read again;
    until then, and if the disk is full or the process ends, what had the name stays. A link is
    followed, and mode and owner of the old file are kept.

    Examples
    --------
    >>> import bayesv as bv, tempfile
    >>> fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = bv.load(bv.save(fit, f"{folder}/dyestuff.nc"))
    >>> again.components == fit.components
    True
    """
    if _STORAGE not in sys.modules:
        importlib.import_module(_STORAGE)
        return save(obj, path, overwrite=overwrite)
    raise StorageError(
        f"A {type(obj).__name__} cannot be saved; a Posterior (model.sample()) or a RemlFit "
        "(model.reml()) can."
    )


class Savable:
    """What can be saved by its own method."""

    @accepts(path=PATH, overwrite=FLAG)
    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write this to one ``.nc`` or ``.zarr`` file; see `bayesv.save` and `bayesv.load`.

        Parameters
        ----------
        path : str or path
        overwrite : bool
            Whether an existing file may be replaced.

        Returns
        -------
        Path

        Raises
        ------
        StorageError
            If it cannot be written there.
        """
        return save(self, path, overwrite=overwrite)
