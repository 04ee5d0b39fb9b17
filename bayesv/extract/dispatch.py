"""Which reader reads a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bayesv.design import Design
from bayesv.errors import ExtractionError
from bayesv.extract.bambi import extract_bambi
from bayesv.extract.interlace import extract_interlace
from bayesv.extract.mixedlm import extract_mixedlm
from bayesv.extract.pymc import extract_pymc
from bayesv.extract.statsmodels import extract_statsmodels
from bayesv.posterior import Posterior
from bayesv.reml import RemlFit

__all__ = ["extract"]

_POINT_FITS = {
    "statsmodels": extract_statsmodels,
    "mixedlm": extract_mixedlm,
    "interlace": extract_interlace,
}


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
    obj : bambi.Model, or DataTree
        A Bambi model, with the result of its ``fit`` as ``draws``; or draws of a PyMC model, with
        ``design`` and ``names``.
    draws : DataTree, optional
        Result of ``bambi_model.fit()``.
    design : Design, optional
        ``bv.Model(formula, data).design`` of the same data; needed for PyMC draws. For Bambi it
        gives lme4's labels; without it the design is read from the Bambi model.
    names : mapping, optional
        For PyMC draws, the variables to read: ``{"sigma": "sigma", "beta": "beta" or
        ["a", "b"], "<group>": {"cov": "Sigma"}}`` or, for a group, ``{"sd": "tau" or [...],
        "corr": "rho"}``. Left out: the names that ``bv.to_pymc`` uses.
    keep_u : bool
        Whether to keep the random effects of a Bambi model.

    Returns
    -------
    Posterior
        Without priors, which are not read; its ``estimate``, ``summary`` and everything built on V
        work as for bayesv's own draws.

    Raises
    ------
    ExtractionError
        If the model has no V = Z G Z' + R (another family, a modelled sigma, ``weighted()``,
        non-normal group effects), a variable is missing, or labels or shapes do not match.
    """
    package = type(obj).__module__.split(".")[0]
    if package == "bambi":
        return extract_bambi(obj, draws, design, keep_u)
    if package in _POINT_FITS:
        return _POINT_FITS[package](obj, design, names or {})
    tree = obj if draws is None else draws
    if not hasattr(tree, "children") or "posterior" not in tree.children:
        raise ExtractionError(
            "extract takes (bambi model, draws) or draws with a 'posterior' group; found "
            f"{type(obj).__name__}."
        )
    if design is None:
        raise ExtractionError(
            "PyMC draws do not know X and Z: pass design=bv.Model(formula, data).design."
        )
    if not isinstance(design, Design):
        raise ExtractionError(
            f"design must be a bv.Design (model.design), found {type(design).__name__}."
        )
    return extract_pymc(tree, design, names or {})
