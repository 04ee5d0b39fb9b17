"""Plan the measurements of each part and turn what they return into rows."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks import cases
from tests.benchmarks.cases import COLLAPSED, Case
from tests.benchmarks.launch import Launcher

__all__ = ["PARTS", "Session"]

ON_REQUEST = ("big", "crossed")  # parts that take long

Row = dict[str, Any]
SEED = 20240
CHAINS = 4
LATER_STARTS = 3


@dataclass(frozen=True)
class Session:
    """Settings of one run of the benchmarks.

    Attributes
    ----------
    launcher : Launcher
    only, skip : collection of str
        Names of parts, cases or ``part/case`` to run (empty: all but `ON_REQUEST`), and systems to
        leave out.
    quick : bool
        Small data and few draws, to see that everything works.
    cores : int
        For chains of samplers that run several at a time.
    """

    launcher: Launcher
    only: Collection[str]
    skip: Collection[str]
    quick: bool
    cores: int
    _stems: dict[tuple[str, str], str | None] = field(default_factory=dict)

    def wants(self, part: str, case: str) -> bool:
        """Whether a case of a part is to be run."""
        if not self.only:
            return part not in ON_REQUEST
        return bool({"all", part, case, f"{part}/{case}"} & set(self.only))

    def job(self, kind: str, case: Case, stem: str) -> dict[str, Any]:
        """Return a job of `worker` on a case."""
        return {
            **{key: value for key, value in asdict(case).items() if key != "systems"},
            "job": kind,
            "stem": stem,
            "chains": CHAINS,
            "tune": 300 if self.quick else 1000,
            "cores": self.cores,
            "seed": SEED,
        }

    def stem(self, case: Case, csv: bool = True) -> str | None:
        """Write the data of a case once; None, with a message, where that fails."""
        others = [case.extra.get(name) for name in ("bayesv", "responses")]
        key = (case.source, f"{case.sizes}{case.formula}{others}")
        if key not in self._stems:
            stem = str(Path(self.launcher.temporary()) / "data")
            done = self.launcher.python(self.job("data", case, stem) | {"csv": csv})
            if "error" in done:
                _say(f"{case.name}: no data: {done['error']}")
            self._stems[key] = None if "error" in done else stem
        return self._stems[key]


def posterior(session: Session) -> list[Row]:
    """Time per effective draw of every system on every case, and its ratio to bayesv's."""
    rows = []
    for case in cases.posterior_cases(session.quick):
        if not session.wants("posterior", case.name):
            continue
        own = [
            _posterior_row(session, case, system)
            for system in case.systems
            if system not in session.skip
        ]
        base = next((row for row in own if row["system"] == COLLAPSED), {})
        for row in own:
            for name in ("ess_s_sampling", "ess_s_all"):
                row[name.replace("ess_s", "ratio")] = _ratio(base.get(name), row.get(name))
        rows += own
    return rows


def _posterior_row(session: Session, case: Case, system: str) -> Row:
    row: Row = {"case": case.name, "system": system, "chains": CHAINS, "draws": case.draws}
    stem = session.stem(case)
    if stem is None:
        return row | {"note": "failed: no data"}
    job = session.job(system, case, stem)
    if system == COLLAPSED:
        result = session.launcher.python(job)
    elif system.startswith("bayesv"):
        # Compile once beforehand, in a process of its own, so that what PyTensor keeps on disk is
        # there for every machine alike; what has to be compiled in every process is measured.
        session.launcher.python(job | {"draws": 10, "tune": 10})
        result = session.launcher.python(job)
    else:
        result = _r_posterior(session, job)
    row |= _noted(result)
    if "sampling_s" in row:
        row["total_s"] = sum(row.get(k) or 0.0 for k in ("setup_s", "compile_s", "sampling_s"))
        row["ess_s_sampling"] = _ratio(row.get("ess_bulk"), row["sampling_s"])
        row["ess_s_all"] = _ratio(row.get("ess_bulk"), row["total_s"])
    _say_row("posterior", row, "sampling_s")
    return row


def _r_posterior(session: Session, job: Mapping[str, Any]) -> Row:
    out = str(Path(session.launcher.temporary()) / "draws.csv")
    names = ("job", "formula", "stem", "draws", "tune", "chains", "cores", "seed")
    result = session.launcher.r(**{name: job[name] for name in names}, out=out)
    if "error" in result:
        return result
    return session.launcher.python({"job": "ess", "draws": out}) | result


def reml(session: Session) -> list[Row]:
    """Time and criterion of every system on every case."""
    return _fits(session, "reml", cases.reml_cases(session.quick))


def refits(session: Session) -> list[Row]:
    """The same of one response after another on one design."""
    return _fits(session, "refits", cases.refit_cases(session.quick))


def crossed(session: Session) -> list[Row]:
    """The same of crossed factors with more levels than a dense block holds."""
    return _fits(session, "crossed", cases.crossed_cases(session.quick))


