"""What lme4's ``summary`` would print of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance.quantities import parameters_of_family
from bayesv.design.design import Design

__all__ = ["summary_of"]


def summary_of(fit: Any) -> str:
    """Return criterion, scaled residuals, variance components, fixed effects and flags.

    Parameters
    ----------
    fit : RemlFit
    """
    design = fit.design
    full = {"REML": "restricted maximum likelihood", "ML": "maximum likelihood"}[fit.method]
    made_by = "" if fit.origin == "bayesv" else f" ({fit.origin})"
    name = "REML criterion" if fit.method == "REML" else "-2 log likelihood (deviance)"
    lines = [
        f"Linear mixed model by {full}{made_by}",
        f"Formula: {design.formula}",
        "",
        f"{name}: {fit.criterion:.4f}",
        "",
        *(["Scaled residuals:", _scaled_residuals(fit), ""] if design.has_rows else []),
        "Random effects:" if design.terms else "Residuals:",
        repr(fit.components),
        *_families(fit),
        *_sizes(design),
    ]
    if design.p:
        lines += ["", "Fixed effects:", _fixed(fit)]
    if design.p > 1:
        lines += ["", "Correlation of fixed effects:", _correlation(fit.cov_beta)]
    lines += ["", *_flags(fit)]
    return "\n".join(lines).rstrip()


def _sizes(design: Design) -> list[str]:
    """Return numbers of rows and levels, and the form of structured residuals."""
    sizes = f"Rows: {design.n}"
    if design.terms:
        levels = ", ".join(
            f"{term.group} {term.n_levels}"
            + (f" ({term.relationship.describe()})" if term.relationship is not None else "")
            for term in design.terms
        )
        sizes += f"; levels: {levels}"
    form = design.parametric_residual
    return [sizes] if form is None else [sizes, f"Residuals: {form.describe()}"]


def _families(fit: Any) -> list[str]:
    """Return the parameters of terms whose covariance has a family."""
    lines = []
    for term in fit.design.terms:
        if not term.structure.is_free:
            values = parameters_of_family(term, fit.components.block_for(term))
            said = [f"{one.scale} {one.first} {float(one.values):.4g}" for one in values
                    if one.scale != "var"]  # fmt: skip
            lines.append(f"Covariance of {term.group}: {term.structure.words}; {', '.join(said)}")
    return lines


def _scaled_residuals(fit: Any) -> str:
    residuals = fit.gls.residuals.to_numpy() / fit.components.sigma
    white = fit.design.at(fit.components).residual.whiten(residuals)
    values = np.quantile(white, [0, 0.25, 0.5, 0.75, 1])
    heads = ("Min", "1Q", "Median", "3Q", "Max")
    return "\n".join(
        ("".join(f"{head:>9}" for head in heads), "".join(f"{value:9.4f}" for value in values))
    )


def _fixed(fit: Any) -> str:
    table = pd.DataFrame({"Estimate": fit.beta, "Std. Error": fit.se, "t value": fit.beta / fit.se})
    return str(table.to_string(float_format=lambda v: f"{v:.5g}"))


def _correlation(cov: pd.DataFrame) -> str:
    sd = np.sqrt(np.diagonal(cov))
    corr = cov.to_numpy() / np.outer(sd, sd)
    names = [str(name) for name in cov.index]
    width = max(8, *(len(name) + 1 for name in names[:-1]))
    width = min(width, 14)
    lines = [" " * 16 + "".join(f"{name[: width - 1]:>{width}}" for name in names[:-1])]
    for i in range(1, len(names)):
        row = "".join(f"{corr[i, j]:{width}.3f}" for j in range(i))
        lines.append(f"{names[i][:16]:<16}{row}")
    return "\n".join(lines)


def _flags(fit: Any) -> list[str]:
    flags = []
    if fit.singular:
        flags.append(
            "singular fit: a variance is 0 or a correlation ±1; a boundary estimate, not an error"
        )
    if not fit.converged:
        why = f"{fit.origin} says so"
        if fit.origin == "bayesv":
            why = f"gradient {fit.gradient_norm:.2g}"
        flags.append(f"NOT CONVERGED: {why}")
    if fit.certificate is not None:
        flags.append(fit.certificate.describe())
    flags += [f"problem: {problem}" for problem in fit.problems]
    flags += [f"note: {note}" for note in (*fit.notes, *fit.design.notes)]
    return flags
