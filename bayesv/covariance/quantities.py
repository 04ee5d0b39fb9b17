"""The scalars people read, each with its scale: var, cov, sd, corr and β."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.draws import ComponentDraws
from bayesv.design.design import Design, RandomTerm
from bayesv.design.structured import StructuredResidual
from bayesv.linalg import Array, cov_to_sd_corr

__all__ = ["Quantity", "parameters_of_family", "point_quantities", "quantities"]


@dataclass(frozen=True, eq=False)
class Quantity:
    """One scalar, or its draws.

    Attributes
    ----------
    scale : {"var", "cov", "sd", "corr", "beta"}
    group : str
        Grouping factor, ``"Residual"`` or ``"fixed"``.
    first, second : str
        Coefficients; ``second`` is empty except for covariances and correlations.
    values : ndarray
        Of any leading shape, such as (chain, draw).
    """

    scale: str
    group: str
    first: str
    second: str
    values: Array

    @property
    def label(self) -> str:
        """Text such as ``corr Subject: Intercept, Days``."""
        names = ", ".join(name for name in (self.first, self.second) if name)
        if self.scale == "beta":
            return f"beta {names}"
        return f"{self.scale} {self.group}: {names}" if names else f"{self.scale} {self.group}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What identifies the scalar."""
        return self.scale, self.group, self.first, self.second


def quantities(values: ComponentDraws, *, fixed: bool = True) -> list[Quantity]:
    """Return every scalar of (Σ_f, σ², β), element-wise over leading axes.

    Parameters
    ----------
    values : ComponentDraws
    fixed : bool
        Whether β is among them.
    """
    out: list[Quantity] = []
    for term in values.design.terms:
        cov = values.covs[term.group]
        if not term.structure.is_free:
            out += parameters_of_family(term, cov)
            continue
        sd, corr = cov_to_sd_corr(cov)
        names, group = term.columns, term.group
        pairs = [
            (i, j)
            for j in range(term.n_columns)
            for i in range(j + 1, term.n_columns)
            if term.structure.mask[i, j]
        ]
        out += [Quantity("var", group, a, "", cov[..., i, i]) for i, a in enumerate(names)]
        out += [Quantity("cov", group, names[j], names[i], cov[..., i, j]) for i, j in pairs]
        out += [Quantity("sd", group, a, "", sd[..., i]) for i, a in enumerate(names)]
        out += [Quantity("corr", group, names[j], names[i], corr[..., i, j]) for i, j in pairs]
    if not values.design.sigma_is_known:
        out.append(Quantity("var", "Residual", "", "", values.sigma2))
        out.append(Quantity("sd", "Residual", "", "", values.sigma))
    if values.residual is not None and values.design.structured_residual is not None:
        out += _of_residual(values.design.structured_residual, values)
    if fixed:
        out += [
            Quantity("beta", "fixed", name, "", values.beta[..., j])
            for j, name in enumerate(values.design.fixed_names)
        ]
    return out


def parameters_of_family(term: RandomTerm, cov: Array) -> list[Quantity]:
    """Return the parameters of a term's family: variances, SDs and those of correlations."""
    structure, group = term.structure, term.group
    sd, corr = cov_to_sd_corr(cov)
    free = structure.free_sds(sd)
    eye = np.eye(structure.size, dtype=bool)
    psi = structure.natural(structure.coordinates(np.where(eye, 1.0, corr)))
    unknown = ~np.isfinite(np.where(structure.mask, corr, 0.0)).all(axis=(-2, -1))
    psi = np.where(unknown[..., None], np.nan, psi)
    sds = list(enumerate(structure.sd_labels(term.columns)))
    corrs = enumerate(structure.corr_labels(term.columns))
    return [
        *(Quantity("var", group, label, "", free[..., k] ** 2) for k, label in sds),
        *(Quantity("sd", group, label, "", free[..., k]) for k, label in sds),
        *(Quantity("corr", group, label, "", psi[..., k]) for k, label in corrs),
    ]


def point_quantities(
    design: Design, vc: VarianceComponents, beta: ArrayLike | None = None
) -> list[Quantity]:
    """Return every scalar of one point, with those of structured residuals.

    Parameters
    ----------
    design : Design
    vc : VarianceComponents
    beta : array_like, shape (p,), optional
        In the design's order; β is not among the scalars if left out.
    """
    return quantities(ComponentDraws.with_parameters(design, vc, beta), fixed=beta is not None)


def _of_residual(form: StructuredResidual, values: ComponentDraws) -> list[Quantity]:
    """Return labelled variances and SDs of structured residuals, and what their R depends on."""
    assert values.residual is not None
    sds = values.residual.sds * np.asarray(values.sigma)[..., None]
    numbers = form.numbers(values.residual)
    labelled = list(enumerate(form.sd_labels))
    return [
        *(Quantity("var", "Residual", label, "", sds[..., k] ** 2) for k, label in labelled),
        *(Quantity("sd", "Residual", label, "", sds[..., k]) for k, label in labelled),
        *(
            Quantity("corr", "Residual", label, "", numbers[..., k])
            for k, label in enumerate(form.corr_labels)
        ),
    ]
