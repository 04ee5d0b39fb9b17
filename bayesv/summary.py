"""A REML or ML fit in words and numbers, as lme4's ``summary`` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from bayesv.reml import RemlFit

__all__ = ["reml_summary"]


def reml_summary(fit: RemlFit) -> str:
    """Return criterion, scaled residuals, variance components, fixed effects and flags."""
    design = fit.design
    full = {"REML": "restricted maximum likelihood", "ML": "maximum likelihood"}[fit.method]
    name = "REML criterion" if fit.method == "REML" else "-2 log likelihood (deviance)"
    lines = [
        f"Linear mixed model by {full}",
        f"Formula: {design.formula}",
        "",
        f"{name}: {fit.criterion:.4f}",
        "",
        "Scaled residuals:",
        _scaled_residuals(fit),
        "",
        "Random effects:",
        repr(fit.components),
        f"Rows: {design.n}; levels: "
        + ", ".join(f"{term.group} {term.n_levels}" for term in design.terms),
    ]
    if design.p:
        lines += ["", "Fixed effects:", _fixed(fit)]
    if design.p > 1:
        lines += ["", "Correlation of fixed effects:", _correlation(fit.cov_beta)]
    lines += ["", *_flags(fit)]
    return "\n".join(lines).rstrip()


def _scaled_residuals(fit: RemlFit) -> str:
    residuals = fit.gls.residuals.to_numpy() / fit.components.sigma
    if fit.design.weights is not None:
        residuals = residuals * np.sqrt(fit.design.weights)
    values = np.quantile(residuals, [0, 0.25, 0.5, 0.75, 1])
    heads = ("Min", "1Q", "Median", "3Q", "Max")
    return "\n".join(
        ("".join(f"{head:>9}" for head in heads), "".join(f"{value:9.4f}" for value in values))
    )


def _fixed(fit: RemlFit) -> str:
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


def _flags(fit: RemlFit) -> list[str]:
    flags = []
    if fit.singular:
        flags.append(
            "singular fit: a variance is 0 or a correlation ±1; a boundary estimate, not an error"
        )
    if not fit.converged:
        flags.append(f"NOT CONVERGED: gradient {fit.gradient_norm:.2g}")
    flags += [f"note: {note}" for note in fit.design.notes]
    return flags
