"""The residual covariance of a fit made in R: its form in bayesv's words, and its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from bayesv.design.known import Known, KnownVariances
from bayesv.design.parametric import ParametricResidual, ResidualValues
from bayesv.design.residual import Residual
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.errors import BayesvError, ExtractionError
from bayesv.extract.r_files import AGAIN, Record, Table
from bayesv.formula.residual_request import ResidualRequest
from bayesv.linalg import Array

__all__ = [
    "RResidual",
    "known_residual",
    "plain_residual",
    "residual_draws",
    "structured_residual",
]


class RResidual(NamedTuple):
    """R of a fit made in R.

    Attributes
    ----------
    residual : Residual
    values : ResidualValues or None
        Its parameters; None if it has none.
    """

    residual: Residual
    values: ResidualValues | None = None

    def sigma2(self, sigma: float) -> float:
        """Return σ² of the components, given R's σ."""
        if self.residual.scale_is_known:
            return 1.0
        if isinstance(self.residual, ParametricResidual) and self.values and self.values.sd:
            return self.residual.sigma2_of(np.array(list(self.values.sd.values())))
        return sigma**2


def plain_residual(record: Record, table: Table) -> RResidual:
    """Return σ² diag(1/w) of the column of weights, if there is one.

    Raises
    ------
    ExtractionError
        If weights are not positive.
    """
    return RResidual(Residual.of_weights(_weights(record, table), len(table)))


def structured_residual(
    record: Record, part: Record, table: Table, *, drawn: bool = False
) -> RResidual:
    """Return R = D C D of texts such as ``ar1(day | subject)`` and columns beside the design.

    Parameters
    ----------
    record, part : Record
        Of the fit, and what it says of the residuals.
    table : Table
        design.csv.gz, n rows.
    drawn : bool
        Whether its parameters are among the draws, and not here.

    Raises
    ------
    ExtractionError
        If a text or a column does not say a residual covariance, or parameters do not fit it.
    """
    levels = part.record("levels")
    columns = {
        name: pd.Categorical(table.texts(f"residual[{name}]"), categories=levels.texts(name))
        for name in levels.values
    }
    columns |= {name: table.numbers(f"residual[{name}]") for name in part.texts("numbers")}
    if any(column.isna().any() for column in columns.values() if hasattr(column, "isna")):
        raise ExtractionError(
            f"{part.place}: a row has a level that 'levels' does not name. {AGAIN}"
        )
    frame = pd.DataFrame(columns, index=pd.Index(table.row_names))
    texts = [part.text(key) if part.values.get(key) else None for key in ("form", "sd_form")]
    rows = np.arange(len(table))
    try:
        request = ResidualRequest.of(texts[0], texts[1], None)
        request.columns(list(frame.columns))
        residual = request.residual(frame, rows, None, _weights(record, table))
    except BayesvError as error:
        raise ExtractionError(f"{part.place}: {error}") from error
    if not isinstance(residual, ParametricResidual):
        raise ExtractionError(f"{part.place}: 'form' and 'sd_form' are both empty. {AGAIN}")
    if drawn:
        return RResidual(residual)
    labels = (residual.sd_labels, residual.corr_labels)
    sd, corr = (
        dict(zip(names, map(float, part.numbers(key, (len(names),))), strict=True))
        for key, names in zip(("sd", "corr"), labels, strict=True)
    )
    if min(sd.values(), default=1.0) <= 0:
        raise ExtractionError(f"{part.place}: SDs of residuals must be positive, found {sd}.")
    return RResidual(residual, ResidualValues(sd, corr))


def residual_draws(
    residual: Residual, column: Callable[[str], Array]
) -> tuple[Array | None, Parameters | None]:
    """Return draws of σ² and of the parameters of structured residuals, None where it has none.

    Parameters
    ----------
    residual : Residual
    column : callable
        Draws by name: ``sigma``; ``residual sd[1]``, … and ``residual corr[1]``, … in the order of
        the residual's labels.

    Raises
    ------
    ExtractionError
        If SDs are not positive, or a draw is of no correlation of the family.
    """
    if residual.scale_is_known:
        return None, None
    if not isinstance(residual, StructuredResidual):
        return column("sigma") ** 2, None
    sds = np.stack(
        [column(f"residual sd[{k + 1}]") for k in range(len(residual.sd_labels))]
        or [column("sigma")],
        axis=-1,
    )
    if (sds <= 0).any():
        raise ExtractionError(f"Draws of the SDs of residuals must be positive. {AGAIN}")
    numbers = [column(f"residual corr[{k + 1}]") for k in range(len(residual.corr_labels))]
    corr = np.stack(numbers, axis=-1) if numbers else np.zeros((*sds.shape[:-1], 0))
    sigma2 = np.mean(sds**2, axis=-1)
    try:
        return sigma2, residual.of_numbers(sds / np.sqrt(sigma2)[..., None], corr)
    except BayesvError as error:
        raise ExtractionError(f"Draws of the residuals {residual.text}: {error} {AGAIN}") from error


def known_residual(part: Record, table: Table, elements: Table | None) -> RResidual:
    """Return R of known variances, or of the elements of a known covariance.

    Parameters
    ----------
    part : Record
        What the fit says of the residuals.
    table : Table
        design.csv.gz, n rows.
    elements : Table or None
        covariance.csv.gz: row, column and value of the elements on and below the diagonal.

    Raises
    ------
    ExtractionError
        If variances are not positive, or the covariance is not positive definite.
    """
    n = len(table)
    if elements is None:
        variances = table.numbers("known variance")
        if (variances <= 0).any():
            raise ExtractionError(
                f"{table.place}: {int((variances <= 0).sum())} known variances are not positive. "
                "Fit without these rows, or give them the variance that they have."
            )
        return RResidual(KnownVariances(1.0 / variances))
    i, j = elements.whole("row", n) - 1, elements.whole("column", n) - 1
    values = elements.numbers("value")
    half = sparse.csr_array(sparse.coo_array((values, (i, j)), shape=(n, n)))
    matrix = half + half.T - sparse.diags_array(half.diagonal())
    try:
        return RResidual(Known(matrix).residual(sparse.csr_array(matrix), np.arange(n)))
    except BayesvError as error:
        raise ExtractionError(f"{elements.place}, {part.place}: {error}") from error


def _weights(record: Record, table: Table) -> Array | None:
    weights = table.numbers("weights") if record.flag("weights") else None
    if weights is not None and (weights <= 0).any():
        raise ExtractionError(
            f"{table.place}: {int((weights <= 0).sum())} weights are not positive; R = σ²/w has no "
            "meaning there. Fit without these rows."
        )
    return weights
