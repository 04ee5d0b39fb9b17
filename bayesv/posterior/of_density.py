"""Draws of a density that is known: its likelihood, and the evidence of its model."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bayesv.errors import BayesvError
from bayesv.inference.bridge import by_bridge
from bayesv.inference.density import MarginalDensity, MarginalLikelihood
from bayesv.inference.evidence import MAX_KHAT, Evidence, by_importance, flat_effects
from bayesv.inference.target import Target
from bayesv.linalg import Array
from bayesv.posterior.groups import PREDICTIVE, groups_of
from bayesv.posterior.likelihoods import likelihood_groups
from bayesv.posterior.summarised import SummarisedDraws
from bayesv.support.arguments import accepts, choice, optional, whole
from bayesv.support.process import computing
from bayesv.support.xarray import data_tree

if TYPE_CHECKING:
    import xarray

__all__ = ["DrawsOfDensity"]


class DrawsOfDensity(SummarisedDraws):
    """Draws with what is known of the density they are of; see `Posterior`."""

    @cached_property
    def _likelihood(self) -> MarginalLikelihood:
        """The likelihood, a density where priors are known; else with a flat prior of β."""
        if self.density is not None:
            return self.density
        if self.priors is None:
            return MarginalLikelihood.restricted(self.design)
        return MarginalDensity.of(self.design, self.priors)

    @property
    def log_weights(self) -> Array | None:
        """Log importance weights of all points that the engine proposed; None if it did not."""
        if (unlabelled := self._unlabelled) is not None:
            return unlabelled.log_weights
        if "proposals" not in self.draws.children:
            return None
        return np.asarray(self.draws["proposals"]["log_weight"].to_numpy(), dtype=float)

    @accepts(method=choice("auto", "importance", "bridge"), seed=whole(0))
    def evidence(self, method: str = "auto", seed: int = 0) -> Evidence:
        """Return the log marginal likelihood log p(y) of the model, with its Monte Carlo error.

        Parameters
        ----------
        method : {"auto", "importance", "bridge"}
            ``importance``: the mean weight of all points that the collapsed engine proposed,
            accepted or not, which costs nothing. ``bridge``: bridge sampling from the draws, for
            any engine. ``auto``: importance where there are weights with Pareto k̂ up to 0.5.
        seed : int
            Of the points that bridge sampling proposes.

        Returns
        -------
        Evidence

        Raises
        ------
        BayesvError
            If the priors of the draws are not known, or no proposals were kept.
        PriorError
            If the prior of a standard deviation is flat: then there is no evidence.

        Examples
        --------
        >>> import bayesv as bv
        >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
        >>> evidence = model.sample(seed=1).evidence()
        >>> evidence.method, evidence.mcse < 0.01, evidence.flat
        ('importance', True, ('Intercept',))
        """
        density = self._likelihood
        if not isinstance(density, MarginalDensity):
            raise BayesvError(
                "The evidence needs the priors of the draws, which are not known for draws made "
                "elsewhere; refit with bv.Model(...).sample()."
            )
        evidence = self._evidence(density, method, seed)
        if density.stats.probes is None:
            return evidence
        problem = (
            "log|V| is estimated by probes, which moves the log evidence by more than its Monte "
            "Carlo error says; compare models with elimination='crossed'"
        )
        return replace(evidence, problems=(*evidence.problems, problem))

    @computing
    def _evidence(self, density: MarginalDensity, method: str, seed: int) -> Evidence:
        flat, log_weights = flat_effects(density.priors), self.log_weights
        if log_weights is not None and method != "bridge":
            evidence = by_importance(log_weights, flat)
            if method == "importance" or evidence.pareto_k <= MAX_KHAT:
                return evidence
        elif method == "importance":
            raise BayesvError(
                f"The draws of {self.engine!r} have no proposals to weigh; use method='bridge'."
            )
        target = Target(density)
        x = target.coordinates.from_values(self.values)
        return by_bridge(target, x, np.random.default_rng(seed), flat)

    @accepts(every=optional(whole(1)))
    def log_likelihood(self, every: int | None = None) -> xarray.DataTree:
        """Return the draws with a group ``log_likelihood``, u integrated out, for ``az.loo``.

        Parameters
        ----------
        every : int, optional
            Keep every so many draws of each chain; left out, about 1,000 draws in all.

        Returns
        -------
        DataTree
            Group ``log_prior``, by parameter, makes ``az.psense_summary`` work (power-scaling
            sensitivity to prior and likelihood, ``likelihood_var_names="by_cluster"``). Group
            ``log_likelihood`` has ``by_row``, log p(y_i | y_−i, β, Σ, σ), for leaving out one row,
            and ``by_cluster``, log p(y_c | β, Σ, σ), for leaving out one connected cluster:
            ``az.loo(post.log_likelihood(), var_name="by_cluster")``.
        """
        step = every or max(1, self.n_chains * self.n_draws // 1000)
        groups = likelihood_groups(self.values, self.priors, step)
        posterior = self.draws["posterior"].to_dataset().isel(draw=slice(None, None, step))
        return data_tree({"posterior": posterior, **groups})

    @accepts(predictive=choice(*PREDICTIVE), draws=whole(1), seed=whole(0))
    def to_datatree(
        self, predictive: str = "fitted", *, draws: int = 1000, seed: int = 0
    ) -> xarray.DataTree:
        """Return draws with prior, predictive and likelihood, for the checks of ArviZ.

        Parameters
        ----------
        predictive : {"fitted", "new", "left_out"}
            What ``posterior_predictive`` has of each row: ``"fitted"``, replications with the
            groups that were fitted; ``"new"``, with groups never seen; ``"left_out"``, draws given
            all other rows, with their ``log_likelihood``, as ``az.plot_loo_pit`` needs.
        draws : int
            About how many draws are kept, evenly spaced.
        seed : int

        Returns
        -------
        DataTree
            ``posterior``, ``sample_stats``, ``observed_data``, ``posterior_predictive``;
            ``prior``, unless that of an SD is flat (without β where its is flat), and
            ``prior_predictive`` where all are proper.

        Examples
        --------
        ``az.plot_ppc_dist(post.to_datatree())``,
        ``az.plot_prior_posterior(post.to_datatree(), var_names=["sd_Subject", "sigma"])``,
        ``az.plot_loo_pit(post.to_datatree("left_out"))``
        """
        step = max(1, -(-self.n_chains * self.n_draws // int(draws)))
        return groups_of(
            self.draws, self.values, self.priors, self._likelihood, predictive, step, seed
        )
