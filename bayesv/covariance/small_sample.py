"""Small-sample inference for β after REML: Kenward–Roger and Satterthwaite."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.special import chdtrc, fdtrc

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.contrasts import contrast_matrix, contrast_row, estimates
from bayesv.covariance.geometry import Geometry, geometry
from bayesv.covariance.identified import Identified, identified
from bayesv.covariance.information import Information, elements_of, information
from bayesv.covariance.marginal import MarginalCovariance
from bayesv.covariance.moments import f_moments
from bayesv.covariance.satterthwaite import observed_covariance
from bayesv.covariance.student import t_quantile, t_tail
from bayesv.design import Design
from bayesv.errors import BayesvError, ComponentsError, DataError, FitWarning
from bayesv.linalg import Array, symmetrize

__all__ = ["KenwardRoger", "kenward_roger"]

_METHODS = ("Kenward–Roger", "Satterthwaite")
_LOST = 1e-6  # of a contrast's SE per unit of what is not identified: less is rounding
_MOST = 1e9  # variance of the random effects in the rows beside σ²: 6 digits are left
_TOO_MUCH = 1e14


class _Fitted(Protocol):
    """What of a fit is needed."""

    @property
    def design(self) -> Design: ...
    @property
    def components(self) -> VarianceComponents: ...
    @property
    def method(self) -> str: ...


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
    notes: tuple[str, ...]
    _inner: _Inner

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
        inner = self._inner
        if inner.loses(row):
            return float("nan")
        slope = np.einsum("a,iab,b->i", row, inner.slopes, row)
        spread = float(slope @ (inner.W_observed if observed else inner.W) @ slope)
        if spread == 0.0:  # the variance does not depend on what is estimated
            return float("inf")
        return 2.0 * float(row @ inner.Phi @ row) ** 2 / spread

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
        >>> fit = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy")).reml()
        >>> test = bv.kenward_roger(fit).test({"Days": 1})
        >>> [round(test[name], 3) for name in ("F", "df1", "df2")]
        [45.853, 1.0, 17.0]
        """
        L = contrast_matrix(L, self._names)
        estimate = L @ (self.beta.to_numpy() if beta is None else estimates(beta, self._names))
        inner, q = self._inner, len(L)
        nothing = dict.fromkeys(("F", "df2", "scale", "p"), float("nan"))
        if any(inner.loses(row) for row in L):
            problem = "the variance of Lβ̂ depends on parameters that the data say nothing of"
        else:
            # Rows are brought to unit variance, so that their scale costs no digits.
            L = L / (unit := np.sqrt(np.einsum("ka,ab,kb->k", L, inner.Phi, L)))[:, None]
            moved = np.linalg.solve(L @ inner.Phi @ L.T, L @ inner.slopes @ L.T)
            traces = np.trace(moved, axis1=1, axis2=2)
            A1 = float(traces @ inner.W @ traces)
            A2 = float(np.einsum("ij,iab,jba->", inner.W, moved, moved))
            scale, df, problem = f_moments(q, A1, A2)
        if problem:
            warnings.warn(f"No Kenward–Roger test: {problem}.", FitWarning, stacklevel=2)
            return {**nothing, "df1": float(q), "problem": problem}
        estimate = estimate / unit
        wald = float(estimate @ np.linalg.solve(L @ inner.adjusted @ L.T, estimate)) / q
        F = scale * wald
        p = float(chdtrc(q, q * F) if np.isinf(df) else fdtrc(q, df, F))
        return {"F": F, "df1": float(q), "df2": df, "scale": scale, "p": p, "problem": ""}

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
        >>> fit = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy")).reml()
        >>> print(bv.kenward_roger(fit).table().round(3).to_string())
                   estimate     se    df       t    p      low     high
        Intercept   251.405  6.825  17.0  36.838  0.0  237.006  265.804
        Days         10.467  1.546  17.0   6.771  0.0    7.206   13.729
        """
        if not 0 < prob < 1:
            raise BayesvError(f"prob lies between 0 and 1; found {prob!r}.")
        chosen = str(method).replace("Kenward-Roger", _METHODS[0])
        if chosen not in _METHODS:
            raise BayesvError(f"method must be one of {', '.join(_METHODS)}; found {method!r}.")
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
class _Inner:
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
        return bool(np.maximum(slope**2, square).max(initial=0.0) > _LOST**2)


def kenward_roger(fit: Design | _Fitted, vc: VarianceComponents | None = None) -> KenwardRoger:
    """Adjust the covariance of β̂ for the estimation of V, and find degrees of freedom.

    Parameters
    ----------
    fit : RemlFit or Design
        A fit by REML, or a design with its rows; known weights are taken into account.
    vc : VarianceComponents, optional
        With a design: REML estimates. Components by ML cannot be told from them; give the fit.

    Returns
    -------
    KenwardRoger

    Raises
    ------
    DataError
        If one connected cluster has more than 12,000 random effects, or there are no fixed effects.

    Warns
    -----
    FitWarning
        If the fit is by ML; if variances depend on a parameter that the data say nothing of, as
        with ``y ~ g + (1 | g)`` (those coefficients have NaN); if the random effects' variances are
        so large beside σ² that digits are lost; if it cannot be told what is identified.

    Notes
    -----
    V = Σ θ_i V_i is linear in the elements θ of Σ_f and σ². Everything follows from
    H = Z'V⁻¹Z and K = Z'V⁻¹X, cluster by cluster, and their counterparts with V⁻¹W⁻¹V⁻¹ for V⁻¹,
    in coordinates in which nothing cancels: no matrix has as many rows as the data. Where the
    information on θ is singular because one V is stated by many θ, as in ``(f || g)`` with a factor
    f, a g-inverse gives what the model without the surplus has.

    Satterthwaite's degrees of freedom take the curvature of the likelihood by Cholesky factors of
    Σ_f, as lmerTest; at a boundary what lies there adds nothing.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> bv.kenward_roger(model.reml()).df.round(3).to_dict()
    {'Intercept': 5.0}
    >>> bv.kenward_roger(model.design, model.reml().components).df.round(3).to_dict()
    {'Intercept': 5.0}
    """
    design, vc, method = _arguments(fit, vc)
    vc = MarginalCovariance(design, vc).vc  # checked
    if not design.p:
        raise DataError("There are no fixed effects, so there is nothing to adjust.")
    space = geometry(design, vc)
    at = information(space)
    if at.largest > _TOO_MUCH:
        raise ComponentsError(
            f"The random effects' variance in the rows is {at.largest:.1g} times sigma2: no digit "
            "of a Kenward–Roger adjustment would be left. A residual variance that is next to 0 "
            "says that the random effects reproduce the response; simplify the model."
        )
    known = identified(space, at)
    W = 2.0 * known.inverse(at.expected())
    observed, why = observed_covariance(space, at, known, method)
    inner = _inner(space, at, known, W, observed)
    names, parameters = list(design.fixed_names), _parameters(design)
    lost = np.array([inner.loses(row) for row in np.eye(len(names))])
    adjusted = np.where(lost[:, None] | lost, np.nan, inner.adjusted)
    to_user = _to_user(space)
    notes = _alarms(
        at, known, method, parameters, [n for n, on in zip(names, lost, strict=True) if on]
    )
    for note in notes:
        warnings.warn(note, FitWarning, stacklevel=2)
    if known.aliased.size:
        notes.append(_aliased(known, to_user, parameters))
    if why:
        notes.append(why)
    return KenwardRoger(
        cov_plugin=pd.DataFrame(inner.Phi, names, names),
        cov=pd.DataFrame(adjusted, names, names),
        beta=pd.Series(space.back @ (space.start + at.delta), names, name="beta"),
        W=symmetrize(to_user @ W @ to_user.T),
        W_observed=symmetrize(to_user @ observed @ to_user.T),
        parameters=parameters,
        notes=tuple(notes),
        _inner=inner,
    )


def _arguments(fit: Any, vc: Any) -> tuple[Design, VarianceComponents, str]:
    if isinstance(fit, Design) and vc is not None:
        return fit, vc, "REML"
    parts = [getattr(fit, name, None) for name in ("design", "components", "method")]
    if vc is None and isinstance(parts[1], VarianceComponents) and parts[2] in ("REML", "ML"):
        return parts[0], parts[1], parts[2]
    raise BayesvError(
        "kenward_roger takes a REML fit, kenward_roger(fit), or a design with components, "
        f"kenward_roger(design, components); found {type(fit).__name__} and {type(vc).__name__}."
    )


def _inner(
    space: Geometry, at: Information, known: Identified, W: Array, observed: Array
) -> _Inner:
    back, Phi, P, Q = space.back, at.Phi, at.P, at.Q

    def users(inside: Array) -> Array:
        return np.asarray(back @ Phi @ inside @ Phi @ back.T)

    between = Q - np.einsum("iab,bc,jcd->ijad", P, Phi, P, optimize=True)  # X'V⁻¹V_i𝒫V_jV⁻¹X
    middle = np.einsum("ij,ijab->ab", W, between)
    plug_in = symmetrize(back @ Phi @ back.T)
    lost = known.lost * known.unit[:, None]
    share = np.sqrt(np.einsum("in,ij,jn->n", lost, at.products, lost))
    lost = lost / np.where(share > 0, share, 1.0)
    return _Inner(
        Phi=plug_in,
        adjusted=plug_in + 2.0 * symmetrize(users(middle)),
        slopes=users(P),
        W=W,
        W_observed=observed,
        lost_slopes=users(np.einsum("in,iab->nab", lost, P)),
        lost_squares=users(np.einsum("in,jn,ijab->nab", lost, lost, between)),
    )


def _parameters(design: Design) -> tuple[str, ...]:
    return (
        *(
            f"{term.group}: " + ", ".join(dict.fromkeys((term.columns[b], term.columns[a])))
            for term in design.terms
            for a, b in zip(*np.nonzero(np.tril(term.mask)), strict=True)
        ),
        "sigma2",
    )


def _to_user(space: Geometry) -> Array:
    """Return the map of (vech Σ*, σ²) of all terms to (vech Σ, σ²), shape (m, m)."""
    elements = elements_of(space)
    M = np.zeros((len(elements) + 1,) * 2)
    M[-1, -1] = 1.0
    for k, (f, a, b) in enumerate(elements):
        C = space.maps[f]
        E = np.zeros_like(C)
        E[a, b] = E[b, a] = 1.0
        image = C @ E @ C.T
        for i, (g, c, d) in enumerate(elements):
            if f == g:
                M[i, k] = image[c, d]
    return M


def _alarms(
    at: Information, known: Identified, method: str, parameters: tuple[str, ...], lost: list[str]
) -> list[str]:
    """Return what makes numbers doubtful."""
    notes = []
    if method == "ML":
        notes.append(
            "Kenward–Roger at ML estimates: its theory is REML's. ML's variances are too small, and "
            "so are these standard errors; fit by REML"
        )
    if lost:
        which = _named(known.lost, parameters)
        notes.append(
            f"Kenward–Roger: the data say nothing of {which} beside the fixed effects, and the "
            f"variance of {', '.join(lost)} depends on it: NaN. Leave the random effect or the "
            "fixed effects that stand for the same groups out"
        )
    if known.doubtful:
        notes.append(
            "Kenward–Roger: the information on the variance parameters is so nearly singular that "
            "it cannot be told what is identified; what is nearly not was taken as not"
        )
    if at.largest > _MOST:
        notes.append(
            f"Kenward–Roger: the random effects' variance in the rows is {at.largest:.1g} times "
            f"sigma2, so that {max(15.0 - np.log10(at.largest), 0.0):.0f} digits or fewer are left"
        )
    return notes


def _named(directions: Array, parameters: tuple[str, ...]) -> str:
    """Return the parameters that directions touch."""
    size = np.abs(directions).max(axis=1)
    return ", ".join(n for n, s in zip(parameters, size, strict=True) if s > 1e-6 * size.max())


def _aliased(known: Identified, to_user: Array, parameters: tuple[str, ...]) -> str:
    directions = to_user @ (known.aliased * known.unit[:, None])
    size = np.abs(directions).max(axis=0)
    return (
        f"{_named(directions / size, parameters)} state one V in several ways: single values have "
        "no meaning, and what follows from V (β, its covariance, degrees of freedom) has"
    )
