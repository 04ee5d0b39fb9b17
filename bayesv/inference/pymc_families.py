"""Families of correlations as PyMC variables and PyTensor expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betaln
from scipy.special import gamma as gamma_function

from bayesv.errors import BayesvError
from bayesv.linalg import Array
from bayesv.structures.antedependence import AnteDependence
from bayesv.structures.autoregressive import Autoregressive
from bayesv.structures.coordinate_maps import CoordinateMap, Interval, PerUnit, Positive
from bayesv.structures.coordinate_priors import (
    BetaShare,
    CoordinatePrior,
    CorrelationPC,
    HalfBeta,
    RangePC,
)
from bayesv.structures.decay import Decay, Exponential, Gaussian, Matern
from bayesv.structures.exchangeable import CompoundSymmetry, HeterogeneousCompoundSymmetry
from bayesv.structures.family import Family
from bayesv.structures.moving_average import AutoregressiveMovingAverage, MovingAverage
from bayesv.structures.spatial import Spatial
from bayesv.structures.stationary import Stationary
from bayesv.structures.structure import CovarianceStructure
from bayesv.structures.toeplitz import HeterogeneousToeplitz, Toeplitz
from bayesv.structures.unstructured import Unstructured

__all__ = ["FamilyVariables", "correlation_root", "family_variables"]

_SMALL = 1e-8  # square of a distance, below which its series is exact


@dataclass(frozen=True, eq=False)
class FamilyVariables:
    """A correlation of a family in the PyMC model that is being built.

    Attributes
    ----------
    structure : CovarianceStructure
    parameters : tuple
        Each within its range (`Family.maps`), symbolic; none of ``us``.
    root : tensor or None
        Of ``us``, the Cholesky factor of C.
    """

    structure: CovarianceStructure
    parameters: tuple[Any, ...]
    root: Any = None

    @property
    def natural(self) -> list[Any]:
        """What `CovarianceStructure.corr_labels` name, in that order."""
        if self.root is not None:
            corr, size = self.root @ self.root.T, self.structure.size
            return [corr[i, j] for i, j in zip(*np.tril_indices(size, -1), strict=True)]
        if isinstance(self.structure, AutoregressiveMovingAverage):
            phi, u = self.parameters
            return [phi, 0.5 * (phi + u)]
        if isinstance(self.structure, Toeplitz | HeterogeneousToeplitz):
            return _autocorrelations(self.parameters)
        return list(self.parameters)

    @property
    def z(self) -> list[Any]:
        """Coordinates, of which `CovarianceStructure.root` is a function."""
        import pytensor.tensor as pt

        if self.root is None:
            assert isinstance(self.structure, Family)
            pairs = zip(self.structure.maps, self.parameters, strict=True)
            return [_coordinate(one, value) for one, value in pairs]
        below = np.tri(self.structure.size, dtype=bool)  # √0 has no derivative
        squares = pt.cumsum((self.root**2)[:, ::-1], axis=1)[:, ::-1]
        rest = pt.sqrt(pt.where(below, squares, 1.0))
        pairs = zip(*np.tril_indices(self.structure.size, -1), strict=True)
        return [pt.arctanh(self.root[i, j] / rest[i, j]) for i, j in pairs]

    @property
    def matrix(self) -> Any:
        """C of the rows of the family, shape (r, r)."""
        if self.root is not None:
            return self.root @ self.root.T
        if isinstance(self.structure, Stationary):
            return self.at_lags(self.structure.lags)
        if isinstance(self.structure, AnteDependence):
            return _of_steps(self.structure, self.parameters)
        if isinstance(self.structure, CompoundSymmetry | HeterogeneousCompoundSymmetry):
            eye = np.eye(self.structure.size)
            return eye + self.parameters[0] * (1.0 - eye) if self.parameters else eye
        raise _unstated(self.structure)

    def at_lags(self, lags: Array) -> Any:
        """Return correlations at lags of any shape, of a stationary family."""
        import pytensor.tensor as pt

        structure, parameters = self.structure, self.parameters
        if isinstance(structure, Toeplitz | HeterogeneousToeplitz):
            by_lag = pt.stack([pt.constant(1.0), *_autocorrelations(parameters)])
            return by_lag[lags.astype(int)]
        if isinstance(structure, MovingAverage):
            return 1.0 * (lags == 0) + parameters[0] * (lags == 1)
        beyond = np.maximum(lags, 1)  # 0 to the power of 0 has no derivative
        if isinstance(structure, AutoregressiveMovingAverage):
            phi, u = parameters
            # φ⁰ is no power here, for the same reason.
            decay = pt.where(lags > 1, phi ** np.maximum(lags - 1, 1), 1.0)
            return pt.where(lags == 0, 1.0, 0.5 * (phi + u) * decay)
        if isinstance(structure, Autoregressive):
            return pt.where(lags == 0, 1.0, parameters[0] ** beyond)
        if isinstance(structure, Spatial):
            decayed = _decayed(structure.decay, parameters[0], lags)
            if not structure.nugget:
                return decayed
            return pt.where(lags > 0.0, (1.0 - parameters[1]) * decayed, 1.0)
        raise _unstated(structure)


def family_variables(name: str, structure: CovarianceStructure, eta: float) -> FamilyVariables:
    """Create the variables of a correlation in the model that is being built.

    Parameters
    ----------
    name : str
        Of ``us``, the Cholesky factor of C. Of families with parameters
        ``<name>_share`` is free: the place of each parameter within its range; instead of it
        ``<name>_inverse_range``, range^(−d/2) of a range in d dimensions or −log of a correlation
        at distance 1, and ``<name>_distance``, ±√(−log(1 − ρ²)), where priors are of these.
    structure : CovarianceStructure
        Under its prior.
    eta : float
        Of LKJ(η), restricted to the family.

    Raises
    ------
    BayesvError
        If the family, or its prior, is none that is stated here.
    """
    import pymc as pm
    import pytensor.tensor as pt

    if isinstance(structure, Unstructured):
        root = pm.LKJCorr(name, eta=eta, n=structure.size)
        return FamilyVariables(structure, (), root)
    if not isinstance(structure, Family):
        raise _unstated(structure)
    priors = structure.coordinate_priors(eta)
    shapes = [_beta(prior) for prior in priors if isinstance(prior, BetaShare | HalfBeta)]
    a, b = np.array(shapes).reshape(-1, 2).T
    shares = pm.Beta(f"{name}_share", a, b, shape=len(a)) if shapes else ()
    n_distances = sum(isinstance(prior, CorrelationPC) for prior in priors)
    distances: Any = ()
    if n_distances:
        rates = [prior.rate for prior in priors if isinstance(prior, CorrelationPC)]
        scales = 1.0 / np.array(rates)
        distances = pm.Laplace(f"{name}_distance", mu=0.0, b=scales, shape=n_distances)
    parameters: list[Any] = []
    used_shares = used_distances = 0
    for one, prior in zip(structure.maps, priors, strict=True):
        match prior:
            case RangePC(rate, dimension):
                inverse = pm.Exponential(f"{name}_inverse_range", lam=rate)
                reach = inverse ** (-2.0 / dimension)
                parameters.append(pt.exp(-1.0 / reach) if isinstance(one, PerUnit) else reach)
            case CorrelationPC():
                parameters.append(_of_distance(distances[used_distances]))
                used_distances += 1
            case BetaShare() | HalfBeta() if isinstance(one, Interval):
                share = shares[used_shares]
                used_shares += 1
                parameters.append(one.low + (one.high - one.low) * share)
            case _:
                raise _unstated(structure)
        if isinstance(prior, HalfBeta) and prior.eta != 1.0:
            rest = _rest_of_half_beta(parameters[-1], prior.eta)
            pm.Potential(f"{name}_prior_{len(parameters) - 1}", rest)
    return FamilyVariables(structure, tuple(parameters))


def correlation_root(name: str, structure: CovarianceStructure, eta: float) -> Any:
    """Create the variables of a correlation; return its Cholesky factor, the variable ``name``.

    See `family_variables`, whose parameters are as many as the family has.
    """
    import pymc as pm
    import pytensor.tensor as pt

    made = family_variables(name, structure, eta)
    if made.root is not None:
        return made.root
    return pm.Deterministic(name, pt.linalg.cholesky(made.matrix))


def _beta(prior: CoordinatePrior) -> tuple[float, float]:
    """Return the parameters of the beta density of a share."""
    if isinstance(prior, BetaShare):
        return prior.a, prior.b
    assert isinstance(prior, HalfBeta)
    return 1.0, prior.eta


def _rest_of_half_beta(rho: Any, eta: float) -> Any:
    """Return the log density of `HalfBeta` by ρ less that of Beta(1, η)."""
    import pytensor.tensor as pt

    constant = (2.0 - 2.0 * eta) * np.log(2.0) - betaln(eta, eta) - np.log(eta)
    return (eta - 1.0) * pt.log1p(rho) + constant


def _of_distance(distance: Any) -> Any:
    """Return ρ of ±√(−log(1 − ρ²)), which is smooth at 0."""
    import pytensor.tensor as pt

    square = distance**2
    apart = pt.maximum(square, _SMALL)
    ratio = pt.where(square > _SMALL, -pt.expm1(-apart) / apart, 1.0 - 0.5 * square)
    return distance * pt.sqrt(ratio)


def _coordinate(one: CoordinateMap, value: Any) -> Any:
    """Return z of a parameter within its range."""
    import pytensor.tensor as pt

    if isinstance(one, Positive):
        return pt.log(value / one.unit)
    if isinstance(one, PerUnit):
        return -pt.log(-pt.log(value) * one.unit)
    assert isinstance(one, Interval)
    return (pt.log(value - one.low) - pt.log(one.high - value)) / one.steepness


def _unstated(structure: CovarianceStructure) -> BayesvError:
    return BayesvError(
        f"'{structure.kind}' with this prior is not stated in PyMC; sample by engine='collapsed'."
    )


def _decayed(decay: Decay, psi: Any, lags: Array) -> Any:
    """Return a correlation that falls with distance, 1 at 0."""
    import pytensor.tensor as pt

    lags = np.asarray(lags, dtype=float)
    if isinstance(decay, Exponential):
        return pt.exp(-lags / psi)
    if isinstance(decay, Gaussian):
        return pt.exp(-((lags / psi) ** 2))
    if not isinstance(decay, Matern):
        return pt.exp(lags * pt.log(psi))
    nu, ratio = decay.smoothness, lags / psi
    if nu == 0.5:
        return pt.exp(-ratio)
    if nu == 1.5:
        return (1.0 + ratio) * pt.exp(-ratio)
    if nu == 2.5:
        return (1.0 + ratio + ratio**2 / 3.0) * pt.exp(-ratio)
    apart = lags > np.finfo(float).tiny
    x = np.where(apart, lags, 1.0) / psi
    constant = 2.0 ** (1.0 - nu) / gamma_function(nu)
    return pt.where(apart, constant * x**nu * pt.kv(nu, x), 1.0)


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
