"""State the model in PyMC, and run NUTS on it."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.design.design import Design, Index, RandomTerm
from bayesv.design.structured import Parameters
from bayesv.errors import require
from bayesv.inference.completeness import require_all_draws
from bayesv.inference.draws import Draws
from bayesv.inference.options import NutsOptions
from bayesv.inference.pymc_families import correlation_root
from bayesv.inference.pymc_likelihood import observe
from bayesv.inference.pymc_priors import prior_vector, sd_scalar
from bayesv.inference.pymc_residual import ResidualVariables, residual_coords, residual_variables
from bayesv.linalg import Array
from bayesv.priors.priors import ResolvedPriors
from bayesv.structures import CovarianceStructure
from bayesv.support.memory import refuse_unless
from bayesv.support.process import Shared

__all__ = [
    "build_pymc",
    "drawn_residual",
    "group_root",
    "model_coords",
    "nuts",
    "sample_pymc",
    "scale_variables",
]


_COPIES = 3  # of the root of a relationship: dense, in the model, and compiled


def build_pymc(design: Design, priors: ResolvedPriors) -> Any:
    """Return the conditional model as a PyMC model.

    Parameters
    ----------
    design : Design
    priors : ResolvedPriors

    Returns
    -------
    pymc.Model
        Free variables ``beta``, ``sigma``, and per group ``sd_<group>``, ``z_<group>`` (standard
        normal offsets) and ``chol_<group>`` (Cholesky factor of the correlation matrix; of families
        with parameters it is derived from ``chol_<group>_share``, the place of each within its
        range, and ``sd`` has one element for each SD of the family); ``u_<group>`` is derived.
        Random effects are not centred: u = z (A⁻¹ diag(sd) L)', where A is that of `Basis`: ``sd``
        and ``chol`` are of the effects that the priors speak of, which ``sd``'s coordinates name.
        ``cov_<group>``, of the columns as written, is derived where these differ. Of residuals see
        `residual_variables` and `observe`; a known R has no ``sigma``.
    """
    pm = require("pymc", "pymc")
    coords = model_coords(priors) | {"coef": list(design.fixed_names)}
    coords |= {f"{term.group}_level": list(term.levels) for term in design.terms}
    with pm.Model(coords=coords) as model:
        mean = np.zeros(design.n) if design.offset is None else design.offset
        if design.p:
            beta = prior_vector("beta", priors.beta, "coef", flat="Flat")
            mean = mean + pm.math.dot(design.X, beta)
        for term in design.terms:
            u = _effects(term, priors)
            if term.n_columns == 1:
                effect = u[term.codes, 0]
                constant = (term.values == 1.0).all()
                mean = mean + (effect if constant else effect * term.values[:, 0])
            else:
                mean = mean + (u[term.codes] * term.values).sum(axis=-1)
        observe(design, mean, *scale_variables(priors))
    return model


def _effects(term: RandomTerm, priors: ResolvedPriors) -> Any:
    import pymc as pm
    import pytensor.tensor as pt

    dims = (f"{term.group}_level", f"{term.group}_coef")
    root, sd = group_root(term, priors)
    if term.related is None:
        z = pm.Normal(f"z_{term.group}", 0.0, 1.0, dims=dims)
    else:  # u = (L ⊗ λ)z of a known relationship LL'
        shape = (term.n_independent, term.n_columns)
        z = pm.Normal(f"z_{term.group}", 0.0, 1.0, shape=shape)
    u = pt.dot(z, root.T) if term.structure.n_corrs else z * sd
    if term.related is not None:
        root = term.related.root.matrix
        refuse_unless(
            8.0 * _COPIES * float(np.prod(root.shape)),
            f"The root of the relationship of {root.shape[0]:,} levels of {term.group!r}",
            "Take bv.to_pymc(model, marginal=True), which has no effects of levels, or "
            "engine='collapsed'.",
        )
        u = pt.dot(root.toarray(), u)
    return pm.Deterministic(f"u_{term.group}", u, dims=dims)


def model_coords(priors: ResolvedPriors) -> dict[str, Any]:
    """Return coordinates of SDs and correlations.

    Of the columns of every term twice, because Σ_f has two axes; of residuals with a structure.
    """
    coords: dict[str, Any] = {} if priors.residual is None else residual_coords(priors.residual)
    coords |= {
        f"{term.group}_{name}": list(term.columns)
        for term in priors.design.terms
        for name in ("coef", "coef_bis")
    }
    coords |= {
        f"{term.group}_sd": list(term.structure.sd_labels(term.columns))
        for term in priors.design.terms
        if term.structure.n_sds < term.n_columns
    }
    return coords | {
        f"{term.group}_centred": list(priors.basis(term).labels)
        for term in priors.design.terms
        if priors.basis(term).centred
    }


def group_root(term: RandomTerm, priors: ResolvedPriors) -> tuple[Any, Any]:
    """Create the variables of one Σ_f; return its root A⁻¹ diag(sd) L, shape (r, r), and sd."""
    import pymc as pm
    import pytensor.tensor as pt

    basis = priors.basis(term)
    structure = term.structure
    dim = f"{term.group}_{'centred' if basis.centred else 'coef'}"
    if structure.n_sds < term.n_columns:
        dim = f"{term.group}_sd"
    sd = prior_vector(f"sd_{term.group}", priors.sd[term.group], dim, flat="HalfFlat")
    if structure.n_sds < term.n_columns:
        sd = sd[structure.sd_of_row]
    L = pt.eye(term.n_columns)
    for k, (rows, part) in correlated_parts(term).items():
        eta, name = priors.corr[term.group].eta, chol_name(term, k)
        factor = correlation_root(name, part, eta)
        whole = part.size == term.n_columns
        L = factor if whole else pt.set_subtensor(L[rows[:, None], rows], factor)
    if not basis.centred:
        return sd[:, None] * L, sd
    root = pt.dot(basis.back, sd[:, None] * L)
    dims = (f"{term.group}_coef", f"{term.group}_coef_bis")
    pm.Deterministic(f"cov_{term.group}", pt.dot(root, root.T), dims=dims)
    return root, sd


def scale_variables(priors: ResolvedPriors) -> tuple[Any, ResidualVariables | None]:
    """Create what R depends on in the model that is being built: σ, 1 if it is known; the rest."""
    if priors.design.sigma_is_known:
        return 1.0, None
    if priors.residual is None:
        return sd_scalar("sigma", priors.sigma), None
    residual = residual_variables(priors.residual)
    return residual.sds[0], residual


def chol_name(term: RandomTerm, k: int) -> str:
    """Name of the Cholesky factor of the correlations of a term's k-th part."""
    return f"chol_{term.group}" if len(term.structure.parts) == 1 else f"chol_{term.group}_{k}"


