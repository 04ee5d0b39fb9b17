"""Do draws, design and V belong together? Identities that hold for every Gaussian mixed model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import gammainc

from bayesv.covariance import ComponentDraws, MarginalCovariance
from bayesv.design.design import RandomTerm
from bayesv.errors import BayesvError
from bayesv.gram import draw_effects
from bayesv.inference.density import MarginalDensity, MarginalLikelihood
from bayesv.inference.score import (
    Score,
    positions,
    posterior_score,
    prior_score,
    sd_positions,
)
from bayesv.linalg import Array, evenly_spaced
from bayesv.posterior.effects import gls_draws
from bayesv.posterior.zero_means import Row, family
from bayesv.support.shown import Part, Shown

__all__ = ["Coherence", "coherence", "fails_score"]

_LEAST = 8  # draws a chain
_SCORES = 4000  # draws at which the gradient is computed
_SCORES_LOOK = 200  # as many where a look is enough, and at which large designs are held against u
_SCORES_LARGE = 48  # as many where each takes a large dense factorisation
_DRAWS_OF_U = 400  # held against their conditional mean, which then sees small errors
_DRAWS_OF_U_LARGE = 100  # as many where rows and random effects are more than _LARGE
_LARGE = 20_000
_FAR = 1e100  # coordinates of what is at the boundary
_ROUNDING = 1e-3  # error of a log SD by rounding, above which gradients are not compared
_SINGULAR = 1e-12  # smallest eigenvalue of a correlation matrix that is inverted


@dataclass(frozen=True, eq=False, repr=False)
class Coherence(Shown):
    """Result of the coherence check.

    Attributes
    ----------
    table : DataFrame
        One line per identity and scalar: identity, scalar, value (0 where the identity holds),
        mcse, z, passed.
    notes : tuple of str
        What could not be checked, and what was assumed.
    """

    table: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every identity holds within Monte Carlo error."""
        return bool(self.table["passed"].all())

    def _shown(self) -> Iterator[Part]:
        yield f"Coherence check: {'passed' if self.passed else 'FAILED'}"
        for identity, rows in self.table.groupby("identity", sort=False):
            worst = rows.loc[rows["z"].abs().idxmax()]
            state = "pass" if rows["passed"].all() else "FAIL"
            yield (
                f"  {state}  {identity}: largest |z| {abs(worst['z']):.1f} of {len(rows)} "
                f"({worst['scalar']})"
            )
        yield from (f"  note: {note}" for note in self.notes)


def coherence(
    likelihood: MarginalLikelihood,
    values: ComponentDraws,
    u: Mapping[str, Array],
    draws_of_u: int | None,
) -> Coherence:
    """Hold draws against what (design, priors) say they must be.

    Parameters
    ----------
    likelihood : MarginalLikelihood
        Of the draws; a `MarginalDensity` where their priors are known.
    values : ComponentDraws, shape (chain, draw)
    u : mapping of group to ndarray, shape (chain, draw, J, r)
        Draws of the random effects; empty if they were not kept.
    draws_of_u : int
        At how many draws, evenly spaced, u is held against its conditional moments; None: 400, or
        100 where rows and effects are more than 20,000.

    Raises
    ------
    BayesvError
        If there are fewer than 8 draws a chain.

    Notes
    -----
    Given (Σ, σ²), (β − β̂)'Φ⁻¹(β − β̂) has mean p and each element, over its conditional variance,
    mean 1; given β as well, u has mean û = G Z'V⁻¹(y − Xβ) and its deviations the second moments of
    u's exact draws. With θ = (log SDs, Fisher's z of partial correlations, log σ) and known priors,
    E[∇ log p(θ | y)] = 0, E[(θ − c)∇'log p(θ | y)] = −I, and the same gradient given u is 0 on
    average along the scale of each Σ_f and of σ². Monte Carlo errors are those of each series
    itself, so that autocorrelation is accounted for; limits are Student's with its effective size.
    """
    design = values.design
    if values.shape[1] < _LEAST:
        raise BayesvError(
            f"{values.shape[1]} draws a chain are too few to check; at least {_LEAST} are needed."
        )
    notes: list[str] = []
    rows = _that_vary(values)
    rows += _of_beta(values, likelihood)
    if isinstance(likelihood, MarginalDensity):
        large = likelihood.stats.large_border
        score, of_score = _of_score(likelihood, values, _SCORES_LARGE if large else _SCORES)
        if score.rounding > _ROUNDING:
            notes.append(
                "covariates are so far from 0 that draws of Σ, rounded, do not hold its SDs at "
                "their mean; the score is not computed (centre the covariates)"
            )
        rows += of_score
        if u and values.residual is not None:
            notes.append("residuals have parameters: the score given u is not computed")
        elif u and design.has_rows and of_score:
            rows += _given_u(values, u, likelihood, _SCORES_LOOK if large else _SCORES, notes)
        if score.n_outside:
            notes.append(
                f"{score.n_outside} of {score.position.shape[0]} draws are on the boundary or so "
                "far out that the density cannot be evaluated; the score counts them as 0"
            )
    else:
        notes.append(
            "the priors are not known: that of β is taken to be flat; Σ and σ² are tested through "
            f"β{' and u' if u else ''} alone, and may be off by a factor that moves "
            f"{'these' if u else 'it'} little"
        )
    if u and design.has_rows:
        large = design.n + design.q > _LARGE
        number = draws_of_u or (_DRAWS_OF_U_LARGE if large else _DRAWS_OF_U)
        rows += _of_u(likelihood, values, u, number)
    elif u:
        notes.append("the rows were not kept, so that u is not checked")
    else:
        notes.append("u was not kept (keep_u=True), so that its labels are not checked")
    table = pd.DataFrame(rows, columns=["identity", "scalar", "value", "mcse", "z", "passed"])
    return Coherence(table, tuple(notes))


