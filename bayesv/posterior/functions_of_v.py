"""What draws say of V, as arrays with names: functionals, curves, reliability, anything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.covariance.functionals import definition, function_of_covariates, functionals_of_draws
from bayesv.covariance.reliability import reliability
from bayesv.inference.density import MarginalLikelihood
from bayesv.posterior.labelled import array
from bayesv.support.xarray import dataset

if TYPE_CHECKING:
    import xarray

__all__ = ["curves", "functionals_of_v", "mapped", "reliabilities"]


def functionals_of_v(
    values: ComponentDraws, likelihood: MarginalLikelihood, moments: float
) -> xarray.Dataset:
    """Return a Dataset of scalar functionals, dims (chain, draw); see `Posterior.functionals`.

    Parameters
    ----------
    values : ComponentDraws, shape (chain, draw)
    likelihood : MarginalLikelihood
    moments : float
        Order below which the moments of tr V exist.
    """
    attributes = {"tr V": {"moments": moments}}  # others are shares or logarithms: theirs exist
    return dataset(
        {
            name: (
                ("chain", "draw"),
                x.reshape(values.shape),
                {"definition": definition(name), **attributes.get(name, {})},
            )
            for name, x in functionals_of_draws(values.flat, likelihood.statistics).items()
        }
    )


def curves(values: ComponentDraws, at: Any, groups: Sequence[str] | None) -> xarray.Dataset:
    """Return a Dataset of Var(y(x)) and Corr(y(x), y(x')); see `Posterior.curves`."""
    variance, corr = function_of_covariates(values.flat, at, groups)
    dims, x = ("chain", "draw", "x"), np.arange(variance.shape[1])
    variables = {
        "variance": (dims, variance.reshape(*values.shape, *variance.shape[1:])),
        "corr": ((*dims, "x2"), corr.reshape(*values.shape, *corr.shape[1:])),
    }
    return dataset(variables, coords={"x": x, "x2": x})


def reliabilities(values: ComponentDraws, every: int) -> xarray.DataArray:
    """Return a DataArray, dims (chain, draw, effect); see `Posterior.reliability`."""
    kept, terms = values.every(every), values.design.terms
    effects = [f"{term.group}: {column}" for term in terms for column in term.columns]
    each = reliability(kept.flat).reshape(*kept.shape, -1)
    return array(each, {**_labels(values, every), "effect": effects}, "reliability")


def mapped(values: ComponentDraws, function: Callable[..., Any], every: int) -> xarray.DataArray:
    """Return a DataArray of what a function says of components; see `Posterior.map`."""
    kept = values.every(every)
    each = np.array([np.asarray(function(point.components())) for point in kept.flat])
    others = {f"dim_{k}": None for k in range(each.ndim - 1)}
    return array(each.reshape(*kept.shape, *each.shape[1:]), {**_labels(values, every), **others})


def _labels(values: ComponentDraws, every: int) -> dict[str, Any]:
    chains, draws = values.shape
    return {"chain": np.arange(chains), "draw": np.arange(0, draws, every)}
