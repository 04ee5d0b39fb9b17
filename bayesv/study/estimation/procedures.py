"""What a study fits: REML, ML, posteriors under declared priors, and functions of the user."""

from __future__ import annotations

import inspect
import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesv.covariance import ComponentDraws, VarianceComponents
from bayesv.errors import BayesvError
from bayesv.inference.draws import Draws
from bayesv.model import Model, check_sampling
from bayesv.posterior.estimators import ESTIMATES
from bayesv.posterior.posterior import Posterior
from bayesv.priors.priors import Priors
from bayesv.priors.text import priors_to_dict
from bayesv.reml import RemlFit
from bayesv.study.estimation.estimate import (
    Estimate,
    estimate_of_components,
    estimate_of_fit,
    estimate_of_posterior,
)
from bayesv.study.estimation.fingerprint import fingerprint
from bayesv.study.simulation.replicate import Replicate
from bayesv.support.arguments import TEXT, choice

__all__ = ["ML", "REML", "Bayes", "Custom", "Estimator", "estimators_of"]


class Estimator(ABC):
    """Something that is fitted to every replicate.

    Attributes
    ----------
    name : str
        What it is called in the results; unique in a study.
    """

    name: str

    @property
    @abstractmethod
    def key(self) -> str:
        """What is fitted: estimators with the same key share one fit."""

    @abstractmethod
    def fit(self, model: Model, seed: int) -> object:
        """Fit; what comes out is for `read`."""

    @abstractmethod
    def read(self, fit: Any, model: Model) -> Estimate:
        """Return the estimate that a fit gives."""

    @abstractmethod
    def to_dict(self) -> dict[str, object]:
        """Return plain values that say everything."""

    def check(self, model: Model) -> None:
        """Raise the error that fitting any response of a design has, if it is known before."""
        return

    def seed(self, replicate: Replicate) -> int:
        """Return the seed of a fit, whatever else the study has and wherever it runs."""
        key_of_fits = (zlib.crc32(self.key.encode()),)
        return int(
            np.random.SeedSequence(replicate.seed, spawn_key=key_of_fits).generate_state(1)[0]
        )


@dataclass(frozen=True)
class REML(Estimator):
    """Restricted maximum likelihood.

    Parameters
    ----------
    name : str
    """

    name: str = "REML"

    @property
    def key(self) -> str:  # noqa: D102
        return type(self).__name__

    def fit(self, model: Model, seed: int) -> RemlFit:  # noqa: D102
        return model.reml(type(self).__name__)

    def read(self, fit: RemlFit, model: Model) -> Estimate:  # noqa: D102
        return estimate_of_fit(fit)

    def to_dict(self) -> dict[str, object]:  # noqa: D102
        return {"kind": type(self).__name__, "name": self.name}


@dataclass(frozen=True)
class ML(REML):
    """Maximum likelihood.

    Parameters
    ----------
    name : str
    """

    name: str = "ML"


@dataclass(frozen=True)
class Bayes(Estimator):
    """A summary of the posterior under declared priors.

    Posteriors that differ in the summary alone are sampled once.

    Parameters
    ----------
    priors : Priors, optional
        Location-free defaults where left out.
    estimate : str
        ``mean``, ``median``, ``mode``, ``stein``, ``log_euclidean`` or ``medoid``: see
        `bayesv.Posterior.estimate`.
    draws, chains : int
    engine : str
        See `bayesv.Model.sample`.
    name : str, optional
        ``posterior <estimate>`` if left out.

    Raises
    ------
    BayesvError
        If an argument is out of range.

    Examples
    --------
    >>> import bayesv as bv
    >>> wide = Bayes(bv.Priors(sd=bv.HalfCauchy(25)), "stein", name="wide, Stein")
    >>> wide.to_dict()["priors"]
    {'sd': 'HalfCauchy(25)'}
    """

    priors: Priors | None = None
    estimate: str = "mean"
    draws: int = 250
    chains: int = 4
    engine: str = "collapsed"
    name: str = ""

    def __post_init__(self) -> None:
        check_sampling(self.engine, self.draws, self.chains)
        TEXT("name", self.name)
        choice(*ESTIMATES)("estimate", self.estimate)
        if self.priors is not None and not isinstance(self.priors, Priors):
            raise BayesvError(f"priors must be bv.Priors; found {type(self.priors).__name__}.")
        if not self.name:
            object.__setattr__(self, "name", f"posterior {self.estimate}")

    @property
    def key(self) -> str:  # noqa: D102
        content = self.to_dict()
        return json.dumps({k: v for k, v in content.items() if k not in ("name", "estimate")})

    def check(self, model: Model) -> None:  # noqa: D102
        try:
            model.with_priors(self.priors)
        except BayesvError as error:
            raise BayesvError(f"The priors of {self.name!r} do not fit: {error}") from error

    def fit(self, model: Model, seed: int) -> Posterior:  # noqa: D102
        return model.with_priors(self.priors).sample(
            self.engine, self.draws, self.chains, seed, cores=1, progressbar=False
        )

    def read(self, fit: Posterior, model: Model) -> Estimate:  # noqa: D102
        return estimate_of_posterior(fit, self.estimate, self.engine)

    def to_dict(self) -> dict[str, object]:  # noqa: D102
        priors = {} if self.priors is None else {"priors": priors_to_dict(self.priors)}
        return {
            "kind": "posterior",
            "name": self.name,
            "estimate": self.estimate,
            "draws": self.draws,
            "chains": self.chains,
            "engine": self.engine,
            **priors,
        }


