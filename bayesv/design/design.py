"""The design of a mixed model: y, X, Z and every label, with no formula and no data frame."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd
from scipy import sparse

from bayesv.design.labelled import LabelledDesign
from bayesv.design.labels import (
    DESIGN_FIELDS,
    check_fields,
    check_labels,
)
from bayesv.design.parametric import ParametricResidual, ResidualValues
from bayesv.design.random_terms import Index, RandomTerm, TermSummary
from bayesv.design.residual import Residual
from bayesv.design.row_encoder import RowEncoder, RowReader
from bayesv.design.scales import ResponseScale, refuse_constant, residual_scale
from bayesv.design.structured import StructuredResidual
from bayesv.errors import DataError
from bayesv.linalg import Array, connected

__all__ = [
    "Design",
    "DesignSummary",
    "Index",
    "RandomTerm",
    "TermSummary",
    "require_rows",
]


# What only a design with its rows has, and what it is called; "" for what is asked on the way.
_OF_ROWS = {
    "y": "y", "X": "X", "Z": "Z", "residual": "R", "weights": "R", "clusters": "clusters",
    "offset": "offset", "rows": "", "row_labels": "", "target": "y",
}  # fmt: skip


class ResidualComponents(Protocol):
    """What of variance components says R."""

    @property
    def residual(self) -> ResidualValues:
        """Parameters of structured residuals."""

    @property
    def sigma2(self) -> float:
        """Residual variance."""


@dataclass(frozen=True, eq=False, repr=False)
class DesignSummary(LabelledDesign):
    """A design whose rows were summed up in batches and are gone: names, sizes and scales.

    Attributes
    ----------
    formula, response, fixed_names, terms, n_rows_given, aliased, notes, encoding
        As in `Design`; the terms are `TermSummary`.
    n_rows : int
        Number of rows used.
    response_sd : float
        Standard deviation of the response less the offset.
    weight_range : tuple of float, or None
        Smallest and largest known weight.
    scale_after_X : ResponseScale or None
        Residual SD after X; None in files of versions that did not keep it.
    largest_response : float or None
        Largest absolute response; None in files of versions that did not keep it.
    reader : RowReader or None
        Reads the rows of a level again. In no file, and not passed to other processes; None where
        the data could be read once.
    """

    formula: str
    response: str
    fixed_names: tuple[str, ...]
    terms: tuple[TermSummary, ...]
    n_rows: int
    n_rows_given: int
    response_sd: float
    weight_range: tuple[float, float] | None = None
    aliased: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    scale_after_X: ResponseScale | None = None
    encoding: RowEncoder | None = None
    largest_response: float | None = None
    reader: RowReader | None = field(default=None, repr=False, metadata={"saved": False})

    has_rows: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_labels(self)

    @property
    def response_scale(self) -> ResponseScale:
        """Scales of the default priors."""
        return self.scale_after_X or ResponseScale(self.response_sd, self.response_sd, "sd(y)")

    @property
    def n(self) -> int:
        """Number of rows used."""
        return self.n_rows

    @property
    def known_weights(self) -> tuple[float, float] | None:
        """Smallest and largest weight, if there are any."""
        return self.weight_range

    def at(self, components: ResidualComponents) -> DesignSummary:
        """Return the design itself: residuals of data in batches have no parameters but σ²."""
        return self

    def rows_of(self, group: str, level: object) -> tuple[pd.DataFrame, str | None]:
        """Read the rows of a level again; return them, and the name of the column of weights.

        Raises
        ------
        DataError
            If there is no such level, or the data cannot be read again.
        """
        term = self.term(group)
        name = str(term.levels[term.level_index(level)])
        if self.reader is None or self.encoding is None:
            raise DataError(
                f"This design was summed up in batches, and the rows of {term.group} {name} cannot "
                "be read again: it is from a file, or its data could be read once. Give the rows: "
                "post.V(newdata=frame of them); on the command line bayesv v … --data FILE."
            )
        rows = self.reader(self.encoding.factors_of(term.group), name)
        if rows.empty:
            raise DataError(f"The data have no row of {term.group} {name} any more.")
        return rows, self.reader.weights

    def totals(self) -> Any:
        """Read all rows again and return sums that known weights do not weigh.

        Raises
        ------
        DataError
            If the data cannot be read again.
        """
        if self.reader is None or self.encoding is None:
            raise DataError(
                "Functionals of V are of sums that known weights do not weigh, for which the rows "
                "are read again: these cannot be, for they are of a file, or could be read once. "
                "Build the model once more from its data, bv.Model(formula, path)."
            )
        return self.reader.totals(self.terms, self.fixed_names)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "reader": None}

    def __getattr__(self, name: str) -> Any:
        if name in _OF_ROWS:
            what = f", so there is no {_OF_ROWS[name]}" if _OF_ROWS[name] else ""
            raise DataError(
                f"This design was summed up in batches and keeps no rows{what}. "
                "compare, beta_uncertainty, confint, functionals, V(group, level) and "
                "post.predict(new) need none. What needs all rows needs a data frame: "
                "bv.Model(formula, frame), of whole levels if not all fit into memory."
            )
        raise AttributeError(name)


@dataclass(frozen=True, eq=False, repr=False)
class Design(LabelledDesign):
    """y, X, Z and labels of a Gaussian linear mixed model, in the order of the user's rows.

    Attributes
    ----------
    formula : str
        The formula as written.
    response : str
        Name of the response.
    y : ndarray, shape (n,)
        Response, in its own units.
    X : ndarray, shape (n, p)
        Fixed-effects design, of full column rank.
    fixed_names : tuple of str
        Names of X's columns.
    terms : tuple of RandomTerm
        One per grouping factor, by decreasing number of levels (as lme4).
    residual : Residual
        R/σ², such as diag(1/w) of known weights w.
    offset : ndarray, shape (n,), or None
        Known part of the mean.
    rows : ndarray of int, shape (n,)
        Positions of the kept rows in the user's data.
    row_labels : pandas.Index
        The user's index of the kept rows.
    n_rows_given : int
        Number of rows before incomplete ones were dropped.
    aliased : tuple of str
        Columns of X that were dropped because earlier ones determine them.
    notes : tuple of str
        Messages about the design, for people.
    encoding : RowEncoder, optional
        How the formula codes new rows; None for a design that was made elsewhere.
    """

    formula: str
    response: str
    y: Array
    X: Array
    fixed_names: tuple[str, ...]
    terms: tuple[RandomTerm, ...]
    residual: Residual
    offset: Array | None
    rows: Index
    row_labels: pd.Index
    n_rows_given: int
    aliased: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    encoding: RowEncoder | None = None

    has_rows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self, DESIGN_FIELDS)
        n = len(self.y)
        check_labels(self)
        if self.X.shape != (n, len(self.fixed_names)) or len(self.row_labels) != n:
            raise DataError(
                f"y has {n} rows, X has shape {self.X.shape} with {len(self.fixed_names)} names, "
                f"and there are {len(self.row_labels)} row labels; they must agree."
            )
        if any(len(term.codes) != n for term in self.terms):
            raise DataError("A random term has another number of rows than y.")
        if self.residual.size != n:
            raise DataError(f"R has {self.residual.size} rows, but y has {n}; they must agree.")

    @property
    def n(self) -> int:
        """Number of rows used."""
        return len(self.y)

    def with_response(self, y: Any) -> Design:
        """Return the same design with another response, shape (n,), in the order of its rows.

        Raises
        ------
        DataError
            If y has another shape, a value that is no finite number, or no variance.
        """
        try:
            y = np.array(y, dtype=float)
        except (TypeError, ValueError, OverflowError):
            raise DataError("The response needs one real number a row.") from None
        if y.shape != (self.n,):
            raise DataError(
                f"The response has shape {y.shape}; the design uses {self.n} of "
                f"{self.n_rows_given} rows given and needs one value for each of them, in the "
                "order of design.rows."
            )
        if not np.isfinite(y).all():
            raise DataError(
                f"The response has {int((~np.isfinite(y)).sum())} missing or infinite values; a "
                "design has fixed rows, so drop them from the data frame instead."
            )
        refuse_constant(self.response, y, self.offset, len(y))
        return self._with(y=y)

    def _with(self, **parts: Any) -> Design:
        """Return the design with another response or residual of the same clusters."""
        new = copy(self)  # valid as it is
        new.__dict__.update(parts, fixed_index=self.fixed_index)
        for name in ("target", "response_sd", "response_scale"):  # cached properties of y and R
            new.__dict__.pop(name, None)
        return new

    def at(self, components: ResidualComponents) -> Design:
        """Return the design with the residual covariance that components give.

        Parameters
        ----------
        components : VarianceComponents
            Aligned with this design; of residuals without parameters nothing is asked.
        """
        if (form := self.parametric_residual) is None:
            return self
        return self._with(residual=form.member(components.residual, components.sigma2))

    def with_residual(self, residual: Residual) -> Design:
        """Return the design with another residual of the same clusters."""
        return self._with(residual=residual)

    @property
    def structured_residual(self) -> StructuredResidual | None:
        """R by the parameters of a structure; None if there is none."""
        return self.residual if isinstance(self.residual, StructuredResidual) else None

    @cached_property
    def Z(self) -> sparse.csr_array:
        """Random-effects design, term by term and level by level, shape (n, q)."""
        if not self.terms:
            return sparse.csr_array((self.n, 0))
        return sparse.csr_array(sparse.hstack([term.Z for term in self.terms], format="csr"))

    @cached_property
    def Z_independent(self) -> sparse.csr_array:
        """Columns of effects that are independent between what stands for levels; Z if none are."""
        if all(term.related is None for term in self.terms):
            return self.Z
        parts = [term.Z_independent for term in self.terms]
        return sparse.csr_array(sparse.hstack(parts, format="csr"))

    @property
    def weights(self) -> Array | None:
        """Known w in R = σ² diag(1/w), shape (n,); None where R = σ²I.

        Raises
        ------
        DataError
            If residuals are correlated or have parameters, so that no weights say what R is.
        """
        return None if self.residual.iid else self.residual.weights

    @cached_property
    def target(self) -> Array:
        """Response less the offset, shape (n,)."""
        return self.y if self.offset is None else self.y - self.offset

    @cached_property
    def response_sd(self) -> float:
        """Standard deviation of the response less the offset."""
        return float(np.std(self.target, ddof=1))

    @cached_property
    def response_scale(self) -> ResponseScale:
        """Residual SD of the response after weighted least squares on X."""
        both = np.column_stack([self.X, self.target])
        log_det = 0.0
        if self.parametric_residual is None:  # else by rows as they are
            both, log_det = self.residual.whiten(both), self.residual.log_det
        # The last diagonal element of R in [X y] = QR is the norm of the residual of y.
        last = np.linalg.qr(both, mode="r")[-1, -1] if self.n > self.p else 0.0
        return residual_scale(float(last) ** 2, self.n, self.p, -log_det, self.response_sd)

    @cached_property
    def clusters(self) -> Index:
        """Cluster of each row, shape (n,): rows of different clusters have covariance 0.

        Clusters are the connected components of rows through shared or related levels and series
        of residuals, numbered by first row.
        """
        codes = [
            term.codes if term.related is None else term.related.components[term.codes]
            for term in self.terms
        ]
        if self.residual.clusters is not None:
            codes.append(self.residual.clusters)
        if len(codes) == 1:
            return np.asarray(pd.factorize(codes[0])[0], dtype=np.intp)
        starts = self.n + np.cumsum([0, *(int(code.max(initial=-1)) + 1 for code in codes)])
        rows = np.tile(np.arange(self.n), len(codes))
        ends = [code + start for code, start in zip(codes, starts, strict=False)]
        others = np.concatenate([np.empty(0, dtype=np.intp), *ends])
        return connected(int(starts[-1]), rows, others)[: self.n]

    @property
    def parametric_residual(self) -> ParametricResidual | None:
        """R with parameters that are to be estimated; None if it is known up to σ²."""
        return self.residual if isinstance(self.residual, ParametricResidual) else None

    @property
    def known_weights(self) -> tuple[float, float] | None:
        """Smallest and largest weight, if there are any."""
        return self.residual.weight_range


def require_rows(design: LabelledDesign, what: str, instead: str) -> None:
    """Refuse what needs the rows of a design that was summed up in batches.

    Parameters
    ----------
    design : Design or DesignSummary
    what : str
        What needs them.
    instead : str
        What does not.
    """
    if not design.has_rows:
        raise DataError(
            f"{what}: the rows are needed, and this design was summed up in batches and keeps no "
            f"rows. {instead} Or build the model from a data frame, bv.Model(formula, frame)."
        )
