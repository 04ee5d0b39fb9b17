"""``bayesv lrt SMALLER LARGER``: the likelihood ratio test of two saved fits."""

from __future__ import annotations

import argparse
from typing import Any

import bayesv as bv
from bayesv.cli.options import add_command, add_json, add_quiet, check_writable
from bayesv.cli.reading import read_fit
from bayesv.cli.results import records, write_json
from bayesv.support.shown import WholeFrame

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "lrt",
        "Test a REML or ML fit against a larger one that it is nested in. Restricted likelihoods "
        "are compared\nwhere both have the same fixed effects; else both are refitted by ML.",
        "  bayesv lrt reml_intercepts.nc reml_slopes.nc\n"
        "  bayesv lrt reml_intercepts.nc reml_slopes.nc --json - | jq '.[1].p_boundary'",
    )
    parser.add_argument("smaller", metavar="SMALLER", help="saved by `bayesv fit --engine none`")
    parser.add_argument("larger", metavar="LARGER")
    add_json(parser)
    add_quiet(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    check_writable("--json", arguments.json, arguments.smaller, arguments.larger)
    fits = []
    for path in (arguments.smaller, arguments.larger):
        fit = read_fit(path)
        if not isinstance(fit, bv.RemlFit):
            raise bv.DataError(
                f"{path} is a posterior; likelihoods of REML fits are compared, saved by "
                "`bayesv fit … --engine none --save`. Posteriors: `bayesv models`."
            )
        fits.append(fit)
    table = bv.lrt(*fits).rename_axis("model").reset_index()
    if not (arguments.quiet or arguments.json == "-"):
        numbers = table.drop(columns="model").set_axis(["1", "2"])
        print("\n".join(f"{k + 1}: {name}" for k, name in enumerate(table["model"])))
        print(WholeFrame(numbers))
    if arguments.json:
        write_json(records(table), arguments.json)