def _fits(session: Session, part: str, compared: list[Case]) -> list[Row]:
    rows = []
    for case in compared:
        if not session.wants(part, case.name):
            continue
        own = [
            _fit_row(session, part, case, system)
            for system in case.systems
            if system not in session.skip
        ]
        reached = [row["criterion"] for row in own if row.get("criterion") is not None]
        for row in own:
            if row.get("criterion") is not None:
                row["above_lowest"] = row["criterion"] - min(reached)
        rows += own
    return rows


def _fit_row(session: Session, part: str, case: Case, system: str) -> Row:
    row: Row = {"case": case.name, "system": system}
    reason = case.extra.get("why_not", {}).get(system)
    stem = None if reason else session.stem(case)
    if reason:
        row["note"] = f"not expressible: {reason}"
    elif stem is None:
        row["note"] = "failed: no data"
    else:
        row |= _noted(_fit(session, part, case, system, stem))
    _say_row(part, row, "posterior_s" if "posterior_s" in row else "total_s")
    return row


def _fit(session: Session, part: str, case: Case, system: str, stem: str) -> Row:
    """Run a fit by the process of its system."""
    launcher, stated = session.launcher, case.extra.get(system)
    data: Row = {"formula": case.formula, "stem": stem}
    if system == "lme4" and part == "refits":
        return launcher.r(job="lme4_refits", passes=case.extra["passes"], **data)
    if system == "lme4":
        return launcher.r(job="lme4", **data)
    if isinstance(stated, str):  # a call of R
        return launcher.r(job="call", package=system, call=stated, **data)
    job = session.job(f"refits {system}" if part == "refits" else system, case, stem)
    return launcher.python(job) if system.startswith("bayesv") else launcher.foreign(job)


def scaling(session: Session) -> list[Row]:
    """Time of each step as rows, groups or depth grow."""
    return _points(session, "scaling", cases.scaling_cases(session.quick))


def big(session: Session) -> list[Row]:
    """Time and memory of ten million rows."""
    return _points(session, "big", cases.big_cases(session.quick))


def _points(session: Session, part: str, points: list[Case]) -> list[Row]:
    rows = []
    for case in points:
        if not session.wants(part, case.name):
            continue
        row: Row = {
            "series": case.extra["series"],
            "x": case.extra["x"],
            "formula": case.formula,
            "rows": case.sizes["rows"] if case.sizes else None,
        }
        stem = session.stem(case, csv=False)
        if stem is None:
            row["note"] = "failed: no data"
        else:
            row |= _noted(session.launcher.python(session.job("scaling", case, stem)))
        _say_row(part, row | {"case": case.name, "system": "bayesv"}, "statistics_s")
        rows.append(row)
    return rows


def cold(session: Session) -> list[Row]:
    """Wall time of whole processes: of a command the first ever as well, whose loops compile."""
    case = cases.reml_cases(session.quick)[0]
    if not session.wants("cold", case.name):
        return []
    stem = session.stem(case)
    if stem is None:
        return [{"command": "bayesv fit", "note": "failed: no data"}]
    cache = session.launcher.temporary()
    commands = {
        "bayesv fit": ("-m", "bayesv", "fit", f"{stem}.csv", case.formula),
        "bayesv --help": ("-m", "bayesv", "--help"),
        "import bayesv": ("-c", "import bayesv"),
    }
    rows: list[Row] = []
    for name, arguments in commands.items():
        starts = [
            session.launcher.wall([sys.executable, *arguments], NUMBA_CACHE_DIR=cache)
            for _ in range(1 + LATER_STARTS)
        ]
        failed = next((start for start in starts if "error" in start), None)
        later = failed or {"seconds": median(start["seconds"] for start in starts[1:])}
        if name == "bayesv fit":
            rows.append({"command": name, "start": "first"} | _noted(starts[0]))
        rows.append({"command": name, "start": "later"} | _noted(later))
    for row in rows:
        _say_row("cold", row | {"case": row["command"], "system": row["start"]}, "seconds")
    return rows


def study(session: Session) -> list[Row]:
    """Time of a study's replicates."""
    if not session.wants("study", "sleepstudy"):
        return []
    job = {"job": "study", "replicates": 20 if session.quick else 200, "workers": session.cores}
    row = {"case": "sleepstudy"} | _noted(session.launcher.python(job))
    _say_row("study", row | {"system": "bayesv"}, "replicate_s")
    return [row]


def _noted(result: Row) -> Row:
    """Turn an error into a note: a reason that begins with “not”, such as “not installed”, or a
    failure.
    """
    if "error" not in result:
        return result
    reason = str(result["error"])
    rest = {key: value for key, value in result.items() if key not in ("error", "peak_mib")}
    return rest | {"note": reason if reason.startswith("not ") else f"failed: {reason}"}


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _say_row(part: str, row: Row, time: str) -> None:
    seconds = row.get(time)
    what = f"{time} {seconds:.4g}" if seconds is not None else row.get("note", "no result")
    _say(f"{part:9} {row['case']:14} {row['system']:17} {what}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


PARTS = {
    "posterior": posterior,
    "reml": reml,
    "refits": refits,
    "crossed": crossed,
    "scaling": scaling,
    "big": big,
    "cold": cold,
    "study": study,
}
