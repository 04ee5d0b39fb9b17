"""One line of the result of a study, and the columns that all lines have."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

__all__ = ["COLUMNS", "Row", "failed"]

_NAN = float("nan")


class Row(NamedTuple):
    """One line of the result, but for scenario, replicate and estimator."""

    kind: str
    quantity: str
    method: str
    truth: float
    estimate: float
    se: float = _NAN
    df: float = _NAN
    low: float = _NAN
    high: float = _NAN
    message: str = ""


COLUMNS = ("scenario", "replicate", "estimator", *Row._fields)


def failed(scenario: str, replicate: int, message: str) -> pd.DataFrame:
    """Return the rows of a replicate that could not be computed at all."""
    row = Row("status", "failed", "", _NAN, 1.0, message=message)
    return pd.DataFrame([(scenario, replicate, "", *row)], columns=list(COLUMNS))
