"""Small-sample inference for β after REML: tables, tests and degrees of freedom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import chdtrc, fdtrc

from bayesv.covariance.contrasts import contrast_matrix, contrast_row, estimates
from bayesv.covariance.moments import f_moments
from bayesv.covariance.student import t_quantile, t_tail
from bayesv.errors import BayesvError, FitWarning, none_of, warn
from bayesv.linalg import Array
from bayesv.support.arguments import FLAG, PROBABILITY, TEXT, accepts

__all__ = ["Adjustment", "KenwardRoger"]

_METHODS = ("Kenward–Roger", "Satterthwaite")
_LOST_SHARE = 1e-6  # of a contrast's SE per unit of what is not identified: less is rounding


@dataclass(frozen=True, eq=False)
class KenwardRoger:
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

    def test(self, L: Any, beta: Any = None) -> dict[str, Any]:
        """Return the scaled F statistic of Lβ = 0 with its degrees of freedom.

        Parameters
        ----------
        L : array_like, shape (l, p), DataFrame, Series or mapping
            Rows that are linearly independent. An array is in the order of the fixed effects; a
            DataFrame's columns, and the labels of a Series or mapping, are aligned by name. A
            mapping of coefficients to weights is one row; of names to such rows, several.
        beta : array_like, shape (p,), Series or mapping, optional
            β̂, aligned by label if it has labels; `beta` if left out.

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
        parts, q = self._parts, len(L)
        nothing = dict.fromkeys(("F", "df2", "scale", "p"), float("nan"))
        if any(parts.loses(row) for row in L):
            problem = "the variance of Lβ̂ depends on parameters that the data say nothing of"
        else:
            # Rows are brought to unit variance, so that their scale costs no digits.
            L = L / (unit := np.sqrt(np.einsum("ka,ab,kb->k", L, parts.Phi, L)))[:, None]
            moved = np.linalg.solve(L @ parts.Phi @ L.T, L @ parts.slopes @ L.T)
            traces = np.trace(moved, axis1=1, axis2=2)
            A1 = float(traces @ parts.W @ traces)
            A2 = float(np.einsum("ij,iab,jba->", parts.W, moved, moved))
            scale, df, problem = f_moments(q, A1, A2)
        if problem:
            warn(f"No Kenward–Roger test: {problem}.", FitWarning)
            return {**nothing, "df1": float(q), "problem": problem}
        estimate = estimate / unit
        wald = float(estimate @ np.linalg.solve(L @ parts.adjusted @ L.T, estimate)) / q
        F = scale * wald
        p = float(chdtrc(q, q * F) if np.isinf(df) else fdtrc(q, df, F))
        return {"F": F, "df1": float(q), "df2": df, "scale": scale, "p": p, "problem": ""}

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
        chosen = str(method).replace("Kenward-Roger", _METHODS[0])
        if chosen not in _METHODS:
            raise BayesvError(none_of("method", method, _METHODS))
        estimate = self.beta.to_numpy() if beta is None else estimates(beta, self._names)
        adjusted = chosen == _METHODS[0]
        cov = self.cov if adjusted else self.cov_plugin
        df = (self.df if adjusted else self.df_satterthwaite).to_numpy()
        se = np.sqrt(np.diagonal(cov))
        t = estimate / se
        half = se * t_quantile(df, (1 + prob) / 2)
        columns = {
            "estimate": estimate, "se": se, "df": df, "t": t, "p": 2.0 * t_tail(df, np.abs(t)),
            "low": estimate - half, "high": estimate + half,
        }  # fmt: skip
        return pd.DataFrame(columns, index=pd.Index(self._names))

    def __repr__(self) -> str:
        lines = [f"Kenward–Roger\n{self.table().to_string(float_format=lambda v: f'{v:.5g}')}"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    @property
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

    def loses(self, row: Array) -> bool:
        """Whether the variance of a contrast depends on what the data say nothing of."""
        variance = float(row @ self.Phi @ row)
        slope = np.einsum("a,iab,b->i", row, self.lost_slopes, row) / variance
        square = np.einsum("a,iab,b->i", row, self.lost_squares, row) / variance
        return bool(np.maximum(slope**2, square).max(initial=0.0) > _LOST_SHARE**2)
