"""The same model, with the same priors, as a PyMC and as a Bambi model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesv.inference.bambi import build_bambi
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
        not depend on the number of rows unless rows must be kept for structured residuals.

    Returns
    -------
    pymc.Model
        Conditional on non-centred random effects, with LKJ correlations within a term and labelled
        coords. It can be extended and sampled like any other.

    Notes
    -----
    Structured residuals add ``sd_Residual`` (where SDs have labels), ``corr_Residual`` (what the
    printed components call so) and ``exponent_Residual``, all in the labels of the components;
    ``sigma`` is then the root mean square of the labelled SDs. Rows are stated by series: those of
    ``ar1``, ``ad`` and ``car1`` as a chain, others as multivariate normal variables ``y_1``,
    ``y_2``, …, one for all series of so many rows. A known R has no ``sigma``.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Reaction ~ Days + (Days || Subject)", bv.load_dataset("sleepstudy"),
    ...                  residual="ar1(Days | Subject)")
    >>> [variable.name for variable in bv.to_pymc(model).free_RVs]
    ['beta', 'sd_Subject', 'z_Subject', 'sigma', 'chol_Residual_share']
    """
    if marginal:
        from bayesv.inference.marginal import build_marginal

        return build_marginal(model.density)
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
        For ``var_weights`` (Bambi's ``weighted()`` is a power likelihood, not R = σ²/w), for
        correlated residuals and a known R, for families of Σ and for known relationships of levels;
        `to_pymc` states these. Strata, powers and exponentials of ``residual_sd`` are a formula of
        ``sigma``.
    """
    return build_bambi(model.design, model.frame, model.priors)
