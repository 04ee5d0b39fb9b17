"""``bayesv fit DATA FORMULA``: REML and posterior of a model of a file."""

from __future__ import annotations

import argparse
from typing import Any

import bayesv as bv
from bayesv.cli.listing import fit_and_list
from bayesv.cli.options import (
    add_command,
    add_data,
    add_json,
    add_priors,
    add_sampling,
    check_sampling_options,
    check_writable,
    engine_of,
    model_of,
    reading_of,
)
from bayesv.cli.results import (
    comparison_values,
    evidence_values,
    fit_values,
    header,
    posterior_values,
    records,
    write_json,
)
from bayesv.cli.tables import add_tables, tables_of
from bayesv.report import check_packages
from bayesv.storage import check_target
from bayesv.support.shown import WholeFrame

__all__ = ["add"]

_EXAMPLES = """\
  bayesv fit sleep.csv 'Reaction ~ Days + (Days | Subject)' --json out.json
  bayesv fit sleep.csv 'Reaction ~ Days + (Days | Subject)' --report out.html --save out.nc
  bayesv fit trial.csv 'y ~ arm * visit' --residual 'us(visit | id)' --json out.json
  bayesv fit d.parquet 'y ~ x + (x | g)' --prior-sd 'x | g = HalfNormal(5)' --prior-corr 'LKJ(2)'
  bayesv fit oats.csv 'yield ~ variety + (1 | block/variety)' --engine none --anova --means variety
  gunzip -c d.csv.gz | bayesv fit - 'y ~ 1 + (1 | a/b)' --engine none --json - | jq .reml.beta"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "fit",
        "Fit an lme4 formula to a data file by REML and from the posterior, and compare the two.",
        _EXAMPLES,
    )
    add_data(parser)
    add_sampling(parser)
    add_priors(parser)
    add_tables(parser)
    output = parser.add_argument_group("output")
    add_json(output)
    output.add_argument(
        "--evidence", action="store_true", help="the log marginal likelihood of the model, too"
    )
    output.add_argument(
        "--report", metavar="FILE", help="write one HTML page with tables and pictures"
    )
    output.add_argument(
        "--save",
        metavar="FILE",
        help="save the posterior (the REML fit with --engine none) as .nc or .zarr",
    )
    output.add_argument("--force", action="store_true", help="replace what --save finds there")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    check_sampling_options(arguments)
    if arguments.evidence and engine_of(arguments) is None:
        raise bv.DataError("--evidence: this is of a posterior, and there is none with REML only.")
    check_writable("--json", arguments.json, arguments.data)
    check_writable("--report", arguments.report, arguments.data, arguments.json)
    if arguments.report and not arguments.report.lower().endswith((".html", ".htm")):
        raise bv.DataError(f"--report {arguments.report}: the page is an .html file.")
    if arguments.save:
        check_target(arguments.save, arguments.force)
    if arguments.report:
        check_packages()
    model = model_of(arguments)
    silent = arguments.quiet or arguments.json == "-"
    fit, post, comparison = fit_and_list(model, arguments, silent)
    evidence = post.evidence() if post is not None and arguments.evidence else None
    if evidence is not None and not silent:
        print(evidence)
    tables = tables_of(fit, arguments)
    for title, table in () if silent else tables.items():
        print(f"{title.replace('_', ' ')}\n{WholeFrame(table)}\n")
    if arguments.json:
        parts = {name: records(table) for name, table in tables.items()}
        values = {**header(model.design), "reml": fit_values(fit) | parts}
        if post is not None and comparison is not None:
            values |= {
                "posterior": posterior_values(post),
                "comparison": comparison_values(comparison),
            }
        if evidence is not None:
            values["evidence"] = evidence_values(evidence)
        write_json(values, arguments.json)
    if arguments.save:
        (fit if post is None else post).save(arguments.save, overwrite=arguments.force)
    if arguments.report:
        fits = [fit] if post is None else [fit, post]
        name = None if arguments.data == "-" else arguments.data
        bv.report(
            *fits,
            path=arguments.report,
            data=name,
            weights=arguments.weights,
            factors=arguments.factor,
            reading=reading_of(arguments),
        )
