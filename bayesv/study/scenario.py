"""A scenario: designs and the truth that responses come from, declared in words and numbers."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesv.errors import ScenarioError
from bayesv.formula import parse
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.study.checks import check
from bayesv.study.reading import table, toml
from bayesv.study.sources import METHODS, read_data, read_parameters
from bayesv.support.arguments import TEXT, accepts

if TYPE_CHECKING:
    from bayesv.study.prepared import Prepared

__all__ = ["Scenario"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Scenario:
    """Designs, and the truth that responses are simulated from.

    Every part is plain numbers, texts, lists and tables, so that a scenario is a TOML table; only
    ``data`` and ``parameters`` may be objects of Python.

    Parameters
    ----------
    name : str
    formula : str
        What is fitted, in lme4's language.
    levels : mapping of factor to int, list or law of sizes (see Notes)
        Number of levels of each grouping factor; of a nested one, in each level above it.
    nested : mapping of factor to factor
        Which factor lies in which, to any depth. Factors that are not nested are crossed. Levels
        are numbered through, so that ``(1 | class)`` and ``(1 | school/class)`` agree.
    crossing : float or mapping
        Share of the combinations of crossed factors that occur, each level at least once; or
        ``{"per": factor, "cells": size}``: how many random combinations each of its levels meets.
    rows : int, list or law of sizes
        Number of rows of each combination of levels that occurs.
    covariates : mapping of name to law of values
        Besides the laws of values, ``grid`` (start, step; within a factor) counts rows and
        ``cycle`` takes ``values`` in turn. ``group`` makes a covariate constant in its levels;
        ``between`` is then the share of the score's variance that lies between them.
    correlations : mapping of "a:b" to float
        Of the normal scores of covariates, between levels and within them; for laws ``normal``
        it is the correlation of the covariates themselves.
    data : DataFrame or str, optional
        Own rows instead of levels, rows and covariates: a frame, the path of a CSV or Parquet
        file, or the name of a data set of `bayesv.load_dataset`.
    beta : mapping of coefficient to float
        Fixed effects; those not named are 0.
    sd, corr, cov : mapping of group to values
        Of the random effects, as `VarianceComponents.from_sd_corr` takes them, or covariances.
    sigma : float
        Residual SD.
    parameters : RemlFit, Posterior, or str, optional
        Instead of beta, …, sigma: a fit; a posterior, of which each replicate takes another draw;
        the path of either, as saved by `bayesv.save`; or "REML" or "ML" of the own data.
    weights : mapping or str, optional
        Law (``uniform``, ``lognormal``) of known w in R = σ² diag(1/w), or name of their column.
    missing : float or mapping, optional
        Share of rows that are dropped at random; ``{"share", "column", "slope"}`` makes the log
        odds rise by slope per SD of a column.
    shuffle : bool
        Whether rows stand in random order.
    design : {"fixed", "redrawn"}
        Whether all replicates have the same rows, or each its own.
    truth_formula : str, optional
        What responses are simulated from, if it is not what is fitted: ``sd`` and ``beta`` speak
        of it.
    errors, effects : law, optional
        ``t`` (df), ``gamma`` (shape), ``contaminated`` (share, ratio) residuals and random
        effects, scaled to the variances σ² and Σ_f.
    heteroscedastic : mapping, optional
        ``by`` a column: residual SDs are σ exp(``rate`` × column), σ × ``ratios`` of its levels,
        or σ times a lognormal of ``log_sd`` drawn for each level.
    ar1 : mapping, optional
        ``rho``, ``group`` and ``time``: residuals correlate by ρ^|t_i − t_j| within a group, by
        position in it if no time is given.
    factors : mapping of str to value
        What a grid varied.

    Raises
    ------
    ScenarioError
        Naming the key, what was found and what is allowed.

    Notes
    -----
    Laws of sizes: ``poisson`` (mean), ``geometric`` (mean), ``negative_binomial`` (mean, size),
    ``uniform`` (low, high), ``dirichlet`` (a total shared out by its concentration) and
    ``singletons`` (a share of units of size 1, the others of one size). Draws below ``least``,
    which is 1 if it is left out, are raised to it.

    Laws of values: ``normal`` (mean, sd), ``uniform`` (low, high), ``lognormal`` (meanlog, sdlog),
    ``bernoulli`` (p) and ``categorical`` (levels: probabilities by label, or labels). They are
    functions of standard normal scores (a Gaussian copula), by which they correlate.

    Examples
    --------
    >>> scenario = Scenario(
    ...     name="slopes", formula="y ~ x + (x | g)", levels={"g": 12}, rows=5,
    ...     covariates={"x": {"law": "grid"}}, beta={"Intercept": 250, "x": 10},
    ...     sd={"g": {"Intercept": 25, "x": 6}}, corr={"g": 0.1}, sigma=25)
    >>> replicate = scenario.prepare(seed=1).replicate(0)
    >>> replicate.model.design.n, replicate.truth.V.shape
    (60, (60, 60))
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
    factors: Any = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = _plain(getattr(self, field.name))
            if value is None and field.name in _TABLES:
                value = {}
            if field.name in _DRAWN and isinstance(value, dict):
                value = dict(sorted(value.items()))
            object.__setattr__(self, field.name, value)
        check(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], key: str = "scenario") -> Scenario:
        """Return the scenario of a table such as `to_dict` makes."""
        names = [field.name for field in fields(cls)]
        return cls(**table(key, given, ["name", "formula"], names))

    @classmethod
    @accepts(text=TEXT)
    def from_toml(cls, text: str) -> Scenario:
        """Return the scenario of a TOML text with one table, ``[scenario]``."""
        found = toml(text, "This")
        return cls.from_dict(table("the TOML text", found, ["scenario"], [])["scenario"])

    def to_dict(self) -> dict[str, Any]:
        """Return all that is not left at its default, as plain values.

        Objects of Python are described by their type and a checksum, for the record; of these
        `from_dict` makes no scenario.
        """
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        for key in _OBJECTS:
            if not isinstance(found[key], str | None):
                mark = zlib.crc32(json.dumps(_fingerprint(found[key])).encode())
                found[key] = f"<{type(found[key]).__name__}, checksum {mark}>"
        return {f.name: v for f in fields(self) if (v := found[f.name]) not in (f.default, {})}

    def to_toml(self) -> str:
        """Return the TOML text that `from_toml` reads.

        Raises
        ------
        ScenarioError
            If data or parameters were given as objects of Python.
        """
        import tomli_w

        for key in _OBJECTS:
            if not isinstance(getattr(self, key), str | None):
                raise ScenarioError(
                    f"{key}: found a {type(getattr(self, key)).__name__}, which no TOML text can "
                    "hold; save it and give the path of the file."
                )
        return tomli_w.dumps({"scenario": self.to_dict()})

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
        return read_parameters(self.parameters, formula, self.own_data, weights)

    @property
    def response(self) -> str:
        """The left side of the formula."""
        return parse(self.formula).response

    @property
    def crc(self) -> int:
        """Checksum of all that decides what is simulated: everything but name and factors."""
        content = {
            f.name: _fingerprint(getattr(self, f.name))
            for f in fields(self)
            if f.name not in ("name", "factors", *_OBJECTS)
        }
        # Of files, what is in them counts, not where they lie.
        content["data"] = _fingerprint(self.own_data)
        # A fit of the own data follows from them; its last digits depend on the machine.
        asked = self.parameters in METHODS if isinstance(self.parameters, str) else False
        content["parameters"] = self.parameters if asked else _fingerprint(self.true_parameters)
        return zlib.crc32(json.dumps(content, sort_keys=True).encode())

    def prepare(self, seed: int) -> Prepared:
        """Draw the design and evaluate the formula.

        Parameters
        ----------
        seed : int
            With the scenario it decides every replicate, in whatever order and process they are
            made.

        Returns
        -------
        Prepared
            ``prepared.replicate(k)`` is the k-th data set.

        Raises
        ------
        BayesvError
            If the rows drawn have no design, such as a factor with one level.
        """
        from bayesv.study.prepared import Prepared

        return Prepared.of(self, seed)


_OBJECTS = ("data", "parameters")
_DRAWN = ("levels", "covariates")  # one after the other: in which order they are named is no matter
_TABLES = ("levels", "nested", "covariates", "correlations", "beta", "sd", "corr", "cov", "factors")


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
