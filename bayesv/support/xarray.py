"""Arrays with named dimensions, made by xarray, which is loaded when the first one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray

__all__ = ["data_array", "data_tree", "dataset"]


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
