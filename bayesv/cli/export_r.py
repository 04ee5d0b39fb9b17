"""``bayesv export-r``: the R function that writes a fit made in R for bayesv to read."""

from __future__ import annotations

import argparse
from typing import Any

from bayesv.cli.options import add_command, check_writable
from bayesv.extract import r_script
from bayesv.support.writing import write_file

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "export-r",
        "Print an R function bayesv_export(fit, path). The folder it writes is a FIT of "
        "`bayesv compare` and\n`bayesv v`, and is read in Python by bayesv.extract.read_fit(path).",
        "  bayesv export-r -o bayesv_export.R\n"
        "  # in R: source('bayesv_export.R'); bayesv_export(fit, 'my_fit')\n"
        "  bayesv compare my_fit/ posterior.nc",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="left out: standard output")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    check_writable("--output", arguments.output)
    if arguments.output and arguments.output != "-":
        write_file(arguments.output, r_script())
    else:
        print(r_script(), end="")
