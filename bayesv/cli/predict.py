"""``bayesv predict FIT DATA``: what a saved fit expects of new rows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

import bayesv as bv
from bayesv.cli.options import (
    add_command,
    add_prob,
    add_reading,
    check_prob,
    check_writable,
    reading_of,
)
from bayesv.cli.reading import read_data, read_fit
from bayesv.data.tables import write_table

__all__ = ["add"]

_TABLES = (".csv", ".tsv", ".parquet")
_DESCRIPTION = """\
Predict the rows of a data file, of groups and series that were fitted or of new ones. REML fits
give mean, se, sd and an interval; posteriors mean, sd and interval of new responses."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "predict",
        _DESCRIPTION,
        "  bayesv predict reml.nc new.csv\n"
        "  bayesv predict post.nc new.csv --prob 0.9 -o predicted.csv",
    )
    parser.add_argument("fit", metavar="FIT", help="saved by `bayesv fit --save`, or from R")
    add_reading(parser)
    parser.add_argument("--weights", metavar="COLUMN", help="known weights of the new rows")
    parser.add_argument("--seed", type=int, default=1, help="of a posterior (%(default)s)")
    add_prob(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="a .csv, .tsv or .parquet file")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    check_prob(arguments.prob)
    output = arguments.output
    if output and not output.lower().endswith(_TABLES):
        raise bv.DataError(f"--output {output}: the ending must be one of {', '.join(_TABLES)}.")
    check_writable("--output", output, arguments.data, arguments.fit)
    fit = read_fit(arguments.fit)
    rows = read_data(arguments.data, **reading_of(arguments))
    table = _predicted(fit, rows, arguments)
    if output is None:
        print(table.to_string())
    else:
        rows.index = rows.index.map(str)
        write_table(rows.join(table, how="right"), Path(output))


def _predicted(
    fit: bv.RemlFit | bv.Posterior, rows: pd.DataFrame, arguments: argparse.Namespace
) -> pd.DataFrame:
    """Return the table of predictions, one line a row that can be predicted."""
    if isinstance(fit, bv.RemlFit):
        return fit.predict(rows, of="response", prob=arguments.prob, weights=arguments.weights)
    y = fit.predict(rows, weights=arguments.weights, seed=arguments.seed)
    table = bv.summarize(y, arguments.prob).set_index(y["row"].to_index())
    intervals = {"eti_low": "low", "eti_high": "high"}
    return table[["mean", "sd", *intervals]].rename(columns=intervals)
