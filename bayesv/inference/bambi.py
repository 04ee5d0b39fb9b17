"""State the model in Bambi with correlated group effects, run it, and read any Bambi model back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bayesv.design import Design, Index, RandomTerm
from bayesv.errors import BayesvError, ExtractionError, require
from bayesv.formula import ModelFrame, left_sides
from bayesv.inference.draws import Draws
from bayesv.inference.pymc import covariances, nuts, pymc_prior, sampler_stats
from bayesv.linalg import Array
from bayesv.names import INTERCEPT
from bayesv.priors import Flat, InverseGamma, Normal, ResolvedPriors

__all__ = ["BambiParts", "build_bambi", "draws_from_bambi", "read_bambi", "sample_bambi"]


# --- stating the model ----------------------------------------------------------------------------


def build_bambi(design: Design, frame: ModelFrame, priors: ResolvedPriors) -> Any:
    """Return the model as a Bambi model with the same priors and the same Z.

    Parameters
    ----------
    design : Design
    frame : ModelFrame
        The formula and the data it was evaluated on.
    priors : ResolvedPriors

    Returns
    -------
    bambi.Model

    Raises
    ------
    BayesvError
        If Bambi cannot state the model: known weights, or another coding of a column.

    Notes
    -----
    An interaction of grouping factors becomes one column of the observed pairs, because Bambi would
    build all products of levels. Correlation within a term is stated through ``Prior(dist=…)``.
    """
    bmb = require("bambi", "bambi")
    if design.weights is not None:
        raise BayesvError(
            "Bambi cannot state known weights: its weighted() raises the likelihood to a power, "
            "which is not R = σ²/w. Use engine='pymc' or to_pymc(model)."
        )
    formula, data = _bambi_formula(design, frame)
    plain = bmb.Model(formula, data, extra_namespace=dict(frame.namespace), auto_scale=False)
    parts = read_bambi(plain)
    if parts.X.shape != design.X.shape or not np.allclose(parts.X, design.X, rtol=1e-12):
        raise BayesvError(
            "Bambi's X differs from the design's: columns were dropped as "
            f"{', '.join(design.aliased) or 'aliased'}. Remove them from the formula."
        )
    stated: dict[str, Any] = {"sigma": _sd_prior(bmb, [priors.sigma])}
    stated |= _beta_priors(bmb, parts, priors)
    for term in design.terms:
        stated |= _group_priors(bmb, term, parts, data, priors)
    return bmb.Model(
        formula,
        data,
        priors=stated,
        extra_namespace=dict(frame.namespace),
        auto_scale=False,
        center_predictors=False,
    )


def _bambi_formula(design: Design, frame: ModelFrame) -> tuple[str, pd.DataFrame]:
    """Return formula and data with one column for each grouping factor."""
    data = frame.data.reset_index(drop=True)
    columns = {}
    for term in design.terms:
        name = term.group
        if ":" in name or pd.api.types.is_numeric_dtype(data[name].dtype):
            name = re.sub(r"\W+", "_", name).strip("_")
            while name in data:
                name += "_"
            data[name] = pd.Categorical.from_codes(
                term.codes, categories=list(term.levels), ordered=True
            )
        columns[term.group] = name
    groups = []
    for text in frame.formula.random:
        group = columns[design.term(text.label).group]
        groups += [f"({side} | {_quoted(group)})" for side in left_sides(text)]
    summands = [frame.formula.fixed, *dict.fromkeys(groups)]
    return f"{frame.formula.response} ~ {' + '.join(summands)}", data


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[^\W\d][\w.]*", name) else f"`{name}`"


def _sd_prior(bmb: Any, priors: Sequence[Any]) -> Any:
    """Return Bambi's prior of one SD or of a vector of SDs."""
    if len({type(p) for p in priors}) == 1 and not isinstance(priors[0], InverseGamma):
        stated = [pymc_prior(p) for p in priors]
        keys = stated[0][1]
        if len(priors) == 1:
            return bmb.Prior(stated[0][0], **keys)
        return bmb.Prior(
            stated[0][0], **{key: np.array([args[key] for _, args in stated]) for key in keys}
        )
    return bmb.Prior("SDs", dist=_MixedSds(tuple(priors)))


