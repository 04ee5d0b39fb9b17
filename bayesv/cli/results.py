"""Results as plain JSON values: NaN has no place in JSON and becomes null."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import pandas as pd

import bayesv as bv
from bayesv.cli.terminal import refuse_closed_output, shows_every_letter
from bayesv.comparison.estimates import at_estimate
from bayesv.support.writing import write_file

__all__ = [
    "comparison_values",
    "components_values",
    "evidence_values",
    "fit_values",
    "header",
    "models_values",
    "posterior_values",
    "records",
    "write_json",
]


def header(design: bv.Design) -> dict[str, Any]:
    """Return what every result starts with: the version, the formula and the data."""
    form = design.parametric_residual
    return {
        "bayesv": bv.__version__,
        "formula": design.formula,
        **({} if form is None else {"residual": form.describe()}),
        "rows": design.n,
        "rows_dropped": design.n_dropped,
        "levels": {term.group: term.n_levels for term in design.terms},
        **_related(design),
        "notes": list(design.notes),
    }


def _related(design: bv.Design) -> dict[str, Any]:
    known = {t.group: t.relationship.describe() for t in design.terms if t.relationship}
    return {"relationships": known} if known else {}


def fit_values(fit: bv.RemlFit) -> dict[str, Any]:
    """Return a REML or ML fit."""
    return {
        "criterion": fit.criterion,
        "singular": fit.singular,
        "converged": fit.converged,
        "evaluations": fit.n_evaluations,
        "beta": fit.beta.to_dict(),
        "se": fit.se.to_dict(),
        **components_values(fit.components),
        "log_det_V": at_estimate(fit).log_det,
        "functionals": fit.functionals().to_dict(),
    }


def posterior_values(post: bv.Posterior) -> dict[str, Any]:
    """Return a posterior: its mean and one line per scalar."""
    return {
        "engine": post.engine,
        "chains": post.n_chains,
        "draws": post.n_draws,
        "priors": None if post.priors is None else str(post.priors).splitlines(),
        "problems": list(post.problems),
        "mean": components_values(post.estimate("mean")),
        "summary": records(post.summary()),
    }


def evidence_values(evidence: bv.Evidence) -> dict[str, Any]:
    """Return a log evidence with its error and what it rests on."""
    return {
        "log": evidence.log,
        "mcse": evidence.mcse,
        "method": evidence.method,
        "ess": evidence.ess,
        "pareto_k": evidence.pareto_k,
        "flat": list(evidence.flat),
        "problems": list(evidence.problems),
    }


def models_values(comparison: bv.ModelComparison) -> dict[str, Any]:
    """Return models side by side, best first."""
    return {"models": records(comparison.to_frame()), "notes": list(comparison.notes)}


def comparison_values(comparison: bv.Comparison) -> dict[str, Any]:
    """Return the tables of a comparison."""
    return {
        "quantities": records(comparison.table),
        "fixed": records(comparison.fixed),
        "V": records(comparison.marginal),
    }


def components_values(vc: bv.VarianceComponents) -> dict[str, Any]:
    """Return Σ of every group, with names, σ², and the parameters of structured residuals."""
    labelled = {"sd": dict(vc.residual.sd), "corr": dict(vc.residual.corr)}
    return {
        "sigma2": vc.sigma2,
        **({"residual": labelled} if any(labelled.values()) else {}),
        "covariance": {
            group: {"names": list(vc[group].index), "matrix": vc[group].to_numpy().tolist()}
            for group in vc.groups
        },
    }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows by column."""
    return list(table.to_dict(orient="records"))


def write_json(values: Any, target: str) -> None:
    """Write values to a file, or to standard output for ``-``."""
    escaped = target == "-" and not shows_every_letter(sys.stdout)
    text = json.dumps(_plain(values), indent=2, ensure_ascii=escaped, allow_nan=False)
    if target == "-":
        refuse_closed_output()
        print(text)
    else:
        write_file(target, text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value
