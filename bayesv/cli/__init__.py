"""Command line: one file per command, each with ``add(commands)`` and what it runs.

Nothing is computed before all that can be refused has been refused, results go to standard output
or to files, and all that is said about them to standard error.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any

import bayesv as bv
from bayesv.cli.commands import COMMANDS
from bayesv.cli.terminal import leave_stdout, prepare
from bayesv.errors import near
from bayesv.support.exit import INTERRUPTED

__all__ = ["main", "parser_of"]

# One command makes modules, models and pictures that live until it ends: looking for garbage among
# them at Python's rate takes a tenth of its time.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


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
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        parser = parser_of({word for word in words if word in COMMANDS})
        if words and not words[0].startswith("-") and words[0] not in COMMANDS:
            hint = near(words[0], COMMANDS)
            parser.error(f"no command {words[0]!r}{hint} There are {', '.join(COMMANDS)}.")
        arguments = parser.parse_args(words)
        with warnings.catch_warnings():
            warnings.showwarning = _shown_once()
            arguments.run(arguments)
            sys.stdout.flush()
    except BrokenPipeError:
        leave_stdout()
    except KeyboardInterrupt as stopped:  # also while a command's modules are read
        print(str(stopped) or "interrupted", file=sys.stderr)
        return INTERRUPTED
    except MemoryError as error:
        advice = "bayesv describe says how large the model is."
        print(f"error: not enough memory ({error}); {advice}", file=sys.stderr)
        return 1
    except Exception as error:
        if not isinstance(error, bv.BayesvError | OSError):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parser_of(read: Collection[str]) -> argparse.ArgumentParser:
    """Return the parser with the arguments of some commands, and the names of the others.

    Parameters
    ----------
    read : collection of str
        Commands whose modules are read: help on the commands as a whole needs none.
    """
    parser = argparse.ArgumentParser(
        prog="bayesv",
        description="The marginal covariance V = Z G Z' + R of Gaussian linear mixed models: REML "
        "and posterior side by side.",
        epilog=f"exit codes: 0 done, 1 refused with a reason, 2 usage, {INTERRUPTED} interrupted",
    )
    parser.add_argument("--version", action="version", version=f"bayesv {bv.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        if name in read:
            importlib.import_module(f"bayesv.cli.{name.replace('-', '_')}").add(commands)
        else:
            commands.add_parser(name, help=summary)
    return parser


def _shown_once() -> Callable[..., None]:
    """Return what prints a warning, unless it has said the same before."""
    said = set[str]()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if (text := str(message)) not in said:
            said.add(text)
            print(f"warning: {text}", file=sys.stderr)

    return show
