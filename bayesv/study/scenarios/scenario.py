"""A scenario: designs and the truth that responses come from, declared in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from bayesv.errors import ScenarioError
from bayesv.study.declared.content import OBJECTS, ScenarioContent
from bayesv.study.declared.reading import table, toml
from bayesv.study.scenarios.checks import check
from bayesv.study.simulation.prepared import Prepared
from bayesv.support.arguments import TEXT, accepts

__all__ = ["Scenario"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Scenario(ScenarioContent):
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
        ``rho``, ``group`` and ``time``: residuals of the truth correlate by ρ^|t_i − t_j| within a
        group, by position in it if no time is given; the fitted model does not know it.
    residual, residual_sd : str, optional
        Structure of the residuals that is fitted, as of `bayesv.Model`, and simulated. Its true
        values stand in ``sd`` and ``corr`` under ``Residual``, by the labels that a fit prints;
        ``sigma`` is left out where residual SDs have labels.
    relationship : mapping of factor to table, optional
        Known relationship of its levels, of truth and fit: ``{"law": "families", "size", "r"}``,
        ``{"law": "chain", "r"}`` for r^|i − j|, ``{"matrix": path}`` or ``{"pedigree": path, "id",
        "sire", "dam"}``.
    truth_residual, truth_residual_sd : str, optional
        Structure of the true residuals if it is not what is fitted; ``"iid"`` for none. ``sd`` and
        ``corr`` speak of it.
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

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], key: str = "scenario") -> Scenario:
        """Return the scenario of a table such as `to_dict` makes."""
        names = [field.name for field in fields(cls)]
        return cls(**table(key, content, ["name", "formula"], names))

    @classmethod
    @accepts(text=TEXT)
    def from_toml(cls, text: str) -> Scenario:
        """Return the scenario of a TOML text with one table, ``[scenario]``."""
        content = toml(text, "This")
        return cls.from_dict(table("the TOML text", content, ["scenario"], [])["scenario"])

    def to_toml(self) -> str:
        """Return the TOML text that `from_toml` reads.

        Raises
        ------
        ScenarioError
            If data or parameters were given as objects of Python.
        """
        import tomli_w

        for key in OBJECTS:
            if not isinstance(getattr(self, key), str | None):
                raise ScenarioError(
                    f"{key}: found a {type(getattr(self, key)).__name__}, which no TOML text can "
                    "hold; save it and give the path of the file."
                )
        return tomli_w.dumps({"scenario": self.to_dict()})

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
        return Prepared.of(self, seed)
