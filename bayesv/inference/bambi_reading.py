"""Read design and draws back from any Gaussian Bambi model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bayesv.covariance import ComponentDraws
from bayesv.design.design import Design, Index, RandomTerm
from bayesv.design.residual import Residual
from bayesv.errors import ExtractionError, FormulaError
from bayesv.formula import parse
from bayesv.formula.scan import quoted
from bayesv.formula.syntax import label
from bayesv.inference.correlated import CorrelatedEffects
from bayesv.inference.draws import Draws
from bayesv.inference.pymc import covariances, sampler_stats
from bayesv.linalg import Array
from bayesv.names import INTERCEPT
from bayesv.structures import CovarianceStructure, of_blocks

__all__ = [
    "BambiFixed",
    "BambiParts",
    "BambiTerm",
    "column_order",
    "draws_from_bambi",
    "read_bambi",
]


@dataclass(frozen=True, eq=False)
class BambiFixed:
    """A fixed term: Bambi's name, its name in the posterior, number of columns."""

    name: str
    posterior: str
    width: int


@dataclass(frozen=True, eq=False)
class BambiTerm:
    """A group-specific term of a Bambi model."""

    name: str
    posterior: str
    sd: str | float
    factor: str
    levels: list[str]
    codes: Index
    values: Array
    labels: list[str]
    coords: tuple[tuple[str, tuple[Any, ...]], ...]
    correlated: CorrelatedEffects | None


@dataclass(frozen=True, eq=False)
class BambiParts:
    """What a Bambi model says about its data: y, X, offset, terms and names in the posterior."""

    formula: str
    response: str
    y: Array
    X: Array
    fixed_names: tuple[str, ...]
    fixed: list[BambiFixed]
    offset: Array | None
    random: list[BambiTerm]
    sigma: str | float
    row_labels: pd.Index = field(repr=False)

    def design(self) -> Design:
        """Return the Design: observed levels only, effects of one factor in one term."""
        by_factor: dict[str, list[BambiTerm]] = {}
        for part in self.random:
            by_factor.setdefault(part.factor, []).append(part)
        terms = []
        for factor, pieces in by_factor.items():
            seen, codes = np.unique(pieces[0].codes, return_inverse=True)
            levels = np.array([str(pieces[0].levels[i]) for i in seen], dtype=object)
            columns = tuple(label for part in pieces for label in part.labels)
            terms.append(
                RandomTerm(
                    group=factor,
                    columns=columns,
                    levels=levels,
                    codes=codes.astype(np.intp),
                    values=np.hstack([part.values for part in pieces]),
                    structure=_structure(pieces),
                )
            )
        n = len(self.y)
        apart = [term.group for term in terms if len(term.structure.blocks) > 1]
        notes = [f"Bambi's effects of {g} are independent, lme4's (… || {g})" for g in apart]
        return Design(
            formula=_in_lme4(self.formula, self.random),
            response=self.response,
            y=self.y,
            X=self.X,
            fixed_names=self.fixed_names,
            terms=tuple(sorted(terms, key=lambda term: -term.n_levels)),
            residual=Residual.of_weights(None, n),
            offset=self.offset,
            rows=np.arange(n),
            row_labels=self.row_labels,
            n_rows_given=n,
            notes=tuple(notes),
        )


def _in_lme4(text: str, random: list[BambiTerm]) -> str:
    """Return Bambi's formula with lme4's ``||`` where it is the same model, else as it is.

    The levels of a categorical column are independent in Bambi and one block in ``(f || g)``.
    """
    if any(part.correlated is not None or len(part.labels) > 1 for part in random):
        return text
    try:
        formula = parse(text)
    except FormulaError:
        return text
    offsets = [f"offset({argument})" for argument in formula.offsets]
    groups = [
        f"({term.lhs} {'|' if term.lhs == '1' else '||'} {':'.join(map(quoted, term.factors))})"
        for term in formula.random
    ]
    return f"{label(formula.response_node)} ~ {' + '.join([formula.fixed, *offsets, *groups])}"


def _structure(parts: list[BambiTerm]) -> CovarianceStructure:
    blocks: dict[str, list[int]] = {}
    start = 0
    for part in parts:
        for i in range(start, start + len(part.labels)):
            key = part.correlated.block if part.correlated else f"{part.name} {i}"
            blocks.setdefault(key, []).append(i)
        start += len(part.labels)
    return of_blocks(blocks.values())


