"""What makes a report reproducible: code, versions, seeds, and what to cite."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from bayesv.design.design import Design
from bayesv.design.structured import StructuredResidual
from bayesv.posterior.posterior import Posterior
from bayesv.priors.priors import ResolvedPriors
from bayesv.priors.text import prior_to_text
from bayesv.reml import RemlFit

__all__ = ["citations", "code", "versions"]

_PACKAGES = ("bayesv", "numpy", "scipy", "pandas", "numba", "xarray")


def versions() -> dict[str, str]:
    """Return the versions of what computed the page."""
    result = {"Python": platform.python_version()}
    return result | {name: importlib.metadata.version(name) for name in _PACKAGES}


def code(
    reml: list[RemlFit],
    posts: list[Posterior],
    data: str | None,
    weights: str | None,
    factors: Sequence[str],
    reading: Mapping[str, Any],
) -> str:
    """Return Python that makes the fits again; each formula and prior has a model of its own."""
    design = reml[0].design
    options = [_text(data or "data.csv"), *(f"{key}={value!r}" for key, value in reading.items())]
    lines = [
        "import bayesv as bv",
        "from bayesv.data.tables import read_table",
        "",
        f"df = read_table({', '.join(options)})",
    ]
    for name in factors:
        lines.append(f'df[{_text(name)}] = df[{_text(name)}].astype("category")')
    arguments = ["df"]
    if weights is not None:
        arguments.append(f"var_weights={_text(weights)}")
    elif design.known_weights is not None:
        lines.append("w = ...  # the known weights, one a row of df")
        arguments.append("var_weights=w")
    if design.sigma_is_known:
        lines.append("R = ...  # the known variances, or covariance, of the residuals of df's rows")
        arguments.append("residual=bv.Known(R)")
    arguments += _residual(design)
    related = [term.group for term in design.terms if term.relationship is not None]
    for k, group in enumerate(related, 1):
        lines.append(f"K{k} = ...  # the pedigree or relationship matrix of {group}")
    if related:
        pairs = ", ".join(f"{_text(group)}: K{k}" for k, group in enumerate(related, 1))
        arguments.append(f"relationship={{{pairs}}}")
    made, models = _models(_needed(reml, posts), arguments)
    lines += made
    by_formula = {formula: name for (formula, _), name in reversed(models.items())}
    fits = []
    for k, fit in enumerate(reml):
        fits.append("fit" if k == 0 else f"fit_{k + 1}")
        if fit.origin != "bayesv":
            lines.append(f"{fits[-1]} = bv.extract(…)  # the fit made by {fit.origin}")
        else:
            method = "" if fit.method == "REML" else _text(fit.method)
            lines.append(f"{fits[-1]} = {by_formula[fit.design.formula]}.reml({method})")
    for k, post in enumerate(posts):
        fits.append("post" if k == 0 else f"post_{k + 1}")
        if post.priors is None:
            lines.append(f"{fits[-1]} = bv.extract(…)  # the draws of {post.engine}")
        else:
            name = models[post.design.formula, _priors(post.priors)]
            lines.append(f"{fits[-1]} = {name}.sample({_sampling(post)})")
    if len(fits) > 1:
        lines.append(f"print(bv.compare({', '.join(fits)}))")
    lines.append(f'bv.report({", ".join(fits)}, path="report.html")')
    return "\n".join(lines)


def _residual(design: Design) -> list[str]:
    """Return arguments that state residuals with parameters."""
    form = design.residual if design.has_rows else None
    if not isinstance(form, StructuredResidual):
        return []
    correlation, *factors = form.text.split(" × ")
    if form.sequential is None:
        return [f"residual_sd={_text(' * '.join([correlation, *factors]))}"]
    ending = [f"residual_sd={_text(' * '.join(factors))}"] if factors else []
    return [f"residual={_text(correlation)}", *ending]


def _needed(reml: Sequence[RemlFit], posts: Sequence[Posterior]) -> list[tuple[str, str]]:
    """Return formula and priors of each model; REML needs no priors, and takes what is there."""
    models = [(p.design.formula, _priors(p.priors)) for p in posts if p.priors is not None]
    for formula in [fit.design.formula for fit in reml if fit.origin == "bayesv"]:
        if formula not in [known for known, _ in models]:
            models.append((formula, ""))
    return list(dict.fromkeys(models)) or [(reml[0].design.formula, "")]


def _models(
    needed: Sequence[tuple[str, str]], arguments: Sequence[str]
) -> tuple[list[str], dict[tuple[str, str], str]]:
    """Return lines that make models of formulas and priors, and the name of each."""
    lines, models = [], {}
    for k, (formula, priors) in enumerate(needed):
        ending = "" if k == 0 else f"_{k + 1}"
        made = [_text(formula), *arguments]
        if priors:
            lines.append(f"priors{ending} = {priors}")
            made.append(f"priors=priors{ending}")
        models[formula, priors] = f"model{ending}"
        lines.append(f"model{ending} = bv.Model({', '.join(made)})")
    return lines, models


def _sampling(post: Posterior) -> str:
    """Return the arguments of `Model.sample`."""
    seed = str(post.draws["posterior"].attrs.get("seed", "none"))
    arguments = [f"engine={_text(post.engine)}", f"draws={post.n_draws}", f"chains={post.n_chains}"]
    return ", ".join(arguments + ([f"seed={seed}"] if seed != "none" else []))


def _priors(priors: ResolvedPriors) -> str:
    stated = priors.stated()
    lines = ["bv.Priors(", "    sd={"]
    lines += [f"        {_text(group)}: {_literal(sd)}," for group, sd in stated.sd.items()]
    lines.append("    },")
    if priors.residual is None:  # structured residuals are among ``sd`` and ``corr``
        lines.append(f"    sigma={_literal(stated.sigma)},")
    if stated.corr:
        lines.append(f"    corr={_literal(stated.corr)},")
    if stated.center:
        lines.append(f"    center={_literal(stated.center)},")
    if not priors.flat_beta:
        lines.append(f"    beta={_literal(stated.beta)},")
    return "\n".join([*lines, ")"])


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{_text(key)}: {_literal(v)}" for key, v in value.items())
        return f"{{{inner}}}"
    return repr(value) if isinstance(value, float) else f"bv.{prior_to_text(value)}"


def _text(text: str) -> str:
    """Python's literal of a text, in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def citations(reml: list[RemlFit], posts: list[Posterior]) -> list[str]:
    """Return what a paper with these results should cite."""
    version = importlib.metadata.version("bayesv")
    sources = [
        f"The bayesv developers. bayesv {version}: the marginal covariance of Gaussian linear "
        "mixed models, with its uncertainty. Software."
    ]
    if any(fit.method == "REML" for fit in reml):
        sources.append(
            "Patterson HD, Thompson R (1971). Recovery of inter-block information when block sizes "
            "are unequal. Biometrika 58, 545–554. https://doi.org/10.1093/biomet/58.3.545"
        )
    if posts:
        sources += [
            "Vehtari A, Gelman A, Simpson D, Carpenter B, Bürkner P-C (2021). Rank-normalization, "
            "folding, and localization: an improved R̂. Bayesian Analysis 16, 667–718. "
            "https://doi.org/10.1214/20-BA1221",
            "Kenward MG, Roger JH (1997). Small sample inference for fixed effects from restricted "
            "maximum likelihood. Biometrics 53, 983–997. https://doi.org/10.2307/2533558",
        ]
    origins = {fit.origin for fit in reml if fit.origin != "bayesv"}
    sources += [f"The program that made the fit: {origin}." for origin in sorted(origins)]
    return sources
