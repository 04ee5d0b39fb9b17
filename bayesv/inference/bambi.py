"""State the model in Bambi with correlated group effects, and run NUTS on it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bayesv.design.design import Design, RandomTerm
from bayesv.errors import BayesvError, require
from bayesv.formula import ModelFrame
from bayesv.inference.bambi_reading import (
    BambiParts,
    column_order,
    draws_from_bambi,
    read_bambi,
)
from bayesv.inference.bambi_scales import log_sd_formula, placed, quoted
from bayesv.inference.correlated import CorrelatedEffects, SharedSds, Sibling
from bayesv.inference.draws import Draws
from bayesv.inference.options import NutsOptions
from bayesv.inference.pymc import nuts
from bayesv.inference.pymc_priors import pymc_prior
from bayesv.names import INTERCEPT
from bayesv.priors.families import Flat, InverseGamma, Normal
from bayesv.priors.priors import ResolvedPriors

__all__ = ["build_bambi", "sample_bambi"]


def build_bambi(design: Design, frame: ModelFrame, priors: ResolvedPriors) -> Any:
    """Return the model as a Bambi model with the same priors and the same Z.

    Parameters
    ----------
    design : Design
    frame : ModelFrame
        The formula and the data it was evaluated on.
    priors : ResolvedPriors

    Returns
    -------
    bambi.Model

    Raises
    ------
    BayesvError
        If Bambi cannot state the model: correlated residuals, known weights or variances, levels
        that are related, or another coding of a column.

    Notes
    -----
    Standard deviations of strata, and powers and exponentials of covariates, are a formula of log
    ``sigma``; ``sd_Residual`` are the strata's SDs at the mean of such covariates.

    An interaction of grouping factors becomes one column of the observed pairs, because Bambi would
    build all products of levels. Correlation within a term is stated through ``Prior(dist=…)``.
    """
    bmb = require("bambi", "bambi")
    _refuse_residuals(design)
    if related := [term.group for term in design.terms if term.relationship is not None]:
        raise BayesvError(
            f"Bambi cannot state the known relationship of the levels of {related[0]!r}: its group "
            "effects are independent between levels. Use to_pymc(model), where u = (L ⊗ λ)z, or "
            "another engine."
        )
    for term in design.terms:
        if not term.structure.is_free:
            raise BayesvError(
                f"Bambi's group effects have any covariance or none, and that of {term.group!r} is "
                f"{term.structure.words}. Use engine='pymc' or bv.to_pymc(model), which state it."
            )
    formula, data = _bambi_formula(design, re.sub(r"[`|]", "_", frame.formula.response))
    plain = bmb.Model(formula, data, auto_scale=False)
    parts = read_bambi(plain)
    if parts.X.shape != design.X.shape or not np.allclose(parts.X, design.X, rtol=1e-12):
        raise BayesvError(
            f"Bambi orders the columns {', '.join(design.fixed_names)} otherwise; use another "
            "engine."
        )
    if priors.residual is None:
        stated: dict[str, Any] = {"sigma": _sd_prior(bmb, priors.sigma)}
    else:
        scale, stated = log_sd_formula(priors.residual, data)
        formula = bmb.Formula(formula, scale)
    stated |= _beta_priors(bmb, parts, priors)
    for term in design.terms:
        stated |= _group_priors(bmb, term, parts, priors)
    return bmb.Model(
        formula,
        data,
        priors=stated,
        auto_scale=False,
        center_predictors=False,
    )


def _refuse_residuals(design: Design) -> None:
    """Refuse residuals that Bambi cannot state, and name what can."""
    form = design.structured_residual
    if design.sigma_is_known:
        raise BayesvError(
            "Bambi draws σ, and here R is known and σ is 1. bv.to_pymc(model) states a known R; "
            "engine='collapsed' samples it."
        )
    if form is not None and form.sequential is not None:
        raise BayesvError(
            f"Bambi's residuals are independent from row to row, and these are {form.describe()}. "
            "bv.to_pymc(model) states them by series; engine='collapsed' samples them."
        )
    if design.residual.clusters is not None:
        raise BayesvError(
            "Bambi's residuals are independent from row to row, and R of this design is a known "
            "covariance within clusters. Use bv.to_pymc(model), which states it."
        )
    if design.residual.weight_range if form is None else form.known is not None:
        raise BayesvError(
            "Bambi cannot state known weights: its weighted() raises the likelihood to a power, "
            "which is not R = σ²/w. Use engine='pymc' or to_pymc(model)."
        )


def _bambi_formula(design: Design, response: str) -> tuple[str, pd.DataFrame]:
    """Return formula and data of numeric columns, the design's own, and grouping factors.

    Bambi codes factors and transforms by other rules than R; numbers leave it nothing to code.
    """
    data = pd.DataFrame({response: design.y})
    fixed = []
    for name, values in zip(design.fixed_names, design.X.T, strict=True):
        fixed.append("1" if name == INTERCEPT else quoted(placed(data, name, values)))
    if INTERCEPT not in design.fixed_names:
        fixed.insert(0, "0")
    groups = []
    for term in design.terms:
        levels = pd.Categorical.from_codes(term.codes, list(term.levels), ordered=True)
        plain = re.sub(r"\W+", "_", term.group).strip("_")  # pairs a:b are a column here
        group = placed(data, plain if re.search(r"[:()/]", term.group) else term.group, levels)
        for name, values in zip(term.columns, term.values.T, strict=True):
            side = "1" if name == INTERCEPT else f"0 + {quoted(placed(data, name, values))}"
            groups.append(f"({side} | {quoted(group)})")
    summands = [*fixed, *groups]
    if design.offset is not None:
        summands.append(f"offset({quoted(placed(data, 'known_offset', design.offset))})")
    return f"{quoted(response)} ~ {' + '.join(summands)}", data


def _sd_prior(bmb: Any, prior: Any) -> Any:
    """Return Bambi's prior of one SD; an inverse gamma is stated for the variance."""
    if isinstance(prior, InverseGamma):
        return bmb.Prior(str(prior), dist=SharedSds((prior,)))
    name, arguments = pymc_prior(prior)
    return bmb.Prior(name, **arguments)


