"""Tables of tests and means that ``fit`` makes if asked for."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd

import bayesv as bv
from bayesv.covariance.several_tests import ADJUSTMENTS

__all__ = ["add_tables", "tables_of"]


def add_tables(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("tests, intervals and means of the REML fit")
    group.add_argument(
        "--anova", action="store_true", help="an F test of each term (type III, Kenward–Roger)"
    )
    group.add_argument(
        "--confint",
        nargs="?",
        const="Wald",
        choices=("Wald", "profile"),
        help="intervals of SDs, correlations and fixed effects (%(const)s)",
    )
    group.add_argument(
        "--means", metavar="COLUMN[,COLUMN]", help="marginal means by levels, and their differences"
    )
    group.add_argument(
        "--by", metavar="COLUMN[,COLUMN]", help="differences of --means within these levels"
    )
    group.add_argument(
        "--adjust",
        choices=ADJUSTMENTS,
        metavar="METHOD",
        help="p-values and intervals of the differences: tukey, where it fits, or another of "
        + ", ".join(ADJUSTMENTS[1:]),
    )
    group.add_argument(
        "--slope",
        metavar="COLUMN",
        help="slopes along this covariate, in place of means by --means",
    )


def tables_of(fit: bv.RemlFit, arguments: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """Return the tables by name.

    Raises
    ------
    BayesvError
        If --by stands alone, or what is asked for does not fit the formula.
    """
    if arguments.by and not arguments.means:
        raise bv.DataError("--by goes with --means, whose differences are within its levels.")
    if arguments.adjust and not arguments.means:
        raise bv.DataError("--adjust goes with --means, whose differences it is of.")
    tables: dict[str, pd.DataFrame] = {}
    if arguments.anova:
        tables["anova"] = fit.anova().rename_axis("term").reset_index()
    if arguments.confint:
        intervals = fit.confint(arguments.confint, arguments.prob)
        tables["intervals"] = intervals.rename_axis("parameter").reset_index()
    if arguments.means or arguments.slope:
        specs, options = _split(arguments.means), _options(arguments)
        means = fit.marginal_means(specs, prob=arguments.prob, **options)
        tables["slopes" if arguments.slope else "marginal_means"] = means
        if len(means) > len(means.groupby(options.get("by") or np.zeros(len(means)))):
            how = {"adjust": arguments.adjust} if arguments.adjust else {}
            tables["contrasts"] = fit.contrasts(specs, prob=arguments.prob, **how, **options)
    return tables


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    by = {"by": _split(arguments.by)} if arguments.by else {}
    return by | ({"slope": arguments.slope} if arguments.slope else {})


def _split(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []
