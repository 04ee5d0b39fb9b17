"""``bayesv compare FIT FIT…``: saved fits, and fits that R exported, side by side."""

from __future__ import annotations

import argparse
from typing import Any

import bayesv as bv
from bayesv.cli.options import (
    add_command,
    add_json,
    add_prob,
    add_quiet,
    check_prob,
    check_writable,
)
from bayesv.cli.reading import read_fit
from bayesv.cli.results import (
    comparison_values,
    fit_values,
    header,
    posterior_values,
    write_json,
)

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "compare",
        "Compare fits saved by `bayesv fit --save` (.nc, .zarr) and folders written in R by the "
        "script of\n`bayesv export-r`. Posteriors are held against the first REML fit; if there is "
        "none, one is made.",
        "  bayesv compare reml.nc posterior.nc\n"
        "  bayesv compare lmer_export/ posterior.nc --json - | jq .comparison.fixed",
    )
    parser.add_argument("fits", metavar="FIT", nargs="+", help="files or folders")
    add_json(parser)
    add_prob(parser)
    add_quiet(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    check_writable("--json", arguments.json, *arguments.fits)
    check_prob(arguments.prob)
    comparison = bv.compare(*map(read_fit, arguments.fits), prob=arguments.prob)
    if not (arguments.quiet or arguments.json == "-"):
        print(comparison)
    if arguments.json:
        values = {
            **header(comparison.design),
            "fits": [{"name": fit.label, **fit_values(fit)} for fit in comparison.fits],
            "posteriors": [posterior_values(post) for post in comparison.posteriors],
            "comparison": comparison_values(comparison),
            "reasons": comparison.reasons(),
        }
        write_json(values, arguments.json)
