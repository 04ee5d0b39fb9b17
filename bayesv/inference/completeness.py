"""Whether a sampler's draws are all there: samplers return what they have when they are stopped."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesv.inference.options import NutsOptions

__all__ = ["require_all_draws"]


def require_all_draws(posterior: Any, options: NutsOptions) -> None:
    """Refuse draws of a run that was stopped before its end.

    Parameters
    ----------
    posterior : Dataset or DataTree
        Variables with dims (chain, draw, …).
    options : NutsOptions
        What was asked for.

    Raises
    ------
    KeyboardInterrupt
        If chains or draws are missing, or the last draws of a chain are NaN in all variables, as
        nutpie fills up the shorter of several chains.
    """
    kept = _lengths(posterior)
    if len(kept) == options.chains and all(length == options.draws for length in kept):
        return
    raise KeyboardInterrupt(
        f"Sampling was stopped: {len(kept)} chains kept {', '.join(map(str, kept)) or 'no'} of "
        f"{options.draws} draws each (of {options.chains} chains), which are not a posterior."
    )


def _lengths(posterior: Any) -> list[int]:
    """Return how many draws each chain has before it ends in nothing but NaN."""
    written = np.zeros(
        (posterior.sizes.get("chain", 0), posterior.sizes.get("draw", 0)), dtype=bool
    )
    for values in posterior.data_vars.values():
        draws = values.transpose("chain", "draw", ...).to_numpy()
        written |= ~np.isnan(draws).all(axis=tuple(range(2, draws.ndim)))
    return [int(chain.nonzero()[0].max(initial=-1)) + 1 for chain in written]
