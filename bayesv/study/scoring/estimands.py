"""What is estimated: scalars of (Σ, σ²) and V, computed for many values at once.

The same function gives the truth, the estimate, the posterior's draws and, by differences, the
standard errors of a REML estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import pandas as pd
from scipy.sparse.linalg import splu
from scipy.special import expit, logit

from bayesv.covariance import ComponentDraws
from bayesv.covariance.functionals import function_of_covariates, functionals_of_draws
from bayesv.covariance.quantities import quantities
from bayesv.covariance.row_sums import KeptSums, RowSums, row_sums
from bayesv.design.design import Design
from bayesv.design.parametric import ResidualValues
from bayesv.design.residual import Homoscedastic
from bayesv.errors import BayesvError
from bayesv.gram import GramStatistics
from bayesv.linalg import Array, evenly_spaced
from bayesv.study.scoring.elements import element_of_v
from bayesv.study.scoring.scores import Scores
from bayesv.study.simulation.replicate import Truth

__all__ = ["OF_ANY_V", "Estimand", "Estimands"]

_STEP_IN_SDS = 1e-4  # of a parameter, for a derivative
_POSITIVE = ("tr V", "design effect", "effective n")
_DRAWS_ONE_BY_ONE = 200  # of which functionals are computed where each has an R of its own
OF_ANY_V = ("log|V|", *_POSITIVE)
"""Functionals that are defined by any V."""


@dataclass(frozen=True)
class Estimand:
    """One scalar: its kind (sd, var, cov, corr, V, functional, curve) and its name."""

    kind: str
    name: str

    @property
    def scale(self) -> str:
        """Where a normal approximation is best: ``log``, ``atanh``, ``logit`` or ``identity``."""
        if self.kind in ("sd", "var") or self.name.startswith((*_POSITIVE, "var y")):
            return "log"
        if self.kind == "corr" or self.name.startswith(("correlation", "corr ")):
            return "atanh"
        shares = ("VPC", "ICC", "repeatability", "reliability", "R²")
        return "logit" if self.name.startswith(shares) else "identity"


class Estimands:
    """The scalars that a study scores, for one design.

    Parameters
    ----------
    design : Design
        With its rows.
    statistics : callable
        Gram statistics of the same design, any response, at a point, such as
        `bayesv.inference.density.MarginalLikelihood.statistics`.
    scores : Scores
        Which scalars.

    Raises
    ------
    BayesvError
        If the scores name rows or columns that the design lacks.
    """

    def __init__(
        self,
        design: Design,
        statistics: Callable[[ComponentDraws], GramStatistics],
        scores: Scores,
    ) -> None:
        self.design, self.statistics, self.scores = design, statistics, scores
        if scores.rows and max(scores.rows) >= design.n:
            raise BayesvError(
                f"scores.rows has row {max(scores.rows)}; the design has {design.n} rows, "
                "counted from 0."
            )
        self.pairs = [(i, j) for i in scores.rows for j in scores.rows if i <= j]
        # The length of lists in `at` is the number of points of the curve.
        self.at = pd.DataFrame({name: list(values) for name, values in scores.at.items()})
        self.points = [
            ", ".join(f"{name}={value:.10g}" for name, value in row.items())
            for _, row in self.at.iterrows()
        ]
        self.list: list[Estimand] = []

    @cached_property
    def sums(self) -> RowSums:
        """Sums over rows without the response, which all replicates of a design share."""
        return cast(RowSums, KeptSums(row_sums(self.design)))

    def __call__(self, point: ComponentDraws) -> Array:
        """Return every scalar at every point, shape (S, K); the first call fills ``list``."""
        scores = self.scores
        columns = self._of_parameters(point)
        if scores.functionals:
            sums = self.sums if point.residual is None else None
            values = functionals_of_draws(point, self.statistics, sums, scores.functionals)
            columns += [
                (Estimand("functional", name), value)
                for name, value in values.items()
                if name in scores.functionals or name.split(" ")[0] in scores.functionals
            ]
        if self.pairs:
            columns += [
                (Estimand("V", f"V[{i}, {j}]"), element_of_v(point, i, j)) for i, j in self.pairs
            ]
        if len(self.at):
            variance, corr = function_of_covariates(point, self.at)
            for a, name in enumerate(self.points):
                columns.append((Estimand("curve", f"var y({name})"), variance[:, a]))
                columns += [
                    (Estimand("curve", f"corr y({name}), y({other})"), corr[:, a, b])
                    for b, other in enumerate(self.points[:a])
                ]
        self.list = [estimand for estimand, _ in columns]
        return np.column_stack([value for _, value in columns]) if columns else _nothing(point)

    def of_draws(self, values: ComponentDraws) -> Array:
        """Return every scalar at draws, shape (S, K); of some where they cost much each."""
        return self(self._looked_at(values))

    def with_draws(self, point: ComponentDraws, values: ComponentDraws) -> tuple[Array, Array]:
        """Return every scalar at a point, shape (K,), and `of_draws`: both in one pass."""
        both = self(point.followed_by(self._looked_at(values)))
        return both[0], both[1:]

    def _looked_at(self, values: ComponentDraws) -> ComponentDraws:
        flat = values.flat
        if values.residual is None or not self.scores.functionals:
            return flat
        return flat.take(evenly_spaced(flat.size, min(flat.size, _DRAWS_ONE_BY_ONE)))

    def truth(self, truth: Truth) -> dict[Estimand, float]:
        """Return the true value of every scalar that has one.

        A covariance outside the fitted model does not have all, such as an ICC under AR(1)
        residuals, or ρ where these are independent. Elements of Σ and σ² are always those of
        ``truth.components``.
        """
        beta = truth.beta.reindex(list(self.design.fixed_names)).to_numpy(dtype=float)
        design, vc = self.design, truth.components
        if design.structured_residual is not None and vc.residual == ResidualValues():
            design = design.with_residual(Homoscedastic(design.n))  # the true R is of another form
        vc = vc.aligned(design)
        point = ComponentDraws.with_parameters(design, vc, np.nan_to_num(beta)).flat
        if truth.well_specified:
            values = self(point)[0]
            return dict(zip(self.list, values.tolist(), strict=True))
        of_parameters = {estimand: float(x[0]) for estimand, x in self._of_parameters(point)}
        return of_parameters | self.of_any_v(truth)

    @property
    def has_slopes(self) -> bool:
        """Whether parameters are elements of Σ_f and σ², by which slopes are."""
        free = all(term.structure.is_free for term in self.design.terms)
        return free and self.design.parametric_residual is None

    def with_slopes(self, point: ComponentDraws, se: Array) -> tuple[Array, Array]:
        """Return every scalar, and derivatives by elements of Σ_f, σ² and β, shape (m + p, K).

        In the order of `bayesv.KenwardRoger`, by central differences; where `has_slopes`.

        Parameters
        ----------
        point : ComponentDraws, shape (1,)
        se : ndarray, shape (p,)
            Of β, the unit of its steps.
        """
        places = [
            (term.group, int(a), int(b))
            for term in self.design.terms
            for a, b in zip(*np.nonzero(np.tril(term.structure.mask)), strict=True)
        ]
        scales = [np.sqrt(point.covs[g][0, a, a] * point.covs[g][0, b, b]) for g, a, b in places]
        steps = _STEP_IN_SDS * np.array([*scales, point.sigma2[0], *se])
        m, size = len(places), 1 + 2 * len(steps)
        covs = {group: np.repeat(cov, size, axis=0) for group, cov in point.covs.items()}
        sigma2, beta = np.repeat(point.sigma2, size), np.repeat(point.beta, size, axis=0)
        for sign in (1, -1):  # behind the point every other row is a step up, the next one down
            rows = np.arange(len(steps)) * 2 + (1 if sign > 0 else 2)
            for (group, a, b), row, step in zip(places, rows[:m], steps[:m], strict=True):
                covs[group][row, a, b] += sign * step
                if a != b:
                    covs[group][row, b, a] += sign * step
            sigma2[rows[m]] += sign * steps[m]
            beta[rows[m + 1 :], np.arange(len(se))] += sign * steps[m + 1 :]
        values = self(ComponentDraws(self.design, covs, sigma2, beta))
        return values[0], (values[1::2] - values[2::2]) / (2.0 * steps[:, None])

    def _of_parameters(self, point: ComponentDraws) -> list[tuple[Estimand, Array]]:
        """Return elements of Σ_f and σ², and parameters of residuals, shapes (S,)."""
        return [
            (Estimand(q.scale, q.label), q.values)
            for q in quantities(point, fixed=False)
            if q.scale in self.scores.scales
        ]

    def of_any_v(self, truth: Truth) -> dict[Estimand, float]:
        """Return what any covariance has: elements, log|V|, tr V, design effect."""
        V = truth.V.tocsr()
        elements = {Estimand("V", f"V[{i}, {j}]"): float(V[i, j]) for i, j in self.pairs}
        wanted = set(OF_ANY_V) & set(self.scores.functionals)
        if not wanted:
            return elements
        trace = float(V.trace())
        effect = float(V.sum()) / trace
        values = {"tr V": trace, "design effect": effect, "effective n": self.design.n / effect}
        if "log|V|" in wanted:
            triangles = splu(V.tocsc(), diag_pivot_thresh=0.0, options={"SymmetricMode": True})
            values["log|V|"] = float(np.log(np.abs(triangles.U.diagonal())).sum())
        return elements | {Estimand("functional", name): values[name] for name in wanted}


def interval(values: Array, se: Array, estimands: list[Estimand], z: float) -> tuple[Array, Array]:
    """Return normal intervals on each scalar's own scale; NaN where that scale has no such value.

    Parameters
    ----------
    values, se : ndarray, shape (K,)
    estimands : list of Estimand
    z : float
        Normal quantile.

    Notes
    -----
    By the delta method, as nlme's ``intervals``, and like these very wide near a boundary: ± z se/v
    on log v, ± z se/(1 − v²) on atanh v, ± z se/(v(1 − v)) on logit v.
    """
    scale = np.array([estimand.scale for estimand in estimands])
    low, high = values - z * se, values + z * se
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for name, to, back, slope in (
            ("log", np.log, np.exp, values),
            ("atanh", np.arctanh, np.tanh, 1.0 - values**2),
            ("logit", logit, expit, values * (1.0 - values)),
        ):
            center, half = to(values), z * se / slope
            here = scale == name
            low = np.where(here, back(center - half), low)
            high = np.where(here, back(center + half), high)
    known = np.isfinite(low) & np.isfinite(high)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def _nothing(point: ComponentDraws) -> Array:
    return np.empty((point.size, 0))
