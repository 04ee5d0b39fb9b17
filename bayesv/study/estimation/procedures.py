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

from bayesv.covariance import ComponentDraws, VarianceComponents, gls
from bayesv.design.design import Design
from bayesv.errors import BayesvError
from bayesv.inference.draws import Draws
from bayesv.linalg import Array, smallest_relative_eigenvalue
from bayesv.model import Model, check_sampling
from bayesv.posterior.estimators import ESTIMATES
from bayesv.posterior.posterior import Posterior
from bayesv.priors.priors import Priors
from bayesv.priors.text import priors_to_dict
from bayesv.reml import RemlFit
from bayesv.study.estimation.fingerprint import fingerprint
from bayesv.study.simulation.replicate import Replicate
from bayesv.support.arguments import TEXT, choice

__all__ = ["ML", "REML", "Bayes", "Custom", "Estimate", "Estimator", "estimators_of"]


@dataclass(frozen=True, eq=False)
class Estimate:
    """What scores are taken of.

    Attributes
    ----------
    components : VarianceComponents
        V̂, in the order of the design.
    beta : ndarray, shape (p,)
        GLS at V̂.
    cov_beta : ndarray, shape (p, p)
        (X'V̂⁻¹X)⁻¹.
    reml : bool
        Whether V̂ is REML's, to which Kenward and Roger's theory applies.
    draws : Posterior, optional
    flags : mapping of str to bool
        What is counted: ``singular``, ``not converged``, ``fallback``, ``problems``.
    """

    components: VarianceComponents
    beta: Array
    cov_beta: Array
    reml: bool
    draws: Posterior | None
    flags: Mapping[str, bool]


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
    def fit(self, model: Model, seed: int) -> Any:
        """Fit; what comes out is for `read`."""

    @abstractmethod
    def read(self, result: Any, model: Model) -> Estimate:
        """Return the estimate that a fit gives."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return plain values that say everything."""

    def check(self, model: Model) -> None:
        """Raise the error that fitting any response of a design has, if it is known before."""
        return

    def seed(self, replicate: Replicate) -> int:
        """Return the seed of a fit, whatever else the study has and wherever it runs."""
        spawn_key = (zlib.crc32(self.key.encode()),)
        return int(np.random.SeedSequence(replicate.seed, spawn_key=spawn_key).generate_state(1)[0])


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

    def read(self, result: RemlFit, model: Model) -> Estimate:  # noqa: D102
        return _of_fit(result)

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
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
        settings = self.to_dict()
        return json.dumps({k: v for k, v in settings.items() if k not in ("name", "estimate")})

    def check(self, model: Model) -> None:  # noqa: D102
        try:
            model.with_priors(self.priors)
        except BayesvError as error:
            raise BayesvError(f"The priors of {self.name!r} do not fit: {error}") from error

    def fit(self, model: Model, seed: int) -> Posterior:  # noqa: D102
        return model.with_priors(self.priors).sample(
            self.engine, self.draws, self.chains, seed, cores=1, progressbar=False
        )

    def read(self, result: Posterior, model: Model) -> Estimate:  # noqa: D102
        return _of_posterior(result, self.estimate, self.engine)

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
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

    def fit(self, model: Model, seed: int) -> Any:  # noqa: D102
        takes_seed = "seed" in inspect.signature(self.function).parameters
        return self.function(model, seed=seed) if takes_seed else self.function(model)

    def read(self, result: Any, model: Model) -> Estimate:  # noqa: D102
        if isinstance(result, RemlFit):
            return _of_fit(result)
        if isinstance(result, Posterior):
            return _of_posterior(result, "mean", result.engine)
        if isinstance(result, VarianceComponents):
            return _of_components(result, model.design)
        if isinstance(result, Mapping) and {"covs", "sigma2", "beta"} <= set(result):
            values = ComponentDraws(
                model.design, *(result[key] for key in ("covs", "sigma2", "beta"))
            )
            post = Posterior.from_draws(Draws(values), None, self.name)
            return _of_posterior(post, "mean", self.name)
        raise BayesvError(
            f"{self.name} returned {type(result).__name__}; needed are bv.VarianceComponents, a "
            "RemlFit, a Posterior, or draws as {'covs': …, 'sigma2': …, 'beta': …}."
        )

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        where = getattr(self.function, "__module__", ""), getattr(self.function, "__qualname__", "")
        return {
            "kind": "custom",
            "name": self.name,
            "function": ".".join(filter(None, where)),
            "code": fingerprint(self.function),
        }


def estimators_of(declared: Any) -> tuple[Estimator, ...]:
    """Return estimators for what a user may give: estimators, their kinds, functions.

    Parameters
    ----------
    declared : Estimator, callable, str, an iterable of these, or a mapping of name to callable
        Kinds are ``"REML"``, ``"ML"`` and ``"posterior"``.

    Raises
    ------
    BayesvError
        If there is none, one is not understood, or two have the same name.
    """
    if isinstance(declared, Estimator | str) or callable(declared):
        declared = [declared]
    if isinstance(declared, Mapping):
        declared = [Custom(function, str(name)) for name, function in declared.items()]
    if not isinstance(declared, Iterable):
        raise BayesvError(f"Estimators must be a list; found {declared!r}.")
    kinds: dict[str, Callable[[], Estimator]] = {"REML": REML, "ML": ML, "posterior": Bayes}
    estimators: list[Estimator] = []
    for one in declared:
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


def _of_fit(fit: RemlFit) -> Estimate:
    return Estimate(
        fit.components.aligned(fit.design),
        fit.beta.to_numpy(),
        fit.cov_beta.to_numpy(),
        reml=fit.method == "REML",
        draws=None,
        flags={"singular": fit.singular, "not converged": not fit.converged},
    )


def _of_posterior(post: Posterior, estimate: str, engine: str) -> Estimate:
    flags = {"fallback": post.engine != engine, "problems": bool(post.problems)}
    return _at(post.estimate(estimate), post.design, post, flags)


def _of_components(vc: VarianceComponents, design: Design) -> Estimate:
    vc = vc.aligned(design)
    lowest = min(smallest_relative_eigenvalue(vc.block_for(term)) for term in design.terms)
    return _at(vc, design, None, {"singular": lowest < 1e-8})


def _at(
    vc: VarianceComponents, design: Design, draws: Posterior | None, flags: dict[str, bool]
) -> Estimate:
    estimates = gls(design, vc)
    beta, cov = estimates.beta.to_numpy(), estimates.cov.to_numpy()
    return Estimate(vc, beta, cov, reml=False, draws=draws, flags=flags)
