"""REML and ML of λ and the parameters of structured residuals, in one search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.estimated import estimated
from bayesv.design.design import Design
from bayesv.design.residual_coordinates import ResidualCoordinates
from bayesv.design.series import Series
from bayesv.design.structured import StructuredResidual
from bayesv.errors import DataError
from bayesv.gram import ByResidual, ChainProblem, GramStatistics, Weighted, chain_problem
from bayesv.linalg import Array
from bayesv.reml.criterion import Criterion
from bayesv.reml.valleys import scattered
from bayesv.structures.spatial import Spatial

__all__ = ["JointCriterion", "starts_of"]

_FAR = 30.0  # coordinate, beyond which nothing changes but rounding
_START = 0.5 * _FAR  # beyond which no search starts
_NONE, _LEAST = 1e-5, 1e-300  # a correlation of neighbours that is none, and of distance 1
_HALF = 0.5  # correlation at a quantile of the distances, to start from
_SHARE = 0.2  # of the nugget, to start from
_SAMPLE = 500  # rows, whose distances are looked at
_COLLAPSED = 7.0  # log ratio of SDs, beyond which the smaller is next to 0
_TOWARDS_ZERO = 2.5  # log SD, to start towards that
_MOST_COLLAPSING = 12  # SDs that are looked at


class JointCriterion(Criterion):
    """The profiled criterion by the elements of all λ_f, then the coordinates of the residuals.

    Parameters
    ----------
    design : Design
        With structured residuals.
    by_residual : ByResidual
        Its statistics.
    method : {"REML", "ML"}
    """

    def __init__(self, design: Design, by_residual: ByResidual, method: str) -> None:
        super().__init__(design, by_residual.stats, method)
        self.by_residual = by_residual
        self.residual = ResidualCoordinates(by_residual.form)
        self._last: tuple[bytes, Weighted] | None = None

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return self.n_lambdas + self.residual.size

    @property
    def chain(self) -> None:
        """Sums change with the residuals."""
        return None

    def chain_at(self, x: Array) -> ChainProblem | None:
        """Return what profiles the criterion with the residuals of x."""
        stats = self.statistics(x)
        return chain_problem(stats, self._rule(stats))

    def weighted(self, x: Array) -> Weighted:
        """Return the statistics at x, and the way back.

        Raises
        ------
        numpy.linalg.LinAlgError
            If R is not positive definite.
        """
        z = x[self.n_lambdas :]
        if (np.abs(z) > _FAR).any():
            raise np.linalg.LinAlgError("R is singular to rounding")
        if self._last is None or self._last[0] != z.tobytes():
            self._last = z.tobytes(), self.by_residual.at(self.residual.parameters(z))
        return self._last[1]

    def statistics(self, x: Array) -> GramStatistics:
        """Return the statistics at x."""
        return self.weighted(x).stats

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Profiled criterion and its gradient, in unit coordinates."""
        weighted = self.weighted(x)
        value, done, T_bar = self._profiled(weighted.stats, x)
        adjoint = done.adjoint(T_bar)
        bar = weighted.pullback(adjoint.sums, 1.0)
        slopes = self.coordinates.pullback(x, adjoint.lambdas)
        return value, np.append(slopes, self.residual.gradient(bar))

    def curvature(self, x: Array) -> Array:
        """Return about the second derivatives by x."""
        form, n = self.residual.form, self.design.n
        labels = np.bincount(form.sd_codes, minlength=1)[1:] if form.sd_labels else np.zeros(0)
        pairs = 0.0 if form.series is None else n - len(np.unique(form.series.codes))
        n_corrs = self.residual.corrs.stop - self.residual.corrs.start
        exponents = [4.0 * n * np.var(power.log_x) for power in form.scales.powers]
        by_corr = np.full(n_corrs, 2.0 * pairs / max(n_corrs, 1))
        own = np.concatenate([4.0 * labels, by_corr, exponents])
        return np.append(super().curvature(x), np.maximum(own, 1.0))

    def degenerate(self, x: Array) -> list[str]:
        """Return problems of an SD of residuals that is next to 0 beside the others."""
        form = self.residual.form
        if not self.n_lambdas or len(form.sd_labels) < 2:
            return []
        logs = np.append(0.0, x[self.n_lambdas :][: self.residual.n_ratios])
        small = np.flatnonzero(logs < logs.max() - _COLLAPSED)
        return [
            f"the SD of the residuals of {form.sd_labels[k]} is next to 0: the random effects are "
            "what its rows show. Give the residuals one SD, or leave the term out"
            for k in small
        ]

    def near_degenerate(self) -> list[tuple[str, Array]]:
        """Return the visits whose residuals may vanish, each with a point to start from.

        With one row a series at a visit, random effects can reproduce all rows of it: a Heywood
        case. Of the first visit, whose SD is the unit, the criterion is lost to rounding there.
        """
        part, count = self.residual.form.sequential, self.residual.n_ratios
        if not self.n_lambdas or part is None or not 0 < count < _MOST_COLLAPSING:
            return []
        starts, inside = list[tuple[str, Array]](), np.zeros(self.size)
        inside[: self.n_lambdas] = self.start(1.0)
        inside[self.n_lambdas :][:count] = _log_ratios(self.residual.form, self.design)
        for k in range(count):
            start = inside.copy()
            start[self.n_lambdas + k] -= _TOWARDS_ZERO
            label = self.residual.form.sd_labels[k + 1]
            starts.append((f"the SD of the residuals of {label}", start))
        return starts

    def components(self, x: Array, blocks: Sequence[Array], sigma2: float) -> VarianceComponents:
        """Return the components at x, of Σ_f and the variance that SDs are relative to."""
        form, parameters = self.residual.form, self.residual.parameters(x[self.n_lambdas :])
        values, sigma2 = form.values_of(parameters, sigma2)
        return estimated(self.design.terms, blocks, sigma2, values)