@dataclass(frozen=True)
class Custom(Estimator):
    """A function of the user.

    Parameters
    ----------
    function : callable
        Takes a `bayesv.Model` and returns `VarianceComponents`, a `RemlFit`, a `Posterior`, or
        draws ``{"covs": {group: (chain, draw, r, r)}, "sigma2": (chain, draw), "beta": (chain,
        draw, p)}``. One that draws at random takes ``seed`` as well, to be reproducible.
    name : str, optional
        The function's own if left out.
    """

    function: Callable[..., Any]
    name: str = ""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise BayesvError(f"An estimator must be a function; found {self.function!r}.")
        TEXT("name", self.name)
        if not self.name:
            object.__setattr__(self, "name", getattr(self.function, "__name__", "custom"))

    @property
    def key(self) -> str:  # noqa: D102
        return f"custom {self.name}"

    def fit(self, model: Model, seed: int) -> object:  # noqa: D102
        takes_seed = "seed" in inspect.signature(self.function).parameters
        return self.function(model, seed=seed) if takes_seed else self.function(model)

    def read(self, fit: Any, model: Model) -> Estimate:  # noqa: D102
        if isinstance(fit, RemlFit):
            return estimate_of_fit(fit)
        if isinstance(fit, Posterior):
            return estimate_of_posterior(fit, "mean", fit.engine)
        if isinstance(fit, VarianceComponents):
            return estimate_of_components(fit, model.design)
        if isinstance(fit, Mapping) and {"covs", "sigma2", "beta"} <= set(fit):
            values = ComponentDraws(model.design, *(fit[key] for key in ("covs", "sigma2", "beta")))
            post = Posterior.from_draws(Draws(values), None, self.name)
            return estimate_of_posterior(post, "mean", self.name)
        raise BayesvError(
            f"{self.name} returned {type(fit).__name__}; needed are bv.VarianceComponents, a "
            "RemlFit, a Posterior, or draws as {'covs': …, 'sigma2': …, 'beta': …}."
        )

    def to_dict(self) -> dict[str, object]:  # noqa: D102
        where = getattr(self.function, "__module__", ""), getattr(self.function, "__qualname__", "")
        return {
            "kind": "custom",
            "name": self.name,
            "function": ".".join(filter(None, where)),
            "code": fingerprint(self.function),
        }


def estimators_of(chosen: Any) -> tuple[Estimator, ...]:
    """Return estimators for what a user may give: estimators, their kinds, functions.

    Parameters
    ----------
    chosen : Estimator, callable, str, an iterable of these, or a mapping of name to callable
        Kinds are ``"REML"``, ``"ML"`` and ``"posterior"``.

    Raises
    ------
    BayesvError
        If there is none, one is not understood, or two have the same name.
    """
    if isinstance(chosen, Estimator | str) or callable(chosen):
        chosen = [chosen]
    if isinstance(chosen, Mapping):
        chosen = [Custom(function, str(name)) for name, function in chosen.items()]
    if not isinstance(chosen, Iterable):
        raise BayesvError(f"Estimators must be a list; found {chosen!r}.")
    kinds: dict[str, Callable[[], Estimator]] = {"REML": REML, "ML": ML, "posterior": Bayes}
    estimators: list[Estimator] = []
    for one in chosen:
        if isinstance(one, Estimator):
            estimators.append(one)
        elif isinstance(one, str) and one in kinds:
            estimators.append(kinds[one]())
        elif callable(one) and not isinstance(one, type):
            estimators.append(Custom(one))
        else:
            raise BayesvError(
                f"An estimator is one of {', '.join(kinds)}, bv.study.Bayes(…) or a function "
                f"of a model; found {one!r}."
            )
    names = [one.name for one in estimators]
    if not estimators or len(set(names)) < len(names):
        raise BayesvError(
            "Estimators need names that differ (name=…); found "
            f"{', '.join(names) if names else 'no estimator'}."
        )
    return tuple(estimators)
