"""Autocorrelations by partial autocorrelations: the recursion of Durbin and Levinson.

Partial autocorrelations r_1 … r_K, each in [−1, 1], are in one-to-one correspondence with positive
definite Toeplitz correlations (where all |r| < 1; Barndorff-Nielsen and Schou 1973,
https://doi.org/10.1016/0047-259X(73)90030-4).
"""

from __future__ import annotations

import numpy as np

from bayesv.linalg import Array

__all__ = [
    "autocorrelation_slopes",
    "autocorrelations",
    "lattice_pullback",
    "lattice_root",
    "reflections",
]


def autocorrelations(r: Array) -> Array:
    """Return ρ_1 … ρ_K of partial autocorrelations, (..., K) → (..., K)."""
    rho = np.empty_like(r)
    weights = r[..., :0]  # of the last values in the best prediction, the nearest first
    rest = np.ones(r.shape[:-1])
    for j in range(r.shape[-1]):
        predicted = (weights * rho[..., :j][..., ::-1]).sum(axis=-1)
        rho[..., j] = predicted + r[..., j] * rest
        weights = _lengthened(weights, r[..., j])
        rest = rest * (1.0 - r[..., j]) * (1.0 + r[..., j])
    return rho


def reflections(rho: Array) -> Array:
    """Return partial autocorrelations of ρ_1 … ρ_K, the inverse of `autocorrelations`.

    Held within [−1, 1] where these are not correlations; 0 after one of ±1, as nothing is left.
    """
    r = np.empty_like(rho)
    weights = rho[..., :0]
    rest = np.ones(rho.shape[:-1])
    for j in range(rho.shape[-1]):
        predicted = (weights * rho[..., :j][..., ::-1]).sum(axis=-1)
        some = rest > np.finfo(float).eps
        r[..., j] = np.where(some, (rho[..., j] - predicted) / np.where(some, rest, 1.0), 0.0)
        r[..., j] = np.clip(r[..., j], -1.0, 1.0)
        weights = _lengthened(weights, r[..., j])
        rest = rest * (1.0 - r[..., j]) * (1.0 + r[..., j])
    return r


def _lengthened(weights: Array, r: Array) -> Array:
    """Return weights of one value more, (..., j) → (..., j + 1)."""
    last = r[..., None]
    return np.concatenate([weights - last * weights[..., ::-1], last], axis=-1)


def autocorrelation_slopes(r: Array) -> Array:
    """Return ∂ρ/∂r', shape (K, K), lower triangular, by derivatives of each step."""
    K = len(r)
    rho, slopes = np.zeros(K), np.zeros((K, K))
    weights, weight_slopes = r[:0], np.zeros((0, K))
    rest, rest_slope = 1.0, np.zeros(K)
    for j in range(K):
        rho[j] = weights @ rho[:j][::-1] + r[j] * rest
        slopes[j] = rho[:j][::-1] @ weight_slopes + weights @ slopes[:j][::-1] + r[j] * rest_slope
        slopes[j, j] += rest
        weight_slopes = np.vstack([weight_slopes - r[j] * weight_slopes[::-1], np.zeros(K)])
        weight_slopes[:j, j] -= weights[::-1]
        weight_slopes[j, j] = 1.0
        weights = _lengthened(weights, r[j])
        left = (1.0 - r[j]) * (1.0 + r[j])
        rest_slope = rest_slope * left
        rest_slope[j] -= 2.0 * r[j] * rest
        rest *= left
    return slopes


def lattice_root(r: Array, s: Array) -> Array:
    """Return L with LL' = C of K + 1 positions in a row, (..., K) → (..., K + 1, K + 1).

    Row t is the value at time t by innovations of unit variance, which the lattice filter gives
    from the error of the longest prediction down: exact where some |r| = 1.

    Parameters
    ----------
    r, s : ndarray, shape (..., K)
        Partial autocorrelations, and √(1 − r²).
    """
    size = r.shape[-1] + 1
    root = np.zeros((*r.shape[:-1], size, size))
    root[..., 0, 0] = 1.0
    backward = [root[..., 0, :]]  # errors of predicting a past value by those after it, by length
    scale = np.cumprod(s, axis=-1)
    for t in range(1, size):
        forward = np.zeros((*r.shape[:-1], size))
        forward[..., t] = scale[..., t - 1]
        updated = []
        for j in range(t - 1, -1, -1):
            c = r[..., j, None]
            longer = forward
            forward = longer + c * backward[j]
            # = backward − c·forward, without cancellation where |c| is near 1
            updated.append(s[..., j, None] ** 2 * backward[j] - c * longer)
        backward = [forward, *updated[::-1]]
        root[..., t, :] = forward
    return root


def lattice_pullback(r: Array, s: Array, bar: Array) -> Array:
    """Return the derivative by z = atanh r, (K,), of what has derivative ``bar`` by the root.

    The reverse of `lattice_root`, step by step.
    """
    size = len(r) + 1
    states = _lattice_states(r, s)
    scale = np.cumprod(s)
    by_r, by_square = np.zeros_like(r), np.zeros_like(r)
    by_z = np.zeros_like(r)
    backward_bar = np.zeros((size, size))
    for t in range(size - 1, 0, -1):
        before, longer = states[t]
        forward_bar = np.tril(bar)[t] + backward_bar[0]
        earlier_bar = np.zeros((size, size))
        for j in range(t):
            # forward = longer + r_j before_j ; updated_{j+1} = s_j² before_j − r_j longer
            update_bar = backward_bar[j + 1]
            by_r[j] += forward_bar @ before[j] - update_bar @ longer[j]
            by_square[j] += update_bar @ before[j]
            earlier_bar[j] = r[j] * forward_bar + s[j] ** 2 * update_bar
            forward_bar = forward_bar - r[j] * update_bar
        by_z[:t] -= r[:t] * scale[t - 1] * forward_bar[t]
        backward_bar = earlier_bar
    square = s**2
    return np.asarray(by_z + square * by_r - 2.0 * r * square * by_square)


def _lattice_states(r: Array, s: Array) -> list[tuple[list[Array], list[Array]]]:
    """Return of each time the backward errors before it and the forward errors by length."""
    size = len(r) + 1
    backward = [np.eye(size)[0]]
    scale = np.cumprod(s)
    states: list[tuple[list[Array], list[Array]]] = [([], [])]
    for t in range(1, size):
        forward = np.zeros(size)
        forward[t] = scale[t - 1]
        longer: list[Array] = [forward] * t
        updated: list[Array] = [forward] * t
        for j in range(t - 1, -1, -1):
            longer[j] = forward
            forward = forward + r[j] * backward[j]
            updated[j] = s[j] ** 2 * backward[j] - r[j] * longer[j]
        states.append((backward, longer))
        backward = [forward, *updated]
    return states
