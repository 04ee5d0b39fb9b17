"""What is asked of the residuals of a model, and their covariance in the rows that are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design.known import Known
from bayesv.design.residual import Index, Residual
from bayesv.errors import DataError, FormulaError, near
from bayesv.formula.columns import as_numbers, kind
from bayesv.formula.residual_text import (
    ResidualText,
    SDText,
    parse_residual,
    parse_residual_sd,
    structure_columns,
)
from bayesv.formula.series import complete_rows, residual_of
from bayesv.linalg import Array

__all__ = ["ResidualRequest"]


@dataclass(frozen=True, eq=False)
class ResidualRequest:
    """A correlation and SDs as written, or a known covariance.

    Attributes
    ----------
    form : ResidualText or None
    factors : tuple of SDText
    known : Known or None
    """

    form: ResidualText | None
    factors: tuple[SDText, ...]
    known: Known | None

    @classmethod
    def of(cls, residual: Any, residual_sd: Any, var_weights: Any) -> Self:
        """Read the arguments of a model.

        Raises
        ------
        FormulaError
            If a text cannot be read, or a known covariance stands beside what would change it.
        """
        if not isinstance(residual, Known):
            form = None if residual is None else parse_residual(residual)
            factors = () if residual_sd is None else parse_residual_sd(residual_sd)
            return cls(form, factors, None)
        beside = [name for name, value in
                  (("residual_sd", residual_sd), ("var_weights", var_weights))
                  if value is not None]  # fmt: skip
        if beside:
            raise FormulaError(
                f"residual=Known(…) says all of R; {' and '.join(beside)} would change it. Leave "
                "one of the two out."
            )
        return cls(None, (), residual)

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked."""
        return self.form is None and not self.factors and self.known is None

    def columns(self, available: Sequence[str]) -> tuple[str, ...]:
        """Return the columns that are used, all of which exist.

        Raises
        ------
        FormulaError
            If one does not.
        """
        if self.known is None:
            return structure_columns(self.form, self.factors, available)
        if (name := self.known.column) is None:
            return ()
        if name not in available:
            raise FormulaError(
                f"The data have no column {name!r} for Known(…){near(name, available)}"
            )
        return (name,)

    def covariance(self, frame: pd.DataFrame) -> Any:
        """Return the known variances or covariance of all rows; None if nothing is known."""
        if self.known is None:
            return None
        column = None
        if (name := self.known.column) is not None:
            if kind(frame[name]) == "factor":
                raise DataError(f"Known({name!r}): the column is text; variances are needed.")
            column = np.asarray(as_numbers(frame[name]), dtype=float)
        return self.known.covariance(column, len(frame))

    def present(
        self, frame: pd.DataFrame, covariance: Any, others: NDArray[np.bool_] | None
    ) -> NDArray[np.bool_] | None:
        """Return which rows have all that is asked for, (n,); None if every row has.

        Parameters
        ----------
        frame : DataFrame
        covariance : ndarray or sparse array
            Of `covariance`.
        others : ndarray of bool, shape (n,), or None
            Which rows have all else that they need.
        """
        masks = [] if others is None else [others]
        if self.known is None:
            names = structure_columns(self.form, self.factors, list(frame.columns))
            masks += [complete_rows(names, frame)] if names else []
        elif covariance.ndim == 1:
            masks.append(np.isfinite(covariance))
        return np.logical_and.reduce(masks) if masks else None

    def residual(
        self, frame: pd.DataFrame, rows: Index, covariance: Any, weights: Array | None
    ) -> Residual:
        """Return the residuals of the rows that are used.

        Parameters
        ----------
        frame : DataFrame
            All rows.
        rows : ndarray of int
        covariance : ndarray or sparse array
            Of `covariance`.
        weights : ndarray, shape (len(rows),), or None
        """
        if self.known is not None:
            return self.known.residual(covariance, rows)
        if self.is_plain:
            return Residual.of_weights(weights, len(rows))
        return residual_of(self.form, self.factors, frame.iloc[rows], weights)
