"""Run one measurement in a fresh process, and return one dictionary whatever happens to it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

__all__ = ["Launcher"]

ROOT = Path(__file__).parents[2]
R_WORKER = Path(__file__).with_name("r_worker.R")
# Python packages that are compared with and are not among the project's own.
FOREIGN = ("statsmodels", "mixedlm", "mixedlm-rs", "lme-python", "gpboost")


@dataclass(frozen=True)
class Launcher:
    """Where and under which limits measurements run.

    Attributes
    ----------
    folder : Path
        Temporary files of this run.
    limit : float
        Seconds after which a measurement is ended.
    """

    folder: Path
    limit: float

    def python(
        self, job: Mapping[str, Any], python: str | None = None, limit: float | None = None
    ) -> dict[str, Any]:
        """Run a job of `worker`; ``python`` is another interpreter than this one."""
        command = [python or sys.executable, "-m", "tests.benchmarks.worker", json.dumps(job)]
        return self._json(command, limit)

    def foreign(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Run a job for a package of `FOREIGN` in an environment of its own."""
        python, reason = self._foreign_python
        return {"error": reason} if python is None else self.python(job, python)

    def r(self, **options: Any) -> dict[str, Any]:
        """Run a job of ``r_worker.R``."""
        rscript = shutil.which("Rscript")
        if rscript is None:
            return {"error": "not installed: Rscript is not on the path"}
        arguments = [f"{key}={value}" for key, value in options.items()]
        return self._json([rscript, "--vanilla", str(R_WORKER), *arguments])

    def wall(self, command: Sequence[str], **environment: str) -> dict[str, Any]:
        """Return the wall time of a whole process, start to end, as ``seconds``."""
        started = time.perf_counter()
        out = self._run(command, environment)
        seconds = time.perf_counter() - started
        return out if "error" in out else {"seconds": seconds}

    def temporary(self) -> str:
        """Return a new, empty folder."""
        return tempfile.mkdtemp(dir=self.folder)

    def _json(self, command: Sequence[str], limit: float | None = None) -> dict[str, Any]:
        out = self._run(command, {}, limit)
        if "error" in out:
            return out
        for line in reversed(out["stdout"].splitlines()):
            if line.startswith("{"):
                return dict(json.loads(line))
        return {"error": "printed no result"}

    def _run(
        self, command: Sequence[str], environment: Mapping[str, str], limit: float | None = None
    ) -> dict[str, Any]:
        limit = self.limit if limit is None else limit
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that its own children end with it
            preexec_fn=_limit_memory,
        )
        try:
            stdout, stderr = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return {"error": f"over the time limit of {limit:g} s"}
        if process.returncode < 0:
            return {"error": f"ended by {signal.Signals(-process.returncode).name}"}
        if process.returncode:
            lines = [line for line in stderr.splitlines() if line.strip()]
            return {"error": lines[-1].strip()[:200] if lines else "failed without a message"}
        return {"stdout": stdout}

    @cached_property
    def _foreign_python(self) -> tuple[str | None, str]:
        """Interpreter with `FOREIGN` in a temporary environment, or None and why."""
        venv = self.folder / "foreign"
        python = str(venv / ("Scripts" if os.name == "nt" else "bin") / "python")
        uv = shutil.which("uv")
        if uv:
            make = [uv, "venv", "--quiet", "--python", sys.executable, str(venv)]
            install = [uv, "pip", "install", "--quiet", "--python", python, *FOREIGN]
        else:
            make = [sys.executable, "-m", "venv", str(venv)]
            install = [python, "-m", "pip", "install", "--quiet", *FOREIGN]
        for command in (make, install):
            out = self._run(command, {})
            if "error" in out:
                return None, f"not installed: {out['error']}"
        return python, ""


def _limit_memory() -> None:
    """Let a measurement that wants too much fail by itself, not take the machine with it."""
    most = int(0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