def read_bambi(model: Any) -> BambiParts:
    """Read design and names from a Gaussian Bambi model.

    Raises
    ------
    ExtractionError
        If the model has no V = Z G Z' + R: another family or link, a modelled sigma, weights,
        censoring, group effects that are not normal around 0, or smooth terms.
    """
    from bambi.utils import get_aliased_name

    _check_representable(model)
    component = model.conditional_parameters["mu"]
    y = np.asarray(model.response_term.data, dtype=float).reshape(-1)
    X: list[Array] = []
    names: list[str] = []
    fixed: list[BambiFixed] = []
    if component.intercept_term is not None:
        X.append(np.ones((len(y), 1)))
        names.append(INTERCEPT)
        fixed.append(BambiFixed(INTERCEPT, get_aliased_name(component.intercept_term), 1))
    for term in component.common_terms.values():
        values = np.asarray(term.data, dtype=float).reshape(len(y), -1)
        X.append(values)
        names += [str(label) for label in term.term.labels]
        fixed.append(BambiFixed(term.name, get_aliased_name(term), values.shape[1]))
    # Bambi keeps incomplete rows in model.data; the design has those it used.
    rows = component.design.group.data.index
    offsets = [np.asarray(t.data, float).reshape(-1) for t in component.offset_terms.values()]
    sigma = model.marginal_parameters["sigma"]
    constant = isinstance(sigma.prior, int | float | np.number)
    return BambiParts(
        formula=str(model.formula.main),
        response=str(model.response_term.name),
        y=y,
        X=np.hstack(X) if X else np.empty((len(y), 0)),
        fixed_names=tuple(names),
        fixed=fixed,
        offset=np.sum(offsets, axis=0) if offsets else None,
        random=[_read_term(term, len(y)) for term in component.group_specific_terms.values()],
        sigma=float(sigma.prior) if constant else get_aliased_name(sigma),
        row_labels=rows if len(rows) == len(y) else pd.RangeIndex(len(y)),
    )


def _read_term(term: Any, n: int) -> BambiTerm:
    from bambi.utils import get_aliased_name

    codes = np.asarray(term.group_index, dtype=np.intp)
    values = np.asarray(term.predictor, dtype=float)
    values = np.broadcast_to(
        values.reshape(-1, 1) if values.ndim < 2 else values,
        (n, values.shape[1] if values.ndim == 2 else 1),
    )
    alias = get_aliased_name(term)
    hyper = getattr(term, "hyperprior_alias", {}).get("sigma", "sigma")
    sd = term.prior.args.get("sigma") if term.prior is not None else None
    labels = [INTERCEPT] if term.kind == "intercept" else [str(x) for x in term.term.expr.labels]
    dist = None if term.prior is None else term.prior.dist
    return BambiTerm(
        name=term.name,
        posterior=alias,
        sd=float(sd) if isinstance(sd, int | float | np.number) else f"{alias}_{hyper}",
        factor=term.term.factor.name,
        levels=[str(level) for level in term.groups],
        codes=codes,
        values=np.array(values),
        labels=labels,
        coords=tuple((str(k), tuple(v)) for k, v in term.coords.items()),
        correlated=dist if isinstance(dist, CorrelatedEffects) else None,
    )


def _check_representable(model: Any) -> None:
    def refuse(what: str) -> None:
        raise ExtractionError(f"This Bambi model has no V = Z G Z' + R: {what}.")

    family = model.family
    if family.name != "gaussian":
        refuse(f"its family is {family.name!r}, not gaussian")
    if family.link["mu"].name != "identity":
        refuse(f"its link is {family.link['mu'].name!r}, not identity")
    if "sigma" in model.conditional_parameters:
        refuse("sigma is modelled, so the residual variance differs between rows")
    for kind, reason in (
        ("weighted", "weighted() raises the likelihood to a power, which is not R = σ²/w"),
        ("censored", "the response is censored"),
        ("truncated", "the response is truncated"),
        ("constrained", "the response is constrained"),
    ):
        if getattr(model.response_term, f"is_{kind}", False):
            refuse(reason)
    if getattr(model, "potentials", None):
        refuse("it has potentials, which change the joint distribution")
    component = model.conditional_parameters["mu"]
    if component.hsgp_terms:
        refuse("it has Gaussian-process terms")
    if not component.group_specific_terms:
        refuse("it has no group-specific term")
    for term in component.group_specific_terms.values():
        prior = term.prior
        if prior is None or isinstance(prior.dist, CorrelatedEffects):
            continue
        if prior.dist is not None or prior.name != "Normal":
            refuse(f"the group effects {term.name!r} are {prior.name}, not Normal")
        mean = prior.args.get("mu", 0.0)
        if not isinstance(mean, int | float | np.number | np.ndarray) or np.any(mean != 0):
            refuse(f"the group effects {term.name!r} are not centred at 0")