def _that_vary(values: ComponentDraws) -> list[Row]:
    """Test that no variance is the same in all draws: it would not be drawn, but plugged in."""
    variances = {
        f"var {term.group}: {column}": values.covs[term.group][..., i, i]
        for term in values.design.terms
        for i, column in enumerate(term.columns)
    }
    rows: list[Row] = []
    if not values.design.sigma_is_known:
        variances["var Residual"] = values.sigma2
    if values.residual is not None and values.design.structured_residual is not None:
        numbers = values.design.structured_residual.numbers(values.residual)
        for k, label in enumerate(values.design.structured_residual.corr_labels):
            variances[f"corr Residual: {label}"] = numbers[..., k]
    for name, x in variances.items():
        varies = bool(np.ptp(x) > 0)
        rows.append(
            ("Σ and σ² vary", name, 0.0 if varies else 1.0, 0.0, 0.0 if varies else np.inf, varies)
        )
    return rows


def _of_beta(values: ComponentDraws, likelihood: MarginalLikelihood) -> list[Row]:
    names = list(values.design.fixed_names)
    if not names:
        return []
    center, cov = (
        x.reshape(*values.shape, *x.shape[1:]) for x in gls_draws(values.flat, likelihood)
    )
    away = values.beta - center
    sd = np.sqrt(np.diagonal(cov, axis1=-2, axis2=-1))
    unit = np.linalg.solve(np.linalg.cholesky(cov), away[..., None])[..., 0]
    pooled = (unit**2).mean(axis=-1, keepdims=True)
    square = np.concatenate([(away / sd) ** 2, pooled], axis=-1) - 1.0
    return [
        *family("mean of β − β̂(V)", names, away),
        *family("variance of β given V", [*names, "all together"], square),
    ]


def fails_score(density: MarginalDensity, values: ComponentDraws) -> bool:
    """Whether draws, shape (chain, draw), are not from the density: by a part of them.

    A test of E[∇ log p] = 0 and E[(θ − c)∇'log p] = −I with gradients at some draws.
    """
    most = _SCORES_LARGE if density.stats.large_border else _SCORES_LOOK
    return not all(row[-1] for row in _of_score(density, values, most)[1])


