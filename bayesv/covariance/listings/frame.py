"""The data frame of lme4's ``as.data.frame(VarCorr(fit))``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayesv.covariance.listings.entries import RESIDUAL, Entry, assembled
from bayesv.errors import ComponentsError

__all__ = ["read_frame"]

_NEEDED = ("grp", "var1", "var2", "vcov")


def read_frame(frame: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], float]:
    """Return ({group: Σ_f}, σ²) of columns grp, var1, var2 and vcov."""
    if not set(_NEEDED) <= set(frame.columns):
        raise ComponentsError(
            f"as.data.frame(VarCorr(fit)) has columns {list(_NEEDED)}; found {list(frame)}."
        )
    if not (frame["grp"] == RESIDUAL).any():
        raise ComponentsError("The listing has no line for the residual variance.")
    return assembled([_entry(*row) for row in frame[list(_NEEDED)].itertuples(index=False)])


def _entry(group: object, first: object, second: object, value: object) -> Entry:
    line = f"{group}  {first}  {second}  {value}"
    if not all(pd.api.types.is_scalar(cell) for cell in (group, first, second, value)):
        raise ComponentsError(f"This line of the data frame has a list in a cell: {line}.")
    try:
        number = float("nan") if pd.isna(value) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    word = repr(number).replace("nan", "NaN")
    if pd.isna(group) or (word == "NaN" and pd.isna(second)):
        raise ComponentsError(f"This line of the data frame has no group or no variance: {line}.")
    if group == RESIDUAL:
        return Entry(RESIDUAL, "var", "", "", word, line)
    if pd.isna(first) or np.isinf(float(word)):
        raise ComponentsError(f"This line of the data frame has no name or no number: {line}.")
    if pd.isna(second):
        return Entry(str(group), "var", str(first), str(first), word, line)
    return Entry(str(group), "cov", str(first), str(second), word, line)
