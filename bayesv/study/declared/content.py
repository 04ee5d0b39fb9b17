"""What a scenario says, in plain numbers, texts, lists and tables, and what it takes from files."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesv.formula import parse
from bayesv.formula.frame import as_factor
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.study.declared.related import contents_of, relationship_of
from bayesv.study.declared.sources import METHODS, read_data, read_parameters

__all__ = ["IID", "OBJECTS", "ScenarioContent"]

OBJECTS = ("data", "parameters")
_DRAWN = ("levels", "covariates")  # one after the other: in which order they are named is no matter
_STRUCTURE = ("residual", "residual_sd", "relationship", "truth_residual", "truth_residual_sd")
IID = "iid"  # a true residual that the fitted structure is not
_TABLES = ("levels", "nested", "covariates", "correlations", "beta", "sd", "corr", "cov", "factors")


@dataclass(frozen=True, eq=False, kw_only=True)
class ScenarioContent:
    """The keys of a scenario and what they stand for; `bayesv.study.Scenario` says what each means.

    Nothing is checked here: whether rows can be drawn and responses simulated is for those to say
    who know how.
    """

    name: str
    formula: str
    levels: Any = None
    nested: Any = None
    crossing: Any = 1.0
    rows: Any = None
    covariates: Any = None
    correlations: Any = None
    data: Any = None
    beta: Any = None
    sd: Any = None
    corr: Any = None
    cov: Any = None
    sigma: float | None = None
    parameters: Any = None
    weights: Any = None
    missing: Any = None
    shuffle: bool = False
    design: str = "fixed"
    truth_formula: str | None = None
    errors: Any = None
    effects: Any = None
    heteroscedastic: Any = None
    ar1: Any = None
    residual: str | None = None
    residual_sd: str | None = None
    relationship: Any = None
    truth_residual: str | None = None
    truth_residual_sd: str | None = None
    factors: Any = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = _plain(getattr(self, field.name))
            if value is None and field.name in _TABLES:
                value = {}
            if field.name in _DRAWN and isinstance(value, dict):
                value = dict(sorted(value.items()))
            object.__setattr__(self, field.name, value)

    def to_dict(self) -> dict[str, object]:
        """Return all that is not left at its default, as plain values.

        Objects of Python are described by their type and a checksum, for the record; of these
        `from_dict` makes no scenario.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for key in OBJECTS:
            if not isinstance(values[key], str | None):
                mark = zlib.crc32(json.dumps(_fingerprint(values[key])).encode())
                values[key] = f"<{type(values[key]).__name__}, checksum {mark}>"
        return {f.name: v for f in fields(self) if (v := values[f.name]) not in (f.default, {})}

    @cached_property
    def own_data(self) -> pd.DataFrame | None:
        """The own rows, if there are any."""
        return None if self.data is None else read_data(self.data)

    @cached_property
    def true_parameters(self) -> RemlFit | Posterior | None:
        """The fit whose parameters are taken for true, if they are not given one by one."""
        if self.parameters is None:
            return None
        formula = self.truth_formula or self.formula
        weights = self.weights if isinstance(self.weights, str) else None
        structure: dict[str, Any] = {**self.true_residual}
        if self.own_data is not None:
            structure["relationship"] = self.relationships(self.own_data)
        return read_parameters(self.parameters, formula, self.own_data, weights, structure)

    @property
    def true_residual(self) -> dict[str, str | None]:
        """What the true model says of its residuals, as arguments of `bayesv.Model`."""
        stated = {
            "residual": self.truth_residual or self.residual,
            "residual_sd": self.truth_residual_sd or self.residual_sd,
        }
        return {key: None if text == IID else text for key, text in stated.items()}

    @property
    def has_own_truth(self) -> bool:
        """Whether responses are simulated from another model than the one fitted."""
        stated = (self.truth_formula, self.truth_residual, self.truth_residual_sd)
        return any(text is not None for text in stated)

    def relationships(self, frame: pd.DataFrame) -> dict[str, object] | None:
        """Return the known relationships of the levels in these rows, for `bayesv.Model`."""
        if not self.relationship:
            return None
        levels = {group: list(as_factor(frame[group]).categories) for group in self.relationship}
        return {
            group: relationship_of(f"relationship.{group}", stated, levels[group])
            for group, stated in self.relationship.items()
        }

    @property
    def response(self) -> str:
        """The left side of the formula."""
        return parse(self.formula, random=False).response

    @property
    def crc(self) -> int:
        """Checksum of all that decides what is simulated: everything but name and factors."""
        content = {
            f.name: _fingerprint(getattr(self, f.name))
            for f in fields(self)
            if f.name not in ("name", "factors", *OBJECTS)
            # What a scenario does not state leaves the numbers of older versions as they were.
            if not (f.name in _STRUCTURE and getattr(self, f.name) is None)
        }
        for group, stated in (self.relationship or {}).items():
            content["relationship"][group] = _fingerprint(
                contents_of(f"relationship.{group}", stated)
            )
        # Of files, what is in them counts, not where they lie.
        content["data"] = _fingerprint(self.own_data)
        # A fit of the own data follows from them; its last digits depend on the machine.
        asked = self.parameters in METHODS if isinstance(self.parameters, str) else False
        content["parameters"] = self.parameters if asked else _fingerprint(self.true_parameters)
        return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _plain(value: Any) -> Any:
    """Return a copy in plain Python types, so that what TOML gives back is the same."""
    if isinstance(value, Mapping | pd.Series):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def _fingerprint(value: Any) -> Any:
    """Return what JSON can hold of a value, different for different contents."""
    if isinstance(value, pd.DataFrame):
        hashes = pd.util.hash_pandas_object(value, index=False).to_numpy()
        return [list(map(str, value.columns)), zlib.crc32(hashes.tobytes())]
    if isinstance(value, RemlFit):
        frame = value.components.to_frame()
        return [value.beta.to_dict(), frame.to_numpy().tolist()]
    if isinstance(value, Posterior):
        arrays = [value.beta, value.sigma2, *value.covs.values()]
        return [zlib.crc32(np.ascontiguousarray(a).tobytes()) for a in arrays]
    if isinstance(value, dict):
        return {k: _fingerprint(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_fingerprint(v) for v in value]
    return float(value) if isinstance(value, int) else value  # 1 and 1.0 mean the same
