"""Command line: one file per command, each with ``add(commands)`` and what it runs.

Nothing is computed before all that can be refused has been refused, results go to standard output
or to files, and all that is said about them to standard error.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import bayesv as bv
from bayesv.cli import compare, demo, describe, export_r, fit, models, structures, study, v
from bayesv.cli.options import leave_stdout
from bayesv.cli.terminal import prepare

__all__ = ["main"]

COMMANDS = (fit, demo, compare, models, structures, v, describe, export_r, study)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Left out: those of the process.

    Returns
    -------
    int
        0 done, 1 refused with a reason, 2 usage (as argparse exits), 130 interrupted.
    """
    prepare()
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            arguments.run(arguments)
            sys.stdout.flush()
    except BrokenPipeError:
        leave_stdout()
    except (bv.BayesvError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except MemoryError as error:
        advice = "bayesv describe says how large the model is."
        print(f"error: not enough memory ({error}); {advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(str(stopped) or "interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bayesv",
        description="The marginal covariance V = Z G Z' + R of Gaussian linear mixed models: REML "
        "and posterior side by side.",
        epilog="exit codes: 0 done, 1 refused with a reason, 2 usage, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"bayesv {bv.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)
