"""Coordinates, priors and likelihood of free covariances as numbers, for one compiled pass.

Most models are of this kind: every term's covariance is free, or of free blocks, R/σ² is known and
factors are nested. The density of others is put together by the classes of their families.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bayesv.gram import BATCH, WORTH_THREADS, GramStatistics, smallest_kept
from bayesv.gram.scaling import Index
from bayesv.gram.tables import L_START
from bayesv.gram.threads import run
from bayesv.inference.coordinates import Coordinates
from bayesv.inference.density import Conditional, MarginalDensity
from bayesv.inference.log_prior import LogPrior
from bayesv.linalg import Array
from bayesv.priors.families import Form
from bayesv.structures.partials import lkj_log_constant, lkj_powers

__all__ = ["Plain"]


class Maps(NamedTuple):
    """From coordinates to λ; the rows of all terms one after the other, as their SDs.

    Attributes
    ----------
    low, high : ndarray, shape (d,)
        Between which the density is evaluated.
    has_sigma, log_scale : bool, float
        Whether σ is the last coordinate, and its unit.
    sds, log_units : ndarray, shape (R,)
        Coordinate of each row's SD, and log size of its column.
    depth, corrs : ndarray of int, shape (R,)
        How many rows of its block stand before it, and the first coordinate of its correlations.
    members : ndarray of int, shape (R, k)
        The rows of its block that stand before it, counted in the term.
    terms : ndarray of int, shape (F, 3)
        First row of each term, its number of rows, and where its λ starts.
    back : ndarray, shape (size,)
        What takes roots to λ in the basis of the statistics.
    size : int
        Number of elements of all λ.
    """

    low: Array
    high: Array
    has_sigma: bool
    log_scale: float
    sds: Index
    log_units: Array
    depth: Index
    corrs: Index
    members: Index
    terms: Index
    back: Array
    size: int


class Law(NamedTuple):
    """The prior by coordinates.

    Attributes
    ----------
    constant : float
    forms : ndarray, shape (R + 1, 8)
        `Form` of each SD's prior, and of σ's.
    powers : ndarray, shape (d,)
        Of 1 − c² at the coordinates of correlations.
    other : ndarray of bool, shape (F,)
        Whether a term's priors speak of other effects than its coordinates.
    stated : ndarray, shape (size,)
        What takes roots to those of the effects that priors speak of.
    volume : ndarray, shape (R,)
        Powers of SD_c/SD_stated; see `LogPrior`.
    """

    constant: float
    forms: Array
    powers: Array
    other: Any
    stated: Array
    volume: Array


class OfBeta(NamedTuple):
    """The prior of β in the coordinates of the statistics, and what the likelihood adds to it."""

    precision: Array
    shift: Array
    constant: float
    n: float
    least: float  # y'V⁻¹y: below, digits are lost


@dataclass(frozen=True, eq=False)
class Plain:
    """What `bayesv.inference.points.evaluate_chain` takes."""

    maps: Maps
    law: Law
    beta: OfBeta
    stats: GramStatistics

    @classmethod
    def of(cls, density: MarginalDensity, coordinates: Coordinates, limits: Array) -> Plain | None:
        """Return the density in these coordinates as numbers; None if it is not of this kind.

        Parameters
        ----------
        density : MarginalDensity
        coordinates : Coordinates
        limits : ndarray, shape (2, d)
            Between which it is evaluated.
        """
        layout, terms = density.stats.layout, coordinates.design.terms
        nested = layout.chain and not layout.border and layout.iteration is None
        free = all(term.structure.is_free for term in terms)
        if not (nested and free) or density.by_residual is not None:
            return None
        maps = _maps(coordinates, density.stats, limits)
        law = _law(LogPrior(density.priors, coordinates), maps)
        P0, h0, constant = density.beta_prior
        least = float(smallest_kept(density.stats.rounding))
        beta = OfBeta(P0, h0, constant, float(density.stats.n), least)
        return cls(maps, law, beta, density.stats)

    def is_quick(self, size: int) -> bool:
        """Whether so many points take no time that anybody would see."""
        return size * self.stats.layout.plan.n_events < WORTH_THREADS

    def evaluate(
        self, x: Array, step: Callable[[int], None] | None = None
    ) -> tuple[Array, Conditional]:
        """Return log p(x | y), shape (S,), −∞ where it has no value, and the conditional of β."""
        from bayesv.inference.points import evaluate_chain  # compiled: loaded when it is needed

        S, p, plan = len(x), self.stats.p, self.stats.layout.plan
        values, likelihood = np.empty(S), np.empty(S)
        mean, root = np.empty((S, p)), np.empty((S, p, p))
        tables, sums, spans = plan.tables, self.stats.merged, plan.starts_and_stops

        def part(own: slice) -> None:
            evaluate_chain(
                x[own], self.maps, self.law, self.beta, tables, sums, spans, plan.width,
                values[own], likelihood[own], mean[own], root[own],
            )  # fmt: skip
            if step is not None:
                step(len(values[own]))

        if self.is_quick(S):
            part(slice(0, S))
        else:
            run(part, [slice(first, first + BATCH) for first in range(0, S, BATCH)])
        return values, Conditional(likelihood, mean, root)


def _maps(coordinates: Coordinates, stats: GramStatistics, limits: Array) -> Maps:
    layout = stats.layout
    starts = dict(zip(layout.chain_terms, layout.plan.tables.table[:, L_START], strict=True))
    depth: list[int] = []
    corrs: list[int] = []
    sds, log_units, members, terms = [], [], [], []
    k_max = max(part.term.n_columns for part in coordinates.parts)
    back = np.zeros(sum(part.term.n_columns**2 for part in coordinates.parts))
    for f, part in enumerate(coordinates.parts):
        k, start = part.term.n_columns, int(starts[f])
        terms.append((len(depth), k, start))
        back[start : start + k * k] = (layout.bases[f] @ part.basis.back).ravel()
        sds.append(np.arange(k) + part.sds.start)
        log_units.append(part.log_units)
        place = part.corrs.start
        own = {}
        for block in part.term.structure.free_blocks:
            for i, row in enumerate(block):
                own[row] = (i, place, block)
                place += i
        for row in range(k):
            i, first, block = own[row]
            depth.append(i)
            corrs.append(first)
            members.append(np.pad(np.array(block[:i], dtype=np.intp), (0, k_max - i)))
    low, high = np.ascontiguousarray(limits)
    return Maps(
        low,
        high,
        coordinates.has_sigma,
        coordinates.log_scale if coordinates.has_sigma else 0.0,
        np.concatenate(sds),
        np.concatenate(log_units),
        np.array(depth, dtype=np.intp),
        np.array(corrs, dtype=np.intp),
        np.array(members, dtype=np.intp),
        np.array(terms, dtype=np.intp),
        back,
        len(back),
    )


def _law(prior: LogPrior, maps: Maps) -> Law:
    priors, coordinates = prior.priors, prior.coordinates
    forms, volume = [], []
    stated, powers = np.zeros_like(maps.back), np.zeros(coordinates.size)
    constant = 0.0
    other = [own is not None for own in prior.stated_maps]
    rows = zip(coordinates.parts, prior.stated_maps, maps.terms, strict=True)
    for part, own, (_, k, start) in rows:
        structure, eta = part.term.structure, priors.eta(part.term)
        forms += [one.form for one in priors.sd[part.term.group]]
        volume.append(prior.volume_powers(part, jacobian=True))
        if own is not None:
            stated[start : start + k * k] = (own @ part.basis.back).ravel()
        sizes = [len(block) for block in structure.free_blocks]
        constant -= sum(lkj_log_constant(size, eta) for size in sizes)
        powers[part.corrs] = np.concatenate([np.zeros(0), *(lkj_powers(r, eta) for r in sizes)])
    forms.append(priors.sigma.form)
    table = np.array(forms)
    known = len(forms) if coordinates.has_sigma else len(forms) - 1
    constant += float(table[:known, Form._fields.index("constant")].sum())
    return Law(constant, table, powers, np.array(other), stated, np.concatenate(volume))
