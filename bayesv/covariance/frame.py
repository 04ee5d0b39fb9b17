"""A design at its components in coordinates in which no digits are lost, and V's parameters there.

Parameters θ of V are, term by term, elements of Σ_f where it may be any covariance and SAS's
parameters where it is of a family; then those of R.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bayesv.covariance.centring import centred
from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.residual_directions import ResidualDirections, Scaled, residual_directions
from bayesv.design.design import Design, RandomTerm
from bayesv.design.residual import Residual
from bayesv.linalg import Array, cov_to_sd_corr, psd_root
from bayesv.structures.family import Family
from bayesv.structures.structure import CovarianceStructure

__all__ = ["Directions", "Frame", "frame_of"]

_MIN_LENGTH = 1e-9  # of a column's length: what is left of it after those before it is rounding
_MIN_SD = 1e-6  # of the largest, and of σ: less is 0 where a family is differentiated
_ZERO_SHARE = 1e-10  # of the largest variance of effects, or of σ²: none
_END = 1e-5  # of the range of a parameter, from its end


@dataclass(frozen=True, eq=False)
class Directions:
    """Derivatives of Σ_f* of a term by its h parameters.

    Attributes
    ----------
    labels : tuple of str
    theta : ndarray, shape (h,)
        The user's parameters, of Σ_f.
    first : ndarray, shape (h, r, r)
    second : ndarray, shape (h, h, r, r), or None
        None where all are 0.
    elements : tuple of ((int, int) or None)
        Row and column of the element of Σ_f* that a parameter is; None for those of a family.
    held : ndarray of bool, shape (h,)
        Parameters of a family at the end of their range.
    to_user : ndarray, shape (h, h)
        Map to the parameters of Σ_f.
    """

    labels: tuple[str, ...]
    theta: Array
    first: Array
    second: Array | None
    elements: tuple[tuple[int, int] | None, ...]
    held: NDArray[np.bool_]
    to_user: Array


@dataclass(frozen=True, eq=False)
class Frame:
    """A design at components.

    Attributes
    ----------
    design : Design
        Terms have columns that are combinations of those of their block: orthogonal over the rows,
        so that scale and zero of a covariate cost no digits, and with independent effects, so that
        none is hidden behind one of much larger variance. R/σ² is that at the components.
    variances : tuple of ndarray, shapes (r_f,)
        The diagonal of Σ_f* of those columns, the rest of which is 0 at these components.
    directions : tuple of Directions
    residual : ResidualDirections
    sigma2 : float
    white : ndarray, shape (n, p + 1)
        [X e], whitened by R/σ²: X in orthonormal columns, centred, and the residual of GLS for R.
    back : ndarray, shape (p, p)
        β = back γ + shift for the coefficients γ of the orthonormal columns.
    start : ndarray, shape (p,)
        γ of GLS for R, whose residual is e.
    shift : ndarray, shape (p,)
    """

    design: Design
    variances: tuple[Array, ...]
    directions: tuple[Directions, ...]
    residual: ResidualDirections
    sigma2: float
    white: Array
    back: Array
    start: Array
    shift: Array

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the m parameters."""
        return (*(x for part in self.directions for x in part.labels), *self.residual.labels)

    @cached_property
    def theta(self) -> Array:
        """The user's parameters, shape (m,)."""
        return np.concatenate([*(part.theta for part in self.directions), self.residual.theta])

    @cached_property
    def singular(self) -> NDArray[np.bool_]:
        """Which parameters are of a Σ_f on its boundary, shape (m,)."""
        parts = [
            own.held | bool((variance <= _ZERO_SHARE * max(variance.max(), self.sigma2)).any())
            for own, variance in zip(self.directions, self.variances, strict=True)
        ]
        return np.concatenate([*parts, np.zeros(len(self.residual.labels), dtype=bool)])

    @property
    def residual_is_scaled(self) -> bool:
        """Whether R is known up to σ²."""
        return isinstance(self.residual, Scaled)

    @property
    def m(self) -> int:
        """Number of parameters."""
        return len(self.labels)

    @cached_property
    def spans(self) -> tuple[slice, ...]:
        """Which parameters are each term's, then those of R."""
        ends = np.cumsum([0, *(len(part.labels) for part in self.directions), self.m])
        ends[-1] = self.m
        return tuple(slice(int(s), int(e)) for s, e in pairwise(ends))

    @cached_property
    def to_user(self) -> Array:
        """The map of θ to the user's parameters, shape (m, m)."""
        matrix = np.eye(self.m)
        for span, part in zip(self.spans, self.directions, strict=False):
            matrix[span, span] = part.to_user
        return matrix

    def roots(self, variances: Sequence[Array] | None = None) -> list[Array]:
        """Return roots of Σ_f*/σ², diagonal, shapes (r_f, r_f)."""
        chosen = self.variances if variances is None else variances
        return [np.diag(np.sqrt(variance / self.sigma2)) for variance in chosen]


