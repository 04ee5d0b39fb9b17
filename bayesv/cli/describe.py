"""``bayesv describe DATA FORMULA``: what would be fitted, without fitting."""

from __future__ import annotations

import argparse
from typing import Any

from bayesv.cli.options import (
    add_command,
    add_data,
    add_json,
    add_priors,
    check_writable,
    model_of,
)
from bayesv.cli.results import header, write_json

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "describe",
        "Show what a formula makes of a data file: rows used, columns, levels, how random effects "
        "are\neliminated, and the priors that would be used.",
        "  bayesv describe sleep.csv 'Reaction ~ Days + (Days | Subject)'",
    )
    add_data(parser)
    add_priors(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    check_writable("--json", arguments.json, arguments.data)
    model = model_of(arguments)
    if arguments.json != "-":
        print(model.describe())
    if arguments.json:
        design = model.design
        values = {
            **header(design),
            "response": design.response,
            "fixed": list(design.fixed_names),
            "aliased": list(design.aliased),
            "random": [
                {
                    "group": t.group,
                    "columns": list(t.columns),
                    "blocks": t.structure.blocks,
                    "covariance": t.structure.words,
                }
                for t in design.terms
            ],
            "effects": design.q,
            "elimination": model.elimination,
            "priors": str(model.priors).splitlines(),
        }
        write_json(values, arguments.json)
