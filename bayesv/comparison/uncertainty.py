"""What not knowing V does to β: standard errors and intervals by each method, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bayesv.covariance import KenwardRoger, kenward_roger
from bayesv.covariance.clusters import refuse_slow
from bayesv.covariance.contrasts import contrast_row
from bayesv.covariance.sandwich import ClusterRobust, robust
from bayesv.covariance.student import t_quantile
from bayesv.covariance.summed import at_v
from bayesv.design.design import Design
from bayesv.errors import BayesvError, FitWarning, without
from bayesv.linalg import Array
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.support.arguments import PROBABILITY, a, accepts, mapping, optional
from bayesv.support.shown import Part, Shown, Table

__all__ = ["BetaUncertainty", "beta_uncertainty"]

_FIT = a(RemlFit, hint="fit one by model.reml().")
_POSTERIOR = a(Posterior, hint="draw one by model.sample().")


@dataclass(frozen=True, eq=False, repr=False)
class BetaUncertainty(Shown):
    """Uncertainty of each fixed effect (or contrast) by each method.

    Attributes
    ----------
    table : DataFrame
        Columns coefficient, method, estimate, se, df, low, high. The estimate is GLS at REML's V,
        at E[V | y], or the posterior mean. Kenward–Roger, Satterthwaite and the cluster-robust
        CR0 and CR2 (Bell and McCaffrey) have t with their own df, infinite ones a normal, and the
        posterior its quantiles. What has no finite mean or variance is NaN, and a note says so.
    decomposition : DataFrame
        By coefficient, posterior variances: within = E[(X'V⁻¹X)⁻¹ | y], between = Var(β̂_GLS(V) |
        y), their sum, the variance of the draws, and the share that is between.
    notes : tuple of str
        Methods that do not exist for this fit, and why.
    """

    table: pd.DataFrame
    decomposition: pd.DataFrame
    notes: tuple[str, ...]
    prob: float

    def to_frame(self) -> pd.DataFrame:
        """Return the table."""
        return self.table

    def _shown(self) -> Iterator[Part]:
        yield f"Uncertainty of the fixed effects, {100 * self.prob:g} % intervals"
        for name, rows in self.table.groupby("coefficient", sort=False):
            part = self.decomposition.loc[name]
            yield ""
            yield str(name)
            yield Table(
                ("", "estimate", "se", "df", "interval"), tuple(map(_cells, rows.itertuples()))
            )
            yield (
                "the posterior has no finite variance"
                if np.isnan(part["total"])
                else f"posterior variance = {part['within']:.4g} given V + {part['between']:.4g} "
                f"from GLS moving with V ({part['share_between']:.1%})"
            )
        yield from (f"note: {note}" for note in self.notes)


def _cells(row: Any) -> tuple[str, ...]:
    df = f"{row.df:.1f}" if np.isfinite(row.df) else ""
    interval = f"{row.low:.5g} … {row.high:.5g}"
    return f"  {row.method}", f"{row.estimate:.5g}", f"{row.se:.4g}", df, interval


@accepts(
    fit=_FIT,
    post=_POSTERIOR,
    contrasts=optional(mapping()),
    prob=PROBABILITY,
)
def beta_uncertainty(
    fit: RemlFit,
    post: Posterior,
    contrasts: Mapping[str, ArrayLike] | None = None,
    prob: float = 0.95,
) -> BetaUncertainty:
    """Put standard errors and intervals of β by each method side by side.

    Parameters
    ----------
    fit : RemlFit
    post : Posterior
        Of the same design.
    contrasts : mapping of name to array_like, shape (p,), Series or mapping, optional
        Weights of linear combinations to add, in the order of the fixed effects, or by their names
        (those left out weigh 0).
    prob : float

    Returns
    -------
    BetaUncertainty

    Raises
    ------
    BayesvError
        If fit and posterior are of different data, columns or zeros of columns, or a contrast has
        the wrong length.

    Notes
    -----
    Var(β | y) = E[(X'V⁻¹X)⁻¹ | y] + Var(β̂_GLS(V) | y) with a flat prior of β. Φ = (X'V⁻¹X)⁻¹ is
    concave in V; to second order the first term is Φ at E[V | y] less what the second adds, so the
    posterior sd is about that of GLS at E[V | y], and above REML's as far as E[V | y] is.

    Kenward–Roger's Φ_A is another quantity, of repeated samples: Φ + 2Λ, once Λ because β̂ moves
    with V̂, once because Φ at V̂ is too small for Φ on average; a t then allows for what is not
    known of Φ_A. Satterthwaite keeps the plug-in standard error and takes a t for its sampling.
    """
    design = post.design
    _check_same(fit.design, design)
    names = list(design.fixed_names)
    L = {name: np.eye(len(names))[i] for i, name in enumerate(names)}
    for name, weights in (contrasts or {}).items():
        L[name] = contrast_row(weights, names, f"Contrast {name!r}")
    kr, notes = _kenward_roger(fit, design)
    sandwiches = _sandwiches(fit, design, L, notes)
    at_mean = at_v(design, post.estimate("mean").aligned(design), fit._stats)
    draws, moments = post.beta.reshape(post.n_chains * post.n_draws, len(names)), post.moments
    # A factor that leaves what exists: the mean of finitely many draws is finite always.
    of_V = 1.0 if all(m > 1 for q, m in moments.items() if q.startswith("var ")) else np.nan
    notes += _nonexistent(post)
    center, within = post.gls_draws()
    rows, parts = [], {}
    for name, row in L.items():
        estimate = float(row @ fit.beta.to_numpy())

        def add(
            method: str,
            variance: float,
            df: float = np.inf,
            middle: float = estimate,
            name: str = name,
        ) -> None:
            se = float(np.sqrt(variance))
            half = se * float(t_quantile(df, (1 + prob) / 2))
            rows.append((name, method, middle, se, df, middle - half, middle + half))

        plug_in = float(row @ fit.cov_beta.to_numpy() @ row)
        add(f"{fit.method} plug-in", plug_in)
        if kr is not None:
            add("Satterthwaite", plug_in, kr.df_of(row, observed=True))
            add("Kenward–Roger", kr.variance_of(row), kr.df_of(row))
        for kind, sandwich in sandwiches.items():
            add(f"cluster-robust {kind}", sandwich.cov.loc[name, name], sandwich.df[name])
        mean, variance = row @ at_mean.beta.to_numpy(), row @ at_mean.cov.to_numpy() @ row
        add("GLS at E[V | y]", float(variance * of_V), middle=float(mean * of_V))
        order = min((moments[f"beta {names[i]}"] for i in np.flatnonzero(row)), default=np.inf)
        values, inside = draws @ row, np.einsum("a,sab,b->s", row, within, row)
        location, parts[name] = _of_posterior(values, center @ row, inside, order)
        sd = float(np.sqrt(parts[name][3]))
        ends = np.quantile(values, [(1 - prob) / 2, (1 + prob) / 2])
        rows.append((name, "posterior", location, sd, np.nan, *ends))
    columns = ["coefficient", "method", "estimate", "se", "df", "low", "high"]
    pieces = ["within", "between", "total", "draws", "share_between"]
    return BetaUncertainty(
        table=pd.DataFrame(rows, columns=columns),
        decomposition=pd.DataFrame.from_dict(parts, orient="index", columns=pieces),
        notes=tuple(notes),
        prob=prob,
    )


def _of_posterior(
    values: Array, center: Array, inside: Array, order: float
) -> tuple[float, tuple[float, ...]]:
    """Return the mean of a contrast and its variance in parts, NaN where these do not exist.

    ``center`` and ``inside`` are its mean and variance given each drawn V; ``order`` that below
    which its moments exist.
    """
    mean = float(values.mean()) if order > 1 else np.nan
    if order <= 2:
        return mean, (np.nan,) * 5
    within, between = float(inside.mean()), float(center.var(ddof=1))
    total = within + between
    return mean, (within, between, total, float(values.var(ddof=1)), between / total)


def _nonexistent(post: Posterior) -> list[str]:
    """Say which moments that the table would have do not exist."""
    labels = [label for label in post.undefined if label.startswith("beta ")]
    infinite = [q for q, m in post.moments.items() if q.startswith("var ") and m <= 1]
    notes = []
    if labels:
        notes.append(
            f"posterior: {', '.join(labels)} and contrasts with them have no finite mean or "
            "variance, whatever the mean of the draws: NaN; read the interval"
        )
    if infinite:
        notes.append(f"GLS at E[V | y]: E[V | y] is infinite ({', '.join(infinite)}): NaN")
    return notes


def _check_same(one: Design, other: Design) -> None:
    """Refuse designs that differ in rows, columns or their values."""
    same = one.n == other.n and one.fixed_names == other.fixed_names and one.groups == other.groups
    if same and one.has_rows:
        pairs = [
            (one.target, other.target), (one.X, other.X),
            *((a.values, b.values) for a, b in zip(one.terms, other.terms, strict=True)),
        ]  # fmt: skip
        same = all(
            a.shape == b.shape and np.allclose(a, b, rtol=1e-8, atol=1e-12) for a, b in pairs
        ) and all(
            a.splits_as(b.codes) and a.related_as(b)
            for a, b in zip(one.terms, other.terms, strict=True)
        )
    if not same:
        raise BayesvError(
            "Fit and posterior are not of the same data and fixed effects: rows, columns, their "
            "coding and where they have their zeros must agree. Fit both from one bv.Model."
        )


def _kenward_roger(fit: RemlFit, design: Design) -> tuple[KenwardRoger | None, list[str]]:
    """Return the adjustment of a fit, and what is to be known of it or why there is none."""
    try:
        with without(FitWarning):  # they are notes too
            refuse_slow(design)
            kr = kenward_roger(replace(fit, design=design))
    except BayesvError as error:
        return None, [f"Kenward–Roger and Satterthwaite: {error}"]
    return kr, list(kr.notes)


def _sandwiches(
    fit: RemlFit, design: Design, contrasts: Mapping[str, Array], notes: list[str]
) -> dict[str, ClusterRobust]:
    """Return robust covariances of a fit by kind; to ``notes`` goes what is to be known of them."""
    results: dict[str, ClusterRobust] = {}
    for kind in ("CR0", "CR2"):
        try:
            results[kind] = robust(design, fit.components, kind, contrasts=contrasts)
        except BayesvError as error:
            notes.append(f"{kind}: {error}")
        else:
            notes += results[kind].notes
    return results
