"""What ``fit`` and ``demo`` do with a model: REML, V, posterior and comparison, printed as made."""

from __future__ import annotations

import argparse
import sys

import numpy as np

import bayesv as bv
from bayesv.cli.options import engine_of, shows_progress
from bayesv.cli.terminal import leave_stdout

__all__ = ["fit_and_list"]

_COUNTED = 20_000_000  # elements of V at most that are made to be counted


def fit_and_list(
    model: bv.Model, arguments: argparse.Namespace, silent: bool = False
) -> tuple[bv.RemlFit, bv.Posterior | None, bv.Comparison | None]:
    """Fit by REML, describe V, sample, compare; print results as they come unless ``silent``."""

    def show(what: object) -> None:
        if silent:
            return
        try:
            print(what, end="\n\n", flush=True)
        except BrokenPipeError:  # files may still be to be written
            leave_stdout()

    fit = model.reml("ML" if arguments.ml else "REML")
    show(fit)
    show(_describe_v(fit.gls.V, fit.label))
    engine = engine_of(arguments)
    if not model.design.terms and model.design.sigma_is_known:
        show("V is known: there is nothing to sample.")
        return fit, None, None
    if engine is None:
        return fit, None, None
    watched = shows_progress(arguments)
    if watched and engine in ("pymc", "bambi"):
        print(f"sampling with {engine} (the model is compiled first)…", file=sys.stderr)
    post = model.sample(
        engine=engine,
        draws=arguments.draws,
        chains=arguments.chains,
        seed=arguments.seed,
        cores=arguments.cores,
        progressbar=watched,
    )
    show(post)
    comparison = bv.compare(fit, post, prob=arguments.prob)
    show(comparison)
    return fit, post, comparison


def _describe_v(V: bv.MarginalCovariance, label: str) -> str:
    n = V.shape[0]
    most = n + sum(int((np.bincount(term.codes) ** 2).sum()) for term in V.design.terms)
    stored = "sparse"
    if most <= _COUNTED:
        count = V.to_sparse().nnz
        stored = f"{count} elements stored ({100 * count / n**2:.3g} %)"
    return (
        f"V at the {label} estimate: {n} × {n}, {stored},\n"
        f"{len(np.unique(V.clusters))} independent clusters, log|V| = {V.logdet():.4f}"
    )
