"""What is estimated: scalars of (Σ, σ²) and V, computed for many values at once.

The same function gives the truth, the estimate, the posterior's draws and, by differences, the
standard errors of a REML estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse.linalg import splu
from scipy.special import expit, logit

from bayesv.covariance import ComponentDraws
from bayesv.covariance.functionals import function_of_covariates, functionals
from bayesv.covariance.quantities import quantities
from bayesv.design.design import Design
from bayesv.errors import BayesvError
from bayesv.gram import GramStatistics
from bayesv.linalg import Array
from bayesv.study.scoring.scores import Scores
from bayesv.study.simulation.replicate import Truth

__all__ = ["Estimand", "Estimands"]

_STEP_IN_SDS = 1e-4  # of a parameter, for a derivative
_POSITIVE = ("tr V", "design effect", "effective n")
_OF_V = ("log|V|", *_POSITIVE)  # defined by any V


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
    stats : GramStatistics
        Of the same design, any response.
    scores : Scores
        Which scalars.

    Raises
    ------
    BayesvError
        If the scores name rows or columns that the design lacks.
    """

    def __init__(self, design: Design, stats: GramStatistics, scores: Scores) -> None:
        self.design, self.stats, self.scores = design, stats, scores
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

    def __call__(self, point: ComponentDraws) -> Array:
        """Return every scalar at every point, shape (S, K); the first call fills ``list``."""
        scores = self.scores
        columns: list[tuple[Estimand, Array]] = [
            (Estimand(q.scale, q.label), q.values)
            for q in quantities(point, fixed=False)
            if q.scale in scores.scales
        ]
        if scores.functionals:
            values = functionals(point, self.stats)
            columns += [
                (Estimand("functional", name), value)
                for name, value in values.items()
                if name in scores.functionals or name.split(" ")[0] in scores.functionals
            ]
        if self.pairs:
            elements = self._elements(point)
            columns += [
                (Estimand("V", f"V[{i}, {j}]"), elements[:, k])
                for k, (i, j) in enumerate(self.pairs)
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

    def truth(self, truth: Truth) -> Array:
        """Return the true value of every scalar, shape (K,).

        NaN for what a covariance outside the fitted model does not have, such as an ICC under
        AR(1) residuals. Elements of Σ and σ² are always those of ``truth.components``.
        """
        beta = truth.beta.reindex(list(self.design.fixed_names)).to_numpy(dtype=float)
        vc = truth.components.aligned(self.design)
        values: Array = self(ComponentDraws.of(self.design, vc, np.nan_to_num(beta)).flat)[0]
        if truth.well_specified:
            return values
        of_v = self._of_v(truth)
        for k, estimand in enumerate(self.list):
            if estimand.kind in ("functional", "V", "curve"):
                values[k] = of_v.get(estimand.name, np.nan)
        return values

    def slopes(self, point: ComponentDraws, se: Array) -> Array:
        """Return derivatives by the elements of Σ_f, by σ² and by β, shape (m + p, K).

        In the order of `bayesv.KenwardRoger`, by central differences.

        Parameters
        ----------
        point : ComponentDraws, shape (1,)
        se : ndarray, shape (p,)
            Of β, the unit of its steps.
        """
        for term in self.design.terms:
            if not term.structure.is_free:
                raise BayesvError(
                    "Intervals by the delta method are by elements of Σ, and that of "
                    f"{term.group!r} is {term.structure.words}. Use bootstrap or a posterior."
                )
        places = [
            (term.group, int(a), int(b))
            for term in self.design.terms
            for a, b in zip(*np.nonzero(np.tril(term.structure.mask)), strict=True)
        ]
        scales = [np.sqrt(point.covs[g][0, a, a] * point.covs[g][0, b, b]) for g, a, b in places]
        steps = _STEP_IN_SDS * np.array([*scales, point.sigma2[0], *se])
        m, size = len(places), 2 * len(steps)
        covs = {group: np.repeat(cov, size, axis=0) for group, cov in point.covs.items()}
        sigma2, beta = np.repeat(point.sigma2, size), np.repeat(point.beta, size, axis=0)
        for sign in (1, -1):  # every other row is a step up, the next one the step down
            rows = np.arange(len(steps)) * 2 + (sign < 0)
            for (group, a, b), row, step in zip(places, rows[:m], steps[:m], strict=True):
                covs[group][row, a, b] += sign * step
                if a != b:
                    covs[group][row, b, a] += sign * step
            sigma2[rows[m]] += sign * steps[m]
            beta[rows[m + 1 :], np.arange(len(se))] += sign * steps[m + 1 :]
        values = self(ComponentDraws(self.design, covs, sigma2, beta))
        return np.asarray((values[::2] - values[1::2]) / (2.0 * steps[:, None]))

    def _elements(self, point: ComponentDraws) -> Array:
        """Return V_ij of the pairs of rows, shape (S, pairs)."""
        i, j = np.array(self.pairs).T
        elements = point.sigma2[:, None] * ((i == j) * self.design.residual.diagonal[i])
        for term in self.design.terms:
            left = term.values[i] * term.shared(term.codes[i], term.codes[j])[:, None]
            elements = elements + np.einsum(
                "ka,sab,kb->sk", left, point.covs[term.group], term.values[j]
            )
        return np.asarray(elements)

    def _of_v(self, truth: Truth) -> dict[str, float]:
        """Return what any covariance has: elements, log|V|, tr V, design effect."""
        V = truth.V.tocsr()
        values = {f"V[{i}, {j}]": float(V[i, j]) for i, j in self.pairs}
        wanted = {estimand.name for estimand in self.list} & set(_OF_V)
        if not wanted:
            return values
        trace = float(V.trace())
        effect = float(V.sum()) / trace
        values |= {"tr V": trace, "design effect": effect, "effective n": self.design.n / effect}
        if "log|V|" in wanted:
            triangles = splu(V.tocsc(), diag_pivot_thresh=0.0, options={"SymmetricMode": True})
            values["log|V|"] = float(np.log(np.abs(triangles.U.diagonal())).sum())
        return values


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
