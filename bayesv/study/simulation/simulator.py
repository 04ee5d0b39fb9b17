"""What responses are simulated from: mean, effects, residuals, and the covariance they imply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance import ComponentDraws, MarginalCovariance, VarianceComponents
from bayesv.design.design import Design, RandomTerm
from bayesv.design.residual import Autoregressive, Independent, Residual
from bayesv.design.simulation import StandardScores, simulate
from bayesv.errors import ScenarioError
from bayesv.linalg import Array
from bayesv.names import factors_of, matched, places
from bayesv.study.declared.laws import STANDARD, Law, read_law
from bayesv.study.simulation.replicate import Truth
from bayesv.study.simulation.rows import DrawnRows

__all__ = ["Simulator", "true_residual"]


@dataclass(frozen=True, eq=False)
class Simulator:
    """Simulates responses on a design: y = Xβ + offset + Σ_f Z_f u_f + e.

    Attributes
    ----------
    design : Design
        The true one: columns, and the covariance of residuals.
    fitted : Design
        The one that is fitted, of the same rows.
    effects, errors : mapping or None
        Laws of mean 0 and variance 1 of the (rotated) random effects and residuals; None: normal.

    Notes
    -----
    Whatever the laws, Cov(y) = Σ_f Z_f (I ⊗ Σ_f) Z_f' + R.
    """

    design: Design
    fitted: Design
    effects: Mapping[str, Any] | None = None
    errors: Mapping[str, Any] | None = None

    def draw(self, point: ComponentDraws, rng: np.random.Generator) -> Array:
        """Draw a response, shape (n,): effects term by term, then residuals."""
        (effect, of_effects), (error, of_errors) = self._effect_law, self._error_law
        effects = [
            effect.draw(rng, (term.n_independent, term.n_columns), of_effects)
            for term in self.design.terms
        ]
        scores = StandardScores(effects, error.draw(rng, self.design.n, of_errors))
        y, _ = simulate(self.design.at(point.components()), point, scores)
        return y

    @cached_property
    def _effect_law(self) -> tuple[Law, dict[str, Any]]:
        return read_law("effects", self.effects or {"law": "normal"}, STANDARD)

    @cached_property
    def _error_law(self) -> tuple[Law, dict[str, Any]]:
        return read_law("errors", self.errors or {"law": "normal"}, STANDARD)

    def truth(self, point: ComponentDraws) -> Truth:
        """Return the truth at a point of the true design, in the names of the fitted one."""
        design, fitted, vc = self.design, self.fitted, point.components()
        beta = pd.Series(point.beta, list(design.fixed_names), name="beta")
        laws = (self._effect_law[0], self._error_law[0])
        normal = all(law is STANDARD["normal"] for law in laws)
        V = MarginalCovariance(design, vc).to_sparse
        plain = design.residual is fitted.residual
        if fitted.X is design.X and fitted.terms is design.terms:
            if not plain:
                vc = VarianceComponents({g: vc[g] for g in vc.groups}, vc.sigma2)
            return Truth(beta, vc, V, plain, normal)
        fitted_beta = _in_fitted_names(beta, fitted.fixed_names)
        blocks = {
            term.group: pd.DataFrame(_block(term, design, vc), term.columns, term.columns)
            for term in fitted.terms
        }
        components = VarianceComponents(blocks, vc.sigma2, vc.residual if plain else None)
        mean = _mean(design, beta)
        gap = np.abs(_mean(fitted, fitted_beta) - mean).max()
        largest_sd = vc.sigma * np.sqrt(design.at(vc).residual.diagonal.max())
        well_specified = (
            bool(gap <= 1e-9 * (np.abs(mean).max() + largest_sd))
            and plain
            and all(_is_covered(term, fitted, vc) for term in design.terms)
        )
        return Truth(fitted_beta, components, V, well_specified, normal)


def true_residual(rows: DrawnRows, known: Residual, rho: float | None) -> Residual:
    """Return R/σ² of the truth: with the scale and series of the rows, beside known weights.

    Parameters
    ----------
    rows : DrawnRows
        Of the design: SDs are multiplied with their scale, series and times are those of ρ.
    known : Residual
        Of the fitted design.
    rho : float or None
        Autocorrelation at lag 1; None: there is none.
    """
    if rho is not None and rows.series is not None and rows.times is not None:
        sd = rows.scale * np.sqrt(known.diagonal)
        return Autoregressive(float(rho), rows.series, rows.times, sd)
    return known if (rows.scale == 1).all() else Independent(known.weights / rows.scale**2)


def _mean(design: Design, beta: pd.Series) -> Array:
    mean = design.X @ beta.to_numpy()
    return np.asarray(mean if design.offset is None else mean + design.offset)


# --- the truth in the names of the fitted design --------------------------------------------------


def _in_fitted_names(beta: pd.Series, names: tuple[str, ...]) -> pd.Series:
    positions = matched(names, [str(name) for name in beta.index], "The coefficient", ScenarioError)
    values = [0.0 if i is None else float(beta.iloc[i]) for i in positions]
    return pd.Series(values, list(names), dtype=float, name="beta")


def _partner(term: RandomTerm, design: Design) -> RandomTerm | None:
    positions = places(term.group, design.groups, factors_of)
    return design.terms[positions[0]] if len(positions) == 1 else None


def _places(term: RandomTerm, other: RandomTerm) -> list[int | None]:
    """Return where each column of ``term`` stands among those of the other."""
    return matched(term.columns, other.columns, f"The column of {term.group!r}", ScenarioError)


def _block(term: RandomTerm, design: Design, vc: VarianceComponents) -> Array:
    """Return Σ of a fitted term; what the truth lacks is 0."""
    block, true = np.zeros((term.n_columns, term.n_columns)), _partner(term, design)
    if true is None:
        return block
    matches = _places(term, true)
    columns = [i for i, j in enumerate(matches) if j is not None]
    true_columns = [j for j in matches if j is not None]
    block[np.ix_(columns, columns)] = vc.block_for(true)[np.ix_(true_columns, true_columns)]
    return block


def _is_covered(true: RandomTerm, fitted: Design, vc: VarianceComponents) -> bool:
    """Whether the fitted design has all columns of a true term that vary, and their covariances."""
    cov, term = vc.block_for(true), _partner(true, fitted)
    varies = np.flatnonzero(np.diagonal(cov) > 0)
    if not len(varies):
        return True
    if term is None:
        return False
    matches = [_places(true, term)[i] for i in varies]
    columns = [j for j in matches if j is not None]
    if len(columns) < len(matches):
        return False
    same = np.array_equal(true.values[:, varies], term.values[:, columns])
    beyond = cov[np.ix_(varies, varies)][~term.structure.mask[np.ix_(columns, columns)]]
    return same and not beyond.any()
