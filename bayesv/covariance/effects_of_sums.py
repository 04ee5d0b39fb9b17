"""Predicted random effects of a design whose rows are gone, from what they sum up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.draws import ComponentDraws
from bayesv.covariance.effect_errors import quadratic_forms
from bayesv.design.design import Design
from bayesv.errors import DataError
from bayesv.gram import (
    GramStatistics,
    PredictedEffects,
    predicted_effects,
    squares_of_effects,
)
from bayesv.linalg import Array

__all__ = ["EffectsOfSums"]


@dataclass(frozen=True, eq=False)
class EffectsOfSums:
    """Predictions of u and errors of combinations of them.

    Attributes
    ----------
    design : Design
    vc : VarianceComponents
        Aligned with it.
    stats : GramStatistics
        Of the design.
    roots : sequence of ndarray, shape (k, k)
        Of Σ_f/σ².

    Raises
    ------
    DataError
        If levels are related, or crossed effects are so many that they are eliminated by iteration.
    """

    design: Design
    vc: VarianceComponents
    stats: GramStatistics
    roots: Sequence[Array]

    @classmethod
    def at(cls, design: Design, vc: VarianceComponents, stats: GramStatistics) -> EffectsOfSums:
        """Take what V says."""
        layout = stats.layout
        if layout.iteration is not None or any(L is not None for L in layout.loadings):
            raise DataError(
                "Random effects from the sums of batches need levels that are not related, and "
                "crossed effects that a dense block holds. post.random_effects() of "
                "model.sample() has means and SDs, post.predict(new) predicts, and "
                "fit.predict(newdata, include='fixed') does so for rows of new groups. Or build "
                "the model from a data frame, bv.Model(formula, frame)."
            )
        point = ComponentDraws.of(design, vc, np.zeros(design.p)).flat
        return cls(design, vc, stats, [root[0] for root in point.relative_roots()])

    @cached_property
    def _effects(self) -> PredictedEffects:
        return predicted_effects(self.stats, self.stats.in_basis(self.roots))

    @cached_property
    def _of_xy(self) -> Array:
        return np.concatenate([part.reshape(-1, self.stats.p + 1) for part in self._effects.of_xy])

    @cached_property
    def _half(self) -> Array:
        """A root of Cov(γ̂)/σ²."""
        p = self.stats.p
        return np.asarray(np.linalg.cholesky(np.linalg.inv(self._effects.T[:p, :p])))

    @cached_property
    def blup(self) -> Array:
        """û, shape (q,)."""
        p = self.stats.p
        gamma = self._half @ (self._half.T @ self._effects.T[:p, p])
        return np.asarray(self._of_xy[:, p] - self._of_xy[:, :p] @ gamma)

    @cached_property
    def given_beta(self) -> Array:
        """Var(û − u | β), shape (q,)."""
        return self.vc.sigma2 * np.concatenate([part.ravel() for part in self._effects.var])

    @cached_property
    def by_beta(self) -> Array:
        """What the estimate of β adds, shape (q,)."""
        return self.vc.sigma2 * ((self._of_xy[:, :-1] @ self._half) ** 2).sum(axis=1)

    def errors(self, X: Array, A: sparse.csr_array) -> Array:
        """Return Var(Xβ̂ + Aû − Xβ − Au), shape (m,).

        Parameters
        ----------
        X : ndarray, shape (m, p)
        A : scipy.sparse array, shape (m, q)
        """
        slopes = X @ self.stats.fixed.inverse - A @ self._of_xy[:, :-1]
        error = ((slopes @ self._half) ** 2).sum(axis=1)
        if A.shape[1]:
            root = sparse.block_diag(
                [
                    sparse.kron(sparse.eye_array(term.n_levels), root)
                    for term, root in zip(self.design.terms, self.roots, strict=True)
                ],
                format="csc",
            )
            M = sparse.eye_array(A.shape[1]) + root.T @ squares_of_effects(self.stats) @ root
            error += quadratic_forms(splu(sparse.csc_array(M)).solve, sparse.csr_array(A @ root))
        return np.asarray(self.vc.sigma2 * error)
