"""Where fits differ, and why: boundary, few groups, skewness, priors, Monte Carlo error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesv.posterior import Posterior
from bayesv.quantities import Quantity
from bayesv.reml import RemlFit

__all__ = ["reasons"]

_KEY = ["scale", "group", "first", "second"]
_FAR = 0.3  # posterior SDs between REML and the posterior mean that are worth a word
_FEW = 12  # groups
_Z = 4.0  # Monte Carlo standard errors


def reasons(
    fit: RemlFit, posteriors: Sequence[Posterior], names: Sequence[str], table: pd.DataFrame
) -> list[str]:
    """Return one line for each noteworthy difference.

    Parameters
    ----------
    fit : RemlFit
    posteriors : sequence of Posterior
    names : sequence of str
    table : DataFrame
        Of `bayesv.Comparison`: one line per posterior and scalar.
    """
    lines: list[str] = []  # none without a posterior
    for name in names:
        lines += _from_reml(fit, name, table[table["posterior"] == name])
    for i, first in enumerate(names):
        for j in range(i + 1, len(names)):
            pair = (posteriors[i], posteriors[j])
            lines += _between(pair, (first, names[j]), table)
    return lines


def _from_reml(fit: RemlFit, name: str, table: pd.DataFrame) -> list[str]:
    """Differences of a posterior's means from REML, by what explains them best."""
    found: dict[str, list[str]] = {}
    for _, row in table.iterrows():
        if row["scale"] not in ("var", "corr"):
            continue
        label = _label(*(row[k] for k in _KEY))
        spread = (row["high"] - row["low"]) / 3.92
        if pd.isna(row["reml"]):
            found.setdefault("boundary", []).append(label)
            continue
        if abs(row["mean"] - row["reml"]) <= _FAR * spread:
            continue
        at_boundary = row["reml"] == 0 or (row["scale"] == "corr" and abs(row["reml"]) > 1 - 1e-6)
        residual = row["group"] == "Residual"
        n_levels = 0 if residual else fit.design.term(row["group"]).n_levels
        if at_boundary:
            found.setdefault("boundary", []).append(label)
        elif not residual and n_levels <= _FEW:
            found.setdefault(f"few groups ({row['group']} has {n_levels})", []).append(label)
        elif (row["mean"] - row["mode"]) * (row["mean"] - row["reml"]) > 0 and abs(
            row["mode"] - row["reml"]
        ) < 0.5 * abs(row["mean"] - row["reml"]):
            found.setdefault("skewness", []).append(label)
        else:
            found.setdefault("prior or the other components", []).append(label)
    texts = {
        "boundary": "a boundary estimate; the posterior is continuous there",
        "skewness": "the posterior's mode is near REML, its mean is not: another summary",
        "prior or the other components": "the prior, or what other components take over",
    }
    few = "the data say little, so that skewness and the prior matter"
    return [f"{name}: {', '.join(v)}: {k} — {texts.get(k, few)}" for k, v in found.items()]


def _between(
    pair: tuple[Posterior, Posterior], names: tuple[str, str], table: pd.DataFrame
) -> list[str]:
    """Differences between two posteriors that Monte Carlo error does not explain."""
    a, b = (table[table["posterior"] == name].set_index(_KEY) for name in names)
    both = a.index.intersection(b.index)
    gap = a.loc[both, "mean"] - b.loc[both, "mean"]
    z = gap / np.hypot(a.loc[both, "mcse"], b.loc[both, "mcse"])
    differing = [k for k in both[(z.abs() > _Z).to_numpy()] if k[0] in ("var", "corr", "beta")]
    if not differing:
        return [f"{names[0]} and {names[1]} agree within {_Z:g} Monte Carlo standard errors"]
    labels = ", ".join(_label(*k) for k in differing)
    priors = [post.priors for post in pair]
    if any(prior is None for prior in priors):
        why = "the priors of one are not known"
    elif str(priors[0]) != str(priors[1]):
        why = "their priors differ"
    else:
        why = "the same priors: one of them has not converged"
    return [f"{names[0]} and {names[1]} differ beyond Monte Carlo error in {labels}: {why}"]


def _label(scale: str, group: str, first: str, second: str) -> str:
    return Quantity(scale, group, first, second, np.empty(0)).label
