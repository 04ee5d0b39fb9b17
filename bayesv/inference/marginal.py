"""The marginal likelihood p(y | Σ, σ) as a PyTensor Op, inside an ordinary PyMC model."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op

from bayesv.design.structured import Parameters
from bayesv.inference.density import MarginalDensity
from bayesv.inference.pymc import group_root, model_coords, scale_variables

__all__ = ["MarginalLikelihoodOp", "build_marginal"]


class MarginalLikelihoodOp(Op):
    """log p(y | λ, σ, R/σ²) with u and β integrated out; outputs are the value and its gradients.

    Where R is singular to rounding, they are −∞ and 0.

    Parameters
    ----------
    density : MarginalDensity
        Gram statistics and the prior of β. Rows are not needed.
    """

    __props__ = ()

    def __init__(self, density: MarginalDensity) -> None:
        self.density = density

    def make_node(self, lambdas: Any, sigma: Any, sds: Any, z: Any, exponents: Any) -> Apply:
        """State types: all λ_f flattened row by row, σ, and `Parameters` of the residuals."""
        inputs = [pt.as_tensor(given) for given in (lambdas, sigma, sds, z, exponents)]
        derivatives = [pt.dvector(), pt.dscalar(), pt.dvector(), pt.dmatrix(), pt.dvector()]
        return Apply(self, inputs, [pt.dscalar(), *derivatives])

    def perform(self, node: Any, inputs: Any, output_storage: Any) -> None:
        """Evaluate value and gradients together: the reverse pass shares the elimination."""
        flat, sigma = np.asarray(inputs[0]), float(inputs[1])
        residual = Parameters(*(np.asarray(given) for given in inputs[2:]))
        lambdas, start = [], 0
        for term in self.density.priors.design.terms:
            r = term.n_columns
            lambdas.append(flat[start : start + r * r].reshape(r, r))
            start += r * r
        try:
            value, bars, by_sigma, by_residual = self.density.value_and_gradient(
                lambdas, sigma, residual
            )
        except np.linalg.LinAlgError:  # rounding leaves no number: samplers take no such point
            value, bars, by_sigma, by_residual = -np.inf, [0.0 * one for one in lambdas], 0.0, None
        output_storage[0][0] = np.asarray(value)
        output_storage[1][0] = np.concatenate([np.zeros(0), *(bar.ravel() for bar in bars)])
        output_storage[2][0] = np.asarray(by_sigma)
        if by_residual is None:
            by_residual = Parameters(*(np.zeros(given.shape) for given in residual))
        by_sds = by_residual.sds / residual.sds  # the density's derivative is by their logs
        for place, bar in enumerate((by_sds, by_residual.z, by_residual.exponents), start=3):
            output_storage[place][0] = np.asarray(bar, dtype=float)

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        """Return the derivative by each input of a function of the value."""
        return [cotangents[0] * derivative for derivative in outputs[1:]]


def build_marginal(density: MarginalDensity) -> Any:
    """Return a PyMC model of (Σ, R) alone: u and β are integrated out.

    Parameters
    ----------
    density : MarginalDensity

    Returns
    -------
    pymc.Model
        Free variables ``sigma``, ``sd_<group>`` and ``chol_<group>``, and those of structured
        residuals, as in `build_pymc`; the potential ``marginal_likelihood`` is log p(y | Σ, R).
    """
    # The Op runs as Python inside a compiled model, which is what PyTensor warns about at each use.
    warnings.filterwarnings("ignore", message="Numba will use object mode to run Marginal")
    priors = density.priors
    with pm.Model(coords=model_coords(priors)) as model:
        sigma, residual = scale_variables(priors)
        roots = [group_root(term, priors)[0] / sigma for term in priors.design.terms]
        flat = pt.concatenate([pt.zeros(0), *(root.flatten() for root in roots)])
        sds, z, exponents = pt.ones(1), pt.zeros((0, 0)), pt.zeros(0)
        if residual is not None:
            sds, z = residual.sds / sigma, residual.z
            if residual.exponents:
                exponents = pt.stack(residual.exponents)
        likelihood = MarginalLikelihoodOp(density)(flat, sigma, sds, z, exponents)[0]
        pm.Potential("marginal_likelihood", likelihood)
    return model
