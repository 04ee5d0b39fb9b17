"""``bayesv report FIT…``: the page of saved fits."""

from __future__ import annotations

import argparse
from typing import Any

import bayesv as bv
from bayesv.cli.options import add_command, check_page, check_writable
from bayesv.cli.reading import read_fit
from bayesv.report import check_packages

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "report",
        "Write one page with tables and pictures of fits saved by `bayesv fit --save`, or folders "
        "written in R\nby the script of `bayesv export-r`.",
        "  bayesv report reml.nc post.nc -o report.html --title 'Sleep study'\n"
        "  bayesv report reml.nc post.nc -o report.html --label REML --label 'half-t priors'",
    )
    parser.add_argument("fits", metavar="FIT", nargs="+", help="files or folders")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the page, an .html file"
    )
    parser.add_argument("--title", help="left out: the formula")
    parser.add_argument(
        "--label",
        metavar="NAME",
        action="append",
        dest="labels",
        help="what a fit is called, once for each in their order",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    check_page("--output", arguments.output)
    check_writable("--output", arguments.output, *arguments.fits)
    check_packages()
    fits = [read_fit(name) for name in arguments.fits]
    bv.report(*fits, path=arguments.output, title=arguments.title, labels=arguments.labels)
