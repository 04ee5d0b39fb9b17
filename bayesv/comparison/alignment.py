"""Fits of one model in other columns, brought to the columns of one design.

The same model can be written with other columns: another coding of a factor, another zero of x,
``0 + f`` for ``f``. If X_b = X_a M and Z_b = Z_a (I ⊗ N) row by row, then β_a = M β_b and
Σ_a = N Σ_b N', and V is the same. A table row by row means something only in one set of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance import ComponentDraws, VarianceComponents
from bayesv.design.design import Design, RandomTerm
from bayesv.design.parametric import ParametricResidual
from bayesv.design.residual import Residual
from bayesv.design.structured import StructuredResidual
from bayesv.gram import statistics_of
from bayesv.inference.density import MarginalDensity
from bayesv.inference.draws import Draws
from bayesv.linalg import Array
from bayesv.names import factors_of, matched, paired
from bayesv.posterior.labelled import tree_of
from bayesv.posterior.posterior import Posterior
from bayesv.priors.priors import ResolvedPriors
from bayesv.reml import RemlFit
from bayesv.structures import of_linked
from bayesv.support.deferred import later

__all__ = ["Alignment", "joint_design", "difference"]

_COLUMN_TOLERANCE = 1e-7  # of a column's spread that rounding may move it
_COLUMN_ROUNDING = 1e-12  # of a column's size


@dataclass(frozen=True, eq=False)
class Alignment:
    """How fits of another design read in the columns of one.

    Attributes
    ----------
    design : Design
        The columns that are wanted.
    other : Design
        Of the same rows and the same V; see `difference`.
    """

    design: Design
    other: Design

    @cached_property
    def fixed(self) -> Array:
        """M with X_other = X M, shape (p, p)."""
        if self.other is self.design:  # also of designs without rows
            return np.eye(self.design.p)
        M = _map(self.design.X, self.other.X, self.design.fixed_names, self.other.fixed_names)
        assert M is not None
        return M

    @cached_property
    def random(self) -> dict[str, Array]:
        """N with Z_other = Z N within a row, by the group's label in `design`; shapes (r, r)."""
        if self.other is self.design:
            return {term.group: np.eye(term.n_columns) for term in self.design.terms}
        maps = {}
        for term, twin in _pairs(self.design, self.other):
            N = _map(term.values, twin.values, term.columns, twin.columns)
            assert N is not None
            maps[term.group] = N
        return maps

    @cached_property
    def by_name(self) -> bool:
        """Whether the columns are the same but for their order."""
        sides = [(self.design.fixed_names, self.other.fixed_names, self.fixed)]
        sides += [
            (term.columns, twin.columns, self.random[term.group])
            for term, twin in _pairs(self.design, self.other)
        ]
        orders = [(paired(others, names), M) for names, others, M in sides]
        return all(o is not None and np.array_equal(M, np.eye(len(M))[:, o]) for o, M in orders)

    def components(self, vc: VarianceComponents) -> VarianceComponents:
        """Return variance components in the columns of the design."""
        vc = vc.aligned(self.other)
        blocks = {}
        for term, twin in _pairs(self.design, self.other):
            N = self.random[term.group]
            cov = _moved(vc.block_for(twin), N)
            blocks[term.group] = pd.DataFrame(cov, term.columns, term.columns)
        return VarianceComponents(blocks, vc.sigma2, vc.residual)

    def fit(self, fit: RemlFit) -> tuple[VarianceComponents, pd.Series, pd.Series]:
        """Return components, β̂ and its standard errors in the columns of the design."""
        names = list(self.design.fixed_names)
        M = self.fixed
        cov = M @ fit.cov_beta.to_numpy() @ M.T
        beta = pd.Series(M @ fit.beta.to_numpy(), names, name="beta")
        se = pd.Series(np.sqrt(np.diagonal(cov)), names, name="se")
        return self.components(fit.components), beta, se

    def posterior(self, post: Posterior) -> Posterior:
        """Return a posterior whose draws speak of the columns of the design.

        Priors of Σ speak of the random columns, and a flat prior of β of any: they stay where
        these are the same. Other priors speak of other columns, and so does the density; they are
        left out. Where all columns are the same but for their order, the posterior is returned as
        it is.
        """
        if self.by_name:
            return post
        covs = {
            term.group: _moved(post.cov(twin.group), self.random[term.group])
            for term, twin in _pairs(self.design, self.other)
        }
        terms = tuple(
            replace(term, structure=of_linked(self.mask(term.group))) for term in self.design.terms
        )
        design = replace(self.design, terms=terms, formula=self.other.formula)
        values = ComponentDraws(design, covs, post.sigma2, post.beta @ self.fixed.T)
        draws = later(tree_of, Draws(values))
        if (priors := self.priors(post)) is None:
            return Posterior(draws, design, None, post.engine, None, post.problems)
        priors = replace(priors, design=design)
        density = MarginalDensity(statistics_of(design), priors)
        return Posterior(draws, design, priors, post.engine, density, post.problems)

    def keeps_family(self, term: RandomTerm) -> bool:
        """Return whether a term of the design has the same columns and family in the other."""
        (twin,) = (b for a, b in _pairs(self.design, self.other) if a.group == term.group)
        same = np.array_equal(self.random[term.group], np.eye(term.n_columns))
        return same and twin.structure == term.structure

    def mask(self, group: str) -> Array:
        """Return which columns of a group are correlated, shape (r, r), by the other design."""
        (twin,) = (b for a, b in _pairs(self.design, self.other) if a.group == group)
        N = np.abs(self.random[group])
        return np.asarray(N @ twin.structure.mask.astype(float) @ N.T > 0)

    def priors(self, post: Posterior) -> ResolvedPriors | None:
        """Return the priors of a posterior that hold in the columns of the design, too."""
        if self.by_name or post.priors is None:
            return post.priors
        pairs = [(term.group, twin.group) for term, twin in _pairs(self.design, self.other)]
        same = all(np.array_equal(N, np.eye(len(N))) for N in self.random.values())
        if not same or not post.priors.flat_beta:
            return None
        source = post.priors
        return replace(
            source,
            sd={group: source.sd[name] for group, name in pairs},
            corr={group: source.corr[name] for group, name in pairs if name in source.corr},
            bases={group: source.bases[name] for group, name in pairs if name in source.bases},
        )


