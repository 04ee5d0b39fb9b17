"""What is inferred from a fit beside its estimates: tests, intervals, predicted effects, draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance import (
    ComponentDraws,
    GLSFit,
    KenwardRoger,
    VarianceComponents,
    anova,
    contrasts,
    kenward_roger,
    marginal_means,
)
from bayesv.covariance.collinearity import collinearity
from bayesv.covariance.effects import effects_of_sums, effects_table
from bayesv.covariance.effects_of_sums import EffectsOfSums
from bayesv.covariance.influence import influence
from bayesv.covariance.level_v import v_of_level
from bayesv.design.design import Design, require_rows
from bayesv.design.simulation import normal_scores, simulate
from bayesv.gram import GramStatistics
from bayesv.reml.intervals import METHODS, confint
from bayesv.reml.tidied import augmented, glanced, tidied
from bayesv.support.arguments import (
    PROBABILITY,
    SEED,
    TEXT,
    accepts,
    called,
    choice,
    optional,
    whole,
)
from bayesv.support.saving import Savable

__all__ = ["Inferences"]


class Inferences(Savable):
    """What follows from a design, components and their GLS; `RemlFit` says what they are."""

    design: Design
    components: VarianceComponents
    beta: pd.Series
    cov_beta: pd.DataFrame
    method: str

    @property
    def statistics(self) -> GramStatistics:
        """Gram statistics that were fitted."""
        raise NotImplementedError

    @property
    def gls(self) -> GLSFit:
        """GLS at the estimated V."""
        raise NotImplementedError

    def kenward_roger(self, *, information: str = "expected", linear: bool = False) -> KenwardRoger:
        """Return `bayesv.kenward_roger` of this fit."""
        return kenward_roger(self, information=information, linear=linear)

    def variance_parameters(self) -> pd.DataFrame:
        """Return the variance parameters, their standard errors, and what limits these.

        See `KenwardRoger.variance_parameters`.
        """
        return kenward_roger(self).variance_parameters()

    def anova(self, type: int = 3, ddf: str = "kenward-roger") -> pd.DataFrame:
        """Return `bayesv.anova` of this fit: an F test of each term of the fixed effects."""
        return anova(self, type, ddf)

    def marginal_means(self, specs: str | Sequence[str] = (), **options: Any) -> pd.DataFrame:
        """Return `bayesv.marginal_means` of this fit."""
        return marginal_means(self, specs, **options)

    def contrasts(
        self,
        specs: str | Sequence[str],
        method: str | Mapping[str, Sequence[float]] = "pairwise",
        **options: Any,
    ) -> pd.DataFrame:
        """Return `bayesv.contrasts` of the marginal means of this fit."""
        return contrasts(self, specs, method, **options)

    @accepts(method=choice(*METHODS), prob=PROBABILITY, refits=optional(called("Bootstrap")))
    def confint(self, method: str = "Wald", prob: float = 0.95, refits: Any = None) -> pd.DataFrame:
        """Return intervals of SDs, correlations, parameters of residuals and fixed effects.

        Parameters
        ----------
        method : {"Wald", "profile", "bootstrap"}
            ``"Wald"``: of SDs and correlations from the curvature at the estimate, symmetric in
            log SD and atanh of a correlation, as nlme's ``intervals``; NaN on a boundary, and of
            an SD that the curvature leaves free (over and times 100 and more). Of β
            Kenward–Roger's; normal ones of a fit by ML or of data in batches. ``"profile"``: of
            the profile likelihood by ML, whatever the fit, as lme4's ``confint``, with the
            estimates by ML; slower.
            ``"bootstrap"``: percentiles of refits.
        prob : float
        refits : Bootstrap, optional
            Refits of `bayesv.bootstrap` for that method.

        Returns
        -------
        DataFrame
            Columns estimate, low, high, by the labels of `bayesv.bootstrap`.

        Examples
        --------
        >>> import bayesv as bv
        >>> data = bv.load_dataset("sleepstudy")
        >>> fit = bv.Model("Reaction ~ Days + (Days | Subject)", data).reml()
        >>> fit.confint().loc["sd Subject: Days"].round(2).to_list()
        [5.92, 3.92, 8.95]
        """
        return confint(self, method, prob, refits)

    @accepts(prob=PROBABILITY)
    def tidy(self, prob: float = 0.95) -> pd.DataFrame:
        """Return every parameter in one table: fixed effects, SDs, correlations, residuals.

        Returns
        -------
        DataFrame
            ``effect``: fixed, random or residual; ``group``, ``term``, ``estimate``; of fixed
            effects ``se``, ``df``, ``t``, ``p``; ``low`` and ``high`` as `confint` has them. What
            broom.mixed's ``tidy`` and parameters' ``model_parameters`` have.

        Examples
        --------
        >>> import bayesv as bv
        >>> fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()
        >>> print(fit.tidy().drop(columns=["df", "t", "p"]).round(1).to_string(index=False))
          effect group         term  estimate   se    low   high
           fixed          Intercept    1527.5 19.4 1477.7 1577.3
          random Batch sd Intercept      42.0  NaN   18.9   93.1
        residual                 sd      49.5  NaN   37.3   65.7
        """
        return tidied(self, prob)

    def glance(self) -> pd.DataFrame:
        """Return one line: rows, σ, RMSE, likelihood, AIC, AICc, BIC, ICC, R², flags.

        Lines of several fits are stacked by ``pd.concat``. What broom.mixed's ``glance`` and
        performance's ``model_performance`` have.

        Examples
        --------
        >>> import bayesv as bv
        >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
        >>> model.reml().glance()[["aicc", "rmse", "R² conditional"]].round(3).iloc[0].to_list()
        [1756.114, 23.438, 0.799]
        """
        return glanced(self)

    def augment(self, data: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the rows with fitted values, residuals, leverage and Cook's distance.

        Parameters
        ----------
        data : DataFrame, optional
            The rows that were fitted, by the same index: their columns come first.

        Returns
        -------
        DataFrame
            ``fitted``, Xβ̂ + Zû; ``fixed``, Xβ̂; ``residual`` and ``pearson`` as `residuals`;
            ``se`` of the fitted value; where residuals are independent, ``hat``, ∂fitted/∂y, and
            ``cook``, Cook's distance of a row. What broom.mixed's ``augment`` has.

        Raises
        ------
        DataError
            If the data are not the rows of the fit, or came in batches.

        Examples
        --------
        >>> import bayesv as bv
        >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
        >>> model.reml().augment()[["fitted", "hat", "cook"]].iloc[0].round(3).to_list()
        [253.664, 0.229, 0.005]
        """
        require_rows(self.design, "Rows with their residuals", "fit.predict(newdata) has its own.")
        return augmented(self, data)

    @accepts(group=TEXT)
    def V(self, group: str, level: object) -> pd.DataFrame:
        """Return V of the rows of one level at the estimates, labelled, shape (m, m).

        Parameters
        ----------
        group, level : str, object
            Of a model of data in batches the rows of the level are read again.

        Examples
        --------
        >>> import bayesv as bv
        >>> fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()
        >>> fit.V("Batch", "A").iloc[0, :2].round().to_list()
        [4215.0, 1764.0]
        """
        return v_of_level(self.design, self.components, group, level)

    @accepts(group=optional(TEXT))
    def random_effects(self, group: str | None = None) -> pd.DataFrame:
        """Return predicted random effects with standard errors.

        Parameters
        ----------
        group : str, optional
            A grouping factor; all if left out.

        Returns
        -------
        DataFrame
            By (group, level, coefficient): ``estimate``, û; ``se``, the standard error of û − u
            with that of β̂, as SAS reports it; ``se_given_beta``, as if β were known, the root of
            lme4's ``condVar``. Neither has the uncertainty of V in it: a posterior has.

        Examples
        --------
        >>> import bayesv as bv
        >>> fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()
        >>> fit.random_effects().iloc[0].round(2).to_list()
        [-17.61, 24.77, 19.59]
        """
        if not self.design.has_rows:
            sums = EffectsOfSums.at(self.design, self.components, self.statistics)
            return effects_of_sums(sums, group)
        return effects_table(self.gls, group)

    @accepts(group=optional(TEXT))
    def influence(self, group: str | None = None) -> pd.DataFrame:
        """Return how β̂ moves without one cluster, V held: Cook's distance, moves in SEs.

        Parameters
        ----------
        group : str, optional
            Grouping factor whose levels are left out one by one; independent clusters of rows if
            left out.

        Returns
        -------
        DataFrame
            By level: ``rows``, ``cook``, and the move of each coefficient over its standard error.

        Examples
        --------
        >>> import bayesv as bv
        >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
        >>> model.reml().influence()["cook"].nlargest(2).round(3).to_dict()
        {'309': 0.149, '335': 0.129}
        """
        require_rows(self.design, "Influence", "Leave out by hand whom you doubt.")
        return influence(self.gls, group)

    def collinearity(self) -> pd.DataFrame:
        """Return variance inflation factors of the terms of the fixed effects.

        Returns
        -------
        DataFrame
            By term: ``df``, its columns; ``gvif``, generalised VIF, of one column its VIF;
            ``se_factor``, GVIF^(1/(2 df)), by which standard errors are larger than without the
            other terms; ``tolerance``, 1/GVIF. Above 5 is moderate, above 10 high, by the rules of
            thumb; interactions of what is not centred are high and mean nothing by it.

        Raises
        ------
        DataError
            If there are fewer than two terms beside the intercept.

        Notes
        -----
        As R's car (performance's SE_factor is √GVIF): det C₁ det C₂ / det C, C the correlations of
        β̂ without the intercept, C₁ those of the term and C₂ those of the others. Fox and Monette
        1992, https://doi.org/10.2307/2290467.

        Examples
        --------
        >>> import bayesv as bv
        >>> data = bv.load_dataset("sleepstudy").assign(late=lambda d: d["Days"] > 4)
        >>> fit = bv.Model("Reaction ~ Days + late + (1 | Subject)", data).reml()
        >>> fit.collinearity()["gvif"].round(2).to_dict()
        {'Days': 4.13, 'late': 4.13}
        """
        return collinearity(self)

    @accepts(n=whole(1), seed=SEED)
    def simulate(self, n: int = 1, seed: int | None = None) -> pd.DataFrame:
        """Draw responses at the estimates, with new random effects, shape (rows, n).

        Parameters
        ----------
        n : int
            Number of columns.
        seed : int, optional

        Examples
        --------
        >>> import bayesv as bv
        >>> fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()
        >>> fit.simulate(3, seed=1).shape
        (30, 3)
        """
        require_rows(
            self.design, "Simulated responses", "post.predict(new) draws those of given rows."
        )
        point = ComponentDraws.of(self.design, self.components, self.beta.to_numpy())
        rng = np.random.default_rng(seed)
        drawn = [
            simulate(point.design, point, normal_scores(point.design, rng))[0] for _ in range(n)
        ]
        return pd.DataFrame(np.stack(drawn, axis=1), self.design.row_labels)
