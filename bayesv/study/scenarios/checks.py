"""A scenario is valid on construction: every key is looked at before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bayesv.errors import BayesvError, ScenarioError, near
from bayesv.formula import build, parse
from bayesv.formula.residual_text import parse_residual, parse_residual_sd
from bayesv.linalg import Array
from bayesv.study.declared.content import IID, ScenarioContent
from bayesv.study.declared.laws import POSITIVE, STANDARD, VALUES, draw_counts, read_law
from bayesv.study.declared.reading import choice, number, refusal, table
from bayesv.study.declared.related import check_relationship
from bayesv.study.simulation.covariates import column_of, cycled, latent_correlation
from bayesv.study.simulation.parameters import chosen_beta, chosen_components, fit_columns
from bayesv.study.simulation.rows import draw_rows

__all__ = ["check"]

_DESIGNS = ("fixed", "redrawn")
_OF_ROWS = ("levels", "nested", "covariates", "correlations", "rows")
_RESIDUALS = ("residual", "residual_sd", "truth_residual", "truth_residual_sd")
_OF_TRUTH = ("beta", "sd", "corr", "cov", "sigma")
_PROBE_ROWS = 400


def check(scenario: ScenarioContent) -> None:
    """Refuse what cannot be drawn or simulated from.

    Raises
    ------
    ScenarioError
        Naming the key, what was found and what is allowed.
    """
    for key in ("name", "formula"):
        if not isinstance(getattr(scenario, key), str) or not getattr(scenario, key).strip():
            raise refusal(key, getattr(scenario, key), "a text.")
    choice("design", scenario.design, _DESIGNS)
    table("factors", scenario.factors)
    if not isinstance(scenario.shuffle, bool):
        raise refusal("shuffle", scenario.shuffle, "true or false.")
    if scenario.data is None:
        _check_groups(scenario)
        _check_covariates(scenario)
    else:
        for key in _OF_ROWS:
            if getattr(scenario, key):
                raise refusal(key, getattr(scenario, key), "nothing beside data of your own.")
        if scenario.crossing != 1:
            raise refusal("crossing", scenario.crossing, "nothing beside data of your own.")
    _check_rest(scenario)
    _check_structure(scenario)
    _check_names(scenario)
    _check_truth(scenario)


def _check_groups(scenario: ScenarioContent) -> None:
    levels, nested = table("levels", scenario.levels), table("nested", scenario.nested)
    rng = np.random.default_rng(0)
    if not levels:
        raise ScenarioError("levels: at least one grouping factor is needed, such as {g = 10}.")
    for child, parent in nested.items():
        choice("nested: its keys", child, list(levels))
        above, seen = choice(f"nested.{child}", parent, list(levels)), {child}
        while above in nested and above not in seen:
            seen.add(above)
            above = nested[above]
        if above in seen:
            raise refusal(f"nested.{child}", parent, "a factor that is not nested in itself.")
    for factor, sizes in levels.items():
        if factor in nested:
            draw_counts(f"levels.{factor}", sizes, None, rng, least=1)
        else:
            number(f"levels.{factor}", sizes, "[2, inf)", whole=True)
    if scenario.rows is None:
        raise ScenarioError("rows: the number of rows of each cell is missing.")
    draw_counts("rows", scenario.rows, None, rng, least=1)
    if isinstance(scenario.crossing, Mapping):
        crossing = table("crossing", scenario.crossing, ["per", "cells"], [])
        choice("crossing.per", crossing["per"], list(levels))
        draw_counts("crossing.cells", crossing["cells"], None, rng, least=1)
    else:
        number("crossing", scenario.crossing, "(0, 1]")


def _check_covariates(scenario: ScenarioContent) -> None:
    levels = list(scenario.levels)
    laws = (*VALUES, "grid", "cycle")
    table("correlations", scenario.correlations)
    for name, description in table("covariates", scenario.covariates).items():
        key = f"covariates.{name}"
        if name in scenario.levels:
            raise refusal(key, name, "a name that is no grouping factor's.")
        law = choice(f"{key}.law", table(key, description, ["law"])["law"], laws)
        if law == "grid":
            table(key, description, ["law"], ["start", "step", "within"])
            for part in ("start", "step"):
                number(f"{key}.{part}", description.get(part, 0.0))
        elif law == "cycle":
            values = table(key, description, ["law", "values"], ["group"])["values"]
            good = isinstance(values, list) and all(
                isinstance(v, int | float | str) for v in values
            )
            if not good or not values:
                raise refusal(f"{key}.values", values, "a list of numbers or texts.")
        else:
            column_of(name, description, np.zeros(1))
            if "between" in description:
                number(f"{key}.between", description["between"], "[0, 1]")
                table(f"{key} (with 'between')", description, ["group"])
        for part in ("group", "within"):
            if part in description:
                choice(f"{key}.{part}", description[part], levels)
    latent_correlation(scenario)


def _check_rest(scenario: ScenarioContent) -> None:
    if scenario.data is None:
        names = [*scenario.levels, *scenario.covariates]
    else:
        frame = scenario.own_data
        names = [] if frame is None else [str(name) for name in frame.columns]
    if isinstance(scenario.weights, str):
        choice("weights", scenario.weights, names)
    elif scenario.weights is not None:
        read_law("weights", scenario.weights, POSITIVE)
    if isinstance(scenario.missing, Mapping):
        missing = table("missing", scenario.missing, ["share", "column", "slope"], [])
        number("missing.share", missing["share"], "(0, 1)")
        number("missing.slope", missing["slope"])
        choice("missing.column", missing["column"], names)
    elif scenario.missing is not None:
        number("missing", scenario.missing, "[0, 1)")
    for key in ("errors", "effects"):
        if getattr(scenario, key) is not None:
            read_law(key, getattr(scenario, key), STANDARD)
    if scenario.heteroscedastic is not None:
        _check_heteroscedastic(scenario.heteroscedastic, names)
    if scenario.ar1 is not None:
        ar1 = table("ar1", scenario.ar1, ["rho", "group"], ["time"])
        number("ar1.rho", ar1["rho"], "(-1, 1)")
        for part in ("group", "time"):
            if part in ar1:
                choice(f"ar1.{part}", ar1[part], names)


def _check_structure(scenario: ScenarioContent) -> None:
    """Refuse residuals and relationships that cannot be read, or are stated in two ways."""
    structured = False
    for key in _RESIDUALS:
        text = getattr(scenario, key)
        if text is None:
            continue
        if not isinstance(text, str):
            raise refusal(key, text, "a text such as 'ar1(day | g)' or 'strata(g)'.")
        structured = True
        if text != IID or not key.startswith("truth_"):
            try:
                (parse_residual_sd if key.endswith("_sd") else parse_residual)(text)
            except BayesvError as error:
                raise ScenarioError(f"{key}: {error}") from error
    for key in ("ar1", "heteroscedastic") if structured else ():
        if getattr(scenario, key) is not None:
            allowed = "nothing beside residual or residual_sd; state the truth as truth_residual."
            raise refusal(key, getattr(scenario, key), allowed)
    for group, stated in table("relationship", scenario.relationship or {}).items():
        if scenario.data is None:
            choice("relationship: its keys", group, list(scenario.levels))
        check_relationship(f"relationship.{group}", stated)


def _used_by_residuals(scenario: ScenarioContent) -> set[str]:
    """Return the columns that residual structures name."""
    used: set[str] = set()
    for text in (scenario.residual, scenario.truth_residual):
        used |= set() if text in (None, IID) else set(parse_residual(str(text)).names)
    for text in (scenario.residual_sd, scenario.truth_residual_sd):
        factors = () if text in (None, IID) else parse_residual_sd(str(text))
        used |= {factor.column for factor in factors}
    return used


def _check_heteroscedastic(description: Any, names: list[str]) -> None:
    kinds = ("rate", "ratios", "log_sd")
    content = table("heteroscedastic", description, ["by"], kinds)
    choice("heteroscedastic.by", content["by"], names)
    if len(content) != 2:
        raise refusal("heteroscedastic", description, f"'by' and one of {', '.join(kinds)}.")
    if "rate" in content:
        number("heteroscedastic.rate", content["rate"])
    if "log_sd" in content:
        number("heteroscedastic.log_sd", content["log_sd"], "[0, inf)")
    for level, ratio in table("heteroscedastic.ratios", content.get("ratios", {})).items():
        number(f"heteroscedastic.ratios.{level}", ratio, "(0, inf)")


def _check_names(scenario: ScenarioContent) -> None:
    """Refuse formulas that differ in the response, and factors and covariates that nobody uses."""
    formulas = {"formula": scenario.formula}
    if scenario.truth_formula is not None:
        formulas["truth_formula"] = scenario.truth_formula
    structured = any(getattr(scenario, key) is not None for key in _RESIDUALS)
    parsed = {}
    for key, text in formulas.items():
        try:
            parsed[key] = parse(text, random=not structured)
        except BayesvError as error:
            raise ScenarioError(f"{key}: {error}") from error
    responses = {formula.response for formula in parsed.values()}
    if len(responses) > 1:
        raise refusal("truth_formula", scenario.truth_formula, "the response of the formula.")
    if scenario.data is not None:
        return
    response = responses.pop()
    if not response.isidentifier() or response in (*scenario.levels, *scenario.covariates):
        raise refusal("formula", scenario.formula, "a response that is a name of its own.")
    used = {name for formula in parsed.values() for name in formula.names}
    used |= {*scenario.nested.values()} | _used_by_residuals(scenario)
    used |= {part.strip() for pair in scenario.correlations for part in pair.split(":")}
    for description in (*scenario.covariates.values(), scenario.missing, scenario.heteroscedastic,
                  scenario.ar1, scenario.crossing):  # fmt: skip
        if isinstance(description, Mapping):
            parts = ("group", "within", "column", "by", "time", "per")
            used |= {description[part] for part in parts if part in description}
    if isinstance(scenario.weights, str):
        used.add(scenario.weights)
    for key in ("levels", "covariates"):
        for name in getattr(scenario, key):
            if name not in used:
                raise ScenarioError(
                    f"{key}.{name}: found, but nothing uses it; formulas and other keys name "
                    f"{', '.join(sorted(used))}{near(name, used)}"
                )


# --- parameters -----------------------------------------------------------------------------------


def _check_truth(scenario: ScenarioContent) -> None:
    stated = [key for key in _OF_TRUTH if getattr(scenario, key)]
    if scenario.parameters is not None and stated:
        raise refusal(stated[0], getattr(scenario, stated[0]), "nothing beside 'parameters'.")
    frame = scenario.own_data
    if frame is None:
        # Two rows of a series have different positions in a design only, not in the probe.
        structured = scenario.residual or scenario.true_residual["residual"]
        rng = np.random.default_rng(0)
        frame = draw_rows(scenario, rng).frame if structured else _probe(scenario)
    fitted: dict[str, Any] = {"residual": scenario.residual, "residual_sd": scenario.residual_sd}
    models = {"formula": (scenario.formula, fitted)}
    if scenario.has_own_truth:
        models["truth_formula"] = (
            scenario.truth_formula or scenario.formula,
            scenario.true_residual,
        )
    for key, (text, structure) in models.items():
        response = parse(text, random=False).response
        if response.isidentifier() and response not in frame.columns:
            frame = frame.assign(**{response: np.arange(len(frame)) % 7.0})
        try:
            design, _ = build(text, frame, **structure)
        except BayesvError as error:
            raise ScenarioError(f"{key}: {error}") from error
    if scenario.true_parameters is not None:
        fit_columns(scenario.true_parameters, design)
    else:
        chosen_beta(scenario, design)
        chosen_components(scenario, design)


def _probe(scenario: ScenarioContent) -> pd.DataFrame:
    """Return rows that have every category, on which formulas show their coefficients."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {}
    for factor in scenario.levels:
        columns[factor] = pd.Categorical(rng.integers(1, 6, _PROBE_ROWS).astype(str))
    for name, description in scenario.covariates.items():
        order = rng.permutation(_PROBE_ROWS)
        if description["law"] in VALUES:
            columns[name] = _with_all(name, description, rng.standard_normal(_PROBE_ROWS), order)
        elif description["law"] == "grid":
            columns[name] = description.get("start", 0.0) + description.get("step", 1.0) * (
                order % 7
            )
        else:
            columns[name] = cycled(description["values"], order)
    return pd.DataFrame(columns)


def _with_all(name: str, description: Mapping[str, Any], z: Array, order: Any) -> Any:
    if description["law"] == "categorical":
        levels = [str(level) for level in description["levels"]]
        return pd.Categorical.from_codes(order % len(levels), levels)
    return order % 2.0 if description["law"] == "bernoulli" else column_of(name, description, z)
