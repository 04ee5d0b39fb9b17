"""Estimators over a stated list of structures of V: one is chosen, or all are averaged over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bayesv.comparison.criteria import n_parameters
from bayesv.comparison.stacking import evidence_weights
from bayesv.comparison.structures import candidates_of, variant
from bayesv.errors import BayesvError, FormulaError
from bayesv.linalg import Array
from bayesv.model import Model, check_sampling
from bayesv.posterior.posterior import Posterior
from bayesv.priors.priors import Priors
from bayesv.priors.text import priors_to_dict
from bayesv.reml import RemlFit
from bayesv.study.estimation.estimate import Mixture, estimate_of_fit
from bayesv.study.estimation.procedures import Estimator
from bayesv.support.arguments import TEXT, choice

__all__ = ["CRITERIA", "Averaged", "Chosen"]

CRITERIA = ("evidence", "AIC", "BIC")
_LEAST_WEIGHT = 1e-6  # of a structure that has a part in an average


class _Fitted(NamedTuple):
    """A candidate: its model, its REML fit, and its posterior where evidences are asked for."""

    model: Model
    fit: RemlFit
    post: Posterior | None


@dataclass(frozen=True)
class _OfCandidates(Estimator):
    """What choosing and averaging have in common."""

    candidates: Any
    by: str = "evidence"
    priors: Priors | None = None
    draws: int = 250
    chains: int = 4
    engine: str = "collapsed"
    name: str = ""
    _kept: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        choice(*CRITERIA)("by", self.by)
        check_sampling(self.engine, self.draws, self.chains)
        TEXT("name", self.name)
        if self.priors is not None and not isinstance(self.priors, Priors):
            raise BayesvError(f"priors must be bv.Priors; found {type(self.priors).__name__}.")
        if not isinstance(self.candidates, str | list | tuple | Mapping) or not self.candidates:
            raise BayesvError(
                "candidates are 'growth', 'mmrm', a list of structures or a mapping of name to "
                f"structure, see bv.structures; found {self.candidates!r}."
            )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": []}

    @property
    def key(self) -> str:
        content = self.to_dict()
        fitted = {k: v for k, v in content.items() if k not in ("kind", "name", "by")}
        return json.dumps(["candidates", self.by == "evidence", fitted])

    def check(self, model: Model) -> None:
        if len(self._variants(model)) < 2:
            raise BayesvError(f"{self.name!r} needs two candidates or more.")

    def fit(self, model: Model, seed: int) -> dict[str, _Fitted | None]:
        """Return what comes of each candidate; None where it cannot be fitted."""
        fits: dict[str, _Fitted | None] = {}
        for name, one in self._variants(model).items():
            own = one.with_response(model.design.y)
            try:
                post = self._posterior(own, seed) if self.by == "evidence" else None
                fits[name] = _Fitted(own, own.reml(), post)
            except FormulaError:  # it is not what was meant
                raise
            except BayesvError:
                fits[name] = None
        if not any(fits.values()):
            raise BayesvError("None of the candidates could be fitted.")
        return fits

    def read(self, fit: dict[str, _Fitted | None], model: Model) -> Mixture:
        fits = {name: one for name, one in fit.items() if one is not None}
        weights = self._weights(_probabilities(list(fits.values()), self.by))
        kept = [
            (estimate_of_fit(one.fit, one.model, one.post, self.engine), weight)
            for one, weight in zip(fits.values(), weights, strict=True)
            if weight > 0
        ]
        parts, positive = zip(*kept, strict=True)
        shares = dict.fromkeys(fit, 0.0) | dict(zip(fits, weights.tolist(), strict=True))
        names = dict.fromkeys(flag for part in parts for flag in part.flags)
        flags = {flag: any(part.flags[flag] for part in parts) for flag in names}
        flags["without a candidate"] = len(fits) < len(fit)
        return Mixture(parts, np.array(positive) / sum(positive), shares, flags)

    def _weights(self, probabilities: Array) -> Array:
        """Return the weight of each candidate, 0 for those without a part."""
        raise NotImplementedError

    def _posterior(self, model: Model, seed: int) -> Posterior:
        return model.sample(self.engine, self.draws, self.chains, seed, cores=1, progressbar=False)

    def _variants(self, model: Model) -> dict[str, Model]:
        """Return the model of each candidate; replicates of one design share them."""
        asked = model.origin.asked
        if not self._kept or self._kept[0] is not asked:
            own = model.with_priors(self.priors)
            stated = candidates_of(own, self.candidates)
            self._kept[:] = [asked, {name: variant(own, one) for name, one in stated.items()}]
        return dict(self._kept[1])

    def to_dict(self) -> dict[str, object]:
        stated = self.candidates
        return {
            "kind": type(self).__name__.lower(),
            "name": self.name,
            "by": self.by,
            "candidates": list(stated) if isinstance(stated, tuple) else stated,
            **({"draws": self.draws, "chains": self.chains, "engine": self.engine}
               if self.by == "evidence" else {}),
            **({} if self.priors is None else {"priors": priors_to_dict(self.priors)}),
        }  # fmt: skip


@dataclass(frozen=True)
class Chosen(_OfCandidates):
    """REML of the structure that a criterion chooses, and its posterior if that is the evidence.

    Parameters
    ----------
    candidates : {"growth", "mmrm"}, sequence, or mapping of name to candidate
        As of `bayesv.structures`.
    by : {"evidence", "AIC", "BIC"}
        AIC and BIC are of REML fits, with log of the number of independent clusters for BIC.
    priors : Priors, optional
        Of the scenario's model; each candidate takes those of what it has.
    draws, chains : int
        Of each posterior, for evidences.
    engine : str
    name : str, optional
        ``chosen by <by>`` if left out.

    Notes
    -----
    Scored are β and V, which all structures have; elements of Σ are of a structure. The result has
    the share of replicates in which each one is chosen, of kind ``weight``.

    Examples
    --------
    >>> Chosen(["(1 | g)", "(x | g)"], "AIC").name
    'chosen by AIC'
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name:
            object.__setattr__(self, "name", f"chosen by {self.by}")

    def _weights(self, probabilities: Array) -> Array:
        return np.asarray(np.eye(len(probabilities))[np.argmax(probabilities)])


