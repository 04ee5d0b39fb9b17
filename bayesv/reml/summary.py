"""What lme4's ``summary`` would print of a fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance.quantities import parameters_of_family
from bayesv.design.design import Design
from bayesv.support.shown import Part, Table

__all__ = ["parts_of"]


def parts_of(fit: Any) -> Iterator[Part]:
    """Give criterion, scaled residuals, variance components, fixed effects and flags.

    Parameters
    ----------
    fit : RemlFit
    """
    design = fit.design
    full = {"REML": "restricted maximum likelihood", "ML": "maximum likelihood"}[fit.method]
    made_by = "" if fit.origin == "bayesv" else f" ({fit.origin})"
    name = "REML criterion" if fit.method == "REML" else "-2 log likelihood (deviance)"
    yield f"Linear mixed model by {full}{made_by}"
    yield f"Formula: {design.formula}"
    yield ""
    yield f"{name}: {fit.criterion:.4f}"
    yield ""
    if design.has_rows:
        yield "Scaled residuals:"
        yield _scaled_residuals(fit)
        yield ""
    yield "Random effects:" if design.terms else "Residuals:"
    yield fit.components
    yield from _families(fit)
    yield from _sizes(design)
    if design.p:
        yield ""
        yield "Fixed effects:"
        ratios = {"Estimate": fit.beta, "Std. Error": fit.se, "t value": fit.beta / fit.se}
        yield Table.of(pd.DataFrame(ratios))
    if design.p > 1:
        yield ""
        yield "Correlation of fixed effects:"
        yield _correlation(fit.cov_beta)
    if flags := _flags(fit):
        yield ""
        yield from flags


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


def _scaled_residuals(fit: Any) -> Table:
    residuals = fit.gls.residuals.to_numpy() / fit.components.sigma
    white = fit.design.at(fit.components).residual.whiten(residuals)
    values = np.quantile(white, [0, 0.25, 0.5, 0.75, 1])
    return Table(("Min", "1Q", "Median", "3Q", "Max"), (tuple(f"{v:.4f}" for v in values),), 0)


def _correlation(cov: pd.DataFrame) -> Table:
    sd = np.sqrt(np.diagonal(cov))
    corr = cov.to_numpy() / np.outer(sd, sd)
    names = [str(name) for name in cov.index]
    rows = tuple(
        (name, *(f"{corr[i, j]:.3f}" if j < i else "" for j in range(len(names) - 1)))
        for i, name in enumerate(names) if i
    )  # fmt: skip
    return Table(("", *names[:-1]), rows)


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
