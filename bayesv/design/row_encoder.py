"""What a design asks of the formula that made it: how rows that were not fitted are coded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from bayesv.linalg import Array

__all__ = ["RowEncoder", "RowReader"]


class RowEncoder(Protocol):
    """How a formula codes rows that were not fitted."""

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that the formula names."""
        ...

    def factors_of(self, group: str) -> tuple[str, ...]:
        """Return the columns of a grouping factor."""
        ...

    def covariates(self, group: str) -> tuple[str, ...]:
        """Return the columns that a grouping factor's left sides use."""
        ...

    def random_columns(
        self, data: Any, group: str | None = None
    ) -> Mapping[str, tuple[tuple[str, ...], Array]]:
        """Return names and values, shape (m, r), of each grouping factor's columns, or of one."""
        ...

    def fixed_columns(self, data: Any) -> tuple[tuple[str, ...], Array]:
        """Return names and values, shape (m, p), of the fixed part's columns."""
        ...

    def offset(self, data: Any) -> Array | None:
        """Return the known part of the mean, shape (m,)."""
        ...


class RowReader(Protocol):
    """Reads rows again that were summed up in batches."""

    @property
    def weights(self) -> str | None:
        """Column of known weights."""
        ...

    def __call__(self, factors: Sequence[str], level: str) -> pd.DataFrame:
        """Return the rows that were used of one level of a grouping factor."""
        ...

    def totals(self, terms: Sequence[Any], fixed_names: Sequence[str]) -> Any:
        """Return sums over all rows, of terms and X, that known weights do not weigh."""
        ...
