"""The design of a fit made in R, from R's own matrices, with bayesv's labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from bayesv.design.design import Design, Index, RandomTerm
from bayesv.design.residual import Residual
from bayesv.errors import BayesvError, ExtractionError
from bayesv.extract.r_files import AGAIN, Record, Table
from bayesv.linalg import Array, independent_columns
from bayesv.names import INTERCEPT, factors_of
from bayesv.structures import CovarianceStructure, Unstructured, direct_sum
from bayesv.structures.family import Family
from bayesv.structures.kinds import family
from bayesv.structures.relationship import Relationship

__all__ = ["RLabels", "RTerm", "design_of", "terms_of"]

_MEMBER = 1e-6  # of the SDs: what a covariance may be away from its family


@dataclass(frozen=True)
class RLabels:
    """R's names of coefficients in the spelling of bayesv's formulas.

    Attributes
    ----------
    factors : mapping of str to tuple of str
        Levels of every factor of the data.
    contrasts : mapping of str to str
        How it is coded; only treatment contrasts name levels.
    variables : frozenset of str
        Names in the formula.

    Examples
    --------
    >>> labels = RLabels({"sx": ("M", "F")}, {"sx": "contr.treatment"})
    >>> [labels.of(name) for name in ("(Intercept)", "sxF", "x:sxF", "poly(x, 2)1")]
    ['Intercept', 'sx[F]', 'x:sx[F]', 'poly(x, 2)[1]']
    """

    factors: Mapping[str, tuple[str, ...]]
    contrasts: Mapping[str, str]
    variables: frozenset[str] = frozenset()

    @classmethod
    def read(cls, record: Record) -> RLabels:
        """Return the labels of an exported fit."""
        factors, contrasts = record.record("factors"), record.record("contrasts")
        return cls(
            {name: factors.texts(name) for name in factors.values},
            {name: contrasts.text(name) for name in contrasts.values},
            frozenset(re.findall(r"[\w.]+", record.text("formula"))),
        )

    def of(self, name: str) -> str:
        """Return the label of a coefficient."""
        if name in ("(Intercept)", INTERCEPT):
            return INTERCEPT
        # Levels may contain colons, so that a colon need not end a factor's part of the name.
        for end in [m.start() for m in re.finditer(":|$", name)][::-1]:
            if label := self._level(name[:end]):
                return label + (f":{self.of(name[end + 1 :])}" if end < len(name) else "")
        part, *rest = re.split(r":(?![^(]*\))", name, maxsplit=1)
        column = re.fullmatch(r"([\w.]+\(.*\))(\d+)", part)  # of a matrix, as of poly()
        label = f"{column[1]}[{column[2]}]" if column else part
        return ":".join([label, *map(self.of, rest)])

    def _level(self, text: str) -> str | None:
        """Return the label of a factor's level, if R's text is one."""
        if text in self.variables:  # f2 beside a factor f with a level 2
            return None
        for factor, levels in self.factors.items():
            if not text.startswith(factor):
                continue
            if self.contrasts.get(factor, "contr.treatment") != "contr.treatment":
                continue
            rest_of_text = text.removeprefix(factor)
            for level in levels:
                if rest_of_text in (level, re.sub(r"[^\w.]", "", level)):  # brms: no punctuation
                    return f"{factor}[{level}]"
        return None


@dataclass(frozen=True, eq=False)
class RTerm:
    """What R calls a random term; several may share a grouping factor.

    Attributes
    ----------
    group : str
        Grouping factor.
    names, columns : tuple of str
        R's names of the coefficients, and their labels.
    kind : str
        Word for the family of their covariance, such as ``us`` or ``ar1``.
    levels : tuple of str
        In R's order.
    record : Record
        Where it was read.
    number : int
        Its place in fit.json, from 1.
    """

    group: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    kind: str
    levels: tuple[str, ...]
    record: Record
    number: int

    @property
    def related(self) -> bool:
        """Whether its levels are related by a known matrix."""
        return "related" in self.record.values and self.record.flag("related")

    @property
    def correlated(self) -> bool:
        """Whether their covariance is not diagonal."""
        return self.kind != "diag"

    @cached_property
    def structure(self) -> CovarianceStructure:
        """The family of their covariance.

        Raises
        ------
        ExtractionError
            If there is no such family at these positions.
        """
        size, values = len(self.names), self.record.values
        if size == 1:
            return Unstructured(1)
        options = {}
        if values.get("smoothness") is not None:
            options["smoothness"] = self.record.number("smoothness")
        positions: int | Array = size
        if values.get("positions") is not None:
            d = int(self.record.number("dimensions"))
            positions = self.record.numbers("positions", (size, d) if d > 1 else (size,))
        try:
            return family(self.kind, positions, **options)
        except BayesvError as error:
            raise ExtractionError(f"{self.record.place}: {error}") from error

    def covariance(self) -> Array:
        """Return Σ, shape (r, r).

        Raises
        ------
        ExtractionError
            If it is not of the family.
        """
        size = len(self.names)
        cov = self.record.numbers("cov", (size, size))
        structure = self.structure
        if isinstance(structure, Family):
            is_member = structure.is_member(cov, _MEMBER)
        else:
            is_member = np.array_equal(structure.project(cov), cov)
        if not is_member:
            raise ExtractionError(
                f"{self.record.place}: the covariance of ({', '.join(self.names)} | {self.group}) "
                f"is not of the family '{self.kind}'. {AGAIN}"
            )
        return cov


def terms_of(record: Record, labels: RLabels) -> list[list[RTerm]]:
    """Return R's random terms, those of one grouping factor together.

    Raises
    ------
    ExtractionError
        If two terms of one factor share a column.
    """
    by_factor: dict[tuple[str, ...], list[RTerm]] = {}
    parts = record.records("terms")
    if not parts and record.values.get("residual") is None:
        raise ExtractionError(
            f"{record.place}: 'terms' must be a list of objects: a fit without random effects "
            f"needs residuals with a structure. {AGAIN}"
        )
    for number, part in enumerate(parts, 1):
        names = part.texts("columns")
        term = RTerm(
            group=part.text("group"),
            names=names,
            columns=tuple(labels.of(name) for name in names),
            kind=_kind(part),
            levels=part.texts("levels"),
            record=part,
            number=number,
        )
        by_factor.setdefault(factors_of(term.group), []).append(term)
    for terms in by_factor.values():
        columns = [column for term in terms for column in term.columns]
        if len(set(columns)) < len(columns):
            raise ExtractionError(
                f"{record.place}: a column appears in two random terms of {terms[0].group!r} "
                f"({', '.join(columns)}); V depends on the sum of their variances only. Fit it "
                "with each column once."
            )
    return list(by_factor.values())


def _kind(part: Record) -> str:
    """Return the word for the family; exports of format 1 knew free and diagonal covariances."""
    if "kind" in part.values:
        return part.text("kind")
    return "us" if part.flag("correlated") else "diag"


def design_of(
    record: Record,
    table: Table,
    terms: list[list[RTerm]],
    labels: RLabels,
    residual: Residual,
    relationships: Mapping[str, Relationship],
) -> Design:
    """Return the design of an exported fit.

    Parameters
    ----------
    record : Record
        Of fit.json.
    table : Table
        design.csv.gz, n rows.
    terms : list of list of RTerm
    labels : RLabels
    residual : Residual
        R over σ² of the rows.
    relationships : mapping of str to Relationship
        K of grouping factors whose levels are related.

    Raises
    ------
    ExtractionError
        If a column is missing or cannot be, or X has dependent columns.

    Notes
    -----
    X and the columns of Z are R's, not evaluated anew: contrasts, splines, ``poly()`` and ``scale``
    mean what they meant there, on the rows on which R evaluated them.
    """
    beta = record.record("beta")
    names = beta.texts("names")
    n = len(table)
    X = np.column_stack([np.empty((n, 0)), *(table.numbers(f"X[{name}]") for name in names)])
    keep = independent_columns(X)
    if len(keep) < len(names):
        dependent = [name for j, name in enumerate(names) if j not in keep]
        raise ExtractionError(
            f"Earlier columns of X determine {', '.join(dependent)}: the data do not identify "
            "these coefficients, only a prior does. Fit the model without them."
        )
    omitted = _omitted(record, n)
    rows = np.setdiff1d(np.arange(n + len(omitted)), omitted)
    aliased = tuple(labels.of(name) for name in beta.texts("aliased"))
    dropped = f"columns of X determined by earlier ones were dropped: {', '.join(aliased)}"
    return Design(
        formula=record.text("formula"),
        response=record.text("response"),
        y=table.numbers("y"),
        X=X,
        fixed_names=tuple(labels.of(name) for name in names),
        terms=tuple(
            sorted(
                (_term(parts, table, relationships.get(parts[0].group)) for parts in terms),
                key=lambda term: -term.n_levels,
            )
        ),
        residual=residual,
        offset=table.numbers("offset") if record.flag("offset") else None,
        rows=rows,
        row_labels=_row_labels(table.row_names),
        n_rows_given=n + len(omitted),
        aliased=aliased,
        notes=(*record.texts("messages"), *([dropped] if aliased else [])),
    )


def _omitted(record: Record, n: int) -> Index:
    """Positions of the rows that R left out, from 0."""
    listed = record.values.get("omitted", ())
    size = len(listed) if isinstance(listed, list) else 0
    rows = record.numbers("omitted", (size,)).astype(np.intp) - 1
    if len(set(rows)) < len(rows) or ((rows < 0) | (rows >= n + len(rows))).any():
        raise ExtractionError(
            f"{record.place}: 'omitted' must hold different positions among {n + len(rows)} rows."
        )
    return rows


def _term(parts: list[RTerm], table: Table, relationship: Relationship | None) -> RandomTerm:
    first = parts[0]
    codes = table.whole(f"level[{first.group}]", len(first.levels)) - 1
    seen, codes = np.unique(codes, return_inverse=True)
    values, structures = [], list[CovarianceStructure]()
    for term in parts:
        structures.append(term.structure)
        values += [table.numbers(f"Z[{term.group}: {name}]") for name in term.names]
    return RandomTerm(
        group=first.group,
        columns=tuple(column for term in parts for column in term.columns),
        levels=np.array(first.levels, dtype=object)[seen],
        codes=codes.astype(np.intp),
        values=np.column_stack(values),
        structure=direct_sum(structures),
        relationship=relationship,
    )


def _row_labels(texts: list[str]) -> pd.Index:
    """R's row names; numbers where all of them are."""
    whole = all(text.isascii() and text.isdigit() for text in texts)
    return pd.Index([int(text) for text in texts] if whole else texts)
