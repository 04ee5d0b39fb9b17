"""Effective sample sizes, computed the same way for the draws of every system."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["min_ess", "of_csv", "of_posterior"]

_SIGMA = re.compile(r"Sigma\[(.*):([^:,]+),([^:,]+)\]")  # rstanarm: Sigma[tch:sch:sxF,(Intercept)]


def min_ess(draws: np.ndarray) -> dict[str, float]:
    """Return the least bulk and tail ESS of scalars, shape (chain, draw, scalar)."""
    from arviz_stats.base import array_stats

    axes: dict[str, Any] = {"chain_axis": 0, "draw_axis": 1}
    return {
        "ess_bulk": float(np.min(array_stats.ess(draws, method="bulk", **axes))),
        "ess_tail": float(np.min(array_stats.ess(draws, method="tail", prob=0.9, **axes))),
        "quantities": draws.shape[-1],
    }


def of_posterior(posterior: Any) -> dict[str, float]:
    """Return the least ESS over SDs, correlations, sigma and β of a `bayesv.Posterior`."""
    tree = posterior.draws["posterior"]
    parts = []
    for name in tree.data_vars:
        if name not in ("sigma", "beta") and not str(name).startswith(("sd_", "corr_")):
            continue
        values = tree[name].transpose("chain", "draw", ...).to_numpy()
        if str(name).startswith("corr_"):
            i, j = np.tril_indices(values.shape[-1], -1)
            values = values[..., i, j]
        parts.append(values.reshape(*values.shape[:2], -1))
    return min_ess(np.concatenate(parts, axis=-1))


def of_csv(path: str) -> dict[str, float]:
    """Return the least ESS over the draws that R wrote, with columns chain, draw, and scalars."""
    table = pd.read_csv(path).sort_values(["chain", "draw"])
    shape = (table["chain"].nunique(), table["draw"].nunique())
    scalars = _sd_corr(table.drop(columns=["chain", "draw"]))
    return min_ess(scalars.to_numpy().reshape(*shape, -1))


def _sd_corr(table: pd.DataFrame) -> pd.DataFrame:
    """Replace entries of covariance matrices by SDs and correlations."""
    entries = {name: found for name in table if (found := _SIGMA.fullmatch(name))}
    out = table.drop(columns=list(entries))
    sds = {m.group(1, 2): np.sqrt(table[k]) for k, m in entries.items() if m[2] == m[3]}
    for (group, name), sd in sds.items():
        out[f"sd {group} {name}"] = sd
    for column, m in entries.items():
        if m[2] != m[3]:
            product = sds[m.group(1, 2)] * sds[m.group(1, 3)]
            pair = " ".join(sorted(m.group(2, 3)))  # the same whichever triangle it came from
            out[f"corr {m[1]} {pair}"] = table[column] / product
    return out
