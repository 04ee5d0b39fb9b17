"""``bayesv v FIT``: V, or a part of it, or its posterior, as a table or a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

import bayesv as bv
from bayesv.cli.options import (
    add_command,
    add_prob,
    add_quiet,
    check_page,
    check_prob,
    check_writable,
    shows_progress,
)
from bayesv.cli.reading import read_data, read_fit
from bayesv.covariance.level_v import v_of_new_rows
from bayesv.data.tables import write_table
from bayesv.design.parametric import rows_of_level
from bayesv.formula.rows_again import of_level
from bayesv.posterior.estimators import ESTIMATES
from bayesv.support.shown import Table, as_text, digits
from bayesv.support.writing import write_file

__all__ = ["add"]

_NUMBER = digits(8)  # V is read on: more digits than tables of results have

_TABLES = (".csv", ".tsv", ".parquet")
_MATRICES = (".npz", ".mtx")
_DESCRIPTION = """\
Take V = Z G Z' + R of a saved fit (or a folder exported from R), at the REML estimate or a summary
of the posterior. Without --group or --rows it is all of V, and sparse.

FILE ends in .npz (all of V: scipy.sparse.load_npz; else numpy arrays and the row labels), .mtx
(Matrix Market, for R's Matrix::readMM), .csv, .tsv or .parquet (one line per element). Without a
FILE a block is printed."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "v",
        _DESCRIPTION,
        "  bayesv v posterior.nc --group Subject --level 308\n"
        "  bayesv v posterior.nc --group Subject --level 308 --summary -o v308.csv\n"
        "  bayesv v posterior.nc --estimate stein -o V.npz\n"
        "  bayesv v reml.nc --rows 0:10,15 -o V.mtx\n"
        "  bayesv v streamed.nc --level 308 --data sleep.parquet\n"
        "  bayesv v reml.nc posterior.nc --interactive V.html",
    )
    parser.add_argument(
        "fit",
        metavar="FIT",
        nargs="+",
        help="saved by `bayesv fit --save`, or from R; several with --interactive",
    )
    parser.add_argument(
        "--group",
        metavar="GROUP",
        help="grouping factor or series of --level, where there are several",
    )
    parser.add_argument("--level", metavar="LEVEL", help="the rows of this level")
    parser.add_argument(
        "--rows", metavar="LIST", help="or these rows of the fit, counted from 0, such as 0:10,15"
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="of a fit made in batches, which keeps no rows: the data that it was made from",
    )
    parser.add_argument("--weights", metavar="COLUMN", help="known weights among these data")
    parser.add_argument(
        "--estimate",
        choices=ESTIMATES,
        help="which summary of the draws V is taken at (default mean)",
    )
    parser.add_argument(
        "--summary",
        action="store_true",
        help="mean, sd and interval of each element of V over the draws, instead",
    )
    parser.add_argument(
        "--interactive",
        metavar="PAGE",
        help="write a page on which V is read cell by cell: an .html file, without network",
    )
    add_prob(parser)
    parser.add_argument("-o", "--output", metavar="FILE")
    add_quiet(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.interactive:
        _write_page(arguments)
        return
    if len(arguments.fit) > 1:
        raise bv.DataError("Several fits are shown by --interactive PAGE; a table is of one fit.")
    arguments.fit = arguments.fit[0]
    _check(arguments)
    fit = read_fit(arguments.fit)
    design = fit.design
    data = None if design.has_rows else _rows_again(arguments, design)
    positions = _positions(arguments, design) if data is None else None
    if arguments.summary:
        if not isinstance(fit, bv.Posterior):
            raise bv.DataError(f"--summary needs draws, and {arguments.fit} is a {fit.label} fit.")
        post_v = fit.V(rows=positions, newdata=data, weights=arguments.weights)
        low, high = post_v.interval(arguments.prob)
        frames = {"mean": post_v.mean(), "sd": post_v.sd(), "low": low, "high": high}
        _write_block(frames, arguments.output)
        return
    components = _components(fit, arguments)
    if data is not None:
        of_level = v_of_new_rows(design, components, data, arguments.weights)
        _write_block({"V": of_level}, arguments.output)
        return
    V = bv.MarginalCovariance(design, components)
    if positions is None:
        _write_whole(V, Path(arguments.output), shows_progress(arguments))
    else:
        _write_block({"V": V.rows(positions)}, arguments.output)


def _write_page(arguments: argparse.Namespace) -> None:
    """Write V cell by cell: of one level, of the levels of a group, or of all groups."""
    others = {"--rows": "rows", "--estimate": "estimate", "--output": "output"}
    for option, name in others.items():
        if getattr(arguments, name) is not None:
            raise bv.DataError(f"--interactive writes a page of clusters; leave {option} out.")
    check_prob(arguments.prob)
    check_page("--interactive", arguments.interactive)
    check_writable("--interactive", arguments.interactive, *arguments.fit)
    fits = [read_fit(name) for name in arguments.fit]
    group, levels = arguments.group, None
    if arguments.level is not None:
        group, levels = group or _only_group(fits[0].design), [arguments.level]
    bv.interactive_v(
        *fits, path=arguments.interactive, group=group, levels=levels, prob=arguments.prob
    )


def _check(arguments: argparse.Namespace) -> None:
    """Refuse before anything is read what cannot be done."""
    if arguments.group is not None and arguments.level is None:
        raise bv.DataError(f"--group {arguments.group} needs --level, which of its levels.")
    if arguments.level is not None and arguments.rows is not None:
        raise bv.DataError("Choose rows by --level, or by --rows, not both.")
    part = arguments.level is not None or arguments.rows is not None
    if not part and (arguments.summary or not arguments.output):
        raise bv.DataError(
            "All of V needs a file (-o V.npz) and has no --summary; choose rows by --group and "
            "--level, or by --rows."
        )
    if arguments.summary and arguments.estimate:
        raise bv.DataError("--summary is over all draws; leave --estimate out.")
    check_prob(arguments.prob)
    if arguments.output and not arguments.output.lower().endswith((*_TABLES, *_MATRICES)):
        known = ", ".join((*_MATRICES, *_TABLES))
        raise bv.DataError(f"--output {arguments.output}: the ending must be one of {known}.")
    if arguments.summary and (arguments.output or "").lower().endswith(".mtx"):
        raise bv.DataError("A .mtx file holds one matrix; write a --summary as .npz or a table.")
    check_writable("--output", arguments.output)


def _rows_again(arguments: argparse.Namespace, design: bv.Design) -> pd.DataFrame:
    """Return the rows of the level from the data of a fit that keeps none."""
    if arguments.data is None or arguments.level is None:
        raise bv.DataError(
            f"{arguments.fit} was made of data in batches and keeps no rows. Give --level, and the "
            "data that it was made from by --data FILE: the rows of that level are read again."
        )
    term = design.term(arguments.group or _only_group(design))
    level = str(term.levels[term.level_index(arguments.level)])
    frame = read_data(arguments.data)
    factors = list(design.encoding.factors_of(term.group)) if design.encoding else [term.group]
    if lost := [name for name in factors if name not in frame]:
        raise bv.DataError(f"{arguments.data} has no column {', '.join(lost)}.")
    _, rows = of_level(frame, factors, level)
    if rows.empty:
        raise bv.DataError(f"{arguments.data} has no row of {term.group} {level}.")
    return rows


def _components(
    fit: bv.RemlFit | bv.Posterior, arguments: argparse.Namespace
) -> bv.VarianceComponents:
    if isinstance(fit, bv.Posterior):
        return fit.estimate(arguments.estimate or "mean")
    if arguments.estimate:
        raise bv.DataError(
            f"--estimate {arguments.estimate} needs draws, and {arguments.fit} is a {fit.label} "
            "fit."
        )
    return fit.components


def _positions(arguments: argparse.Namespace, design: bv.Design) -> Any:
    """Return the chosen rows as positions; None for all."""
    if arguments.level is not None:
        group = arguments.group or _only_group(design)
        return rows_of_level(design, group, arguments.level)
    if arguments.rows is None:
        return None
    parts = []
    for piece in arguments.rows.split(","):
        first, colon, last = piece.partition(":")
        try:
            start = int(first or 0) if colon else int(first)
            stop = (int(last) if last else design.n) if colon else start + 1
        except ValueError:
            raise bv.DataError(
                f"--rows {arguments.rows}: {piece!r} is neither a number nor FROM:TO."
            ) from None
        if not 0 <= start < stop <= design.n:
            raise bv.DataError(
                f"--rows {arguments.rows}: {piece!r} is not within the rows, 0:{design.n}."
            )
        parts.append(np.arange(start, stop))
    return np.concatenate(parts)


def _only_group(design: bv.Design) -> str:
    """Return the grouping factor or series of a design, if there is one alone."""
    groups = list(design.groups)
    if (form := design.parametric_residual) is not None and form.series is not None:
        groups.append(form.series.label)
    if len(set(groups)) != 1:
        raise bv.DataError(
            f"--level needs --group, one of {', '.join(dict.fromkeys(groups)) or 'none'}."
        )
    return groups[0]


def _write_whole(V: bv.MarginalCovariance, path: Path, watched: bool) -> None:
    if watched:
        print(f"making V of {V.shape[0]:,} rows …", file=sys.stderr)
    matrix = V.to_sparse()
    if watched:
        print(f"writing {matrix.nnz:,} elements to {path} …", file=sys.stderr)
    if path.suffix.lower() == ".npz":
        write_file(path, lambda file: sparse.save_npz(file, matrix))
    elif path.suffix.lower() == ".mtx":
        _write_mtx(path, matrix)
    else:
        entries = matrix.tocoo()
        labels = V.design.row_labels.map(str).to_numpy()
        i, j = entries.coords
        write_table(pd.DataFrame({"row": labels[i], "column": labels[j], "V": entries.data}), path)


def _write_block(frames: dict[str, pd.DataFrame], output: str | None) -> None:
    """Write matrices with the same labels; print them where there is no file."""
    if output is None:
        for name, frame in frames.items():
            print(
                *([name] if len(frames) > 1 else []), as_text([Table.of(frame, _NUMBER)]), sep="\n"
            )
        return
    path, first = Path(output), next(iter(frames.values()))
    labels = first.index.map(str).to_numpy()
    if path.suffix.lower() == ".npz":
        arrays = {name: frame.to_numpy() for name, frame in frames.items()}
        write_file(path, lambda file: np.savez(file, **arrays, labels=labels.astype(str)))
    elif path.suffix.lower() == ".mtx":
        _write_mtx(path, sparse.coo_array(first.to_numpy()))
    else:
        m = len(labels)
        table = {"row": np.repeat(labels, m), "column": np.tile(labels, m)}
        values = {name: frame.to_numpy().ravel() for name, frame in frames.items()}
        write_table(pd.DataFrame(table | values), path)


def _write_mtx(path: Path, matrix: Any) -> None:
    from scipy.io import mmwrite

    write_file(path, lambda file: mmwrite(file, matrix, symmetry="symmetric", precision=17))