def difference(design: Design, other: Design) -> str | None:
    """Say what keeps two designs from being the same rows and spaces of columns; None if nothing.

    Which random columns are correlated may differ: ``(x | g)`` beside ``(x || g)`` is of interest.
    """
    if other is design:
        return None
    if other.n != design.n or not np.allclose(other.y, design.y):
        return f"responses ({design.n} and {other.n} rows)"
    if (what := _other_residuals(design.residual, other.residual)) is not None:
        return what
    if not _equal(design.offset, other.offset):
        return "offsets"
    if _map(design.X, other.X, design.fixed_names, other.fixed_names) is None:
        return "fixed effects"
    if paired(design.groups, other.groups, factors_of) is None:
        return f"groups ({', '.join(design.groups)} and {', '.join(other.groups)})"
    for term, twin in _pairs(design, other):
        if not term.splits_as(twin.codes):
            return f"levels of {term.group}"
        if not term.related_as(twin):
            return f"relationships of the levels of {term.group}"
        if _map(term.values, twin.values, term.columns, twin.columns) is None:
            return f"random columns of {term.group}"
    return None


def _other_residuals(a: Residual, b: Residual) -> str | None:
    """Say what of two residual covariances differs; None if nothing."""
    if isinstance(a, ParametricResidual) or isinstance(b, ParametricResidual):
        if isinstance(a, StructuredResidual) and isinstance(b, StructuredResidual) and a.equals(b):
            return None
        texts = [r.describe() if isinstance(r, ParametricResidual) else "σ²/w" for r in (a, b)]
        return f"residual covariances ({' and '.join(texts)})"
    if a.scale_is_known != b.scale_is_known:
        return "residual covariances (known, and known up to σ²)"
    if a.clusters is None and b.clusters is None:
        return None if _equal(a.weights, b.weights) else "known weights"
    gap = abs(a.matrix - b.matrix)
    return None if gap.max() <= 1e-8 * abs(a.matrix).max() else "known residual covariances"


def _equal(a: Any, b: Any) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and np.allclose(a, b))


def _pairs(design: Design, other: Design) -> list[tuple[RandomTerm, RandomTerm]]:
    places = matched(design.groups, other.groups, "The grouping factor", meaning=factors_of)
    return [
        (term, other.terms[i])
        for term, i in zip(design.terms, places, strict=True)
        if i is not None
    ]


def _map(A: Array, B: Array, names: tuple[str, ...], others: tuple[str, ...]) -> Array | None:
    """Return the matrix M with B = A M, an order of the columns where they are equal; else None."""
    if A.shape != B.shape:
        return None
    order = paired(others, names)
    if order is not None and all(_close(A[:, i], b) for i, b in zip(order, B.T, strict=True)):
        return np.eye(A.shape[1])[:, order]
    scale = np.linalg.norm(A, axis=0)
    if not A.shape[1] or not scale.all():
        return None if A.shape[1] else np.zeros((0, 0))
    M, _, rank, _ = np.linalg.lstsq(A / scale, B, rcond=None)
    M = M / scale[:, None]
    if rank < A.shape[1] or np.linalg.matrix_rank(M * scale[:, None]) < rank:
        return None
    # What rounding leaves of a coefficient that is 0, 1 or −1 would show in every table.
    whole = np.round(M)
    M = np.where(np.abs(M - whole) < 1e-9 * np.maximum(np.abs(M), 1e-3), whole, M)
    return M if all(_close(a, b) for a, b in zip((A @ M).T, B.T, strict=True)) else None


def _close(a: Array, b: Array) -> bool:
    spread = float(np.ptp(b)) if len(b) else 0.0
    size = float(np.abs(b).max(initial=0.0))
    limit = max(_COLUMN_TOLERANCE * (spread or size), _COLUMN_ROUNDING * size)
    return bool(np.abs(a - b).max(initial=0.0) <= limit)


def _moved(cov: Array, N: Array) -> Array:
    """N Σ N', exactly symmetric."""
    moved = N @ cov @ N.T
    return np.asarray((moved + np.swapaxes(moved, -1, -2)) / 2.0)


def joint_design(design: Design, ways: Sequence[Alignment]) -> Design:
    """Return the design with every correlation that one of the fits has, in its own columns."""
    masks = {t.group: sum(way.mask(t.group).astype(int) for way in ways) for t in design.terms}
    terms = [
        t
        if all(way.keeps_family(t) for way in ways)
        else replace(t, structure=of_linked(np.asarray(masks[t.group])))
        for t in design.terms
    ]
    return replace(design, terms=tuple(terms))
