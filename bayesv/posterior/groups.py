"""Draws with prior, predictive and likelihood beside them, in the groups that ArviZ reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesv.covariance import ComponentDraws, Pointwise
from bayesv.covariance.dense_pointwise import DensePointwise
from bayesv.errors import PriorError
from bayesv.formula.prediction import fitted_rows
from bayesv.inference.density import MarginalLikelihood
from bayesv.linalg import Array
from bayesv.posterior.labelled import response_name, variables_of
from bayesv.posterior.prediction import responses
from bayesv.priors.draws import draw_prior
from bayesv.priors.priors import ResolvedPriors
from bayesv.support.progress import progress
from bayesv.support.xarray import data_tree, dataset

if TYPE_CHECKING:
    import xarray

__all__ = ["PREDICTIVE", "groups_of"]

PREDICTIVE = ("fitted", "new", "left_out")

_DIMS = ("chain", "draw")


def groups_of(
    tree: xarray.DataTree,
    values: ComponentDraws,
    priors: ResolvedPriors | None,
    likelihood: MarginalLikelihood,
    predictive: str,
    step: int,
    seed: int,
) -> xarray.DataTree:
    """Return draws with groups for checks; see `Posterior.to_datatree`.

    Parameters
    ----------
    tree : DataTree
        Of all draws.
    values : ComponentDraws, shape (chain, draw)
    priors : ResolvedPriors or None
    likelihood : MarginalLikelihood
    predictive : {"fitted", "new", "left_out"}
    step : int
        Of the draws that are kept.
    seed : int
    """
    rng, kept, design = np.random.default_rng(seed), values.every(step), values.design
    rows, name = fitted_rows(design), response_name(design)
    dims = {
        "chain": np.arange(values.shape[0]),
        "draw": np.arange(0, values.shape[1], step),
        "row": np.asarray(design.rows),
    }

    def of_rows(x: Array) -> xarray.Dataset:
        coords = dims if x.shape[:2] == kept.shape else {"row": dims["row"]}
        return dataset({name: ((*_DIMS, "row"), x)}, coords=coords)

    groups = {
        key: tree[key].to_dataset().isel(draw=slice(None, None, step))
        for key in ("posterior", "sample_stats")
        if key in tree.children
    }
    groups["observed_data"] = tree["observed_data"].to_dataset()
    if predictive == "left_out":
        y, log_density = _left_out(kept, rng)
        groups["log_likelihood"] = of_rows(log_density)
    else:
        y = responses(kept.flat, rows, likelihood, rng, new_levels=predictive == "new")
    groups["posterior_predictive"] = of_rows(y.reshape(*kept.shape, -1))
    if priors is not None and (prior := _prior(priors, kept.size, rng)) is not None:
        variables, coords = variables_of(prior, {})
        if np.isnan(prior.beta).any():  # of a flat prior there are no draws
            del variables["beta"], coords["coef"]
        elif not design.sigma_is_known:
            drawn = responses(prior.flat, rows, likelihood, rng, new_levels=True)
            groups["prior_predictive"] = of_rows(drawn.reshape(1, kept.size, -1))
        groups["prior"] = dataset(variables, coords=coords)
    return data_tree(groups)


def _left_out(kept: ComponentDraws, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return draws of y_i given all other rows, and log p(y_i | y_−i) at each draw."""
    pointwise = (DensePointwise if kept.residual is not None else Pointwise)(kept.design)
    with progress("leaving out each row", kept.size) as done:
        g, q, _ = pointwise.parts(kept.flat, done)
    y = kept.design.y - g / q + rng.normal(size=g.shape) / np.sqrt(q)
    shape = (*kept.shape, -1)
    density = 0.5 * (np.log(q) - g**2 / q - np.log(2 * np.pi))
    return y.reshape(shape), density.reshape(shape)


def _prior(priors: ResolvedPriors, size: int, rng: np.random.Generator) -> ComponentDraws | None:
    """Return draws of the prior, shape (1, size); None where that of an SD is flat."""
    try:
        drawn = draw_prior(priors, size, rng)
    except PriorError:
        return None
    return drawn.reshape(1, size)
