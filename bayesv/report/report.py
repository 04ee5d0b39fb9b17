"""The report: facts about fits, put into the page's template."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bayesv.comparison.compare import Comparison, compare
from bayesv.comparison.models import ModelComparison, compare_models
from bayesv.comparison.uncertainty import BetaUncertainty, beta_uncertainty
from bayesv.design.parametric import coarsest
from bayesv.errors import BayesvError
from bayesv.gram import statistics_of
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit, fit_reml
from bayesv.report.cells import cells
from bayesv.report.mathematics import equations, words
from bayesv.report.packages import check_packages
from bayesv.report.page import Report, heading, labelled, refuse_others, render
from bayesv.report.reproduce import citations, code, versions
from bayesv.support.progress import progress
from bayesv.support.writing import check_writable

__all__ = ["report"]

_CELLS_BYTES, _CELLS_NUMBERS = 400_000, 1e7  # of V cell by cell: a second's work
_MOST_WORK = 3e10  # the sum of cubed cluster sizes up to which robust covariances are made


def report(
    *fits: RemlFit | Posterior,
    path: str | Path | None = None,
    title: str | None = None,
    data: str | None = None,
    weights: str | None = None,
    factors: Sequence[str] = (),
    reading: Mapping[str, Any] | None = None,
    pictures: bool = True,
    models: ModelComparison | None = None,
    labels: Sequence[str] | None = None,
) -> Report:
    """Make one self-contained HTML page of a model and its fits.

    Parameters
    ----------
    *fits : RemlFit or Posterior
        At least one, of one design. With a posterior, a REML fit is made if none is given.
    path : str or Path, optional
        Where to write the page.
    title : str, optional
        Left out: the formula.
    data : str, optional
        What the data are called in the code that reproduces the page, such as ``"sleep.csv"``.
    weights : str, optional
        What their column of known weights is called there.
    factors : sequence of str
        Numeric columns that were read as factors, for the same code.
    reading : mapping, optional
        How the file is read there: other arguments of ``bayesv.data.tables.read_table``.
    pictures : bool
        Whether to draw; needs matplotlib.
    models : ModelComparison, optional
        Structures to compare on the page, of `bayesv.compare_models` or `bayesv.structures`; left
        out, the posteriors of the page if their structures differ.
    labels : sequence of str, optional
        What each fit is called on the page.

    Returns
    -------
    Report
        What is wrong with the fits stands first, if anything is.

    Raises
    ------
    BayesvError
        If there is no fit, or the fits are of different data.
    MissingPackageError
        If Jinja, Great Tables or matplotlib are not installed.

    Notes
    -----
    Random effects and functionals of V of large crossed designs are computed from as many draws as
    take seconds, at least 20; the page says how many.
    """
    check_packages(pictures)
    if path is not None:
        check_writable(path)
    with progress("making the report") as step:
        reml, posts = _sorted(fits)
        names = _names(fits, reml, posts, labels)
        several: list[RemlFit | Posterior] = [*reml, *posts]
        called = [*names[0], *names[1]]
        comparison = compare(*several, labels=called) if len(several) > 1 else None
        step(1)
        models = models or _models(posts)
        facts = _facts(reml, posts, names, comparison, models, title, pictures, step)
    facts["code"] = code(reml, posts, data, weights, factors, reading or {})
    page = Report(render("page.html", facts))
    if path is not None:
        page.save(path)
    return page


def _sorted(fits: Sequence[RemlFit | Posterior]) -> tuple[list[RemlFit], list[Posterior]]:
    """Return point fits, at least one, and posteriors."""
    reml = [fit for fit in fits if isinstance(fit, RemlFit)]
    posts = [fit for fit in fits if isinstance(fit, Posterior)]
    refuse_others("report", fits)
    if not reml:
        design = posts[0].design
        density = posts[0].density
        reml = [fit_reml(design, statistics_of(design) if density is None else density.stats)]
    return reml, posts


def _facts(
    reml: list[RemlFit],
    posts: list[Posterior],
    names: tuple[list[str], list[str]],
    comparison: Comparison | None,
    models: ModelComparison | None,
    title: str | None,
    pictures: bool,
    step: Callable[[int], None],
) -> dict[str, Any]:
    """Return everything the template names but the code; ``step`` is told of each part."""
    from bayesv.report import tables
    from bayesv.report.tested import coherence, intervals

    of_reml, of_posts = names
    design = reml[0].design
    robust = _has_small_clusters(reml[0])
    by_method = _by_method(reml[0], posts[0]) if posts and design.p and robust else None
    step(1)
    functionals = _functionals(reml[0], of_reml[0], posts) if design.has_rows else None
    step(1)
    drawn: list[Any] = []
    if pictures:
        from bayesv.report.pictures import draw

        drawn = draw(reml[0], posts, by_method, models, step)
    return {
        "title": title or design.formula,
        "formula": design.formula,
        "date": datetime.date.today().isoformat(),
        "problems": list(_problems(reml, posts, names)),
        "notes": design.notes,
        "equations": equations(design),
        "words": words(design, reml[0].components, of_reml[0]),
        "sizes": tables.sizes(design),
        "levels": tables.levels(design),
        "has_posterior": bool(posts),
        "components": [tables.components(f, name) for f, name in zip(reml, of_reml, strict=True)],
        "posteriors": [tables.posterior(p, name) for p, name in zip(posts, of_posts, strict=True)],
        "tested": _tested(reml, posts, robust, by_method is None),
        "intervals": None if posts else intervals(reml[0]),
        "coherence": coherence(posts, of_posts),
        "fixed": tables.fixed(reml[0], of_reml[0]) if design.p else None,
        "uncertainty": tables.uncertainty(by_method) if by_method else None,
        "left_out": bool(posts) and design.p > 0 and not robust,
        "comparison": tables.comparison(comparison, names) if comparison else None,
        "reasons": _reasons(comparison) if comparison and posts else [],
        "models": tables.models(models) if models else None,
        "models_notes": models.notes if models else (),
        "marginal": tables.marginal(comparison, reml[0]) if comparison or design.has_rows else None,
        "block": tables.block(reml[0], posts) if design.has_rows else None,
        "cells": _cells([*reml, *posts], [*of_reml, *of_posts]),
        "functionals": functionals,
        "engines": [tables.engine(post) for post in posts],
        "priors": [str(post.priors).splitlines() for post in posts if post.priors is not None],
        "pictures": drawn,
        "versions": versions(),
        "citations": citations(reml, posts),
        "summary": list(_summary(reml, posts, names)),
    }


def _functionals(fit: RemlFit, name: str, posts: list[Posterior]) -> str:
    """Return the table of functionals of V: of draws if there are some, else at the estimate."""
    from bayesv.report import tables

    return tables.functionals(posts[0]) if posts else tables.functionals_at(fit, name)


def _tested(
    reml: list[RemlFit], posts: list[Posterior], robust: bool, estimates: bool
) -> list[str]:
    """Return tests of terms and means by level, where covariances of sums take seconds."""
    from bayesv.report.tested import tested

    if not reml[0].design.p or not (robust or posts):
        return []
    return list(tested(reml[0], posts[0] if posts else None, estimates=estimates))


def _cells(fits: Sequence[RemlFit | Posterior], names: Sequence[str]) -> dict[str, Any] | None:
    """Return V cell by cell, of fewer clusters than a page of its own; None without clusters."""
    design = fits[0].design
    if not design.has_rows or coarsest(design) is None:
        return None
    return cells(fits, names, most_bytes=_CELLS_BYTES, most_numbers=_CELLS_NUMBERS)


def _reasons(comparison: Comparison) -> list[str]:
    """Return why fits differ, with the minus signs of the tables."""
    return [re.sub(r"(?<!\w)-(?=\d)", "−", line) for line in comparison.reasons()]


def _models(posts: Sequence[Posterior]) -> ModelComparison | None:
    """Return the comparison of posteriors whose structures differ; None where evidences cannot."""
    forms = [post.design.parametric_residual for post in posts]
    texts = {
        (post.design.formula, None if form is None else form.describe())
        for post, form in zip(posts, forms, strict=True)
    }
    if len(texts) < 2:
        return None
    try:
        return compare_models(*posts)
    except BayesvError:
        return None


def _by_method(fit: RemlFit, post: Posterior) -> BetaUncertainty | None:
    """Return β by each method; None for fits that name their fixed effects differently."""
    try:
        return beta_uncertainty(fit, post)
    except BayesvError:
        return None


def _has_small_clusters(fit: RemlFit) -> bool:
    """Whether robust covariances, which take roots of V cluster by cluster, take seconds."""
    if not fit.design.has_rows:
        return False
    sizes = np.unique(fit.gls.V.clusters, return_counts=True)[1]
    return float((sizes.astype(float) ** 3).sum()) <= _MOST_WORK


def _names(
    fits: Sequence[RemlFit | Posterior],
    reml: Sequence[RemlFit],
    posts: Sequence[Posterior],
    labels: Sequence[str] | None,
) -> tuple[list[str], list[str]]:
    """Return what point fits and posteriors are called; a fit that was made here by its method."""
    names = {id(fit): name for fit, name in zip(fits, labelled(fits, labels), strict=True)}
    return [names.get(id(fit), fit.label) for fit in reml], [names[id(post)] for post in posts]


def _problems(
    reml: list[RemlFit], posts: list[Posterior], names: tuple[list[str], list[str]]
) -> Iterator[str]:
    for name, fit in zip(names[0], reml, strict=True):
        if not fit.converged:
            yield f"{name}: the optimiser did not converge; the estimates are not the optimum."
        if fit.singular:
            yield (
                f"{name}: singular fit. A variance is 0 or a correlation ±1: a boundary "
                "estimate, which says that the data do not rule it out."
            )
        yield from (f"{name}: {problem}" for problem in fit.problems)
    for name, post in zip(names[1], posts, strict=True):
        yield from (f"{heading(name)}: {problem}." for problem in post.problems)


def _summary(
    reml: list[RemlFit], posts: list[Posterior], names: tuple[list[str], list[str]]
) -> Iterator[str]:
    """One sentence for each fit."""
    for name, fit in zip(names[0], reml, strict=True):
        kind = "restricted " if fit.method == "REML" else ""
        yield f"{name}: −2 log {kind}likelihood {fit.criterion:.4f}."
    for name, post in zip(names[1], posts, strict=True):
        state = "no problem found" if not post.problems else "see the problems above"
        total = post.n_chains * post.n_draws
        what = f"{post.n_chains} chains, {total:,} draws by {post.engine}"
        yield f"{heading(name)}: {what}; {state}."