@dataclass(frozen=True)
class _MixedSds:
    """SDs whose priors are of several families, or stated for the variance."""

    priors: tuple[Any, ...]

    def __call__(self, name: str, dims: Any = None, **_: Any) -> Any:
        import pymc as pm
        import pytensor.tensor as pt

        parts = []
        for i, prior in enumerate(self.priors):
            family, arguments = pymc_prior(prior)
            value = getattr(pm, family)(f"{name}_{i}", **arguments)
            parts.append(pt.sqrt(value) if isinstance(prior, InverseGamma) else value)
        vector = pt.stack(parts) if dims else parts[0]
        return pm.Deterministic(name, vector, dims=dims)


def _beta_priors(bmb: Any, parts: BambiParts, priors: ResolvedPriors) -> dict[str, Any]:
    stated = {}
    start = 0
    for fixed in parts.fixed:
        own = priors.beta[start : start + fixed.width]
        start += fixed.width
        if all(isinstance(prior, Flat) for prior in own):
            stated[fixed.name] = bmb.Prior("Flat")
        elif any(isinstance(prior, Flat) for prior in own):
            raise BayesvError(
                f"Bambi has one prior for all columns of {fixed.name!r}; give each of them a "
                "normal prior, or none."
            )
        else:
            normal = [prior for prior in own if isinstance(prior, Normal)]
            mu, sd = np.array([p.mean for p in normal]), np.array([p.sd for p in normal])
            one = fixed.width == 1
            stated[fixed.name] = bmb.Prior(
                "Normal", mu=float(mu[0]) if one else mu, sigma=float(sd[0]) if one else sd
            )
    return stated


def _group_priors(
    bmb: Any, term: RandomTerm, parts: BambiParts, data: pd.DataFrame, priors: ResolvedPriors
) -> dict[str, Any]:
    """Priors of the Bambi terms that make up one random term."""
    own = [
        part for part in parts.random if part.factor == term.group or _same_levels(part, term, data)
    ]
    places: dict[str, list[int]] = {}
    taken: set[int] = set()
    for part in own:
        places[part.name] = []
        for column in part.values.T:
            found = [
                i
                for i in range(term.n_columns)
                if i not in taken and np.allclose(column, term.values[:, i], rtol=1e-12)
            ]
            if not found or not np.array_equal(part.codes, term.codes):
                raise BayesvError(
                    f"Bambi codes the columns of '{part.name}' differently from lme4 (it has "
                    f"{', '.join(part.labels)}; needed are {', '.join(term.columns)}). Write the "
                    "columns as one term, or use engine='pymc'."
                )
            taken.add(found[0])
            places[part.name].append(found[0])
    if len(taken) < term.n_columns:
        raise BayesvError(f"Bambi lacks columns of {term.group!r}; use engine='pymc'.")
    stated = {}
    sds = priors.sd[term.group]
    for k, block in enumerate(term.blocks):
        members = [part for part in own if set(places[part.name]) <= set(block)]
        order = [column for part in members for column in places[part.name]]
        start = 0
        for part in members:
            hyper = _sd_prior(bmb, [sds[i] for i in places[part.name]])
            if len(block) == 1:
                stated[part.name] = bmb.Prior("Normal", mu=0, sigma=hyper)
                continue
            effects = CorrelatedEffects(
                block=term.group if len(term.blocks) == 1 else f"{term.group}_{k}",
                terms=tuple((p.name, len(places[p.name])) for p in members),
                start=start,
                labels=tuple(term.columns[i] for i in order),
                eta=priors.corr[term.group].eta,
            )
            stated[part.name] = bmb.Prior(
                "CorrelatedNormal", dist=effects, noncentered=False, sigma=hyper
            )
            start += len(places[part.name])
    return stated


