"""Coverage of default priors in balanced one-way designs, by exact quadrature.

``python notebooks/studies/default_priors.py`` writes ``default_priors.csv`` beside it, in a few
minutes on one core. The model is y_ij = β₀ + 20 x_ij + g_j + e_ij with σ = 1 and ten rows a group;
x varies within groups only, in half of the scenarios it is left out. Sums of squares between and
within groups are sufficient, so that each posterior is a sum over a grid of (log τ, log σ).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr

ROWS = 10  # a group
EFFECT = 20.0  # SD of what x explains
LEVELS = (2, 3, 4, 6, 10, 20, 40)
ICCS = (0.01, 0.1, 0.5, 0.9, 0.99)
REPLICATES = 800
N_TAU, N_SIGMA = 140, 9


class Data(NamedTuple):
    """Replicates of one scenario, each of shape (S,)."""

    between: np.ndarray  # sum of squares
    within: np.ndarray  # after x
    df: int  # of within
    error: np.ndarray  # ȳ − β₀
    sd_y: np.ndarray
    mad_y: np.ndarray
    residual: np.ndarray  # residual SD after X


class Prior(NamedTuple):
    """Log densities of τ and σ on grids, and the SD of a normal prior of β₀."""

    tau: np.ndarray
    sigma: np.ndarray
    beta_sd: np.ndarray | None = None


def half_t(x, nu, scale):
    """Half-t, not normalised."""
    return -0.5 * (nu + 1) * np.log1p((x / scale) ** 2 / nu)


def exponential(x, scale):
    """Exponential, not normalised."""
    return -x / scale


def priors(data: Data, tau, sigma) -> dict[str, Prior]:
    """Return each package's defaults for grids of τ, (S, T, 1), and σ, (S, 1, U)."""
    y, s, mad = (v[:, None, None] for v in (data.sd_y, data.residual, data.mad_y))
    brms = np.maximum(2.5, mad)
    pc = 3.0 * y / np.log(100.0)
    return {
        "half-t(3, sd(y)), before": Prior(half_t(tau, 3, y), half_t(sigma, 3, y)),
        "half-t(3, s)": Prior(half_t(tau, 3, s), half_t(sigma, 3, s)),
        "half-t(3, 2.5 s), now": Prior(half_t(tau, 3, 2.5 * s), half_t(sigma, 3, s)),
        "half-t(3, 5 s)": Prior(half_t(tau, 3, 5 * s), half_t(sigma, 3, s)),
        "half-Cauchy(s)": Prior(half_t(tau, 1, s), half_t(sigma, 3, s)),
        "brms": Prior(half_t(tau, 3, brms), half_t(sigma, 3, brms)),
        "rstanarm": Prior(exponential(tau, sigma) - np.log(sigma), exponential(sigma, y), 2.5 * y),
        "PC, P(sd > 3 sd(y)) = .01": Prior(exponential(tau, pc), exponential(sigma, pc)),
        "flat": Prior(0.0 * tau, half_t(sigma, 3, s)),
    }


