"""Data and parameters that a scenario takes from elsewhere: tables, saved fits, own data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bayesv.data.datasets import load_dataset
from bayesv.data.tables import ENDINGS, read_table
from bayesv.errors import BayesvError, ScenarioError
from bayesv.model import Model
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.storage import load
from bayesv.study.declared.reading import refusal

__all__ = ["METHODS", "read_data", "read_parameters"]

METHODS = ("REML", "ML")
_ALLOWED = f"a data frame, a path that ends in {', '.join(ENDINGS)}, or the name of a data set."


def read_data(source: Any) -> pd.DataFrame:
    """Return the rows of a frame, a file, or a data set that comes with bayesv."""
    if isinstance(source, pd.DataFrame):
        return source.reset_index(drop=True)
    if not isinstance(source, str | Path):
        raise refusal("data", source, _ALLOWED)
    if Path(source).name.lower().endswith(ENDINGS):
        try:
            return read_table(source)
        except BayesvError as error:
            raise ScenarioError(f"data: {error}") from error
    try:
        return load_dataset(str(source))
    except BayesvError as error:
        raise ScenarioError(f"data: found {str(source)!r}; allowed: {_ALLOWED} {error}") from error


def read_parameters(
    source: Any,
    formula: str,
    data: pd.DataFrame | None,
    var_weights: str | None,
    structure: Mapping[str, Any],
) -> RemlFit | Posterior:
    """Return the fit or posterior whose parameters are taken for true."""
    if isinstance(source, RemlFit | Posterior):
        return source
    if isinstance(source, str) and source in METHODS:
        if data is None:
            raise refusal("parameters", source, "a fit of own data, which are not given.")
        return Model(formula, data, var_weights=var_weights, **structure).reml(source)
    if isinstance(source, str | Path):
        try:
            content = load(source)
        except (BayesvError, OSError) as error:
            raise ScenarioError(f"parameters: {source} cannot be read: {error}") from error
        if isinstance(content, RemlFit | Posterior):
            return content
    raise refusal(
        "parameters", source, "'REML', 'ML', a RemlFit, a Posterior, or the path of a saved one."
    )
