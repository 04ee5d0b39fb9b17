"""Priors as PyMC distributions, and the variables that have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bayesv.errors import BayesvError
from bayesv.priors.families import (
    Exponential,
    Flat,
    Gamma,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    Normal,
)

__all__ = ["prior_vector", "pymc_prior", "sd_scalar"]


def pymc_prior(prior: Any) -> tuple[str, dict[str, float]]:
    """Return name and arguments of a prior's PyMC distribution; for InverseGamma the variance's."""
    match prior:
        case HalfNormal(scale):
            return "HalfNormal", {"sigma": scale}
        case HalfStudentT(nu, scale):
            return "HalfStudentT", {"nu": nu, "sigma": scale}
        case HalfCauchy(scale):
            return "HalfCauchy", {"beta": scale}
        case Exponential(scale):
            return "Exponential", {"scale": scale}
        case Gamma(shape, scale):
            return "Gamma", {"alpha": shape, "beta": 1.0 / scale}
        case InverseGamma(shape, scale):
            return "InverseGamma", {"alpha": shape, "beta": scale}
        case Normal(mean, sd):
            return "Normal", {"mu": mean, "sigma": sd}
        case Flat():
            return "HalfFlat", {}
    raise BayesvError(f"There is no PyMC distribution for {prior!r}.")


def sd_scalar(name: str, prior: Any) -> Any:
    """Create the variable of one prior, by SD, in the model that is being built."""
    import pymc as pm

    family, arguments = pymc_prior(prior)
    if isinstance(prior, InverseGamma):
        variance = pm.InverseGamma(f"{name}_variance", **arguments)
        return pm.Deterministic(name, pm.math.sqrt(variance))
    return getattr(pm, family)(name, **arguments)


def prior_vector(name: str, priors: Sequence[Any], dim: str, flat: str) -> Any:
    """One variable where all priors are of one family, else one for each element."""
    import pymc as pm
    import pytensor.tensor as pt

    families = {type(prior) for prior in priors}
    if len(families) > 1 or families == {InverseGamma}:
        parts = []
        for i, prior in enumerate(priors):
            element = f"{name}_{i}"
            parts.append(
                pm.Flat(element)
                if isinstance(prior, Flat) and flat == "Flat"
                else sd_scalar(element, prior)
            )
        return pm.Deterministic(name, pt.stack(parts), dims=dim)
    stated = [pymc_prior(prior) for prior in priors]
    family = flat if families == {Flat} else stated[0][0]
    arguments = {key: np.array([args[key] for _, args in stated]) for key in stated[0][1]}
    return getattr(pm, family)(name, **arguments, dims=dim)
