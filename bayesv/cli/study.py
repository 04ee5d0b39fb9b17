"""``bayesv study FILE``: a simulation study that a TOML file declares."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import Any

import bayesv as bv
from bayesv.cli.options import add_command, add_json, add_quiet, check_writable, shows_progress
from bayesv.cli.results import records, write_json
from bayesv.errors import require

__all__ = ["add"]

_CONNECTING = 30  # seconds to wait for a scheduler


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "study",
        "Run the simulation study of a TOML file with tables [scenario], [grid], [study],\n"
        "[[estimators]] and [scores], and print its scores. Interrupted, it goes on from --out.",
        "  bayesv study few_groups.toml --out few_groups --replicates 10000 --seed 1\n"
        "  bayesv study few_groups.toml --out few_groups --scheduler tcp://10.0.0.1:8786",
    )
    parser.add_argument("file", metavar="FILE", help="a .toml file that declares the study")
    parser.add_argument("--out", metavar="DIR", help="folder for results, written as they come")
    parser.add_argument("--replicates", type=int, metavar="N", help="of each scenario")
    parser.add_argument("--seed", type=int, help="instead of the file's")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="local processes (default: all processors)"
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster to run on")
    add_json(parser)
    add_quiet(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    check_writable("--json", arguments.json, arguments.file)
    declared = bv.study.read_study(arguments.file)
    settings = {}
    for name in ("replicates", "seed"):
        value = getattr(arguments, name)
        settings[name] = getattr(declared, name) if value is None else value
        if settings[name] is None:
            raise bv.BayesvError(
                f"--{name} is missing: neither the command nor [study] in {arguments.file} has it."
            )
    with ExitStack() as stack:
        client = None
        if arguments.scheduler:
            client = require("distributed", "dask").Client(
                arguments.scheduler, timeout=_CONNECTING, set_as_default=False
            )
            stack.enter_context(client)
        result = bv.study.run(
            declared.scenarios,
            declared.estimators,
            scores=declared.scores,
            out=arguments.out,
            workers=arguments.workers,
            client=client,
            progressbar=shows_progress(arguments),
            **settings,
        )
    if arguments.json != "-" and not arguments.quiet:
        print(result)
    if arguments.json:
        values = {
            **{key: result.manifest[key] for key in ("bayesv", "seed", "replicates", "versions")},
            "scenarios": result.manifest["scenarios"],
            "estimators": result.manifest["estimators"],
            "scores": records(result.scores()),
            "failures": records(result.failures),
        }
        write_json(values, arguments.json)
