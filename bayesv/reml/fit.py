"""The result of a REML or ML fit, and what lme4's ``summary`` would print of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance import (
    ComponentDraws,
    GLSFit,
    VarianceComponents,
    gls,
)
from bayesv.covariance.effects_of_sums import EffectsOfSums
from bayesv.covariance.functionals import functionals
from bayesv.covariance.lags import by_lag
from bayesv.covariance.prediction import INCLUDED, OF, predicted, predicted_of_sums
from bayesv.covariance.residual_kinds import RESIDUALS, residuals_of
from bayesv.covariance.summed import at_v
from bayesv.design.design import Design, require_rows
from bayesv.design.residual_coordinates import parameter_count
from bayesv.errors import DataError
from bayesv.formula.prediction import fitted_rows, rows_of
from bayesv.gram import GramStatistics, statistics_of
from bayesv.reml.certificate import Certificate
from bayesv.reml.criterion import Criterion
from bayesv.reml.inferences import Inferences
from bayesv.reml.summary import parts_of
from bayesv.support.arguments import (
    PROBABILITY,
    TEXT,
    a,
    accepts,
    choice,
    optional,
)
from bayesv.support.deferred import deferred
from bayesv.support.shown import Part, Shown

__all__ = ["RemlFit"]

_INSTEAD = "fit.predict(newdata) predicts given rows, of fitted groups and of new ones."


@deferred("beta", "cov_beta")
@dataclass(frozen=True, eq=False, repr=False)
class RemlFit(Inferences, Shown):
    """A REML or ML fit.

    Attributes
    ----------
    design : Design
        What was fitted.
    method : {"REML", "ML"}
    components : VarianceComponents
        Estimates of Σ_f and σ².
    beta : Series, shape (p,)
        Fixed effects.
    cov_beta : DataFrame, shape (p, p)
        (X'V⁻¹X)⁻¹ at the estimate.
    criterion : float
        −2 log (restricted) likelihood at the estimate, lme4's ``REMLcrit`` or ``deviance``.
    singular : bool
        Whether some Σ_f is on the boundary: a variance of 0 or a correlation of ±1.
    converged : bool
        Whether the optimiser met its tolerance.
    n_evaluations : int
        Number of evaluations of the criterion with gradient.
    gradient_norm : float
        Largest element of the gradient by relative Cholesky factors, in column units of rms 1.
    origin : str
        What made the estimates: ``"bayesv"``, or the program they were extracted from.
    problems : tuple of str
        What the data do not identify, and why; lost digits. The fit warns of each.
    certificate : Certificate or None
        Of a fit by iteration: how far it may be from what all probes give; None if it is exact.
    reported_cov_beta : DataFrame, shape (p, p), or None
        Covariance of β̂ that another program reports, where it is not (X'V⁻¹X)⁻¹.
    notes : tuple of str
        What is to be known of a fit that another program made.
    """

    design: Design
    method: str
    components: VarianceComponents
    beta: pd.Series
    cov_beta: pd.DataFrame
    criterion: float
    singular: bool
    converged: bool
    n_evaluations: int
    gradient_norm: float
    _stats: GramStatistics | None = field(default=None, repr=False)
    origin: str = "bayesv"
    problems: tuple[str, ...] = ()
    certificate: Certificate | None = None
    reported_cov_beta: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()

    @property
    def sigma2(self) -> float:
        """Residual variance."""
        return self.components.sigma2

    @property
    def statistics(self) -> GramStatistics:
        """Gram statistics that were fitted.

        Raises
        ------
        DataError
            If residuals are structured: their sums depend on their parameters.
        """
        if self._stats is None:
            raise DataError(
                "A fit with structured residuals, or without a random term, has no Gram "
                "statistics: what rows sum up to depends on the parameters of the residuals."
            )
        return self._stats

    @property
    def label(self) -> str:
        """Method, and the program if it was another: ``REML``, ``REML (lme4)``."""
        return self.method if self.origin == "bayesv" else f"{self.method} ({self.origin})"

    @property
    def log_likelihood(self) -> float:
        """Log (restricted) likelihood at the estimate."""
        return -0.5 * self.criterion

    @property
    def n_parameters(self) -> int:
        """Number of fixed effects and variance parameters, as lme4 counts them."""
        return parameter_count(self.design)

    @property
    def aic(self) -> float:
        """Criterion + 2 parameters. Of REML fits, comparable only where X is the same."""
        return self.criterion + 2.0 * self.n_parameters

    @property
    def bic(self) -> float:
        """Criterion + parameters × log n, n the number of rows, as lme4 has it for ML and REML."""
        return self.criterion + float(np.log(self.design.n)) * self.n_parameters

    @cached_property
    def se(self) -> pd.Series:
        """Standard errors of the fixed effects given V, shape (p,)."""
        return pd.Series(np.sqrt(np.diagonal(self.cov_beta)), self.beta.index, name="se")

    @cached_property
    def gls(self) -> GLSFit:
        """GLS at the estimated V, with BLUPs, fitted values and residuals."""
        return gls(self.design, self.components)

    @property
    def blup(self) -> pd.Series:
        """Conditional modes of the random effects, labelled, shape (q,)."""
        return self.gls.blup

    @accepts(kind=choice(*RESIDUALS))
    def residuals(self, kind: str = "conditional") -> pd.Series:
        """Return residuals, shape (n,), by the user's row labels.

        Parameters
        ----------
        kind : {"conditional", "marginal", "pearson", "normalized", "scaled"}
            ``conditional``: y − Xβ̂ − Zû. ``marginal``: y − Xβ̂. ``pearson``: conditional ones over
            the SDs of residuals. ``normalized``: L⁻¹ times conditional ones, R = LL' with rows of a
            series in the order of the data (nlme's ``type = "normalized"``). ``scaled``: L⁻¹ times
            marginal ones, V = LL': uncorrelated with variance 1 if the model is the truth; the
            sums of their squares by cluster are about χ² with as many degrees of freedom as rows.

        Examples
        --------
        >>> import bayesv as bv
        >>> data = bv.load_dataset("sleepstudy")
        >>> fit = bv.Model("Reaction ~ Days", data, residual="ar1(Days | Subject)").reml()
        >>> squares = fit.residuals("scaled") ** 2
        >>> squares.groupby(data["Subject"]).sum().round(1).to_list()[:2]  # of 10 rows each
        [37.9, 7.2]
        """
        return residuals_of(self.gls, kind)

    @accepts(group=optional(TEXT))
    def by_lag(self, group: str | None = None, position: Any = None) -> pd.DataFrame:
        """Return correlations and semivariances by the distance of two rows of one series.

        Parameters
        ----------
        group : str, optional
            Grouping factor whose levels are series, with ``position``; the series of the
            residuals if left out.
        position : array_like, shape (n,) or (n, d), optional
            Time or place of each row.

        Returns
        -------
        DataFrame
            One line a lag (15 classes of equally many pairs where there are more than 40): ``lag``;
            means over the ``pairs`` of rows of ``corr_R`` and ``corr_V``, the correlations of their
            residuals and of themselves; ``corr_residuals``, the product of their marginal residuals
            over SDs; ``semivariance``, ½ Var(y_i − y_j) with the mean held, and
            ``semivariance_residuals``, half the squared differences of marginal residuals.

        Examples
        --------
        >>> import bayesv as bv
        >>> data = bv.load_dataset("sleepstudy")
        >>> fit = bv.Model("Reaction ~ Days", data, residual="ar1(Days | Subject)").reml()
        >>> fit.by_lag()["corr_V"].round(3).to_list()[:3]
        [0.8, 0.64, 0.512]
        """
        return by_lag(self.gls, group, position)

    def functionals(self) -> pd.Series:
        """Return functionals of V at the estimate: VPC, ICC, reliability, R², design effect.

        Plugged in: each is that of V at the estimated components. `Posterior.functionals` says what
        each is, and has its posterior.

        Examples
        --------
        >>> import bayesv as bv
        >>> fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()
        >>> round(float(fit.functionals()["ICC Batch"]), 3)
        0.418
        """
        point = ComponentDraws.of(self.design, self.components, self.beta.to_numpy())
        stats = self._stats
        if stats is None and self.design.terms:
            stats = statistics_of(point.design)
        values = functionals(point.flat, stats)
        return pd.Series({name: float(v[0]) for name, v in values.items()}, name="functional")

    @accepts(
        include=optional(choice(*INCLUDED)),
        of=choice(*OF),
        prob=PROBABILITY,
        weights=optional(TEXT),
    )
    def predict(
        self,
        newdata: Any = None,
        *,
        include: str | None = None,
        of: str = "mean",
        prob: float = 0.95,
        weights: str | None = None,
    ) -> pd.DataFrame:
        """Predict rows, of groups and series that were fitted or of new ones.

        Parameters
        ----------
        newdata : DataFrame or mapping of columns, optional
            m rows, coded as the fitted ones were; the rows of the fit if left out.
        include : {"all", "random", "fixed"}, optional
            ``"fixed"``: Xβ̂, as for a group never seen. ``"random"``: with the effects û of groups
            that were fitted. ``"all"``, the default of new data: also with what residuals of the
            same series say of the row, where residuals are correlated. Groups and series that were
            not fitted are at their mean, 0, and add their variance to ``sd``.
        of : {"mean", "response"}
            What the interval is of: what is expected of a row, or its response.
        prob : float
            Of the interval.
        weights : str, optional
            Column of known weights; 1 if left out. Where residual variances are known, their
            reciprocals.

        Returns
        -------
        DataFrame, shape (m, 5)
            ``mean``; ``se``, the standard error of what is expected of the row given β, u and the
            residuals of the fit, if they are included; ``sd``, that of its response; ``low`` and
            ``high``.

        Raises
        ------
        DataError
            If new data lack a column or a value, or have a level of a fixed factor, a stratum or
            a visit that the fit says nothing of.

        Notes
        -----
        Best linear unbiased prediction at the estimated V: errors of β̂ and û are in ``se``, that
        of V is not, and intervals are normal. A row at the very position of a fitted one of its
        series has its residual, unless there is a nugget.

        Examples
        --------
        >>> import bayesv as bv
        >>> data = bv.load_dataset("sleepstudy")
        >>> fit = bv.Model("Reaction ~ Days", data, residual="ar1(Days | Subject)").reml()
        >>> new = {"Days": [10, 10], "Subject": ["308", "a new one"]}
        >>> fit.predict(new)["mean"].round(1).to_list()
        [453.1, 358.4]
        """
        if newdata is not None:
            rows = rows_of(self.design, newdata, weights)
            if not self.design.has_rows:
                there = at_v(self.design, self.components, self._stats)
                at, effects = (self.design, self.components), None
                if include != "fixed":
                    effects = EffectsOfSums.at(*at, self.statistics)
                return predicted_of_sums(there, *at, rows, of, prob, effects)
            return predicted(self.gls, rows, include or "all", of, prob)
        require_rows(self.design, "Predictions of the rows of the fit", _INSTEAD)
        design = self.design.at(self.components)
        if include == "all" and design.residual.clusters is not None:
            raise DataError(
                "With the residuals of their series, the rows of the fit are predicted to be what "
                "they were: y. include='random' leaves residuals out; new rows go into newdata."
            )
        return predicted(self.gls, fitted_rows(design), include or "random", of, prob)

    @accepts(components=a(VarianceComponents))
    def criterion_at(self, components: VarianceComponents) -> float:
        """Return −2 log (restricted) likelihood at other components, on the same data.

        Notes
        -----
        Not profiled: σ² is the one given. Cost does not depend on the number of rows.
        """
        if self._stats is None:
            return gls(self.design, components).criterion(self.method)
        components = components.aligned(self.design)
        criterion = Criterion(self.design, self._stats, self.method)
        lambdas = [components.relative_root(term) for term in self.design.terms]
        return criterion.criterion_at(self._stats.in_basis(lambdas), components.sigma2)

    def summary(self) -> str:
        """Return what lme4's ``summary`` prints."""
        return repr(self)

    def _shown(self) -> Iterator[Part]:
        return parts_of(self)
