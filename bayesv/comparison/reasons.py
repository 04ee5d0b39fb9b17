"""Where fits differ, and why: each reason is a counterfactual that was computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd

from bayesv.comparison.counterfactuals import (
    MAX_K,
    Key,
    Reweighted,
    Step,
    contradicts_its_density,
    joint_mode_of,
    path,
    point_values,
    reml_of,
    reweighted,
    same_structure,
)
from bayesv.covariance.quantities import Quantity
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit

__all__ = ["reasons"]

_KEY = ["scale", "group", "first", "second"]
_FAR_SDS = 0.3  # posterior SDs between a fit and the posterior mean that are worth a word
_MIN_SHARE = 0.1  # of a difference that is worth a word
_MCSE_BETWEEN = 4.0  # Monte Carlo standard errors between two posteriors
_MCSE_FROM_FIT = 2.0  # as many from a fit, where a difference may be noise alone

Gaps = Mapping[Key, tuple[float, float]]  # differences of means, and their standard errors


def reasons(
    fit: RemlFit, posteriors: Sequence[Posterior], names: Sequence[str], table: pd.DataFrame
) -> list[str]:
    """Return one line for each noteworthy difference, with the share that each cause explains.

    Parameters
    ----------
    fit : RemlFit
    posteriors : sequence of Posterior
    names : sequence of str
    table : DataFrame
        Of `bayesv.Comparison`: one line per posterior and scalar.

    Notes
    -----
    A posterior's mean is reached from a fit by changing one thing at a time: REML for ML, the
    posterior's correlations, the mean for the mode, its prior for a flat one (the same draws
    reweighted; where Pareto k̂ is above 0.7, the joint mode under the prior instead). Shares add up
    to all of it; some may pull the other way. Draws that contradict their own density explain
    nothing.
    """
    lines: list[str] = []  # none without a posterior
    contradicts = cache(contradicts_its_density)  # asked once of each
    for name, post in zip(names, posteriors, strict=True):
        rows = table[table["posterior"] == name]
        lines += _from_fit(fit, name, post, rows, contradicts)
    for i, first in enumerate(names):
        for j in range(i + 1, len(names)):
            pair = (posteriors[i], posteriors[j])
            lines += _between(pair, (first, names[j]), table, contradicts)
    return lines


# --- a posterior and a fit ------------------------------------------------------------------------


def _from_fit(
    fit: RemlFit,
    name: str,
    post: Posterior,
    table: pd.DataFrame,
    contradicts: Callable[[Posterior], bool],
) -> list[str]:
    """Differences of a posterior's means from a fit."""
    spread = {q.key: float(np.nanstd(q.values, ddof=1)) for q in post.quantities}
    undefined, far = [], []
    for _, row in table[table["scale"].isin(["var", "corr"])].iterrows():
        key: Key = tuple(row[k] for k in _KEY)
        if pd.isna(row["reml"]):
            undefined.append(_label(key))
        elif abs(row["mean"] - row["reml"]) > _FAR_SDS * spread[key]:
            far.append((key, row))
    lines = []
    if undefined:
        lines.append(
            f"{name}: {', '.join(undefined)}: a boundary estimate: {fit.method} has an SD of 0 and "
            "so no correlation; the posterior has both"
        )
    if not far:
        return lines
    steps, k = path(fit, post)
    contradicted = contradicts(post)
    if contradicted:  # what involves the draws is void
        steps = [step for step in steps if step.cause in ("β", "structure")]
    for key, row in far:
        gap = row["mean"] - row["reml"]
        head = (
            f"{name}: {_label(key)}: mean {row['mean']:.4g}, {fit.method} {row['reml']:.4g} "
            f"({gap / spread[key] if spread[key] else np.inf:+.1f} posterior SDs): "
        )
        if abs(gap) <= _MCSE_FROM_FIT * row["mcse"]:
            lines.append(f"{head}within Monte Carlo error (MCSE {row['mcse']:.2g}); draw more")
            continue
        causes, last, error = [], float(row["reml"]), _MCSE_FROM_FIT * row["mcse"] / abs(gap)
        for step in steps:
            value = step.values.get(key, np.nan)
            share = (value - last) / gap
            if abs(share) >= _MIN_SHARE:
                cause = _because(step, steps, key, last, k, fit, post)
                causes.append((share, cause))
            last = value
        rest = (row["mean"] - last) / gap
        if not abs(rest) < _MIN_SHARE:
            why = (
                "the draws contradict their own density, see post.check()"
                if contradicted
                else "the priors of the draws are not known"
            )
            causes.append((rest, f"not explained ({why})"))
        lines.append(head + "; ".join(f"{_of_it(share, error)} {cause}" for share, cause in causes))
    return lines


def _because(
    step: Step,
    steps: Sequence[Step],
    key: Key,
    before: float,
    k: float | None,
    fit: RemlFit,
    post: Posterior,
) -> str:
    """Say what a step means for one scalar."""
    value = step.values.get(key, np.nan)
    if step.cause == "β":
        return f"ML's neglect of the estimation of β (REML is {value:.4g})"
    if step.cause == "structure":
        return f"another structure of correlations (REML with the posterior's is {value:.4g})"
    causes = [one.cause for one in steps]
    prior_first = causes.index("prior") < causes.index("summary")
    if step.cause == "prior" and prior_first:
        by = f"the mean under a flat one is not computable: Pareto k̂ {k:.2g}"
        return f"the prior (it moves the mode to {value:.4g}; {by})"
    if step.cause == "prior":
        return f"the prior (the mean under a flat one is {before:.4g})"
    levels = ""
    if key[1] != "Residual":
        levels = f"; {key[1]} has {post.design.term(key[1]).n_levels} levels"
    points = [one.values for one in steps if one.cause in ("β", "structure")]
    start = (points[-1] if points else point_values(post.design, fit.components))[key]
    if (key[0] == "var" and start == 0) or (key[0] == "corr" and abs(start) > 1 - 1e-6):
        return (
            "a boundary estimate: it is at the end of the scale, where a posterior mean cannot "
            f"be{levels}"
        )
    return f"skewness: the mean is not the mode{levels}"


