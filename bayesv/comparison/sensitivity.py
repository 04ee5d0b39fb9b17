"""How probabilities of models depend on the scale of their priors, without sampling again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesv.comparison.models import ModelComparison
from bayesv.comparison.stacking import evidence_weights
from bayesv.diagnostics.convergence import ess_mean, pareto_k
from bayesv.errors import BayesvError
from bayesv.inference.adaptation import log_mean
from bayesv.linalg import Array
from bayesv.posterior.posterior import Posterior
from bayesv.support.arguments import NUMBER, TEXTS, a, accepts, optional, some
from bayesv.support.shown import Part, Shown, Table, digits

__all__ = ["Sensitivity", "sensitivity"]

_FACTORS = tuple(2.0 ** np.linspace(-3, 3, 13))
_MAX_KHAT = 0.7


@dataclass(frozen=True, eq=False, repr=False)
class Sensitivity(Shown):
    """Evidences and probabilities of models with all scales of SD priors times a factor.

    Attributes
    ----------
    table : DataFrame
        Columns model, factor, log_evidence, mcse, pareto_k, probability; NaN where the draws do
        not reach.
    names : tuple of str
    """

    table: pd.DataFrame
    names: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return the table."""
        return self.table

    def _shown(self) -> Iterator[Part]:
        wide = self.table.pivot(index="factor", columns="model", values="probability")
        wide.index = [f"{factor:.4g}" for factor in wide.index]
        keys = [f"[{k}]" for k in range(1, len(self.names) + 1)]
        yield "Probabilities with the scales of SD priors times a factor"
        yield from (f"{key} {name}" for key, name in zip(keys, self.names, strict=True))
        yield Table.of(
            wide[list(self.names)].set_axis(keys, axis=1).rename_axis("factor"), digits(3)
        )


@accepts(comparison=a(ModelComparison), factors=some(NUMBER), groups=optional(TEXTS))
def sensitivity(
    comparison: ModelComparison,
    factors: Sequence[float] = _FACTORS,
    groups: Sequence[str] | None = None,
) -> Sensitivity:
    """Return probabilities of models under wider and narrower priors of their SDs.

    Parameters
    ----------
    comparison : ModelComparison
        With evidences.
    factors : sequence of float
        That the scales of the priors are multiplied by; ⅛ to 8 if left out.
    groups : sequence of str, optional
        Grouping factors whose SDs are meant; those of all random terms if left out. The prior of
        the residual SD is that of every model and stays.

    Returns
    -------
    Sensitivity

    Raises
    ------
    BayesvError
        If evidences were not asked for, a factor is not positive, or no model has such a group.

    Notes
    -----
    p(y) under another prior π* is p(y) E[π*(θ)/π(θ) | y], a mean over the draws there are; its
    error allows for their autocorrelation, and where Pareto k̂ of these weights is above 0.7 there
    is NaN. The wider a prior, the less it says of where an SD is, and the more a model without
    this SD is favoured, whatever the data (Lindley's paradox): a Bayes factor is to be read with
    its prior.

    Examples
    --------
    >>> import bayesv as bv
    >>> sleep = bv.load_dataset("sleepstudy")
    >>> terms = ("(Days || Subject)", "(Days | Subject)")
    >>> posts = [bv.Model(f"Reaction ~ Days + {t}", sleep).sample(seed=1) for t in terms]
    >>> result = bv.sensitivity(bv.compare_models(*posts, leave_out=False), factors=[0.5, 1, 2])
    >>> result.to_frame().shape
    (6, 6)
    """
    if not comparison.evidences:
        raise BayesvError("Evidences were not asked for: compare_models(…, evidence=True).")
    wanted = [float(factor) for factor in factors]
    if not wanted or not all(np.isfinite(wanted)) or min(wanted) <= 0:
        raise BayesvError(f"factors are positive numbers; found {list(factors)!r}.")
    known = {group for post in comparison.posteriors for group in post.design.groups}
    if groups is not None and not set(groups) <= known:
        raise BayesvError(f"groups are among {', '.join(sorted(known))}; found {list(groups)}.")
    rows = []
    for factor in wanted:
        moves = [_moved(post, factor, groups) for post in comparison.posteriors]
        logs = np.array([e.log for e in comparison.evidences]) + [move[0] for move in moves]
        probabilities = evidence_weights(logs, comparison.prior)
        for k, (name, evidence) in enumerate(
            zip(comparison.names, comparison.evidences, strict=True)
        ):
            mcse = float(np.hypot(evidence.mcse, moves[k][1]))
            rows.append((name, factor, logs[k], mcse, moves[k][2], probabilities[k]))
    columns = ["model", "factor", "log_evidence", "mcse", "pareto_k", "probability"]
    return Sensitivity(pd.DataFrame(rows, columns=columns), comparison.names)


@np.errstate(under="ignore")
def _moved(
    post: Posterior, factor: float, groups: Sequence[str] | None
) -> tuple[float, float, float]:
    """Return log E[π*/π | y], its Monte Carlo error, and Pareto k̂."""
    log_ratio = _log_ratio(post, factor, groups)
    if np.ptp(log_ratio) == 0.0:
        return float(log_ratio.flat[0]), 0.0, float("-inf")
    khat = pareto_k(log_ratio.ravel())
    if khat > _MAX_KHAT:
        return np.nan, np.nan, khat
    ratio = np.exp(log_ratio - log_ratio.max())
    error = ratio.std() / ratio.mean() / np.sqrt(ess_mean(ratio[..., None])[0])
    return log_mean(log_ratio.ravel()), float(error), khat


def _log_ratio(post: Posterior, factor: float, groups: Sequence[str] | None) -> Array:
    """Return log π*(θ) − log π(θ) of every draw, (chain, draw): π*(SD) = π(SD/factor)/factor."""
    assert post.priors is not None
    sds = post.priors.stated_sds(post.values)
    total = np.zeros((post.n_chains, post.n_draws))
    for group, priors in post.priors.sd.items():
        if groups is not None and group not in groups:
            continue
        for k, prior in enumerate(priors):
            sd = sds[group][..., k]
            total += prior.log_density(sd / factor) - np.log(factor) - prior.log_density(sd)
    return total
