"""Which reader reads a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bayesv.design.design import Design
from bayesv.errors import ExtractionError
from bayesv.extract.bambi import extract_bambi
from bayesv.extract.interlace import extract_interlace
from bayesv.extract.mixedlm import extract_mixedlm
from bayesv.extract.point import moved
from bayesv.extract.pymc import extract_pymc
from bayesv.extract.rpy2 import extract_rpy2, r_object
from bayesv.extract.statsmodels import extract_statsmodels
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.support.arguments import a, accepts, optional

__all__ = ["extract"]

_POINT_FITS = {
    "statsmodels": extract_statsmodels,
    "mixedlm": extract_mixedlm,
    "interlace": extract_interlace,
}


@accepts(names=optional(a(Mapping)))
def extract(
    obj: Any,
    draws: Any = None,
    *,
    design: Design | None = None,
    names: Mapping[str, Any] | None = None,
    keep_u: bool = False,
) -> Posterior | RemlFit:
    """Read a Gaussian mixed model that was fitted elsewhere: draws of (Σ_f, σ², β), or estimates.

    Parameters
    ----------
    obj : bambi.Model, DataTree, or a fit
        A Bambi model, with the result of its ``fit`` as ``draws``; draws of a PyMC model, with
        ``design`` and ``names``; or the result of statsmodels' ``MixedLM``, mixedlm's ``lmer`` or
        ``interlace.fit``, a pymer4 model, or a fit of lme4, nlme, glmmTMB, mmrm, metafor, brms or
        rstanarm that rpy2 holds; or a `RemlFit`, to be given another design's labels. For a fit
        that R wrote to a folder see `read_fit`.
    draws : DataTree, optional
        Result of ``bambi_model.fit()``.
    design : Design, optional
        ``bv.Model(formula, data).design`` of the same rows; needed for PyMC draws. For other fits
        it gives the labels; without it the design is read from the fit.
    names : mapping, optional
        For PyMC draws, the variables to read: ``{"sigma": "sigma", "beta": "beta" or
        ["a", "b"], "<group>": {"cov": "Sigma"}}`` or, for a group, ``{"chol": "L"}`` (of
        ``pm.LKJCholeskyCov``), ``{"sd": "tau" or [...], "corr": "rho"}`` or, for ``(x || g)``,
        ``{"sd": …}``; ``sigma2`` for ``sigma``. Left out: the names that ``bv.to_pymc`` uses.
        For estimates, the design's labels of what the fit names otherwise: ``{"x1": "Days",
        "Group": "Subject"}``.
    keep_u : bool
        Whether to keep the random effects of a Bambi model.

    Returns
    -------
    Posterior or RemlFit
        Draws become a `Posterior` without priors, which are not read; REML and ML estimates become
        a `RemlFit` whose ``origin`` is the program. Everything built on V works as for bayesv's
        own, and ``bv.compare`` takes any number of them; ``bv.Model.from_design(fit.design)`` is
        the model to go on with.

    Raises
    ------
    ExtractionError
        If the model has no V = Z G Z' + R of a family here (another distribution, a variance by
        fitted values, a power likelihood, non-normal group effects), something is missing, labels,
        rows or shapes do not match, or the fit's own β̂, cov(β̂) and −2 log L are not those of V at
        its components.

    Warns
    -----
    FitWarning
        If the program says that its fit did not converge.

    Examples
    --------
    >>> import bayesv as bv
    >>> import statsmodels.formula.api as smf
    >>> df = bv.load_dataset("sleepstudy")
    >>> theirs = smf.mixedlm("Reaction ~ Days", df, groups="Subject", re_formula="~Days").fit()
    >>> fit = bv.extract(theirs)
    >>> fit.label
    'REML (statsmodels)'
    >>> fit.components.sd("Subject").round(2).to_dict()
    {'Intercept': 24.74, 'Days': 5.92}
    """
    if design is not None and not isinstance(design, Design):
        raise ExtractionError(
            f"design must be a bv.Design (model.design), found {type(design).__name__}."
        )
    package = type(obj).__module__.split(".")[0]
    if package == "bambi":
        return extract_bambi(obj, draws, design, keep_u)
    if names and design is None:
        raise ExtractionError("names says what a design's labels are in the fit: pass design= too.")
    if package in _POINT_FITS:
        return _POINT_FITS[package](obj, design, names or {})
    if package in ("rpy2", "pymer4"):
        obj = extract_rpy2(obj if package == "rpy2" else r_object(obj))
    if isinstance(obj, RemlFit):
        return obj if design is None else moved(obj, design, names or {})
    if isinstance(obj, Posterior):
        if design is not None:
            raise ExtractionError("A Posterior has its own design; bv.compare matches labels.")
        return obj
    if type(draws).__module__.split(".")[0] == "bambi":
        raise ExtractionError("The model comes first: bv.extract(model, draws).")
    tree = obj if draws is None else draws
    if not hasattr(tree, "children") or "posterior" not in tree.children:
        raise ExtractionError(
            "extract takes (bambi model, draws), draws with a 'posterior' group, or a fit of "
            f"{', '.join(_POINT_FITS)}, pymer4 or rpy2; found {type(obj).__name__} of {package}."
        )
    if design is None:
        raise ExtractionError(
            "PyMC draws do not know X and Z: pass design=bv.Model(formula, data).design."
        )
    return extract_pymc(tree, design, names or {})
