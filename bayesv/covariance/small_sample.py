"""Small-sample inference for β after REML: tables, tests and degrees of freedom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtrc, fdtrc

from bayesv.covariance.contrasts import contrast_matrix, contrast_row, estimates
from bayesv.covariance.moments import f_moments
from bayesv.covariance.student import t_quantile, t_tail
from bayesv.errors import BayesvError, FitWarning, none_of, warn
from bayesv.linalg import Array
from bayesv.support.arguments import FLAG, PROBABILITY, TEXT, accepts
from bayesv.support.shown import Part, Shown, Table, WholeFrame

__all__ = ["METHODS", "Adjustment", "FTest", "KenwardRoger"]

METHODS = ("Kenward–Roger", "Satterthwaite")
_SAME_DF = 1e-8
_LOST_SHARE = 1e-6  # of a contrast's SE per unit of what is not identified: less is rounding


class FTest(TypedDict):
    """A scaled F statistic, its degrees of freedom, and why there is none, or ``""``."""

    F: float
    df1: float
    df2: float
    scale: float
    p: float
    problem: str


@dataclass(frozen=True, eq=False, repr=False)
class KenwardRoger(Shown):
    """Covariance of β̂ that allows for the estimation of V, and degrees of freedom.

    Attributes
    ----------
    cov_plugin : DataFrame, shape (p, p)
        Φ = (X'V⁻¹X)⁻¹, as if V were known.
    cov : DataFrame, shape (p, p)
        Φ_A = Φ + 2Φ{Σ_ij W_ij (Q_ij − P_iΦP_j)}Φ of Kenward and Roger (1997),
        https://doi.org/10.2307/2533558. NaN for coefficients whose variance depends on a parameter
        that the data say nothing of.
    beta : Series, shape (p,)
        GLS estimate of the fixed effects at these components.
    W : ndarray, shape (m, m)
        Asymptotic covariance of the estimates of the m elements of (Σ_f, σ²), from the expected
        information of REML. Where several values of the elements state one V, as in ``(f || g)``
        with a factor f, a g-inverse: variances of functions of V are right, those of single
        elements have no meaning.
    W_observed : ndarray, shape (m, m)
        The same from the observed information, which Satterthwaite's method uses (as lmerTest):
        at a boundary only of directions along it. NaN where the likelihood has no maximum.
    parameters : tuple of str
        Names of the m elements.
    theta : ndarray, shape (m,)
        Their values.
    singular : ndarray of bool, shape (m,)
        Which are of a Σ_f with a variance of 0 or a correlation of ±1.
    aliased : ndarray, shape (m, a)
        Directions of the m elements along which V does not change.
    notes : tuple of str
        What is to be known of these numbers: parameters that are not identified, digits lost,
        estimates by ML.
    """

    cov_plugin: pd.DataFrame
    cov: pd.DataFrame
    beta: pd.Series
    W: Array
    W_observed: Array
    parameters: tuple[str, ...]
    theta: Array
    singular: NDArray[np.bool_]
    aliased: Array
    notes: tuple[str, ...]
    _parts: Adjustment

    @cached_property
    def se(self) -> pd.Series:
        """Standard errors from Φ_A, shape (p,)."""
        return pd.Series(np.sqrt(np.diagonal(self.cov)), self.cov.index, name="se")

    @cached_property
    def df(self) -> pd.Series:
        """Kenward–Roger degrees of freedom of each coefficient, shape (p,)."""
        values = [self.df_of(row) for row in np.eye(len(self.cov))]
        return pd.Series(values, self.cov.index, name="df")

    @cached_property
    def df_satterthwaite(self) -> pd.Series:
        """Satterthwaite's degrees of freedom of each coefficient, for use with Φ, shape (p,)."""
        values = [self.df_of(row, observed=True) for row in np.eye(len(self.cov))]
        return pd.Series(values, self.cov.index, name="df")

    def variance_parameters(self) -> pd.DataFrame:
        """Return the variance parameters with their asymptotic standard errors.

        Returns
        -------
        DataFrame
            Columns estimate; se, from the observed information; se_expected, from the expected
            one; and note, by parameter: elements of Σ_f, or SAS's parameters of a family, and those
            of R. NaN where data say nothing of a parameter by itself, or it is held at a boundary.

        Notes
        -----
        They describe curvature at the estimate. Estimates of variances are skewed, the more so the
        fewer levels there are: intervals are better taken from `bayesv.profile` or a posterior. On
        a boundary theory has none; a standard error there is that along it.
        """
        own = [np.diagonal(np.atleast_2d(W)) for W in (self.W_observed, self.W)]
        se, expected = (np.sqrt(np.where(v > 0, v, np.nan)) for v in own)
        aliased = (self.aliased != 0).any(axis=1)
        held = self.singular & np.isnan(se)
        notes = np.where(
            aliased, "not told from other parameters",
            np.where(held, "at its boundary", np.where(self.singular, "along a boundary", "")),
        )  # fmt: skip
        unknown = aliased | held
        columns = {
            "estimate": self.theta, "se": np.where(aliased, np.nan, se),
            "se_expected": np.where(unknown, np.nan, expected), "note": notes,
        }  # fmt: skip
        return pd.DataFrame(columns, index=pd.Index(self.parameters))

    @accepts(observed=FLAG)
    def df_of(self, weights: Any, *, observed: bool = False) -> float:
        """Return degrees of freedom of one contrast l'β̂: 2 (l'Φl)²/Var(l'Φ̂l).

        Parameters
        ----------
        weights : array_like, shape (p,), Series or mapping
            l, in the order of the fixed effects, or by their names (those left out weigh 0).
        observed : bool
            From the observed information: Satterthwaite's; else Kenward and Roger's.

        Returns
        -------
        float
            NaN where they do not exist; ``notes`` say why.
        """
        row = contrast_row(weights, self._names)
        parts = self._parts
        if parts.loses(row):
            return float("nan")
        slope = np.einsum("a,iab,b->i", row, parts.slopes, row)
        spread = float(slope @ (parts.W_observed if observed else parts.W) @ slope)
        if spread == 0.0:  # the variance does not depend on what is estimated
            return float("inf")
        return 2.0 * float(row @ parts.Phi @ row) ** 2 / spread

    def variance_of(self, weights: Any) -> float:
        """Return l'Φ_A l of one contrast, weights as in `df_of`; NaN where it does not exist."""
        row = contrast_row(weights, self._names)
        return float("nan") if self._parts.loses(row) else float(row @ self._parts.adjusted @ row)

    @accepts(method=TEXT)
    def test(self, L: Any, beta: Any = None, method: str = "Kenward–Roger") -> FTest:
        """Return the scaled F statistic of Lβ = 0 with its degrees of freedom.

        Parameters
        ----------
        L : array_like, shape (l, p), DataFrame, Series or mapping
            Rows that are linearly independent. An array is in the order of the fixed effects; a
            DataFrame's columns, and the labels of a Series or mapping, are aligned by name. A
            mapping of coefficients to weights is one row; of names to such rows, several.
        beta : array_like, shape (p,), Series or mapping, optional
            β̂, aligned by label if it has labels; `beta` if left out.
        method : {"Kenward–Roger", "Satterthwaite"}
            Kenward and Roger's, or the Wald F with Φ and, as lmerTest has it, degrees of freedom
            from those of its uncorrelated contrasts.

        Returns
        -------
        dict
            F, df1, df2, scale, p, and ``problem``: why there is no test (the numbers are NaN
            then), or empty.

        Raises
        ------
        BayesvError
            If labels do not fit, a row of L is 0, or its rows depend on each other.

        Warns
        -----
        FitWarning
            If there is no test.

        Examples
        --------
        >>> import bayesv as bv
        >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
        >>> fit = model.reml()
        >>> test = bv.kenward_roger(fit).test({"Days": 1})
        >>> [round(test[name], 3) for name in ("F", "df1", "df2")]
        [45.853, 1.0, 17.0]
        """
        L = contrast_matrix(L, self._names)
        estimate = L @ (self.beta.to_numpy() if beta is None else estimates(beta, self._names))
        parts, q, adjusted = self._parts, len(L), _adjusts(method)
        nan = float("nan")
        if any(parts.loses(row) for row in L):
            problem = "the variance of Lβ̂ depends on parameters that the data say nothing of"
        else:
            given = L
            # Rows are brought to unit variance, so that their scale costs no digits.
            L = L / (unit := np.sqrt(np.einsum("ka,ab,kb->k", L, parts.Phi, L)))[:, None]
            scale, df, problem = parts.f_moments(L) if adjusted else parts.wald_df(given)
        if problem:
            warn(f"No {METHODS[not adjusted]} test: {problem}.", FitWarning)
            return FTest(F=nan, df1=float(q), df2=nan, scale=nan, p=nan, problem=problem)
        estimate = estimate / unit
        cov = parts.adjusted if adjusted else parts.Phi
        wald = float(estimate @ np.linalg.solve(L @ cov @ L.T, estimate)) / q
        F = scale * wald
        p = float(chdtrc(q, q * F) if np.isinf(df) else fdtrc(q, df, F))
        return FTest(F=F, df1=float(q), df2=df, scale=scale, p=p, problem="")

    @accepts(prob=PROBABILITY, method=TEXT)
    def table(
        self, beta: Any = None, prob: float = 0.95, method: str = "Kenward–Roger"
    ) -> pd.DataFrame:
        """Return estimate, standard error, df, t, p and interval of each coefficient.

        Parameters
        ----------
        beta : array_like, shape (p,), Series or mapping, optional
            β̂, aligned by label if it has labels; `beta` if left out.
        prob : float
            Of the intervals β̂ ± t_df se.
        method : {"Kenward–Roger", "Satterthwaite"}
            Φ_A with Kenward and Roger's degrees of freedom, or Φ with Satterthwaite's.

        Returns
        -------
        DataFrame
            Columns estimate, se, df, t, p (two-sided), low, high, by coefficient.

        Examples
        --------
        >>> import bayesv as bv
        >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
        >>> fit = model.reml()
        >>> print(bv.kenward_roger(fit).table().round(3).to_string())
                   estimate     se    df       t    p      low     high
        Intercept   251.405  6.825  17.0  36.838  0.0  237.007  265.804
        Days         10.467  1.546  17.0   6.771  0.0    7.206   13.729
        """
        adjusted = _adjusts(method)
        estimate = self.beta.to_numpy() if beta is None else estimates(beta, self._names)
        cov = self.cov if adjusted else self.cov_plugin
        df = (self.df if adjusted else self.df_satterthwaite).to_numpy()
        se = np.sqrt(np.diagonal(cov))
        t = estimate / se
        half = se * t_quantile(df, (1 + prob) / 2)
        columns = {
            "estimate": estimate, "se": se, "df": df, "t": t, "p": 2.0 * t_tail(df, np.abs(t)),
            "low": estimate - half, "high": estimate + half,
        }  # fmt: skip
        return WholeFrame(columns, index=pd.Index(self._names))

    def _shown(self) -> Iterator[Part]:
        yield "Kenward–Roger"
        yield Table.of(self.table())
        yield from (f"note: {note}" for note in self.notes)

    @cached_property
    def _names(self) -> list[str]:
        return [str(name) for name in self.cov.index]


@dataclass(frozen=True, eq=False)
class Adjustment:
    """Φ, Φ_A, ∂Φ/∂θ_i and Cov(θ̂) for θ of orthonormal columns of Z, β as the user's.

    ``lost_slopes`` and ``lost_squares``, (l, p, p): derivatives of Φ by directions of θ that REML
    does not see, and the squares of what they add to Φ_A, in units of their share of V.
    """

    Phi: Array
    adjusted: Array
    slopes: Array
    W: Array
    W_observed: Array
    lost_slopes: Array
    lost_squares: Array

    def f_moments(self, L: Array) -> tuple[float, float, str]:
        """Return Kenward and Roger's scale and df of rows of unit variance; why there are none."""
        moved = np.linalg.solve(L @ self.Phi @ L.T, L @ self.slopes @ L.T)
        traces = np.trace(moved, axis1=1, axis2=2)
        A1 = float(traces @ self.W @ traces)
        A2 = float(np.einsum("ij,iab,jba->", self.W, moved, moved))
        return f_moments(len(L), A1, A2)

    def wald_df(self, L: Array) -> tuple[float, float, str]:
        """Return 1, the df of a Wald F by Satterthwaite's method, and why there are none.

        Of contrasts that are uncorrelated, along the eigenvectors of LΦL', each t² has mean
        ν/(ν − 2); F(q, m) has that of their mean. Other rows of the same hypothesis have other
        eigenvectors, and slightly other degrees of freedom, as in lmerTest and SAS.
        """
        values, vectors = np.linalg.eigh(L @ self.Phi @ L.T)
        rows = vectors.T @ L
        slopes = np.einsum("ka,iab,kb->ki", rows, self.slopes, rows)
        spread = np.einsum("ki,ij,kj->k", slopes, self.W_observed, slopes)
        if np.isnan(spread).any():
            return np.nan, np.nan, "the likelihood has no maximum at these components"
        nu = np.where(spread > 0, 2.0 * values**2 / np.where(spread > 0, spread, 1.0), np.inf)
        if np.isinf(nu).all() or np.ptp(nu) < _SAME_DF:
            return 1.0, float(nu.mean()), ""
        if (nu <= 2.0).any():
            return 1.0, 2.0, ""
        means = float((1.0 / (1.0 - 2.0 / nu)).sum())
        return 1.0, 2.0 * means / (means - len(L)), ""

    def loses(self, row: Array) -> bool:
        """Whether the variance of a contrast depends on what the data say nothing of."""
        variance = float(row @ self.Phi @ row)
        slope = np.einsum("a,iab,b->i", row, self.lost_slopes, row) / variance
        square = np.einsum("a,iab,b->i", row, self.lost_squares, row) / variance
        return bool(np.maximum(slope**2, square).max(initial=0.0) > _LOST_SHARE**2)


def _adjusts(method: str) -> bool:
    """Whether a method is Kenward and Roger's, rather than Satterthwaite's."""
    chosen = str(method).replace("Kenward-Roger", METHODS[0])
    if chosen not in METHODS:
        raise BayesvError(none_of("method", method, METHODS))
    return chosen == METHODS[0]
