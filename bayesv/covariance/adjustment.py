"""Kenward and Roger's adjustment of the covariance of β̂ for the estimation of V."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import numpy as np
import pandas as pd

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.frame import Frame, frame_of
from bayesv.covariance.geometry import geometry
from bayesv.covariance.gram_information import gram_information
from bayesv.covariance.identified import Identified, identified
from bayesv.covariance.information import Information
from bayesv.covariance.marginal import MarginalCovariance
from bayesv.covariance.row_information import row_information
from bayesv.covariance.satterthwaite import observed_covariance
from bayesv.covariance.small_sample import Adjustment, KenwardRoger
from bayesv.design.design import Design, DesignSummary, require_rows
from bayesv.errors import BayesvError, ComponentsError, DataError, FitWarning, warn
from bayesv.linalg import Array, symmetrize
from bayesv.support.arguments import FLAG, accepts, choice

__all__ = ["kenward_roger", "refuse_sums", "routed"]

# Variance of the random effects in the rows beside σ², of which 6 digits are left, and none.
_MAX_VARIANCE_RATIO, _LOST_VARIANCE_RATIO = 1e9, 1e14
_ROUNDING = 1e-10


class _Fitted(Protocol):
    """What of a fit is needed."""

    @property
    def design(self) -> Design: ...
    @property
    def components(self) -> VarianceComponents: ...
    @property
    def method(self) -> str: ...


@accepts(information=choice("expected", "observed"), linear=FLAG)
def kenward_roger(
    fit: Design | _Fitted,
    vc: VarianceComponents | None = None,
    *,
    information: str = "expected",
    linear: bool = False,
) -> KenwardRoger:
    """Adjust the covariance of β̂ for the estimation of V, and find degrees of freedom.

    Parameters
    ----------
    fit : RemlFit or Design
        A fit by REML, or a design with its rows; known weights are taken into account.
    vc : VarianceComponents, optional
        With a design: REML estimates. Components by ML cannot be told from them; give the fit.
    information : {"expected", "observed"}
        On the variance parameters: expected, as pbkrtest, or observed, as SAS PROC MIXED and mmrm.
        Satterthwaite's degrees of freedom take the observed one in any case.
    linear : bool
        Whether second derivatives of V by its parameters are left out of the adjustment (SAS's
        FIRSTORDER; its information keeps them); they are 0 unless residuals are structured.
        Parameters are SAS's: ``parameters`` names them.

    Returns
    -------
    KenwardRoger

    Raises
    ------
    DataError
        If there are no fixed effects; if one connected cluster has more than 12,000 random effects
        or, where residuals have parameters, so many rows that V does not fit into memory.

    Warns
    -----
    FitWarning
        If the fit is by ML; if variances depend on a parameter that the data say nothing of, as
        with ``y ~ g + (1 | g)`` (those coefficients have NaN); if the random effects' variances are
        so large beside σ² that digits are lost; if it cannot be told what is identified.

    Notes
    -----
    Parameters θ of V are elements of Σ_f where it may be any covariance, SAS's parameters where it
    is of a family, and those of R. Where R is known up to σ², everything follows from H = Z'V⁻¹Z
    and K = Z'V⁻¹X, cluster by cluster, and their counterparts with V⁻¹W⁻¹V⁻¹ for V⁻¹, in
    coordinates in which nothing cancels: no matrix has as many rows as the data. Elsewhere from the
    rows of clusters, once for those that have the same V. Where the information on θ is singular
    because one V is stated by many θ, as in ``(f || g)`` with a factor f, a g-inverse gives what
    the model without the surplus has. Without a parameter, as with a known R and no random term,
    degrees of freedom are infinite.

    Satterthwaite's degrees of freedom take the curvature of the likelihood by Cholesky factors of
    Σ_f, as lmerTest; at a boundary what lies there adds nothing.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> bv.kenward_roger(model.reml()).df.round(3).to_dict()
    {'Intercept': 5.0}
    >>> bv.kenward_roger(model.design, model.reml().components).df.round(3).to_dict()
    {'Intercept': 5.0}
    """
    design, vc, method = _arguments(fit, vc)
    vc = MarginalCovariance(design, vc).vc  # checked
    if not design.p:
        raise DataError("There are no fixed effects, so there is nothing to adjust.")
    frame = frame_of(design, vc)
    at = routed(frame)
    info = at(None)
    if info.largest > _LOST_VARIANCE_RATIO:
        raise ComponentsError(
            f"The random effects' variance in the rows is {info.largest:.1g} times sigma2: no "
            "digit of a Kenward–Roger adjustment would be left. A residual variance that is next "
            "to 0 says that the random effects reproduce the response; simplify the model."
        )
    known = identified(info, lambda: at([np.zeros_like(v) for v in frame.variances]))
    W = 2.0 * known.inverse(info.projected)
    observed, why = observed_covariance(frame, info, known, method)
    if information == "observed":
        W = observed
    parts = _adjustment(frame, info, known, W, observed, linear)
    names, labels, parameters = design.fixed_names, design.fixed_index, frame.labels
    lost = np.array([parts.loses(row) for row in np.eye(len(names))])
    adjusted = np.where(lost[:, None] | lost, np.nan, parts.adjusted)
    notes = _alarms(info, known, parts, method)
    if lost.any():
        touched = ", ".join(np.array(names)[lost])
        directions = _mapped(frame.to_user, known.directions_lost)
        notes.append(_unknown(_named(directions, parameters), touched))
    for note in notes:
        warn(note, FitWarning)
    aliased = _mapped(frame.to_user, known.directions_aliased)
    if aliased.size:
        notes.append(
            f"{_named(aliased, parameters)} state one V in several ways: single values have no "
            "meaning, and what follows from V (β, its covariance, degrees of freedom) has"
        )
    if why:
        notes.append(why)
    return KenwardRoger(
        cov_plugin=pd.DataFrame(parts.Phi, labels, labels),
        cov=pd.DataFrame(adjusted, labels, labels),
        beta=pd.Series(frame.back @ (frame.start + info.delta) + frame.shift, labels, name="beta"),
        W=symmetrize(frame.to_user @ W @ frame.to_user.T),
        W_observed=symmetrize(frame.to_user @ observed @ frame.to_user.T),
        parameters=parameters,
        theta=frame.theta,
        singular=frame.singular,
        aliased=aliased,
        notes=tuple(notes),
        _parts=parts,
    )


def refuse_sums(design: Design) -> None:
    """Refuse a design that was summed up in batches, and say what needs no rows."""
    require_rows(
        design,
        "Kenward–Roger and Satterthwaite",
        "fit.confint() has normal intervals of β then, bv.lrt(smaller, larger) tests terms, "
        "and post.marginal_means(…), post.contrasts(…) and bv.beta_uncertainty(fit, post) "
        "need no rows.",
    )


def routed(frame: Frame) -> Callable[[Sequence[Array] | None], Information]:
    """Return what makes the sums at variances: without rows where R is known up to σ²."""
    if frame.residual_is_scaled:
        inside = geometry(frame)
        return lambda variances: gram_information(frame, inside, variances)
    return lambda variances: row_information(frame, variances)


def _arguments(fit: Any, vc: Any) -> tuple[Design, VarianceComponents, str]:
    if isinstance(fit, Design | DesignSummary) and isinstance(vc, VarianceComponents):
        return fit, vc, "REML"  # type: ignore[return-value]  # a summary is refused with its reason
    design, components, method = (
        getattr(fit, name, None) for name in ("design", "components", "method")
    )
    if vc is None and isinstance(components, VarianceComponents) and method in ("REML", "ML"):
        refuse_sums(cast(Design, design))
        return design, components, method  # type: ignore[return-value]
    raise BayesvError(
        "kenward_roger takes a REML fit, kenward_roger(fit), or a design with components, "
        f"kenward_roger(design, components); found {type(fit).__name__} and {type(vc).__name__}."
    )


def _adjustment(
    frame: Frame, info: Information, known: Identified, W: Array, observed: Array, linear: bool
) -> Adjustment:
    to = frame.back @ info.Phi

    def users(inside: Array) -> Array:
        return np.asarray(to @ inside @ to.T)

    plug_in = symmetrize(frame.back @ info.Phi @ frame.back.T)
    lost = known.directions_lost
    share = np.sqrt(np.einsum("in,ij,jn->n", lost, info.products, lost))
    lost = lost / np.where(share > 0, share, 1.0)
    squares = [users(info.inner(np.outer(n, n), True)) for n in lost.T]
    return Adjustment(
        Phi=plug_in,
        adjusted=plug_in + 2.0 * symmetrize(users(info.inner(W, linear))),
        slopes=users(info.P),
        W=W,
        W_observed=observed,
        lost_slopes=users(np.einsum("in,iab->nab", lost, info.P)),
        lost_squares=np.array(squares).reshape(-1, *plug_in.shape),
    )


def _mapped(to_user: Array, directions: Array) -> Array:
    """Return directions in the user's parameters, 0 where rounding is all there is."""
    image, size = to_user @ directions, np.abs(to_user) @ np.abs(directions)
    return np.asarray(np.where(np.abs(image) > _ROUNDING * size, image, 0.0))


