"""Which scores a study takes: a declaration that can be written to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from bayesv.errors import BayesvError, near
from bayesv.study.scoring.losses import LOSSES

__all__ = ["Scores"]

SCALES = ("sd", "var", "cov", "corr")
FUNCTIONALS = (
    "log|V|", "tr V", "VPC", "ICC", "design effect", "effective n", "repeatability",
    "reliability", "correlation", "R² marginal", "R² conditional",
)  # fmt: skip
METHODS = ("plug-in", "Satterthwaite", "Kenward–Roger", "CR2", "posterior")


@dataclass(frozen=True)
class Scores:
    """What is scored in every replicate, besides singular fits, failures, warnings and seconds.

    Parameters
    ----------
    scales : sequence of {"sd", "var", "cov", "corr"}
        Of the elements of Σ_f and of σ².
    functionals : sequence of str
        Of V, such as ``"log|V|"``, ``"VPC"`` or ``"ICC"``: see `bayesv.Posterior.functionals`.
        ``"reliability"`` is that of a level's mean, ``"correlation"`` that of two rows of a level.
    losses : sequence of {"stein", "affine_invariant", "frobenius"}
        Of V̂ against V: see `bayesv.study.scoring.losses.Losses`.
    beta : sequence of {"plug-in", "Satterthwaite", "Kenward–Roger", "CR2", "posterior"}
        Methods for standard errors and intervals of β.
    rows : sequence of int
        Rows of the design among which elements of V are scored, counted from 0.
    at : mapping of str to sequence of float
        Points x of the curves Var(y(x)) and Corr(y(x), y(x')): values of the columns of the random
        terms, all of the same length.
    prob : float
        Probability of all intervals.

    Raises
    ------
    BayesvError
        If a name is not understood, or a value is out of range.

    Notes
    -----
    The ``estimate`` of an SD, a correlation or a functional is its value at V̂, the declared summary
    of the posterior or the fit; its standard error and interval are by ``method``: ``posterior``,
    SD and equal-tailed quantiles of the draws; ``Wald``, the delta method from REML's expected
    information on log, atanh or logit scales, as nlme's ``intervals``. Singular fits have no Wald
    interval, ML fits and models without fixed effects none at all. Of β, ``plug-in`` is GLS at V̂
    with normal quantiles, ``posterior`` the mean and quantiles of the draws.

    Where the fitted model cannot hold the truth, elements of Σ and σ are compared with those that
    were stated, V, its functionals and its losses with the covariance of the simulated response.

    Examples
    --------
    >>> Scores(functionals=["ICC"], at={"Days": [0, 9]}).prob
    0.95
    """

    scales: Sequence[str] = ("sd", "var", "corr")
    functionals: Sequence[str] = ("log|V|", "tr V", "VPC", "ICC")
    losses: Sequence[str] = LOSSES
    beta: Sequence[str] = METHODS
    rows: Sequence[int] = (0, 1)
    at: Mapping[str, Sequence[float]] = field(default_factory=dict)
    prob: float = 0.95

    def __post_init__(self) -> None:
        for name, allowed in (
            ("scales", SCALES),
            ("functionals", FUNCTIONALS),
            ("losses", LOSSES),
            ("beta", METHODS),
        ):
            # A hyphen is easier to type than the dash between two names.
            words = _list(name, getattr(self, name))
            chosen = tuple(str(one).replace("Kenward-Roger", "Kenward–Roger") for one in words)
            for one in chosen:
                if one not in allowed:
                    raise BayesvError(
                        f"scores.{name} has {one!r}; allowed are {', '.join(allowed)}"
                        f"{near(one, allowed)}"
                    )
            object.__setattr__(self, name, tuple(dict.fromkeys(chosen)))  # each once
        rows = _list("rows", self.rows)
        whole = all(isinstance(r, int | np.integer) and not isinstance(r, bool) for r in rows)
        if not whole or any(row < 0 for row in rows):
            raise BayesvError(f"scores.rows are integers from 0; found {self.rows!r}.")
        object.__setattr__(self, "rows", tuple(sorted({int(row) for row in rows})))
        object.__setattr__(self, "at", _points(self.at))
        if isinstance(self.prob, bool) or not isinstance(self.prob, int | float):
            raise BayesvError(f"scores.prob must be a number; found {self.prob!r}.")
        if not 0 < self.prob < 1:
            raise BayesvError(f"scores.prob must lie between 0 and 1; found {self.prob!r}.")

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Scores:
        """Return the scores that plain values declare.

        Raises
        ------
        BayesvError
            If a key or a value is not understood.
        """
        allowed = [item.name for item in fields(cls)]
        for key in content:
            if key not in allowed:
                raise BayesvError(
                    f"scores has no key {key!r}; allowed are {', '.join(allowed)}"
                    f"{near(key, allowed)}"
                )
        return cls(**content)


def _list(name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise BayesvError(f"scores.{name} must be a list; found {value!r}.")
    return value


def _points(curves: Any) -> dict[str, list[float]]:
    if not isinstance(curves, Mapping):
        raise BayesvError(f"scores.at must map columns to lists of numbers; found {curves!r}.")
    try:
        coordinates = {str(name): [float(x) for x in values] for name, values in curves.items()}
    except (TypeError, ValueError, OverflowError):
        raise BayesvError(
            f"scores.at must map columns to lists of numbers; found {curves!r}."
        ) from None
    if len({len(values) for values in coordinates.values()}) > 1:
        raise BayesvError(
            f"scores.at needs lists of the same length; found {curves!r}: one value per point x."
        )
    points = list(zip(*coordinates.values(), strict=True))
    if not np.isfinite(points).all() or len(set(points)) < len(points):
        raise BayesvError(
            f"scores.at needs points x that differ, of finite numbers; found {curves!r}."
        )
    return coordinates