def simulate(J: int, tau: float, with_x: bool, rng: np.random.Generator) -> Data:
    """Draw replicates of a scenario."""
    S = REPLICATES
    noise = rng.normal(size=(S, J, ROWS))
    y = tau * rng.normal(size=(S, J, 1)) + noise
    means = y.mean(axis=2)
    between = ROWS * ((means - means.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    inner = noise - noise.mean(axis=2, keepdims=True)
    within, df = (inner**2).sum(axis=(1, 2)), J * (ROWS - 1)
    shown = y
    if with_x:
        x = rng.normal(size=(S, J, ROWS))
        x -= x.mean(axis=2, keepdims=True)
        x /= x.std(axis=(1, 2), keepdims=True)
        within = within - (inner * x).sum(axis=(1, 2)) ** 2 / (x**2).sum(axis=(1, 2))
        df -= 1
        shown = y + EFFECT * x
    flat = shown.reshape(S, -1)
    mad = np.abs(flat - np.median(flat, axis=1, keepdims=True))
    return Data(
        between, within, df, means.mean(axis=1), flat.std(axis=1, ddof=1),
        1.4826 * np.median(mad, axis=1), np.sqrt((between + within) / (J - 1 + df)),
    )  # fmt: skip


def half_width(weights: np.ndarray, sd: np.ndarray) -> float:
    """Return h with P(|β₀ − ȳ| < h) = .95 for a mixture of normals."""
    low, high = 0.0, 1e3 * float(sd.max())
    for _ in range(60):
        middle = 0.5 * (low + high)
        if weights @ ndtr(middle / sd) < 0.975:
            low = middle
        else:
            high = middle
    return high


def scenario(J: int, icc: float, with_x: bool, rng: np.random.Generator) -> list[dict]:
    """Return one line per prior."""
    truth = float(np.sqrt(icc / (1.0 - icc)))
    data = simulate(J, truth, with_x, rng)
    z = np.linspace(0, 1, N_TAU)[None, :, None]
    top = np.log(300.0 * np.maximum(data.residual, 1.0))[:, None, None]
    log_tau = np.log(1e-3) + z * (top - np.log(1e-3))
    log_sigma = 0.5 * np.log(data.within / data.df)[:, None, None]
    log_sigma = log_sigma + np.linspace(-3.5, 4.0, N_SIGMA) / np.sqrt(2 * data.df)
    tau, sigma = np.exp(log_tau), np.exp(log_sigma)
    total = sigma**2 + ROWS * tau**2
    likelihood = -0.5 * (
        (J - 1) * np.log(total) + data.between[:, None, None] / total
        + data.df * 2 * log_sigma + data.within[:, None, None] / sigma**2
    )  # fmt: skip
    lines = []
    for name, prior in priors(data, tau, sigma).items():
        if name == "flat" and J < 3:
            continue
        log = likelihood + prior.tau + prior.sigma + log_tau + log_sigma
        variance = total / (J * ROWS)
        if prior.beta_sd is not None:
            log = log - 0.5 * np.log(variance + prior.beta_sd**2)
            variance = 1.0 / (1.0 / variance + 1.0 / prior.beta_sd**2)
        weights = np.exp(log - log.max(axis=(1, 2), keepdims=True))
        weights /= weights.sum(axis=(1, 2), keepdims=True)
        marginal = weights.sum(axis=2)
        cdf = np.cumsum(marginal, axis=1) - 0.5 * marginal
        low, high = (
            np.exp([np.interp(q, c, t) for c, t in zip(cdf, log_tau[:, :, 0], strict=True)])
            for q in (0.025, 0.975)
        )
        below = (weights * ndtr(-data.error[:, None, None] / np.sqrt(variance))).sum(axis=(1, 2))
        few = range(0, REPLICATES, REPLICATES // 40)
        widths = [2 * half_width(weights[i].ravel(), np.sqrt(variance[i]).ravel()) for i in few]
        mean = (marginal * tau[:, :, 0] ** 2).sum(axis=1)
        lines.append(
            {
                "J": J, "ICC": icc, "x": with_x, "prior": name,
                "coverage sd": np.mean((low <= truth) & (truth <= high)),
                "width sd": np.median(high - low) / truth,
                "coverage beta": np.mean((below >= 0.025) & (below <= 0.975)),
                "width beta": np.median(widths) / np.sqrt((1 + ROWS * truth**2) / (J * ROWS)),
                "E[var]/var": np.median(mean) / truth**2,
            }
        )  # fmt: skip
    return lines


def main() -> None:
    """Run all scenarios and write the table."""
    rng = np.random.default_rng(20)
    lines = [
        line
        for with_x in (False, True)
        for J in LEVELS
        for icc in ICCS
        if not with_x or J in (4, 10)
        for line in scenario(J, icc, with_x, rng)
    ]
    path = Path(__file__).with_suffix(".csv")
    pd.DataFrame(lines).to_csv(path, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