def _same_levels(part: BambiTerm, term: RandomTerm, data: pd.DataFrame) -> bool:
    """Whether a Bambi term's factor is the column made for this grouping factor."""
    column = data.get(part.factor)
    return (
        column is not None
        and isinstance(column.dtype, pd.CategoricalDtype)
        and len(column.cat.categories) == term.n_levels
        and np.array_equal(column.cat.codes.to_numpy(), term.codes)
    )


@dataclass(frozen=True)
class CorrelatedEffects:
    """Group effects of one Bambi term, correlated with those of its siblings.

    Bambi calls it as ``dist(name, sigma=…, dims=…)`` when it builds the term. Siblings share one
    Cholesky factor L of the correlation matrix and each other's standard normal offsets, both found
    by name in the PyMC model that is being built: u_i = σ_i Σ_{j ≤ i} L_ij z_j.

    Attributes
    ----------
    block : str
        Name of the correlated block; L is ``<block>_chol``.
    terms : tuple of (str, int)
        Bambi's names of the block's terms, in the order in which they are built, and their widths.
    start : int
        Position of this term's first column in the block.
    labels : tuple of str
        Names of the block's columns.
    eta : float
        Of the LKJ prior.
    """

    block: str
    terms: tuple[tuple[str, int], ...]
    start: int
    labels: tuple[str, ...]
    eta: float

    @property
    def chol(self) -> str:
        """Name of the Cholesky factor."""
        return f"{self.block}_chol"

    def __call__(self, name: str, sigma: Any, dims: Any = None, **_: Any) -> Any:
        import pymc as pm
        import pytensor.tensor as pt

        model = pm.modelcontext(None)
        if self.chol not in model.named_vars:
            axes = (f"{self.block}_coef", f"{self.block}_coef_bis")
            model.add_coords({axis: list(self.labels) for axis in axes})
            L = pm.LKJCorr(self.chol, n=len(self.labels), eta=self.eta, dims=axes)
            pm.Deterministic(f"{self.block}_corr", L @ L.T, dims=axes)
        L = model.named_vars[self.chol]
        offsets: list[Any] = []
        start = 0
        for term, width in self.terms:
            if start > self.start:
                break
            own = f"{term}_offset"
            z = model.named_vars[own] if start < self.start else pm.Normal(own, 0, 1, dims=dims)
            offsets += [z] if z.ndim == 1 else [z[:, i] for i in range(width)]
            start += width
        columns = [
            sum(L[i, j] * offsets[j] for j in range(i + 1)) for i in range(self.start, len(offsets))
        ]
        if len(dims) == 1:
            return pm.Deterministic(name, sigma * columns[0], dims=dims)
        return pm.Deterministic(name, pt.stack(columns, axis=1) * sigma, dims=dims)


def sample_bambi(
    model: Any,
    design: Design,
    *,
    draws: int,
    tune: int,
    chains: int,
    cores: int | None,
    seed: int | None,
    target_accept: float,
    progressbar: bool,
    keep_u: bool,
) -> Draws:
    """Run NUTS on a model made by `build_bambi`."""
    trace, attrs = nuts(
        model.fit,
        draws=draws,
        tune=tune,
        chains=chains,
        cores=cores,
        random_seed=seed,
        target_accept=target_accept,
        progressbar=progressbar,
        inference_method=_method(model),
    )
    result = draws_from_bambi(read_bambi(model), trace, design, keep_u)
    return Draws(
        result.covs,
        result.sigma2,
        result.beta,
        result.u,
        result.sample_stats,
        {**attrs, "bambi_version": require("bambi", "bambi").__version__, "seed": str(seed)},
    )


def _method(model: Any) -> str:
    """Nutpie where it is installed; it cannot name a dim with a comma, such as of poly(x, 2)."""
    try:
        import nutpie  # noqa: F401
    except ImportError:
        return "pymc"
    model.build()
    return "pymc" if any("," in dim for dim in model.backend.model.coords) else "nutpie"