def _step(values: ComponentDraws, most: int) -> int:
    """Return every how many draws of each chain are ``most`` in all."""
    return max(1, -(-values.size // most))


def _of_score(
    density: MarginalDensity, values: ComponentDraws, most: int
) -> tuple[Score, list[Row]]:
    """Test E[∇ log p] = 0, also along the scale of each Σ, and E[(θ − c)∇'log p] = −I.

    Gradients are computed at ``most`` draws. Of all others stands the gradient −C⁻¹(θ − c) of a
    normal density of the same mean c and covariance C, and the gradients say how far this is off:
    the mean of f is that of f at normal gradients over all draws, and of the difference over some.
    """
    step = _step(values, most)
    some = values.every(step)
    score = posterior_score(density, some.flat)
    if score.rounding > _ROUNDING:
        return score, []
    names, d = list(score.names), len(score.names)
    sds = sd_positions(density.priors.design)
    several = {group: at for group, at in sds.items() if len(at) > 1}
    pairs = [f"{a} × {b}" if a != b else a for a in names for b in names]
    labels = [*names, *(f"scale of Σ {group}" for group in several)]
    x = score.position if step == 1 else positions(density, values.flat)
    if np.abs(x).max() > _FAR:  # an SD of 0 has no normal density near it
        x, step = score.position, 1
    center = x.mean(axis=0)

    def moments(away: Array, gradient: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        scales = [gradient[:, at].sum(axis=1) for at in several.values()]
        slopes = np.column_stack([gradient, *scales])
        products = away[:, :, None] * gradient[:, None, :]
        return slopes.reshape(*shape, -1), products.reshape(*shape, d * d)

    away, gradient, one = score.position - center, score.gradient, np.eye(d).ravel()
    titles = "score E[∇ log p(θ | y)]", "spread E[(θ − c)∇'log p(θ | y)] + I"
    if step == 1:
        slopes, products = moments(away, gradient, some.shape)
        rows = family(titles[0], labels, slopes)
        return score, rows + family(titles[1], pairs, products + one)
    precision = np.linalg.pinv(np.cov(x.T).reshape(d, d), hermitian=True)
    normal = moments(x - center, -(x - center) @ precision, values.shape)
    slopes, products = moments(away, gradient + away @ precision, some.shape)
    rows = family(titles[0], labels, slopes, normal[0], step)
    return score, rows + family(titles[1], pairs, products, normal[1] + one, step)


def _given_u(
    values: ComponentDraws,
    u: Mapping[str, Array],
    density: MarginalDensity,
    most: int,
    notes: list[str],
) -> list[Row]:
    """Test derivatives of log p(Σ, σ | u, β, y) along the scale of each Σ_f and by log σ."""
    names, columns, step = [], [], _step(values, most)
    values = values.every(step)
    design, draws = values.design, values.flat
    of_prior = prior_score(density, draws)
    residual = design.target - draws.beta @ design.X.T
    for term in design.terms:
        effects = _flat(u[term.group][:, ::step])
        residual = residual - np.einsum("sij,ij->si", effects[:, term.codes], term.values)
        square = _mahalanobis(draws.covs[term.group], _independent(term, effects))
        n_effects = term.n_independent * term.n_columns
        singular = np.isnan(square)
        if singular.mean() > 1e-3:
            notes.append(f"Σ of {term.group} is singular in some draws; given u it is not checked")
            continue
        square[singular] = n_effects  # what it is on average
        prior = of_prior[:, sd_positions(design)[term.group]].sum(axis=1)
        names.append(f"scale of Σ {term.group}")
        columns.append(square - n_effects + prior)
    squares = (design.residual.whiten(residual.T) ** 2).sum(axis=0) / draws.sigma2
    names.append("log sd Residual")
    columns.append(squares - design.n + of_prior[:, -1])
    x = np.column_stack(columns).reshape(*values.shape, -1)
    return family("score given u, E[∇ log p(θ | u, β, y)]", names, x)


def _of_u(
    likelihood: MarginalLikelihood,
    values: ComponentDraws,
    u: Mapping[str, Array],
    draws_of_u: int,
) -> list[Row]:
    """Mean of u − û, and second moments of u − û less those of exact draws of u."""
    design, draws = values.design, values.flat
    u = {group: _flat(x) for group, x in u.items()}
    rng = np.random.default_rng(0)
    labels = [": ".join(map(str, label)) for label in design.effect_labels]
    gaps, moments, shares = [], [], []
    for s in evenly_spaced(draws.size, draws_of_u):
        point = draws.take(s)
        vc = point.components()
        V = MarginalCovariance(design, vc)
        expected = V.G @ (design.Z.T @ V.solve(design.target - design.X @ point.beta))
        stats, known = likelihood.statistics(point), next(point.reshape(1).known())
        gamma, lambdas = stats.fixed.to_gamma(point.beta), point.relative_roots()
        exact = draw_effects(
            stats, stats.in_basis(lambdas), float(point.sigma), gamma, rng, moments=False
        ).u
        gaps.append(np.concatenate([u[t.group][s].ravel() for t in design.terms]) - expected)
        moments.append(_second_moments(point, gaps[-1], exact, expected))
        shares.append(_share_nearer(known, gaps[-1]))
    names = [
        f"{term.group}: {term.columns[i]} × {term.columns[j]}"
        for term in design.terms
        for i, j in zip(*np.tril_indices(term.n_columns), strict=True)
    ]
    share = np.array(shares)
    share = share[~np.isnan(share)]  # whether it is NaN depends on Σ alone: the rest is uniform
    # Bounded, so that one far draw cannot hide what all others say.
    uniform = np.column_stack([2.0 * share - 1.0, 2.0 * np.abs(2.0 * share - 1.0) - 1.0])
    return [
        *family("mean of u − E[u | β, V, y]", labels, np.array(gaps)[None]),
        *family("second moments of u given (β, V, y)", names, np.array(moments)[None]),
        *family("distance of u from E[u | β, V, y]", ["location", "spread"], uniform[None]),
    ]


def _share_nearer(point: ComponentDraws, gap: Array) -> float:
    """Return which share of exact draws would be nearer to û: uniform on (0, 1).

    The distance (u − û)'Q(u − û), Q = Z'R⁻¹Z + G⁻¹ the precision of u given (β, V, y), is χ² with q
    degrees of freedom. NaN where Σ is singular.
    """
    design = point.design
    distance = float((design.residual.whiten(design.Z @ gap) ** 2).sum() / point.sigma2)
    start = 0
    for term in design.terms:
        stop = start + term.n_effects
        levels = _independent(term, gap[start:stop].reshape(1, term.n_levels, term.n_columns))
        distance += float(_mahalanobis(point.covs[term.group][None], levels)[0])
        start = stop
    degrees = design.Z_independent.shape[1]
    return float(gammainc(0.5 * degrees, 0.5 * distance))


def _independent(term: RandomTerm, u: Array) -> Array:
    """Return what stands for levels in effects u, shape (S, J, r), as independent effects."""
    return u if term.related is None else np.asarray(term.related.root.inverse @ u)


def _mahalanobis(cov: Array, u: Array) -> Array:
    """Return Σ_j u_j'Σ⁻¹u_j of covariances (S, r, r) and effects (S, J, r); NaN where singular."""
    sd = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    safe = np.where(sd > 0, sd, 1.0)
    corr = cov / (safe[:, :, None] * safe[:, None, :])
    singular = np.linalg.eigvalsh(corr)[:, 0] < _SINGULAR
    corr[singular] = np.eye(cov.shape[-1])
    z = u / safe[:, None, :]
    square = np.einsum("sja,sab,sjb->s", z, np.linalg.inv(corr), z)
    return np.where(singular, np.nan, square)


def _second_moments(
    point: ComponentDraws, gap: Array, exact: list[Array], expected: Array
) -> Array:
    """Sum products of deviations over levels, drawn less exact, in units of Σ's SDs."""
    parts, start = [], 0
    for term, draw in zip(point.design.terms, exact, strict=True):
        stop = start + term.n_effects
        shape = (term.n_levels, term.n_columns)
        ours, theirs = gap[start:stop].reshape(shape), draw - expected[start:stop].reshape(shape)
        sd = np.sqrt(np.diagonal(point.covs[term.group]))
        scale = np.where(sd > 0, sd, 1.0)
        ours, theirs = ours / scale, theirs / scale
        parts.append((ours.T @ ours - theirs.T @ theirs)[np.tril_indices(term.n_columns)])
        start = stop
    return np.concatenate(parts)


def _flat(x: Array) -> Array:
    """All chains in one."""
    return x.reshape(-1, *x.shape[2:])