@dataclass(frozen=True)
class Averaged(_OfCandidates):
    """All candidates, weighted by their probabilities, as `bayesv.average` does.

    Parameters
    ----------
    candidates, by, priors, draws, chains, engine, name
        As of `Chosen`; weights are posterior probabilities of the structures, or proportional to
        exp(−AIC/2) or exp(−BIC/2).

    Notes
    -----
    The posterior is the mixture of the candidates' posteriors. Intervals of ``plug-in``,
    ``Satterthwaite``, ``Kenward–Roger`` and ``CR2`` leave a tail of the mixture of the candidates'
    t distributions on either side (Turek and Fletcher 2012,
    https://doi.org/10.1016/j.csda.2012.03.002); the estimate is the weighted mean, its variance
    that of the mixture. V̂ is the weighted mean of the candidates' V̂.

    Examples
    --------
    >>> Averaged(["(1 | g)", "(x | g)"]).name
    'averaged by evidence'
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name:
            object.__setattr__(self, "name", f"averaged by {self.by}")

    def _weights(self, probabilities: Array) -> Array:
        return np.where(probabilities < _LEAST_WEIGHT, 0.0, probabilities)


def _probabilities(fits: list[_Fitted], by: str) -> Array:
    """Return the weights of structures by a criterion, shape (K,)."""
    if by == "evidence":
        logs = [one.post.evidence().log for one in fits if one.post is not None]
    else:
        logs = [-0.5 * _criterion(one.fit, by) for one in fits]
    return evidence_weights(np.array(logs), np.full(len(logs), 1.0 / len(logs)))


def _criterion(fit: RemlFit, by: str) -> float:
    design = fit.design
    each = 2.0 if by == "AIC" else float(np.log(len(np.unique(design.clusters))))
    return float(fit.criterion + each * (design.p + n_parameters(fit)))