def correlated_parts(term: RandomTerm) -> dict[int, tuple[Index, CovarianceStructure]]:
    """Return rows and family of each part of a term that has correlations, by its position."""
    return {
        k: (np.array(rows), part)
        for k, (rows, part) in enumerate(term.structure.parts)
        if part.n_corrs
    }


def sample_pymc(model: Any, priors: ResolvedPriors, options: NutsOptions, keep_u: bool) -> Draws:
    """Run NUTS on a model made by `build_pymc`."""
    design = priors.design
    names = scale_names(design) + ["beta"] * bool(design.p)
    for term in design.terms:
        names.append(f"sd_{term.group}")
        names += [chol_name(term, k) for k in correlated_parts(term)]
        names += [f"u_{term.group}"] * keep_u
    pm = require("pymc", "pymc")
    with model:
        trace, attrs = nuts(pm.sample, options, var_names=names)
    posterior = trace["posterior"]

    def values(name: str) -> Array:
        return np.asarray(posterior[name].transpose("chain", "draw", ...).to_numpy(), dtype=float)

    covs, u = {}, {}
    for term in design.terms:
        factors = {k: values(chol_name(term, k)) for k in correlated_parts(term)}
        back = priors.basis(term).back
        sds = term.structure.sds(values(f"sd_{term.group}"))
        covs[term.group] = covariances(term, sds, factors, back)
        if keep_u:
            u[term.group] = values(f"u_{term.group}")
    shape = (posterior.sizes["chain"], posterior.sizes["draw"])
    sigma2 = np.ones(shape) if design.sigma_is_known else values("sigma") ** 2
    beta = values("beta") if design.p else np.empty((*shape, 0))
    residual = drawn_residual(design, sigma2, values)
    parameters = ComponentDraws(design, covs, sigma2, beta, residual)
    return Draws(parameters, u, sampler_stats(trace), attrs)


