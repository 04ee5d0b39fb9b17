"""Marginal means, slopes and their contrasts over a grid of levels, equally weighted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from bayesv.covariance.adjustment import refuse_sums
from bayesv.covariance.anova import DDF, small_sample_of
from bayesv.covariance.means import Means, weights_of
from bayesv.covariance.several_tests import (
    ADJUSTMENTS,
    SIDES,
    Hypothesis,
    adjusted,
    fitting_adjustment,
    in_place_of,
)
from bayesv.covariance.small_sample import METHODS, KenwardRoger
from bayesv.covariance.student import t_quantile
from bayesv.errors import BayesvError
from bayesv.linalg import Array
from bayesv.support.arguments import (
    NUMBER,
    PROBABILITY,
    TEXT,
    TEXTS,
    accepts,
    called,
    choice,
    mapping,
    numeric,
    optional,
)
from bayesv.support.shown import WholeFrame

__all__ = ["contrasts", "marginal_means"]


class _Estimated(Protocol):
    """A fit, or a posterior: what has β and a design."""

    @property
    def design(self) -> Any: ...
    @property
    def beta(self) -> Any: ...


def _names(name: str, value: Any) -> None:
    """Require one text or several."""
    if not isinstance(value, str):
        TEXTS(name, value)


def _method(name: str, value: Any) -> None:
    """Require a word or weights by name."""
    if not isinstance(value, str):
        mapping(numeric)(name, value)


_FIT = called("RemlFit", "Posterior")
_GRID = {"specs": _names, "by": _names, "at": optional(mapping()), "slope": optional(TEXT)}


@accepts(fit=_FIT, **_GRID, ddf=choice(*DDF), prob=PROBABILITY)
def marginal_means(
    fit: _Estimated,
    specs: str | Sequence[str] = (),
    *,
    by: str | Sequence[str] = (),
    at: Mapping[str, Any] | None = None,
    slope: str | None = None,
    over: Any = None,
    ddf: str = "kenward-roger",
    prob: float = 0.95,
) -> pd.DataFrame:
    """Return means of the response by levels of some factors, the others equally weighted.

    Parameters
    ----------
    fit : RemlFit or Posterior
        Of a formula.
    specs : str or sequence of str
        Columns whose combinations have a mean each; one mean over all if left out.
    by : str or sequence of str, optional
        More of them, for tables in parts.
    at : mapping of str to value or values, optional
        Values of columns; else covariates are at their mean and factors have all levels.
    slope : str, optional
        A covariate: not the mean itself but its derivative by this column, as emmeans' emtrends.
    over : DataFrame or mapping of columns, optional
        Rows over which means are averaged in place of the grid of equal weights, each row at every
        level of ``specs`` in turn: standardised means, or average slopes with ``slope``.
    ddf : {"kenward-roger", "satterthwaite"}
        Of a fit: Kenward and Roger's standard errors and degrees of freedom, or the plug-in's with
        Satterthwaite's.
    prob : float
        Of the intervals.

    Returns
    -------
    DataFrame
        Columns of ``by`` and ``specs``; estimate, se, df, low, high. Of a posterior the mean, sd
        and equal-tailed interval of its draws, without df. NaN where empty cells leave a mean
        without estimate.

    Raises
    ------
    BayesvError
        If a column is none of the fixed effects', or the mean of a covariate is not known.

    Notes
    -----
    As emmeans: each row of the grid is xβ̂; a mean is that of the rows that share its levels, and
    an offset adds its mean over the rows of the fit, or over those given. A
    slope is (dx/dz)β̂ by the column z, through every function of it, averaged likewise. With
    ``over`` the data, means, their contrasts and slopes are what marginaleffects calls
    ``avg_predictions``, ``avg_comparisons`` and ``avg_slopes``.

    Examples
    --------
    >>> import bayesv as bv
    >>> data = bv.load_dataset("sleepstudy").assign(late=lambda d: d["Days"] > 4)
    >>> fit = bv.Model("Reaction ~ late + (1 | Subject)", data).reml()
    >>> print(bv.marginal_means(fit, "late").round(1).to_string(index=False))
     late  estimate  se   df   low  high
    False     271.6 9.4 19.8 252.0 291.3
     True     325.4 9.4 19.8 305.8 345.0
    >>> fit = bv.Model("Reaction ~ late * Days + (1 | Subject)", data).reml()
    >>> print(bv.marginal_means(fit, "late", slope="Days").round(1).to_string(index=False))
     late  estimate  se    df  low  high
    False       8.2 2.3 159.0  3.7  12.8
     True      10.9 2.3 159.0  6.3  15.5
    """
    means = _means(fit, specs, by, at, slope, over)
    return WholeFrame(
        pd.concat([means.labels, _of(fit, ddf).table(means.L, means.offset, prob)], axis=1)
    )


@accepts(
    fit=_FIT,
    **_GRID,
    method=_method,
    ddf=choice(*DDF),
    adjust=choice(*ADJUSTMENTS),
    side=choice(*SIDES),
    null=NUMBER,
    delta=NUMBER,
    prob=PROBABILITY,
)
def contrasts(
    fit: _Estimated,
    specs: str | Sequence[str],
    method: str | Mapping[str, Sequence[float]] = "pairwise",
    *,
    by: str | Sequence[str] = (),
    at: Mapping[str, Any] | None = None,
    slope: str | None = None,
    over: Any = None,
    adjust: str = "tukey",
    side: str = "two-sided",
    null: float = 0.0,
    delta: float = 0.0,
    ddf: str = "kenward-roger",
    prob: float = 0.95,
) -> pd.DataFrame:
    """Return contrasts of marginal means, or of slopes.

    Parameters
    ----------
    fit, specs, by, at, slope, over, ddf, prob
        As in `marginal_means`; contrasts are within the levels of ``by``.
    method : {"pairwise", "reference", "consecutive", "mean", "polynomial"} or mapping
        All differences, each mean less the first, less the one before, less the mean of all;
        orthonormal polynomials over equal steps; or weights of the means in their order by name.
    adjust : {"tukey", "mvt", "scheffe", "sidak", "holm", "hochberg", "hommel", "bonferroni", …}
        Of p-values, and of intervals so that all of one level of ``by`` cover at once (of methods
        in steps they are Bonferroni's); also ``"fdr"``, the same as ``"bh"`` (Benjamini and
        Hochberg), ``"by"`` (Benjamini and Yekutieli), ``"none"``. Tukey's is for pairwise
        differences; those to a reference then have mvt, the joint t of the contrasts, which is
        Dunnett's, and others Holm's. A posterior's intervals are of one contrast each.
    side : {"two-sided", "greater", "less"}
        Of the alternative: different from ``null``, above it or below it. Intervals of one side
        are open on that side; Holm's take the place of Tukey's p-values (emmeans: Šidák's), and a
        note under the table says so.
    null : float
        The value that is tested.
    delta : float
        A margin. Of two sides: equivalence, p of two one-sided tests that the contrast is within
        ``null`` ± δ. ``"greater"``: non-inferiority, that it is above ``null`` − δ; ``"less"``:
        that it is below ``null`` + δ. Of a posterior: ``within``, the probability of ``null`` ± δ.

    Returns
    -------
    DataFrame
        Columns of ``by``; contrast, estimate, se, df, t, p, low, high. Of a posterior: contrast,
        estimate, se, low, high, and ``positive``, the probability that it is above ``null``.

    Raises
    ------
    BayesvError
        As `marginal_means`, or if weights, adjustment or margin do not fit.

    Examples
    --------
    >>> import bayesv as bv
    >>> data = bv.load_dataset("sleepstudy").assign(late=lambda d: d["Days"] > 4)
    >>> fit = bv.Model("Reaction ~ late + (1 | Subject)", data).reml()
    >>> table = bv.contrasts(fit, "late")
    >>> table["contrast"].to_list(), table[["estimate", "se", "df"]].round(2).iloc[0].to_list()
    (['False - True'], [-53.76, 5.08, 161.0])
    """
    if not 0.0 <= delta < np.inf or not np.isfinite(null):
        raise BayesvError(f"delta is at least 0, null a number; found {delta} and {null}.")
    means = _means(fit, specs, by, at, slope, over)
    source, parts, tested = _of(fit, ddf), [], Hypothesis(side, float(null), float(delta))
    note = ""
    for head, rows in means.parts():
        names, weights = weights_of(method, means.names(rows))
        L, known = _combined(weights, means.L[rows]), means.offset * weights.sum(axis=1)
        table = source.table(L, known, prob)
        table.insert(0, "contrast", names)
        own = fitting_adjustment(adjust, method, len(L), tested)
        table = source.tested(table, L, known, own, len(rows), prob, tested)
        note = note or in_place_of(adjust, own, len(L))
        for place, (name, value) in enumerate(head.items()):
            table.insert(place, name, value)
        parts.append(table)
    result = WholeFrame(pd.concat(parts, ignore_index=True))
    if note and isinstance(source, _Fit):
        result.attrs["note"] = note
    return result


@dataclass(frozen=True, eq=False)
class _Fit:
    """Estimates of functions Lβ of a fit."""

    kr: KenwardRoger
    method: str

    def table(self, L: Array, known: Array | float, prob: float) -> pd.DataFrame:
        """Return estimate, se, df and interval of each row of Lβ, and what is known beside it."""
        estimate, adjusted = L @ self.kr.beta.to_numpy() + known, self.method == METHODS[0]
        rows = []
        for row in L:
            if np.isnan(row).any():
                rows.append((np.nan, np.nan))
            elif adjusted:
                rows.append((self.kr.variance_of(row), self.kr.df_of(row)))
            else:
                plug_in = float(row @ self.kr.cov_plugin.to_numpy() @ row)
                rows.append((plug_in, self.kr.df_of(row, observed=True)))
        variance, df = np.array(rows).T
        se = np.sqrt(variance)
        half = se * t_quantile(df, (1 + prob) / 2)
        return pd.DataFrame(
            {"estimate": estimate, "se": se, "df": df, "low": estimate - half,
             "high": estimate + half}
        )  # fmt: skip

    def tested(
        self,
        table: pd.DataFrame,
        L: Array,
        known: Array,
        adjust: str,
        n_means: int,
        prob: float,
        of: Hypothesis,
    ) -> pd.DataFrame:
        """Add t and p, both they and intervals adjusted for the number of contrasts."""
        estimate, se, df = (table[name].to_numpy() for name in ("estimate", "se", "df"))
        t = of.statistic(estimate, se)
        cov = self.kr.cov if self.method == METHODS[0] else self.kr.cov_plugin
        joint = L @ cov.to_numpy() @ L.T
        p, critical = adjusted(t, df, joint, adjust, n_means, prob, of)
        low, high = of.interval(estimate, critical * se)
        return table.drop(columns=["low", "high"]).assign(t=t, p=p, low=low, high=high)


@dataclass(frozen=True, eq=False)
class _Draws:
    """Draws of β of a posterior, shape (S, p)."""

    beta: Array

    def table(self, L: Array, known: Array | float, prob: float) -> pd.DataFrame:
        """Return mean, sd and interval of each row of Lβ, and what is known beside it."""
        values = self.beta @ L.T + known
        low, high = np.quantile(values, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
        return pd.DataFrame(
            {"estimate": values.mean(axis=0), "se": values.std(axis=0, ddof=1), "low": low,
             "high": high}
        )  # fmt: skip

    def tested(
        self,
        table: pd.DataFrame,
        L: Array,
        known: Array,
        adjust: str,
        n_means: int,
        prob: float,
        of: Hypothesis,
    ) -> pd.DataFrame:
        """Add the probability that a contrast is positive, and that it is within a margin."""
        if of.side != SIDES[0]:
            raise BayesvError(
                "side= is of tests; contrasts of a posterior have the probability that they are "
                "above null=, and that they are within delta= of it."
            )
        away = self.beta @ L.T + known - of.null
        table = table.assign(positive=(away > 0).mean(axis=0))
        if of.delta > 0:
            table["within"] = (np.abs(away) < of.delta).mean(axis=0)
        return table


def _means(fit: _Estimated, *grid: Any) -> Means:
    """Return the means of a grid; what a fit has no errors of is refused before they are made."""
    if isinstance(fit.beta, pd.Series):
        refuse_sums(fit.design)
    return Means.of(fit.design, *grid)


def _of(fit: _Estimated, ddf: str) -> _Fit | _Draws:
    beta = fit.beta
    if isinstance(beta, pd.Series):
        return _Fit(*small_sample_of(fit, ddf))
    values = np.asarray(beta, dtype=float)
    return _Draws(values.reshape(-1, values.shape[-1]))


def _combined(weights: Array, L: Array) -> Array:
    """Return weights @ L: NaN only where a mean without estimate has a weight."""
    lost = (weights[:, np.isnan(L).any(axis=1)] != 0).any(axis=1)
    return np.where(lost[:, None], np.nan, weights @ np.nan_to_num(L))
