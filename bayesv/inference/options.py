"""What a NUTS engine is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bayesv.design.design import Design
from bayesv.errors import BayesvError, none_of
from bayesv.support.memory import refuse_unless

__all__ = ["ENGINES", "NutsOptions", "check_sampling", "refuse_draws"]

ENGINES = ("collapsed", "nuts", "pymc", "bambi")


@dataclass(frozen=True)
class NutsOptions:
    """What NUTS is asked for; see `bayesv.Model.sample`."""

    draws: int
    tune: int
    chains: int
    cores: int | None
    seed: int | None
    target_accept: float
    progressbar: bool

    def arguments(self) -> dict[str, Any]:
        """Return them as PyMC and Bambi call them."""
        options = asdict(self)
        return {"random_seed": options.pop("seed"), **options}


def refuse_draws(design: Design, draws: int, keep_u: bool) -> None:
    """Refuse draws of what has no posterior, or that memory does not hold."""
    scalars = design.p + 2 + sum(3 * term.n_columns**2 for term in design.terms)
    if keep_u:
        q = sum(term.n_levels * term.n_columns for term in design.terms)
        refuse_unless(
            16.0 * draws * (q + scalars),
            f"{draws:,} draws of {q:,} random effects",
            "Draw fewer, or without keep_u: post.random_effects() needs no stored effects.",
        )
    refuse_unless(16.0 * draws * scalars, f"{draws:,} draws of {scalars:,} numbers", "Draw fewer.")


def check_sampling(
    engine: str,
    draws: int,
    chains: int,
    tune: int = 1,
    target_accept: float = 0.9,
    seed: int | None = None,
) -> None:
    """Refuse arguments of `Model.sample` that are out of range, before any work is done."""
    if not isinstance(engine, str) or engine not in ENGINES:
        raise BayesvError(none_of("engine", engine, ENGINES))
    for name, value, least in (("draws", draws, 4), ("chains", chains, 1), ("tune", tune, 1)):
        if not isinstance(value, int | np.integer) or value < least:
            raise BayesvError(f"{name} must be an integer of at least {least}; found {value!r}.")
    if seed is not None and not (isinstance(seed, int | np.integer) and seed >= 0):
        raise BayesvError(f"seed must be an integer of at least 0; found {seed!r}.")
    if not isinstance(target_accept, float) or not 0 < target_accept < 1:
        raise BayesvError(f"target_accept must lie between 0 and 1; found {target_accept!r}.")
