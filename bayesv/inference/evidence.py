"""The marginal likelihood of a model, log p(y), with its Monte Carlo error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bayesv.diagnostics.convergence import pareto_k
from bayesv.errors import PriorError
from bayesv.inference.adaptation import efficiency, log_mean
from bayesv.linalg import Array
from bayesv.priors.families import Flat
from bayesv.priors.priors import ResolvedPriors
from bayesv.support.shown import Part, Shown

__all__ = ["MAX_KHAT", "Evidence", "by_importance", "flat_effects"]

MAX_KHAT = 0.5
"""Pareto k̂ above which importance weights may have no finite variance."""

_LARGEST_MCSE = 0.2  # of a log evidence that is of use: Bayes factors are wrong by a quarter


@dataclass(frozen=True, repr=False)
class Evidence(Shown):
    """log p(y), the logarithm of the marginal likelihood of a model.

    Attributes
    ----------
    log : float
        log ∫ p(y | Σ, σ) p(Σ, σ) d(Σ, σ), with every constant of likelihood and priors.
    mcse : float
        Monte Carlo standard error of ``log``.
    method : {"importance", "bridge", "quadrature"}
    ess : float
        Effective number of draws that it rests on.
    pareto_k : float
        Pareto k̂ of the importance weights; NaN for other methods.
    flat : tuple of str
        Fixed effects with a flat prior: their density is 1 per unit of each, so that ``log`` by
        itself means nothing, and differences do for the same rows and the same columns of these.
    problems : tuple of str
        What makes the number or its error doubtful; empty when nothing does.
    """

    log: float
    mcse: float
    method: str
    ess: float = np.inf
    pareto_k: float = np.nan
    flat: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def _shown(self) -> Iterator[Part]:
        how = {"importance": "importance sampling", "bridge": "bridge sampling"}
        facts = [how.get(self.method, self.method)]
        if np.isfinite(self.ess):
            facts.append(f"ESS {self.ess:.0f}")
        if not np.isnan(self.pareto_k):
            facts.append(f"Pareto k̂ {self.pareto_k:.2f}")
        yield f"log evidence {self.log:.3f} ± {self.mcse:.3f} ({', '.join(facts)})"
        if self.flat:
            yield (
                f"flat prior of {', '.join(self.flat)}: only differences mean something, between "
                "models of the same rows and these same columns"
            )
        yield from (f"problem: {problem}" for problem in self.problems)


def by_importance(log_weights: Array, flat: tuple[str, ...] = ()) -> Evidence:
    """Return the evidence by the mean of importance weights.

    Parameters
    ----------
    log_weights : ndarray, shape (S,)
        Log of the density, with all constants, over the proposal's.
    flat : tuple of str
        As of `Evidence`.

    Notes
    -----
    With weights w, log m̂ = log mean(w) and MCSE(log m̂)² = (S Σw²/(Σw)² − 1)/S; the effective
    number is (Σw)²/Σw².
    """
    size, khat = len(log_weights), pareto_k(log_weights)
    share = efficiency(log_weights)
    mcse = float(np.sqrt((1.0 / share - 1.0) / size))
    problems = list(imprecise(mcse))
    if khat > MAX_KHAT:
        problems.append(
            f"Pareto k̂ of the importance weights is {khat:.2f}, above {MAX_KHAT}: their variance, "
            "and so this Monte Carlo error, may not exist; use method='bridge'"
        )
    return Evidence(
        log_mean(log_weights), mcse, "importance", share * size, khat, flat, tuple(problems)
    )


def imprecise(mcse: float) -> tuple[str, ...]:
    """Say so if a Monte Carlo error is large."""
    if mcse <= _LARGEST_MCSE:
        return ()
    return (f"the Monte Carlo error {mcse:.2f} is large; draw more",)


def flat_effects(priors: ResolvedPriors) -> tuple[str, ...]:
    """Return the fixed effects with flat priors.

    Raises
    ------
    PriorError
        If a standard deviation has a flat prior, so that there is no evidence.
    """
    flat = [
        f"{term.group}: {label}"
        for term in priors.design.terms
        for label, prior in zip(
            term.structure.sd_labels(term.columns), priors.sd[term.group], strict=True
        )
        if isinstance(prior, Flat)
    ]
    flat += ["Residual"] * isinstance(priors.sigma, Flat)
    if flat:
        raise PriorError(
            f"The prior of the SD of {', '.join(flat)} is flat: it has no total mass, so that the "
            "evidence has an arbitrary factor. State a proper one, such as HalfStudentT(3, …)."
        )
    names = priors.design.fixed_names
    return tuple(n for n, p in zip(names, priors.beta, strict=True) if isinstance(p, Flat))
