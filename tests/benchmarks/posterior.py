"""Jobs that draw from a posterior: time of each step, and the least ESS."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

from tests.benchmarks import ess
from tests.benchmarks.data import read_pickle
from tests.benchmarks.timing import Stopwatch, timed

__all__ = ["collapsed", "ess_of_csv", "no_fallback", "nuts"]


def collapsed(job: dict[str, Any]) -> dict[str, Any]:
    """Time the collapsed engine in a warm process.

    Every call is on a new `Model`, so that statistics and the search for the mode are paid for each
    time; the first call has also loaded or compiled the JIT code. Of several calls the one of
    median time stands.
    """
    no_fallback()
    import bayesv as bv

    data = read_pickle(job["stem"])

    def once(seed: int) -> dict[str, Any]:
        setup, model = timed(lambda: bv.Model(job["formula"], data))
        sampling, post = timed(
            lambda: model.sample(draws=job["draws"], chains=job["chains"], seed=seed)
        )
        note = "; ".join(post.problems)
        return {"setup_s": setup, "sampling_s": sampling, "note": note} | ess.of_posterior(post)

    first = once(job["seed"])
    calls = 5 if first["sampling_s"] < 5 else 1
    runs = sorted(
        (once(job["seed"] + i + 1) for i in range(calls)), key=lambda run: run["sampling_s"]
    )
    return runs[len(runs) // 2] | {
        "first_s": first["setup_s"] + first["sampling_s"],
        "version": version("bayesv"),
    }


def no_fallback() -> None:
    """Make the collapsed engine's fallback to NUTS an error: it would be timed under its name."""
    sys.modules["nutpie"] = None  # type: ignore[assignment]


def nuts(job: dict[str, Any]) -> dict[str, Any]:
    """Time NUTS through nutpie on the PyMC or the Bambi model, compilation apart."""
    import nutpie

    import bayesv as bv

    data = read_pickle(job["stem"])
    engine = job["job"].removeprefix("bayesv ")
    setup, model = timed(lambda: bv.Model(job["formula"], data))
    build, _ = timed(lambda: bv.to_pymc(model) if engine == "pymc" else bv.to_bambi(model).build())
    compiling, sampling = Stopwatch(nutpie, "compile_pymc_model"), Stopwatch(nutpie, "sample")
    total, post = timed(
        lambda: model.sample(
            engine=engine,
            draws=job["draws"],
            tune=job["tune"],
            chains=job["chains"],
            cores=job["cores"],
            seed=job["seed"],
            progressbar=False,
        )
    )
    if not sampling.seconds:
        raise RuntimeError("nutpie was not the sampler that ran")
    return {
        "setup_s": setup + build,
        "compile_s": compiling.seconds,
        "sampling_s": sampling.seconds,
        "first_s": setup + total,
        "note": "; ".join(post.problems),
        "version": f"{version(engine)}, nutpie {version('nutpie')}",
    } | ess.of_posterior(post)


def ess_of_csv(job: dict[str, Any]) -> dict[str, Any]:
    """Return the least ESS of draws that R wrote."""
    return ess.of_csv(job["draws"])
