"""``bayesv models POSTERIOR POSTERIOR…``: structures of the same rows, and how probable each is."""

from __future__ import annotations

import argparse
from typing import Any

import bayesv as bv
from bayesv.cli.options import add_command, add_json, add_quiet, check_writable
from bayesv.cli.reading import read_fit
from bayesv.cli.results import models_values, write_json

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "models",
        "Compare posteriors of the same rows, saved by `bayesv fit --save`: log evidence, "
        "probabilities,\nprediction of rows and clusters left out, stacking weights, AIC, BIC.",
        "  bayesv models intercepts.nc slopes.nc\n"
        "  bayesv models intercepts.nc slopes.nc --prior 1 --prior 2 --json - | jq .models",
    )
    parser.add_argument("posteriors", metavar="POSTERIOR", nargs="+", help="files")
    parser.add_argument(
        "--name", metavar="NAME", action="append", help="of each file's model, in their order"
    )
    add_comparison(parser)
    add_json(parser)
    add_quiet(parser)
    parser.set_defaults(run=_run)


def add_comparison(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how models are compared."""
    parser.add_argument(
        "--prior",
        metavar="NUMBER",
        type=float,
        action="append",
        help="prior probability of each model, or numbers in their ratio; equal if left out",
    )
    parser.add_argument(
        "--no-leave-out", action="store_true", help="no prediction of rows and clusters left out"
    )


def _run(arguments: argparse.Namespace) -> None:
    check_writable("--json", arguments.json, *arguments.posteriors)
    fits = [read_fit(name) for name in arguments.posteriors]
    posteriors = [fit for fit in fits if isinstance(fit, bv.Posterior)]
    if len(posteriors) < len(fits):
        others = [n for n, f in zip(arguments.posteriors, fits, strict=True)
                  if not isinstance(f, bv.Posterior)]  # fmt: skip
        raise bv.DataError(
            f"{', '.join(others)}: this is a REML fit; models are compared by their posteriors."
        )
    comparison = bv.compare_models(
        *posteriors,
        names=arguments.name,
        prior=arguments.prior,
        leave_out=not arguments.no_leave_out,
    )
    show(comparison, arguments)


def show(comparison: bv.ModelComparison, arguments: argparse.Namespace) -> None:
    """Print a comparison and write it as JSON, as the options say."""
    if not (arguments.quiet or arguments.json == "-"):
        print(comparison)
    if arguments.json:
        write_json({"bayesv": bv.__version__, **models_values(comparison)}, arguments.json)
