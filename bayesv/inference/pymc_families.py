"""Families of correlations with parameters as PyMC variables and PyTensor expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import betaln

from bayesv.errors import BayesvError
from bayesv.structures.antedependence import AnteDependence
from bayesv.structures.autoregressive import Autoregressive
from bayesv.structures.coordinate_maps import CoordinateMap, Interval
from bayesv.structures.coordinate_priors import BetaShare, CoordinatePrior, HalfBeta
from bayesv.structures.exchangeable import CompoundSymmetry, HeterogeneousCompoundSymmetry
from bayesv.structures.family import Family
from bayesv.structures.moving_average import AutoregressiveMovingAverage, MovingAverage
from bayesv.structures.spatial import ContinuousAutoregressive
from bayesv.structures.structure import CovarianceStructure
from bayesv.structures.toeplitz import HeterogeneousToeplitz, Toeplitz

__all__ = ["correlation_root"]


def correlation_root(name: str, structure: CovarianceStructure, eta: float) -> Any:
    """Create the variables of a correlation in the model that is being built; return its root.

    Parameters
    ----------
    name : str
        ``<name>`` is made a deterministic variable, the Cholesky factor; ``<name>_share`` is free:
        the place of each parameter within its range (`CovarianceStructure.coordinates` by z are
        their logits).
    structure : CovarianceStructure
        A family with parameters.
    eta : float
        Of LKJ(η) restricted to the family.

    Raises
    ------
    BayesvError
        If the family, or its prior, is none that is stated here.
    """
    import pymc as pm
    import pytensor.tensor as pt

    if not isinstance(structure, Family):
        raise _unstated(structure)
    priors = structure.coordinate_priors(eta)
    bounds = [_interval(one, structure) for one in structure.maps]
    shapes = np.array([_beta(prior, structure) for prior in priors])
    share = pm.Beta(f"{name}_share", shapes[:, 0], shapes[:, 1], shape=len(priors))
    parameters = [low + (high - low) * share[k] for k, (low, high) in enumerate(bounds)]
    for k, prior in enumerate(priors):
        if isinstance(prior, HalfBeta) and prior.eta != 1.0:
            pm.Potential(f"{name}_prior_{k}", _rest_of_half_beta(parameters[k], prior.eta))
    return pm.Deterministic(name, pt.linalg.cholesky(_correlation(structure, parameters)))


def _interval(one: CoordinateMap, structure: Family) -> tuple[float, float]:
    if not isinstance(one, Interval):
        raise _unstated(structure)
    return one.low, one.high


def _beta(prior: CoordinatePrior, structure: Family) -> tuple[float, float]:
    """Return the parameters of the beta density of a share."""
    if isinstance(prior, BetaShare):
        return prior.a, prior.b
    if isinstance(prior, HalfBeta):
        return 1.0, prior.eta
    raise _unstated(structure)


def _rest_of_half_beta(rho: Any, eta: float) -> Any:
    """Return the log density of `HalfBeta` by ρ less that of Beta(1, η)."""
    import pytensor.tensor as pt

    constant = (2.0 - 2.0 * eta) * np.log(2.0) - betaln(eta, eta) - np.log(eta)
    return (eta - 1.0) * pt.log1p(rho) + constant


def _unstated(structure: CovarianceStructure) -> BayesvError:
    return BayesvError(
        f"'{structure.kind}' with this prior is not stated in PyMC; sample by engine='collapsed'."
    )


def _correlation(structure: Family, parameters: Sequence[Any]) -> Any:
    """Return C of the parameters within their ranges, shape (r, r)."""
    import pytensor.tensor as pt

    eye = np.eye(structure.size)
    if isinstance(structure, CompoundSymmetry | HeterogeneousCompoundSymmetry):
        return eye + parameters[0] * (1.0 - eye)
    if isinstance(structure, AnteDependence):
        return _of_steps(structure, parameters)
    if isinstance(structure, Toeplitz | HeterogeneousToeplitz):
        by_lag = pt.stack([pt.constant(1.0), *_autocorrelations(parameters)])
        return by_lag[structure.lags.astype(int)]
    if isinstance(structure, MovingAverage):
        return eye + parameters[0] * (structure.lags == 1)
    if isinstance(structure, AutoregressiveMovingAverage):
        phi, u = parameters
        beyond = np.maximum(structure.lags - 1, 0).astype(int)
        return pt.where(structure.lags == 0, 1.0, 0.5 * (phi + u) * phi**beyond)
    if isinstance(structure, Autoregressive):
        return parameters[0] ** structure.lags.astype(int)
    if isinstance(structure, ContinuousAutoregressive) and len(parameters) == 1:
        return parameters[0] ** structure.lags
    raise _unstated(structure)


def _of_steps(structure: AnteDependence, parameters: Sequence[Any]) -> Any:
    """Return products of the correlations of the steps between any two positions."""
    import pytensor.tensor as pt

    places = [structure.chain.index(position) for position in structure.positions]
    rows = []
    for a in places:
        row = []
        for b in places:
            product = pt.constant(1.0)
            for k in range(min(a, b), max(a, b)):
                product = product * parameters[k]
            row.append(product)
        rows.append(pt.stack(row))
    return pt.stack(rows)


def _autocorrelations(partials: Sequence[Any]) -> list[Any]:
    """Return ρ at lags 1, 2, … of partial autocorrelations, by Durbin and Levinson."""
    rhos: list[Any] = []
    weights: list[Any] = []  # of the last values in the best prediction, the nearest first
    rest: Any = 1.0
    for r in partials:
        predicted = sum(w * rho for w, rho in zip(weights, reversed(rhos), strict=True))
        rhos.append(predicted + r * rest)
        backwards = reversed(weights)
        weights = [*(w - r * other for w, other in zip(weights, backwards, strict=True)), r]
        rest = rest * (1.0 - r**2)
    return rhos
