"""The marginal likelihood p(y | Σ, σ) as a PyTensor Op, inside an ordinary PyMC model."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op

from bayesv.inference.density import MarginalDensity
from bayesv.inference.pymc import group_coords, group_root, sigma_variable

__all__ = ["MarginalLikelihoodOp", "build_marginal"]


class MarginalLikelihoodOp(Op):
    """log p(y | λ, σ) with u and β integrated out; outputs are the value and its gradients.

    Parameters
    ----------
    density : MarginalDensity
        Gram statistics and the prior of β. Rows are not needed.
    """

    __props__ = ()

    def __init__(self, density: MarginalDensity) -> None:
        self.density = density

    def make_node(self, lambdas: Any, sigma: Any) -> Apply:
        """State types: all λ_f flattened row by row, and σ."""
        inputs = [pt.as_tensor(lambdas), pt.as_tensor(sigma)]
        return Apply(self, inputs, [pt.dscalar(), pt.dvector(), pt.dscalar()])

    def perform(self, node: Any, inputs: Any, output_storage: Any) -> None:
        """Evaluate value and gradients together: the reverse pass shares the elimination."""
        flat, sigma = np.asarray(inputs[0]), float(inputs[1])
        lambdas, start = [], 0
        for term in self.density.priors.design.terms:
            r = term.n_columns
            lambdas.append(flat[start : start + r * r].reshape(r, r))
            start += r * r
        value, bars, by_sigma, _ = self.density.value_and_gradient(lambdas, sigma)
        output_storage[0][0] = np.asarray(value)
        output_storage[1][0] = np.concatenate([bar.ravel() for bar in bars])
        output_storage[2][0] = np.asarray(by_sigma)

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        """Return the derivative by λ and σ of a function of the value."""
        return [cotangents[0] * outputs[1], cotangents[0] * outputs[2]]


def build_marginal(density: MarginalDensity) -> Any:
    """Return a PyMC model of (Σ, σ) alone: u and β are integrated out.

    Parameters
    ----------
    density : MarginalDensity

    Returns
    -------
    pymc.Model
        Free variables ``sigma``, ``sd_<group>`` and ``chol_<group>``, as in `build_pymc`; the
        potential ``marginal_likelihood`` is log p(y | Σ, σ).
    """
    # The Op runs as Python inside a compiled model, which is what PyTensor warns about at each use.
    warnings.filterwarnings("ignore", message="Numba will use object mode to run Marginal")
    priors = density.priors
    with pm.Model(coords=group_coords(priors)) as model:
        sigma = sigma_variable(priors)
        roots = [group_root(term, priors)[0] / sigma for term in priors.design.terms]
        flat = pt.concatenate([root.flatten() for root in roots])
        pm.Potential("marginal_likelihood", MarginalLikelihoodOp(density)(flat, sigma)[0])
    return model
