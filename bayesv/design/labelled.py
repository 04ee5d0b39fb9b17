"""What the names and sizes of a design say, whether it has rows or not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from bayesv.design.labels import level_place
from bayesv.design.parametric import ParametricResidual
from bayesv.design.random_terms import RandomTerm
from bayesv.design.structured import StructuredResidual
from bayesv.errors import DataError
from bayesv.names import factors_of, resolved
from bayesv.support.shown import Part, Shown, Table

__all__ = ["LabelledDesign"]


class LabelledDesign(Shown):
    """What the names and sizes of a design say, with rows or without."""

    formula: str
    response: str
    fixed_names: tuple[str, ...]
    terms: tuple[Any, ...]
    n_rows_given: int
    notes: tuple[str, ...]
    has_rows: ClassVar[bool]

    @property
    def n(self) -> int:
        """Number of rows used."""
        raise NotImplementedError

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return len(self.fixed_names)

    @cached_property
    def fixed_index(self) -> pd.Index:
        """Names of the fixed effects as labels of tables."""
        return pd.Index(self.fixed_names)

    @property
    def q(self) -> int:
        """Number of random effects, Σ q_f."""
        return sum(term.n_effects for term in self.terms)

    @property
    def groups(self) -> tuple[str, ...]:
        """Labels of the grouping factors."""
        return tuple(term.group for term in self.terms)

    @property
    def n_dropped(self) -> int:
        """Number of rows dropped because a value is missing or infinite."""
        return self.n_rows_given - self.n

    def term(self, group: str) -> RandomTerm:
        """Return the term of a grouping factor: of that very label, else of the same factors.

        Raises
        ------
        DataError
            If there is none, or more than one may be meant.
        """
        term: RandomTerm = self.terms[
            resolved(group, self.groups, "grouping factor", DataError, meaning=factors_of)
        ]
        return term

    def level(self, group: str, level: object) -> tuple[RandomTerm, int]:
        """Return the term of a grouping factor and the position of a level in it.

        Of a product whose factors are given in another order, the level is read in that order:
        level ``1:3`` of ``a:b`` is ``3:1`` of ``b:a``.

        Raises
        ------
        DataError
            If there is no such factor or level, or more than one may be meant.
        """
        term = self.term(group)
        return term, level_place(term, group, level)

    @cached_property
    def effect_labels(self) -> pd.MultiIndex:
        """(group, level, coefficient) of each column of Z."""
        none = np.zeros(0, dtype=object)
        groups = np.concatenate([none, *(np.repeat(t.group, t.n_effects) for t in self.terms)])
        levels = np.concatenate([none, *(np.repeat(t.levels, t.n_columns) for t in self.terms)])
        columns = np.concatenate([none, *(np.tile(t.columns, t.n_levels) for t in self.terms)])
        return pd.MultiIndex.from_arrays(
            [groups, levels, columns], names=["group", "level", "coefficient"]
        )

    def describe(self) -> str:
        """Return what was read: sizes, groups, structure, and notes."""
        terms = [
            f"{term.group}: {term.n_levels} levels × ({', '.join(term.columns)})"
            + (f", {extra}" if (extra := _form(term)) else "")
            for term in self.terms
        ]
        return "\n".join([*self._sizes(), *terms, *self._remarks()])

    def _sizes(self) -> list[str]:
        dropped = f" ({self.n_dropped} of {self.n_rows_given} dropped)" if self.n_dropped else ""
        names = ", ".join(self.fixed_names)
        return [self.formula, f"{self.n} rows{dropped}, {self.p} fixed effects: {names}"]

    def _remarks(self) -> list[str]:
        """Return what there is to say of residuals, weights, and the reading of the data."""
        lines = []
        if (form := self.parametric_residual) is not None:
            lines.append(f"residuals {form.describe()}")
        if self.sigma_is_known:
            lines.append("residual covariance known")
        if (known := self.known_weights) is not None:
            lines.append(f"known weights from {known[0]:g} to {known[1]:g}")
        return [*lines, *(f"note: {note}" for note in self.notes)]

    def _shown(self) -> Iterator[Part]:
        yield from self._sizes()
        if self.terms:
            rows = tuple(
                (term.group, ", ".join(term.columns), _form(term), str(term.n_levels))
                for term in self.terms
            )
            yield Table(("grouping factor", "columns", "covariance", "levels"), rows, 3)
        yield from self._remarks()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.in_short}>"

    @property
    def in_short(self) -> str:
        """The formula and sizes, in a line."""
        groups = ", ".join(f"{t.group}: {t.n_levels}×{t.n_columns}" for t in self.terms)
        return f"{self.formula!r}: n={self.n}, p={self.p}, q={self.q} ({groups})"

    @property
    def known_weights(self) -> tuple[float, float] | None:
        """Smallest and largest weight, if there are any."""
        raise NotImplementedError

    def refuse_sums(self) -> None:
        """Refuse sums over rows where they depend on parameters of the residuals.

        Raises
        ------
        DataError
        """
        if (form := self.parametric_residual) is not None:
            raise DataError(
                f"Residuals {form.describe()} have parameters, on which the sums over rows depend: "
                "there are no Gram statistics of the design alone. REML, the posterior and "
                "bv.MarginalCovariance do without them."
            )

    @property
    def sigma_is_known(self) -> bool:
        """Whether R is known, so that σ is 1 and no component."""
        return self.has_rows and bool(getattr(self, "residual").scale_is_known)  # noqa: B009

    @property
    def structured_residual(self) -> StructuredResidual | None:
        """R by the parameters of a structure; None if there is none."""
        return None

    @property
    def parametric_residual(self) -> ParametricResidual | None:
        """R with parameters that are to be estimated; None if it is known up to σ²."""
        return None


def _form(term: Any) -> str:
    """Say which covariance the columns of a term have, and how its levels are related."""
    shape = "uncorrelated" if len(term.structure.blocks) > 1 else "correlated"
    if not term.structure.is_free:
        shape = f"covariance {term.structure.words}"
    forms = [shape] if term.n_columns > 1 else []
    if term.relationship is not None:
        forms.append(f"related by a {term.relationship.describe()}")
    return ", ".join(forms)