def scale_names(design: Design) -> list[str]:
    """Return the variables of R that draws are made of."""
    if design.sigma_is_known:
        return []
    if (form := design.structured_residual) is None:
        return ["sigma"]
    has_corrs = form.sequential is not None and form.sequential.structure.n_corrs > 0
    names = {
        "sd_Residual": bool(form.sd_labels),
        "corr_Residual": has_corrs,
        "exponent_Residual": bool(form.scales.powers),
    }
    return ["sigma", *(name for name, there in names.items() if there)]


def drawn_residual(
    design: Design, sigma2: Array, values: Callable[[str], Array]
) -> Parameters | None:
    """Return draws of the parameters of structured residuals, with SDs over σ."""
    if (form := design.structured_residual) is None:
        return None
    names = scale_names(design)
    sds = values("sd_Residual") if "sd_Residual" in names else np.sqrt(sigma2)[..., None]
    parts = [values(name) for name in ("corr_Residual", "exponent_Residual") if name in names]
    numbers = np.concatenate([*parts, np.empty((*sigma2.shape, 0))], axis=-1)
    return form.of_numbers(sds / np.sqrt(sigma2)[..., None], numbers)


def covariances(
    term: RandomTerm, sd: Array, factors: Mapping[int, Array], back: Array | None = None
) -> Array:
    """Return draws of Σ_f from SDs (…, r) and the correlation factor of each correlated part.

    ``back`` is A⁻¹ if these are of effects of another basis.
    """
    r = term.n_columns
    root = np.zeros((*sd.shape[:-1], r, r))
    root[..., np.arange(r), np.arange(r)] = 1.0
    for k, L in factors.items():
        rows = np.array(term.structure.parts[k][0])
        root[..., rows[:, None], rows[None, :]] = L
    root = root * sd[..., :, None]
    root = root if back is None else back @ root
    return np.asarray(root @ np.swapaxes(root, -1, -2))


def sampler_stats(trace: Any) -> dict[str, Array]:
    """Return the statistics of the sampler that have one number a draw."""
    if "sample_stats" not in trace.children:
        return {}
    stats = trace["sample_stats"].to_dataset()
    return {
        str(name): values.transpose("chain", "draw").to_numpy()
        for name, values in stats.data_vars.items()
        if set(values.dims) == {"chain", "draw"}
    }


def nuts(run: Any, options: NutsOptions, **arguments: Any) -> tuple[Any, dict[str, Any]]:
    """Call a NUTS runner quietly; return its trace and facts about the run.

    Their convergence warnings are silenced because `Posterior` says the same once, with names.
    """
    import pymc

    started = time.perf_counter()
    with _QUIET:
        trace = run(**options.arguments(), **arguments)
    require_all_draws(trace["posterior"], options)
    return trace, {
        "pymc_version": pymc.__version__,
        "seconds": round(time.perf_counter() - started, 3),
        "seed": "none" if options.seed is None else str(options.seed),
    }


def _silence() -> Callable[[], None]:
    """Silence warnings and PyMC's loggers; return what undoes it."""
    stack = ExitStack()
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    for name in ("pymc", "pymc.sampling", "pymc.stats.convergence"):
        logger = logging.getLogger(name)
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)
    return stack.close


_QUIET = Shared(_silence)  # filters and loggers are the process's
