"""Mixed models that were fitted in R: the script that writes them, and their reader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance import ComponentDraws
from bayesv.design.design import Design
from bayesv.errors import ExtractionError
from bayesv.extract.point import PointFit, by_factor, reml_fit
from bayesv.extract.r_design import RLabels, RTerm, design_of, terms_of
from bayesv.extract.r_files import Record, Table, open_export, read_columns
from bayesv.extract.r_relationships import relationships_of
from bayesv.extract.r_residual import (
    RResidual,
    known_residual,
    plain_residual,
    residual_draws,
    structured_residual,
)
from bayesv.inference.draws import Draws
from bayesv.linalg import Array
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.support.arguments import PATH, accepts

__all__ = ["read_data", "read_fit"]

_POINT = ("lme4", "nlme", "glmmTMB", "mmrm", "metafor")
_DRAWS = ("brms", "rstanarm")
_KNOWN = "covariance.csv.gz"


@accepts(path=PATH)
def read_fit(path: str | Path) -> RemlFit | Posterior:
    """Read a fit that ``bayesv_export(fit, path)`` wrote in R.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    RemlFit or Posterior
        The first of lme4 and lmerTest (``lmer``), nlme (``lme``, ``gls``), glmmTMB, mmrm and
        metafor (``rma.uni``, ``rma.mv``), the second of brms and rstanarm, without
        priors. Its ``design`` has R's own y, X and Z and bayesv's labels, so that
        ``bv.Model.from_design(fit.design)`` is the same model without the data.

    Raises
    ------
    ExtractionError
        If a file is missing, damaged or of another format, labels do not match, or the numbers that
        R reports are not those of V at its components.

    Warns
    -----
    FitWarning
        If R says that the fit did not converge.
    SamplingWarning
        If R's draws have high R-hat or low ESS.

    Notes
    -----
    −2 log L, β̂ and its covariance are computed from V = Z G Z' + R at R's components and held
    against R's own. Where a program reports another covariance of β̂ than (X'V⁻¹X)⁻¹, as glmmTMB
    does (the inverse of the joint Hessian) and ``gls`` by ML (n/(n − p) times it), both are there:
    ``cov_beta`` and ``reported_cov_beta``; a note of the fit says so.

    Examples
    --------
    In R: ``source("bayesv_export.R"); bayesv_export(fit, "myfit")``. Then

    >>> import bayesv as bv
    >>> fit = bv.read_fit("tests/references/r_export/lmer_sleepstudy")
    >>> fit.label, round(fit.criterion, 4)
    ('REML (lme4)', 1743.6283)
    >>> model = bv.Model.from_design(fit.design)
    >>> round(model.reml().criterion, 4)
    1743.6283
    """
    folder, record = open_export(path)
    engine = record.text("engine")
    if engine not in _POINT + _DRAWS:
        raise ExtractionError(
            f"{record.place}: 'engine' is {engine!r}; known are {', '.join(_POINT + _DRAWS)}."
        )
    labels = RLabels.read(record)
    terms = terms_of(record, labels)
    table = read_columns(folder, "design.csv.gz", int(record.number("n_rows")))
    residual = _residual(folder, record, table)
    related = relationships_of(folder, terms)
    design = design_of(record, table, terms, labels, residual.residual, related)
    if engine in _POINT:
        return _point_fit(record, design, terms, residual)
    draws = _draws(record, read_columns(folder, "draws.csv.gz"), terms, design)
    return Posterior.from_draws(draws, None, engine)


@accepts(path=PATH)
def read_data(path: str | Path) -> pd.DataFrame:
    """Read the variables of an exported fit, with R's row names and order of factor levels.

    Parameters
    ----------
    path : str or Path
        The folder that ``bayesv_export(fit, path)`` wrote.

    Returns
    -------
    DataFrame
        Of the rows that were used. If R no longer had the data, of the columns that its model frame
        holds as they were.

    Raises
    ------
    ExtractionError
        If a file is missing, damaged or of another format.

    Notes
    -----
    `read_fit` does not need them. Bambi does: ``bv.Model(fit.design.formula, read_data(path))``.

    Examples
    --------
    >>> from bayesv.extract import read_data
    >>> read_data("tests/references/r_export/lmer_sleepstudy").columns.to_list()
    ['Reaction', 'Days', 'Subject']
    """
    folder, record = open_export(path)
    table = read_columns(folder, "data.csv.gz", int(record.number("n_rows")))
    factors = RLabels.read(record).factors
    names = table.columns.columns[1:]
    columns = {name: _typed(table.texts(name), factors.get(name)) for name in names}
    return pd.DataFrame(columns, index=pd.Index(table.row_names))


def _typed(texts: list[str], levels: Sequence[str] | None) -> Any:
    """Return a column as the categories, numbers or texts that it was in R."""
    if levels is not None:
        return pd.Categorical(texts, categories=list(levels))
    known = pd.Series(texts).replace("NA", None)
    numbers = pd.to_numeric(known, errors="coerce")
    return (numbers if numbers.isna().equals(known.isna()) else known).to_numpy()


def _residual(folder: Path, record: Record, table: Table) -> RResidual:
    """Return what the fit says of R."""
    if record.values.get("residual") is None:
        return plain_residual(record, table)
    part = record.record("residual")
    if "known" not in part.values:
        drawn = record.text("engine") in _DRAWS
        return structured_residual(record, part, table, drawn=drawn)
    matrix = part.text("known") == "matrix"
    return known_residual(part, table, read_columns(folder, _KNOWN) if matrix else None)


def _point_fit(
    record: Record, design: Design, terms: list[list[RTerm]], residual: RResidual
) -> RemlFit:
    beta = record.record("beta")
    p, engine, method = design.p, record.text("engine"), record.text("method")
    if method not in ("REML", "ML"):
        raise ExtractionError(f"{record.place}: 'method' must be REML or ML, found {method!r}.")
    parts = [(term.group, term.columns, term.covariance()) for pieces in terms for term in pieces]
    point = PointFit(
        origin=engine,
        method=method,
        converged=record.flag("converged"),
        y=design.y,
        blocks=by_factor(parts),
        sigma2=residual.sigma2(record.number("sigma")),
        beta=pd.Series(beta.numbers("values", (p,)), list(design.fixed_names)),
        cov_beta=None if beta.values.get("vcov") is None else beta.numbers("vcov", (p, p)),
        criterion=-2.0 * record.number("log_likelihood"),
        residual=residual.values,
        other_cov=_other_cov(engine, beta),
    )
    return reml_fit(point, design)


def _other_cov(engine: str, beta: Record) -> str | None:
    """Say what R's covariance of β̂ is, if it is not (X'V⁻¹X)⁻¹."""
    if beta.values.get("other_cov") is not None:
        return beta.text("other_cov")
    if engine == "glmmTMB":
        return "the block of β in the inverse of the joint Hessian of β and the parameters of V"
    return None


def _draws(record: Record, table: Table, terms: list[list[RTerm]], design: Design) -> Draws:
    chain, draw = table.numbers("chain"), table.numbers("draw")
    chains, draws = np.unique(chain), np.unique(draw)
    order = np.lexsort((draw, chain))
    complete = len(table) == len(chains) * len(draws) > 0
    if not complete or not np.array_equal(draw[order], np.tile(draws, len(chains))):
        raise ExtractionError(
            f"{table.place} has {len(table)} rows for {len(chains)} chains and {len(draws)} draws "
            "each; every draw of every chain is needed once. The file is incomplete: export again."
        )

    def values(name: str) -> Array:
        return table.numbers(name)[order].reshape(len(chains), len(draws))

    def covariance(parts: list[RTerm]) -> Array:
        """Σ_f of terms that share a factor; they are independent of each other."""
        r, start = sum(len(term.names) for term in parts), 0
        matrices = np.zeros((len(chains), len(draws), r, r))
        for term in parts:
            for i, a in enumerate(term.names):
                for j, b in enumerate(term.names[: i + 1]):
                    if i == j or term.correlated:
                        cov = values(f"cov[{term.group}: {a}, {b}]")
                        row, column = start + i, start + j
                        matrices[..., row, column] = matrices[..., column, row] = cov
            start += len(term.names)
        return matrices

    names = record.record("beta").texts("names")
    beta = [values(f"beta[{name}]") for name in names]
    versions = record.record("versions")
    sigma2, residual = residual_draws(design.residual, values)
    parameters = ComponentDraws(
        design,
        covs={pieces[0].group: covariance(pieces) for pieces in terms},
        sigma2=np.ones((len(chains), len(draws))) if sigma2 is None else sigma2,
        residual=residual,
        beta=np.stack(beta, axis=-1) if beta else np.empty((len(chains), len(draws), 0)),
    )
    return Draws(
        parameters,
        attrs={f"version of {name}": versions.text(name) for name in versions.values},
    )
