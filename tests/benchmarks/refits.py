"""Jobs that fit one design to response after response, as simulations and bootstraps do."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from statistics import fmean, median
from typing import Any

import numpy as np

from tests.benchmarks.data import read_csv, read_pickle, read_responses
from tests.benchmarks.reml import polars_frame
from tests.benchmarks.timing import timed

__all__ = ["bayesv", "lme_python", "mixedlm", "mixedlm_rs"]


def bayesv(job: dict[str, Any]) -> dict[str, Any]:
    """Fit models of other responses on one design."""
    import bayesv as bv

    model = bv.Model(job["formula"], read_pickle(job["stem"]))
    return _refits(job, lambda y: model.with_response(y).reml().criterion, "bayesv")


def lme_python(job: dict[str, Any]) -> dict[str, Any]:
    """Fit other responses by what lme-python has prepared."""
    import lme_python as other

    prepared = other.prepare_lmer(job["formula"], polars_frame(job))
    return _refits(job, lambda y: prepared.fit(y=y, reml=True).reml_criterion, "lme-python")


def mixedlm(job: dict[str, Any]) -> dict[str, Any]:
    """Refit by mixedlm."""
    import mixedlm as other

    fit = other.lmer(job["formula"], read_csv(job["stem"]))
    return _refits(job, lambda y: other.REMLcrit(fit.refit(y)), "mixedlm")


def mixedlm_rs(job: dict[str, Any]) -> dict[str, Any]:
    """Fit mixedlm-rs's models of other responses on one design."""
    import mixedlm_rs as other

    model = other.mixedlm(data=read_csv(job["stem"]), **job["extra"]["mixedlm-rs"])
    return _refits(job, lambda y: -2.0 * model.with_endog(y).fit().llf, "mixedlm-rs")


def _refits(
    job: dict[str, Any], refit: Callable[[np.ndarray], float], package: str
) -> dict[str, Any]:
    """Time passes over the responses, of which one before has warmed all up."""
    responses = read_responses(job["stem"])
    criteria = [float(refit(y)) for y in responses]
    passes = range(job["extra"]["passes"])
    seconds = [timed(lambda y=y: refit(y))[0] for _ in passes for y in responses]
    return {
        "total_s": median(seconds),
        "criterion": fmean(criteria),
        "version": version(package),
    }
