"""The parameters that a scenario states, in the columns of a design."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance import VarianceComponents
from bayesv.design.design import Design
from bayesv.errors import BayesvError, ScenarioError
from bayesv.names import factors_of, matched
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.study.declared.content import ScenarioContent
from bayesv.study.declared.reading import choice, number, refusal, table

__all__ = ["chosen_beta", "chosen_components", "fit_columns"]

_OF_FAMILY = 1e-6  # of the largest element: rounding of a stated covariance, and of parameters


def fit_columns(fit: RemlFit | Posterior, design: Design) -> list[int]:
    """Return where each fixed effect of a design stands in a fit whose terms are the same."""
    names = fit.beta.index if isinstance(fit, RemlFit) else fit.design.fixed_names
    labels = [str(name) for name in names]
    columns = matched(design.fixed_names, labels, "parameters: the coefficient", ScenarioError)
    for name, column in zip(design.fixed_names, columns, strict=True):
        if column is None:
            raise ScenarioError(
                f"parameters: the fit has no coefficient {name!r}; it has {', '.join(names)}."
            )
    if len(labels) > design.p:
        raise ScenarioError(
            f"parameters: the fit has {', '.join(names)}; the formula has only "
            f"{', '.join(design.fixed_names)}."
        )
    components = fit.components if isinstance(fit, RemlFit) else fit.components(0, 0)
    try:
        components.aligned(design)
    except BayesvError as error:
        raise ScenarioError(f"parameters: {error}") from error
    return [column for column in columns if column is not None]


def chosen_beta(scenario: ScenarioContent, design: Design) -> pd.Series:
    """Return the fixed effects by name, 0 where none is given."""
    beta = pd.Series(0.0, list(design.fixed_names), name="beta")
    values = table("beta", scenario.beta)
    columns = matched(list(values), design.fixed_names, "beta: the name", ScenarioError)
    for (name, value), column in zip(values.items(), columns, strict=True):
        if column is None:
            choice("beta: its keys", name, list(design.fixed_names))
        else:
            beta.iloc[column] = number(f"beta.{name}", value)
    return beta


def chosen_components(scenario: ScenarioContent, design: Design) -> VarianceComponents:
    """Return Σ_f, σ² and parameters of residuals as they are given, in the design's columns."""
    residual, sigma = _residual(scenario, design)
    by_group = {key: _by_group(scenario, key, design) for key in ("sd", "corr", "cov")}
    blocks = {}
    for term in design.terms:
        stated = {key: values.get(term.group) for key, values in by_group.items()}
        key = "cov" if stated["sd"] is None else "sd"
        if (stated["sd"] is None) == (stated["cov"] is None) or (
            key == "cov" and stated["corr"] is not None
        ):
            keys = [name for name, value in stated.items() if value is not None]
            raise ScenarioError(
                f"sd.{term.group}: found {', '.join(keys) or 'nothing'} of {term.group!r}; "
                "needed: sd, or sd and corr, or cov."
            )
        cov = _labelled(f"cov.{term.group}", stated["cov"])
        try:
            if key == "cov":
                vc = VarianceComponents({term.group: cov}, sigma * sigma)
            else:
                corr = None if stated["corr"] is None else {term.group: stated["corr"]}
                vc = VarianceComponents.from_sd_corr({term.group: stated["sd"]}, corr, sigma=sigma)
            block = vc.block_for(term)
        except BayesvError as error:
            raise ScenarioError(f"{key}.{term.group}: {error}") from error
        if block[~term.structure.mask].any():
            raise ScenarioError(
                f"corr.{term.group}: found correlations of columns that the formula keeps "
                "uncorrelated; write (x | g) instead of (x || g), or leave them out."
            )
        family = term.structure.project(block)
        if not np.allclose(family, block, rtol=0.0, atol=_OF_FAMILY * np.abs(block).max()):
            raise ScenarioError(
                f"{key}.{term.group}: this covariance is not of the form {term.structure.words} "
                "that the formula gives it; state one that is, or write us(… | …)."
            )
        blocks[term.group] = pd.DataFrame(block, term.columns, term.columns)
    vc = VarianceComponents(blocks, sigma * sigma, residual)
    form = design.structured_residual
    if form is None:
        return vc
    try:
        vc = vc.aligned(design)
        own = form.values_of(form.parameters(vc.residual, vc.sigma2), vc.sigma2)[0]
    except BayesvError as error:
        raise ScenarioError(f"corr.Residual: {error}") from error
    for label, value in vc.residual.corr.items():
        if abs(own.corr[label] - value) > _OF_FAMILY * max(abs(value), 1.0):
            raise refusal(f"corr.Residual.{label}", value, f"what {form.text} can be.")
    return vc


def _residual(
    scenario: ScenarioContent, design: Design
) -> tuple[dict[str, dict[str, float]] | None, float]:
    """Return the true parameters of structured residuals, by label, and σ."""
    if (form := design.parametric_residual) is None:
        return None, number("sigma", scenario.sigma, "(0, inf)")
    values = {
        "sd": _by_label(scenario, "sd", form.sd_labels, "(0, inf)"),
        "corr": _by_label(scenario, "corr", form.corr_labels, "(-inf, inf)"),
    }
    if not form.sd_labels:
        return values, number("sigma", scenario.sigma, "(0, inf)")
    if scenario.sigma is not None:
        allowed = "nothing, as each residual SD is stated in sd.Residual."
        raise refusal("sigma", scenario.sigma, allowed)
    return values, float(np.sqrt(form.sigma2_of(np.array(list(values["sd"].values())))))


def _by_label(
    scenario: ScenarioContent, key: str, labels: tuple[str, ...], within: str
) -> dict[str, float]:
    """Return one number for each label of the residuals; one number is that of all."""
    stated = table(key, getattr(scenario, key)).get("Residual")
    if not labels:
        if stated is not None:
            raise refusal(f"{key}.Residual", stated, "nothing: the residuals have none.")
        return {}
    if not isinstance(stated, Mapping):
        stated = dict.fromkeys(labels, number(f"{key}.Residual", stated, within))
    content = table(f"{key}.Residual", stated, labels, [])
    return {label: number(f"{key}.Residual.{label}", content[label], within) for label in labels}


def _by_group(scenario: ScenarioContent, key: str, design: Design) -> dict[str, Any]:
    """Return what a table of the scenario says of each grouping factor of the design."""
    content = table(key, getattr(scenario, key))
    if design.parametric_residual is not None:
        content.pop("Residual", None)  # its parameters have labels of their own
    positions = matched(
        list(content), design.groups, f"{key}: the group", ScenarioError, factors_of
    )
    for group, position in zip(content, positions, strict=True):
        if position is None:
            choice(f"{key}: its keys", group, design.groups)
    return {
        design.groups[i]: content[group]
        for group, i in zip(content, positions, strict=True)
        if i is not None
    }


def _labelled(key: str, cov: Any) -> Any:
    """Return covariances as given, a table of tables as a frame."""
    if not isinstance(cov, Mapping):
        return cov
    return pd.DataFrame({name: table(f"{key}.{name}", row) for name, row in cov.items()})
