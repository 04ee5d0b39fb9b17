"""Process of one measurement: ``python -m tests.benchmarks.worker JSON`` prints one JSON line.

Imports are made by the job that needs them, because some jobs run where bayesv is not installed and
because memory is counted.
"""

from __future__ import annotations

import importlib
import json
import math
import resource
import sys
import warnings
from pathlib import Path
from typing import Any

__all__ = ["main"]

# Module and function of each job.
JOBS = {
    "data": ("data", "write"),
    "ess": ("posterior", "ess_of_csv"),
    "bayesv collapsed": ("posterior", "collapsed"),
    "bayesv pymc": ("posterior", "nuts"),
    "bayesv bambi": ("posterior", "nuts"),
    "bayesv": ("reml", "bayesv"),
    "statsmodels": ("reml", "statsmodels"),
    "mixedlm": ("reml", "mixedlm"),
    "mixedlm-rs": ("reml", "mixedlm_rs"),
    "lme-python": ("reml", "lme_python"),
    "GPBoost": ("reml", "gpboost"),
    "refits bayesv": ("refits", "bayesv"),
    "refits lme-python": ("refits", "lme_python"),
    "refits mixedlm": ("refits", "mixedlm"),
    "refits mixedlm-rs": ("refits", "mixedlm_rs"),
    "bayesv posterior": ("scaling", "measure"),
    "scaling": ("scaling", "measure"),
    "study": ("study", "measure"),
}


def main() -> None:
    """Run the job and print its result; a failure is a result too."""
    job = json.loads(sys.argv[1])
    module, name = JOBS[job["job"]]
    warnings.simplefilter("ignore")
    try:
        run = getattr(importlib.import_module(f"tests.benchmarks.{module}"), name)
        result = run(job) | {"peak_mib": _peak_mib()}
    except Exception as error:
        text = " ".join(str(error).split())
        result = {"error": f"{type(error).__name__}: {text}"[:300]}
    print("\n" + json.dumps({key: _plain(value) for key, value in result.items()}))


def _peak_mib() -> float:
    """Peak resident memory of this process; ru_maxrss would include what started it."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def _plain(value: Any) -> Any:
    """NaN and infinity have no place in JSON."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    main()