# --- reading a model back -------------------------------------------------------------------------


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
        for factor, own in by_factor.items():
            seen, codes = np.unique(own[0].codes, return_inverse=True)
            levels = np.array([str(own[0].levels[i]) for i in seen], dtype=object)
            columns = tuple(label for part in own for label in part.labels)
            terms.append(
                RandomTerm(
                    group=factor,
                    columns=columns,
                    levels=levels,
                    codes=codes.astype(np.intp),
                    values=np.hstack([part.values for part in own]),
                    blocks=_blocks(own),
                )
            )
        n = len(self.y)
        return Design(
            formula=self.formula,
            response=self.response,
            y=self.y,
            X=self.X,
            fixed_names=self.fixed_names,
            terms=tuple(sorted(terms, key=lambda term: -term.n_levels)),
            weights=None,
            offset=self.offset,
            rows=np.arange(n),
            row_labels=self.row_labels,
            n_rows_given=n,
        )


def _blocks(parts: list[BambiTerm]) -> tuple[tuple[int, ...], ...]:
    blocks: dict[str, list[int]] = {}
    start = 0
    for part in parts:
        for i in range(start, start + len(part.labels)):
            key = part.correlated.block if part.correlated else f"{part.name} {i}"
            blocks.setdefault(key, []).append(i)
        start += len(part.labels)
    return tuple(tuple(block) for block in blocks.values())


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
    posterior = trace["posterior"]

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
        own = [part for part in parts.random if _belongs(part, term)]
        sds = [
            np.full((*shape, len(part.labels)), part.sd)
            if isinstance(part.sd, float)
            else values(part.sd).reshape(*shape, -1)
            for part in own
        ]
        order = _column_order(own, term)
        factors = {}
        for k, block in enumerate(term.blocks):
            linked = [part.correlated for part in own if part.correlated is not None]
            names = {c.chol for c in linked if set(c.labels) == {term.columns[i] for i in block}}
            if len(block) > 1:
                if len(names) != 1:
                    raise ExtractionError(f"No correlation of {term.group!r} in the draws.")
                chol = next(iter(names))
                labels = next(c.labels for c in linked if c.chol == chol)
                at = [labels.index(term.columns[i]) for i in block]
                # A reordered Cholesky factor is still a root of the reordered correlation.
                factors[k] = values(chol)[..., at, :]
        sd = np.concatenate(sds, axis=-1)[..., order]
        covs[term.group] = covariances(term, sd, factors)
        if keep_u:
            effects[term.group] = _effects(own, posterior)[..., order]
    beta = np.concatenate(betas, axis=-1) if betas else np.empty((*shape, 0))
    return Draws(covs, sigma**2, beta, effects, sampler_stats(trace))


def _belongs(part: BambiTerm, term: RandomTerm) -> bool:
    _, codes = np.unique(part.codes, return_inverse=True)
    same = np.array_equal(codes, np.unique(term.codes, return_inverse=True)[1])
    return same and len(np.unique(part.codes)) == term.n_levels


def _column_order(parts: list[BambiTerm], term: RandomTerm) -> list[int]:
    """Positions of the term's columns among Bambi's, compared by value."""
    values = np.hstack([part.values for part in parts])
    order: list[int] = []
    for column in term.values.T:
        found = [
            i
            for i in range(values.shape[1])
            if i not in order and np.allclose(values[:, i], column, rtol=1e-12)
        ]
        if not found:
            raise ExtractionError(f"Columns of {term.group!r} differ between draws and design.")
        order.append(found[0])
    return order


def _effects(parts: list[BambiTerm], posterior: Any) -> Array:
    """Draws of the effects, (chain, draw, level, column); Bambi varies the order of dims."""
    columns = []
    for part in parts:
        u = posterior[part.posterior]
        level = next(str(dim) for dim in u.dims if str(dim).endswith("factor_dim"))
        values = u.transpose("chain", "draw", level, ...).to_numpy()
        values = values[..., None] if values.ndim == 3 else values
        columns.append(values[:, :, np.unique(part.codes), :])
    return np.concatenate(columns, axis=-1)
