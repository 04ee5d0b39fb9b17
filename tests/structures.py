"""Families of covariances on every kind of positions, and central differences."""

from __future__ import annotations

import numpy as np
import pytest

from bayesv.structures.family import Family, positions_of
from bayesv.structures.kinds import KINDS

GAPS = (0, 1, 3, 4, 7, 8, 10)
DOUBLED = (2, 6, 8, 12)
TIMES = (0.3, 0.9, 2.0, 2.25, 4.1, 7.0, 7.3)
FIELD = tuple(map(tuple, np.random.default_rng(3).uniform(0, 4, (7, 2)).tolist()))
VISIT_KINDS = ("cs", "csh", "toep", "toeph", "ad", "adh")
INTEGER_KINDS = ("ar1", "ar1h", "ma1", "arma11")
REAL_KINDS = ("car1", "sp_exp", "sp_gau", "sp_pow", "sp_mat")


def made(kind: str, positions, **options) -> Family:
    """Without a check of positions: a family may meet clusters that say little."""
    structure = KINDS[kind](positions_of(positions), **options)
    assert isinstance(structure, Family)
    return structure


def every_family() -> list[Family]:
    families = [made(kind, size) for kind in VISIT_KINDS + INTEGER_KINDS for size in (1, 2, 3, 7)]
    families += [made(kind, GAPS) for kind in ("ar1", "ar1h", "ma1", "arma11", "toep", "ad")]
    families += [made("ar1", DOUBLED), made("ar1", (7, 3, 0, 4)), made("toeph", (0, 1, 3))]
    families += [made("cs", 3, largest=5), made("csh", 3, largest=5)]
    families += [made("adh", 7).on((1, 2, 5)), made("toep", 7).on((1, 2, 5))]
    families += [made("toep", 7).on((2, 3, 4)), made("ad", 4).on((3, 1))]
    for kind in REAL_KINDS:
        families += [made(kind, TIMES[:size]) for size in (1, 2, 3, 7)]
        families.append(made(kind, TIMES, nugget=True))
        families.append(made(kind, TIMES[::-1]))
    for kind in REAL_KINDS[1:]:
        families += [made(kind, FIELD), made(kind, FIELD, nugget=True)]
    families += [made("sp_mat", FIELD, smoothness=nu) for nu in (0.5, 0.8, 2.5)]
    return families


def label(structure: Family) -> str:
    first = structure.positions[0]
    where = "field" if isinstance(first, tuple) else "-".join(map(str, structure.positions))
    return f"{structure.kind}({where}{'+nugget' if getattr(structure, 'nugget', False) else ''})"


FAMILIES = every_family()
each_family = pytest.mark.parametrize("structure", FAMILIES, ids=label)


def coordinates(structure: Family, *shape: int, seed: int = 0, spread: float = 0.7):
    return spread * np.random.default_rng(seed).normal(size=(*shape, structure.n_corrs))


def slopes(function, x, step=1e-5):
    """Central differences of fourth order, by the last axis of x as the first of the result."""
    columns = []
    for k in range(len(x)):
        e = np.zeros_like(x)
        e[k] = step * max(1.0, abs(x[k]))
        near = function(x + e) - function(x - e)
        far = function(x + 2 * e) - function(x - 2 * e)
        columns.append((8.0 * near - far) / (12.0 * e[k]))
    return np.array(columns)
