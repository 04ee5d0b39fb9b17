"""``bayesv structures DATA FORMULA``: a list of structures of V, fitted and compared."""

from __future__ import annotations

import argparse
from typing import Any

import bayesv as bv
from bayesv.cli.models import add_comparison, show
from bayesv.cli.options import (
    add_command,
    add_data,
    add_json,
    add_priors,
    add_quiet,
    check_writable,
    model_of,
)
from bayesv.comparison.structures import LISTS, candidates_of

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "structures",
        "Fit structures of V to the rows and the fixed part of a formula, and say how probable "
        "each is.",
        "  bayesv structures sleep.csv 'Reaction ~ Days + (Days | Subject)'\n"
        "  bayesv structures trial.csv 'y ~ arm * visit' --residual 'us(visit | id)' "
        "--candidates mmrm\n"
        "  bayesv structures d.csv 'y ~ x + (x | g)' --random '(1 | g)' --random '(x || g)'",
    )
    add_data(parser)
    add_priors(parser)
    parser.add_argument(
        "--candidates",
        choices=LISTS,
        help="a list: intercepts and slopes on time with and without AR(1) residuals (the "
        "default), or covariances of visits",
    )
    parser.add_argument(
        "--random",
        metavar="TERMS",
        action="append",
        help="a candidate of your own: its random terms",
    )
    add_comparison(parser)
    parser.add_argument("--draws", type=int, default=1000, help="per chain (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="default %(default)s")
    parser.add_argument(
        "--cores", type=int, metavar="N", help="that structures are fitted on (default: all)"
    )
    add_json(parser)
    add_quiet(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    check_writable("--json", arguments.json, arguments.data)
    if arguments.candidates and arguments.random:
        raise bv.DataError("--candidates and --random are both stated; leave one of them out.")
    candidates = arguments.random or arguments.candidates or "growth"
    model = model_of(arguments)
    stated = list(candidates_of(model, candidates))
    prior = None
    if arguments.prior:
        if len(arguments.prior) != len(stated):
            raise bv.DataError(
                f"--prior is stated {len(arguments.prior)} times for {len(stated)} candidates: "
                f"{', '.join(stated)}."
            )
        prior = dict(zip(stated, arguments.prior, strict=True))
    comparison = bv.structures(
        model,
        candidates,
        draws=arguments.draws,
        seed=arguments.seed,
        prior=prior,
        leave_out=not arguments.no_leave_out,
        cores=arguments.cores,
    )
    show(comparison, arguments)
