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
    targets_of = {
        "posterior": _posterior,
        "reml": _reml,
        "refits": _refits,
        "crossed": _crossed,
        "big": _big,
        "cold": _cold,
        "study": _study,
    }
    return [
        target
        for part, of in targets_of.items()
        if results.get(part)
        for target in of(results[part])
    ]


def _posterior(rows: Sequence[Row]) -> Iterable[Target]:
    cases = {row["case"] for row in rows}

    def of(case: str, key: str, system: str = COLLAPSED) -> Any:
        return _value(rows, key, case=case, system=system)

    def seconds(case: str, draws: str, bound: float) -> Target:
        return _short(case, f"posterior, 4 × {draws} draws", of(case, "sampling_s"), bound)

    def ratio(case: str, kind: str, system: str, bound: float) -> Target:
        kinds = {"all": "ESS/s with set-up and compile", "sampling": "ESS/s of sampling alone"}
        value = of(case, f"ratio_{kind}", system)
        return Target(case, f"{kinds[kind]}, over {system}", value, bound, True, "×")

    if (case := "sleepstudy") in cases:
        yield seconds(case, "1,000", 0.03)
        yield Target(case, "least bulk ESS", of(case, "ess_bulk"), 2000, True)
        yield ratio(case, "all", "rstanarm", 500)
        yield ratio(case, "all", "bayesv pymc", 500)
        yield ratio(case, "sampling", "bayesv pymc", 20)
    if (case := "star_k20") in cases:
        yield seconds(case, "1,000", 0.2)
        yield Target(case, "least bulk ESS", of(case, "ess_bulk"), 2000, True)
        yield ratio(case, "all", "rstanarm", 500)
    for case, bound in (("insteval", 12), ("star_full", 30)):
        if case in cases:
            yield seconds(case, "250", bound)


def _reml(rows: Sequence[Row]) -> Iterable[Target]:
    bounds = {"sleepstudy": 0.004, "star_k20": 0.012, "star_full": 1, "insteval": 2}
    for case in dict.fromkeys(row["case"] for row in rows):
        own = _value(rows, "total_s", case=case, system="bayesv")
        if any(row["case"] == case and row["system"] == "lme4" for row in rows):
            factor = _over(rows, case, "lme4", own)
            yield Target(case, "REML with set-up, lme4's time over bayesv's", factor, 1, True, "×")
        if case in bounds:
            yield _short(case, "REML with set-up", own, bounds[case])
        fit = _value(rows, "fit_s", case=case, system="bayesv")
        if case == "sleepstudy":
            yield _short(case, "REML", fit, 0.0012)
        if case.startswith("serial"):
            peak = _value(rows, "peak_mib", case=case, system="bayesv")
            yield Target(case, "statistics and REML", fit, 5, unit="s")
            yield Target(case, "peak memory", peak and peak / 1024, 2, unit="GiB")
    yield from _of_visits(rows)


def _refits(rows: Sequence[Row]) -> Iterable[Target]:
    if any(row["case"] == "sleepstudy" for row in rows):
        own = _value(rows, "total_s", case="sleepstudy", system="bayesv")
        yield _short("sleepstudy", "REML of another response", own, 0.0005)


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
    """Yield targets of ratings: seconds of REML and of a posterior, and memory of both in GiB."""
    bounds = {"20k": (5, 30, None), "100k": (90, 360, 6), "200k": (480, None, 12)}

    def of(case: str, key: str, system: str) -> Any:
        return _value(rows, key, case=case, system=system)

    def memory(case: str, what: str, system: str, bound: float) -> Target:
        peak = of(case, "peak_mib", system)
        return Target(case, f"peak memory of {what}", peak and peak / 1024, bound, unit="GiB")

    for name, (fitting, drawing, gib) in bounds.items():
        case = f"ratings_{name}"
        if not any(row["case"] == case for row in rows):
            continue
        yield Target(case, "REML", of(case, "fit_s", "bayesv"), fitting, unit="s")
        if gib:
            yield memory(case, "REML", "bayesv", gib)
        if name == "100k":
            shift = of(case, "shift", "bayesv")
            certified = None if shift is None else 100 * shift
            yield Target(case, "certified shift of an SD in its SE", certified, 1, unit="%")
        if drawing:
            seconds = of(case, "posterior_s", "bayesv posterior")
            yield Target(case, "posterior, 4 × 250 draws", seconds, drawing, unit="s")
            if gib:
                yield memory(case, "the posterior", "bayesv posterior", gib)
        if any(row["case"] == case and row["system"] == "GPBoost" for row in rows):
            over = _over(rows, case, "GPBoost", of(case, "total_s", "bayesv"))
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


def _cold(rows: Sequence[Row]) -> Iterable[Target]:
    bounds = {
        ("bayesv fit", "first"): 20,
        ("bayesv fit", "later"): 1.5,
        ("bayesv --help", "later"): 0.3,
        ("import bayesv", "later"): 0.6,
    }
    for (command, start), bound in bounds.items():
        seconds = _value(rows, "seconds", command=command, start=start)
        yield Target(command, f"{start} start", seconds, bound, unit="s")


def _study(rows: Sequence[Row]) -> Iterable[Target]:
    yield _short("study", "processor time of a replicate", rows[0].get("replicate_s"), 0.02)


def _short(case: str, what: str, seconds: float | None, bound: float) -> Target:
    """Return a target of seconds, said in milliseconds where it is below one."""
    if bound >= 1:
        return Target(case, what, seconds, bound, unit="s")
    return Target(case, what, seconds and 1e3 * seconds, 1e3 * bound, unit="ms")


def _value(rows: Sequence[Row], key: str, **where: str) -> Any:
    """Return a value of the row that agrees with ``where``; None if there is none."""
    for row in rows:
        if all(row.get(name) == wanted for name, wanted in where.items()):
            return row.get(key)
    return None
