"""Named laws of sizes, covariates and errors, with their parameters and where these may lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bayesv.errors import ScenarioError
from bayesv.linalg import Array
from bayesv.study.declared.reading import choice, number, refusal, table

__all__ = ["COUNTS", "POSITIVE", "STANDARD", "VALUES", "Law", "draw_counts", "read_law"]

Rng = np.random.Generator

_LARGEST = 10**15  # size; memory ends long before
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Law:
    """A law: how it is drawn, and its parameters with interval and default (None: needed)."""

    draw: Callable[[Any, Any, Values], Any]
    parameters: Mapping[str, tuple[str, float | None]]


def read_law(
    key: str, description: Any, laws: Mapping[str, Law], also: tuple[str, ...] = ()
) -> tuple[Law, dict[str, Any]]:
    """Return the law that is named and its parameters.

    Parameters
    ----------
    key : str
        Where it stands, for messages.
    description : mapping
        ``law`` and parameters.
    laws : mapping of str to Law
        The ones that are allowed here.
    also : tuple of str
        Other keys that may stand there.
    """
    content = table(key, description, ["law"])
    law = laws[choice(f"{key}.law", content["law"], laws)]
    table(key, description, ["law"], [*law.parameters, *also])
    values: dict[str, Any] = {}
    for name, (within, default) in law.parameters.items():
        if name not in content and default is None:
            raise ScenarioError(
                f"{key}: the law {content['law']!r} needs {name!r}; found {', '.join(content)}."
            )
        value = content.get(name, default)
        values[name] = value if within == "" else number(f"{key}.{name}", value, within)
    if {"low", "high"} <= set(values) and values["low"] >= values["high"]:
        raise refusal(f"{key}.high", values["high"], f"a number above low = {values['low']:g}.")
    return law, values


# --- sizes ----------------------------------------------------------------------------------------


def draw_counts(
    key: str, description: Any, units: int | None, rng: Rng, least: int
) -> NDArray[np.intp]:
    """Return a size for every unit: a number for all, one for each, or a law.

    Parameters
    ----------
    key : str
    description : int, sequence of int, or mapping
    units : int or None
        None: nothing is drawn, the description is only checked.
    rng : Generator
    least : int
        Smallest size, unless the law has another ``least``; smaller draws are raised to it.
    """
    count = 0 if units is None else units
    if isinstance(description, Mapping):
        law, values = read_law(key, description, COUNTS, ("least",))
        least = int(number(f"{key}.least", description.get("least", least), "[0, inf)", whole=True))
        if description["law"] == "dirichlet" and values["total"] < least * count:
            raise refusal(
                f"{key}.total", description["total"], f"at least {least} × {count} units."
            )
        if description["law"] == "dirichlet":
            values["total"] -= least * count
            return np.asarray(least + law.draw(rng, count, values), dtype=np.intp)
        return np.maximum(np.asarray(law.draw(rng, count, values), dtype=np.intp), least)
    if isinstance(description, list | tuple | np.ndarray):
        sizes = [
            number(f"{key}[{i}]", v, f"[0, {_LARGEST}]", whole=True)
            for i, v in enumerate(description)
        ]
        if units is not None and len(sizes) != units:
            raise refusal(
                key, description, f"one size for each of {units} units; these are {len(sizes)}"
            )
        return np.array(sizes, dtype=np.intp)
    if (
        not isinstance(description, int | np.integer)
        or isinstance(description, bool)
        or not least <= description <= _LARGEST
    ):
        raise refusal(
            key,
            description,
            f"a whole number from {least} to {_LARGEST:.0e}, a list of them, or a law: "
            f"{', '.join(COUNTS)}.",
        )
    return np.full(count, description, dtype=np.intp)


def _negative_binomial(rng: Rng, units: int, v: Values) -> Any:
    return rng.negative_binomial(v["size"], v["size"] / (v["size"] + v["mean"]), units)


def _dirichlet(rng: Rng, units: int, v: Values) -> Any:
    if not units:
        return np.zeros(0)
    return rng.multinomial(int(v["total"]), rng.dirichlet(np.full(units, v["concentration"])))


def _singletons(rng: Rng, units: int, v: Values) -> Any:
    alone = rng.permutation(units) < round(v["share"] * units)
    return np.where(alone, 1, int(v["size"]))


COUNTS: dict[str, Law] = {
    "poisson": Law(lambda rng, n, v: rng.poisson(v["mean"], n), {"mean": ("(0, inf)", None)}),
    "geometric": Law(
        lambda rng, n, v: rng.geometric(1 / v["mean"], n), {"mean": ("[1, inf)", None)}
    ),
    "negative_binomial": Law(
        _negative_binomial, {"mean": ("(0, inf)", None), "size": ("(0, inf)", None)}
    ),
    "uniform": Law(
        lambda rng, n, v: rng.integers(int(v["low"]), int(v["high"]), n, endpoint=True),
        {"low": ("[0, inf)", None), "high": ("[0, inf)", None)},
    ),
    "dirichlet": Law(_dirichlet, {"total": ("[1, inf)", None), "concentration": ("(0, inf)", 1.0)}),
    "singletons": Law(_singletons, {"share": ("[0, 1]", None), "size": ("[1, inf)", None)}),
}
"""Laws of sizes; ``dirichlet`` shares a total out, the sizes of the others are independent."""


# --- covariates: functions of a standard normal z, so that they can be correlated -----------------


def _categorical(key: Any, z: Array, v: Values) -> Any:
    shares = _shares(str(key), v["levels"])
    stops = np.cumsum(list(shares.values()))[:-1]
    return np.searchsorted(stops, ndtr(z), side="right")


def _shares(key: str, levels: Any) -> dict[str, float]:
    """Return the probability of each category; a list has equal ones."""
    if isinstance(levels, list | tuple):
        levels = {str(level): 1 / len(levels) for level in levels} if levels else {}
    content = table(f"{key}.levels", levels)
    shares = {k: number(f"{key}.levels.{k}", p, "(0, 1)") for k, p in content.items()}
    if len(shares) < 2 or abs(sum(shares.values()) - 1) > 1e-9:
        raise refusal(f"{key}.levels", levels, "two or more labels, or their probabilities, sum 1.")
    return shares


VALUES: dict[str, Law] = {
    "normal": Law(
        lambda key, z, v: v["mean"] + v["sd"] * z,
        {"mean": ("(-inf, inf)", 0.0), "sd": ("(0, inf)", 1.0)},
    ),
    "uniform": Law(
        lambda key, z, v: v["low"] + (v["high"] - v["low"]) * ndtr(z),
        {"low": ("(-inf, inf)", 0.0), "high": ("(-inf, inf)", 1.0)},
    ),
    "lognormal": Law(
        lambda key, z, v: np.exp(v["meanlog"] + v["sdlog"] * z),
        {"meanlog": ("(-inf, inf)", 0.0), "sdlog": ("(0, inf)", 1.0)},
    ),
    "bernoulli": Law(
        lambda key, z, v: (ndtr(z) > 1 - v["p"]).astype(float), {"p": ("(0, 1)", 0.5)}
    ),
    "categorical": Law(_categorical, {"levels": ("", None)}),
}
"""Laws of values as functions of a standard normal z; ``categorical`` gives codes."""

POSITIVE: dict[str, Law] = {
    "uniform": Law(VALUES["uniform"].draw, {"low": ("(0, inf)", None), "high": ("(0, inf)", None)}),
    "lognormal": VALUES["lognormal"],
}
"""Laws of weights."""


# --- errors and effects: mean 0 and variance 1 ----------------------------------------------------


def _contaminated(rng: Rng, shape: Any, v: Values) -> Array:
    scale = np.where(rng.random(shape) < v["share"], v["ratio"], 1.0)
    variance = 1 - v["share"] + v["share"] * v["ratio"] ** 2
    return np.asarray(scale * rng.standard_normal(shape) / np.sqrt(variance))


def _skewed(rng: Rng, shape: Any, v: Values) -> Array:
    k = v["shape"]
    return np.asarray((rng.standard_gamma(k, shape) - k) / np.sqrt(k))


STANDARD: dict[str, Law] = {
    "normal": Law(lambda rng, shape, v: rng.standard_normal(shape), {}),
    "t": Law(
        lambda rng, shape, v: rng.standard_t(v["df"], shape) * np.sqrt((v["df"] - 2) / v["df"]),
        {"df": ("(2, inf)", None)},
    ),
    "gamma": Law(_skewed, {"shape": ("(0, inf)", None)}),
    "contaminated": Law(_contaminated, {"share": ("(0, 1)", None), "ratio": ("(0, inf)", None)}),
}
"""Laws of mean 0 and variance 1: t with df > 2 is scaled to variance 1, gamma is centred and has
skewness 2/√shape, contaminated is normal with a share whose SD is ratio × that of the rest."""
