"""Point estimates from draws that are positive semi-definite by construction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy  # .optimize is loaded when it is used

from bayesv.covariance import ComponentDraws
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.errors import BayesvError
from bayesv.gram import GramStatistics, eliminate
from bayesv.inference.coordinates import Coordinates
from bayesv.inference.density import MarginalDensity
from bayesv.inference.target import Target
from bayesv.linalg import Array, cov_to_sd_corr, evenly_spaced, psd_root, symmetrize
from bayesv.reml.maps import map_of

__all__ = [
    "ESTIMATES",
    "geometric_median",
    "joint_mode",
    "log_euclidean",
    "medoid",
    "point_estimate",
    "stein",
]

ESTIMATES = ("mean", "median", "mode", "stein", "log_euclidean", "medoid")

_DRAWS_TO_START_FROM = 200
_STEIN_DRAWS = 1000  # over which derivatives of log|V| are averaged
_STEP = 1e-5  # of differences of a Jacobian
_OUTSIDE_VALUE = 1e12  # minus the log density where it cannot be evaluated


def point_estimate(
    values: ComponentDraws, kind: str, stats: GramStatistics | None, density: MarginalDensity | None
) -> ComponentDraws:
    """Return the one point that draws of any shape are summarised by; see `Posterior.estimate`.

    ``stats`` is needed for Stein's loss, ``density`` for the mode.

    Raises
    ------
    BayesvError
        If the mode is asked for and the density is not known.
    """
    design, draws = values.design, values.flat
    if kind == "mode":
        if density is None:
            raise BayesvError(
                "The mode needs the posterior density, and the priors of these draws are not "
                "known. Use 'mean' or 'median'."
            )
        return joint_mode(density, values)
    if kind == "medoid":
        return draws.take(medoid(draws))
    if kind == "stein" and draws.residual is not None:
        raise BayesvError(
            "Stein's loss of V is not minimised where residuals have parameters. Use 'mean', "
            "'log_euclidean' or 'medoid'."
        )
    if kind == "stein" and stats is not None:
        return stein(stats, draws)
    sigma2 = draws.sigma2
    if kind == "mean":
        means = {group: cov.mean(axis=0) for group, cov in draws.covs.items()}
        return _with_residual(ComponentDraws(design, means, sigma2.mean()), draws, kind)
    if kind == "median":
        medians = {group: geometric_median(cov) for group, cov in draws.covs.items()}
        point = _in_families(ComponentDraws(design, medians, np.median(sigma2)))
        return _with_residual(point, draws, kind)
    logs = {group: log_euclidean(cov) for group, cov in draws.covs.items()}
    point = _in_families(ComponentDraws(design, logs, np.exp(np.log(sigma2).mean())))
    return _with_residual(point, draws, kind)


def _with_residual(point: ComponentDraws, draws: ComponentDraws, kind: str) -> ComponentDraws:
    """Return a point with parameters of structured residuals, by the same loss.

    ``mean``: E of the variances, and E of the correlation's natural parameters, which are of the
    family; where any covariance of the visits is, they are those of E[R | y]. ``median``: of
    variances and coordinates. ``log_euclidean``: means of log variances and of coordinates.
    """
    residual, form = draws.residual, draws.design.structured_residual
    if residual is None or form is None:
        return point
    variances = (residual.sds * draws.sigma[:, None]) ** 2
    if kind == "mean":
        if form.by_visit and form.sequential is not None and form.sequential.structure.free_blocks:
            return _mean_of_visits(point, form, residual, draws.sigma2)
        numbers, variances = form.numbers(residual).mean(axis=0), variances.mean(axis=0)
        chosen = form.of_numbers(np.sqrt(variances), numbers)
    else:
        middle = np.median if kind == "median" else np.mean
        of_logs = np.exp(middle(np.log(variances), axis=0))
        z, exponents = middle(residual.z, axis=0), middle(residual.exponents, axis=0)
        chosen = Parameters(np.sqrt(of_logs), z, exponents)
    return _relative(point, chosen)


def _relative(point: ComponentDraws, absolute: Parameters) -> ComponentDraws:
    """Return a point with SDs of residuals in units of the response, and σ² their mean square."""
    sigma2 = float((absolute.sds**2).mean())
    residual = absolute._replace(sds=absolute.sds / np.sqrt(sigma2))
    return replace(point, sigma2=np.asarray(sigma2), residual=residual)


def _mean_of_visits(
    point: ComponentDraws, form: StructuredResidual, residual: Parameters, sigma2: Array
) -> ComponentDraws:
    """Return a point whose R over visits, any covariance, is E[R | y]."""
    assert form.sequential is not None
    structure = form.sequential.structure
    groups = residual.sds.reshape(len(sigma2), form.sequential.n_groups, -1)
    sds = structure.sds(groups) * np.sqrt(sigma2)[:, None, None]
    R = structure.corr(residual.z) * sds[..., :, None] * sds[..., None, :]
    sd, corr = cov_to_sd_corr(R.mean(axis=0))
    z = structure.coordinates(corr)
    return _relative(point, Parameters(structure.free_sds(sd).ravel(), z, np.zeros(0)))


def _in_families(values: ComponentDraws) -> ComponentDraws:
    """Return the nearest values in which each Σ_f is of its term's family.

    Of blocks this takes off what rounding of eigenvectors leaves between them.
    """
    covs = {
        term.group: term.structure.project(values.covs[term.group]) for term in values.design.terms
    }
    return replace(values, covs=covs)


def geometric_median(draws: Array) -> Array:
    """Return the geometric median of drawn matrices, a convex combination of the draws.

    Parameters
    ----------
    draws : ndarray, shape (S, r, r)

    Notes
    -----
    Minimises Σ_s ‖D⁻¹(Σ − Σ_s)D⁻¹‖_F with D = diag of median SDs, by Weiszfeld's iteration with the
    correction of Vardi and Zhang 2000 (https://doi.org/10.1073/pnas.97.4.1423). For r = 1 it is the
    ordinary median.
    """
    if draws.shape[1:] == (1, 1):
        return np.asarray(np.median(draws, axis=0))
    sd = np.median(cov_to_sd_corr(draws)[0], axis=0)
    sd = np.where(sd > 0, sd, 1.0)
    points = (draws / np.outer(sd, sd)).reshape(len(draws), -1)
    center = points.mean(axis=0)
    for _ in range(500):
        distance = np.linalg.norm(points - center, axis=1)
        at = distance < 1e-14
        weights = np.where(at, 0.0, 1.0 / np.where(at, 1.0, distance))
        total = weights.sum()
        if total == 0:
            break
        new = weights @ points / total
        if at.any():
            pull = np.linalg.norm(weights @ (points - center))
            keep = min(1.0, at.sum() / pull) if pull > 0 else 1.0
            new = (1 - keep) * new + keep * center
        done = np.abs(new - center).max() < 1e-12 * max(1.0, np.abs(center).max())
        center = new
        if done:
            break
    return np.asarray(center.reshape(draws.shape[1:]) * np.outer(sd, sd))


def stein(stats: GramStatistics, values: ComponentDraws) -> ComponentDraws:
    """Return the (Σ_f, σ²) whose V minimises the posterior mean of Stein's loss.

    Parameters
    ----------
    stats : GramStatistics
    values : ComponentDraws, shape (S,)

    Notes
    -----
    The loss tr(V_s⁻¹V) − log|V_s⁻¹V| − n is linear in (Σ, σ²) but for log|V|, with coefficients
    that are the derivatives of log|V| at the draws. On Σ_f itself E[Σ_f⁻¹] is infinite under every
    prior that has a density at an SD of 0; on V it is not, because V ≥ R. Where Σ_f has a family,
    V is the best of those of the family.
    """
    design, covs, sigma2 = values.design, list(values.covs.values()), values.sigma2
    start = [cov.mean(axis=0) / sigma2.mean() for cov in covs]
    n, slopes = stats.n, [np.zeros(cov.shape[1:]) for cov in covs]
    by_sigma2 = 0.0
    at = evenly_spaced(len(sigma2), _STEIN_DRAWS)
    roots = values.take(at).relative_roots()
    inverses = [np.linalg.pinv(root) for root in roots]
    for i, s2 in enumerate(sigma2[at]):
        lambdas = [root[i] for root in roots]
        bars = _log_m(stats, lambdas)[1]
        rest = float(n)
        for slope, bar, lam, inverse in zip(slopes, bars, lambdas, inverses, strict=True):
            each = symmetrize(0.5 * bar @ inverse[i])
            slope += each / s2 / len(at)
            rest -= float((each * (lam @ lam.T)).sum())
        by_sigma2 += rest / s2 / len(at)  # log|V| is n log t + log|V| at t times (Σ, σ²)
    maps = [
        map_of(term, np.eye(term.n_columns), np.ones(term.n_columns), n) for term in design.terms
    ]
    splits = np.cumsum([one.size for one in maps])[:-1]

    def objective(x: Array) -> tuple[float, Array]:
        parts, s2 = np.split(x[:-1], splits), float(np.exp(x[-1]))
        lambdas = [one.root(part) for one, part in zip(maps, parts, strict=True)]
        value, bars = _log_m(stats, lambdas)
        inner = by_sigma2 + sum(
            float((slope * (lam @ lam.T)).sum()) for slope, lam in zip(slopes, lambdas, strict=True)
        )
        gradient = [
            one.pullback(part, 2.0 * s2 * slope @ lam - bar)
            for one, part, slope, lam, bar in zip(maps, parts, slopes, lambdas, bars, strict=True)
        ]
        gradient.append(np.array([s2 * inner - n]))
        return (s2 * inner - value - n * x[-1]) / n, np.concatenate(gradient) / n

    x0 = [one.near(psd_root(cov)) for one, cov in zip(maps, start, strict=True)]
    first = np.append(np.concatenate(x0), np.log(sigma2.mean()))
    options = {"gtol": 1e-9}
    found = scipy.optimize.minimize(objective, first, jac=True, method="BFGS", options=options)
    s2 = float(np.exp(found.x[-1]))
    roots = [one.root(part) for one, part in zip(maps, np.split(found.x[:-1], splits), strict=True)]
    best = zip(design.groups, roots, strict=True)
    return ComponentDraws(design, {group: s2 * lam @ lam.T for group, lam in best}, s2)


def _log_m(stats: GramStatistics, lambdas: Sequence[Array]) -> tuple[float, list[Array]]:
    """log|M| and its derivative by each λ, in units of the user's columns."""
    done = eliminate(stats, stats.in_basis(lambdas))
    bars = done.gradient(np.zeros_like(done.T))
    return done.logdet, [b.T @ bar for b, bar in zip(stats.bases, bars, strict=True)]


def log_euclidean(draws: Array) -> Array:
    """Return exp(E log Σ), the mean in the log-Euclidean geometry (Arsigny et al. 2007).

    Parameters
    ----------
    draws : ndarray, shape (S, r, r)

    Notes
    -----
    In units of the median SDs of the columns, because for r > 1 the estimate depends on units.
    """
    scale = np.sqrt(np.median(np.diagonal(draws, axis1=1, axis2=2), axis=0))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(draws / np.outer(scale, scale))
    logs = np.log(np.clip(values, np.finfo(float).tiny, None))
    mean = ((vectors * logs[:, None, :]) @ np.swapaxes(vectors, 1, 2)).mean(axis=0)
    values, vectors = np.linalg.eigh(symmetrize(mean))
    return np.asarray((vectors * np.exp(values)) @ vectors.T * np.outer(scale, scale))


def medoid(values: ComponentDraws) -> int:
    """Return the position of the draw nearest to the medians of all elements of Σ_f and σ².

    Parameters
    ----------
    values : ComponentDraws, shape (S,)
        Elements are taken in units of their own spread.
    """
    total = np.zeros(values.size)
    residual = [] if values.residual is None else [*values.residual]
    for part in (*values.covs.values(), values.sigma2, *residual):
        flat = part.reshape(len(part), -1)
        spread = flat.std(axis=0)
        away = (flat - np.median(flat, axis=0)) / np.where(spread > 0, spread, 1.0)
        total += (away**2).sum(axis=1)
    return int(np.argmin(total))


def joint_mode(density: MarginalDensity, values: ComponentDraws) -> ComponentDraws:
    """Return the maximum of p(SDs, correlations, σ | y), started at the mean of the draws.

    Notes
    -----
    The search runs over unconstrained coordinates, in units of their spread, but no Jacobian
    enters: what it adds to the density is taken off, its slope by differences, for that it costs
    nothing and is smooth. A mode on the boundary is approached, not reached.
    """
    target = Target(density, coordinates=Coordinates.centred(density.priors.design))
    coordinates, log_prior = target.coordinates, target.log_prior
    d, h = coordinates.size, _STEP
    around = np.concatenate([np.zeros((1, d)), h * np.eye(d), -h * np.eye(d)])
    unit = _spread(coordinates, values)

    def objective(z: Array) -> tuple[float, Array]:
        x = z * unit
        value, gradient = target.value_and_gradient(x)
        if not np.isfinite(value):
            return _OUTSIDE_VALUE, np.zeros(d)
        more = log_prior(x + around, jacobian=False) - log_prior(x + around)
        slope = gradient + (more[1 : d + 1] - more[d + 1 :]) / (2.0 * h)
        return -(value + float(more[0])), -slope * unit

    starts = [coordinates.near(point_estimate(values, "mean", None, None))]
    if values.residual is not None:  # its coordinates are many: start at the highest draw, too
        some = values.flat.take(evenly_spaced(values.size, _DRAWS_TO_START_FROM))
        highest = int(np.argmax(density.log_posterior(some)))
        starts.append(coordinates.near(some.take(highest)))
    ends = [
        scipy.optimize.minimize(
            objective,
            start / unit,
            jac=True,
            method="L-BFGS-B",
            # A mode at an SD of 0 or a correlation of ±1 is at infinity here: end near it.
            bounds=[
                ((x - 12.0) / one, (x + 12.0) / one) for x, one in zip(start, unit, strict=True)
            ],
            options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-7},
        )
        for start in starts
    ]
    return coordinates.to_values(unit * min(ends, key=lambda end: float(end.fun)).x)


def _spread(coordinates: Coordinates, values: ComponentDraws) -> Array:
    """Return the SD of each coordinate over draws, shape (d,); 1 where there is none."""
    x = coordinates.from_values(values.flat)
    with np.errstate(invalid="ignore"):
        spread = x.std(axis=0)
    return np.where(np.isfinite(spread) & (spread > 0.0), np.minimum(spread, 1.0), 1.0)
