"""Functionals of V, computed for every draw of (Σ, σ²) at once.

Everything here is a function of a few sums over rows and of draws of the variance components; no
V is formed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance.draws import ComponentDraws
from bayesv.covariance.row_sums import RowSums, row_sums
from bayesv.design.design import Design
from bayesv.errors import BayesvError
from bayesv.formula.frame import as_numbers, column_names, take_columns
from bayesv.gram import GramStatistics, eliminate_many
from bayesv.linalg import Array
from bayesv.support.interpolation import interpolate
from bayesv.support.progress import progress

__all__ = [
    "definition",
    "function_of_covariates",
    "functionals",
    "functionals_of_draws",
    "log_determinant",
]

_WORTH_POLYNOMIALS = 100  # draws
_OF_LEVELS = {"correlation", "reliability"}
_OF_BETA = {"R² marginal", "R² conditional"}
_DEFINITIONS = {
    "log|V|": "log determinant of V = Z G Z' + R",
    "tr V": "sum of the variances of all rows",
    "VPC": "share of one component in the total: the mean over rows of z'Σz (Johnson 2014), for a "
    "random intercept σ²_g, over the mean variance of a row, fixed effects held; of K_jj z'Σz "
    "where levels have a known relationship K",
    "ICC": "shares of this factor and of the factors that it is nested in, summed: the correlation "
    "of two rows of one level that share no finer level (Stata's estat icc)",
    "repeatability": "share of this factor in the total (adjusted repeatability, as rptR: "
    "Nakagawa and Schielzeth 2010)",
    "correlation within": "mean correlation of two different rows of one level, those that also "
    "share a finer level included",
    "reliability of mean": "share of a level's own effect in the variance of the mean of its rows, "
    "averaged over levels; it grows with the rows per level",
    "design effect": "n Var(mean of y) over the mean variance of a row",
    "effective n": "rows over the design effect",
    "R² marginal": "variance of Xβ over rows (divisor n − 1), over itself plus the mean variance "
    "of a row (Nakagawa and Schielzeth 2013)",
    "R² conditional": "variance of Xβ plus the mean variance of all random effects, over the same",
}


def functionals(
    values: ComponentDraws,
    stats: GramStatistics | None,
    sums: RowSums | None = None,
    kinds: Collection[str] | None = None,
) -> dict[str, Array]:
    """Return scalar functionals of V, each of shape (S,).

    Parameters
    ----------
    values : ComponentDraws, shape (S,)
        Of a design with its rows, or whose rows can be read again.
    stats : GramStatistics or None
        Of the same design; None if it has no random terms.
    sums : RowSums, optional
        Of the same rows, if they are known.
    kinds : collection of str, optional
        Names of those that are wanted, without labels; what costs most is left out of others.

    Returns
    -------
    dict
        ``log|V|``; ``tr V``; ``VPC <component>``; of every grouping factor ``ICC``,
        ``repeatability``, ``correlation within`` (if a level has two rows) and ``reliability of
        mean``; ``design effect`` and ``effective n`` of the plain mean; ``R² marginal`` and ``R²
        conditional``. `definition` says what each is.

    Notes
    -----
    With s_f the mean over rows of z'Σ_f z, times K_jj of levels with a known relationship
    (Johnson 2014, https://doi.org/10.1111/2041-210X.12225)
    and s the sum of all and of mean σ²/w, VPC and repeatability
    (https://doi.org/10.1111/j.1469-185X.2010.00141.x) are s_f/s, the ICC is Σ s_h/s over the
    factors h that contain f, f itself among them. R² by
    https://doi.org/10.1111/j.2041-210x.2012.00261.x.
    """
    design, covs, sigma2 = values.design, values.covs, values.sigma2
    n, sums = design.n, sums or row_sums(design)
    of_R = n * np.log(sigma2) + sums.log_det
    result = {"log|V|": of_R if stats is None else log_determinant(values, stats)}
    parts = {group: _inner(covs[group], sums.squares(group)) for group in design.groups}
    residual = sigma2 * sums.inverse
    trace = sum(parts.values()) + residual
    result["tr V"] = trace
    shares = {group: part / trace for group, part in parts.items()}
    result |= {f"VPC {group}": share for group, share in shares.items()}
    result["VPC Residual"] = residual / trace
    for group in design.groups:
        within = [shares[other] for other in design.groups if sums.contains(other, group)]
        result[f"ICC {group}"] = np.sum(within, axis=0)
        result[f"repeatability {group}"] = shares[group]
        if kinds is None or not _OF_LEVELS.isdisjoint(kinds):
            result |= _of_one_factor(values, group, sums, trace)
    pairs_of_all = sum(_inner(covs[group], sums.pairs(group)) for group in design.groups)
    pairs_of_all = pairs_of_all + sigma2 * sums.of_R
    effect = pairs_of_all / trace
    result["design effect"] = effect
    result["effective n"] = n / effect
    if design.p and (kinds is None or not _OF_BETA.isdisjoint(kinds)):
        fixed = np.einsum("sp,pq,sq->s", values.beta, sums.cov_X, values.beta)
        random = sum(parts.values()) / n
        whole = fixed + random + residual / n
        result["R² marginal"], result["R² conditional"] = fixed / whole, (fixed + random) / whole
    return result


def functionals_of_draws(
    values: ComponentDraws,
    statistics: Callable[[ComponentDraws], GramStatistics],
    sums: RowSums | None = None,
    kinds: Collection[str] | None = None,
) -> dict[str, Array]:
    """Return `functionals` of draws: one by one where each has an R of its own.

    Parameters
    ----------
    values : ComponentDraws, shape (S,)
    statistics : callable
        Of one of them, such as `bayesv.inference.density.MarginalLikelihood.statistics`.
    sums : RowSums, optional
        Of the same rows, where R/σ² is known.
    kinds : collection of str, optional
    """
    terms = values.design.terms
    if values.residual is None:
        return functionals(values, statistics(values.take(0)) if terms else None, sums, kinds)
    each = [
        functionals(known.reshape(1), statistics(point) if terms else None, None, kinds)
        for point, known in zip(values, values.known(), strict=True)
    ]
    return {name: np.concatenate([one[name] for one in each]) for name in each[0]}


def definition(name: str) -> str:
    """Return what a functional is, such as ``"ICC school"``; '' for other names.

    Examples
    --------
    >>> definition("effective n")
    'rows over the design effect'
    """
    kinds = [kind for kind in _DEFINITIONS if name == kind or name.startswith(f"{kind} ")]
    return _DEFINITIONS[kinds[0]] if kinds else ""


def function_of_covariates(
    values: ComponentDraws, at: pd.DataFrame, groups: Sequence[str] | None = None
) -> tuple[Array, Array]:
    """Return Var(y(x)) and Corr(y(x), y(x')) of two rows that share the levels of ``groups``.

    Parameters
    ----------
    values : ComponentDraws, shape (S,)
    at : DataFrame or mapping of columns, shape (m, …)
        Values of the columns that the random terms use, such as x of ``(poly(x, 2) | g)``; or of
        their coefficients' columns by name, where ``Intercept`` is 1 if left out.
    groups : sequence of str, optional
        Grouping factors whose level the two rows share; all if left out. Of a factor with a known
        relationship K, a level with K_jj = 1, such as an animal that is not inbred.

    Returns
    -------
    variance : ndarray, shape (S, m)
    corr : ndarray, shape (S, m, m)
        1 on the diagonal is the correlation of two *different* rows with the same x only if σ² is
        0: it is Var(y(x)) less σ², over Var(y(x)).
    """
    design, sigma2 = values.design, values.sigma2
    if design.has_rows and design.residual.clusters is not None:
        raise BayesvError(
            "Residuals are correlated within series, and two rows are told by covariates here, not "
            "by their places in a series. by_lag() of the fit or posterior has correlations by the "
            "distance of two rows, bv.MarginalCovariance(design, components).block(group, level) "
            "their covariances."
        )
    shared = set(design.groups if groups is None else (design.term(g).group for g in groups))
    at = take_columns(at, column_names(at))
    m = len(at)
    cov, variance = np.zeros((len(sigma2), m, m)), np.tile(sigma2[:, None], (1, m))
    for term in design.terms:
        z = _columns_at(design, term, at)
        part = z @ values.covs[term.group] @ z.T
        variance = variance + np.diagonal(part, axis1=1, axis2=2)
        if term.group in shared:
            cov += part
    sd = np.sqrt(variance)
    return variance, cov / (sd[:, :, None] * sd[:, None, :])


def _columns_at(design: Design, term: Any, at: pd.DataFrame) -> Array:
    """Return the columns of a random term at chosen values, shape (m, r_f)."""
    missing = [c for c in term.columns if c != "Intercept" and c not in at]
    encoding = design.encoding
    if missing and encoding is not None and set(encoding.covariates(term.group)) <= {*at.columns}:
        names, values = encoding.random_columns(at, term.group)[term.group]
        return values[:, [names.index(name) for name in term.columns]]
    if missing:
        raise BayesvError(
            f"Columns {', '.join(missing)} of term {term.group!r} are missing; given are "
            f"{', '.join(map(str, at.columns)) or 'none'}."
        )
    columns = [as_numbers(at[c]) if c in at else np.ones(len(at)) for c in term.columns]
    return np.column_stack(columns)


def _of_one_factor(
    values: ComponentDraws, group: str, sums: RowSums, trace: Array
) -> dict[str, Array]:
    """Correlation of rows of one level, and reliability of their mean."""
    design, covs, sigma2 = values.design, values.covs, values.sigma2
    counts, term = sums.counts(group), design.term(group)
    result: dict[str, Array] = {}
    if (counts > 1).any():
        # Mean covariance of two different rows of one level: of what they share through any term.
        n_pairs = float((counts * (counts - 1.0)).sum())
        between = sigma2 * sums.apart(group)
        for other in design.groups:
            shared = sums.level_products(group, other).sum(axis=0) - sums.squares(other)
            between = between + _inner(covs[other], shared)
        result[f"correlation within {group}"] = between / n_pairs / (trace / design.n)
    # Var of a level's mean by its own effect, and in all.
    means = sums.totals(group) / counts[:, None]
    by_term = np.einsum("ja,sab,jb->sj", means, covs[group], means)
    by_term = by_term if term.related is None else by_term * term.related.variances
    rest = np.zeros_like(by_term)
    for other in design.groups:
        if other != group:
            per_level = sums.level_products(group, other).reshape(len(counts), -1)
            of_means = covs[other].reshape(len(sigma2), -1) @ (per_level / counts[:, None] ** 2).T
            rest += of_means
    noise = sigma2[:, None] * sums.noises(group) / counts**2
    result[f"reliability of mean {group}"] = (by_term / (by_term + rest + noise)).mean(axis=1)
    return result


def _inner(cov: Array, square: Array) -> Array:
    """tr(Σ_s A) of every draw."""
    return np.asarray(np.einsum("sab,ab->s", cov, square))


def log_determinant(values: ComponentDraws, stats: GramStatistics) -> Array:
    """Return log|V| = log|M| + n log σ² − Σ log w of every draw, shape (S,)."""
    with progress("log|V| of draws", values.size) as step:
        logdet = _log_determinants(stats, values.relative_roots(), step)
    return np.asarray(logdet + stats.n * np.log(values.sigma2) - stats.log_weights)


def _log_determinants(
    stats: GramStatistics, roots: list[Array], step: Callable[[int], None]
) -> Array:
    """Return log|M| of all draws, where each takes an iteration by polynomials to 0.001."""
    lower = [np.tril_indices(root.shape[-1]) for root in roots]

    def exact(points: Array) -> Array:
        parts, start = [], 0
        for root, places in zip(roots, lower, strict=True):
            part = np.zeros((len(points), *root.shape[1:]))
            part[:, places[0], places[1]] = points[:, start : start + len(places[0])]
            parts.append(part)
            start += len(places[0])
        return eliminate_many(stats, stats.in_basis(parts), step)[0]

    if stats.layout.iteration is None or len(roots[0]) < _WORTH_POLYNOMIALS:
        return eliminate_many(stats, stats.in_basis(roots), step)[0]
    points = np.hstack([root[:, i, j] for root, (i, j) in zip(roots, lower, strict=True)])
    try:
        L = np.linalg.cholesky(np.atleast_2d(np.cov(points.T)))
    except np.linalg.LinAlgError:  # draws of one and the same value
        return exact(points)
    table = interpolate(
        lambda some: exact(some)[:, None], np.ones_like, points.mean(axis=0), L, len(points) // 2
    )
    if table is None:
        return exact(points)
    logdet, outside = table(points)[:, 0], ~table.covers(points)
    if outside.any():
        logdet[outside] = exact(points[outside])
    return np.asarray(logdet)
