"""Summaries of draws: location, spread, intervals and diagnostics, one line per scalar."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd

from bayesv.diagnostics.convergence import ess_mean, hdi, rhat_and_ess
from bayesv.errors import BayesvError
from bayesv.linalg import Array
from bayesv.support.arguments import PROBABILITY, accepts, found
from bayesv.support.shown import WholeFrame

__all__ = ["NotedFrame", "footnotes", "summarize", "summary_columns", "without_undefined"]


def _is_draws(name: str, value: Any) -> None:
    dims = getattr(value, "dims", ())
    several = getattr(value, "data_vars", {"": value})
    drawn = {"chain", "draw"} <= set(dims) or "sample" in dims
    if not hasattr(value, "coords") or not drawn or not len(several):
        raise BayesvError(
            f"{name} must be an xarray Dataset or DataArray with dims chain and draw, or sample, "
            f"such as post.functionals(); {found(value)}."
        )


def summary_columns(x: Array, prob: float) -> dict[str, Array]:
    """Return the columns of a summary of draws, shape (chain, draw, K)."""
    if not isinstance(prob, int | float) or not 0 < prob < 1:
        raise BayesvError(f"prob is a probability between 0 and 1; found {prob!r}.")
    # A scalar can be undefined in some draws (the correlation with an SD of 0); summarise the rest
    # and let the diagnostics show NaN.
    n_defined = (~np.isnan(x)).sum(axis=(0, 1))
    some, two = (np.where(n_defined >= least, 0.0, np.nan) for least in (1, 2))
    known, several = (np.where(np.isnan(part), 0.0, x) for part in (some, two))
    with np.errstate(all="ignore"):
        eti = some + np.nanquantile(known, [(1 - prob) / 2, (1 + prob) / 2], axis=(0, 1))
        shortest = hdi(x, prob)
        sd = two + np.nanstd(several, axis=(0, 1), ddof=1)
        ratio, bulk, tail = rhat_and_ess(x)
        return {
            "mean": some + np.nanmean(known, axis=(0, 1)),
            "sd": sd,
            "median": some + np.nanmedian(known, axis=(0, 1)),
            "eti_low": eti[0],
            "eti_high": eti[1],
            "hdi_low": shortest[:, 0],
            "hdi_high": shortest[:, 1],
            "mcse_mean": sd / np.sqrt(ess_mean(x)),
            "ess_bulk": bulk,
            "ess_tail": tail,
            "rhat": ratio,
        }


def without_undefined(columns: dict[str, Array], moments: Array) -> dict[str, Array]:
    """Return the columns with NaN for means and SDs that do not exist.

    Parameters
    ----------
    columns : dict
        Of `summary_columns`, K scalars each.
    moments : ndarray, shape (K,)
        E|x|^m exists for m below it.
    """
    gone = {"mean": moments <= 1, "sd": moments <= 2, "mcse_mean": moments <= 2}
    return {
        name: np.where(gone[name], np.nan, values) if name in gone else values
        for name, values in columns.items()
    }


@accepts(draws=_is_draws, prob=PROBABILITY)
def summarize(draws: Any, prob: float = 0.95) -> pd.DataFrame:
    """Summarise draws of anything with dims (chain, draw, …), or (sample, …) as of predictions.

    Parameters
    ----------
    draws : xarray.Dataset or xarray.DataArray
        Such as ``post.functionals()``, ``post.map(…)`` or ``post.predict(…)``. An
        attribute ``moments`` of a variable is the order below which its moments exist; a mean or
        SD that does not is NaN.
    prob : float
        Probability of the intervals.

    Returns
    -------
    DataFrame
        Columns quantity, then those of ``post.summary()``. Variables that carry a ``definition``
        have it printed as a footnote, and kept in ``table.attrs["definitions"]``.
    """
    variables = draws.data_vars if hasattr(draws, "data_vars") else {draws.name or "value": draws}
    names, columns, moments = [], [], []
    for name, array in variables.items():
        if "sample" in array.dims:  # one chain
            array = array.drop_vars("sample", errors="ignore").rename(sample="draw")
            array = array.expand_dims("chain")
        array = array.transpose("chain", "draw", ...)
        shape = array.shape[2:]
        for index in np.ndindex(*shape):
            labels = [
                str(array[dim].to_numpy()[i]) if dim in array.coords else str(i)
                for dim, i in zip(array.dims[2:], index, strict=True)
            ]
            moments.append(float(array.attrs.get("moments", np.inf)))
            names.append(f"{name}[{', '.join(labels)}]" if labels else str(name))
        columns.append(array.to_numpy().reshape(*array.shape[:2], -1))
    columns_of_table = summary_columns(np.concatenate(columns, axis=-1).astype(float), prob)
    table = pd.DataFrame(without_undefined(columns_of_table, np.array(moments)))
    table.insert(0, "quantity", names)
    definitions = {
        str(name): str(array.attrs["definition"])
        for name, array in variables.items()
        if array.attrs.get("definition")
    }
    if not definitions:
        return table
    noted = NotedFrame(table)
    noted.attrs["definitions"] = definitions
    return noted


def footnotes(definitions: Mapping[str, str]) -> list[str]:
    """Return one line per definition, naming all quantities that it holds for."""
    names: dict[str, list[str]] = {}
    for name, text in definitions.items():
        names.setdefault(text, []).append(name)
    return [f"{', '.join(each)}: {text}." for text, each in names.items()]


class NotedFrame(WholeFrame):
    """A table with the definitions of its quantities under it; its parts are plain tables."""

    def __repr__(self) -> str:
        notes = footnotes(self.attrs.get("definitions", {}))
        lines = [line for note in notes for line in wrap(note, 98, subsequent_indent="  ")]
        return "\n".join([super().__repr__(), *lines])

    def _repr_html_(self) -> str:
        notes = footnotes(self.attrs.get("definitions", {}))
        lines = "".join(f"<p><small>{escape(note)}</small></p>" for note in notes)
        return f"{super()._repr_html_()}{lines}"