def draws_from_bambi(parts: BambiParts, trace: Any, design: Design, keep_u: bool) -> Draws:
    """Return draws of (Σ, σ², β) from the trace of a Bambi model, in a design's order.

    Raises
    ------
    ExtractionError
        If the trace lacks a variable, or its labels do not match.
    """
    posterior = _posterior_group(trace)

    def values(name: str) -> Array:
        if name not in posterior:
            raise ExtractionError(
                f"The draws have no variable {name!r}; they have "
                f"{', '.join(map(str, posterior.data_vars))}. Are they of this model?"
            )
        array = posterior[name].transpose("chain", "draw", ...)
        return np.asarray(array.to_numpy(), dtype=float)

    shape = (posterior.sizes["chain"], posterior.sizes["draw"])
    sigma = np.full(shape, parts.sigma) if isinstance(parts.sigma, float) else values(parts.sigma)
    betas = [values(f.posterior).reshape(*shape, f.width) for f in parts.fixed]
    covs: dict[str, Array] = {}
    effects: dict[str, Array] = {}
    for term in design.terms:
        pieces = [part for part in parts.random if term.splits_as(part.codes)]
        if not pieces:
            raise ExtractionError(
                f"The Bambi model has no group effects for {term.group!r}; its factors are "
                f"{', '.join(dict.fromkeys(part.factor for part in parts.random))}."
            )
        sds = [
            np.full((*shape, len(part.labels)), part.sd)
            if isinstance(part.sd, float)
            else values(part.sd).reshape(*shape, -1)
            for part in pieces
        ]
        order = column_order(pieces, term)
        if order is None:
            raise ExtractionError(f"Columns of {term.group!r} differ between draws and design.")
        factors, back = {}, np.eye(term.n_columns)
        for k, block in enumerate(term.structure.blocks):
            linked = [part.correlated for part in pieces if part.correlated is not None]
            names = {c.chol for c in linked if set(c.labels) == {term.columns[i] for i in block}}
            if len(block) > 1:
                if len(names) != 1:
                    raise ExtractionError(
                        f"The Bambi model has no correlation of {term.group!r}: its terms are "
                        "independent. Use the design of '(x || group)', or none."
                    )
                chol = next(iter(names))
                stated = next(c for c in linked if c.chol == chol)
                order_of_block = [stated.labels.index(term.columns[i]) for i in block]
                # A reordered Cholesky factor is still a root of the reordered correlation.
                factors[k] = values(chol)[..., order_of_block, :]
                back[np.ix_(block, block)] = np.array(stated.back)[
                    np.ix_(order_of_block, order_of_block)
                ]
        sd = np.concatenate(sds, axis=-1)[..., order]
        covs[term.group] = covariances(term, sd, factors, back)
        if keep_u:
            effects[term.group] = _effects(pieces, term, posterior)[..., order]
    beta = np.concatenate(betas, axis=-1) if betas else np.empty((*shape, 0))
    parameters = ComponentDraws(design, covs, sigma**2, beta)
    return Draws(parameters, effects, sampler_stats(trace))


def _posterior_group(trace: Any) -> Any:
    if "posterior" not in getattr(trace, "children", ()):
        raise ExtractionError(
            "draws must be what the model's fit() returns, a DataTree with a 'posterior' group; "
            f"found {type(trace).__name__}."
        )
    return trace["posterior"]


def column_order(parts: list[BambiTerm], term: RandomTerm) -> list[int] | None:
    """Positions of the term's columns among Bambi's, compared by value; None if they differ."""
    values = np.hstack([part.values for part in parts])
    order: list[int] = []
    for column in term.values.T:
        matches = [
            i
            for i in range(values.shape[1])
            if i not in order and np.allclose(values[:, i], column, rtol=1e-12)
        ]
        if not matches:
            return None
        order.append(matches[0])
    return order if len(order) == values.shape[1] else None


def _effects(parts: list[BambiTerm], term: RandomTerm, posterior: Any) -> Array:
    """Draws of the effects, (chain, draw, level, column); Bambi varies the order of dims."""
    columns = []
    for part in parts:
        u = posterior[part.posterior]
        level = next(str(dim) for dim in u.dims if str(dim).endswith("factor_dim"))
        values = u.transpose("chain", "draw", level, ...).to_numpy()
        values = values[..., None] if values.ndim == 3 else values
        place = np.empty(term.n_levels, dtype=np.intp)  # of each of our levels among Bambi's
        place[term.codes] = part.codes
        columns.append(values[:, :, place, :])
    return np.concatenate(columns, axis=-1)
