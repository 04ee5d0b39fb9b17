"""What is measured: cases of each part, in full size and in the size of ``--quick``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "COLLAPSED",
    "Case",
    "big_cases",
    "crossed_cases",
    "posterior_cases",
    "refit_cases",
    "reml_cases",
    "scaling_cases",
]

COLLAPSED = "bayesv collapsed"
POSTERIOR_SYSTEMS = (COLLAPSED, "bayesv pymc", "bayesv bambi", "rstanarm", "brms")
REML_SYSTEMS = ("bayesv", "lme4", "lme-python", "mixedlm", "mixedlm-rs", "statsmodels")
REFIT_SYSTEMS = ("bayesv", "lme4", "lme-python", "mixedlm", "mixedlm-rs")
STRUCTURED_SYSTEMS = ("bayesv", "nlme", "glmmTMB")
CROSSED_SYSTEMS = ("bayesv", "bayesv posterior", "GPBoost", "lme4", "lme-python", "mixedlm")
RATINGS = "y ~ x + (1 | user) + (1 | item)"
SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"
STAR_K20 = "read ~ cltype + sx + (sx | sch/tch)"
STAR_FULL = "y ~ yr + (yr | student) + (yr | school) + (1 | teacher)"
INSTEVAL = "y ~ service + (1 | s) + (1 | d) + (1 | dept:service)"
ONE_FACTOR = {"mixedlm-rs": "more than one grouping factor"}
TWO_SLOPES = {**ONE_FACTOR, "statsmodels": "correlated slopes on more than one factor"}


@dataclass(frozen=True)
class Case:
    """A formula with its data.

    Attributes
    ----------
    name : str
    formula : str
        In lme4's language, which most systems read as it is.
    source : str
        Data set of bayesv, or a key of `simulate.SIMULATORS`.
    sizes : mapping
        Arguments of the simulator; None for a data set.
    systems : tuple of str
        What is run on it.
    draws : int
        Kept per chain.
    extra : mapping
        What else the part needs to know: under the name of a system how that states the model,
        under ``why_not`` why systems cannot, by name; the series of a scaling point, what to
        measure.
    """

    name: str
    formula: str
    source: str
    sizes: Mapping[str, int] | None = None
    systems: tuple[str, ...] = ()
    draws: int = 1000
    extra: Mapping[str, Any] = field(default_factory=dict)


def posterior_cases(quick: bool) -> list[Case]:
    """Return the cases of the posterior benchmark."""
    draws = 50 if quick else 1000
    return [
        Case("sleepstudy", SLEEPSTUDY, "sleepstudy", systems=POSTERIOR_SYSTEMS, draws=draws),
        Case("star_k20", STAR_K20, "star_k20", systems=POSTERIOR_SYSTEMS, draws=draws),
        # Judged by its own time: NUTS on 4,128 effects is not asked to run here.
        Case("insteval", INSTEVAL, "insteval", systems=(COLLAPSED,), draws=min(draws, 250)),
        Case(
            "star_full",
            STAR_FULL,
            "star",
            _star_sizes(quick),
            systems=(COLLAPSED,),
            draws=min(draws, 250),
        ),
    ]


def _star_sizes(quick: bool) -> dict[str, int]:
    by = 20 if quick else 1
    return {"students": 10_700 // by, "schools": 80 // by, "teachers": 1_380 // by}


# Two models as systems state them that do not read their formulas; a frame of polars has the codes.
_SLEEPSTUDY_STATED = {"formula": "Reaction ~ Days", "groups": "Subject", "re_formula": "~Days"}
_SLEEPSTUDY_EXTRA = {"statsmodels": _SLEEPSTUDY_STATED, "mixedlm-rs": _SLEEPSTUDY_STATED}
_STAR_K20_EXTRA = {"lme-python": {"codes": ["sx"]}, "why_not": TWO_SLOPES}


def reml_cases(quick: bool) -> list[Case]:
    """Return the cases of the REML benchmark."""
    by = 20 if quick else 1
    return [
        Case(
            "sleepstudy",
            SLEEPSTUDY,
            "sleepstudy",
            systems=REML_SYSTEMS,
            extra=_SLEEPSTUDY_EXTRA,
        ),
        Case("star_k20", STAR_K20, "star_k20", systems=REML_SYSTEMS, extra=_STAR_K20_EXTRA),
        Case(
            "chem97",
            "y ~ x + (1 | lea/school)",
            "schools",
            {"rows": 31_022 // by, "schools": 2_410 // by, "areas": 131 // by},
            systems=REML_SYSTEMS,
            extra={
                "statsmodels": {
                    "formula": "y ~ x",
                    "groups": "lea",
                    "re_formula": "1",
                    "vc_formula": {"school": "0 + C(school)"},
                },
                "why_not": ONE_FACTOR,
            },
        ),
        Case(
            "star_full",
            STAR_FULL,
            "star",
            _star_sizes(quick),
            systems=REML_SYSTEMS,
            extra={"why_not": TWO_SLOPES},
        ),
        Case(
            "insteval",
            INSTEVAL,
            "insteval",
            systems=REML_SYSTEMS,
            extra={
                "statsmodels": {
                    "formula": "y ~ service",
                    "groups": None,
                    "vc_formula": {"s": "0 + C(s)", "d": "0 + C(d)", "p": "0 + C(dept):C(service)"},
                },
                "why_not": ONE_FACTOR,
            },
        ),
        Case(
            "animal_model",
            "y ~ x + (1 | animal)",
            "animals",
            {"rows": 10_000 // by, "animals": 5_000 // by},
            systems=("bayesv",),
            extra={"pedigree": "animal"},
        ),
        *_structured_cases(by),
    ]


def refit_cases(quick: bool) -> list[Case]:
    """Return models of which simulated responses are fitted, one after another."""
    repeats = {"responses": 3, "passes": 1} if quick else {"responses": 20, "passes": 3}
    return [
        Case(name, formula, name, systems=REFIT_SYSTEMS, extra={**stated, **repeats})
        for name, formula, stated in (
            ("sleepstudy", SLEEPSTUDY, _SLEEPSTUDY_EXTRA),
            ("star_k20", STAR_K20, _STAR_K20_EXTRA),
        )
    ]


def _structured_cases(by: int) -> list[Case]:
    """Return models with structured residuals, each as the other systems state it."""
    glmmTMB = "glmmTMB({formula} + {term}, data, REML = TRUE, dispformula = ~0)"
    trial = "y ~ baseline + race + arm * visit"
    by_visit = {
        "bayesv": {"residual": "us(visit | subject)"},
        "kenward_roger": True,
        "nlme": f"gls({trial}, data, corSymm(form = ~as.integer(visit) | subject), "
        "varIdent(form = ~1 | visit), method = 'REML')",
        "glmmTMB": glmmTMB.format(formula=trial, term="us(0 + visit | subject)"),
    }
    ar1 = {
        "bayesv": {"residual": "ar1(Days | Subject)"},
        "nlme": "lme(Reaction ~ Days, data, ~Days | Subject, corAR1(form = ~Days | Subject), "
        "control = lmeControl(msMaxIter = 500, maxIter = 500))",
        "glmmTMB": glmmTMB.format(formula=SLEEPSTUDY, term="ar1(0 + factor(Days) | Subject)"),
    }
    many = {"rows": 1_000_000 // by, "series": 100_000 // by}
    serial = {"ar1": {"residual": "ar1(t | g)"}, "strata": {"residual_sd": "strata(s)"}}
    return [
        Case(
            name,
            trial,
            "trial",
            {"subjects": subjects // by, "visits": visits},
            systems=systems,
            extra=by_visit,
        )
        for name, subjects, visits, systems in (
            ("mmrm_10_visits", 1_000, 10, STRUCTURED_SYSTEMS),
            ("mmrm_4_visits", 200, 4, STRUCTURED_SYSTEMS),
            ("mmrm_100_times", 20_000, 4, ("bayesv",)),
        )
    ] + [
        Case("sleepstudy_ar1", SLEEPSTUDY, "sleepstudy", systems=STRUCTURED_SYSTEMS, extra=ar1),
        *(
            Case(
                f"serial_{name}",
                "y ~ x + (x | g)",
                "serial",
                many,
                systems=("bayesv",),
                extra={"bayesv": options},
            )
            for name, options in serial.items()
        ),
    ]


def scaling_cases(quick: bool) -> list[Case]:
    """Return the points of the scaling benchmark, series by series."""
    powers = range(4)
    slope = "y ~ x + (x | g)"
    cases = [
        _point("rows", slope, "grouped", n, {"rows": n, "groups": 100})
        for n in (10 ** (3 + k) for k in powers)
    ]
    cases += [
        _point("groups", slope, "grouped", g, {"rows": 10 * g, "groups": g})
        for g in (10 ** (2 + k) for k in powers)
    ]
    for depth in (1 + k for k in powers):
        formula = f"y ~ x + (1 | {'/'.join('abcd'[:depth])})"
        sizes = {"rows": 50_000, "depth": depth, "branches": 10}
        cases.append(_point("depth", formula, "nested", depth, sizes))
    cases += _ratings_points()
    return [case for case in cases if case.extra["x"] <= 1_000] if quick else cases


def _ratings_points() -> list[Case]:
    """Return points of crossed factors: more rows, more levels, more probes."""
    points = [
        ("crossed rows", n, {"rows": n, "users": 20_000, "items": 2_500}, 1)
        for n in (250_000, 500_000, 1_000_000, 2_000_000)
    ]
    points += [
        ("crossed levels", users, {"rows": 1_000_000, "users": users, "items": users // 5}, 1)
        for users in (12_500, 25_000, 50_000, 100_000)
    ]
    small = {"rows": 250_000, "users": 20_000, "items": 2_500}
    points += [("probes", scale, small, scale) for scale in (1, 2, 4, 8, 16)]
    return [
        Case(
            f"{series}={x:g}",
            RATINGS,
            "ratings",
            sizes,
            extra={
                "series": series,
                "x": x,
                "measure": ["evaluation"] if series == "probes" else ["evaluation", "reml"],
                "bayesv": {"elimination": "iterative"},
                "probes": scale,
            },
        )
        for series, x, sizes, scale in points
    ]


def _point(series: str, formula: str, source: str, x: int, sizes: Mapping[str, int]) -> Case:
    extra = {"series": series, "x": x, "measure": ["evaluation", "reml", "posterior"]}
    return Case(f"{series}={x:g}", formula, source, sizes, draws=250, extra=extra)


def big_cases(quick: bool) -> list[Case]:
    """Return the two models of ten million rows in a million groups."""
    by = 100 if quick else 1
    sizes = {"rows": 10_000_000 // by, "groups": 1_000_000 // by}
    return [
        Case(
            f"big {name}",
            formula,
            "grouped",
            sizes,
            draws=250,
            extra={"series": f"big {name}", "x": sizes["groups"], "measure": measure},
        )
        for name, formula, measure in (
            ("slope", "y ~ x + (x | g)", ["evaluation", "reml", "posterior"]),
            ("intercept", "y ~ x + (1 | g)", ["evaluation"]),
        )
    ]


def crossed_cases(quick: bool) -> list[Case]:
    """Return simulated ratings of more levels than a dense block holds."""
    by = 50 if quick else 1
    sizes = (
        (1_000_000, 20_000, 2_500, CROSSED_SYSTEMS),
        (1_400_000, 60_000, 12_000, ("bayesv", "GPBoost")),
        (5_000_000, 100_000, 20_000, ("bayesv", "bayesv posterior")),
        (20_000_000, 200_000, 50_000, ("bayesv",)),
    )
    return [
        Case(
            f"ratings_{users // 1000}k",
            RATINGS,
            "ratings",
            {"rows": rows // by, "users": users // by, "items": items // by},
            systems=systems,
            draws=50 if quick else 250,
            extra={
                "measure": ["posterior"],
                "GPBoost": {"fixed": ["x"], "groups": ["user", "item"]},
            },
        )
        for rows, users, items, systems in sizes
    ]
