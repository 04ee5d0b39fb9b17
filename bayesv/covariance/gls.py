"""Generalised least squares at a given V, and the BLUPs that go with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from bayesv.covariance.centring import centred
from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.marginal import MarginalCovariance
from bayesv.design.design import Design
from bayesv.errors import BayesvError, ComponentsError, none_of
from bayesv.linalg import Array
from bayesv.support.arguments import accepts, choice
from bayesv.support.shown import Part, Shown, Table, digits

__all__ = ["GLSFit", "gls"]


@dataclass(frozen=True, eq=False, repr=False)
class GLSFit(Shown):
    """β̂ = (X'V⁻¹X)⁻¹X'V⁻¹y and what follows from it.

    Attributes
    ----------
    beta : Series, shape (p,)
        GLS estimate of the fixed effects, in units of y over units of X.
    cov : DataFrame, shape (p, p)
        (X'V⁻¹X)⁻¹, the covariance of β̂ if V is the truth.
    V : MarginalCovariance
        The V it was computed with.
    """

    beta: pd.Series
    cov: pd.DataFrame
    V: MarginalCovariance
    _residual: Array = field(repr=False)  # y − offset − Xβ̂, shape (n,)
    _log_det: float = field(repr=False)  # log|X'V⁻¹X|

    @cached_property
    def se(self) -> pd.Series:
        """Standard errors of β̂ given V, shape (p,)."""
        return pd.Series(np.sqrt(np.diagonal(self.cov)), self.beta.index, name="se")

    @property
    def left(self) -> Array:
        """The response less offset and Xβ̂, shape (n,)."""
        return self._residual

    @cached_property
    def blup(self) -> pd.Series:
        """û = G Z'V⁻¹(y − Xβ̂), labelled (group, level, coefficient), shape (q,)."""
        design = self.V.design
        u = self.V.G @ (design.Z.T @ self.V.solve(self._residual))
        return pd.Series(np.asarray(u), design.effect_labels, name="blup")

    @cached_property
    def blup_of_X(self) -> Array:
        """G Z'V⁻¹X: how û falls as β rises, shape (q, p)."""
        design = self.V.design
        return np.asarray(self.V.G @ (design.Z.T @ self.V.solve(design.X)))

    @cached_property
    def fitted(self) -> pd.Series:
        """Conditional fit Xβ̂ + Zû + offset by the user's row labels, shape (n,)."""
        design = self.V.design
        fit = design.y - self.residuals.to_numpy()
        return pd.Series(fit, design.row_labels, name="fitted")

    @cached_property
    def residuals(self) -> pd.Series:
        """Y less the conditional fit, shape (n,)."""
        design = self.V.design
        left = self._residual - design.Z @ self.blup.to_numpy()
        return pd.Series(left, design.row_labels, name="residual")

    @accepts(method=choice("REML", "ML"))
    def criterion(self, method: str = "REML") -> float:
        """Return −2 log restricted likelihood ("REML") or likelihood ("ML") at this V.

        Notes
        -----
        (n − p) log 2π + log|V| + log|X'V⁻¹X| + r'V⁻¹r, as lme4's ``REMLcrit``; for ML without
        log|X'V⁻¹X| and with n for n − p.
        """
        if method not in ("REML", "ML"):
            raise BayesvError(none_of("method", method, ("REML", "ML")))
        design = self.V.design
        value = self.V.logdet() + float(self.V.quadratic(self._residual))
        if method == "REML":
            return float(value + self._log_det + (design.n - design.p) * np.log(2 * np.pi))
        return float(value + design.n * np.log(2 * np.pi))

    def _shown(self) -> Iterator[Part]:
        yield "GLS given V"
        yield Table.of(pd.DataFrame({"beta": self.beta, "se": self.se}), digits(7))


def gls(design: Design, vc: VarianceComponents) -> GLSFit:
    """Generalised least squares with V = Z G Z' + R.

    Parameters
    ----------
    design : Design
        y (n,), X (n, p), Z (n, q).
    vc : VarianceComponents
        Σ_f and σ².

    Returns
    -------
    GLSFit

    Raises
    ------
    ComponentsError
        If the components do not fit the design.

    Notes
    -----
    X is centred and orthonormalised first, X = QT, so that the scale and offset of its columns cost
    no digits; Q'V⁻¹Q is factored by Cholesky. V itself is never inverted.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> vc = bv.VarianceComponents({"Subject": [[612.10, 9.604], [9.604, 35.07]]}, sigma2=654.94)
    >>> [float(b) for b in bv.gls(model.design, vc).beta.round(4)]
    [251.4051, 10.4673]
    """
    V = MarginalCovariance(design, vc)
    names = list(design.fixed_names)
    if design.p == 0:
        return GLSFit(
            pd.Series(dtype=float), pd.DataFrame(dtype=float), V, np.asarray(design.target), 0.0
        )
    rows = centred(design)
    Q, triangle = np.linalg.qr(rows.X)
    start = Q.T @ rows.y  # ordinary least squares: what is left to solve for is small
    VQ = V.solve(Q)
    try:
        factor = cho_factor(Q.T @ VQ, lower=True)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise ComponentsError(
            "X'V⁻¹X cannot be factored in double precision: the variances of the random effects "
            f"are too large beside sigma2={vc.sigma2:g}."
        ) from error
    gamma = start + cho_solve(factor, VQ.T @ (rows.y - Q @ start))
    beta = rows.beta(solve_triangular(triangle, gamma))
    root = solve_triangular(factor[0], np.eye(design.p), lower=True).T
    half = rows.M @ solve_triangular(triangle, root)
    log_det = 2.0 * float(np.log(np.abs(np.diagonal(triangle) * np.diagonal(factor[0]))).sum())
    return GLSFit(
        pd.Series(beta, names, name="beta"),
        pd.DataFrame(half @ half.T, names, names),
        V,
        np.asarray(rows.y - Q @ gamma),
        log_det,
    )
