"""Jobs that fit by REML: time of set-up and fit, and the criterion reached."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from tests.benchmarks.data import read_csv, read_pickle
from tests.benchmarks.timing import timed, warm

__all__ = [
    "bayesv",
    "gpboost",
    "lme_python",
    "mixedlm",
    "mixedlm_rs",
    "polars_frame",
    "statsmodels",
]


def bayesv(job: dict[str, Any]) -> dict[str, Any]:
    """Fit new models, so that the statistics of the rows are paid for each time."""
    import bayesv as bv

    data, relationship = read_pickle(job["stem"]), None
    if factor := job["extra"].get("pedigree"):
        individuals = data[[factor, "sire", "dam"]].drop_duplicates()
        relationship = {factor: bv.pedigree(individuals, id=factor)}
    options = job["extra"].get("bayesv", {})

    def once() -> tuple[dict[str, float], Any]:
        setup, model = timed(
            lambda: bv.Model(job["formula"], data, relationship=relationship, **options)
        )
        fitting, fit = timed(model.reml)
        steps = {"setup_s": setup, "fit_s": fitting, "total_s": setup + fitting}
        if job["extra"].get("kenward_roger"):
            adjusting, _ = timed(lambda: bv.kenward_roger(fit.design, fit.components))
            steps["kenward_roger_s"] = adjusting
        return steps, fit

    seconds, fit = warm(once)
    return {
        **seconds,
        "criterion": fit.criterion,
        "shift": fit.certificate and fit.certificate.largest,  # None if it is exact
        "note": "; ".join(fit.problems),
        "version": version("bayesv"),
    }


def lme_python(job: dict[str, Any]) -> dict[str, Any]:
    """Fit by lme-python, which reads lme4's formulas."""
    import lme_python as other

    data = polars_frame(job)
    return _fitted(lambda: other.lmer(job["formula"], data).reml_criterion, "lme-python")


def polars_frame(job: dict[str, Any]) -> Any:
    """Return the data as lme-python takes them fastest, without the missing values it refuses.

    Factors are text, but those in random slopes, which it wants to be numbers, are 0 and 1.
    """
    import polars as pl

    data = read_csv(job["stem"]).dropna()
    codes = job["extra"].get("lme-python", {}).get("codes", ())
    grouping = set(re.findall(r"\w+", " ".join(re.findall(r"\|([^)]*)\)", job["formula"]))))
    columns = {}
    for name, column in data.items():
        if name in codes:
            columns[name] = column.cat.codes.to_numpy(dtype=float)
        elif name in grouping or column.dtype == "category":
            columns[name] = column.astype(str).to_list()
        else:
            columns[name] = column.to_numpy()
    return pl.DataFrame(columns)


def mixedlm(job: dict[str, Any]) -> dict[str, Any]:
    """Fit by mixedlm, whose set-up is part of its one call."""
    import mixedlm as other

    data = read_csv(job["stem"])
    return _fitted(lambda: other.REMLcrit(other.lmer(job["formula"], data)), "mixedlm")


def mixedlm_rs(job: dict[str, Any]) -> dict[str, Any]:
    """Fit by mixedlm-rs, which has statsmodels' functions."""
    import mixedlm_rs as other

    data, stated = read_csv(job["stem"]), job["extra"]["mixedlm-rs"]
    return _fitted(lambda: -2.0 * other.mixedlm(data=data, **stated).fit().llf, "mixedlm-rs")


def gpboost(job: dict[str, Any]) -> dict[str, Any]:
    """Fit by GPBoost's iterative methods: by ML, as it has no REML."""
    import gpboost as other
    import numpy as np

    data, stated = read_csv(job["stem"]), job["extra"]["GPBoost"]
    X = np.column_stack([np.ones(len(data)), data[stated["fixed"]]])

    def fit() -> None:
        model = other.GPModel(
            group_data=data[stated["groups"]].to_numpy(),
            likelihood="gaussian",
            matrix_inversion_method="iterative",
        )
        model.fit(y=data["y"].to_numpy(), X=X)

    return _fitted(fit, "gpboost") | {"note": "ML"}


def statsmodels(job: dict[str, Any]) -> dict[str, Any]:
    """Fit by statsmodels' MixedLM; ``groups`` None is one group of all rows."""
    import numpy as np
    import statsmodels.formula.api as smf

    data, stated = read_csv(job["stem"]), job["extra"]["statsmodels"]
    groups = np.ones(len(data)) if stated["groups"] is None else data[stated["groups"]]
    rest = {name: given for name, given in stated.items() if name != "groups"}
    return _fitted(
        lambda: -2.0 * smf.mixedlm(data=data, groups=groups, **rest).fit(reml=True).llf,
        "statsmodels",
    )


def _fitted(fit: Callable[[], Any], package: str) -> dict[str, Any]:
    """Time a fit that returns its criterion."""

    def once() -> tuple[dict[str, float], Any]:
        seconds, criterion = timed(fit)
        return {"total_s": seconds}, criterion

    seconds, criterion = warm(once)
    return seconds | {"criterion": criterion, "version": version(package)}
