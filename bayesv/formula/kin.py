"""Levels of predicted rows that are related to each other and to the fitted ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve, pinvh

from bayesv.design.design import RandomTerm
from bayesv.linalg import Array, psd_roots, symmetrize
from bayesv.structures.relationship import Relationship

__all__ = ["Kin", "kin_of"]


@dataclass(frozen=True, eq=False)
class Kin:
    """K of J levels of rows, and between these and the fitted ones.

    Attributes
    ----------
    relationship : Relationship
    levels, fitted : tuple of str
        Of the rows, and of the fit.
    """

    relationship: Relationship
    levels: tuple[str, ...]
    fitted: tuple[str, ...]

    @cached_property
    def _both(self) -> Array:
        return self.relationship.among([*self.levels, *self.fitted])

    @property
    def K(self) -> Array:
        """K of the levels, shape (J, J)."""
        return self._both[: len(self.levels), : len(self.levels)]

    @property
    def across(self) -> Array:
        """K of the levels with the fitted ones, shape (J, levels of the fit)."""
        return self._both[: len(self.levels), len(self.levels) :]

    @cached_property
    def root(self) -> Array:
        """L with LL' = K of the levels, shape (J, J)."""
        return psd_roots(self.K)

    @cached_property
    def weights(self) -> Array:
        """Of the means of the levels' effects given those of the fit: K_of K_ff⁺."""
        related = self.relationship.of(self.fitted)
        if related.root.rank < len(related.K):
            return np.asarray(self.across @ pinvh(related.K))
        return np.asarray(cho_solve(cho_factor(related.K), self.across.T).T)

    @cached_property
    def rest(self) -> Array:
        """Root of what the fitted levels leave of K, shape (J, J)."""
        return psd_roots(symmetrize(self.K - self.weights @ self.across.T))

    def given(self, fitted: Array | None, v: Array) -> Array:
        """Return effects of the levels, (J, r), given those of the fit, if any are given.

        Parameters
        ----------
        fitted : ndarray, shape (levels of the fit, r), or None
        v : ndarray, shape (J, r)
            Draws of covariance Σ, independent between rows.
        """
        if fitted is None:
            return self.root @ v
        return np.asarray(self.weights @ fitted + self.rest @ v)


def kin_of(term: RandomTerm, levels: Iterable[str]) -> Kin | None:
    """Return how levels of rows are related, where they are."""
    if term.relationship is None:
        return None
    return Kin(term.relationship, tuple(levels), tuple(term.levels))
