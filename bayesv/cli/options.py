"""Options that several commands share, and what is refused before any work is done."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import bayesv as bv
from bayesv.cli.commands import COMMANDS
from bayesv.cli.priors import read_priors
from bayesv.cli.reading import read_data
from bayesv.cli.relationships import relationships_of
from bayesv.gram import ELIMINATIONS
from bayesv.model import ENGINES, check_sampling
from bayesv.support.writing import check_writable as can_be_written

__all__ = [
    "add_command",
    "add_data",
    "add_json",
    "add_prob",
    "add_priors",
    "add_quiet",
    "add_reading",
    "add_sampling",
    "check_page",
    "check_prob",
    "check_sampling_options",
    "check_writable",
    "engine_of",
    "model_of",
    "reading_of",
    "shows_progress",
]

_ENGINE = "collapsed"  # where none is named


def add_command(commands: Any, name: str, description: str, examples: str) -> Any:
    """Add a command with its help, examples last as they are written."""
    return commands.add_parser(
        name,
        help=COMMANDS[name],
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which data and which model."""
    add_reading(parser)
    parser.add_argument("formula", metavar="FORMULA", help="in lme4's language, quoted")
    parser.add_argument("--weights", metavar="COLUMN", help="known weights w in R = σ²/w")
    parser.add_argument(
        "--residual",
        metavar="KIND",
        help="correlation of residuals within series, such as 'us(visit | subject)' or "
        "'ar1(day | subject)'; a model with one needs no random term",
    )
    parser.add_argument(
        "--residual-sd",
        metavar="KIND",
        help="SD of residuals: 'strata(g)', 'power(x)', 'exp(x)', or a product by *",
    )
    parser.add_argument(
        "--known-variances",
        metavar="COLUMN",
        help="variances of the rows' residuals, known and not estimated, as in meta-analysis",
    )
    parser.add_argument(
        "--pedigree",
        metavar="FACTOR=FILE",
        action="append",
        default=[],
        help="levels are related by a pedigree, a file with columns id, sire and dam (repeatable)",
    )
    parser.add_argument(
        "--relationship",
        metavar="FACTOR=FILE",
        action="append",
        default=[],
        help="levels are related by a square table, labels in its first row, and if there is one "
        "column more in its first column (repeatable)",
    )
    parser.add_argument(
        "--elimination",
        choices=ELIMINATIONS,
        default="auto",
        help="how random effects are eliminated (%(default)s); results are equal, those of an "
        "iteration up to what it states",
    )
    parser.add_argument(
        "--factor",
        metavar="COLUMN",
        action="append",
        default=[],
        help="read a numeric column as a factor (repeatable); text columns always are",
    )


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the data file, and how it is to be read."""
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a .csv, .tsv, .txt (also .gz), .xlsx, .sav, .dta or .parquet file; - reads CSV from "
        "standard input",
    )
    parser.add_argument(
        "--na",
        metavar="TEXT",
        action="append",
        default=[],
        help="what is written for a missing value (repeatable) beside NA and empty cells",
    )
    parser.add_argument(
        "--sep", metavar="SIGN", help="what stands between columns of text; ' ' is any white space"
    )
    parser.add_argument(
        "--decimal", choices=(".", ","), help="the decimal sign of text; left out: found out"
    )


def add_priors(parser: argparse.ArgumentParser) -> None:
    """Add one option for each part of the priors."""
    group = parser.add_argument_group(
        "priors",
        "Each may be repeated; what is left out takes the defaults that `bayesv describe` shows.",
    )
    kinds = "HalfNormal(scale), HalfStudentT(nu, scale), Exponential(scale), Gamma(shape, scale), …"
    for option, what in (
        ("sd", f"of SDs: PRIOR, 'GROUP = PRIOR' or 'COLUMN | GROUP = PRIOR'; {kinds}"),
        ("sigma", "of the residual SD: PRIOR"),
        ("corr", "of correlations: 'LKJ(2)' or 'GROUP = LKJ(2)'"),
        ("beta", "of fixed effects: 'Normal(0, 10)', 'Flat()' or 'COLUMN = Normal(0, 10)'"),
    ):
        group.add_argument(
            f"--prior-{option}", metavar="PRIOR", action="append", default=[], help=what
        )
    group.add_argument(
        "--center",
        metavar="PLACE",
        action="append",
        default=[],
        help="where a covariate is centred for the priors of an intercept's SD and of "
        "correlations: 'COLUMN | GROUP = NUMBER'; 'GROUP' alone for columns as written",
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add the options of the posterior engines."""
    parser.add_argument(
        "--engine",
        choices=(*ENGINES, "none"),
        help=f"posterior engine (default {_ENGINE}); none: REML only",
    )
    parser.add_argument("--draws", type=int, default=1000, help="per chain (%(default)s)")
    parser.add_argument("--chains", type=int, default=4, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default %(default)s")
    parser.add_argument(
        "--cores", type=int, metavar="N", help="that chains run on (default: all); same numbers"
    )
    parser.add_argument("--ml", action="store_true", help="fit by ML instead of REML")
    add_prob(parser)
    add_quiet(parser)


def add_prob(parser: argparse.ArgumentParser) -> None:
    """Add the probability of intervals."""
    parser.add_argument(
        "--prob", type=float, default=0.95, help="probability of intervals (%(default)s)"
    )


def check_prob(prob: float) -> None:
    """Refuse what is no probability."""
    if not 0 < prob < 1:
        raise bv.DataError(f"--prob {prob}: a probability between 0 and 1 is needed.")


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add the option that keeps listings and progress away; warnings and errors stay."""
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="no listing and no progress, only files and JSON"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option that writes results as JSON."""
    parser.add_argument(
        "--json", metavar="FILE", help="write all results as JSON; '-' for stdout only"
    )


def model_of(arguments: argparse.Namespace) -> bv.Model:
    """Return the model that data, formula and priors on the command line make."""
    priors = read_priors(arguments)
    data = read_data(arguments.data, **reading_of(arguments))
    for column in arguments.factor:
        if column not in data:
            raise bv.DataError(f"--factor {column}: the file has {', '.join(map(str, data))}.")
        data[column] = data[column].astype("category")
    return bv.Model(
        arguments.formula,
        data,
        priors,
        var_weights=arguments.weights,
        residual=_residual_of(arguments),
        residual_sd=arguments.residual_sd,
        relationship=relationships_of(arguments),
        elimination=arguments.elimination,
    )


def _residual_of(arguments: argparse.Namespace) -> str | bv.Known | None:
    """Return what is said of the residuals' covariance."""
    residual: str | None = arguments.residual
    if arguments.known_variances is None:
        return residual
    if residual is not None:
        raise bv.DataError(
            f"--residual {residual!r} is estimated and --known-variances "
            f"{arguments.known_variances} is known: leave one of them out."
        )
    return bv.Known(arguments.known_variances)


def reading_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return how the data file is to be read, as `read_table` is told."""
    choices = {"separator": arguments.sep, "decimal": arguments.decimal, "na": arguments.na}
    return {name: value for name, value in choices.items() if value}


def check_sampling_options(arguments: argparse.Namespace) -> None:
    """Refuse numbers that an engine would refuse later, and an engine that cannot sample."""
    check_prob(arguments.prob)
    if arguments.cores is not None and arguments.cores < 1:
        raise bv.DataError(f"--cores {arguments.cores}: at least one is needed.")
    if arguments.engine == "none":
        return
    engine = arguments.engine or _ENGINE
    check_sampling(engine, arguments.draws, arguments.chains, seed=arguments.seed)


def engine_of(arguments: argparse.Namespace) -> str | None:
    """Return the engine to sample with; None for REML only."""
    if arguments.engine == "none":
        return None
    return arguments.engine or _ENGINE


def check_page(option: str, target: str) -> None:
    """Refuse a page that no browser would open by its name."""
    if not target.lower().endswith((".html", ".htm")):
        raise bv.DataError(f"{option} {target}: the page is an .html file.")


def check_writable(option: str, target: str | None, *others: str | None) -> None:
    """Refuse a file that cannot be written, or that is one of the ``others`` of this command."""
    if not target or target == "-":
        return
    path = Path(target)
    if not path.absolute().parent.is_dir():
        raise bv.DataError(f"{option} {target}: there is no folder {path.parent}.")
    if path.is_dir():
        raise bv.DataError(f"{option} {target}: this is a folder; name a file in it.")
    try:
        can_be_written(path)
    except bv.StorageError as error:
        raise bv.DataError(f"{option} {error}") from error
    if any(path.absolute() == Path(other).absolute() for other in others if other):
        raise bv.DataError(f"{option} {target}: this file is named twice; name another one.")


def shows_progress(arguments: argparse.Namespace) -> bool:
    """Whether someone is watching."""
    return sys.stderr.isatty() and not arguments.quiet
