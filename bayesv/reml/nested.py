"""REML and ML of any structured residuals: at each of their parameters, all else is profiled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from bayesv.covariance import VarianceComponents
from bayesv.design.design import Design
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.errors import DataError, FitWarning, without
from bayesv.gram import refuse_crossed_clusters, statistics_of
from bayesv.linalg import Array
from bayesv.reml.criterion import Criterion
from bayesv.reml.ridges import refuse_ridges
from bayesv.reml.search import fit_reml
from bayesv.structures.spatial import Spatial

__all__ = ["NestedFit", "of_known_residual", "search_nested"]

_STEP = 1e-4  # of a coordinate, for slopes by central differences
_FAR = 30.0  # coordinate, beyond which nothing changes but rounding
_DECREMENT = 1e-7  # of the criterion, that another Newton step would take away
_ROUNDS = 4
_NEAR_ENDS = 2.0  # of the criterion: starts whose ends are looked for
_HALF = 0.5  # correlation at the median distance, to start from
_SHARE = 0.2  # of the nugget, to start from


@dataclass(frozen=True, eq=False)
class NestedFit:
    """Where the search ended.

    Attributes
    ----------
    parameters : Parameters
        The first SD is 1.
    components : VarianceComponents
        Of the random effects and σ², which the SDs of ``parameters`` are relative to.
    criterion : float
    converged, singular : bool
    gradient : ndarray
        By the coordinates.
    n_evaluations : int
    problems : tuple of str
        Of the random effects.
    """

    parameters: Parameters
    components: VarianceComponents
    criterion: float
    converged: bool
    singular: bool
    gradient: Array
    n_evaluations: int
    problems: tuple[str, ...]


def search_nested(design: Design, method: str) -> NestedFit:
    """Minimise −2 log (restricted) likelihood over the parameters of the residuals.

    Parameters
    ----------
    design : Design
        With a `StructuredResidual`.
    method : {"REML", "ML"}

    Notes
    -----
    Where all else is at its optimum, the slope by a parameter of the residuals is that of the
    criterion with all else held.
    """
    refuse_crossed_clusters(design)
    refuse_ridges(design)
    profile = _Profile(design, method)
    ends = [(profile(start)[0], start) for start in profile.starts()]
    best = min(value for value, _ in ends)
    runs = [_descend(profile, start) for value, start in ends if value <= best + _NEAR_ENDS]
    value, x, decrement = min(runs, key=lambda run: run[0])
    for _ in range(_ROUNDS):
        if decrement < _DECREMENT:
            break
        value, x, decrement = _descend(profile, x)
    value, gradient = profile(x)
    inner = profile.inner(x)
    return NestedFit(
        parameters=profile.parameters(x),
        components=inner.components,
        criterion=value,
        converged=bool(decrement < _DECREMENT and inner.converged),
        singular=inner.singular,
        gradient=gradient,
        n_evaluations=profile.n_evaluations,
        problems=inner.problems,
    )


def _descend(profile: _Profile, start: Array) -> tuple[float, Array, float]:
    """Return the criterion, x and the decrement where a descent ended."""
    if not len(start):
        return profile(start)[0], start, 0.0
    done = minimize(profile, start, jac=True, method="BFGS", options={"gtol": 1e-5})
    return float(done.fun), done.x, 0.5 * float(done.jac @ done.hess_inv @ done.jac)


@dataclass(frozen=True, eq=False)
class _Inner:
    """Optimum at one R over σ²."""

    components: VarianceComponents
    criterion: float
    converged: bool
    singular: bool
    problems: tuple[str, ...]


class _Profile:
    """−2 log (restricted) likelihood by coordinates x of R over σ², all else at its optimum.

    Coordinates are logs of the SDs over the first, those of the correlation, and exponents.
    """

    def __init__(self, design: Design, method: str) -> None:
        form = design.residual
        if not isinstance(form, StructuredResidual):
            raise DataError("The residuals of this design have no structure.")
        self.design, self.form, self.method = design, form, method
        self.n_ratios = max(len(form.sd_labels) - 1, 0)
        self.n_evaluations = 0

    def parameters(self, x: Array) -> Parameters:
        """Return the parameters of coordinates."""
        form, e = self.form, len(self.form.scales.powers)
        sds = np.exp(np.concatenate([[0.0], x[: self.n_ratios]]))
        z, exponents = x[self.n_ratios : len(x) - e], x[len(x) - e :]
        groups = form.sequential.n_groups if form.sequential else 0
        return Parameters(sds, z.reshape(groups, -1) if groups else np.zeros((0, 0)), exponents)

    def at(self, x: Array) -> Design:
        """Return the design with the residuals of coordinates."""
        return replace(self.design, residual=self.form.member_of(self.parameters(x)))

    def inner(self, x: Array) -> _Inner:
        """Return the optimum of all else."""
        self.n_evaluations += 1
        design = self.at(x)
        if not design.terms:
            return _Inner(*of_known_residual(design, self.method), True, False, ())
        with without(FitWarning):
            fit = fit_reml(design, statistics_of(design), self.method)
        return _Inner(fit.components, fit.criterion, fit.converged, fit.singular, fit.problems)

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Return the profile and its slopes; infinity where R is singular."""
        if (np.abs(x) > _FAR).any():
            return np.inf, np.zeros(len(x))
        try:
            inner = self.inner(x)
            steps = [_STEP * row for row in np.eye(len(x))]
            ends = [[self.held(x + s, inner), self.held(x - s, inner)] for s in steps]
        except (DataError, np.linalg.LinAlgError):
            return np.inf, np.zeros(len(x))
        slopes = [(high - low) / (2.0 * _STEP) for high, low in ends]
        return inner.criterion, np.array(slopes)

    def held(self, x: Array, inner: _Inner) -> float:
        """Return the criterion with all else held."""
        design, vc = self.at(x), inner.components
        if not design.terms:
            return _of_variance(design, self.method, vc.sigma2)
        stats = statistics_of(design)
        lambdas = [vc.relative_root(term) for term in design.terms]
        criterion = Criterion(design, stats, self.method)
        return criterion.criterion_at(stats.in_basis(lambdas), vc.sigma2)

    def starts(self) -> list[Array]:
        """Return points to start from: SDs by least squares' residuals, some correlations."""
        form, sds = self.form, self._log_ratios()
        exponents = np.zeros(len(form.scales.powers))
        if form.sequential is None:
            return [np.concatenate([sds, exponents])]
        structure, groups = form.sequential.structure, form.sequential.n_groups
        return [
            np.concatenate([sds, np.tile(z, groups), exponents])
            for z in _correlations(form, structure.n_corrs)
        ]

    def _log_ratios(self) -> Array:
        """Return logs of SDs of residuals of least squares by label, over the first."""
        form, design = self.form, self.design
        if not self.n_ratios:
            return np.zeros(0)
        Q = np.linalg.qr(design.X)[0]
        rest = design.target - Q @ (Q.T @ design.target)
        if form.scales.strata is not None:
            codes = form.scales.strata.codes
        else:
            assert form.sequential is not None
            series, structure = form.sequential.series, form.sequential.structure
            codes = series.group * structure.n_sds
            if structure.n_sds > 1:
                codes = codes + series.visit
        k = len(form.sd_labels)
        overall = float((rest**2).mean())
        squares = np.bincount(codes, rest**2, k) + overall
        logs = 0.5 * np.log(squares / (np.bincount(codes, minlength=k) + 1.0))
        return np.asarray(logs[1:] - logs[0])


