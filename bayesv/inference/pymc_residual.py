"""The parameters of structured residuals as PyMC variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesv.design.structured import StructuredResidual
from bayesv.inference.pymc_families import FamilyVariables, family_variables
from bayesv.inference.pymc_priors import prior_vector, sd_scalar
from bayesv.priors.residual import ResidualPriors

__all__ = ["ResidualVariables", "residual_coords", "residual_variables"]


@dataclass(frozen=True, eq=False)
class ResidualVariables:
    """Parameters of structured residuals in the PyMC model that is being built.

    Attributes
    ----------
    form : StructuredResidual
    sds : tensor, shape (k,)
        Labelled standard deviations, or the one that all rows have, in units of the response.
    families : tuple of FamilyVariables
        Of each group that has parameters of its own; none where rows are uncorrelated.
    exponents : tuple
        Of powers and exponentials of covariates.
    """

    form: StructuredResidual
    sds: Any
    families: tuple[FamilyVariables, ...]
    exponents: tuple[Any, ...]

    @property
    def row_sds(self) -> Any:
        """Standard deviation of each row, shape (n,)."""
        import pytensor.tensor as pt

        scale = self.sds[self.form.sd_codes]
        for exponent, power in zip(self.exponents, self.form.scales.powers, strict=True):
            scale = scale * pt.exp(exponent * power.log_x)
        known = self.form.known
        return scale if known is None else scale / np.sqrt(known)

    @property
    def z(self) -> Any:
        """Coordinates of the correlations, shape (groups, m)."""
        import pytensor.tensor as pt

        if not self.families or not self.families[0].structure.n_corrs:
            return pt.zeros((len(self.families), 0))
        return pt.stack([pt.stack(family.z) for family in self.families])


def residual_coords(priors: ResidualPriors) -> dict[str, list[str]]:
    """Return coordinates: labels of SDs, of what the correlations depend on, and of exponents."""
    form = priors.form
    exponents = list(form.scales.exponent_labels)
    coords = {
        "Residual_sd": list(form.sd_labels),
        "Residual_corr": list(form.corr_labels[: len(form.corr_labels) - len(exponents)]),
        "Residual_exponent": exponents,
    }
    return {name: labels for name, labels in coords.items() if labels}


def residual_variables(priors: ResidualPriors) -> ResidualVariables:
    """Create the variables of structured residuals in the model that is being built.

    ``sd_Residual`` (where SDs have labels) and ``sigma``, their root mean square; ``corr_Residual``
    (what the printed components call correlations), made of ``chol_Residual…``, see
    `family_variables`; ``exponent_Residual``. With exponents the free SDs are those at the mean of
    the covariates, ``…_at_mean``, which priors speak of.
    """
    import pymc as pm
    import pytensor.tensor as pt

    form = priors.form
    exponents: tuple[Any, ...] = ()
    if priors.exponents:
        stated = prior_vector("exponent_Residual", priors.exponents, "Residual_exponent", "Flat")
        exponents = tuple(stated[k] for k in range(len(priors.exponents)))
    end = "_at_mean" if exponents else ""
    if form.sd_labels:
        sds = prior_vector(f"sd_Residual{end}", priors.sds, "Residual_sd", flat="HalfFlat")
    else:
        sds = pt.atleast_1d(sd_scalar(f"sigma{end}", priors.sds[0]))
    if exponents:
        pairs = zip(exponents, form.scales.powers, strict=True)
        sds = sds * pt.exp(-sum(exponent * power.log_x.mean() for exponent, power in pairs))
    if form.sd_labels:
        if exponents:
            sds = pm.Deterministic("sd_Residual", sds, dims="Residual_sd")
        pm.Deterministic("sigma", pt.sqrt((sds**2).mean()))
    elif exponents:
        pm.Deterministic("sigma", sds[0])
    return ResidualVariables(form, sds, _families(priors), exponents)


def _families(priors: ResidualPriors) -> tuple[FamilyVariables, ...]:
    import pymc as pm
    import pytensor.tensor as pt

    structure, part = priors.structure, priors.form.sequential
    if structure is None or part is None:
        return ()
    names = [f"chol_Residual_{group}" for group in part.series.groups] or ["chol_Residual"]
    families = tuple(family_variables(name, structure, priors.eta) for name in names)
    if structure.n_corrs:
        natural = [value for family in families for value in family.natural]
        pm.Deterministic("corr_Residual", pt.stack(natural), dims="Residual_corr")
    return families
