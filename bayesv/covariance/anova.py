"""Analysis of variance of the fixed effects: an F test of each term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from bayesv.covariance.adjustment import kenward_roger
from bayesv.covariance.small_sample import METHODS, KenwardRoger
from bayesv.errors import BayesvError, DataError
from bayesv.formula.reference_grid import FixedTerm, fixed_terms, summing_to_zero
from bayesv.linalg import Array
from bayesv.support.arguments import accepts, choice, whole
from bayesv.support.shown import WholeFrame

__all__ = ["DDF", "anova", "small_sample_of"]

DDF = {"kenward-roger": METHODS[0], "satterthwaite": METHODS[1]}


class _Fitted(Protocol):
    @property
    def design(self) -> Any: ...


def small_sample_of(fit: Any, ddf: str) -> tuple[KenwardRoger, str]:
    """Return the adjustment of a fit and the name of the method.

    Raises
    ------
    BayesvError
        If it is no fit.
    """
    return kenward_roger(fit), DDF[ddf]


@accepts(ddf=choice(*DDF))
def anova(fit: _Fitted, type: int = 3, ddf: str = "kenward-roger") -> pd.DataFrame:
    """Test each term of the fixed effects.

    Parameters
    ----------
    fit : RemlFit
        Of a formula.
    type : {2, 3}
        II: a term is tested in the model without the terms that contain it, given the covariance
        of β̂ in that of the fit (car's ``Anova``). III: with the terms that contain it, by equally
        weighted means of their factors; covariates that factors interact with are at 0, so centre
        them.
    ddf : {"kenward-roger", "satterthwaite"}
        Kenward and Roger's F with their covariance, scale and degrees of freedom, or the Wald F
        with Satterthwaite's, as lmerTest.

    Returns
    -------
    DataFrame
        Columns F, df1, df2, p, by term.

    Raises
    ------
    DataError
        If the design has no formula; with type III, if cells are empty.

    Examples
    --------
    >>> import bayesv as bv
    >>> fit = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy")).reml()
    >>> print(bv.anova(fit))
               F  df1  df2        p
    Days  45.853    1   17  <0.0001
    """
    whole()("type", type)
    if type not in (2, 3):
        raise BayesvError(f"type must be 2 or 3 (for II or III); found {type}.")
    kr, method = small_sample_of(fit, ddf)
    terms = fixed_terms(fit.design)
    if not terms:
        raise DataError("The fixed effects have no term but the intercept: nothing to test.")
    cov = (kr.cov if method == METHODS[0] else kr.cov_plugin).to_numpy()
    inverse = np.linalg.inv(summing_to_zero(fit.design)) if type == 3 else None
    rows = {}
    for term in terms:
        if not term.columns:  # aliased with terms before
            rows[term.label] = dict.fromkeys(("F", "df1", "df2", "p"), np.nan) | {"df1": 0.0}
            continue
        L = _alone(term, terms, cov) if inverse is None else inverse[list(term.columns)]
        test = kr.test(L, method=method)
        rows[term.label] = {"F": test["F"], "df1": test["df1"], "df2": test["df2"], "p": test["p"]}
    return WholeFrame(pd.DataFrame.from_dict(rows, orient="index"))


def _alone(term: FixedTerm, terms: Sequence[FixedTerm], cov: Array) -> Array:
    """Return L of a term where those that contain it are left out, given the covariance of β̂."""
    own = list(term.columns)
    above = [c for other in terms if other.variables > term.variables for c in other.columns]
    L = np.zeros((len(own), len(cov)))
    L[range(len(own)), own] = 1.0
    if above:
        L[:, above] = -np.linalg.solve(cov[np.ix_(above, above)], cov[np.ix_(above, own)]).T
    return L
