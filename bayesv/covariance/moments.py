"""Scale and degrees of freedom of Kenward and Roger's F statistic."""

from __future__ import annotations

import numpy as np

__all__ = ["f_moments"]

# pbkrtest's bounds: a difference below is 0; df within of 2 leave F unscaled.
_ZERO_DIFFERENCE = 1e-10
_NEAR_TWO = 0.01


def f_moments(q: int, A1: float, A2: float) -> tuple[float, float, str]:
    """Return scale, denominator degrees of freedom, and why there are none.

    Parameters
    ----------
    q : int
        Number of contrasts.
    A1, A2 : float
        Σ_ij W_ij tr(ΘΦP_iΦ) tr(ΘΦP_jΦ) and Σ_ij W_ij tr(ΘΦP_iΦΘΦP_jΦ), Θ = L'(LΦL')⁻¹L.

    Notes
    -----
    Mean E* = 1/(1 − A₂/q) and variance V* = (2/q)(1 + c₁B)/{(1 − c₂B)²(1 − c₃B)} of the Wald
    statistic over q are matched with those of F(q, m)/λ; edge cases as pbkrtest has them (Halekoh
    and Højsgaard 2014, https://doi.org/10.18637/jss.v059.i09). For q = 1 this is m = 2/A₂, λ = 1.
    """
    if not A2 > 0:  # the variance of Lβ̂ does not depend on what is estimated
        return 1.0, np.inf, ""
    if q == 1:
        return 1.0, 2.0 / A2, ""
    B = (A1 + 6.0 * A2) / (2.0 * q)
    g = ((q + 1.0) * A1 - (q + 4.0) * A2) / ((q + 2.0) * A2)
    base = 3.0 * q + 2.0 * (1.0 - g)
    c1, c2, c3 = g / base, (q - g) / base, (q + 2.0 - g) / base
    V0, V1, V2, mean = 1.0 + c1 * B, 1.0 - c2 * B, 1.0 - c3 * B, 1.0 - A2 / q
    ratio = (
        1.0
        if abs(mean) < _ZERO_DIFFERENCE and abs(V1) < _ZERO_DIFFERENCE
        else mean / V1
        if V1
        else np.inf
    )
    rho = ratio**2 * (0.0 if abs(V0) < _ZERO_DIFFERENCE else V0) / V2 / q if V2 else np.inf
    excess = q * rho - 1.0
    df = 4.0 + (q + 2.0) / excess if excess else np.inf
    near_two = abs(df - 2.0) < _NEAR_TWO
    scale = mean if np.isinf(df) else 1.0 if near_two else df * mean / (df - 2.0)
    if not (df > 0 and scale > 0):
        return (
            np.nan,
            np.nan,
            f"the moments of the F statistic that Kenward and Roger match are not those of an F "
            f"distribution (degrees of freedom {df:.3g}, scale {scale:.3g}): the variances are "
            f"known too badly for a test of {q} contrasts at once; test them one by one",
        )
    return float(scale), float(df), ""
