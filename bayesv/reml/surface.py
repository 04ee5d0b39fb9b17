"""−2 log likelihood by SDs, coordinates of correlations and σ, with its exact gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.covariance.quantities import Quantity, quantities
from bayesv.design.residual_coordinates import ResidualCoordinates
from bayesv.gram import GramStatistics, Weighted, eliminate, statistics_by_residual, statistics_of
from bayesv.inference.coordinates import Coordinates
from bayesv.linalg import Array
from bayesv.reml.criterion import solve_fixed
from bayesv.structures import CovarianceStructure

__all__ = ["Estimate", "Surface"]

_FARTHEST = 30.0  # coordinate of a correlation, beyond which nothing changes but rounding
_OUTERMOST = 18.0  # coordinate of what is on the boundary
_PULLED = 12.0  # of a start: an estimate at the end of its range has no finite coordinate


class Estimate(NamedTuple):
    """A fixed effect and its standard error given V."""

    value: float
    se: float


class Surface:
    """−2 log (restricted) likelihood of a design, not profiled.

    Its coordinates y are log SDs of random effects, and coordinates of their correlations, term by
    term; log SDs of residuals beside the first, coordinates of their correlations and exponents;
    and last log σ, or the log of the first SD of residuals. All SDs are in units of the response.
    Where R is known, log σ is 0, and nothing depends on the last coordinate.

    Parameters
    ----------
    fit : RemlFit
    method : {"REML", "ML"}
    """

    def __init__(self, fit: Any, method: str) -> None:
        self.design, self.method = fit.design, method
        self.df = self.design.n - (self.design.p if method == "REML" else 0)
        # Of the terms alone: those of the residuals are said by `ResidualCoordinates` below.
        self.coordinates = Coordinates.as_written(self.design.at(fit.components))
        self.scale_is_known = self.design.sigma_is_known
        self.m = self.coordinates.size - int(self.coordinates.has_sigma)
        form = self.design.parametric_residual
        self.form = form
        self.residual = None if form is None else ResidualCoordinates(form)
        if form is None:
            self.stats = statistics_of(self.design) if fit._stats is None else fit._stats
        else:
            self.by_residual = statistics_by_residual(self.design)
            self.stats = self.by_residual.stats
        self.size = self.m + (0 if self.residual is None else self.residual.size) + 1
        self.log_units = np.zeros(self.m)
        for part in self.coordinates.parts:
            self.log_units[part.sds] = part.log_units
        # log SDs relative to σ: x = y + units − log σ, at these places.
        self.relative = np.zeros(self.size, dtype=bool)
        self.relative[: self.m] = self.coordinates.is_sd[: self.m]
        if self.residual is not None:
            self.relative[self.m : self.m + self.residual.n_ratios] = True
        self.best = self._of(fit)

    def exact(self, fit: Any) -> Array:
        """Return y of a fit; what is on the boundary is as far out as numbers go."""
        x = self.coordinates.from_values(ComponentDraws.of(self.design, fit.components))
        return self._of(fit, np.clip(x, -_OUTERMOST, _OUTERMOST))

    def log_relative_sds(self, y: Array) -> Array:
        """Return y with SDs relative to σ and to the sizes of columns."""
        return self._x(y)

    def _of(self, fit: Any, x: Array | None = None) -> Array:
        """Return y of a fit, pulled a little inside where it is on the boundary."""
        if x is None:
            x = self.coordinates.near(ComponentDraws.of(self.design, fit.components))
        y = np.zeros(self.size)
        y[: self.m] = x[: self.m] - self.log_units
        y[-1] = np.log(fit.components.sigma)
        if self.form is not None and self.residual is not None:
            parameters = self.form.parameters(fit.components.residual, fit.sigma2)
            z = np.clip(self.residual.of(parameters), -_PULLED, _PULLED)
            # x of the terms are relative to σ; y[-1] becomes the first SD of the residuals.
            y[: self.m] += np.where(self.relative[: self.m], y[-1], 0.0)
            y[-1] += np.log(parameters.sds[0])
            y[self.m : -1] = z + np.where(self.relative[self.m : -1], y[-1], 0.0)
            return y
        y[: self.m] += np.where(self.relative[: self.m], y[-1], 0.0)
        return y

    # --- the value -------------------------------------------------------------------------------

    def value_and_gradient(
        self, y: Array, held: tuple[int, float] | None = None
    ) -> tuple[float, Array]:
        """Return the criterion and its gradient by y.

        Parameters
        ----------
        y : ndarray, shape (d,)
        held : (int, float), optional
            A fixed effect, and the value at which it is held; by ML.

        Raises
        ------
        numpy.linalg.LinAlgError
            If V cannot be factored.
        """
        x = self._x(y)
        weighted, stats = self._statistics(y)
        lambdas, _ = self.coordinates.to_lambdas(self._of_terms(x))
        done = eliminate(stats, stats.in_basis(lambdas))
        p, sigma2 = stats.p, 1.0 if self.scale_is_known else float(np.exp(2.0 * y[-1]))
        gamma, r2, logdet_S, S_inv = solve_fixed(done.T)
        if held is not None:
            gamma, more = self._held(stats, S_inv, gamma, held)
            r2 += more
        value = done.logdet - stats.log_weights + self.df * np.log(2 * np.pi * sigma2) + r2 / sigma2
        T_bar = np.outer(np.append(-gamma, 1.0), np.append(-gamma, 1.0)) / sigma2
        if self.method == "REML":
            value += logdet_S + stats.fixed.logdet
            T_bar[:p, :p] += S_inv
        by_x = np.zeros(self.size)
        adjoint = done.adjoint(T_bar)
        bars = [B.T @ bar for B, bar in zip(stats.bases, adjoint.lambdas, strict=True)]
        terms = self.coordinates.lambda_gradient(self._of_terms(x), lambdas, bars)
        by_x[: self.m] = terms[: self.m]
        if weighted is not None and self.residual is not None:
            bar = weighted.pullback(adjoint.sums, 1.0)
            by_x[self.m : -1] = self.residual.gradient(bar)
        if not self.scale_is_known:
            by_x[-1] = 2.0 * self.df - 2.0 * r2 / sigma2 - by_x[self.relative].sum()
        return float(value), by_x

    def _x(self, y: Array) -> Array:
        """Return SDs relative to σ, and to the sizes of columns."""
        x = y - np.where(self.relative, 0.0 if self.scale_is_known else y[-1], 0.0)
        x[: self.m] += self.log_units
        return np.asarray(x)

    def _of_terms(self, x: Array, log_scale: float = 0.0) -> Array:
        """Return coordinates of the terms, and behind them that of σ if it is not known."""
        own = x[: self.m]
        return own if self.scale_is_known else np.append(own, log_scale)

    def _statistics(self, y: Array) -> tuple[Weighted | None, GramStatistics]:
        if self.residual is None:
            return None, self.stats
        z = self._x(y)[self.m : -1]
        if (np.abs(z[self.residual.n_ratios :]) > _FARTHEST).any():
            raise np.linalg.LinAlgError("R is singular to rounding")
        weighted = self.by_residual.at(self.residual.parameters(z))
        return weighted, weighted.stats

    @staticmethod
    def _held(
        stats: GramStatistics, S_inv: Array, gamma: Array, held: tuple[int, float]
    ) -> tuple[Array, float]:
        """Return γ̂ with one β held, and what that adds to r²: (β_j − b)²/(S⁻¹)_jj."""
        j, value = held
        row = stats.fixed.inverse[j]
        direction = S_inv @ row
        away = value - float(stats.fixed.to_beta(gamma)[j])
        spread = float(row @ direction)
        return gamma + direction * (away / spread), away**2 / spread

    def estimate_of(self, y: Array, j: int) -> Estimate:
        """Return β̂_j at y, and its standard error given V."""
        x = self._x(y)
        _, stats = self._statistics(y)
        lambdas, _ = self.coordinates.to_lambdas(self._of_terms(x))
        done = eliminate(stats, stats.in_basis(lambdas))
        gamma, _, _, S_inv = solve_fixed(done.T)
        row = stats.fixed.inverse[j]
        sigma = 1.0 if self.scale_is_known else float(np.exp(y[-1]))
        se = sigma * float(np.sqrt(row @ S_inv @ row))
        return Estimate(float(stats.fixed.to_beta(gamma)[j]), se)

    # --- what is read off ------------------------------------------------------------------------

    def scalars(self, y: Array) -> dict[str, float]:
        """Return labelled SDs and correlations at y, without β."""
        x = self._x(y)
        values = self.coordinates.to_values(
            self._of_terms(x, float(y[-1]) - self.coordinates.log_scale)
        )
        scalars: Sequence[Quantity] = quantities(values, fixed=False)
        found = {q.label: float(q.values) for q in scalars if q.scale in ("sd", "corr")}
        if self.form is not None and self.residual is not None:
            parameters = self.residual.parameters(x[self.m : -1])
            labelled, sigma2 = self.form.values_of(parameters, float(np.exp(2 * y[-1])))
            found["sd Residual"] = float(np.sqrt(sigma2))
            found |= {f"sd Residual: {label}": sd for label, sd in labelled.sd.items()}
            found |= {f"corr Residual: {label}": v for label, v in labelled.corr.items()}
        return found

    def places(self) -> tuple[dict[str, int], dict[str, tuple[int, CovarianceStructure]]]:
        """Return places of coordinates that are a parameter's, and of families with one."""
        places = dict[str, int]()
        families: dict[str, tuple[int, CovarianceStructure]] = {}
        for part in self.coordinates.parts:
            term, structure = part.term, part.term.structure
            for i, label in enumerate(structure.sd_labels(term.columns)):
                places[f"sd {term.group}: {label}"] = part.sds.start + i
            place = part.corrs.start
            for columns, family in structure.parts:
                if family.n_corrs == 1:
                    (label,) = family.corr_labels([term.columns[i] for i in columns])
                    families[f"corr {term.group}: {label}"] = (place, family)
                place += family.n_corrs
        if self.form is None or self.residual is None:
            return {**places, "sd Residual": self.size - 1}, families
        labels, m = self.form.sd_labels, self.m
        for i, label in enumerate(labels[1:]):
            places[f"sd Residual: {label}"] = m + i
        places[f"sd Residual: {labels[0]}" if labels else "sd Residual"] = self.size - 1
        corrs, first = self.form.corr_labels, m + self.residual.corrs.start
        n_corrs = self.residual.corrs.stop - self.residual.corrs.start
        sequential = self.form.sequential
        if sequential is not None and sequential.structure.n_corrs == 1:
            for i, label in enumerate(corrs[:n_corrs]):
                families[f"corr Residual: {label}"] = (first + i, sequential.structure)
        for i, label in enumerate(corrs[n_corrs:]):
            places[f"corr Residual: {label}"] = first + n_corrs + i
        return places, families
