"""Sums over parts of the rows, each in units of its own: brought to units of all, and added."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayesv.gram.moments import Moments, Pairs
from bayesv.gram.scaling import Index, Scaling, times_inverse

__all__ = ["in_scaling"]


def in_scaling(moments: Moments, old: Scaling, new: Scaling, kept: Index | None = None) -> Moments:
    """Return the same sums in other units.

    Parameters
    ----------
    moments : Moments
    old, new : Scaling
        The units they are in, and those they are to be in.
    kept : ndarray of int, optional
        The columns of X that the new units are for; all if left out.

    Notes
    -----
    Units found on one part may be far from those of another: with rows sorted by a covariate, its
    columns grow from part to part, and the response less a slope of the first part becomes huge,
    so that sums in units of the first part lose digits. Sums of a part in its own units have them
    all, and a change of units is a product of small matrices. Units of all rows come from the sum
    of the parts' `Triangles` (Chan, Golub and LeVeque 1983,
    https://doi.org/10.1080/00031305.1983.10483115, for means and variances; here for all columns).
    """
    p, width = len(old.upper), len(new.upper)
    fixed = np.zeros((p + 1, width + 1))
    fixed[:p, :width] = times_inverse(old.upper if kept is None else old.upper[:, kept], new.upper)
    fixed[:p, width] = old.gamma - fixed[:p, :width] @ new.gamma
    fixed[p, width] = 1.0
    random = [times_inverse(o, n) for o, n in zip(old.bases, new.bases, strict=True)]
    return replace(
        moments,
        C=fixed.T @ moments.C @ fixed,
        A=tuple(S.T @ A @ S for S, A in zip(random, moments.A, strict=True)),
        B=tuple(S.T @ B @ fixed for S, B in zip(random, moments.B, strict=True)),
        pairs={
            (f, g): Pairs(pairs.i, pairs.j, random[f].T @ pairs.blocks @ random[g])
            for (f, g), pairs in moments.pairs.items()
        },
    )