# --- two posteriors -------------------------------------------------------------------------------


def _between(
    pair: tuple[Posterior, Posterior],
    names: tuple[str, str],
    table: pd.DataFrame,
    contradicts: Callable[[Posterior], bool],
) -> list[str]:
    """Differences between two posteriors that Monte Carlo error does not explain."""
    a, b = (table[table["posterior"] == name].set_index(_KEY) for name in names)
    keys = a.index.intersection(b.index)
    gap = b.loc[keys, "mean"] - a.loc[keys, "mean"]
    mcse = np.hypot(a.loc[keys, "mcse"], b.loc[keys, "mcse"])
    differing = [
        key
        for key in keys[(gap.abs() > _MCSE_BETWEEN * mcse).to_numpy()]
        if key[0] in ("var", "corr", "beta")
    ]
    if not differing:
        return [
            f"{names[0]} and {names[1]} agree within {_MCSE_BETWEEN:g} Monte Carlo standard errors"
        ]
    labels = ", ".join(_label(key) for key in differing)
    head = f"{names[0]} and {names[1]} differ beyond Monte Carlo error in {labels}: "
    gaps = {key: (float(gap[key]), float(mcse[key])) for key in differing}
    for name, post in zip(names, pair, strict=True):
        if contradicts(post):
            why = f"not explained: the draws of {name} contradict their own density (post.check())"
            return [head + why]
    return [head + _why(pair, gaps)]


def _why(pair: tuple[Posterior, Posterior], gaps: Gaps) -> str:
    """Say what explains the differences of the second posterior's means from the first's."""
    one, other = pair
    if not same_structure(one.design, other.design):
        return _by_structure(pair, gaps)
    if one.priors is None or other.priors is None:
        return "not explained: the priors of one are not known"
    if str(one.priors) == str(other.priors):
        return "not explained: the same priors, so that one of them has not converged"
    for sign, (source, target) in ((1.0, (one, other)), (-1.0, (other, one))):
        moved = reweighted(source, target.priors)
        if moved.k <= MAX_K:
            return f"their priors differ; {_explained(moved, source, sign, gaps)}"
    modes = joint_mode_of(one), joint_mode_of(other)
    return (
        "their priors differ; by reweighting not computable, because the draws of neither cover "
        f"the other posterior (Pareto k̂ {moved.k:.2g}); the joint modes differ by "
        f"{_shares(modes, gaps)}"
    )


def _by_structure(pair: tuple[Posterior, Posterior], gaps: Gaps) -> str:
    """Say what the structure of correlations explains, by REML of both."""
    first, second = (point_values(post.design, reml_of(post)) for post in pair)
    shares = _shares((first, second), gaps)
    return f"another structure of correlations; by REML of both it explains {shares}"


def _shares(points: tuple[Mapping[Key, float], Mapping[Key, float]], gaps: Gaps) -> str:
    """Differences of two points, as shares of those of the means."""
    first, second = points
    changes = {key: second[key] - first[key] for key in gaps if key in first}
    return _listed(changes, gaps)


def _explained(moved: Reweighted, source: Posterior, sign: float, gaps: Gaps) -> str:
    """Say which shares of the differences reweighting to the other's priors takes away."""
    start = {q.key: float(np.nanmean(q.values)) for q in source.quantities}
    changes = {key: sign * (moved.values[key] - start[key]) for key in gaps if key in moved.values}
    text = f"reweighted (Pareto k̂ {moved.k:.2g}) this explains {_listed(changes, gaps)}"
    left = [
        _label(key)
        for key, change in changes.items()
        if abs(gaps[key][0] - change) > _MCSE_BETWEEN * np.hypot(gaps[key][1], moved.mcse[key])
    ]
    unknown = [_label(key) for key in gaps if key not in changes]
    text += f"; the rest of {', '.join(left)} is not explained" if left else ""
    return text + (f"; not computable for {', '.join(unknown)}" if unknown else "")


def _listed(changes: Mapping[Key, float], gaps: Gaps) -> str:
    """Say how much of each difference its change is."""
    parts = []
    for key, change in changes.items():
        gap, mcse = gaps[key]
        share, label = change / gap, _label(key)
        if share <= -_MIN_SHARE:
            parts.append(f"none of {label}, which it moves {-100 * share:.0f} % the other way")
        else:
            parts.append(f"{_share(share, _MCSE_FROM_FIT * mcse / abs(gap))} of {label}")
    return ", ".join(parts) or "nothing"


def _of_it(share: float, error: float) -> str:
    """Say a share before its cause."""
    if share < 0:
        return f"{-100 * share:.0f} % the other way is"
    said = _share(share, error)
    return f"{said} of it is" if said.startswith("all") else said


def _share(share: float, error: float) -> str:
    """Say a share of a difference: shares add up to 1, and one is above it if others are below 0.

    Parameters
    ----------
    share : float
    error : float
        Of the share. Within it 1 is all, as is what exceeds 1 by less than is worth a word.
    """
    if np.isnan(share):
        return "an unknown share"
    over = share - 1.0
    if over > max(error, _MIN_SHARE):
        return f"all and {100 * over:.0f} % more"
    if over >= -min(error, _MIN_SHARE):
        return "all"
    return f"{100 * share:.0f} %" if share >= 0.005 else "none"


def _label(key: Key) -> str:
    return Quantity(*key, np.empty(0)).label
