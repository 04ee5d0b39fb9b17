"""Grids of scenarios: every combination of values of some keys, and the TOML file of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import fields
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from bayesv.errors import ScenarioError
from bayesv.study.declared.reading import choice, refusal, table, toml
from bayesv.study.declared.related import with_paths
from bayesv.study.scenarios.scenario import Scenario
from bayesv.support.arguments import PATH, a, accepts, mapping
from bayesv.support.presence import may_exist

__all__ = ["grid", "read_scenarios", "scenarios_of"]

_FIXED = ("name", "factors")


@accepts(scenario=a(Scenario))
def grid(scenario: Scenario, /, **values: Any) -> tuple[Scenario, ...]:
    """Return a scenario for every combination of values.

    Parameters
    ----------
    scenario : Scenario
        What all have in common.
    **values : list, or mapping of label to value
        By key of the scenario, dotted into its tables. Labels stand for values that are long.

    Returns
    -------
    tuple of Scenario
        The last key varies fastest. Each has its values in ``factors`` and in its name.

    Raises
    ------
    ScenarioError
        If a key does not exist, has no values, or a combination is no scenario.

    Examples
    --------
    >>> base = Scenario(name="few", formula="y ~ 1 + (1 | g)", levels={"g": 4}, rows=5,
    ...                 sd={"g": 1}, sigma=2)
    >>> for one in grid(base, **{"levels.g": [4, 8]}, errors={"normal": None,
    ...                                                      "t5": {"law": "t", "df": 5}}):
    ...     print(one.name)
    few: levels.g=4, errors=normal
    few: levels.g=4, errors=t5
    few: levels.g=8, errors=normal
    few: levels.g=8, errors=t5
    """
    axes = {key: _labelled(f"grid.{key}", values_of_key) for key, values_of_key in values.items()}
    base = {field.name: getattr(scenario, field.name) for field in fields(scenario)}
    scenarios = []
    for combination in product(*axes.values()):
        content = deepcopy({k: v for k, v in base.items() if k not in ("data", "parameters")})
        content |= {key: base[key] for key in ("data", "parameters")}
        factors = dict(base["factors"])
        for key, (label, value) in zip(axes, combination, strict=True):
            _put(content, key, value)
            factors[key] = label
        named = ", ".join(f"{key}={factors[key]}" for key in axes)
        content |= {"name": f"{scenario.name}: {named}" if named else scenario.name}
        try:
            scenarios.append(Scenario(**(content | {"factors": factors})))
        except ScenarioError as error:
            raise ScenarioError(f"grid ({named}): {error}") from error
    return tuple(scenarios)


@accepts(content=mapping())
def scenarios_of(content: Mapping[str, Any], folder: Path | None = None) -> tuple[Scenario, ...]:
    """Return the scenarios of the tables ``scenario`` and ``grid``.

    Parameters
    ----------
    content : mapping
        As a TOML file gives it.
    folder : Path, optional
        Which paths of ``data``, ``parameters`` and relationships start from.
    """
    common = dict(table("scenario", content.get("scenario")))
    for key in ("data", "parameters"):
        if folder is not None and isinstance(common.get(key), str):
            common[key] = _within(folder, common[key])
    if folder is not None and isinstance(common.get("relationship"), Mapping):
        common["relationship"] = with_paths(common["relationship"], partial(_within, folder))
    base = Scenario.from_dict(common)
    axes = table("grid", content.get("grid", {}))
    return grid(base, **axes) if axes else (base,)


def _within(folder: Path, path: str) -> str:
    """Return the path of a file of a folder, if it is there; else as it was."""
    return str(folder / path) if may_exist(folder / path) else path


@accepts(path=PATH)
def read_scenarios(path: str | Path, also: Sequence[str] = ()) -> tuple[Scenario, ...]:
    '''Read the scenarios of a TOML file.

    Parameters
    ----------
    path : str or Path
        With a table ``[scenario]`` and, if there are several, ``[grid]``: a list of values, or a
        table of labelled values, by key.
    also : sequence of str
        Other tables that the file may have.

    Raises
    ------
    ScenarioError
        If the file cannot be read, or naming the key that is wrong.

    Examples
    --------
    >>> import tempfile
    >>> text = """
    ... [scenario]
    ... name = "few"
    ... formula = "y ~ 1 + (1 | g)"
    ... levels = {g = 4}
    ... rows = 5
    ... sd = {g = 1.0}
    ... sigma = 2.0
    ... [grid]
    ... "levels.g" = [4, 8]
    ... """
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "study.toml")
    ...     _ = path.write_text(text, encoding="utf-8")
    ...     print([scenario.name for scenario in read_scenarios(path)])
    ['few: levels.g=4', 'few: levels.g=8']
    '''
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path.name} is no TOML: {error}") from error
    content = toml(text, path.name)
    return scenarios_of(table(path.name, content, ["scenario"], ["grid", *also]), path.parent)


def _labelled(key: str, values: Any) -> list[tuple[Any, Any]]:
    if isinstance(values, Mapping):
        pairs = list(values.items())
    elif isinstance(values, list | tuple):
        pairs = [(v if isinstance(v, int | float | str) else str(v), v) for v in values]
    else:
        raise refusal(key, values, "a list of values, or a table of labelled ones.")
    if not pairs:
        raise refusal(key, values, "at least one value.")
    return pairs


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    """Set a key that is dotted into the tables of a scenario."""
    first, *rest = key.split(".")
    choice(f"grid.{key}", first, [name for name in content if name not in _FIXED])
    holder, place = content, first
    for part in rest:
        if holder.get(place) is None:
            holder[place] = {}
        holder, place = holder[place], part
        if not isinstance(holder, dict):
            raise refusal(f"grid.{key}", holder, f"a table, in which {part!r} can stand.")
    holder[place] = value
