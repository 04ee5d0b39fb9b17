"""Draws of a density that is known: its likelihood, and the evidence of its model."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from bayesv.errors import BayesvError
from bayesv.inference.bridge import by_bridge
from bayesv.inference.density import MarginalDensity, MarginalLikelihood
from bayesv.inference.evidence import MAX_KHAT, Evidence, by_importance, flat_effects
from bayesv.inference.target import Target
from bayesv.linalg import Array
from bayesv.posterior.summarised import SummarisedDraws
from bayesv.support.arguments import accepts, choice, whole
from bayesv.support.process import USUAL_FLOATS

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

    @np.errstate(**USUAL_FLOATS)
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
