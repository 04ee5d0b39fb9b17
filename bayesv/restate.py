"""The same model, with the same priors, as a PyMC and as a Bambi model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesv.errors import DataError
from bayesv.inference.bambi import build_bambi
from bayesv.inference.density import MarginalDensity
from bayesv.inference.pymc import build_pymc
from bayesv.model import Model
from bayesv.support.arguments import FLAG, a, accepts

if TYPE_CHECKING:
    import bambi
    import pymc

__all__ = ["to_bambi", "to_pymc"]


@accepts(model=a(Model), marginal=FLAG)
def to_pymc(model: Model, marginal: bool = False) -> pymc.Model:
    """Return the model as a PyMC model.

    Parameters
    ----------
    model : Model
    marginal : bool
        False: the model conditional on u and β. True: u and β are integrated out, so that only
        ``sigma``, ``sd_<group>`` and ``chol_<group>`` are left, at a cost per evaluation that does
        not depend on the number of rows.

    Returns
    -------
    pymc.Model
        Conditional on non-centred random effects, with LKJ correlations within a term and labelled
        coords. It can be extended and sampled like any other.
    """
    _refuse_residuals(model)
    if marginal:
        from bayesv.inference.marginal import build_marginal

        return build_marginal(MarginalDensity(model.statistics, model.priors))
    return build_pymc(model.design, model.priors)


@accepts(model=a(Model))
def to_bambi(model: Model) -> bambi.Model:
    """Return the model as a Bambi model with correlated group effects.

    Parameters
    ----------
    model : Model

    Returns
    -------
    bambi.Model
        With the same priors as every other engine, and observed pairs of levels only.

    Raises
    ------
    BayesvError
        For ``var_weights``: Bambi's ``weighted()`` is a power likelihood, not R = σ²/w.
    """
    _refuse_residuals(model)
    return build_bambi(model.design, model.frame, model.priors)


def _refuse_residuals(model: Model) -> None:
    """Refuse residuals with parameters or known σ, which are not stated in these languages yet."""
    if model.design.sigma_is_known:
        raise DataError(
            "A known residual covariance cannot be stated as a PyMC or Bambi model yet: σ would be "
            "drawn there, and it is 1. REML and ML fit it (model.reml())."
        )
    if (form := model.design.parametric_residual) is not None:
        raise DataError(
            f"Residuals {form.describe()} cannot be stated as a PyMC or Bambi model yet. REML and "
            "ML fit them (model.reml()); at its estimates R is known: "
            "bv.Model.from_design(model.design.at(fit.components))."
        )
