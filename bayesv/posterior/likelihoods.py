"""Log likelihoods and log priors of draws, for leaving out and for power-scaling."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesv.covariance import ComponentDraws, Pointwise
from bayesv.covariance.dense_pointwise import DensePointwise
from bayesv.linalg import Array
from bayesv.names import variable_name
from bayesv.priors.families import Normal
from bayesv.priors.priors import ResolvedPriors
from bayesv.support.progress import progress
from bayesv.support.xarray import dataset

__all__ = ["likelihood_groups"]


def likelihood_groups(
    values: ComponentDraws, priors: ResolvedPriors | None, step: int
) -> dict[str, Any]:
    """Return Datasets ``log_likelihood`` and, where priors are known, ``log_prior``.

    Parameters
    ----------
    values : ComponentDraws, shape (chain, draw)
        Of a design with its rows.
    priors : ResolvedPriors or None
    step : int
        Of the draws that are kept.
    """
    design, kept = values.design, values.every(step)
    pointwise = (DensePointwise if values.residual is not None else Pointwise)(design)
    with progress("pointwise log likelihood", kept.size) as done:
        of_rows, of_clusters = pointwise(kept.flat, done)
    data = {
        f"by_{name}": (("chain", "draw", name), x.reshape(*kept.shape, -1))
        for name, x in (("row", of_rows), ("cluster", of_clusters))
    }
    coords = {"chain": np.arange(values.shape[0]), "draw": np.arange(0, values.shape[1], step)}
    labels = {
        "row": [str(label) for label in design.row_labels],
        "cluster": np.arange(pointwise.n_clusters),
    }
    groups = {"log_likelihood": dataset(data, coords={**coords, **labels})}
    if priors is not None:
        parts = _log_prior(kept, priors).items()
        prior = {variable_name(name): (("chain", "draw"), x) for name, x in parts}
        groups["log_prior"] = dataset(prior, coords=coords)
    return groups


def _log_prior(values: ComponentDraws, priors: ResolvedPriors) -> dict[str, Array]:
    """Log prior density of every draw by parameter, (chain, draw); flat ones left out."""
    densities = priors.log_densities(values)
    for name, prior, beta in zip(
        values.design.fixed_names, priors.beta, np.moveaxis(values.beta, -1, 0), strict=True
    ):
        if isinstance(prior, Normal):
            densities[f"beta_{name}"] = prior.log_density(beta)
    return densities
