"""Responses of a Gaussian mixed model, put together of what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from bayesv.design.design import Design
from bayesv.design.residual import Residual
from bayesv.linalg import Array

__all__ = ["Point", "Rows", "StandardScores", "TermRows", "normal_scores", "response", "simulate"]


class TermRows(Protocol):
    """A random term in rows that get a response."""

    def apply(self, u: Array) -> Array:
        """Return Zu, shape (n,), for effects of shape (J, r)."""


class Rows(Protocol):
    """Rows that get a response: a design, or rows that were not fitted."""

    @property
    def X(self) -> Array:
        """Fixed-effects design, shape (n, p)."""

    @property
    def offset(self) -> Array | None:
        """Known part of the mean, shape (n,)."""

    @property
    def terms(self) -> Sequence[TermRows]:
        """Random terms."""

    @property
    def residual(self) -> Residual:
        """R/σ²."""


class Point(Protocol):
    """Values of (Σ, σ², β), such as one of `ComponentDraws`."""

    @property
    def beta(self) -> Array:
        """Fixed effects, shape (p,)."""

    @property
    def sigma(self) -> Array:
        """Residual SD, a number."""

    def roots(self) -> list[Array]:
        """Return Λ_f with Σ_f = Λ_f Λ_f', shapes (r_f, r_f), in the order of the terms."""


class StandardScores(NamedTuple):
    """Independent numbers of mean 0 and variance 1 that a response is made of.

    Attributes
    ----------
    effects : sequence of ndarray, shapes (J_f, r_f)
        Of related levels (rank, r_f).
    residuals : ndarray, shape (n,)
    """

    effects: Sequence[Array]
    residuals: Array


def normal_scores(rows: Design, rng: np.random.Generator) -> StandardScores:
    """Draw standard normal scores: of the residuals, then of the effects term by term."""
    residuals = rng.normal(size=rows.residual.size)
    return StandardScores(
        [rng.normal(size=(t.n_independent, t.n_columns)) for t in rows.terms], residuals
    )


def simulate(rows: Design, point: Point, scores: StandardScores) -> tuple[Array, list[Array]]:
    """Return y = offset + Xβ + Zu + e with u ~ (0, K ⊗ Σ_f) and e ~ (0, R), made of scores.

    Parameters
    ----------
    rows : Design
    point : Point
    scores : StandardScores
        Whatever their law and the order in which they were drawn; normal ones by `normal_scores`.

    Returns
    -------
    ndarray, list of ndarray
        y, shape (n,), and u of each term, shapes (J_f, r_f).
    """
    effects = [
        term.of_independent(z @ root.T)
        for term, z, root in zip(rows.terms, scores.effects, point.roots(), strict=True)
    ]
    residuals = float(point.sigma) * rows.residual.draw(scores.residuals)
    return response(rows, point.beta, effects, residuals), effects


def response(rows: Rows, beta: Array, effects: Sequence[Array], residuals: Array) -> Array:
    """Return y = offset + Xβ + Zu + e, shape (n,).

    Parameters
    ----------
    rows : Rows
    beta : ndarray, shape (p,)
    effects : sequence of ndarray, shapes (J_f, r_f)
    residuals : ndarray, shape (n,)
    """
    y = rows.X @ beta
    if rows.offset is not None:
        y = y + rows.offset
    for term, u in zip(rows.terms, effects, strict=True):
        y = y + term.apply(u)
    return np.asarray(y + residuals)
