"""Draw a scenario's covariates: functions of normal scores that correlate, grids and cycles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.linalg import Array, psd_root, smallest_relative_eigenvalue
from bayesv.study.declared.content import ScenarioContent
from bayesv.study.declared.laws import VALUES, read_law
from bayesv.study.declared.reading import number, refusal
from bayesv.study.simulation.groups import Codes, positions

__all__ = ["column_of", "cycled", "draw_frame", "latent_correlation"]

type Index = NDArray[np.intp]
type Rng = np.random.Generator


def latent_correlation(scenario: ScenarioContent) -> tuple[list[str], Array]:
    """Return the covariates that are drawn, and the correlation of their normal scores."""
    names = [name for name, law in scenario.covariates.items() if law["law"] in VALUES]
    corr = np.eye(len(names))
    for pair, value in scenario.correlations.items():
        ends = [part.strip() for part in pair.split(":")]
        if len(ends) != 2 or ends[0] == ends[1] or not set(ends) <= set(names):
            raise refusal(
                "correlations", pair, f"'a:b' of two covariates that are drawn: {', '.join(names)}."
            )
        i, j = (names.index(end) for end in ends)
        corr[i, j] = corr[j, i] = number(f"correlations.{pair}", value, "[-1, 1]")
    if names and smallest_relative_eigenvalue(corr) < -1e-10:
        raise refusal("correlations", scenario.correlations, "a positive semi-definite matrix.")
    return names, corr


def draw_frame(scenario: ScenarioContent, codes: Codes, position: Index, rng: Rng) -> pd.DataFrame:
    """Return the factors and covariates of every row, as columns."""
    columns: dict[str, Any] = {}
    for factor, code in codes.items():
        labels = [str(i + 1) for i in range(int(code.max()) + 1)]
        columns[factor] = pd.Categorical.from_codes(code, labels, ordered=True)
    names, corr = latent_correlation(scenario)
    root = psd_root(corr)
    by_row = rng.standard_normal((len(position), len(names))) @ root.T
    groups = dict.fromkeys(g for x in scenario.covariates.values() if (g := x.get("group")))
    by_level = {
        group: (rng.standard_normal((int(codes[group].max()) + 1, len(names))) @ root.T)[
            codes[group]
        ]
        for group in groups
    }
    for name, description in scenario.covariates.items():
        if description["law"] in VALUES:
            i, group = names.index(name), description.get("group")
            z = by_row[:, i]
            if group:
                share = description.get("between", 1.0)
                z = np.sqrt(share) * by_level[group][:, i] + np.sqrt(1 - share) * z
            columns[name] = column_of(name, description, z)
        elif description["law"] == "grid":
            within = description.get("within")
            place = positions(codes[within]) if within else position
            columns[name] = description.get("start", 0.0) + description.get("step", 1.0) * place
        else:
            group = description.get("group")
            columns[name] = cycled(description["values"], codes[group] if group else position)
    return pd.DataFrame(columns)


def column_of(name: str, description: Mapping[str, Any], z: Array) -> Any:
    """Return a covariate for standard normal scores."""
    law, values = read_law(f"covariates.{name}", description, VALUES, ("group", "between"))
    drawn = law.draw(f"covariates.{name}", z, values)
    if description["law"] != "categorical":
        return drawn
    return pd.Categorical.from_codes(drawn, [str(level) for level in values["levels"]])


def cycled(values: list[Any], index: Index) -> Any:
    """Return values in turn; texts are categories in the order given."""
    index = index % len(values)
    if all(isinstance(value, int | float) for value in values):
        return np.array(values, dtype=float)[index]
    texts = [str(value) for value in values]
    return pd.Categorical(
        np.array(texts, dtype=object)[index], categories=list(dict.fromkeys(texts))
    )
