"""Posterior draws of G, σ² and β, their diagnostics, and the posterior-summary step."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance import VarianceComponents
from bayesv.covariance.quantities import Quantity, quantities
from bayesv.design.design import Design, DesignSummary
from bayesv.diagnostics.convergence import ess_bulk, ess_tail, rhat
from bayesv.diagnostics.summaries import summary_columns, without_undefined
from bayesv.errors import BayesvError, SamplingWarning
from bayesv.gram import draw_effects
from bayesv.inference.density import MarginalDensity
from bayesv.inference.draws import Draws
from bayesv.inference.tails import Tails
from bayesv.linalg import Array, evenly_spaced, psd_root
from bayesv.names import variable_name
from bayesv.posterior.estimators import geometric_median, joint_mode, log_euclidean, medoid, stein
from bayesv.posterior.marginal_methods import MarginalMethods
from bayesv.priors.priors import ResolvedPriors
from bayesv.reml import unidentified
from bayesv.support.arguments import INDEX, TEXT, a, accepts, choice, whole
from bayesv.support.saving import Savable

__all__ = ["Posterior"]

ESTIMATES = ("mean", "median", "mode", "stein", "log_euclidean", "medoid")
_MAX_RHAT = 1.01
_MIN_ESS = 400  # Vehtari et al. 2021, https://doi.org/10.1214/20-BA1221


@dataclass(frozen=True, eq=False)
class Posterior(MarginalMethods, Savable):
    """Posterior draws of a Gaussian mixed model, whatever engine made them.

    Attributes
    ----------
    draws : DataTree
        Group ``posterior`` with dims (chain, draw, …): ``beta, sigma, sigma2, cov_<group>,
        sd_<group>, corr_<group>`` and, if asked for, ``u_<group>``; ``sample_stats``;
        ``observed_data``.
    design : Design
        The design the draws belong to.
    priors : ResolvedPriors or None
        None for draws made elsewhere under priors that are not known.
    engine : str
        What made the draws.
    density : MarginalDensity or None
        p(Σ, σ | y) with u and β integrated out; needed for the mode.
    problems : tuple of str
        Divergences, R-hat, ESS: empty when nothing is wrong.
    """

    draws: Any
    design: Design
    priors: ResolvedPriors | None
    engine: str
    density: MarginalDensity | None = field(default=None, repr=False)
    problems: tuple[str, ...] = ()

    @classmethod
    @accepts(draws=a(Draws), design=a(Design, DesignSummary), engine=TEXT)
    def from_draws(
        cls,
        draws: Draws,
        design: Design,
        priors: ResolvedPriors | None,
        engine: str,
        density: MarginalDensity | None = None,
    ) -> Posterior:
        """Label raw draws, diagnose them, and warn once if something is wrong."""
        post = cls(draws.to_datatree(design, engine), design, priors, engine, density)
        problems = (*draws.problems, *post._diagnose(draws.sample_stats))
        if problems:
            ours = (str(Path(__file__).parent.parent),)  # so that the warning names the user's line
            text = f"{engine}: {'; '.join(problems)}"
            warnings.warn(text, SamplingWarning, skip_file_prefixes=ours)
        return cls(post.draws, design, priors, engine, density, problems)

    # --- arrays -----------------------------------------------------------------------------------

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        return int(self.draws["posterior"].sizes["chain"])

    @property
    def n_draws(self) -> int:
        """Number of draws per chain."""
        return int(self.draws["posterior"].sizes["draw"])

    def _array(self, name: str) -> Array:
        values = self.draws["posterior"][name]
        # One layout in memory whatever made the draws: sums depend on it in their last digit.
        return np.ascontiguousarray(values.transpose("chain", "draw", ...).to_numpy(), dtype=float)

    def cov(self, group: str) -> Array:
        """Return draws of Σ_f, shape (chain, draw, r_f, r_f)."""
        return self._array(f"cov_{variable_name(self.design.term(group).group)}")

    @property
    def covs(self) -> dict[str, Array]:
        """Draws of every Σ_f."""
        return {group: self.cov(group) for group in self.design.groups}

    @property
    def sigma2(self) -> Array:
        """Draws of σ², shape (chain, draw)."""
        return self._array("sigma2")

    @property
    def beta(self) -> Array:
        """Draws of β, shape (chain, draw, p)."""
        return self._array("beta")

    @accepts(chain=INDEX, draw=INDEX)
    def components(self, chain: int, draw: int) -> VarianceComponents:
        """Return one draw of (Σ_f, σ²)."""
        if not (-self.n_chains <= chain < self.n_chains and -self.n_draws <= draw < self.n_draws):
            raise BayesvError(
                f"There are {self.n_chains} chains of {self.n_draws} draws; found chain {chain}, "
                f"draw {draw}."
            )
        blocks = {
            term.group: pd.DataFrame(self.cov(term.group)[chain, draw], term.columns, term.columns)
            for term in self.design.terms
        }
        return VarianceComponents(blocks, float(self.sigma2[chain, draw]))

    @accepts(step=whole(1))
    def each_components(self, step: int = 1) -> Iterator[VarianceComponents]:
        """Yield every ``step``-th draw of (Σ_f, σ²), chain by chain."""
        covs = self._flat_covs
        for i, s2 in enumerate(self.sigma2.ravel()):
            if i % step == 0:
                blocks = {
                    t.group: pd.DataFrame(covs[t.group][i], t.columns, t.columns)
                    for t in self.design.terms
                }
                yield VarianceComponents(blocks, float(s2))

    # --- the posterior-summary step ---------------------------------------------------------------

    @accepts(kind=choice(*ESTIMATES))
    def estimate(self, kind: str = "mean") -> VarianceComponents:
        """Summarise the draws of G and σ² by one set of variance components.

        Parameters
        ----------
        kind : {"mean", "median", "mode", "stein", "log_euclidean", "medoid"}
            ``mean``: E[Σ_f | y] and E[σ² | y], the mean of the drawn matrices (quadratic loss).
            ``median``: geometric median of the drawn Σ_f in units of their SDs, and the median of
            σ² (absolute loss); for one column it is the ordinary median of the variance.
            ``mode``: maximum of the joint posterior density by (SDs, correlations, σ), with u and β
            integrated out; it moves with the scale, which is why the scale is named here: SDs and
            correlations are of the effects that the priors speak of, see `ResolvedPriors.basis`.
            ``stein``: minimises the posterior mean of Stein's loss of V. ``log_euclidean``:
            exp E[log Σ_f] and exp E[log σ²]. ``medoid``: the draw nearest to the medians of all
            elements, one that occurred.

        Returns
        -------
        VarianceComponents
            Positive semi-definite for every choice, and 0 wherever the model says 0: between the
            columns of ``(x || g)``.
        """
        if kind not in ESTIMATES:
            raise BayesvError(f"kind must be one of {', '.join(ESTIMATES)}; found {kind!r}.")
        if kind == "mode":
            if self.density is None:
                raise BayesvError(
                    "The mode needs the posterior density, and the priors of these draws are not "
                    "known. Use 'mean' or 'median'."
                )
            covs, sigma2 = joint_mode(self.density, self.covs, self.sigma2)
        else:
            covs, sigma2 = self._summarised(kind)
        blocks = {
            t.group: pd.DataFrame(covs[t.group], t.columns, t.columns) for t in self.design.terms
        }
        return VarianceComponents(blocks, sigma2)

    def _summarised(self, kind: str) -> tuple[dict[str, Array], float]:
        flat = self._flat_covs
        s2 = self.sigma2.ravel()
        if kind == "medoid":
            at = medoid([*flat.values(), s2])
            return {group: cov[at] for group, cov in flat.items()}, float(s2[at])
        if kind == "mean":
            return {group: cov.mean(axis=0) for group, cov in flat.items()}, float(s2.mean())
        if kind == "median":
            medians = {group: geometric_median(cov) for group, cov in flat.items()}
            return medians, float(np.median(s2))
        if kind == "log_euclidean":
            # The mask takes off what rounding of eigenvectors leaves between blocks.
            means = {
                term.group: term.structure.project(log_euclidean(flat[term.group]))
                for term in self.design.terms
            }
            return means, float(np.exp(np.log(s2).mean()))
        start = [cov.mean(axis=0) / s2.mean() for cov in flat.values()]
        masks = [term.structure.mask for term in self.design.terms]
        covs, sigma2 = stein(self._density.stats, list(flat.values()), s2, start, masks)
        return dict(zip(flat, covs, strict=True)), sigma2

    @property
    def beta_mean(self) -> pd.Series:
        """Posterior mean of the fixed effects."""
        return pd.Series(self.beta.mean(axis=(0, 1)), list(self.design.fixed_names), name="beta")

    @accepts(draws=whole(1), seed=whole(0))
    def random_effects(self, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
        """Return posterior means and SDs of the random effects, without storing their draws.

        Parameters
        ----------
        draws : int
            How many draws of (β, Σ, σ), evenly spaced, are averaged over.
        seed : int
            Of the effects of coarser factors that finer ones are conditioned on.

        Returns
        -------
        DataFrame, shape (q, 2)
            Columns mean, sd, in units of the coefficients; rows as the columns of Z.

        Raises
        ------
        BayesvError
            For draws made elsewhere.

        Notes
        -----
        Rao–Blackwell: the mean of E[u | ·] and, for the SD, the mean of Var(u | ·) plus the
        variance of E[u | ·], given each draw and the effects of coarser factors drawn with it.
        """
        if self.density is None:
            raise BayesvError(
                "Random effects need the model of the draws, which is not known for draws made "
                "elsewhere; refit with bv.Model(...).sample()."
            )
        stats, terms, rng = self.density.stats, self.design.terms, np.random.default_rng(seed)
        total = self.n_chains * self.n_draws
        at = evenly_spaced(total, draws)
        sigma = np.sqrt(self.sigma2.ravel())
        gamma = (self.beta.reshape(total, -1) - stats.start) @ stats.R.T
        covs = [self.cov(term.group).reshape(total, term.n_columns, -1) for term in terms]
        mean, square, var = (np.zeros(self.design.q) for _ in range(3))
        for s in at:
            lambdas = stats.in_basis([psd_root(cov[s]) / sigma[s] for cov in covs])
            found = draw_effects(stats, lambdas, float(sigma[s]), gamma[s], rng)
            given = np.concatenate([m.ravel() for m in found.mean])
            mean += given / len(at)
            square += given**2 / len(at)
            var += np.concatenate([v.ravel() for v in found.var]) / len(at)
        sd = np.sqrt(var + np.clip(square - mean**2, 0.0, None))
        return pd.DataFrame({"mean": mean, "sd": sd}, index=self.design.effect_labels)

    @cached_property
    def quantities(self) -> list[Quantity]:
        """Draws of every scalar, with its scale."""
        return quantities(self.design, self.covs, self.sigma2, self.beta)

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
        return pd.concat([labels, pd.DataFrame(columns)], axis=1)

    def _diagnose(self, sample_stats: Mapping[str, Array]) -> tuple[str, ...]:
        problems = []
        diverging = sample_stats.get("diverging")
        if diverging is not None and (count := int(np.sum(diverging))):
            problems.append(
                f"{count} divergent transition{'s' * (count > 1)} of "
                f"{self.n_chains * self.n_draws}; the posterior may be explored incompletely "
                "(raise target_accept or tune)"
            )
        free = [q for q in self.quantities if q.scale in ("sd", "corr", "beta")]
        x = np.stack([q.values for q in free], axis=-1)
        ratio, ess = rhat(x), np.fmin(ess_bulk(x), ess_tail(x))
        if self.n_chains > 1 and (ratio > _MAX_RHAT).any():
            i = int(np.nanargmax(ratio))
            worst = min(float(ratio[i]), 10.0)
            problems.append(f"R-hat up to {worst:.3f} ({free[i].label}), above {_MAX_RHAT}")
        if np.isnan(ess).all():
            problems.append(f"{self.n_draws} draws a chain are too few for diagnostics; draw more")
        elif (ess < _MIN_ESS).any():
            i = int(np.nanargmin(ess))
            problems.append(
                f"effective sample size down to {ess[i]:.0f} ({free[i].label}), below {_MIN_ESS}; "
                "draw more"
            )
        if self._tails is not None and (heavy := self._tails.infinite_mean):
            problems.append(
                f"E[V | y] is infinite: the posterior of the SD of {', '.join(heavy)} has a tail "
                "too heavy for a mean of its square (few levels, a prior with a heavy tail); use "
                "medians, or HalfNormal or HalfStudentT(3, …)"
            )
        if self.density is not None:
            problems += unidentified(self.design, self.density.stats)
            sigma2 = float(np.median(self.sigma2))
            middle = [np.median(cov, axis=(0, 1)) / sigma2 for cov in self.covs.values()]
            if lost := self.density.stats.lost_digits([psd_root(cov) for cov in middle]):
                problems.append(lost)
        return tuple(problems)

    def __repr__(self) -> str:
        lines = [
            f"Posterior of {self.design.formula}",
            f"engine {self.engine}, {self.n_chains} chains × {self.n_draws} draws",
        ]
        table = self.summary()
        table.insert(0, "quantity", [q.label for q in self.quantities])
        show = ["quantity", "mean", "sd", "median", "eti_low", "eti_high", "ess_bulk", "rhat"]
        formats = {"ess_bulk": "{:.0f}".format, "rhat": "{:.3f}".format}
        text = table[show].to_string(
            index=False, formatters=formats, float_format=lambda v: f"{v:.5g}", justify="right"
        )
        lines.append(text)
        reasons: dict[str, list[str]] = {}
        for label, reason in self.undefined.items():
            reasons.setdefault(reason, []).append(label)
        lines += [f"note: {', '.join(labels)}: {reason}" for reason, labels in reasons.items()]
        lines += [f"problem: {problem}" for problem in self.problems]
        return "\n".join(lines)
