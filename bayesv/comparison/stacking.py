"""Weights of models by how well their mixture predicts what was left out."""

from __future__ import annotations

import numpy as np
import scipy  # .optimize is loaded when it is used
from scipy.special import logsumexp

from bayesv.linalg import Array

__all__ = ["evidence_weights", "stacking_weights"]

_TOLERANCE, _MOST_STEPS = 1e-12, 500


@np.errstate(under="ignore")
def stacking_weights(elpd: Array) -> Array:
    """Return weights w ≥ 0, Σw = 1, that maximise Σ_i log Σ_k w_k p_k(y_i | y_−i).

    Parameters
    ----------
    elpd : ndarray, shape (n, K)
        Log predictive densities of n units that were left out, by K models.

    Returns
    -------
    ndarray, shape (K,)

    Notes
    -----
    Yao, Vehtari, Simpson and Gelman 2018, https://doi.org/10.1214/17-BA1091. The criterion is
    concave.
    """
    K = elpd.shape[1]
    density = np.exp(elpd - elpd.max(axis=1, keepdims=True))

    def loss(w: Array) -> tuple[float, Array]:
        mixed = density @ w
        return -float(np.log(mixed).mean()), -(density / mixed[:, None]).mean(axis=0)

    result = scipy.optimize.minimize(
        loss,
        np.full(K, 1.0 / K),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * K,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": lambda w: np.ones(K)},
        options={"ftol": _TOLERANCE, "maxiter": _MOST_STEPS},
    )
    weights = np.clip(result.x, 0.0, None)
    return np.asarray(weights / weights.sum())


@np.errstate(under="ignore")
def evidence_weights(log_evidence: Array, prior: Array) -> Array:
    """Return posterior probabilities of models, ∝ prior probability × evidence, shape (K,)."""
    with np.errstate(divide="ignore"):
        log = np.log(prior) + log_evidence
    return np.asarray(np.exp(log - logsumexp(log)))
