"""Residual covariances with parameters: what they are at given values, and their labels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import numpy as np

from bayesv.design.residual import Index, Residual
from bayesv.design.series import Series
from bayesv.errors import ComponentsError, DataError, near
from bayesv.linalg import Array

__all__ = [
    "ParametricResidual",
    "ResidualValues",
    "RowLevels",
    "coarsest",
    "rows_of_level",
    "series_of",
]

_DIGITS = 1e-6  # by which σ² and the SDs that make it may disagree


@dataclass(frozen=True)
class ResidualValues:
    """Labelled parameters of R: standard deviations and correlations, in natural units.

    Attributes
    ----------
    sd : mapping of str to float
        Of each visit or stratum, in units of y; empty where all rows have σ.
    corr : mapping of str to float
        Correlations, or the parameters that make them.
    """

    sd: Mapping[str, float] = field(default_factory=dict)
    corr: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any) -> ResidualValues:
        """Return values given as such, or as ``{"sd": {…}, "corr": {…}}``.

        Raises
        ------
        ComponentsError
            If they are anything else, an SD is not positive, or a value is no finite number.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping) or not set(given) <= {"sd", "corr"}:
            raise ComponentsError(
                "residual must be {'sd': {label: value}, 'corr': {label: value}}, as the printed "
                f"components name them; found {given!r}."
            )
        parts = {}
        for what, values in given.items():
            try:
                parts[what] = {str(label): float(value) for label, value in dict(values).items()}
            except (TypeError, ValueError, OverflowError):
                raise ComponentsError(
                    f"residual {what} must map labels to numbers; found {values!r}."
                ) from None
            if not np.isfinite(list(parts[what].values())).all():
                raise ComponentsError(f"residual {what} has a missing or infinite value: {values}.")
        if any(value <= 0 for value in parts.get("sd", {}).values()):
            raise ComponentsError(f"residual SDs must be positive; found {dict(given['sd'])}.")
        return cls(**parts)


class ParametricResidual(Residual):
    """A residual covariance whose parameters are components to be estimated.

    It is no covariance before it has values: `member` gives one.
    """

    @property
    @abstractmethod
    def sd_labels(self) -> tuple[str, ...]:
        """Labels of the standard deviations; none where all rows have σ."""

    @property
    @abstractmethod
    def corr_labels(self) -> tuple[str, ...]:
        """Labels of the parameters of the correlation."""

    @property
    def series(self) -> Series | None:
        """Which rows are correlated; None if none are."""
        return None

    @abstractmethod
    def member(self, values: ResidualValues, sigma2: float) -> Residual:
        """Return R over σ² at these values.

        Raises
        ------
        ComponentsError
            If labels do not fit, or correlations are none.
        """

    @abstractmethod
    def describe(self) -> str:
        """Return the structure in words, for `Design.describe`."""

    def sigma2_of(self, sds: Array) -> float:
        """Return σ² of residuals with these standard deviations: the mean of their squares."""
        return float(np.mean(np.asarray(sds) ** 2))

    def aligned(self, values: ResidualValues | None, sigma2: float) -> ResidualValues:
        """Return values in the order of the labels.

        Raises
        ------
        ComponentsError
            If a label is missing or superfluous, or σ² is not the mean square of the SDs.
        """
        values = ResidualValues() if values is None else values
        parts = []
        for what, labels, given in (
            ("sd", self.sd_labels, values.sd), ("corr", self.corr_labels, values.corr),
        ):  # fmt: skip
            extra = [label for label in given if label not in labels]
            missing = [label for label in labels if label not in given]
            if extra or missing:
                wrong = near(extra[0], labels) if extra else "."
                raise ComponentsError(
                    f"residual {what}: needed are {', '.join(labels) or 'none'}; found "
                    f"{', '.join(given) or 'none'}{wrong}"
                )
            parts.append({label: given[label] for label in labels})
        if parts[0]:
            mean = self.sigma2_of(np.array(list(parts[0].values())))
            if abs(mean - sigma2) > _DIGITS * mean:
                raise ComponentsError(
                    f"sigma2 = {sigma2:g}, and the residual SDs have the mean square {mean:g}: σ² "
                    "is the mean of the residual variances. Give that number."
                )
        return ResidualValues(*parts)

    # --- what needs values ----------------------------------------------------------------------

    def _valueless(self, *_: Any, **__: Any) -> NoReturn:
        raise DataError(
            f"The residuals of this design, {self.describe()}, have parameters: their covariance "
            "is there at given components only (design.at(components))."
        )

    @property
    def weights(self) -> Array:  # noqa: D102
        self._valueless()

    @property
    def diagonal(self) -> Array:  # noqa: D102
        self._valueless()

    @property
    def log_det(self) -> float:  # noqa: D102
        self._valueless()

    @property
    def matrix(self) -> Any:  # noqa: D102
        self._valueless()

    def block(self, rows: Index) -> Array:  # noqa: D102
        self._valueless()

    def whiten(self, columns: Any, *, transposed: bool = False) -> Any:  # noqa: D102
        self._valueless()

    def draw(self, scores: Array) -> Array:  # noqa: D102
        self._valueless()


def series_of(design: Any, name: object) -> Series | None:
    """Return the series of a design's residuals if they, and no grouping factor, have this name."""
    form = design.residual
    series = form.series if isinstance(form, ParametricResidual) else None
    if series is None or not isinstance(name, str) or name in design.groups:
        return None
    return series if name == series.label else None


def rows_of_level(design: Any, group: str, level: object) -> Index:
    """Return the positions of the rows of one level, or of one series of residuals.

    Raises
    ------
    DataError
        If there is no such group or level.
    """
    series = series_of(design, group)
    if series is not None:
        return np.flatnonzero(series.codes == series.place(level))
    term, place = design.level(group, level)
    return np.flatnonzero(term.codes == place)


class RowLevels(NamedTuple):
    """Levels that rows belong to: of a grouping factor, or series of residuals.

    Attributes
    ----------
    group : str
    levels : sequence of str
    codes : ndarray of int, shape (n,)
    """

    group: str
    levels: Sequence[object]
    codes: Index


def coarsest(design: Any) -> RowLevels | None:
    """Return the grouping factor with the fewest levels, else the series; None without either."""
    if design.terms:
        term = design.terms[-1]  # terms come by decreasing numbers of levels
        return RowLevels(term.group, term.levels, term.codes)
    form = design.residual
    series = form.series if isinstance(form, ParametricResidual) else None
    return None if series is None else RowLevels(series.label, list(series.labels), series.codes)