def _alarms(info: Information, known: Identified, parts: Adjustment, method: str) -> list[str]:
    """Return what makes numbers doubtful."""
    notes = []
    if method == "ML":
        notes.append(
            "Kenward–Roger at ML estimates: its theory is REML's. ML's variances are too small, "
            "and so are these standard errors; fit by REML"
        )
    if known.doubtful:
        notes.append(
            "Kenward–Roger: the information on the variance parameters is so nearly singular that "
            "it cannot be told what is identified; what is nearly not was taken as not"
        )
    unit = np.sqrt(np.diagonal(parts.Phi))
    # Below 0 by more than rounding, which columns far from 0 have next to the intercept.
    if np.linalg.eigvalsh(parts.adjusted / np.outer(unit, unit))[0] < -1e-12:
        notes.append(
            "Kenward–Roger: the adjusted covariance is not positive definite: the data say too "
            "little of the variance parameters for an adjustment to second order. Take "
            "Satterthwaite's degrees of freedom, linear=True, or a V with fewer parameters"
        )
    if info.largest > _MAX_VARIANCE_RATIO:
        digits = max(15.0 - np.log10(info.largest), 0.0)
        notes.append(
            f"Kenward–Roger: the random effects' variance in the rows is {info.largest:.1g} times "
            f"sigma2, so that {digits:.0f} digits or fewer are left"
        )
    return notes


def _unknown(parameters: str, coefficients: str) -> str:
    return (
        f"Kenward–Roger: the data say nothing of {parameters} beside the fixed effects, and the "
        f"variance of {coefficients} depends on it: NaN. Leave out the random effect, or the fixed "
        "effects that stand for the same groups"
    )


def _named(directions: Array, parameters: tuple[str, ...]) -> str:
    """Return the parameters that directions touch."""
    share = np.abs(directions / np.abs(directions).max(axis=0)).max(axis=1)
    return "; ".join(name for name, s in zip(parameters, share, strict=True) if s > 1e-6)
