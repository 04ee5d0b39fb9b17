"""What responses are simulated from: mean, effects, residuals, and the covariance they imply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from bayesv.covariance import VarianceComponents, expand_G
from bayesv.design.design import Design, RandomTerm
from bayesv.errors import ScenarioError
from bayesv.linalg import Array, psd_root
from bayesv.names import factors_of, matched, places
from bayesv.study.declared.laws import STANDARD, Law, read_law
from bayesv.study.simulation.replicate import Truth

__all__ = ["Parameters", "Simulator", "autoregression"]

Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Parameters:
    """What one response is drawn from.

    Attributes
    ----------
    mean : ndarray, shape (n,)
    roots : tuple of ndarray, shapes (r_f, r_f)
        Λ_f with Σ_f = Λ_f Λ_f', of the true design's terms.
    sd : ndarray, shape (n,)
        Of the residuals.
    truth : Truth
    """

    mean: Array
    roots: tuple[Array, ...]
    sd: Array
    truth: Truth


@dataclass(frozen=True, eq=False)
class Simulator:
    """Simulates responses on a design: y = Xβ + offset + Σ_f Z_f u_f + e.

    Attributes
    ----------
    design : Design
        The true one.
    fitted : Design
        The one that is fitted, of the same rows.
    scale : ndarray, shape (n,)
        Residual SDs are σ scale/√w.
    root : scipy.sparse.csr_array, shape (n, n), or None
        LL' is the correlation of residuals. None: they are independent.
    effects, errors : mapping or None
        Laws of mean 0 and variance 1 of the (rotated) random effects and residuals; None: normal.

    Notes
    -----
    Whatever the laws, Cov(y) = Σ_f Z_f (I ⊗ Σ_f) Z_f' + S LL' S with S = diag(σ scale/√w).
    """

    design: Design
    fitted: Design
    scale: Array
    root: sparse.csr_array | None = None
    effects: Mapping[str, Any] | None = None
    errors: Mapping[str, Any] | None = None

    def parameters(self, beta: pd.Series, components: VarianceComponents) -> Parameters:
        """Return what is needed to draw responses, for β and Σ of the true design."""
        design, vc = self.design, components.aligned(self.design)
        mean = design.X @ beta[list(design.fixed_names)].to_numpy()
        if design.offset is not None:
            mean = mean + design.offset
        roots = tuple(psd_root(vc.block_for(term)) for term in design.terms)
        sd = vc.sigma * self.scale
        if design.weights is not None:
            sd = sd / np.sqrt(design.weights)
        return Parameters(mean, roots, sd, self._truth(beta, vc, mean, sd))

    def draw(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        """Draw a response, shape (n,)."""
        effect, of_effects = self._effect_law
        y = parameters.mean
        for term, root in zip(self.design.terms, parameters.roots, strict=True):
            y = y + term.apply(
                effect.draw(rng, (term.n_levels, term.n_columns), of_effects) @ root.T
            )
        error, of_errors = self._error_law
        e = error.draw(rng, self.design.n, of_errors)
        return np.asarray(y + parameters.sd * (e if self.root is None else self.root @ e))

    @cached_property
    def _effect_law(self) -> tuple[Law, dict[str, Any]]:
        return read_law("effects", self.effects or {"law": "normal"}, STANDARD)

    @cached_property
    def _error_law(self) -> tuple[Law, dict[str, Any]]:
        return read_law("errors", self.errors or {"law": "normal"}, STANDARD)

    def _truth(self, beta: pd.Series, vc: VarianceComponents, mean: Array, sd: Array) -> Truth:
        fitted = self.fitted
        laws = (self._effect_law[0], self._error_law[0])
        normal = all(law is STANDARD["normal"] for law in laws)
        V = partial(self._covariance, vc, sd)
        plain = self.root is None and bool((self.scale == 1).all())
        if fitted is self.design:
            return Truth(beta[list(fitted.fixed_names)].rename("beta"), vc, V, plain, normal)
        own = _in_fitted_names(beta, fitted.fixed_names)
        blocks = {
            term.group: pd.DataFrame(_block(term, self.design, vc), term.columns, term.columns)
            for term in fitted.terms
        }
        components = VarianceComponents(blocks, vc.sigma2)
        fitted_mean = fitted.X @ own.to_numpy()
        if fitted.offset is not None:
            fitted_mean = fitted_mean + fitted.offset
        size = 1e-9 * (np.abs(mean).max() + np.abs(sd).max())
        right = (
            bool(np.abs(fitted_mean - mean).max() <= size)
            and plain
            and all(_is_covered(term, fitted, vc) for term in self.design.terms)
        )
        return Truth(own, components, V, right, normal)

    def _covariance(self, vc: VarianceComponents, sd: Array) -> sparse.csr_array:
        Z, S = self.design.Z, sparse.diags_array(sd)
        L = S if self.root is None else S @ self.root
        V = Z @ expand_G(self.design, vc) @ Z.T + L @ L.T
        return sparse.csr_array(V)


def autoregression(rho: float, series: Index, times: Array) -> sparse.csr_array:
    """Return L with (LL')_ij = ρ^|t_i − t_j| within a series and 0 between, sparse (n, n).

    Parameters
    ----------
    rho : float
    series : ndarray of int, shape (n,)
    times : ndarray, shape (n,)
        Different within a series.

    Notes
    -----
    e_i = φ_i e_{i−1} + √(1 − φ_i²) z_i with φ_i = ρ^(t_i − t_{i−1}), in the order of time; so
    L_ij = ρ^(t_i − t_j) √(1 − φ_j²) for t_j ≤ t_i, without the root for the first of a series.

    Examples
    --------
    >>> L = autoregression(0.5, np.zeros(3, dtype=int), np.array([0.0, 1.0, 3.0]))
    >>> (L @ L.T).toarray()[2]
    array([0.125, 0.25 , 1.   ])
    """
    order = np.lexsort([times, series])
    ends = np.flatnonzero(np.diff(series[order])) + 1
    parts, rows, columns = [], [], []
    for at in np.split(order, ends):
        t = times[at]
        step = np.tril(t[:, None] - t[None, :])
        L = np.tril(np.power(float(rho), step))
        L[:, 1:] *= np.sqrt(1 - np.power(float(rho), 2 * np.diff(t)))
        i, j = np.tril_indices(len(at))
        parts.append(L[i, j])
        rows.append(at[i])
        columns.append(at[j])
    n = len(times)
    where = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array(sparse.coo_array((np.concatenate(parts), where), shape=(n, n)))


# --- the truth in the names of the fitted design --------------------------------------------------


def _in_fitted_names(beta: pd.Series, names: tuple[str, ...]) -> pd.Series:
    places = matched(names, [str(name) for name in beta.index], "The coefficient", ScenarioError)
    values = [0.0 if i is None else float(beta.iloc[i]) for i in places]
    return pd.Series(values, list(names), dtype=float, name="beta")


def _partner(term: RandomTerm, design: Design) -> RandomTerm | None:
    found = places(term.group, design.groups, factors_of)
    return design.terms[found[0]] if len(found) == 1 else None


def _places(term: RandomTerm, other: RandomTerm) -> list[int | None]:
    """Return where each column of ``term`` stands among those of the other."""
    return matched(term.columns, other.columns, f"The column of {term.group!r}", ScenarioError)


def _block(term: RandomTerm, design: Design, vc: VarianceComponents) -> Array:
    """Return Σ of a fitted term; what the truth lacks is 0."""
    block, true = np.zeros((term.n_columns, term.n_columns)), _partner(term, design)
    if true is None:
        return block
    places = _places(term, true)
    own = [i for i, j in enumerate(places) if j is not None]
    there = [j for j in places if j is not None]
    block[np.ix_(own, own)] = vc.block_for(true)[np.ix_(there, there)]
    return block


def _is_covered(true: RandomTerm, fitted: Design, vc: VarianceComponents) -> bool:
    """Whether the fitted design has all columns of a true term that vary, and their covariances."""
    cov, term = vc.block_for(true), _partner(true, fitted)
    varies = np.flatnonzero(np.diagonal(cov) > 0)
    if not len(varies):
        return True
    if term is None:
        return False
    places = [_places(true, term)[i] for i in varies]
    there = [j for j in places if j is not None]
    if len(there) < len(places):
        return False
    same = np.array_equal(true.values[:, varies], term.values[:, there])
    beyond = cov[np.ix_(varies, varies)][~term.structure.mask[np.ix_(there, there)]]
    return same and not beyond.any()
