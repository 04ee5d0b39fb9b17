"""Data of a case on disk: a pickle for bayesv's processes, CSV with levels for all others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["read_csv", "read_pickle", "read_responses", "write"]


def write(job: dict[str, Any]) -> dict[str, Any]:
    """Make the data of a case and write them beside each other under ``job['stem']``."""
    if job["sizes"] is None:
        import bayesv as bv

        frame = bv.load_dataset(job["source"])
    else:
        from tests.benchmarks.simulate import SIMULATORS

        frame = SIMULATORS[job["source"]](np.random.default_rng(job["seed"]), **job["sizes"])
    parents = "sire dam" if "pedigree" in job["extra"] else ""
    stated = " ".join([job["formula"], parents, *job["extra"].get("bayesv", {}).values()])
    frame = frame[[name for name in frame if re.search(rf"\b{name}\b", stated)]]
    if number := job["extra"].get("responses"):
        _write_responses(job, number, frame := frame.dropna().reset_index(drop=True))
    frame.to_pickle(f"{job['stem']}.pkl")
    if job["csv"]:
        frame.to_csv(f"{job['stem']}.csv", index=False, na_rep="NA")
        # CSV does not keep the order of levels, on which treatment coding depends.
        factors = [name for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)]
        levels = [(name, level) for name in factors for level in frame[name].cat.categories]
        table = pd.DataFrame(levels, columns=["column", "level"])
        table.to_csv(f"{job['stem']}.levels.csv", index=False)
    return {"rows": len(frame)}


def _write_responses(job: dict[str, Any], number: int, frame: pd.DataFrame) -> None:
    """Write responses simulated at the REML estimates, one column each."""
    import bayesv as bv

    responses = bv.Model(job["formula"], frame).reml().simulate(number, seed=job["seed"])
    responses.to_csv(f"{job['stem']}.responses.csv", index=False)


def read_responses(stem: str) -> list[np.ndarray]:
    """Return simulated responses."""
    table = pd.read_csv(f"{stem}.responses.csv", float_precision="round_trip")
    return list(np.ascontiguousarray(table.to_numpy().T))


def read_pickle(stem: str) -> pd.DataFrame:
    """Return the data as bayesv's own processes read them."""
    return pd.read_pickle(f"{stem}.pkl")


def read_csv(stem: str) -> pd.DataFrame:
    """Return the data for systems whose pandas may be another one."""
    levels = pd.read_csv(f"{stem}.levels.csv", dtype=str, keep_default_na=False)
    names = list(dict.fromkeys(levels["column"]))
    frame = pd.read_csv(
        Path(f"{stem}.csv"),
        dtype=dict.fromkeys(names, str),
        keep_default_na=False,
        na_values=["NA"],
    )
    for name in names:
        own = levels.loc[levels["column"] == name, "level"]
        frame[name] = pd.Categorical(frame[name], categories=list(own))
    return frame
