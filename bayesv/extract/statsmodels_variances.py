"""Statsmodels' ``vc_formula`` and ``VCSpec`` as random terms ``(columns | factor)``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayesv.design.design import RandomTerm
from bayesv.errors import ExtractionError
from bayesv.extract.point import by_factor
from bayesv.linalg import Array
from bayesv.names import INTERCEPT, factors_of, level_label, unquoted
from bayesv.structures import CovarianceStructure, Unstructured, direct_sum

__all__ = ["Piece", "merged", "variance_pieces"]

# C(cls)[3], cls[b], C(cls, Sum)[S.b]: the factor, its coding, its level.
_FACTOR = re.compile(r"^(?:C\()?\s*([^,()\[\]]+?)\s*(?:,.*)?\)?\[(T\.|S\.)?(.*)\]$")
_COLON = re.compile(r":(?![^\[(]*[\])])")  # not of a level's own text


@dataclass(frozen=True, eq=False)
class Piece:
    """Random columns of one factor whose covariance is one block or several.

    Attributes
    ----------
    group : str
        Label of the factor, such as ``"cls:sch"``.
    levels : ndarray of str, shape (n,)
        Level of each row.
    columns : tuple of str
    values : ndarray, shape (n, r)
    cov : ndarray, shape (r, r)
    structure : CovarianceStructure
        Which columns are correlated.
    """

    group: str
    levels: Any
    columns: tuple[str, ...]
    values: Array
    cov: Array
    structure: CovarianceStructure


def merged(pieces: list[Piece]) -> tuple[tuple[RandomTerm, ...], dict[str, pd.DataFrame]]:
    """Return one random term and one Σ_f per factor, the terms by decreasing number of levels.

    Raises
    ------
    ExtractionError
        If one column has two variances.
    """
    together: dict[tuple[str, ...], list[Piece]] = {}
    for piece in pieces:
        together.setdefault(factors_of(piece.group), []).append(piece)
    terms = []
    for members in together.values():
        group = members[0].group
        columns = tuple(name for piece in members for name in piece.columns)
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise ExtractionError(
                f"{', '.join(twice)} has two variances in {group!r}; V has their sum only. Refit "
                "with each random column once."
            )
        levels, codes = np.unique(members[0].levels.astype(str), return_inverse=True)
        terms.append(
            RandomTerm(
                group=group,
                columns=columns,
                levels=levels.astype(object),
                codes=codes.astype(np.intp),
                values=np.hstack([piece.values for piece in members]),
                structure=direct_sum([piece.structure for piece in members]),
            )
        )
    blocks = by_factor((piece.group, piece.columns, piece.cov) for piece in pieces)
    return tuple(sorted(terms, key=lambda term: -term.n_levels)), blocks


def variance_pieces(model: Any, variances: Array, group: str, frame: Any) -> list[Piece]:
    """Return a piece for every variance component of a MixedLM.

    Parameters
    ----------
    model : MixedLM
    variances : ndarray, shape (number of components,)
        In units of y².
    group : str
        Label of the model's groups.
    frame : DataFrame or None
        Data of the formula interface, the rows of the model.

    Raises
    ------
    ExtractionError
        If one variance belongs to several columns of a level.

    Notes
    -----
    A component of one column in every group is a random slope of the groups, ``(0 + x | g)``; one
    of a column per level of a factor is ``(1 | f:g)``, or ``(1 | f)`` where all rows are in one
    group, statsmodels' way to write crossed factors.
    """
    return [_piece(model, k, float(v), group, frame) for k, v in enumerate(variances)]


def _piece(model: Any, k: int, variance: float, group: str, frame: Any) -> Piece:
    """Return one variance component."""
    name = model.exog_vc.names[k]
    values, texts, (factors, rest) = _read(model, k, _plain if frame is None else _parse)
    within = np.array([level_label(g) for g in np.asarray(model.groups)], dtype=object)
    single = all(len(columns) == 1 for columns in model.exog_vc.colnames[k])
    column = rest or (INTERCEPT if factors or (values == 1).all() else name)
    if single and not factors:
        label, levels = group, within
        column = INTERCEPT if (values == 1).all() else column
    else:
        label, levels = ":".join(factors) or name, texts
        if factors and set(factors) <= set(frame.columns):  # has rows without a nonzero value too
            levels = _texts(*([level_label(v) for v in frame[f].to_numpy()] for f in factors))
        if model.n_groups > 1 and group not in factors:
            label, levels = f"{label}:{group}", _texts(levels, within)
    cov = np.array([[variance]])
    return Piece(label, levels, (column,), values[:, None], cov, Unstructured(1))


def _read(model: Any, k: int, parse: Any) -> tuple[Array, Any, tuple[tuple[str, ...], str]]:
    """Return each row's value and level, and the factors and the column that the names state."""
    spec = model.exog_vc
    values, texts = np.zeros(len(model.endog)), np.full(len(model.endog), "", dtype=object)
    stated = set()
    for level, matrix, columns in zip(
        model.group_labels, spec.mats[k], spec.colnames[k], strict=True
    ):
        dense = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=float)
        parsed = [parse(str(column)) for column in columns]
        stated |= {(factors, rest) for factors, _, rest in parsed}
        if (np.count_nonzero(dense, axis=1) > 1).any() or len(stated) > 1:
            raise ExtractionError(
                f"The variance component {spec.names[k]!r} gives one variance to several columns "
                f"({', '.join(map(str, columns[:4]))}{' …' if len(columns) > 4 else ''}); V = Z G "
                "Z' + R has a variance for each. For the levels of a factor write '0 + C(factor)'."
            )
        rows = model.row_indices[level]
        values[rows] = dense.sum(axis=1)
        if parsed:
            texts[rows] = [parsed[j][1] for j in np.argmax(dense != 0, axis=1)]
    return values, texts, stated.pop()


def _texts(*parts: Any) -> Any:
    """Return the levels of a product of factors, ``a:b``."""
    return np.array([":".join(row) for row in zip(*parts, strict=True)], dtype=object)


def _plain(column: str) -> tuple[tuple[str, ...], str, str]:
    """Return no factors, a column's name as a level, and nothing else."""
    return (), column, ""


def _parse(column: str) -> tuple[tuple[str, ...], str, str]:
    """Return factors, level and what else patsy's name of a column has.

    >>> _parse("C(cls)[3]:x")
    (('cls',), '3', 'x')
    """
    factors, levels, rest = [], [], []
    for part in _COLON.split(unquoted(column)):
        match = _FACTOR.match(part.strip())
        if match and not match[2]:
            factors.append(match[1])
            levels.append(match[3])
        else:
            rest.append(part.strip())
    return tuple(factors), ":".join(levels), ":".join(rest)
