"""Known relationships of levels in files: pedigrees and square tables with labels."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import pandas as pd

import bayesv as bv
from bayesv.cli.reading import read_data

__all__ = ["relationships_of"]


def relationships_of(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    """Return the relationship of each factor that --pedigree and --relationship name."""
    given: dict[str, Any] = {}
    for option, read in (("--pedigree", _pedigree), ("--relationship", _matrix)):
        for text in getattr(arguments, option.strip("-"), []):
            factor, sign, name = (part.strip() for part in text.partition("="))
            if not (factor and sign and name):
                raise bv.DataError(
                    f"{option} {text!r}: write the grouping factor and the file, {option} "
                    "animal=FILE."
                )
            if factor in given:
                raise bv.DataError(f"{option} {text!r}: {factor!r} has a relationship already.")
            given[factor] = read(name)
    return given or None


def _pedigree(name: str) -> bv.Pedigree:
    return bv.pedigree(read_data(name))


def _matrix(name: str) -> pd.DataFrame:
    table = read_data(name)
    if table.shape[1] == len(table) + 1:
        return table.set_index(table.columns[0])
    return table.set_axis(table.columns, axis=0) if len(table) == table.shape[1] else table
