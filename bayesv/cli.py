"""Command line: ``bayesv demo`` and ``bayesv fit DATA FORMULA``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bayesv as bv
from bayesv.model import ENGINES, check_sampling

__all__ = ["main"]

SEEDS = {
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "three_level": "y ~ x1 + (1 | sch.cl/tch.cl)",
    "star_k20": "read ~ cltype + sx + (sx | sch/tch)",
}
_RULE = "─" * 100


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (0 done, 1 refused with a reason, 2 usage)."""
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            arguments.run(arguments)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (bv.BayesvError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bayesv",
        description="The marginal covariance V = Z G Z' + R of Gaussian linear mixed models: REML "
        "and posterior side by side.",
    )
    parser.add_argument("--version", action="version", version=f"bayesv {bv.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="fit the three seed models end to end",
        description="Fit sleepstudy, three_level and star_k20 by REML and by NUTS, and compare.",
    )
    demo.set_defaults(run=_demo)
    fit = commands.add_parser(
        "fit",
        help="fit a model to a file",
        description="Fit an lme4 formula to a CSV or Parquet file by REML and from the posterior.",
        epilog="example: bayesv fit sleep.csv 'Reaction ~ Days + (Days | Subject)' --json out.json",
    )
    fit.add_argument("data", metavar="DATA", help="a .csv (also .csv.gz) or .parquet file")
    fit.add_argument("formula", metavar="FORMULA", help="in lme4's language, quoted")
    fit.add_argument("--weights", metavar="COLUMN", help="known weights w in R = σ²/w")
    fit.add_argument(
        "--factor",
        metavar="COLUMN",
        action="append",
        default=[],
        help="read a numeric column as a factor (repeatable); text columns always are",
    )
    fit.add_argument(
        "--json", metavar="FILE", help="write all results as JSON; '-' for stdout only"
    )
    fit.set_defaults(run=_fit)
    for command in (demo, fit):
        command.add_argument(
            "--engine",
            choices=(*ENGINES, "none"),
            default="collapsed",
            help="posterior engine (default %(default)s); none: REML only",
        )
        command.add_argument("--draws", type=int, default=1000, help="per chain (%(default)s)")
        command.add_argument("--chains", type=int, default=4, help="default %(default)s")
        command.add_argument("--seed", type=int, default=1, help="default %(default)s")
    return parser


def _demo(arguments: argparse.Namespace) -> None:
    _check_first(arguments)
    started = time.perf_counter()
    for name, formula in SEEDS.items():
        print(f"{_RULE}\n{name}\n{_RULE}")
        _report(bv.Model(formula, bv.load_dataset(name)), arguments)
    print(f"Done in {time.perf_counter() - started:.0f} s.")


def _check_first(arguments: argparse.Namespace) -> None:
    """Refuse at once what would fail only after the work is done."""
    if arguments.engine != "none":
        check_sampling(arguments.engine, arguments.draws, arguments.chains)
    target = getattr(arguments, "json", None)
    if target and target != "-" and not Path(target).absolute().parent.is_dir():
        raise bv.DataError(f"--json {target}: there is no folder {Path(target).parent}.")


def _fit(arguments: argparse.Namespace) -> None:
    _check_first(arguments)
    data = _read(Path(arguments.data))
    for column in arguments.factor:
        if column not in data:
            raise bv.DataError(f"--factor {column}: the file has {', '.join(map(str, data))}.")
        data[column] = data[column].astype("category")
    model = bv.Model(arguments.formula, data, var_weights=arguments.weights)
    only_json = arguments.json == "-"
    fit, post, comparison = _report(model, arguments, quiet=only_json)
    if arguments.json:
        text = json.dumps(_as_json(model, fit, post, comparison), indent=2, ensure_ascii=False)
        if only_json:
            print(text)
        else:
            Path(arguments.json).write_text(text + "\n", encoding="utf-8")


def _report(
    model: bv.Model, arguments: argparse.Namespace, quiet: bool = False
) -> tuple[bv.RemlFit, bv.Posterior | None, bv.Comparison | None]:
    """Fit by REML, describe V, sample, compare; print as results come."""

    def show(what: object) -> None:
        if not quiet:
            print(what, end="\n\n")

    fit = model.reml()
    show(fit)
    show(_describe_v(fit.gls.V))
    if arguments.engine == "none":
        return fit, None, None
    if sys.stderr.isatty():
        print(f"sampling with {arguments.engine} (the model is compiled first)…", file=sys.stderr)
    post = model.sample(
        engine=arguments.engine,
        draws=arguments.draws,
        chains=arguments.chains,
        seed=arguments.seed,
        progressbar=sys.stdout.isatty(),
    )
    show(post)
    comparison = bv.compare(fit, post)
    show(comparison)
    return fit, post, comparison


def _describe_v(V: bv.MarginalCovariance) -> str:
    sparse = V.to_sparse()
    n = V.shape[0]
    return (
        f"V at the REML estimate: {n} × {n}, {sparse.nnz} elements stored "
        f"({100 * sparse.nnz / n**2:.3g} %),\n{len(np.unique(V.clusters))} independent clusters, "
        f"log|V| = {V.logdet():.4f}"
    )


def _read(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise bv.DataError(f"There is no file {path}.")
    try:
        name = path.name.lower()
        if name.endswith(".parquet"):
            return pd.read_parquet(path)
        if name.endswith((".csv", ".csv.gz")):
            return pd.read_csv(path)
    except ImportError as error:
        raise bv.MissingPackageError(
            'Parquet needs pyarrow: python3 -m pip install "bayesv[parquet]"'
        ) from error
    except (ValueError, UnicodeError) as error:
        raise bv.DataError(f"{path} cannot be read: {error}") from error
    raise bv.DataError(f"{path.name}: a .csv, .csv.gz or .parquet file is needed.")


def _as_json(
    model: bv.Model,
    fit: bv.RemlFit,
    post: bv.Posterior | None,
    comparison: bv.Comparison | None,
) -> dict[str, Any]:
    design = model.design
    out: dict[str, Any] = {
        "bayesv": bv.__version__,
        "formula": design.formula,
        "rows": design.n,
        "rows_dropped": design.n_dropped,
        "levels": {term.group: term.n_levels for term in design.terms},
        "notes": list(design.notes),
        "reml": {
            "criterion": fit.criterion,
            "singular": fit.singular,
            "converged": fit.converged,
            "evaluations": fit.n_evaluations,
            "beta": fit.beta.to_dict(),
            "se": fit.se.to_dict(),
            **_components(fit.components),
            "log_det_V": fit.gls.V.logdet(),
        },
    }
    if post is not None and comparison is not None:
        out["posterior"] = {
            "engine": post.engine,
            "chains": post.n_chains,
            "draws": post.n_draws,
            "priors": str(post.priors).splitlines(),
            "problems": list(post.problems),
            "mean": _components(post.estimate("mean")),
            "summary": _records(post.summary()),
        }
        out["comparison"] = {
            "quantities": _records(comparison.table),
            "fixed": _records(comparison.fixed),
            "V": _records(comparison.marginal),
        }
    return out


def _components(vc: bv.VarianceComponents) -> dict[str, Any]:
    return {
        "sigma2": vc.sigma2,
        "covariance": {
            group: {"names": list(vc[group].index), "matrix": vc[group].to_numpy().tolist()}
            for group in vc.groups
        },
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values: NaN has no place in JSON and becomes null."""
    plain = table.astype(object).where(table.notna(), None)
    return [
        {key: v.item() if isinstance(v, np.generic) else v for key, v in row.items()}
        for row in plain.to_dict(orient="records")
    ]


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
