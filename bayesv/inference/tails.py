"""How heavy the posterior's tails are: whether it is proper, and which moments exist."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from bayesv.errors import DataError, PriorError
from bayesv.inference.density import MarginalDensity, MarginalLikelihood
from bayesv.linalg import Array
from bayesv.priors.families import Flat
from bayesv.priors.priors import ResolvedPriors

__all__ = ["Tails"]

# Relative SDs, in column units of size 1, between which growth is measured.
_NEAR_SD, _FAR_SD = 1e4, 1e5
_SHRINKS = (1.0, 0.1, 0.01, 0.001)
_WHOLE_RANK = 0.1  # how near a measured rank must be to a whole number
_ENOUGH_POWER = 4.0  # power beyond which a variance has a variance
_MOST_FLAT = 4  # flat SDs of which all subsets are tried
_UNSEEN = 1e-9  # eigenvalue of a level that has no part in a combination, relative to the other
_SAME_COMBINATION = 1e-5  # combinations that are one
_SEEN = 1e-12  # Z_j'WZ_j of a level that has a part in an effect, relative to the largest


_Effect = tuple[int, int]  # term, and column of its prior's basis


@dataclass(frozen=True)
class _Direction:
    """Effects of one term that grow together: a column of roots in the prior's basis."""

    term: int
    weights: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Tails:
    """Powers of the posterior's tails.

    Attributes
    ----------
    density : MarginalDensity

    Notes
    -----
    As the SD τ of one effect grows, the likelihood with u and flat β integrated out falls as τ^−d,
    with d the number of levels that have a part in it less the rank of what X loses within them:
    d = rank [X Z_i] − rank X, X being the columns with a flat prior. A prior that falls as τ^−a
    gives a posterior density like τ^−(1 + e), e = d + a − 1: proper if e > 0, with E[τ^m] < ∞ if
    m < e (Gelman 2006, https://doi.org/10.1214/06-BA117A, is d = J − 1, a = 0). Several flat SDs
    can grow together, with d of all of them; so can the SDs of two correlated effects while a
    combination of them stays bounded, with e = a₁ + a₂ + 2η − 1 + d.
    """

    density: MarginalDensity
    _growth: dict[Any, int] = field(default_factory=dict, init=False)

    def refuse_improper(self) -> None:
        """Raise PriorError if the posterior has no finite integral."""
        for f, term in enumerate(self._terms):
            labels = self._priors.basis(term).labels
            for i, sd in enumerate(term.structure.sd_of_row):
                prior = self._priors.sd[term.group][sd]
                if self.powers[f][i] > 0:
                    continue
                d = self._levels_of((f, i))
                raise PriorError(
                    f"The posterior is improper: the prior {prior} of the SD of {labels[i]!r} in "
                    f"{term.group!r} falls as SD^-{prior.tail:g} only, and of its {term.n_levels} "
                    f"levels {d:g} are left to bound it, after levels without "
                    "a part in it and one for each column of X with a flat prior that is "
                    "constant within levels. Prior and levels together need a power above 1, and "
                    "1 more for each other flat SD. Use HalfNormal or HalfStudentT(3, …)."
                )
        if self.sigma <= 0:
            raise PriorError(
                f"The posterior is improper: σ has the prior {self._priors.sigma}, and there are "
                f"{self.density.stats.n} rows for {self._n_flat_beta} flat fixed effects. Use "
                "HalfNormal or HalfStudentT(3, …)."
            )

    def moments(self, key: tuple[str, str, str, str]) -> float:
        """Return M of a scalar of `bayesv.covariance.quantities`: E|x|^m exists for m < M."""
        scale, group, first, second = key
        if scale == "corr":
            return np.inf
        if scale == "beta":
            return self._of_beta[self._priors.design.fixed_names.index(first)]
        if group == "Residual":
            return self.sigma / (2.0 if scale == "var" else 1.0)
        f = next(f for f, term in enumerate(self._terms) if term.group == group)
        structure, columns = self._terms[f].structure, self._terms[f].columns
        i = columns.index(first) if structure.is_free else self._row_of(f, first)
        if scale == "sd":
            return 2.0 * self._pair(f, i, i)
        return self._pair(f, i, columns.index(second) if second else i)

    def _row_of(self, f: int, label: str) -> int:
        """Return a row that has the standard deviation of a label."""
        structure, columns = self._terms[f].structure, self._terms[f].columns
        sd = structure.sd_labels(columns).index(label)
        return int(np.flatnonzero(structure.sd_of_row == sd)[0])

    @property
    def infinite_mean(self) -> list[str]:
        """Effects whose variance has an infinite mean, so that E[V | y] is infinite."""
        return [
            f"{term.group}: {self._priors.basis(term).labels[i]}"
            for f, term in enumerate(self._terms)
            for i in range(term.n_columns)
            if self.powers[f][i] <= 2
        ]

    @cached_property
    def powers(self) -> list[list[float]]:
        """The power e of every SD, in the prior's basis."""
        powers = []
        for f, term in enumerate(self._terms):
            exponents = []
            for i in range(term.n_columns):
                e = self._tail(f, i) - 1.0 + self._levels_of((f, i))
                for subset in self._flat_subsets:  # that grow with it
                    e = min(e, self._power_of({*subset, (f, i)}))
                exponents.append(e)
            for pair, e in self._combined[f].items():
                for i in pair:
                    exponents[i] = min(exponents[i], e)
            # One SD of several rows is bounded by the levels of each of them.
            shared = term.structure.sd_of_row
            powers.append([max(e for e, k in zip(exponents, shared, strict=True) if k == own)
                           for own in shared])  # fmt: skip
        return powers

    @cached_property
    def sigma(self) -> float:
        """The power e of σ."""
        return self._priors.sigma.tail - 1.0 + self.density.stats.n - self._n_flat_beta

    # --- parts ------------------------------------------------------------------------------------

    @property
    def _priors(self) -> ResolvedPriors:
        return self.density.priors

    @property
    def _terms(self) -> Sequence[Any]:
        return self._priors.design.terms

    @property
    def _n_flat_beta(self) -> int:
        return sum(isinstance(prior, Flat) for prior in self._priors.beta)

    def _tail(self, f: int, i: int) -> float:
        term = self._terms[f]
        return float(self._priors.sd[term.group][term.structure.sd_of_row[i]].tail)

    @cached_property
    def _flat_subsets(self) -> list[frozenset[_Effect]]:
        flat = [
            (f, i)
            for f, term in enumerate(self._terms)
            for i in range(term.n_columns)
            if self._tail(f, i) < 1.0
        ]
        sizes = range(1, len(flat) + 1) if len(flat) <= _MOST_FLAT else (1, 2, len(flat))
        return [frozenset(part) for size in sizes for part in combinations(flat, size)]

    def _column(self, f: int, i: int) -> _Direction:
        return _Direction(f, tuple(np.eye(self._terms[f].n_columns)[i] / self._units(f)))

    def _units(self, f: int) -> Array:
        return self._priors.basis(self._terms[f]).units

    def _power_of(self, effects: Collection[_Effect]) -> float:
        """Return the power of SDs that grow at the same rate."""
        return self._levels_of(*effects) + sum(self._tail(*effect) - 1.0 for effect in effects)

    def _levels_of(self, *effects: _Effect) -> float:
        """Return d of effects that grow together, or a lower bound where that is enough."""
        bound = max(self._seen[f][i] for f, i in effects) - self._n_flat_beta
        if bound > 2.0 * _ENOUGH_POWER + len(effects):
            return float(bound)
        return self._measured(tuple(self._column(f, i) for f, i in sorted(effects)))

    @cached_property
    def _seen(self) -> list[list[int]]:
        """Number of levels that have a part in each effect of the prior's basis."""
        counts: list[list[int]] = [[] for _ in self._terms]
        for f, A in enumerate(self._per_level):
            for i in range(self._terms[f].n_columns):
                size = A[:, i, i]
                counts[f].append(int((size > _SEEN * size.max()).sum()))
        return counts

    @cached_property
    def _per_level(self) -> list[Array]:
        """Z_j'WZ_j of the levels of each term, in the prior's basis and column units, (J, r, r)."""
        stats = self.density.stats
        per_level = []
        for f, term in enumerate(self._terms):
            basis = self._priors.basis(term)
            M = stats.bases[f] @ basis.back / basis.units
            per_level.append(np.einsum("ai,jab,bk->jik", M, stats.squares[f], M))
        return per_level

    @cached_property
    def _combined(self) -> list[dict[tuple[int, int], float]]:
        """Power of two correlated effects that grow while a combination stays bounded, by term."""
        combined: list[dict[tuple[int, int], float]] = []
        for f, term in enumerate(self._terms):
            combined.append({})
            for k, i in zip(*np.nonzero(np.tril(term.structure.mask, -1)), strict=True):
                prior = self._tail(f, i) + self._tail(f, k)
                prior += 2.0 * self._priors.corr[term.group].eta - 1.0
                if prior <= 2.0 * _ENOUGH_POWER:
                    levels = [self._measured((v,)) for v in self._blind(f, i, k)]
                    if levels:
                        combined[f][i, k] = prior + min(levels)
        return combined

    def _blind(self, f: int, i: int, k: int) -> list[_Direction]:
        """Return combinations of two effects that some level has no part in."""
        A = self._per_level[f][:, [i, k]][:, :, [i, k]]
        values, vectors = np.linalg.eigh(A)
        both = vectors[values[:, 0] <= _UNSEEN * values[:, 1], :, 0]
        both = both[(np.abs(both) > _SAME_COMBINATION).all(axis=1)]
        both = both * np.sign(both[:, :1])
        directions = []
        while len(both):
            near = np.abs(both - both[0]).max(axis=1) < _SAME_COMBINATION
            weights = np.zeros(self._terms[f].n_columns)
            weights[[i, k]] = both[near].mean(axis=0)
            directions.append(_Direction(f, tuple(weights / self._units(f))))
            both = both[~near]
        return directions

    def _measured(self, directions: tuple[_Direction, ...]) -> float:
        """Return rank [X Z_S] − rank X of columns Z_S, by how fast log|V| + log|X'V⁻¹X| grows."""
        if directions not in self._growth:
            growth = np.nan
            # A rank is a whole number; where rounding spoils it, smaller SDs have to do.
            for shrink in _SHRINKS:
                near, far = self._criteria(directions, (shrink * _NEAR_SD, shrink * _FAR_SD))[0]
                growth = float((far - near) / np.log(_FAR_SD / _NEAR_SD))
                if abs(growth - np.rint(growth)) < _WHOLE_RANK:
                    break
            else:
                raise DataError(
                    "Whether the posterior is proper cannot be judged: at large SDs of the random "
                    "effects rounding leaves no information on the fixed effects. Centre "
                    "covariates that are far from 0."
                )
            self._growth[directions] = round(growth)
        return float(self._growth[directions])

    def _criteria(
        self, directions: Sequence[_Direction], sizes: Sequence[float]
    ) -> tuple[Array, Array]:
        """Return ½(log|M| + log|S|) of flat β, and the variances of these β, at large SDs."""
        stats = self.density.stats
        lambdas = [np.zeros((len(sizes), t.n_columns, t.n_columns)) for t in self._terms]
        used = dict.fromkeys(range(len(lambdas)), 0)
        for direction in directions:
            back = self._priors.basis(self._terms[direction.term]).back
            root = back @ np.array(direction.weights)
            lambdas[direction.term][:, :, used[direction.term]] = np.outer(sizes, root)
            used[direction.term] += 1
        # Ranks are those at R = σ²I: they do not depend on R, whose parameters are bounded.
        logdet, T = MarginalLikelihood(stats, self._priors.beta).eliminated(lambdas)
        flat = [isinstance(prior, Flat) for prior in self._priors.beta]
        if not any(flat):
            return 0.5 * logdet, np.zeros((len(sizes), 0))
        S = stats.fixed.precision_beta(T[:, : stats.p, : stats.p])[:, flat][:, :, flat]
        sign, logdet_S = np.linalg.slogdet(S)
        known = sign > 0
        variances = np.full((len(sizes), S.shape[-1]), np.inf)
        variances[known] = np.diagonal(np.linalg.inv(S[known]), axis1=1, axis2=2)
        return 0.5 * (logdet + np.where(known, logdet_S, np.nan)), variances

    def _pair(self, f: int, i: int, k: int) -> float:
        """Return M of the covariance of two of the user's effects, or of a variance."""
        back, e = self._priors.basis(self._terms[f]).back, self.powers[f]
        order = np.inf
        for a in map(int, np.flatnonzero(back[i])):
            for b in map(int, np.flatnonzero(back[k])):
                order = min(order, self._product(f, a, b, e))
        return order

    def _product(self, f: int, a: int, b: int, e: Sequence[float]) -> float:
        """Return M of the product of two SDs in the prior's basis: both may grow, or one."""
        if a == b:
            return e[a] / 2.0
        tails = self._tail(f, a) + self._tail(f, b) - 2.0
        both = self._levels_of((f, a), (f, b))
        if self._terms[f].structure.mask[a, b]:  # or at a correlation near 1
            eta = self._priors.corr[self._terms[f].group].eta
            both = min(both, max(self._levels_of((f, a)), self._levels_of((f, b))) + 2.0 * eta)
        combined = self._combined[f].get((min(a, b), max(a, b)), np.inf)
        return min(e[a], e[b], (tails + both) / 2.0, combined / 2.0)

    @cached_property
    def _of_beta(self) -> list[float]:
        """M of every fixed effect: Var(β | V) grows with the SDs of effects on the same levels."""
        flat = [isinstance(prior, Flat) for prior in self._priors.beta]
        moments = np.full(len(flat), np.inf)
        for f, term in enumerate(self._terms):
            for i in range(term.n_columns):
                if self.powers[f][i] > _ENOUGH_POWER or not any(flat):
                    continue
                near, far = self._criteria((self._column(f, i),), (_NEAR_SD, _FAR_SD))[1]
                grows = np.zeros(len(flat), dtype=bool)
                grows[flat] = far > 10.0 * near
                moments[grows] = np.minimum(moments[grows], self.powers[f][i])
        return [float(m) for m in np.minimum(moments, self.sigma)]
