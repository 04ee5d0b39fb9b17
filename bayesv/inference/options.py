"""What a NUTS engine is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["NutsOptions"]


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