def _correlations(form: StructuredResidual, m: int) -> list[Array]:
    """Return coordinates of correlations to start from."""
    assert form.sequential is not None
    structure, series = form.sequential.structure, form.sequential.series
    if isinstance(structure, Spatial) and not series.by_visit:
        # Between neighbours in a sample of the rows: the median distance of all is too long.
        places = series.coordinates[:: max(1, series.n // 500)]
        distances = np.sqrt(((places[:, None] - places) ** 2).sum(axis=-1))
        positive = distances[distances > 0]
        points = []
        for quantile in (0.02, 0.2, 0.5):
            near = float(np.quantile(positive, quantile))
            first = structure.decay.parameter(np.array(_HALF), np.array(near))
            psi = np.array([float(first), *([_SHARE] if structure.nugget else [])])
            points.append(structure.from_natural(psi))
        return points
    lags = np.abs(np.subtract.outer(np.arange(structure.size), np.arange(structure.size)))
    tables = [value**lags for value in (0.1, 0.5)] + [np.where(lags > 0, 0.3, 1.0)]
    return [np.clip(structure.coordinates(table), -2.0, 2.0) for table in tables]


def _of_variance(design: Design, method: str, sigma2: float) -> float:
    """Return the criterion of a design without random terms at σ²."""
    log_det, square, log_S, df = _sums(design, method)
    return log_det + df * float(np.log(2 * np.pi * sigma2)) + square / sigma2 + log_S


def of_known_residual(design: Design, method: str) -> tuple[VarianceComponents, float]:
    """Return σ² and the criterion at the optimum, where R/σ² is known and no term is random.

    Parameters
    ----------
    design : Design
    method : {"REML", "ML"}

    Raises
    ------
    DataError
        If fixed effects leave nothing of the response.
    """
    log_det, square, log_S, df = _sums(design, method)
    if design.n <= design.p or square <= 0:
        raise DataError(
            f"{design.n} rows leave nothing to estimate a variance from beside {design.p} fixed "
            "effects."
        )
    sigma2 = square / df
    value = log_det + df * (float(np.log(2 * np.pi * sigma2)) + 1.0) + log_S
    return VarianceComponents({}, sigma2), value


def _sums(design: Design, method: str) -> tuple[float, float, float, int]:
    """Return log|R/σ²|, r'R⁻¹rσ², log|X'R⁻¹X|σ² (0 by ML), and degrees of freedom."""
    Q, upper = np.linalg.qr(design.X)
    rest = design.target - Q @ (Q.T @ design.target)
    white = design.residual.whiten(np.column_stack([Q, rest]))
    triangle = np.linalg.qr(white, mode="r")
    square = float(triangle[-1, -1] ** 2)
    if method == "ML":
        return design.residual.log_det, square, 0.0, design.n
    both = np.concatenate([np.diagonal(triangle)[:-1], np.diagonal(upper)])
    return (
        design.residual.log_det,
        square,
        2.0 * float(np.log(np.abs(both)).sum()),
        (design.n - design.p),
    )
