"""Draws of a model with their names, and what is said of them scalar by scalar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance import ComponentDraws, VarianceComponents
from bayesv.covariance.lags import intervals_by_lag
from bayesv.covariance.quantities import Quantity, quantities
from bayesv.design.design import Design
from bayesv.design.structured import Parameters
from bayesv.diagnostics.summaries import summary_columns, without_undefined
from bayesv.errors import BayesvError
from bayesv.inference.density import MarginalDensity
from bayesv.inference.draws import Draws
from bayesv.inference.tails import Tails
from bayesv.linalg import Array, evenly_spaced
from bayesv.names import variable_name
from bayesv.posterior import labelled
from bayesv.priors.priors import ResolvedPriors
from bayesv.support.arguments import INDEX, PROBABILITY, TEXT, accepts, optional, whole
from bayesv.support.deferred import deferred, unread
from bayesv.support.shown import Part, Shown, Table, WholeFrame, digits

__all__ = ["SummarisedDraws"]

_DRAWS_BY_LAG = 200


@deferred("draws")
@dataclass(frozen=True, eq=False, repr=False)
class SummarisedDraws(Shown):
    """Draws with labels, design and, where they are known, priors and density; see `Posterior`."""

    draws: Any
    design: Design
    priors: ResolvedPriors | None
    engine: str
    density: MarginalDensity | None = field(default=None, repr=False)
    problems: tuple[str, ...] = ()

    # --- arrays -----------------------------------------------------------------------------------

    @property
    def _unlabelled(self) -> Draws | None:
        """An engine's arrays, until somebody asks for `draws`."""
        waiting = unread(self, "draws")
        return None if waiting is None else waiting[0]

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        return self.values.shape[0]

    @property
    def n_draws(self) -> int:
        """Number of draws per chain."""
        return self.values.shape[1]

    @cached_property
    def values(self) -> ComponentDraws:
        """Draws of (Σ_f, σ², β) and of the residuals' parameters, shape (chain, draw)."""
        unlabelled = self._unlabelled
        if unlabelled is not None and unlabelled.values.residual is None:
            return unlabelled.values.contiguous
        covs = {group: self._array(f"cov_{variable_name(group)}") for group in self.design.groups}
        sigma2, beta = self._array("sigma2"), self._array("beta")
        return ComponentDraws(self.design, covs, sigma2, beta, self._residual(sigma2))

    def _residual(self, sigma2: Array) -> Parameters | None:
        """Return draws of the parameters of structured residuals, with SDs over σ."""
        if (form := self.design.structured_residual) is None:
            return None
        sds = np.ones((*sigma2.shape, 1))
        if form.sd_labels:
            sds = self._array("sd_Residual") / np.sqrt(sigma2)[..., None]
        numbers = np.zeros((*sigma2.shape, 0))
        if form.corr_labels:
            numbers = self._array("corr_Residual")
        return form.of_numbers(sds, numbers)

    def _array(self, name: str) -> Array:
        return labelled.draws_of(self.draws, name)

    def cov(self, group: str) -> Array:
        """Return draws of Σ_f, shape (chain, draw, r_f, r_f)."""
        return self.values.covs[self.design.term(group).group]

    @property
    def covs(self) -> dict[str, Array]:
        """Draws of every Σ_f."""
        return dict(self.values.covs)

    @property
    def sigma2(self) -> Array:
        """Draws of σ², shape (chain, draw)."""
        return self.values.sigma2

    @property
    def beta(self) -> Array:
        """Draws of β, shape (chain, draw, p)."""
        return self.values.beta

    @property
    def u(self) -> dict[str, Array]:
        """Draws of random effects, (chain, draw, J_f, r_f) by group; empty if not all were kept."""
        if (unlabelled := self._unlabelled) is not None:
            return dict(unlabelled.u) if set(unlabelled.u) == set(self.design.groups) else {}
        names = {group: f"u_{variable_name(group)}" for group in self.design.groups}
        if not all(name in self.draws["posterior"] for name in names.values()):
            return {}
        return {group: self._array(name) for group, name in names.items()}

    @accepts(chain=INDEX, draw=INDEX)
    def components(self, chain: int, draw: int) -> VarianceComponents:
        """Return one draw of (Σ_f, σ²)."""
        if not (-self.n_chains <= chain < self.n_chains and -self.n_draws <= draw < self.n_draws):
            raise BayesvError(
                f"There are {self.n_chains} chains of {self.n_draws} draws; found chain {chain}, "
                f"draw {draw}."
            )
        return self.values.components((chain, draw))

    @accepts(step=whole(1))
    def each_components(self, step: int = 1) -> Iterator[VarianceComponents]:
        """Yield every ``step``-th draw of (Σ_f, σ²), chain by chain."""
        return (point.components() for point in self.values.flat.every(step))

    # --- scalars ----------------------------------------------------------------------------------

    @property
    def beta_mean(self) -> pd.Series:
        """Posterior mean of the fixed effects."""
        return pd.Series(self.beta.mean(axis=(0, 1)), list(self.design.fixed_names), name="beta")

    @cached_property
    def quantities(self) -> list[Quantity]:
        """Draws of every scalar, with its scale."""
        return quantities(self.values)

    @cached_property
    def _tails(self) -> Tails | None:
        """Powers of the posterior's tails; None where the density is not known."""
        return None if self.density is None else Tails(self.density)

    @cached_property
    def _moments(self) -> Array:
        """Order below which the moments of each quantity exist, shape (K,)."""
        if self._tails is None:
            return np.full(len(self.quantities), np.inf)
        return np.array([self._tails.moments(q.key) for q in self.quantities])

    @property
    def moments(self) -> dict[str, float]:
        """Order m of each quantity x, by label: E|x|^k is finite for k < m, by priors and levels.

        ∞ where all exist, and for draws whose priors are not known.
        """
        return {
            q.label: float(order) for q, order in zip(self.quantities, self._moments, strict=True)
        }

    @property
    def _moments_of_V(self) -> float:
        """Order below which the moments of tr V exist."""
        pairs = zip(self.quantities, self._moments, strict=True)
        return float(min(order for q, order in pairs if q.scale == "var"))

    @property
    def undefined(self) -> dict[str, str]:
        """Quantities without a finite mean or variance, and why; empty for most models.

        Their draws' mean or SD would depend on how many draws there are.
        """
        return {
            q.label: f"the posterior has no finite {'mean' if order <= 1 else 'variance'}: its "
            f"density falls as |x|^-{1 + order:.4g} only; read median and interval, or give a "
            "prior of the SD with lighter tails, such as HalfNormal"
            for q, order in zip(self.quantities, self._moments, strict=True)
            if order <= 2
        }

    def summary(self, prob: float = 0.95) -> pd.DataFrame:
        """Return one line per scalar: location, spread, intervals and diagnostics.

        Parameters
        ----------
        prob : float
            Probability of the intervals.

        Returns
        -------
        DataFrame
            Columns scale, group, first, second, mean, sd, median, eti_low, eti_high, hdi_low,
            hdi_high, mcse_mean, ess_bulk, ess_tail, rhat. Each scalar is computed per draw and
            then summarised. ``mean``, ``sd`` and ``mcse_mean`` are NaN where the posterior has no
            finite mean or variance; `undefined` says why.
        """
        x = np.stack([q.values for q in self.quantities], axis=-1)
        columns = without_undefined(summary_columns(x, prob), self._moments)
        labels = pd.DataFrame(
            [q.key for q in self.quantities], columns=["scale", "group", "first", "second"]
        )
        return WholeFrame(pd.concat([labels, pd.DataFrame(columns)], axis=1))

    @accepts(group=optional(TEXT), prob=PROBABILITY)
    def by_lag(
        self, group: str | None = None, position: Any = None, prob: float = 0.95
    ) -> pd.DataFrame:
        """Return correlations and semivariances by the distance of two rows of one series.

        Parameters
        ----------
        group : str, optional
            Grouping factor whose levels are series, with ``position``; the series of the
            residuals if left out.
        position : array_like, shape (n,) or (n, d), optional
            Time or place of each row.
        prob : float

        Returns
        -------
        DataFrame
            One line a lag, as of `RemlFit.by_lag`: ``lag`` and ``pairs``; medians and ends of
            intervals of ``corr_R``, ``corr_V`` and ``semivariance``, of 200 evenly spaced draws.

        Examples
        --------
        >>> import bayesv as bv
        >>> data = bv.load_dataset("sleepstudy")
        >>> post = bv.Model("Reaction ~ Days + (1 | Subject)", data).sample(seed=1)
        >>> table = post.by_lag("Subject", data["Days"])
        >>> table.loc[0, ["corr_V", "corr_V_low", "corr_V_high"]].round(1).to_list()
        [0.6, 0.4, 0.8]
        """
        some = self.values.flat.take(evenly_spaced(self.n_chains * self.n_draws, _DRAWS_BY_LAG))
        return intervals_by_lag(some, group, position, prob)

    def _shown(self) -> Iterator[Part]:
        yield f"Posterior of {self.design.formula}"
        yield f"engine {self.engine}, {self.n_chains} chains × {self.n_draws} draws"
        summary = self.summary()
        table = summary[["mean", "sd", "median"]].set_axis([q.label for q in self.quantities])
        table["low"], table["high"] = summary["eti_low"].array, summary["eti_high"].array
        table["ess"] = [f"{ess:.0f}" for ess in summary["ess_bulk"]]
        table["rhat"] = [f"{ratio:.3f}" for ratio in summary["rhat"]]
        yield Table.of(table, digits(4))
        reasons: dict[str, list[str]] = {}
        for label, reason in self.undefined.items():
            reasons.setdefault(reason, []).append(label)
        yield from (f"note: {', '.join(labels)}: {why}" for why, labels in reasons.items())
        yield from (f"problem: {problem}" for problem in self.problems)
