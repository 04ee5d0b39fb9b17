"""The result of a REML or ML fit, and what lme4's ``summary`` would print of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance import GLSFit, KenwardRoger, VarianceComponents, gls, kenward_roger
from bayesv.covariance.prediction import INCLUDED, OF, predicted
from bayesv.design.design import Design
from bayesv.errors import DataError
from bayesv.formula.prediction import fitted_rows, rows_of
from bayesv.gram import GramStatistics
from bayesv.reml.criterion import Criterion
from bayesv.support.arguments import PROBABILITY, TEXT, a, accepts, choice, optional
from bayesv.support.saving import Savable

__all__ = ["RemlFit"]


@dataclass(frozen=True, eq=False)
class RemlFit(Savable):
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
        [462.1, 359.1]
        """
        if newdata is not None:
            rows = rows_of(self.design, newdata, weights)
            return predicted(self.gls, rows, include or "all", of, prob)
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

    def kenward_roger(self, *, information: str = "expected", linear: bool = False) -> KenwardRoger:
        """Return `bayesv.kenward_roger` of this fit."""
        return kenward_roger(self, information=information, linear=linear)

    def summary(self) -> str:
        """Return what lme4's ``summary`` prints."""
        return _summary(self)

    def __repr__(self) -> str:
        return self.summary()


def _summary(fit: RemlFit) -> str:
    """Return criterion, scaled residuals, variance components, fixed effects and flags."""
    design = fit.design
    full = {"REML": "restricted maximum likelihood", "ML": "maximum likelihood"}[fit.method]
    made_by = "" if fit.origin == "bayesv" else f" ({fit.origin})"
    name = "REML criterion" if fit.method == "REML" else "-2 log likelihood (deviance)"
    lines = [
        f"Linear mixed model by {full}{made_by}",
        f"Formula: {design.formula}",
        "",
        f"{name}: {fit.criterion:.4f}",
        "",
        *(["Scaled residuals:", _scaled_residuals(fit), ""] if design.has_rows else []),
        "Random effects:" if design.terms else "Residuals:",
        repr(fit.components),
        *_sizes(design),
    ]
    if design.p:
        lines += ["", "Fixed effects:", _fixed(fit)]
    if design.p > 1:
        lines += ["", "Correlation of fixed effects:", _correlation(fit.cov_beta)]
    lines += ["", *_flags(fit)]
    return "\n".join(lines).rstrip()


def _sizes(design: Design) -> list[str]:
    """Return numbers of rows and levels, and the form of structured residuals."""
    sizes = f"Rows: {design.n}"
    if design.terms:
        levels = ", ".join(
            f"{term.group} {term.n_levels}"
            + (f" ({term.relationship.describe()})" if term.relationship is not None else "")
            for term in design.terms
        )
        sizes += f"; levels: {levels}"
    form = design.parametric_residual
    return [sizes] if form is None else [sizes, f"Residuals: {form.describe()}"]


def _scaled_residuals(fit: RemlFit) -> str:
    residuals = fit.gls.residuals.to_numpy() / fit.components.sigma
    white = fit.design.at(fit.components).residual.whiten(residuals)
    values = np.quantile(white, [0, 0.25, 0.5, 0.75, 1])
    heads = ("Min", "1Q", "Median", "3Q", "Max")
    return "\n".join(
        ("".join(f"{head:>9}" for head in heads), "".join(f"{value:9.4f}" for value in values))
    )


def _fixed(fit: RemlFit) -> str:
    table = pd.DataFrame({"Estimate": fit.beta, "Std. Error": fit.se, "t value": fit.beta / fit.se})
    return str(table.to_string(float_format=lambda v: f"{v:.5g}"))


def _correlation(cov: pd.DataFrame) -> str:
    sd = np.sqrt(np.diagonal(cov))
    corr = cov.to_numpy() / np.outer(sd, sd)
    names = [str(name) for name in cov.index]
    width = max(8, *(len(name) + 1 for name in names[:-1]))
    width = min(width, 14)
    lines = [" " * 16 + "".join(f"{name[: width - 1]:>{width}}" for name in names[:-1])]
    for i in range(1, len(names)):
        row = "".join(f"{corr[i, j]:{width}.3f}" for j in range(i))
        lines.append(f"{names[i][:16]:<16}{row}")
    return "\n".join(lines)


def _flags(fit: RemlFit) -> list[str]:
    flags = []
    if fit.singular:
        flags.append(
            "singular fit: a variance is 0 or a correlation ±1; a boundary estimate, not an error"
        )
    if not fit.converged:
        why = f"{fit.origin} says so"
        if fit.origin == "bayesv":
            why = f"gradient {fit.gradient_norm:.2g}"
        flags.append(f"NOT CONVERGED: {why}")
    flags += [f"problem: {problem}" for problem in fit.problems]
    flags += [f"note: {note}" for note in fit.design.notes]
    return flags
