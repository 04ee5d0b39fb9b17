"""What not knowing V does to β: standard errors and intervals by each method, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

from bayesv.arguments import PROBABILITY, a, accepts, mapping, optional
from bayesv.covariance import cluster_robust, gls, kenward_roger
from bayesv.errors import BayesvError
from bayesv.linalg import Array
from bayesv.posterior import Posterior
from bayesv.reml import RemlFit

__all__ = ["BetaUncertainty", "beta_uncertainty"]

_FIT = a(RemlFit, hint="fit one by model.reml().")
_POSTERIOR = a(Posterior, hint="draw one by model.sample().")


@dataclass(frozen=True, eq=False)
class BetaUncertainty:
    """Uncertainty of each fixed effect (or contrast) by each method.

    Attributes
    ----------
    table : DataFrame
        Columns coefficient, method, estimate, se, df, low, high. The estimate is GLS at REML's V,
        at E[V | y], or the posterior mean.
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

    def __repr__(self) -> str:
        lines = [f"Uncertainty of the fixed effects, {100 * self.prob:g} % intervals"]
        for name, rows in self.table.groupby("coefficient", sort=False):
            part = self.decomposition.loc[name]
            lines += ["", f"{name}", f"  {'':<20}{'estimate':>12}{'se':>11}{'df':>8}  interval"]
            for _, row in rows.iterrows():
                df = "" if np.isinf(row["df"]) or np.isnan(row["df"]) else f"{row['df']:.1f}"
                lines.append(
                    f"  {row['method']:<20}{row['estimate']:>12.5g}{row['se']:>11.4g}{df:>8}  "
                    f"{row['low']:.5g} … {row['high']:.5g}"
                )
            lines.append(
                f"  posterior variance = {part['within']:.4g} given V + {part['between']:.4g} "
                f"from GLS moving with V ({part['share_between']:.1%})"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


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
    contrasts : mapping of name to array_like, shape (p,), optional
        Weights of linear combinations to add, in the order of the fixed effects.
    prob : float

    Returns
    -------
    BetaUncertainty

    Raises
    ------
    BayesvError
        If fit and posterior are of different data, or a contrast has the wrong length.

    Notes
    -----
    The posterior covers the uncertainty of V twice: E[(X'V⁻¹X)⁻¹] is larger than the plug-in
    because variances have skewed posteriors, and GLS itself moves with V. Kenward–Roger corrects
    the plug-in for the same two to second order, and takes a t for the normal.
    """
    design = post.design
    if fit.design.n != design.n or fit.design.fixed_names != design.fixed_names:
        raise BayesvError("Fit and posterior are not of the same data and fixed effects.")
    names = list(design.fixed_names)
    L = {name: np.eye(len(names))[i] for i, name in enumerate(names)}
    for name, weights in (contrasts or {}).items():
        try:
            row = np.asarray(weights, dtype=float)
        except (TypeError, ValueError):
            raise BayesvError(f"Contrast {name!r} must be numbers; found {weights!r}.") from None
        if row.shape != (len(names),):
            raise BayesvError(
                f"Contrast {name!r} has shape {row.shape}; needed are {len(names)} weights for "
                f"{', '.join(names)}."
            )
        L[name] = row
    kr, notes = kenward_roger(design, fit.components), []
    plugin = kr.cov_plugin.to_numpy()
    at_mean = gls(design, post.estimate("mean"))
    robust: dict[str, Array] = {}
    for kind in ("CR0", "CR2"):
        try:
            robust[kind] = cluster_robust(design, fit.components, kind).to_numpy()
        except BayesvError as error:
            notes.append(f"{kind}: {error}")
    if np.isnan(kr.W_observed).any():
        notes.append("Satterthwaite: the observed information is not positive definite")
    draws = post.beta.reshape(-1, len(names))
    center, within = post.gls_draws()
    rows, parts = [], {}
    for name, row in L.items():
        estimate = float(row @ fit.beta.to_numpy())

        def add(
            method: str,
            cov: Array,
            df: float = np.inf,
            at: float = estimate,
            name: str = name,
            row: Array = row,
        ) -> None:
            se = float(np.sqrt(row @ cov @ row))
            quantile = ndtri((1 + prob) / 2) if np.isinf(df) else stdtrit(df, (1 + prob) / 2)
            ends = (at - se * quantile, at + se * quantile)
            rows.append((name, method, at, se, df, *ends))

        add(f"{fit.method} plug-in", plugin)
        add("Satterthwaite", plugin, kr.df_of(row, observed=True))
        add("Kenward–Roger", kr.cov.to_numpy(), kr.df_of(row))
        for kind, cov in robust.items():
            add(f"cluster-robust {kind}", cov)
        add("GLS at E[V | y]", at_mean.cov.to_numpy(), at=float(row @ at_mean.beta.to_numpy()))
        values = draws @ row
        ends = np.quantile(values, [(1 - prob) / 2, (1 + prob) / 2])
        sd = float(values.std(ddof=1))
        rows.append((name, "posterior", float(values.mean()), sd, np.nan, *ends))
        inside = float(np.einsum("a,sab,b->s", row, within, row).mean())
        between = float((center @ row).var(ddof=1))
        parts[name] = (inside, between, inside + between, sd**2, between / (inside + between))
    columns = ["coefficient", "method", "estimate", "se", "df", "low", "high"]
    pieces = ["within", "between", "total", "draws", "share_between"]
    return BetaUncertainty(
        table=pd.DataFrame(rows, columns=columns),
        decomposition=pd.DataFrame.from_dict(parts, orient="index", columns=pieces),
        notes=tuple(notes),
        prob=prob,
    )
