"""Known relationships of the levels of a scenario: a law, a file, or a pedigree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesv.data.tables import read_table
from bayesv.errors import BayesvError, ScenarioError
from bayesv.structures.pedigree import pedigree
from bayesv.study.declared.reading import choice, number, refusal, table

__all__ = ["check_relationship", "contents_of", "relationship_of", "with_paths"]

LAWS = ("families", "chain")
_FILES = ("matrix", "pedigree")
_KEYS: dict[str, tuple[list[str], list[str]]] = {
    "families": (["law", "size", "r"], []),
    "chain": (["law", "r"], []),
    "matrix": (["matrix"], []),
    "pedigree": (["pedigree", "id", "sire", "dam"], []),
}


def check_relationship(key: str, stated: Any) -> None:
    """Refuse what states no relationship.

    Raises
    ------
    ScenarioError
        Naming the key, what was found and what is allowed.
    """
    kind = _kind(key, stated)
    table(key, stated, *_KEYS[kind])
    if kind == "families":
        number(f"{key}.size", stated["size"], "[1, inf)", whole=True)
    if kind in LAWS:
        number(f"{key}.r", stated["r"], "[0, 1)")
    else:
        _file(key, stated[kind])


def relationship_of(key: str, stated: Mapping[str, Any], levels: list[Any]) -> Any:
    """Return what `bayesv.Model` takes as the relationship of a grouping factor.

    Parameters
    ----------
    key : str
        Where it stands, for messages.
    stated : mapping
        ``{"law": "families", "size", "r"}``: so many levels after each other are a family, with r
        within it; ``{"law": "chain", "r"}``: r^|i − j| of the i-th and j-th level; ``{"matrix"}``:
        the path of a table with labels in its first column and first row; or ``{"pedigree", "id",
        "sire", "dam"}``: the path of a table and its columns.
    levels : list
        Of the factor, in order.
    """
    kind = _kind(key, stated)
    if kind in LAWS:
        place = np.arange(len(levels))
        if kind == "chain":
            K = stated["r"] ** np.abs(place[:, None] - place).astype(float)
        else:
            family = place // int(stated["size"])
            K = np.where(family[:, None] == family, float(stated["r"]), 0.0)
            np.fill_diagonal(K, 1.0)
        return pd.DataFrame(K, levels, levels)
    frame = _file(key, stated[kind])
    try:
        if kind == "pedigree":
            return pedigree(frame, id=stated["id"], sire=stated["sire"], dam=stated["dam"])
        labels = frame.iloc[:, 0].astype(str).to_list()
        return pd.DataFrame(frame.iloc[:, 1:].to_numpy(dtype=float), labels, labels)
    except (BayesvError, ValueError) as error:
        raise ScenarioError(f"{key}.{kind}: {error}") from error


def contents_of(key: str, stated: Mapping[str, Any]) -> list[Any]:
    """Return what is stated, with the rows of a file in place of its path."""
    kind = _kind(key, stated)
    rest = [[name, value] for name, value in sorted(stated.items()) if name != kind]
    return [kind, rest, None if kind in LAWS else _file(key, stated[kind])]


def with_paths(relationship: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return relationships with the path of each file changed."""
    return {
        group: {k: change(v) if k in _FILES and isinstance(v, str) else v for k, v in one.items()}
        if isinstance(one, Mapping)
        else one
        for group, one in relationship.items()
    }


def _kind(key: str, stated: Any) -> str:
    """Return the law, or which file is named."""
    content = table(key, stated)
    files = [name for name in _FILES if name in content]
    if "law" in content:
        return choice(f"{key}.law", content["law"], LAWS)
    if len(files) != 1:
        raise refusal(key, stated, "a table with law, matrix or pedigree.")
    return files[0]


def _file(key: str, path: Any) -> pd.DataFrame:
    if not isinstance(path, str | Path):
        raise refusal(key, path, "the path of a table.")
    try:
        return read_table(path)
    except BayesvError as error:
        raise ScenarioError(f"{key}: {error}") from error
