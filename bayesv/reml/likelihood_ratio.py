"""Likelihood ratio tests of nested fits."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from bayesv.covariance.summed import same_fixed, same_rows
from bayesv.design.design import Design
from bayesv.errors import BayesvError, DataError
from bayesv.gram import statistics_of
from bayesv.reml import RemlFit, fit_reml, fit_structured
from bayesv.support.arguments import a, accepts
from bayesv.support.shown import WholeFrame

__all__ = ["lrt"]

_FIT = a(RemlFit, hint="fit one by model.reml().")
_WORSE = 1e-6  # relative, by which a larger model may be worse for rounding


@accepts(smaller=_FIT, larger=_FIT)
def lrt(smaller: RemlFit, larger: RemlFit) -> pd.DataFrame:
    """Test a fit against a larger one that it is nested in, by the ratio of their likelihoods.

    Parameters
    ----------
    smaller, larger : RemlFit
        Of the same rows and response. Restricted likelihoods are compared where both fits are by
        REML and have the same fixed effects; else both are refitted by ML.

    Returns
    -------
    DataFrame
        A line a fit: method, parameters, criterion, aic, bic; in the second also statistic, df, p
        and p_boundary. Where the larger model has one more random effect, its variance is 0, the
        end of its range, under the smaller one: p is too large, about twice, and p_boundary is that
        of the mixture of χ² with df and df − 1 degrees of freedom. NaN elsewhere.

    Raises
    ------
    DataError
        If the fits are of other rows or responses.
    BayesvError
        If they are not nested: the larger has no more parameters, or a lower likelihood.

    Notes
    -----
    That the smaller model is a case of the larger one is taken from the user. Random effects of
    several columns, related levels or residuals at the end of a range have mixtures of their own:
    `bayesv.bootstrap` of the smaller fit has the distribution itself.

    References
    ----------
    Stram, D. O., & Lee, J. W. (1994). Variance components testing in the longitudinal mixed
    effects model. Biometrics, 50, 1171–1177. https://doi.org/10.2307/2533455

    Examples
    --------
    >>> import bayesv as bv
    >>> data = bv.load_dataset("sleepstudy")
    >>> one = bv.Model("Reaction ~ Days + (1 | Subject)", data).reml()
    >>> two = bv.Model("Reaction ~ Days + (Days | Subject)", data).reml()
    >>> bv.lrt(one, two)["statistic"].round(2).to_list()
    [nan, 42.84]
    """
    _same_data(smaller, larger)
    equal = _same_fixed(smaller, larger)
    if not (equal and smaller.method == larger.method):
        smaller, larger = _by_ml(smaller), _by_ml(larger)
    df = larger.n_parameters - smaller.n_parameters
    statistic = smaller.criterion - larger.criterion
    if df <= 0:
        raise BayesvError(
            f"The second fit has {larger.n_parameters} parameters, the first "
            f"{smaller.n_parameters}: the larger model comes second, lrt(smaller, larger)."
        )
    if statistic < -_WORSE * max(1.0, abs(larger.criterion)):
        raise BayesvError(
            f"The model with more parameters has the lower likelihood (by {-statistic / 2:.4g}): "
            "the fits are not nested, or one is not at its optimum."
        )
    statistic = max(statistic, 0.0)
    p = float(chdtrc(df, statistic))
    sds = [sum(t.structure.n_sds for t in fit.design.terms) for fit in (smaller, larger)]
    mixed = float("nan")
    if equal and sds[1] == sds[0] + 1:
        below = float(chdtrc(df - 1, statistic)) if df > 1 else float(statistic == 0.0)
        mixed = 0.5 * (p + below)
    rows = [
        (fit.method, fit.n_parameters, fit.criterion, fit.aic, fit.bic) for fit in (smaller, larger)
    ]
    names = ["method", "parameters", "criterion", "aic", "bic"]
    table = pd.DataFrame(rows, columns=names, index=[_named(f.design) for f in (smaller, larger)])
    tests = {"statistic": statistic, "df": float(df), "p": p, "p_boundary": mixed}
    return WholeFrame(table.assign(**{name: [np.nan, value] for name, value in tests.items()}))


def _named(design: Design) -> str:
    form = design.parametric_residual
    return design.formula if form is None else f"{design.formula}; {form.describe().split(':')[0]}"


def _same_data(one: RemlFit, two: RemlFit) -> None:
    a, b = one.design, two.design
    same = a.n == b.n and a.has_rows == b.has_rows
    if same and a.has_rows:
        same = np.array_equal(a.y, b.y)
    elif same:
        same = same_rows(a, b, (one.statistics, two.statistics))
    if not same:
        raise DataError(
            f"The fits are of other data: {a.n} and {b.n} rows of {a.response!r} and "
            f"{b.response!r}. Fit both to the same rows; those with missing values are left out."
        )


def _same_fixed(one: RemlFit, two: RemlFit) -> bool:
    a, b = one.design, two.design
    if not a.has_rows:
        return same_fixed(a, b, (one.statistics, two.statistics))
    return tuple(a.fixed_names) == tuple(b.fixed_names) and np.array_equal(a.X, b.X)


def _by_ml(fit: RemlFit) -> RemlFit:
    """Return the fit of the same design by ML."""
    if fit.method == "ML":
        return fit
    if fit.design.parametric_residual is not None or not fit.design.terms:
        return fit_structured(fit.design, "ML")
    stats = statistics_of(fit.design) if fit._stats is None else fit._stats
    return fit_reml(fit.design, stats, "ML")
