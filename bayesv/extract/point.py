"""A point fit of another program, held against what V says of its own numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import block_diag

from bayesv.covariance import VarianceComponents
from bayesv.design.design import Design
from bayesv.design.parametric import ResidualValues
from bayesv.errors import (
    BayesvError,
    ComponentsError,
    DataError,
    ExtractionError,
    FitWarning,
    warn,
)
from bayesv.formula import build
from bayesv.linalg import Array
from bayesv.names import canonical, factors_of, paired
from bayesv.reml import RemlFit, fit_from_components

__all__ = ["PointFit", "by_factor", "moved", "rebuilt", "reml_fit"]

# What two programs may differ by at the same components, in units of sampling error.
_CRITERION = 1e-6  # of |-2 log L| + n
_BETA = 1e-4  # of the standard error
_COV = 1e-3  # of the product of standard errors


@dataclass(frozen=True, eq=False)
class PointFit:
    """What another program says of a REML or ML fit.

    Attributes
    ----------
    origin : str
        The program.
    method : {"REML", "ML"}
    converged : bool
    y : ndarray, shape (n,)
        Response of the rows it used, in its order.
    blocks : dict of str to DataFrame
        Σ_f of every grouping factor, in units of y², with its own labels.
    sigma2 : float
        Residual variance, in units of y².
    beta : Series, shape (p,)
        Fixed effects with its own labels.
    cov_beta : ndarray, shape (p, p), or None
        Its covariance of β̂, if it states one.
    criterion : float
        Its −2 log (restricted) likelihood.
    residual : ResidualValues, optional
        Parameters of residuals with a structure.
    other_cov : str, optional
        What its covariance of β̂ is, if it is not (X'V⁻¹X)⁻¹.
    """

    origin: str
    method: str
    converged: bool
    y: Array
    blocks: dict[str, pd.DataFrame]
    sigma2: float
    beta: pd.Series
    cov_beta: Array | None
    criterion: float
    residual: ResidualValues | None = None
    other_cov: str | None = None

    def renamed(self, names: Mapping[str, str]) -> PointFit:
        """Return the fit with other labels of groups, random columns and fixed effects."""
        known = {*self.blocks, *map(str, self.beta.index)}
        known |= {str(c) for block in self.blocks.values() for c in block.columns}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ExtractionError(
                f"names has {', '.join(map(repr, unknown))}; labels of the {self.origin} fit are "
                f"{', '.join(sorted(known))}."
            )
        blocks = {
            names.get(group, group): block.rename(index=names, columns=names)
            for group, block in self.blocks.items()
        }
        values = {**self.__dict__, "blocks": blocks, "beta": self.beta.rename(index=names)}
        return PointFit(**values)


def moved(fit: RemlFit, design: Design, names: Mapping[str, str]) -> RemlFit:
    """Return a fit with the rows and labels of another design of the same model."""
    point = PointFit(
        origin=fit.origin,
        method=fit.method,
        converged=fit.converged,
        y=fit.design.y,
        blocks={group: fit.components[group] for group in fit.components},
        sigma2=fit.sigma2,
        beta=fit.beta,
        cov_beta=fit.cov_beta.to_numpy(),
        criterion=fit.criterion,
        residual=fit.components.residual,
    )
    return reml_fit(point.renamed(names), design)


def by_factor(parts: Iterable[tuple[str, Sequence[str], Any]]) -> dict[str, pd.DataFrame]:
    """Return Σ_f of every factor from (group, labels, covariance), independent parts side by side.

    >>> by_factor([("g", ["Intercept"], 2.0), ("g", ["x"], 1.0)])["g"].to_numpy().tolist()
    [[2.0, 0.0], [0.0, 1.0]]
    """
    names: dict[tuple[str, ...], str] = {}
    labels: dict[str, list[str]] = {}
    matrices: dict[str, list[Any]] = {}
    for group, columns, cov in parts:
        name = names.setdefault(factors_of(group), group)
        labels.setdefault(name, []).extend(columns)
        matrices.setdefault(name, []).append(cov)
    return {
        name: pd.DataFrame(block_diag(*matrices[name]), columns, columns)
        for name, columns in labels.items()
    }


def rebuilt(origin: str, formula: str, data: Any, weights: Array | None = None) -> Design:
    """Return the design of another program's formula and data, or say that it must be passed."""
    try:
        return build(formula, data, weights)[0]
    except BayesvError as error:
        raise ExtractionError(
            f"The {origin} fit of {formula!r} cannot be rebuilt: {error}\nPass "
            "design=bv.Model(formula, data).design, the same model in bayesv's formulas."
        ) from error


def reml_fit(point: PointFit, design: Design) -> RemlFit:
    """Return another program's fit as a `RemlFit` of a design, after checking that it is one.

    Raises
    ------
    ExtractionError
        If rows, response or labels differ, or if β̂, its covariance and −2 log L are not those of V
        at the components: then a label or a unit is wrong.

    Warns
    -----
    FitWarning
        If the program says that its fit did not converge; its numbers need not agree then.
    """
    _check_rows(point, design)
    order = _order(point, design)
    try:
        components = VarianceComponents(point.blocks, point.sigma2, point.residual)
        fit = fit_from_components(
            design, components, point.method, point.origin, converged=point.converged
        )
    except (ComponentsError, DataError) as error:
        raise ExtractionError(f"The {point.origin} fit and the design: {error}") from error
    disagreements = _disagreements(point, fit, order)
    if not point.converged:
        also = f" At its components, {'; '.join(disagreements)}." if disagreements else ""
        warn(
            f"{point.origin} says that this fit did not converge; its estimates are taken as they "
            f"are.{also}",
            FitWarning,
        )
    elif disagreements:
        raise ExtractionError(
            f"The numbers of the {point.origin} fit are not those of V at its components: "
            f"{'; '.join(disagreements)}. It has other data, weights or offset than the design, is "
            "penalised, or a label or unit is mistaken. Pass design=bv.Model(formula, data, "
            "var_weights=…).design of what was fitted."
        )
    return _with_reported(point, fit, order)


def _with_reported(point: PointFit, fit: RemlFit, order: list[int]) -> RemlFit:
    """Return the fit with the program's own covariance of β̂ beside, where it is another one."""
    if point.cov_beta is None or point.other_cov is None:
        return fit
    cov = np.asarray(point.cov_beta)[np.ix_(order, order)]
    reported = pd.DataFrame(cov, fit.beta.index, fit.beta.index)
    ratio = np.sqrt(np.diagonal(cov)) / fit.se.to_numpy()
    note = (
        f"cov_beta is (X'V⁻¹X)⁻¹; {point.origin} reports {point.other_cov}, kept as "
        f"reported_cov_beta: its standard errors are {ratio.min():.6g} to {ratio.max():.6g} times "
        "as large"
    )
    return replace(fit, reported_cov_beta=reported, notes=(*fit.notes, note))


def _check_rows(point: PointFit, design: Design) -> None:
    """Refuse another response, other rows, or rows in another order."""
    n = len(point.y)
    if n != design.n:
        raise ExtractionError(
            f"The {point.origin} fit has {n} rows, the design {design.n} ({design.n_dropped} "
            "dropped); they must be of the same rows."
        )
    if np.allclose(point.y, design.y):
        return
    if np.allclose(np.sort(point.y), np.sort(design.y)):
        raise ExtractionError(
            f"The {point.origin} fit has the rows of the design in another order; build the design "
            "from the data frame that was fitted."
        )
    first = int(np.flatnonzero(~np.isclose(point.y, design.y))[0])
    raise ExtractionError(
        f"The response of the {point.origin} fit is not the design's {design.response!r}: row "
        f"{first} has {point.y[first]:g} and {design.y[first]:g}."
    )


def _order(point: PointFit, design: Design) -> list[int]:
    """Positions among the fit's fixed effects of the design's, by the meaning of their labels."""
    labels = [str(name) for name in point.beta.index]
    order = paired(design.fixed_names, labels)
    if order is not None:
        return order
    labels_of_fit, labels_of_design = (
        [canonical(name) for name in names] for names in (labels, design.fixed_names)
    )
    extra = [
        str(n)
        for n, c in zip(point.beta.index, labels_of_fit, strict=True)
        if c not in labels_of_design
    ]
    missing = [
        n
        for n, c in zip(design.fixed_names, labels_of_design, strict=True)
        if c not in labels_of_fit
    ]
    raise ExtractionError(
        f"The fixed effects of the {point.origin} fit and of the design differ: the fit alone has "
        f"{', '.join(extra) or 'none'}, the design alone {', '.join(missing) or 'none'}. If only "
        "labels differ, say so: names={'label of the fit': 'label of the design'}."
    )


def _disagreements(point: PointFit, fit: RemlFit, order: list[int]) -> list[str]:
    """Say where the fit's own numbers are not those of V."""
    lines = []
    printed, computed = point.criterion, fit.criterion
    if not np.isfinite(printed):
        lines.append(
            f"-2 log L is {printed:g} in the fit, {computed:.8g} from V: its algebra broke down, "
            "as it may where a variance is exactly 0; refit with another optimiser"
        )
    elif abs(printed - computed) > _CRITERION * (abs(computed) + fit.design.n):
        lines.append(f"-2 log L is {printed:.8g} in the fit, {computed:.8g} from V")
    se = fit.se.to_numpy()
    beta = point.beta.to_numpy(dtype=float)[order]
    for name, b, estimate, e in zip(fit.beta.index, beta, fit.beta, se, strict=True):
        if abs(b - estimate) > _BETA * e:
            lines.append(f"beta of {name} is {b:.8g} in the fit, {estimate:.8g} from V")
    if point.cov_beta is not None and point.other_cov is None:
        cov = np.asarray(point.cov_beta)[np.ix_(order, order)]
        wrong = np.abs(cov - fit.cov_beta.to_numpy()) > _COV * np.outer(se, se)
        if wrong.any():
            i, j = np.argwhere(wrong)[0]
            lines.append(
                f"cov({fit.beta.index[i]}, {fit.beta.index[j]}) of the estimates is "
                f"{cov[i, j]:.6g} in the fit, {fit.cov_beta.iloc[i, j]:.6g} from V"
            )
    return lines
