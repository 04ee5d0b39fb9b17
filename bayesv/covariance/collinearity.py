"""How much standard errors of fixed effects grow because terms go together."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd

from bayesv.errors import DataError
from bayesv.formula.encoding import Encoding
from bayesv.formula.reference_grid import fixed_terms
from bayesv.names import INTERCEPT
from bayesv.support.shown import WholeFrame

__all__ = ["collinearity"]


class _Fitted(Protocol):
    @property
    def design(self) -> Any: ...
    @property
    def cov_beta(self) -> Any: ...


def collinearity(fit: _Fitted) -> pd.DataFrame:
    """Return the table of `RemlFit.collinearity`; without a formula, columns are terms."""
    design = fit.design
    if isinstance(design.encoding, Encoding):
        terms = {term.label: term.columns for term in fixed_terms(design) if term.columns}
    else:
        terms = {n: (i,) for i, n in enumerate(design.fixed_names) if n != INTERCEPT}
    if len(terms) < 2:
        raise DataError(
            "Collinearity is between terms of the fixed effects; there are "
            f"{', '.join(terms) or 'none'} beside the intercept, and two are needed."
        )
    cov = np.asarray(fit.cov_beta, dtype=float)
    every = sorted(column for columns in terms.values() for column in columns)
    scale = np.sqrt(np.diagonal(cov))
    C = cov / np.outer(scale, scale)
    whole, rows = _log_determinant(C, every), {}
    for name, columns in terms.items():
        rest = [column for column in every if column not in columns]
        gvif = np.exp(_log_determinant(C, list(columns)) + _log_determinant(C, rest) - whole)
        df = len(columns)
        rows[name] = (df, gvif, gvif ** (0.5 / df), 1.0 / gvif)
    table = pd.DataFrame.from_dict(
        rows, orient="index", columns=["df", "gvif", "se_factor", "tolerance"]
    )
    return WholeFrame(table)


def _log_determinant(C: np.ndarray[Any, Any], columns: list[int]) -> float:
    return float(np.linalg.slogdet(C[np.ix_(columns, columns)])[1])
