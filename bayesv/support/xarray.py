"""Arrays with named dimensions, made by xarray, which is loaded when the first one is made."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import xarray

__all__ = ["data_array", "data_tree", "dataset", "loaded"]


def data_array(values: Any, **options: Any) -> xarray.DataArray:
    """Return an `xarray.DataArray`, of its arguments."""
    import xarray as xr

    return xr.DataArray(values, **options)


def dataset(variables: Any, **options: Any) -> xarray.Dataset:
    """Return an `xarray.Dataset`, of its arguments."""
    import xarray as xr

    return xr.Dataset(variables, **options)


def data_tree(groups: Any) -> xarray.DataTree:
    """Return an `xarray.DataTree` of datasets by their names."""
    import xarray as xr

    return xr.DataTree.from_dict(groups)


def loaded(load: Callable[[str], xarray.Dataset], name: str) -> xarray.Dataset:
    """Return what ``load(name)`` reads; a filter of warnings that xarray adds as it reads goes."""
    filters = cast("list[Any]", warnings.filters)
    before = list(filters)
    data = load(name)
    for added in [one for one in filters if one not in before and one[2] is FutureWarning]:
        with suppress(ValueError):  # another thread was faster
            filters.remove(added)
    return data
