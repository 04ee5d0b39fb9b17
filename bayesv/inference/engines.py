"""Which sampler draws, and what stands in where the collapsed one does not fit."""

from __future__ import annotations

from collections.abc import Callable

from bayesv.covariance import VarianceComponents
from bayesv.design.design import Design
from bayesv.errors import DataError, SamplingWarning, warn
from bayesv.formula import ModelFrame
from bayesv.inference.adaptation import ProposalError
from bayesv.inference.bambi import build_bambi, sample_bambi
from bayesv.inference.collapsed import sample_collapsed
from bayesv.inference.density import MarginalDensity
from bayesv.inference.draws import Draws
from bayesv.inference.nuts import sample_nuts
from bayesv.inference.options import NutsOptions
from bayesv.inference.pymc import build_pymc, sample_pymc

__all__ = ["draw"]


def draw(
    engine: str,
    design: Design,
    density: MarginalDensity,
    start: VarianceComponents,
    options: NutsOptions,
    *,
    keep_u: bool,
    frame: Callable[[], ModelFrame],
) -> tuple[Draws, str]:
    """Run an engine; return the draws and the name of the engine that made them.

    Parameters
    ----------
    engine : {"collapsed", "nuts", "pymc", "bambi"}
    design : Design
    density : MarginalDensity
    start : VarianceComponents
        Where to look for the mode.
    options : NutsOptions
    keep_u : bool
        Whether to keep the random effects.
    frame : callable
        The formula with its data, which only Bambi needs.

    Raises
    ------
    DataError
        If V has no parameter.

    Warns
    -----
    SamplingWarning
        If the collapsed engine's proposal does not cover the posterior; NUTS has run instead.
    """
    priors = density.priors
    if not design.terms and design.sigma_is_known:
        raise DataError(
            "There is nothing to sample: R is known and no term is random, so V is known. With "
            "flat priors the posterior of β is normal, with the mean and the covariance of "
            "model.reml().gls."
        )
    if engine == "pymc":
        return sample_pymc(build_pymc(design, priors), priors, options, keep_u), engine
    if engine == "bambi":
        if design.structured_residual is not None:
            raise DataError(
                "engine='bambi' reads draws of one residual SD; bv.to_bambi(model) states several, "
                "if it can. Sample by engine='pymc' or engine='collapsed'."
            )
        built = build_bambi(design, frame(), priors)
        return sample_bambi(built, design, options, keep_u), engine
    if engine == "collapsed":
        try:
            return sample_collapsed(density, start, options, keep_u), engine
        except ProposalError as error:
            warn(
                f"The collapsed engine's proposal does not cover the posterior ({error}); NUTS on "
                "the same density runs instead.",
                SamplingWarning,
            )
    return sample_nuts(density, start, options, keep_u), "nuts"
