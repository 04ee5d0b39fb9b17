"""Residuals of new rows beside those of the fitted ones: which series go on, which are new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design.parametric import ResidualValues
from bayesv.design.row_scales import Exponential, Power, RowScales, Strata
from bayesv.design.series import Series, numbered
from bayesv.design.structured import Parameters, Sequential, StructuredResidual
from bayesv.errors import BayesvError, DataError, near
from bayesv.formula.columns import as_factor, as_numbers, kind
from bayesv.formula.frame import take_columns
from bayesv.formula.groups import level_text_of_rows
from bayesv.formula.residual_text import (
    ResidualText,
    SDText,
    parse_residual,
    parse_residual_sd,
)
from bayesv.formula.series import complete_rows
from bayesv.linalg import Array, psd_root
from bayesv.structures.exchangeable import CompoundSymmetry
from bayesv.structures.stationary import Stationary

__all__ = ["Across", "NewResiduals", "continued"]

Index = NDArray[np.intp]
Across = tuple[Index, Index, Array]

_BETWEEN = " × "  # factors of a residual's text


@dataclass(frozen=True, eq=False)
class NewResiduals:
    """Residuals of n fitted rows and, after them, of m new ones.

    Attributes
    ----------
    joint : StructuredResidual
        Of all rows.
    n_fitted : int
    """

    joint: StructuredResidual
    n_fitted: int

    @property
    def n_new(self) -> int:
        """Number of new rows, m."""
        return self.joint.n - self.n_fitted

    def given_fitted(
        self, values: ResidualValues, sigma2: float
    ) -> tuple[list[Across], Array, Array]:
        """Return what the fitted rows say of the residuals of the new ones.

        Parameters
        ----------
        values : ResidualValues
        sigma2 : float

        Returns
        -------
        list of (ndarray of int, ndarray of int, ndarray)
            Of S series with both kinds, l new rows (counted from 0) and k fitted ones each: the
            new rows, (S, l), the fitted ones, (S, k), and covariances across, (S, l, k).
        ndarray, shape (m,)
            Variances of the residuals.
        ndarray, shape (m,)
            Variances that are left, given the residuals of the fitted rows.

        Raises
        ------
        DataError
            If a correlation with a new position is not a parameter of the family.
        """
        try:
            parameters = self.joint.parameters(values, sigma2)
        except BayesvError as error:
            raise DataError(
                f"Residuals {self.joint.text}: the fit says nothing of positions that no fitted "
                f"row had ({error})"
            ) from error
        n = self.n_fitted
        places = np.arange(n, self.joint.n)
        variances = sigma2 * self.joint.covariance(parameters, places[:, None])[:, 0, 0]
        left, parts = variances.copy(), []
        for old, new in self._series():
            rows = np.concatenate([old, new], axis=1)
            R, k = sigma2 * self.joint.covariance(parameters, rows), old.shape[1]
            across = R[:, k:, :k]
            known = across * np.swapaxes(np.linalg.solve(R[:, :k, :k], R[:, :k, k:]), 1, 2)
            left[new - n] = np.maximum(variances[new - n] - known.sum(axis=2), 0.0)
            parts.append((new - n, old, across))
        return parts, variances, left

    def draw(self, parameters: Parameters, fitted: Array | None, z: Array) -> Array:
        """Return residuals of the new rows over σ, shape (m,).

        Parameters
        ----------
        parameters : Parameters
            Of the joint residuals.
        fitted : ndarray, shape (n,), or None
            Residuals of the fitted rows over σ, which those of their series are conditional on;
            None: all series are new.
        z : ndarray, shape (m,)
            Standard normal scores; zeros give the mean.
        """
        n, residuals = self.n_fitted, np.empty(self.n_new)
        codes = self.joint.clusters
        new = np.arange(n, self.joint.n)
        if codes is None:
            variances = self.joint.covariance(parameters, new[:, None])[:, 0, 0]
            return np.asarray(np.sqrt(variances) * z)
        for code in np.unique(codes[n:]):
            rows = new[codes[n:] == code]
            old = np.flatnonzero(codes[:n] == code)[: None if fitted is not None else 0]
            R = self.joint.covariance(parameters, np.concatenate([old, rows])[None])[0]
            k, mean = len(old), np.zeros(len(rows))
            left = R[k:, k:]
            if k and fitted is not None:
                weights = np.linalg.solve(R[:k, :k], R[:k, k:]).T
                mean, left = weights @ fitted[old], left - weights @ R[:k, k:]
            residuals[rows - n] = mean + psd_root(left) @ z[rows - n]
        return residuals

    def _series(self) -> list[tuple[Index, Index]]:
        """Return fitted and new rows of the series that have both, (S, k) and (S, l), by size."""
        codes, n = self.joint.clusters, self.n_fitted
        if codes is None:
            return []
        by_size: dict[tuple[int, int], list[Index]] = {}
        order = np.argsort(codes, kind="stable")
        both = np.intersect1d(codes[:n], codes[n:])
        starts = np.searchsorted(codes[order], both)
        ends = np.searchsorted(codes[order], both, side="right")
        for start, end in zip(starts, ends, strict=True):
            rows = order[start:end]  # stable: fitted rows come first
            k = int((rows < n).sum())
            by_size.setdefault((k, len(rows)), []).append(rows)
        stacks = [(k, np.array(sets)) for (k, _), sets in by_size.items()]
        return [(stack[:, :k], stack[:, k:]) for k, stack in stacks]


def continued(form: StructuredResidual, data: Any, weights: Array | None) -> NewResiduals:
    """Return the residuals of fitted rows and of new data.

    Parameters
    ----------
    form : StructuredResidual
        Of the fitted rows.
    data : DataFrame
        With the columns of series, positions, groups, strata and covariates of SDs.
    weights : ndarray, shape (m,), or None
        Known weights of the new rows; 1 if left out.

    Raises
    ------
    DataError
        If a column is missing or has a gap, or says what no fitted row says: a visit, a group, a
        stratum.
    """
    text, factors = _texts(form.text)
    names = [] if text is None else list(text.names)
    names += [one.column for one in factors]
    frame = take_columns(data, names)
    if missing := [name for name in names if name not in frame]:
        raise DataError(
            f"The new data have no column {missing[0]!r}, which residuals {form.text} need"
            f"{near(missing[0], list(map(str, frame.columns)))}"
        )
    if (gaps := ~complete_rows(names, frame)).any():
        raise DataError(
            f"{int(gaps.sum())} of the {len(frame)} new rows have a gap in {', '.join(names)}, "
            f"such as {frame.index[gaps.argmax()]!r}; residuals {form.text} need them."
        )
    part = form.sequential
    if part is not None:
        assert text is not None
        part = _sequential(part, text, frame)
    known = form.known
    if known is not None or weights is not None:
        ones = (np.ones(form.n), np.ones(len(frame)))
        pairs = zip((known, weights), ones, strict=True)
        known = np.concatenate([one if given is None else given for given, one in pairs])
    joint = StructuredResidual(
        form.text, part, _scales(form.scales, factors, frame), known, form.n + len(frame)
    )
    return NewResiduals(joint, form.n)


def _texts(text: str) -> tuple[ResidualText | None, tuple[SDText, ...]]:
    """Take the words of a residual apart again."""
    words = text.split(_BETWEEN)
    first = None
    if not words[0].startswith(("strata(", "power(", "exp(")):
        first = parse_residual(words.pop(0))
    return first, parse_residual_sd(" * ".join(words)) if words else ()


def _sequential(part: Sequential, text: ResidualText, frame: pd.DataFrame) -> Sequential:
    series, m = part.series, len(frame)
    codes, labels = series.codes, series.labels
    new_codes = np.zeros(m, dtype=np.intp)
    if text.series:
        own, own_labels = level_text_of_rows(frame, text.series, series.label)
        place = {str(label): k for k, label in enumerate(labels)}
        unseen = [label for label in own_labels if str(label) not in place]
        place |= {str(label): len(labels) + k for k, label in enumerate(unseen)}
        new_codes = np.array([place[str(label)] for label in own_labels], dtype=np.intp)[own]
        labels = np.concatenate([labels, np.array(unseen, dtype=object)])
    codes = np.concatenate([codes, new_codes])
    group = np.concatenate([series.group, _group(series, text, frame)])
    joined = replace(series, codes=codes, labels=labels, group=group,
                     visit=np.zeros(len(codes), np.intp),
                     coordinates=np.zeros((len(codes), series.coordinates.shape[1])))  # fmt: skip
    if not series.by_visit:
        columns = [_numbers(text, frame[name]) for name in text.positions]
        places = np.concatenate([series.coordinates, np.column_stack(columns)])
        return Sequential(replace(joined, coordinates=places), part.structure)
    if not text.positions:
        visit = numbered(codes)
        wanted = np.arange(1.0, visit.max() + 2.0)
        return _on_visits(part, joined, visit, wanted)
    if _is_numeric(series) and kind(frame[text.positions[0]]) != "factor":
        times = _numbers(text, frame[text.positions[0]])
        union = np.union1d(series.times, times)
        visit = np.searchsorted(union, np.concatenate([series.times[series.visit], times]))
        return _on_visits(part, joined, visit, union)
    factor = as_factor(frame[text.positions[0]])
    visit = _places(series.visits, factor, f"a visit of {series.position!r}")
    return Sequential(replace(joined, visit=np.concatenate([series.visit, visit])), part.structure)


def _on_visits(part: Sequential, joined: Series, visit: Index, times: Array) -> Sequential:
    """Return rows at visits some of which may be new, as families of lags have them."""
    if np.array_equal(times, part.series.times):
        return Sequential(replace(joined, visit=visit), part.structure)
    odd = times[times != np.round(times)]
    if len(odd) or not isinstance(part.structure, Stationary | CompoundSymmetry):
        new = odd if len(odd) else np.setdiff1d(times, part.series.times)
        raise DataError(
            f"{joined.position} = {new[0]:g} is no visit of the fit; {part.structure.kind} has the "
            f"visits {', '.join(part.series.visits[:10])}"
            f"{' …' if len(part.series.visits) > 10 else ''} and says nothing between or beyond."
        )
    longer = replace(
        joined, visit=visit, times=times, visits=tuple(f"{time:.0f}" for time in times)
    )
    return Sequential(longer, part.structure.on(tuple(times.astype(int).tolist())))


def _is_numeric(series: Series) -> bool:
    """Whether visits are whole numbers as they were read."""
    return series.visits == tuple(f"{time:.0f}" for time in series.times)


def _group(series: Series, text: ResidualText, frame: pd.DataFrame) -> Index:
    if text.group is None:
        return np.zeros(len(frame), dtype=np.intp)
    return _places(series.groups, as_factor(frame[text.group]), f"a level of {text.group!r}")


def _places(labels: Sequence[str], factor: pd.Categorical, what: str) -> Index:
    """Return the place of each row's level among fitted ones."""
    names = [str(level) for level in factor.categories]
    known = {label: k for k, label in enumerate(labels)}
    used = np.unique(factor.codes)
    if unknown := [names[k] for k in used if names[k] not in known]:
        raise DataError(
            f"{unknown[0]!r} is not {what} in the fit{near(unknown[0], labels)} There are: "
            f"{', '.join(labels[:10])}{' …' if len(labels) > 10 else ''}."
        )
    table = np.array([known.get(name, 0) for name in names], dtype=np.intp)
    return np.asarray(table[factor.codes])


def _scales(scales: RowScales, factors: Sequence[SDText], frame: pd.DataFrame) -> RowScales:
    strata: Strata | None = scales.strata
    powers: list[Power] = []
    rest = iter(scales.powers)
    for one in factors:
        column = frame[one.column]
        if one.kind == "strata":
            assert strata is not None
            places = _places(strata.levels, as_factor(column), f"a stratum of {strata.name!r}")
            strata = replace(strata, codes=np.concatenate([strata.codes, places]))
            continue
        fitted, x = next(rest), np.asarray(as_numbers(column), dtype=float)
        if not isinstance(fitted, Exponential):
            x = Power.of(one.column, x).log_x
        powers.append(replace(fitted, log_x=np.concatenate([fitted.log_x, x])))
    return RowScales(strata, tuple(powers))


def _numbers(text: ResidualText, column: pd.Series) -> Array:
    if kind(column) == "factor":
        raise DataError(
            f"{text.text} was fitted at numbers, and {column.name!r} of the new data is text."
        )
    return np.asarray(as_numbers(column), dtype=float)
