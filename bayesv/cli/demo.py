"""``bayesv demo``: the three seed models end to end."""

from __future__ import annotations

import argparse
import time
from typing import Any

import bayesv as bv
from bayesv.cli.listing import fit_and_list
from bayesv.cli.options import add_command, add_sampling, check_sampling_options

__all__ = ["add"]

SEEDS = {
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "three_level": "y ~ x1 + (1 | sch.cl/tch.cl)",
    "star_k20": "read ~ cltype + sx + (sx | sch/tch)",
}
_RULE = "─" * 100


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "demo",
        "Fit sleepstudy, three_level and star_k20 by REML and from the posterior, and compare.",
        "  bayesv demo\n  bayesv demo --engine pymc",
    )
    add_sampling(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    check_sampling_options(arguments)
    started = time.perf_counter()
    for name, formula in SEEDS.items():
        if not arguments.quiet:
            print(f"{_RULE}\n{name}\n{_RULE}")
        fit_and_list(bv.Model(formula, bv.load_dataset(name)), arguments, arguments.quiet)
    print(f"Done in {time.perf_counter() - started:.0f} s.")