def frame_of(design: Design, vc: VarianceComponents) -> Frame:
    """Return the frame.

    Parameters
    ----------
    design : Design
        With its rows and at least one fixed effect.
    vc : VarianceComponents
        Aligned with the design.
    """
    directions_of_R = residual_directions(design, vc)
    rows = centred(design)
    design = design.at(vc)
    whiten = design.residual.whiten
    target = whiten(rows.y)
    Q, scale = np.linalg.qr(whiten(rows.X))
    start = Q.T @ target
    turned = [_turned(term, vc.block_for(term), design.residual) for term in design.terms]
    return Frame(
        design=replace(design, terms=tuple(term for term, *_ in turned)),
        variances=tuple(variance for *_, variance in turned),
        directions=tuple(
            _directions(term, vc.block_for(term), C, vc.sigma)
            for term, (_, C, _) in zip(design.terms, turned, strict=True)
        ),
        residual=directions_of_R,
        sigma2=vc.sigma2,
        white=np.column_stack([Q, target - Q @ start]),
        back=rows.M @ np.linalg.inv(scale),
        start=start,
        shift=rows.shift,
    )


def _turned(term: RandomTerm, block: Array, residual: Residual) -> tuple[RandomTerm, Array, Array]:
    """Return the term in its own columns, C with Σ = C Σ* C', and the diagonal of Σ*."""
    values, C = np.empty_like(term.values), np.zeros_like(block)
    variance, size = np.zeros(len(block)), np.sqrt(residual.size)
    for part in (list(part) for part in term.structure.blocks):
        weighted = residual.whiten(term.values[:, part])
        length = np.linalg.norm(weighted, axis=0)
        length = np.where(length > 0, length, 1.0)
        Q, R = np.linalg.qr(weighted / length)
        if len(Q) < len(part) or (np.abs(np.diagonal(R)) < _MIN_LENGTH).any():
            # Columns that determine each other stay as they are: Σ has directions that V lacks.
            Q, R = weighted / length, np.eye(len(part))
        R = R * length / size
        turn, root, _ = np.linalg.svd(R @ psd_root(block[np.ix_(part, part)]))
        values[:, part] = size * residual.draw(Q @ turn)
        C[np.ix_(part, part)] = np.linalg.solve(R, turn)
        variance[part] = root**2
    return replace(term, values=values), C, variance


