"""Posteriors averaged over structures of V: mixtures, and the doubt that is between structures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bayesv.comparison.averaged_v import AveragedV, parts_of_variance
from bayesv.comparison.comparable import refuse_incomparable, short_names
from bayesv.comparison.models import compare_models, prior_weights
from bayesv.covariance.prediction import OF
from bayesv.errors import BayesvError
from bayesv.linalg import Array, evenly_spaced
from bayesv.posterior.posterior import Posterior
from bayesv.support.arguments import (
    FLAG,
    PROBABILITY,
    TEXT,
    TEXTS,
    accepts,
    choice,
    optional,
    whole,
)
from bayesv.support.shown import Part, Shown, Table
from bayesv.support.xarray import data_array, dataset

if TYPE_CHECKING:
    import xarray

__all__ = ["AveragedPosterior", "average"]

_CHAINS = 4  # that the draws of a mixture are given in


@dataclass(frozen=True, eq=False, repr=False)
class AveragedPosterior(Shown):
    """The mixture Σ_k w_k p(· | y, M_k) of the posteriors of several structures.

    Attributes
    ----------
    posteriors : tuple of Posterior
        Of the same rows.
    names : tuple of str
    weights : ndarray, shape (K,)
    origin : str
        Where the weights are from: ``"evidence"``, ``"stacking"`` or ``"stated"``.
    """

    posteriors: tuple[Posterior, ...]
    names: tuple[str, ...]
    weights: Array
    origin: str

    @accepts(weights=optional(TEXT))
    def V(
        self,
        group: str | None = None,
        level: object = None,
        *,
        rows: ArrayLike | None = None,
        newdata: pd.DataFrame | None = None,
        weights: str | None = None,
    ) -> AveragedV:
        """Return the posterior of V of some rows, averaged; arguments as of ``Posterior.V``."""
        if group is not None:
            rows, group, level = self._rows_of(group, level), None, None
        parts = tuple(
            post.V(group, level, rows=rows, newdata=newdata, weights=weights)
            for post in self.posteriors
        )
        return AveragedV(parts, self.names, self.weights)

    @cached_property
    def fixed_names(self) -> tuple[str, ...]:
        """Fixed effects that every model has."""
        first, *others = (post.design.fixed_names for post in self.posteriors)
        return tuple(name for name in first if all(name in other for other in others))

    @accepts(prob=PROBABILITY)
    def fixed(self, prob: float = 0.95) -> pd.DataFrame:
        """Return mean, SD and interval of each fixed effect, and the parts of its variance.

        Returns
        -------
        DataFrame, one row for each of `fixed_names`
            mean, sd, low, high, within (mean of the models' variances), between (variance of their
            means), share_between. The interval is of the mixture.
        """
        rows = {}
        for name in self.fixed_names:
            draws = [_of_effect(post, name) for post in self.posteriors]
            mean, within, between = parts_of_variance(
                [x.mean() for x in draws], [x.var(ddof=1) for x in draws], self.weights
            )
            low, high = weighted_quantile(draws, self.weights, [(1 - prob) / 2, (1 + prob) / 2])
            total = float(within + between)
            rows[name] = (
                float(mean), total**0.5, low, high, float(within), float(between),
                float(between) / total,
            )  # fmt: skip
        columns = ["mean", "sd", "low", "high", "within", "between", "share_between"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    @accepts(draws=whole(_CHAINS), seed=whole(0))
    def beta(self, draws: int = 4000, seed: int = 0) -> xarray.DataArray:
        """Return draws of β of the mixture, a DataArray with dims (chain, draw, coef)."""
        names = list(self.fixed_names)

        def of_model(post: Posterior, index: NDArray[np.intp]) -> Array:
            places = [post.design.fixed_names.index(name) for name in names]
            return np.asarray(post.beta.reshape(-1, post.design.p)[index][:, places])

        values = self._mixed(of_model, draws, seed)
        return data_array(
            values.reshape(_CHAINS, -1, len(names)),
            dims=["chain", "draw", "coef"],
            coords={"coef": names},
            name="beta",
        )

    @accepts(draws=whole(_CHAINS), seed=whole(0))
    def functionals(self, draws: int = 1000, seed: int = 0) -> xarray.Dataset:
        """Return draws of the functionals of V that every model has, dims (chain, draw).

        Parameters
        ----------
        draws : int
            Of the mixture, in four chains; those of each model are evenly spaced, as many as its
            weight says, and in random order.
        seed : int
        """
        each = {}
        for post, count in zip(self.posteriors, self._counts(draws), strict=True):
            if count:
                each[id(post)] = _thinned(post, int(count)).functionals()
        first, *others = each.values()
        names = [name for name in first if all(name in other for other in others)]

        def of_model(post: Posterior, index: NDArray[np.intp]) -> Array:
            columns = [each[id(post)][name].to_numpy().ravel() for name in names]
            return np.column_stack(columns)[evenly_spaced(len(columns[0]), len(index))]

        values = self._mixed(of_model, draws, seed).reshape(_CHAINS, -1, len(names))
        return dataset(
            {
                name: (("chain", "draw"), values[..., k], dict(first[name].attrs))
                for k, name in enumerate(names)
            }
        )

    @accepts(
        of=choice(*OF), draws=whole(_CHAINS), weights=optional(TEXT), new_levels=FLAG, seed=whole(0)
    )
    def predict(
        self,
        newdata: Any = None,
        *,
        of: str = "response",
        draws: int = 1000,
        weights: str | None = None,
        new_levels: bool = False,
        seed: int = 0,
    ) -> xarray.DataArray:
        """Return draws of the mixture, dims (sample, row); see `Posterior.predict`."""
        rng = np.random.default_rng(seed)
        parts, labels = [], None
        for post, count in zip(self.posteriors, self._counts(draws), strict=True):
            if count:
                y = post.predict(
                    newdata, of=of, draws=int(count), weights=weights, new_levels=new_levels,
                    seed=int(rng.integers(2**31)),
                )  # fmt: skip
                parts.append(y.to_numpy())
                labels = y["row"].to_numpy()
        values = rng.permutation(np.concatenate(parts))
        return data_array(values, dims=["sample", "row"], coords={"row": labels}, name="y")

    def _shown(self) -> Iterator[Part]:
        yield f"Average of {len(self.names)} posteriors, weights by {self.origin}"
        rows = zip(self.names, self.weights, strict=True)
        yield Table(("model", "weight"), tuple((name, f"{weight:.4f}") for name, weight in rows))
        if self.fixed_names:
            yield ""
            yield Table.of(self.fixed()[["mean", "sd", "low", "high", "share_between"]])

    def _rows_of(self, group: str, level: object) -> NDArray[np.intp]:
        """Return the rows of a level, by the first model that has the grouping factor."""
        designs = [post.design for post in self.posteriors]
        design = next((each for each in designs if group in each.groups), designs[0])
        term, place = design.level(group, level)
        return np.flatnonzero(term.codes == place)

    def _counts(self, draws: int) -> NDArray[np.intp]:
        """Return how many draws of each model make ``draws`` of the mixture."""
        exact = self.weights * draws
        counts = np.floor(exact).astype(np.intp)
        order = np.argsort(counts - exact, kind="stable")
        counts[order[: draws - counts.sum()]] += 1
        return counts

    def _mixed(
        self, of_model: Callable[[Posterior, NDArray[np.intp]], Array], draws: int, seed: int
    ) -> Array:
        """Return draws of the mixture in random order, shape (draws', …), a multiple of chains."""
        sizes = [post.n_chains * post.n_draws for post in self.posteriors]
        most = min(int(size / w) for size, w in zip(sizes, self.weights, strict=True) if w > 0)
        total = min(draws, most) // _CHAINS * _CHAINS
        values = [
            of_model(post, evenly_spaced(size, int(count)))
            for post, size, count in zip(self.posteriors, sizes, self._counts(total), strict=True)
            if count
        ]
        return np.asarray(np.random.default_rng(seed).permutation(np.concatenate(values)))


@accepts(names=optional(TEXTS))
def average(
    *posteriors: Posterior,
    weights: str | Sequence[float] = "evidence",
    names: Sequence[str] | None = None,
    prior: Sequence[float] | None = None,
) -> AveragedPosterior:
    """Average the posteriors of several structures of V.

    Parameters
    ----------
    *posteriors : Posterior
        Two or more, of the same rows.
    weights : {"evidence", "stacking"} or sequence of float
        Posterior probabilities of the models; or the weights by which their mixture predicts a
        cluster that was left out best; or numbers proportional to weights.
    names : sequence of str, optional
    prior : sequence of float, optional
        Prior probabilities of the models, for weights by evidence.

    Returns
    -------
    AveragedPosterior
        With V, functionals, β and predictions.

    Raises
    ------
    BayesvError
        As `bayesv.compare_models`; with stated weights models may differ in fixed effects.

    Notes
    -----
    With E_k and Var_k given structure k, E[V | y] = Σ w_k E_k[V] and Var(V_ij | y) =
    Σ w_k Var_k(V_ij) + Σ w_k (E_k[V_ij] − E[V_ij | y])²: what is not known within a structure, and
    what is not known of the structure.

    Examples
    --------
    >>> import bayesv as bv
    >>> sleep = bv.load_dataset("sleepstudy")
    >>> terms = ("(Days || Subject)", "(Days | Subject)")
    >>> posts = [bv.Model(f"Reaction ~ Days + {t}", sleep).sample(seed=1) for t in terms]
    >>> mixed = bv.average(*posts)
    >>> mixed.weights.round(1)
    array([0.9, 0.1])
    >>> V = mixed.V("Subject", "308")
    >>> bool(np.allclose(V.sd() ** 2, V.within() + V.between()))
    True
    """
    if isinstance(weights, str):
        if weights not in ("evidence", "stacking"):
            raise BayesvError(f"weights are 'evidence', 'stacking' or numbers; found {weights!r}.")
        by_evidence = weights == "evidence"
        comparison = compare_models(
            *posteriors, names=names, prior=prior, evidence=by_evidence, leave_out=not by_evidence
        )
        return AveragedPosterior(
            comparison.posteriors, comparison.names, comparison.weights[weights], weights
        )
    labels = short_names(posteriors) if names is None else tuple(names)
    refuse_incomparable(posteriors, labels, evidence=False)
    return AveragedPosterior(tuple(posteriors), labels, prior_weights(weights, labels), "stated")


def _thinned(post: Posterior, draws: int) -> Posterior:
    """Return a posterior of at least so many draws, evenly spaced along each chain."""
    kept = min(-(-draws // post.n_chains), post.n_draws)
    return replace(post, draws=post.draws.isel(draw=evenly_spaced(post.n_draws, kept)))


def weighted_quantile(draws: Sequence[Array], weights: Array, q: Sequence[float]) -> list[float]:
    """Return quantiles of a mixture of draws of several models."""
    values = np.concatenate([x.ravel() for x in draws])
    each = np.concatenate(
        [np.full(x.size, w / x.size) for x, w in zip(draws, weights, strict=True)]
    )
    order = np.argsort(values)
    reached = np.cumsum(each[order])
    places = np.searchsorted(reached, np.asarray(q) * reached[-1]).clip(max=len(values) - 1)
    return [float(value) for value in values[order][places]]


def _of_effect(post: Posterior, name: str) -> Array:
    return np.asarray(post.beta[..., post.design.fixed_names.index(name)])
