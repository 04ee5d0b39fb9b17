"""The posterior of V for chosen rows: entries, correlations and components."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bayesv.covariance import ComponentDraws
from bayesv.design.design import Design, DesignSummary
from bayesv.design.parametric import rows_of_level
from bayesv.design.structured import StructuredResidual
from bayesv.errors import BayesvError, DataError
from bayesv.formula.new_residuals import continued
from bayesv.formula.new_rows import NewRows, new_rows
from bayesv.linalg import Array
from bayesv.posterior.labelled import array
from bayesv.support.arguments import NUMBER, PROBABILITY, accepts, whole
from bayesv.support.shown import Part, Shown, Table

if TYPE_CHECKING:
    import xarray

__all__ = ["PosteriorV", "v_of_rows"]

_ALL = slice(None)
_MOST_ROWS = 2_000
_MOST_SHOWN = 12
_AT_ONCE = 2e7  # numbers of draws of V in memory


def v_of_rows(
    values: ComponentDraws,
    group: str | None,
    level: object,
    *,
    rows: ArrayLike | None,
    newdata: pd.DataFrame | None,
    weights: str | None,
) -> PosteriorV:
    """Return the posterior of V of a cluster, of chosen rows or of new ones; see `Posterior.V`."""
    design = values.design
    if sum(choice is not None for choice in (group, rows, newdata)) != 1:
        raise BayesvError(
            "Say which rows of V: post.V(group, level), post.V(rows=[…]) or post.V(newdata=…)."
        )
    if group is not None and not design.has_rows:
        newdata, weights = cast(DesignSummary, design).rows_of(group, level)
    if newdata is not None:
        new, places = new_rows(design, newdata, weights), None
        if (form := design.structured_residual) is not None:
            known = None if weights is None else new.residual.weights
            joint = continued(form, newdata, known).joint
            places = Places(joint, form.n + np.arange(new.n))
        return PosteriorV(new, values, np.arange(new.n), places)
    _ = design.row_labels  # a design without rows says here that it has none
    if group is not None:
        return _fitted(values, rows_of_level(design, group, level))
    positions = np.asarray(rows)
    if positions.ndim != 1 or not np.issubdtype(positions.dtype, np.integer) or not len(positions):
        raise DataError(f"rows must be a list of integers; found {rows!r}.")
    if positions.min() < -design.n or positions.max() >= design.n:
        raise DataError(f"rows must be below {design.n}; found {positions.max()}.")
    return _fitted(values, positions % design.n)


class Places(NamedTuple):
    """Structured residuals, and the positions in them of some rows."""

    form: StructuredResidual
    positions: NDArray[np.intp]


def _fitted(values: ComponentDraws, positions: NDArray[np.intp]) -> PosteriorV:
    """Return the posterior of V of fitted rows."""
    form = values.design.structured_residual
    places = None if form is None else Places(form, positions)
    return PosteriorV(values.design, values, positions, places)


@dataclass(frozen=True, eq=False, repr=False)
class PosteriorV(Shown):
    """Posterior of the marginal covariance of some rows; computed when it is asked for.

    V = Σ_f Z_f (K_f ⊗ Σ_f) Z_f' + σ² diag(1/w) is linear in (Σ, σ²), so that its posterior
    mean and SDs are exact functions of the means and covariances of the draws.

    Attributes
    ----------
    design : Design or NewRows
    values : ComponentDraws, shape (chain, draw)
    positions : ndarray of int, shape (m,)
        The rows, as positions among the design's.
    places : Places or None
        Of the rows among structured residuals.
    """

    design: Design | NewRows
    values: ComponentDraws
    positions: NDArray[np.intp]
    places: Places | None = None

    @property
    def labels(self) -> list[Any]:
        """The user's labels of the rows."""
        return list(self.design.row_labels[self.positions])

    @cached_property
    def _parts(self) -> list[tuple[str, Array]]:
        """V of each component per unit of (Σ_f element, σ²): (name, (elements, m, m))."""
        m = len(self.positions)
        if m > _MOST_ROWS:
            raise DataError(
                f"{m} rows are too many for a dense posterior of V ({_MOST_ROWS}). Choose rows or "
                "a cluster; E[V | y] of all rows is "
                "bv.MarginalCovariance(post.design, post.estimate('mean')).to_sparse()."
            )
        parts = []
        for term in self.design.terms:
            z, codes = term.values[self.positions], term.codes[self.positions]
            shared = term.shared(codes[:, None], codes)
            parts.append((term.group, np.einsum("ia,jb,ij->abij", z, z, shared).reshape(-1, m, m)))
        if self.places is not None:
            return parts
        return [*parts, ("Residual", self.design.residual.block(self.positions)[None])]

    @cached_property
    def _theta(self) -> list[Array]:
        """Draws that the parts are multiplied by, shapes (S, elements)."""
        values, S = self.values, self.values.size
        covs = [cov.reshape(S, -1) for cov in values.covs.values()]
        return covs if self.places is not None else [*covs, values.sigma2.reshape(S, 1)]

    def _at(self, keep: Any, rows: slice = _ALL) -> Array:
        """Return V at some of the draws, (S, m, m), or some of its rows."""
        total = self._residual(keep)[:, rows]
        for theta, (_, part) in zip(self._theta, self._parts, strict=True):
            total = total + np.tensordot(theta[keep], part[:, rows], 1)
        return np.asarray(total)

    def _residual(self, keep: Any) -> Array:
        """Return R of structured residuals at some of the draws, (S, m, m); 0 of others."""
        m, flat = len(self.positions), self.values.flat.take(keep)
        if self.places is None:
            return np.zeros((1, m, m))
        form, positions = self.places
        fitted = self.values.design.structured_residual
        if flat.residual is None or fitted is None:
            raise BayesvError("These draws say nothing of the parameters of the residuals.")
        parameters = form.of_numbers(flat.residual.sds, fitted.numbers(flat.residual))
        R = form.covariance(parameters, positions[None])[:, 0]
        return np.asarray(flat.sigma2[:, None, None] * R)

    def _batches(self) -> Iterator[NDArray[np.intp]]:
        """Yield positions of draws of which V is in memory at a time."""
        step = max(1, int(_AT_ONCE / max(1, len(self.positions) ** 2)))
        return (
            np.arange(a, min(a + step, self.values.size)) for a in range(0, self.values.size, step)
        )

    # --- moments ----------------------------------------------------------------------------------

    def mean(self) -> pd.DataFrame:
        """Return E[V | y], shape (m, m)."""
        if self.places is not None:
            totals = [self._at(keep).sum(axis=0) for keep in self._batches()]
            return self._frame(np.asarray(np.sum(totals, axis=0) / self.values.size))
        total = sum(
            np.tensordot(theta.mean(axis=0), part, 1)
            for theta, (_, part) in zip(self._theta, self._parts, strict=True)
        )
        return self._frame(np.asarray(total))

    def sd(self) -> pd.DataFrame:
        """Return the posterior SD of every element of V, shape (m, m)."""
        if self.places is not None:
            mean, squares = self.mean().to_numpy(), 0.0
            for keep in self._batches():
                squares = squares + ((self._at(keep) - mean) ** 2).sum(axis=0)
            return self._frame(np.sqrt(squares / (self.values.size - 1)))
        theta = np.concatenate(self._theta, axis=1)
        parts = np.concatenate([part for _, part in self._parts])
        covariance = np.atleast_2d(np.cov(theta.T))
        variance = np.einsum("aij,ab,bij->ij", parts, covariance, parts, optimize=True)
        return self._frame(np.sqrt(np.clip(variance, 0.0, None)))

    @accepts(q=NUMBER)
    def quantile(self, q: float) -> pd.DataFrame:
        """Return a posterior quantile of every element of V, shape (m, m)."""
        if not 0 <= q <= 1:
            raise BayesvError(f"q is a probability; found {q!r}.")
        m = len(self.positions)
        quantiles = np.empty((m, m))
        step = max(1, int(_AT_ONCE / (max(m, 1) * self.values.size)))
        for start in range(0, m, step):
            rows = slice(start, start + step)
            quantiles[rows] = np.quantile(self._at(slice(None), rows), q, axis=0)
        return self._frame(quantiles)

    @accepts(prob=PROBABILITY)
    def interval(self, prob: float = 0.95) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the equal-tailed interval of every element of V: lower and upper, (m, m) each."""
        return self.quantile((1 - prob) / 2), self.quantile((1 + prob) / 2)

    # --- draws ------------------------------------------------------------------------------------

    @accepts(every=whole(1))
    def draws(self, every: int = 1) -> xarray.DataArray:
        """Return draws of V, a DataArray with dims (chain, draw, row, column).

        Parameters
        ----------
        every : int
            Keep every so many draws of each chain.
        """
        return self._array(self._values(every), every, "V")

    @accepts(every=whole(1))
    def corr(self, every: int = 1) -> xarray.DataArray:
        """Return draws of the marginal correlations, dims (chain, draw, row, column)."""
        V = self._values(every)
        sd = np.sqrt(np.diagonal(V, axis1=-2, axis2=-1))
        return self._array(V / (sd[..., :, None] * sd[..., None, :]), every, "corr")

    @accepts(every=whole(1))
    def marginal_sd(self, every: int = 1) -> xarray.DataArray:
        """Return draws of the marginal SDs of the rows, dims (chain, draw, row)."""
        V = self._values(every)
        return self._array(np.sqrt(np.diagonal(V, axis1=-2, axis2=-1)), every, "sd")

    @accepts(every=whole(1))
    def eigenvalues(self, every: int = 1) -> xarray.DataArray:
        """Return draws of the smallest and largest eigenvalue, dims (chain, draw, end)."""
        values = np.linalg.eigvalsh(self._values(every))[..., [0, -1]]
        draws = np.arange(0, self.values.shape[1], every)
        coords = {"chain": None, "draw": draws, "end": ["smallest", "largest"]}
        return array(values, coords, "eigenvalue")

    @accepts(every=whole(1))
    def components(self, every: int = 1) -> xarray.DataArray:
        """Return draws of the share of each component in Var(y_i): (chain, draw, component, row).

        Components are the terms and the residual; shares sum to 1.
        """
        each = [
            np.tensordot(theta, np.diagonal(part, axis1=1, axis2=2), 1)
            for theta, (_, part) in zip(self._theta, self._parts, strict=True)
        ]
        names = [name for name, _ in self._parts]
        if self.places is not None:
            names.append("Residual")
            diagonals = [
                np.diagonal(self._residual(keep), axis1=1, axis2=2) for keep in self._batches()
            ]
            each.append(np.concatenate(diagonals))
        values = np.stack(each, axis=1).reshape(*self.values.shape, len(each), -1)[:, ::every]
        shares = values / values.sum(axis=2, keepdims=True)
        return self._array(shares, every, "share", component=names)

    def _values(self, every: int) -> Array:
        m, (chains, n) = len(self.positions), self.values.shape
        size = m * m * chains * -(-n // every)
        if size > 10 * _AT_ONCE:
            raise DataError(
                f"{size:,} numbers would be drawn. Use mean(), sd() or "
                "quantile(), fewer rows, or every=…."
            )
        keep = np.arange(chains * n).reshape(chains, n)[:, ::every]
        return self._at(keep.ravel()).reshape(*keep.shape, m, m)

    def _array(self, values: Array, every: int, name: str, **coords: list[str]) -> xarray.DataArray:
        chains, n = self.values.shape
        labels = [str(label) for label in self.labels]
        known = {"chain": np.arange(chains), "draw": np.arange(0, n, every), **coords}
        for dim in ("row", "column")[: values.ndim - len(known)]:
            known[dim] = labels
        return array(values, known, name)

    def _frame(self, values: Array) -> pd.DataFrame:
        return pd.DataFrame(values, self.labels, self.labels)

    def _shown(self) -> Iterator[Part]:
        m = len(self.positions)
        yield f"Posterior of V of {m} rows of {self.design.formula}, {self.values.size} draws"
        if m <= _MOST_SHOWN:
            yield "mean:"
            yield Table.of(self.mean())
        yield "mean(), sd(), interval(), draws(), corr(), components()"