def _directions(term: RandomTerm, block: Array, C: Array, sigma: float) -> Directions:
    """Return the derivatives of Σ*, part by part, with C Σ* C' = Σ."""
    r, structure = len(block), term.structure
    free = np.array(sorted(row for rows in structure.free_blocks for row in rows), dtype=int)
    parts = [(free, _elements(term, free, C, block))] if len(free) else []
    for rows, family in structure.parts:
        if family.free_blocks:
            continue
        places, names = np.array(rows), [term.columns[row] for row in rows]
        here = np.ix_(places, places)
        parts.append((places, _of_family(term.group, family, names, block[here], C[here], sigma)))
    h = sum(len(part.labels) for _, part in parts)
    first, second, to_user = np.zeros((h, r, r)), np.zeros((h, h, r, r)), np.zeros((h, h))
    start = 0
    for places, part in parts:
        own = slice(start, start + len(part.labels))
        first[own, places[:, None], places] = part.first
        if part.second is not None:
            second[own, own, places[:, None], places] = part.second
        to_user[own, own] = part.to_user
        start = own.stop
    bends = any(part.second is not None for _, part in parts)
    return Directions(
        labels=tuple(label for _, part in parts for label in part.labels),
        theta=np.concatenate([part.theta for _, part in parts]),
        first=first,
        second=second if bends else None,
        elements=tuple(element for _, part in parts for element in part.elements),
        held=np.concatenate([part.held for _, part in parts]),
        to_user=to_user,
    )


def _elements(term: RandomTerm, places: NDArray[np.intp], C: Array, block: Array) -> Directions:
    """Return directions along the elements of Σ* of rows that may have any covariance."""
    here = np.ix_(places, places)
    rows, columns = np.nonzero(np.tril(term.structure.mask[here]))
    h, names = len(rows), [term.columns[place] for place in places]
    first = np.zeros((h, len(places), len(places)))
    first[range(h), rows, columns] = first[range(h), columns, rows] = 1.0
    pairs = list(zip(rows.tolist(), columns.tolist(), strict=True))
    return Directions(
        labels=tuple(
            f"{term.group}: " + ", ".join(dict.fromkeys((names[b], names[a]))) for a, b in pairs
        ),
        theta=block[here][rows, columns],
        first=first,
        second=None,
        elements=tuple((int(places[a]), int(places[b])) for a, b in pairs),
        held=np.zeros(h, dtype=bool),
        to_user=(C[here] @ first @ C[here].T)[:, rows, columns].T,
    )


def _of_family(
    group: str,
    structure: CovarianceStructure,
    names: Sequence[str],
    block: Array,
    C: Array,
    sigma: float,
) -> Directions:
    """Return directions along the natural parameters of a family."""
    sds, corr = cov_to_sd_corr(block)
    least = max(_MIN_SD * float(sds.max()), np.finfo(float).tiny)
    zero = sds <= least
    if zero.all():
        least = _MIN_SD * sigma
    corr = np.where(np.isnan(corr), np.eye(len(corr)), corr)
    z = structure.coordinates(corr)
    theta = structure.theta(structure.free_sds(np.maximum(sds, least)), z)
    first, held = structure.first(theta), _at_ends(structure, theta)
    second = None if structure.is_linear else structure.second(theta)
    if zero.any() and second is not None:
        # Where a variance is 0 V does not depend on correlations with it.
        variances = structure.n_sds
        held[:variances] |= structure.free_sds(sds) <= least
        if zero.all():
            first[variances:] = 0.0
            second = np.zeros_like(second)
    inverse = np.linalg.inv(C)
    return Directions(
        labels=tuple(f"{group}: {label}" for label in structure.theta_labels(names)),
        theta=theta,
        first=inverse @ first @ inverse.T,
        second=None if second is None else inverse @ second @ inverse.T,
        elements=(None,) * len(theta),
        held=held,
        to_user=np.eye(len(theta)),
    )


def _at_ends(structure: CovarianceStructure, theta: Array) -> NDArray[np.bool_]:
    """Return which parameters of a correlation are at an end of their range."""
    held = np.zeros(len(theta), dtype=bool)
    if isinstance(structure, Family) and not structure.is_linear:
        for k, bounds in enumerate(structure.maps, len(theta) - structure.n_corrs):
            low, high = bounds.ends
            width = high - low if np.isfinite(high - low) else abs(theta[k])
            held[k] = min(theta[k] - low, high - theta[k]) <= _END * width
    return held
