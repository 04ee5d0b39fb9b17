"""The model without one random effect, with the priors that the others then have."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayesv.design.design import RandomTerm
from bayesv.errors import BayesvError
from bayesv.linalg import Array
from bayesv.model import Model
from bayesv.posterior.posterior import Posterior
from bayesv.priors.families import LKJ
from bayesv.structures import of_blocks

__all__ = ["Effect", "effect_of", "without_effect"]


@dataclass(frozen=True, eq=False)
class Effect:
    """One random effect whose variance may be 0.

    Attributes
    ----------
    term : RandomTerm
    place : int
        Of the effect among those that the priors of the term speak of.
    label : str
        Such as ``"Intercept at Days = 4.5"``.
    values : ndarray, shape (n,)
        Its column of Z, level by level in one.
    """

    term: RandomTerm
    place: int
    label: str
    values: Array

    @property
    def is_alone(self) -> bool:
        """Whether it is correlated with no other effect."""
        blocks = self.term.structure.blocks
        return any(block == (self.place,) for block in blocks)


def effect_of(post: Posterior, group: str, column: str | None) -> Effect:
    """Return an effect by its names; the column may be left out where there is one.

    Raises
    ------
    BayesvError
        If there is none of this name, several and none is named, or the family of the term's
        covariance has no member without it.
    """
    assert post.priors is not None
    term = post.design.term(group)
    structure, basis = term.structure, post.priors.basis(term)
    if column is None and term.n_columns > 1:
        raise BayesvError(
            f"{term.group!r} has several effects: {', '.join(term.columns)}. Say which variance "
            f"may be 0, as zero_variance(post, {term.group!r}, {term.columns[-1]!r})."
        )
    if column is not None and column not in term.columns:
        raise BayesvError(
            f"{term.group!r} has the effects {', '.join(term.columns)}; found {column!r}."
        )
    free = set(structure.free_blocks)
    if structure.n_sds != structure.size or not all(
        len(block) == 1 or block in free for block in structure.blocks
    ):
        raise BayesvError(
            f"Covariances of {term.group!r} are {structure}: without one effect there is no member "
            "of this family. Fit both models and use bv.compare_models."
        )
    place = 0 if column is None else term.columns.index(column)
    return Effect(term, place, basis.labels[place], term.values @ basis.back[:, place])


def without_effect(post: Posterior, effect: Effect) -> Model | None:
    """Return the model in which the variance of an effect is 0; None if no random effect is left.

    Notes
    -----
    Effects of a term are those that its priors speak of, c = Au: without c_i the columns are those
    of ZA⁻¹ but the i-th. The correlations of k − 1 of k effects under LKJ_k(η) have LKJ_{k−1}(η +
    ½), so that the smaller model's prior is that of the larger one where the SD is 0.
    """
    priors, design, term = post.priors, post.design, effect.term
    assert priors is not None
    kept = [i for i in range(term.n_columns) if i != effect.place]
    others = tuple(t for t in design.terms if t is not term)
    sd = {g: p for g, p in priors.sd.items() if g != term.group}
    corr = {g: p for g, p in priors.corr.items() if g != term.group}
    bases = {g: b for g, b in priors.bases.items() if g != term.group}
    if not kept:
        if not others and design.parametric_residual is None:
            return None
        terms = others
    else:
        basis = priors.basis(term)
        blocks = _blocks_without(term, effect.place)
        smaller = replace(
            term,
            columns=tuple(basis.labels[i] for i in kept),
            values=np.ascontiguousarray((term.values @ basis.back)[:, kept]),
            structure=of_blocks(blocks),
        )
        sd[term.group] = tuple(priors.sd[term.group][i] for i in kept)
        if any(len(block) > 1 for block in blocks):
            corr[term.group] = LKJ(priors.eta(term) + 0.5 * (not effect.is_alone))
        terms = tuple(smaller if t is term else t for t in design.terms)
    smaller_design = replace(design, terms=terms, encoding=None)
    resolved = replace(priors, sd=sd, corr=corr, design=smaller_design, bases=bases)
    return Model.from_design(smaller_design, resolved.stated())


def _blocks_without(term: RandomTerm, place: int) -> tuple[tuple[int, ...], ...]:
    """Return the correlated sets of the columns that are left, in their new places."""
    blocks = term.structure.blocks
    changed = [block for block in blocks if place in block and len(block) > 1]
    same = [block for block in blocks if place not in block and len(block) > 1]
    if changed and same and len(changed[0]) > 2:
        raise BayesvError(
            f"{term.group!r} has two sets of correlated effects; without one effect of a set its "
            "correlations have another LKJ prior than those of the other set, which one term does "
            "not state. Fit both models and use bv.compare_models."
        )
    left = (tuple(i - (i > place) for i in block if i != place) for block in blocks)
    return tuple(block for block in left if block)