def _beta_priors(bmb: Any, parts: BambiParts, priors: ResolvedPriors) -> dict[str, Any]:
    stated = {}
    start = 0
    for fixed in parts.fixed:
        beta_priors = priors.beta[start : start + fixed.width]
        start += fixed.width
        if all(isinstance(prior, Flat) for prior in beta_priors):
            stated[fixed.name] = bmb.Prior("Flat")
        elif any(isinstance(prior, Flat) for prior in beta_priors):
            raise BayesvError(
                f"Bambi has one prior for all columns of {fixed.name!r}; give each of them a "
                "normal prior, or none."
            )
        else:
            normal = [prior for prior in beta_priors if isinstance(prior, Normal)]
            mu, sd = np.array([p.mean for p in normal]), np.array([p.sd for p in normal])
            one = fixed.width == 1
            stated[fixed.name] = bmb.Prior(
                "Normal", mu=float(mu[0]) if one else mu, sigma=float(sd[0]) if one else sd
            )
    return stated


def _group_priors(
    bmb: Any, term: RandomTerm, parts: BambiParts, priors: ResolvedPriors
) -> dict[str, Any]:
    """Priors of the Bambi terms that make up one random term."""
    pieces = [part for part in parts.random if term.splits_as(part.codes)]
    order = column_order(pieces, term) if pieces else None
    if order is None or any(not np.array_equal(part.codes, term.codes) for part in pieces):
        raise BayesvError(
            f"Bambi codes the columns of {term.group!r} differently from lme4 (it has "
            f"{', '.join(label for part in pieces for label in part.labels)}; needed are "
            f"{', '.join(term.columns)}). Write the columns as one term, or use engine='pymc'."
        )
    places: dict[str, list[int]] = {}  # of each Bambi column among the term's
    start = 0
    for part in pieces:
        width = len(part.labels)
        places[part.name] = [order.index(i) for i in range(start, start + width)]
        start += width
    stated = {}
    sds = priors.sd[term.group]
    for k, block in enumerate(term.structure.blocks):
        members = [part for part in pieces if set(places[part.name]) <= set(block)]
        columns = [column for part in members for column in places[part.name]]
        if set(columns) != set(block):
            raise BayesvError(
                f"Bambi has one term for columns of {term.group!r} that are independent here "
                f"({', '.join(term.columns[i] for i in block)}). Use engine='pymc'."
            )
        if len(block) == 1:
            hyper = _sd_prior(bmb, sds[block[0]])
            stated[members[0].name] = bmb.Prior("Normal", mu=0, sigma=hyper)
            continue
        siblings = tuple(
            Sibling(
                part.name,
                part.coords,
                len(places[part.name]),
                tuple(sds[i] for i in places[part.name]),
            )
            for part in members
        )
        back = priors.basis(term).back[np.ix_(columns, columns)]
        for place, part in enumerate(members):
            effects = CorrelatedEffects(
                block=term.group if len(term.structure.blocks) == 1 else f"{term.group}_{k}",
                siblings=siblings,
                place=place,
                labels=tuple(term.columns[i] for i in columns),
                eta=priors.corr[term.group].eta,
                back=tuple(map(tuple, back.tolist())),
            )
            labels = priors.basis(term).labels
            said = ", ".join(f"{labels[i]} ~ {sds[i]}" for i in places[part.name])
            hyper = bmb.Prior(f"SD[{said}]", dist=SharedSds(siblings[place].sds))
            stated[part.name] = bmb.Prior(
                "CorrelatedNormal", dist=effects, noncentered=False, sigma=hyper
            )
    return stated


def sample_bambi(model: Any, design: Design, options: NutsOptions, keep_u: bool) -> Draws:
    """Run NUTS on a model made by `build_bambi`."""
    trace, attrs = nuts(model.fit, options, inference_method=_method(model))
    draws = draws_from_bambi(read_bambi(model), trace, design, keep_u)
    attrs["bambi_version"] = require("bambi", "bambi").__version__
    return replace(draws, attrs=attrs)


def _method(model: Any) -> str:
    """Nutpie where it is installed; it cannot name a dim with a comma, such as of poly(x, 2)."""
    try:
        import nutpie  # noqa: F401
    except ImportError:
        return "pymc"
    model.build()
    return "pymc" if any("," in dim for dim in model.backend.model.coords) else "nutpie"
