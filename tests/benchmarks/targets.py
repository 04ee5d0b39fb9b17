"""What bayesv sets out to reach, and whether this run reached it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.cases import COLLAPSED

__all__ = ["Target", "judge"]

Row = Mapping[str, Any]
Results = Mapping[str, Sequence[Row]]


@dataclass(frozen=True)
class Target:
    """One target: ``measured`` is None where this run has no number for it."""

    case: str
    what: str
    measured: float | None
    bound: float
    least: bool = False  # whether the bound is the least that counts, not the most
    unit: str = ""

    @property
    def verdict(self) -> str:
        """Met, missed or not measured."""
        if self.measured is None:
            return "not measured"
        met = self.measured >= self.bound if self.least else self.measured <= self.bound
        return "met" if met else "missed"


def judge(results: Results) -> list[Target]:
    """Return the targets of the parts that were run."""
    found: list[Target] = []
    if results.get("posterior"):
        found += _posterior(results["posterior"])
    if results.get("reml"):
        found += _reml(results["reml"])
    if results.get("crossed"):
        found += _crossed(results["crossed"])
    if results.get("big"):
        found += _big(results["big"])
    if results.get("cold"):
        first, later = (row.get("seconds") for row in (*results["cold"], {})[:2])
        found += [
            Target("bayesv fit sleepstudy", "first start ever", first, 20, unit="s"),
            Target("bayesv fit sleepstudy", "later start", later, 2.5, unit="s"),
        ]
    return found


def _posterior(rows: Sequence[Row]) -> Iterable[Target]:
    cases = {row["case"] for row in rows}

    def of(case: str, key: str, system: str = COLLAPSED) -> Any:
        return _value(rows, key, case=case, system=system)

    def ratio(case: str, kind: str, system: str, bound: float) -> Target:
        kinds = {"all": "ESS/s with set-up and compile", "sampling": "ESS/s of sampling alone"}
        value = of(case, f"ratio_{kind}", system)
        return Target(case, f"{kinds[kind]}, over {system}", value, bound, True, "×")

    if "sleepstudy" in cases:
        case = "sleepstudy"
        yield Target(case, "posterior, 4 × 1,000 draws", of(case, "sampling_s"), 0.10, unit="s")
        yield Target(case, "least bulk ESS", of(case, "ess_bulk"), 2000, True)
        yield ratio(case, "all", "rstanarm", 500)
        yield ratio(case, "all", "bayesv pymc", 500)
        yield ratio(case, "sampling", "bayesv pymc", 20)
    if "star_k20" in cases:
        case = "star_k20"
        yield Target(case, "posterior, 4 × 1,000 draws", of(case, "sampling_s"), 1, unit="s")
        yield Target(case, "least bulk ESS", of(case, "ess_bulk"), 1000, True)
        yield ratio(case, "all", "rstanarm", 500)
    if "insteval" in cases:
        case = "insteval"
        yield Target(case, "posterior, 4 × 250 draws", of(case, "sampling_s"), 12, unit="s")


def _reml(rows: Sequence[Row]) -> Iterable[Target]:
    for case in dict.fromkeys(row["case"] for row in rows):
        own = _value(rows, "total_s", case=case, system="bayesv")
        if any(row["case"] == case and row["system"] == "lme4" for row in rows):
            factor = _over(rows, case, "lme4", own)
            yield Target(case, "REML with set-up, lme4's time over bayesv's", factor, 1, True, "×")
        if case == "insteval":
            yield Target(case, "REML with set-up", own, 2, unit="s")
        if case.startswith("serial"):
            peak = _value(rows, "peak_mib", case=case, system="bayesv")
            fit = _value(rows, "fit_s", case=case, system="bayesv")
            yield Target(case, "statistics and REML", fit, 5, unit="s")
            yield Target(case, "peak memory", peak and peak / 1024, 2, unit="GiB")
    yield from _of_visits(rows)


def _of_visits(rows: Sequence[Row]) -> Iterable[Target]:
    """Yield targets of residuals over visits and in series."""
    cases = {row["case"] for row in rows}

    def own(case: str, key: str = "total_s") -> Any:
        return _value(rows, key, case=case, system="bayesv")

    if (case := "mmrm_10_visits") in cases:
        yield Target(case, "REML with set-up", own(case), 0.5, unit="s")
        over = _over(rows, case, "nlme", own(case))
        yield Target(case, "REML with set-up, nlme's time over bayesv's", over, 50, True, "×")
    for case, bound in (("mmrm_10_visits", 2.0), ("mmrm_4_visits", 0.05)):
        if case in cases:
            steps = own(case), own(case, "kenward_roger_s")
            total = None if None in steps else sum(steps)
            yield Target(case, "REML with set-up and Kenward–Roger", total, bound, unit="s")
    if {"sleepstudy", "sleepstudy_ar1"} <= cases:
        factor = _over(rows, "sleepstudy_ar1", "bayesv", own("sleepstudy"))
        yield Target("sleepstudy_ar1", "time over that of independent rows", factor, 3, unit="×")


def _over(rows: Sequence[Row], case: str, system: str, own: float | None) -> float | None:
    """Return the time of a system over bayesv's."""
    other = _value(rows, "total_s", case=case, system=system)
    return other / own if own and other else None


def _crossed(rows: Sequence[Row]) -> Iterable[Target]:
    """Yield targets of ratings."""
    bounds = {
        "20k": (5, None),
        "100k": (90, 6),
        "200k": (480, 12),
    }
    for name, (seconds, memory) in bounds.items():
        case = f"ratings_{name}"
        if not any(row["case"] == case for row in rows):
            continue
        own = _value(rows, "fit_s", case=case, system="bayesv")
        yield Target(case, "REML", own, seconds, unit="s")
        if memory:
            peak = _value(rows, "peak_mib", case=case, system="bayesv")
            yield Target(case, "peak memory", peak and peak / 1024, memory, unit="GiB")
        if any(row["case"] == case and row["system"] == "GPBoost" for row in rows):
            total = _value(rows, "total_s", case=case, system="bayesv")
            over = _over(rows, case, "GPBoost", total)
            yield Target(case, "GPBoost's time over bayesv's", over, 5, True, "×")


def _big(rows: Sequence[Row]) -> Iterable[Target]:
    slope = next((row for row in rows if row["series"] == "big slope"), {})
    fits = [slope.get("statistics_s"), slope.get("reml_s")]
    total = None if None in fits else sum(fits)
    peak = slope.get("peak_mib")
    evaluation = _value(rows, "evaluation_s", series="big intercept")
    case = "1e7 rows, 1e6 groups"
    yield Target(case, "(x | g): statistics and REML", total, 40, unit="s")
    yield Target(case, "(x | g): 4 × 250 draws", slope.get("posterior_s"), 120, unit="s")
    yield Target(case, "(x | g): peak memory", peak and peak / 1024, 4, unit="GiB")
    yield Target(case, "(1 | g): one evaluation", evaluation and 1e3 * evaluation, 1, unit="ms")


def _value(rows: Sequence[Row], key: str, **where: str) -> Any:
    """Return a value of the row that agrees with ``where``; None if there is none."""
    for row in rows:
        if all(row.get(name) == wanted for name, wanted in where.items()):
            return row.get(key)
    return None
