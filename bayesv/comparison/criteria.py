"""Information criteria of REML fits: AIC, BIC and the conditional AIC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import qr

from bayesv.comparison.residual_moves import ResidualMoves, residual_moves
from bayesv.covariance import VarianceComponents
from bayesv.design.design import RandomTerm
from bayesv.linalg import Array
from bayesv.reml import RemlFit
from bayesv.structures import CovarianceStructure

__all__ = ["Criteria", "conditional_aic", "criteria", "n_parameters"]

_STEP = 1e-3  # of a parameter, in units of the variances it is made of
_MOST_PARAMETERS = 16  # of G and R, whose second derivatives are differences
_COLUMNS = 256  # of a matrix of n columns that are solved for at a time
_ZERO_EIGENVALUE = 1e-8  # of Σ over its largest eigenvalue, or over σ²: on the boundary


@dataclass(frozen=True)
class Criteria:
    """Criteria of one REML fit; smaller is better.

    Attributes
    ----------
    n_beta, n_covariance : int
        Number of fixed effects, and of parameters of G and R.
    aic : float
        −2 log restricted likelihood + 2 (fixed effects + parameters of G and R), as lme4.
    bic_rows, bic_clusters : float
        The same with log n in place of 2: n the number of rows (lme4), or of independent clusters
        (SAS); NaN for designs without rows.
    caic : float
        Conditional on the random effects; NaN where it is not defined.
    """

    n_beta: int
    n_covariance: int
    aic: float
    bic_rows: float
    bic_clusters: float
    caic: float


def criteria(fit: RemlFit) -> Criteria:
    """Return the criteria of a REML fit.

    Notes
    -----
    Restricted likelihoods, and so AIC and BIC, compare only with the same X. cAIC is that of Greven
    and Kneib (2010, https://doi.org/10.1093/biomet/asq042), see `conditional_aic`.
    """
    design, k = fit.design, n_parameters(fit)
    n_clusters = len(np.unique(design.clusters)) if design.has_rows else np.nan
    total = design.p + k
    return Criteria(
        design.p,
        k,
        fit.criterion + 2.0 * total,
        fit.criterion + float(np.log(design.n)) * total,
        fit.criterion + float(np.log(n_clusters)) * total,
        conditional_aic(fit),
    )


def n_parameters(fit: RemlFit) -> int:
    """Return the number of parameters of G and R."""
    design = fit.design
    count = sum(term.structure.n_sds + term.structure.n_corrs for term in design.terms)
    if (form := design.parametric_residual) is not None:
        # Where no SD has a label, there is σ.
        return count + max(len(form.sd_labels), 1) + len(form.corr_labels)
    return count + (0 if design.sigma_is_known else 1)


def conditional_aic(fit: RemlFit) -> float:
    """Return −2 log p(y | β̂, û, R̂) + 2 (ρ + k), ρ = Σ ∂ŷ_i/∂y_i with all parameters estimated, too.

    k is the number of parameters of R: 1 for σ²I, 0 if R is known. NaN for terms whose Σ is neither
    free nor diagonal, for very many parameters, for correlations at the end of their range, and for
    designs without rows.

    Notes
    -----
    With r = y − ŷ = RPy and V_j = ∂V/∂θ_j, REML's equation for the scale of R gives
    tr(RP) = r'R⁻¹r, so that ρ for known variances is n − r'R⁻¹r; what estimating them adds is
    tr(H⁻¹ g'∂ŷ/∂θ), with ∂θ̂/∂y = H⁻¹g, g_j = PV_jPy, ∂ŷ/∂θ_j = Rg_j − R_jPy and H the observed
    information. On the boundary Σ keeps its rank: a variance of 0 adds nothing (Greven and Kneib
    2010, section 4). The penalty is E[ŷ'R⁻¹(y − E[y | u])] by Stein's lemma, whatever R is; that R
    is estimated counts as for σ², by its dimension.
    """
    design = fit.design
    if not design.has_rows or any(not _is_free(term.structure) for term in design.terms):
        return np.nan
    moves = residual_moves(design, fit.components)
    directions = _directions(fit)
    if len(directions) + len(moves.changes) > _MOST_PARAMETERS:
        return np.nan
    R = moves.covariance
    Py = fit.gls.V.solve(design.target - design.X @ fit.beta.to_numpy())
    residual = R @ Py
    square = float(residual @ Py)
    log_likelihood = -0.5 * (design.n * np.log(2 * np.pi) + moves.log_det + square)
    noise = square if moves.changes else _trace_of_noise(fit, R)
    changed = [change @ Py for change in moves.changes]
    of_terms = [_times(design.term(d.group), d.change, Py) for d in directions]
    moved = np.array([*of_terms, *changed]).reshape(-1, design.n).T
    g = _projected(fit, moved)
    slopes = R @ g
    if changed:
        slopes[:, -len(changed) :] -= np.column_stack(changed)
    H = _observed(fit, directions, moves)
    if moves.structured and not _is_positive(H):
        return np.nan
    extra = np.trace(np.linalg.solve(H, g.T @ slopes))
    count = len(moves.changes)
    return float(-2.0 * log_likelihood + 2.0 * (design.n - noise + extra + count))


def _is_positive(H: Array) -> bool:
    """Whether the information is that of a maximum inside the range of parameters."""
    sizes = np.diag(H)
    if not (np.isfinite(H).all() and (sizes > 0).all()):
        return False
    scale = np.sqrt(sizes)
    return bool(np.linalg.eigvalsh(H / np.outer(scale, scale))[0] > _ZERO_EIGENVALUE)


def _trace_of_noise(fit: RemlFit, R: Any) -> float:
    """Return tr(RP), some columns at a time."""
    n, total = fit.design.n, 0.0
    for start in range(0, n, _COLUMNS):
        columns = R.tocsc()[:, start : start + _COLUMNS].toarray()
        chosen = np.arange(columns.shape[1])
        total += float(_projected(fit, columns)[start + chosen, chosen].sum())
    return total


@dataclass(frozen=True, eq=False)
class _Direction:
    """A change of one root L of Σ_f = LL', L of as many columns as Σ_f has rank.

    Attributes
    ----------
    group : str
    root, move : ndarray, shape (r, k)
    """

    group: str
    root: Array
    move: Array

    @property
    def change(self) -> Array:
        """Derivative of Σ_f along it, (r, r)."""
        half = self.move @ self.root.T
        return half + half.T


def _is_free(structure: CovarianceStructure) -> bool:
    """Whether every block of Σ may be any covariance."""
    return structure.n_sds == structure.size and set(structure.blocks) == set(structure.free_blocks)


def _directions(fit: RemlFit) -> list[_Direction]:
    """Return independent changes of every Σ_f that keep its rank, sized as its SDs are."""
    directions = []
    for term in fit.design.terms:
        cov = fit.components.block_for(term)
        for block in term.structure.blocks:
            rows = list(block)
            part = cov[np.ix_(rows, rows)]
            unit = fit.sigma2**0.5 / term.rms[rows]
            values, vectors = np.linalg.eigh(part / np.outer(unit, unit))
            kept = values > _ZERO_EIGENVALUE * max(float(values[-1]), 1.0)
            if not kept.any():
                continue
            # Lower trapezoidal after a change of the rows' order: no rotation is left in it.
            half = vectors[:, kept] * np.sqrt(values[kept])
            _, upper, order = qr(half.T, mode="economic", pivoting=True)
            root = np.zeros((len(cov), upper.shape[0]))
            places = np.array(rows)[order]
            root[places] = unit[order][:, None] * upper.T
            for i, j in zip(*np.tril_indices(len(rows), m=upper.shape[0]), strict=True):
                move = np.zeros_like(root)
                move[places[i], j] = unit[order[i]] * np.abs(upper[0, 0])
                directions.append(_Direction(term.group, root, move))
    return directions


def _times(term: RandomTerm, change: Array, v: Array) -> Array:
    """Return Z (K ⊗ change) Z'v of one term, shape (n,)."""
    z, codes = term.values, term.codes
    sums = np.zeros((term.n_levels, z.shape[1]))
    np.add.at(sums, codes, z * v[:, None])
    if term.related is not None:
        sums = term.related.K @ sums
    return np.asarray((z * (sums @ change)[codes]).sum(axis=1))


def _projected(fit: RemlFit, columns: Array) -> Array:
    """Return P times columns, P = V⁻¹ − V⁻¹X(X'V⁻¹X)⁻¹X'V⁻¹."""
    V, X = fit.gls.V, fit.design.X
    solved = V.solve(columns)
    solved_X = V.solve(X)
    return np.asarray(solved - solved_X @ np.linalg.solve(X.T @ solved_X, X.T @ solved))


def _observed(fit: RemlFit, directions: list[_Direction], residual: ResidualMoves) -> Array:
    """Return the observed information by the directions and R's moves, by central differences."""
    k = len(directions)
    steps = np.array([*[_STEP] * k, *residual.steps])
    m = len(steps)

    def criterion(move: Array) -> float:
        blocks = {term.group: fit.components[term.group].copy() for term in fit.design.terms}
        moves: dict[int, tuple[_Direction, Array]] = {}
        for direction, size in zip(directions, move, strict=False):
            first, total = moves.get(id(direction.root), (direction, np.zeros_like(direction.move)))
            moves[id(direction.root)] = first, total + size * direction.move
        for direction, total in moves.values():
            L, moved = direction.root, direction.root + total
            blocks[direction.group] = blocks[direction.group] + moved @ moved.T - L @ L.T
        values, sigma2 = residual.at(move[k:])
        return fit.criterion_at(VarianceComponents(blocks, sigma2, residual=values))

    H, unit = np.empty((m, m)), np.diag(steps)
    centre = criterion(np.zeros(m))
    for i in range(m):
        H[i, i] = criterion(unit[i]) + criterion(-unit[i]) - 2.0 * centre
        for j in range(i):
            mixed = criterion(unit[i] + unit[j]) + criterion(-unit[i] - unit[j])
            mixed -= criterion(unit[i] - unit[j]) + criterion(unit[j] - unit[i])
            H[i, j] = H[j, i] = mixed / 4.0
    return 0.5 * H / np.outer(steps, steps)
