"""What the data do not identify of (Σ_f, σ²), in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

from bayesv.design.design import Design
from bayesv.gram import Elements, GramStatistics, flat_directions
from bayesv.linalg import Array, Mask
from bayesv.reml.ridges import slopes_of

__all__ = ["unidentified"]

_INVOLVED = 1e-6  # element of a projector on unit directions
_TOLD = 4  # names that are listed
_DEPENDENT = 1e-10  # eigenvalue of the columns' correlations
_ALONG = 1e-10  # of the cosine of a flat direction with what a family can do


def unidentified(design: Design, stats: GramStatistics, method: str = "REML") -> tuple[str, ...]:
    """Say which variances the data do not identify, whatever the response is, and why.

    Parameters
    ----------
    design : Design
        With its rows or without.
    stats : GramStatistics
        Of the design; they remember the answer.
    method : {"REML", "ML"}
        ``"REML"`` also holds for a posterior with a flat prior on β.

    Returns
    -------
    tuple of str
        One clause for each set of parameters that only counts as a whole, such as ``"x of g and
        Intercept of g are not identified: …"``; empty if all are identified.

    Notes
    -----
    See `bayesv.gram.flat_directions`. Where V itself stays the same along the direction, V and all
    that is computed from it (β̂, its standard errors, fitted values, the criterion) are unique;
    how V is split between the components is not.

    Examples
    --------
    >>> import bayesv as bv
    >>> data = bv.load_dataset("dyestuff").assign(again=lambda d: d["Batch"])
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch) + (1 | again)", data)
    >>> [problem.split(": ")[1][:38] for problem in unidentified(model.design, model.statistics)]
    ['Batch and again group the rows alike; ']
    """
    remembered = stats.layout.remembered
    if method not in remembered:
        remembered[method] = _sentences(design, stats, method)
    return tuple(remembered[method])


def _sentences(design: Design, stats: GramStatistics, method: str) -> tuple[str, ...]:
    masks = [term.structure.mask for term in design.terms]
    elements, directions = flat_directions(stats, masks, fixed=method == "REML")
    directions = _within_families(design, elements, directions)
    if not directions.shape[1]:
        return ()
    flat_in_V = directions
    if method == "REML":
        flat_in_V = flat_directions(stats, masks, fixed=False)[1]
    words = _Words(design, elements, flat_in_V)
    return tuple(words.sentence(part) for part in _separate(directions, elements))


def _within_families(design: Design, elements: Elements, directions: Array) -> Array:
    """Return those directions along which families of covariances can move, in general."""
    if not directions.shape[1] or all(term.structure.is_free for term in design.terms):
        return directions
    tangents = []
    for f, term in enumerate(design.terms):
        rows, columns = elements.rows[f], elements.columns[f]
        if term.structure.is_free:
            tangents.append(np.eye(len(rows)))
            continue
        size = np.where(elements.sizes[f] > 0, elements.sizes[f], 1.0)
        slopes = slopes_of(term.structure)[:, rows, columns] * size[rows] * size[columns]
        tangents.append(slopes.T)
    Q = np.linalg.qr(block_diag(*tangents, [[1.0]]))[0]
    _, cosines, ways = np.linalg.svd(Q.T @ directions)
    return np.asarray(directions @ ways[: len(cosines)][cosines > 1.0 - _ALONG].T)


def _separate(directions: Array, elements: Elements) -> list[Array]:
    """Split directions into sets that share no term, each given by its basis."""
    projector = directions @ directions.T
    term = np.searchsorted(elements.stops, np.arange(len(projector)), side="right")
    linked = (np.abs(projector) > _INVOLVED) | (term[:, None] == term)
    left, parts = set(np.flatnonzero(np.diagonal(projector) > _INVOLVED).tolist()), []
    while left:
        members, border = set(), [min(left)]
        while border:
            place = border.pop()
            members.add(place)
            border += [i for i in left if linked[place, i] and i not in members]
        left -= members
        inside = np.zeros(len(projector), dtype=bool)
        inside[sorted(members)] = True
        values, vectors = np.linalg.eigh(np.where(np.outer(inside, inside), projector, 0.0))
        parts.append(vectors[:, values > 0.5])
    return parts


@dataclass(frozen=True, eq=False)
class _Words:
    design: Design
    elements: Elements
    flat_in_V: Array  # directions along which V itself stays the same

    def sentence(self, directions: Array) -> str:
        """Return what is not identified along the directions, why, and what still holds."""
        involved = (directions**2).sum(axis=1) > _INVOLVED
        names, groups = self._names(involved)
        residual = bool(involved[-1])
        subject = _listed([*names, *(["the residual variance"] if residual else [])])
        single = len(names) + residual == 1 and "parameters of" not in subject
        verb = "is" if single else "are"
        outside = directions - self.flat_in_V @ (self.flat_in_V.T @ directions)
        V_is_unique = float(np.abs(outside).max()) < 1e-4
        reason = self._reason(groups, residual, V_is_unique)
        rest = (
            "V and what follows from it are unique, how it is split between these is not"
            if V_is_unique
            else "V itself is unique only up to what the fixed effects take out; the values "
            "reported are those where the search began"
        )
        return f"{subject} {verb} not identified: {reason}. {rest}"

    def _names(self, involved: Mask) -> tuple[list[str], list[int]]:
        names, groups = [], []
        stops = self.elements.stops
        for f, term in enumerate(self.design.terms):
            places = np.flatnonzero(involved[stops[f] : stops[f + 1]])
            if not len(places):
                continue
            groups.append(f)
            if not term.structure.is_free:
                names.append(f"the parameters of {term.structure.words} in {term.group}")
                continue
            pairs = [(self.elements.rows[f][i], self.elements.columns[f][i]) for i in places]
            columns = term.columns
            variances = [
                f"the variance of {columns[i]} in {term.group}" for i, j in pairs if i == j
            ]
            mixed = [f"{columns[j]} and {columns[i]} in {term.group}" for i, j in pairs if i != j]
            names += (
                variances
                if len(variances) > 1
                else variances + [f"the covariance of {pair}" for pair in mixed]
            )
        return names, groups

    def _reason(self, groups: list[int], residual: bool, V_is_unique: bool) -> str:
        terms = [self.design.terms[f] for f in groups]
        labels = [term.group for term in terms]
        if residual and not all(term.structure.is_free for term in terms):
            return (
                f"each effect of {_listed(labels)} has about one row, and what its variance and "
                "the residual's share the family can make up for. Fit a family with fewer "
                "parameters, or state the correlation by residual= instead"
            )
        if residual:
            return f"each level of {_listed(labels)} has about one row, which is a residual too"
        if not V_is_unique:
            return (
                f"the fixed effects already give every level of {_listed(labels)} its own value, "
                "so that nothing is left to vary; leave one of the two out"
            )
        if len(terms) == 1:
            if np.linalg.eigvalsh(self.elements.grams[groups[0]])[0] < _DEPENDENT:
                return (
                    "one of these columns is determined by the others (a constant is the intercept "
                    "again); leave it out"
                )
            return (
                f"within the levels of {labels[0]} these columns take too few values to tell the "
                "variances apart, such as a column that is the same in all rows of a level; leave "
                "one out"
            )
        if len({term.n_levels for term in terms}) == 1:
            return f"{_listed(labels)} group the rows alike; leave one out"
        return f"only a combination of them enters V; leave one of {_listed(labels)} out"


def _listed(names: list[str]) -> str:
    if len(names) > _TOLD:
        names = [*names[:_TOLD], f"{len(names) - _TOLD} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
