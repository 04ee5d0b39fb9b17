"""A fit as three tables: its parameters, one line about it, and its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance.quantities import point_quantities
from bayesv.errors import DataError
from bayesv.reml.intervals import fixed_table, wald_intervals
from bayesv.support.shown import WholeFrame

__all__ = ["augmented", "glanced", "tidied"]


def tidied(fit: Any, prob: float) -> pd.DataFrame:
    """Return every parameter with what is inferred of it; see `RemlFit.tidy`.

    Parameters
    ----------
    fit : RemlFit
    prob : float
    """
    fixed = fixed_table(fit, prob)
    fixed.insert(0, "term", fit.design.fixed_names)
    intervals = wald_intervals(fit, prob)
    rows = []
    for one in point_quantities(fit.design, fit.components):
        if one.label not in intervals.index:  # variances are those of the SDs
            continue
        of_residual = one.group == "Residual"
        names = ", ".join(name for name in (one.first, one.second) if name)
        rows.append(
            {
                "effect": "residual" if of_residual else "random",
                "group": "" if of_residual else one.group,
                "term": f"{one.scale} {names}".strip(),
                **intervals.loc[one.label],
            }
        )
    random = pd.DataFrame(rows, columns=["effect", "group", "term", *intervals.columns])
    fixed = fixed.assign(effect="fixed", group="")
    parts = [part for part in (fixed, random) if len(part)]
    table = pd.concat(parts, ignore_index=True)
    order = ["effect", "group", "term", "estimate", "se", "df", "t", "p", "low", "high"]
    return WholeFrame(table.reindex(columns=order))


def glanced(fit: Any) -> pd.DataFrame:
    """Return one line about a fit; see `RemlFit.glance`.

    Parameters
    ----------
    fit : RemlFit
    """
    n, k = fit.design.n, fit.n_parameters
    functionals = fit.functionals() if fit.design.terms or fit.design.p else pd.Series(dtype=float)
    shares = [name for name in functionals.index if name.startswith(("ICC ", "R² "))]
    residuals = fit.residuals() if fit.design.has_rows else np.nan
    line = {
        "method": fit.label,
        "rows": n,
        "parameters": k,
        "sigma": fit.components.sigma,
        "rmse": float(np.sqrt(np.mean(np.square(residuals)))),
        "log_likelihood": fit.log_likelihood,
        "criterion": fit.criterion,
        "aic": fit.aic,
        "aicc": fit.aic + 2.0 * k * (k + 1) / (n - k - 1) if n > k + 1 else np.nan,
        "bic": fit.bic,
        **functionals[shares],
        "singular": fit.singular,
        "converged": fit.converged,
    }
    return WholeFrame([line])


def augmented(fit: Any, data: Any) -> pd.DataFrame:
    """Return the rows with what the fit says of each; see `RemlFit.augment`.

    Parameters
    ----------
    fit : RemlFit
    data : DataFrame or None

    Raises
    ------
    DataError
        If the data are not the rows of the fit.
    """
    gls, design = fit.gls, fit.design
    predicted = fit.predict(include="random")
    columns = {
        "fitted": predicted["mean"].to_numpy(),
        "fixed": fit.predict(include="fixed")["mean"].to_numpy(),
        "residual": fit.residuals().to_numpy(),
        "pearson": fit.residuals("pearson").to_numpy(),
        "se": predicted["se"].to_numpy(),
    }
    clusters = gls.V.residual.clusters
    if clusters is None or len(np.unique(clusters)) == design.n:  # each row is one of its own
        # Var(fitted − what is expected) is then R times ∂ŷ/∂y.
        hat = columns["se"] ** 2 / (gls.V.vc.sigma2 * gls.V.residual.diagonal)
        columns["hat"] = hat
        if design.p:
            columns["cook"] = (columns["pearson"] / (1.0 - hat)) ** 2 * hat / design.p
    table = pd.DataFrame(columns, index=design.row_labels)
    if data is None:
        return table
    if not isinstance(data, pd.DataFrame):
        raise DataError(f"data must be a pandas DataFrame; found {type(data).__name__}.")
    if not (data.index.is_unique and table.index.isin(data.index).all()):
        raise DataError(
            "The rows of data are not those of the fit: their index must have its row labels, "
            "each once."
        )
    clashes = [name for name in table if name in data]
    if clashes:
        raise DataError(
            f"data has columns {', '.join(clashes)} already; leave them out: "
            f"data.drop(columns={clashes})."
        )
    return data.loc[table.index].join(table)