def starts_of(form: StructuredResidual, design: Design) -> list[Array]:
    """Return coordinates to start from: SDs by least squares' residuals, some correlations.

    Parameters
    ----------
    form : StructuredResidual
    design : Design

    Raises
    ------
    DataError
        If positions are in a unit in which their correlations cannot be stated.
    """
    sds = _log_ratios(form, design)
    exponents = np.zeros(len(form.scales.powers))
    if form.sequential is None:
        return [np.concatenate([sds, exponents])]
    part, groups = form.sequential, form.sequential.n_groups
    points = [np.tile(z, groups) for z in _correlations(form)]
    if part.series.by_visit:
        points += [z.ravel() for z in scattered(part.structure, design.n, groups)]
    return [np.concatenate([sds, z, exponents]) for z in points]


def _log_ratios(form: StructuredResidual, design: Design) -> Array:
    """Return logs of SDs of residuals of least squares by label, over the first."""
    k = len(form.sd_labels)
    if k < 2:
        return np.zeros(0)
    Q = np.linalg.qr(design.X)[0]
    rest = design.target - Q @ (Q.T @ design.target)
    counts = np.bincount(form.sd_codes, minlength=k)
    squares = np.bincount(form.sd_codes, rest**2, k) + float((rest**2).mean())
    logs = 0.5 * np.log(squares / (counts + 1.0))
    return np.asarray(logs[1:] - logs[0])


def _correlations(form: StructuredResidual) -> Sequence[Array]:
    """Return coordinates of correlations to start from."""
    assert form.sequential is not None
    structure, series = form.sequential.structure, form.sequential.series
    if isinstance(structure, Spatial) and not series.by_visit:
        _refuse_unit(form.text, structure, series)
        # Between neighbours in a sample of the rows: the median distance of all is too long.
        places = series.coordinates[:: max(1, series.n // _SAMPLE)]
        distances = np.sqrt(((places[:, None] - places) ** 2).sum(axis=-1))
        positive = distances[distances > 0]
        points = []
        for quantile in (0.02, 0.2, 0.5):
            near = float(np.quantile(positive, quantile))
            first = structure.decay.parameter(np.array(_HALF), np.array(near))
            psi = np.array([float(first), *([_SHARE] if structure.nugget else [])])
            points.append(np.clip(structure.from_natural(psi), -_START, _START))
        return points
    lags = np.abs(np.subtract.outer(np.arange(structure.size), np.arange(structure.size)))
    tables = [value**lags for value in (0.1, 0.5)] + [np.where(lags > 0, 0.3, 1.0)]
    points = [np.clip(structure.coordinates(table), -2.0, 2.0) for table in tables]
    # A family of one correlation has the third between the others.
    return points if len(points[0]) > 1 else points[:2]


def _refuse_unit(text: str, structure: Spatial, series: Series) -> None:
    """Refuse positions so near to each other that the parameter, as of distance 1, is 0."""
    near = float(np.median(series.nearest)) if len(series.nearest) else 1.0
    if not structure.decay.parameter(np.array(_NONE), np.array(near)) > _LEAST:
        raise DataError(
            f"Residuals {text}: neighbours are about {near:.2g} apart, and the parameter is the "
            "correlation of rows a distance of 1 apart, which is 0 in double precision unless "
            f"neighbours are nearly the same. Give positions in another unit, such as multiples of "
            f"{near:.2g}."
        )
