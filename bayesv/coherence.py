"""Do draws, design and V belong together? Identities that hold for every Gaussian mixed model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from bayesv.covariance import MarginalCovariance, VarianceComponents
from bayesv.design import Design
from bayesv.diagnostics import ess_mean
from bayesv.linalg import Array

__all__ = ["Coherence", "coherence"]

_ALPHA = 1e-4  # chance that a coherent fit fails one family of identities


@dataclass(frozen=True, eq=False)
class Coherence:
    """Result of the coherence check.

    Attributes
    ----------
    table : DataFrame
        One line per identity and scalar: identity, scalar, value, mcse, z, passed.
    notes : tuple of str
        What could not be checked, and what was assumed.
    """

    table: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every identity holds within Monte Carlo error."""
        return bool(self.table["passed"].all())

    def __repr__(self) -> str:
        lines = [f"Coherence check: {'passed' if self.passed else 'FAILED'}"]
        for identity, rows in self.table.groupby("identity", sort=False):
            worst = rows.loc[rows["z"].abs().idxmax()]
            state = "pass" if rows["passed"].all() else "FAIL"
            lines.append(
                f"  {state}  {identity}: largest |z| {abs(worst['z']):.1f} of {len(rows)} "
                f"({worst['scalar']})"
            )
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def coherence(
    design: Design,
    beta: Array,
    center: Array,
    cov: Array,
    u: Mapping[str, Array],
    components: Mapping[int, VarianceComponents],
    notes: tuple[str, ...],
) -> Coherence:
    """Hold draws against what (design, Σ, σ²) say they must be.

    Parameters
    ----------
    design : Design
    beta : ndarray, shape (chain, draw, p)
    center, cov : ndarray, shapes (chain, draw, p) and (chain, draw, p, p)
        Conditional mean and covariance of β given each drawn (Σ, σ²).
    u : mapping of group to ndarray, shape (chain, draw, J, r)
        Draws of the random effects; empty if they were not kept.
    components : mapping of position to VarianceComponents
        Draws, by position in the flattened chains, at which u is checked.
    notes : tuple of str

    Notes
    -----
    β_d − β̂(V_d) has mean 0 and, over its conditional variance, mean square 1; u_d − G Z'V_d⁻¹(y −
    Xβ_d) has mean 0. Their Monte Carlo errors are those of the series itself, so that
    autocorrelation is accounted for.
    """
    rows = []
    away = beta - center
    names = list(design.fixed_names)
    if names:
        sd = np.sqrt(np.diagonal(cov, axis1=-2, axis2=-1))
        rows += _family("mean of β − β̂(V)", names, away)
        rows += _family("variance of β given V", names, (away / sd) ** 2 - 1.0)
    if u:
        flat = beta.reshape(-1, len(names))
        gaps, labels = [], [": ".join(map(str, label)) for label in design.effect_labels]
        for at, vc in components.items():
            V = MarginalCovariance(design, vc)
            residual = design.target - design.X @ flat[at]
            expected = V.G @ (design.Z.T @ V.solve(residual))
            drawn = np.concatenate([x.reshape(-1, *x.shape[2:])[at].ravel() for x in u.values()])
            gaps.append(drawn - expected)
        rows += _family("mean of u − E[u | β, V, y]", labels, np.array(gaps)[None])
    else:
        notes = (*notes, "u was not kept (keep_u=True), so that its labels are not checked")
    table = pd.DataFrame(rows, columns=["identity", "scalar", "value", "mcse", "z", "passed"])
    return Coherence(table, notes)


def _family(identity: str, names: list[str], x: Array) -> list[tuple[Any, ...]]:
    """Test that every scalar of x, shape (chain, draw, K), has mean 0."""
    mean = x.mean(axis=(0, 1))
    mcse = x.std(axis=(0, 1), ddof=1) / np.sqrt(ess_mean(x))
    z = np.divide(mean, mcse, out=np.zeros_like(mean), where=mcse > 0)
    limit = float(ndtri(1.0 - _ALPHA / (2.0 * len(names))))
    rows = zip(names, mean.tolist(), mcse.tolist(), z.tolist(), strict=True)
    return [(identity, n, m, se, value, bool(abs(value) <= limit)) for n, m, se, value in rows]
