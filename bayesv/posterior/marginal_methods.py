"""What a posterior of (Σ, σ², β) says about V."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bayesv.covariance import (
    DISTANCES,
    MarginalCovariance,
    Pointwise,
    VarianceComponents,
    v_distances,
)
from bayesv.covariance.functionals import definition, function_of_covariates, functionals
from bayesv.design.simulation import response
from bayesv.errors import BayesvError, DataError
from bayesv.formula.new_rows import new_rows
from bayesv.formula.prediction import fitted_rows, rows_of
from bayesv.gram import draw_effects, statistics_of
from bayesv.inference.density import MarginalDensity
from bayesv.linalg import Array, evenly_spaced, psd_root, psd_roots
from bayesv.names import variable_name
from bayesv.posterior.coherence import Coherence, Drawn, coherence
from bayesv.posterior.covariance_draws import PosteriorV
from bayesv.priors.priors import Normal, Priors, ResolvedPriors
from bayesv.support.arguments import (
    FLAG,
    FUNCTION,
    TEXT,
    TEXTS,
    a,
    accepts,
    choice,
    optional,
    whole,
)
from bayesv.support.progress import progress

if TYPE_CHECKING:
    from bayesv.design.design import Design

__all__ = ["MarginalMethods"]

_DRAWS_OF_U = 400  # held against their conditional mean by check(), which then sees small errors
_DRAWS_OF_U_LARGE = 100  # as many where rows and random effects are more than _LARGE
_LARGE = 20_000


class MarginalMethods:
    """V, its functionals, distances and coherence: the part of `Posterior` that is about V."""

    if TYPE_CHECKING:
        draws: Any
        design: Design
        density: MarginalDensity | None
        priors: ResolvedPriors | None
        components: Callable[[int, int], VarianceComponents]
        estimate: Callable[[str], VarianceComponents]
        _array: Callable[[str], Array]

        @property
        def _moments_of_V(self) -> float: ...

        @property
        def covs(self) -> dict[str, Array]: ...  # noqa: D102
        @property
        def sigma2(self) -> Array: ...  # noqa: D102
        @property
        def beta(self) -> Array: ...  # noqa: D102
        @property
        def n_chains(self) -> int: ...  # noqa: D102
        @property
        def n_draws(self) -> int: ...  # noqa: D102

    @accepts(weights=optional(TEXT))
    def V(
        self,
        group: str | None = None,
        level: object = None,
        *,
        rows: ArrayLike | None = None,
        newdata: pd.DataFrame | None = None,
        weights: str | None = None,
    ) -> PosteriorV:
        """Return the posterior of V of a cluster or of chosen rows; computed when asked.

        Parameters
        ----------
        group, level : str, object
            The rows of one level, such as ``post.V("Subject", "308")``.
        rows : array_like of int, optional
            Positions among the design's rows, instead.
        newdata : DataFrame, optional
            Rows that were not fitted, instead; see `bayesv.formula.new_rows`. Levels may be new.
        weights : str, optional
            Column of ``newdata`` with known weights.

        Examples
        --------
        >>> import bayesv as bv
        >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
        >>> V = model.sample(seed=1).V("Subject", "308")
        >>> V.mean().shape, V.corr(every=100).dims
        ((10, 10), ('chain', 'draw', 'row', 'column'))
        """
        if sum(given is not None for given in (group, rows, newdata)) != 1:
            raise BayesvError(
                "Say which rows of V: post.V(group, level), post.V(rows=[…]) or post.V(newdata=…)."
            )
        if newdata is not None:
            new = new_rows(self.design, newdata, weights)
            return PosteriorV(new, self.covs, self.sigma2, np.arange(new.n))
        _ = self.design.row_labels  # a design without rows says here that it has none
        if group is not None:
            term, place = self.design.level(group, level)
            at = np.flatnonzero(term.codes == place)
        else:
            at = np.asarray(rows)
            if at.ndim != 1 or not np.issubdtype(at.dtype, np.integer) or not len(at):
                raise DataError(f"rows must be a list of integers; found {rows!r}.")
            if at.min() < -self.design.n or at.max() >= self.design.n:
                raise DataError(f"rows must be below {self.design.n}; found {at.max()}.")
            at = at % self.design.n
        return PosteriorV(self.design, self.covs, self.sigma2, at)

    def expected_V(self) -> MarginalCovariance:
        """Return E[V | y] of all rows, exactly: V at the posterior means, an operator.

        V is linear in (Σ, σ²), so that no draw of V is needed; ``expected_V().to_sparse()`` is the
        matrix.
        """
        return MarginalCovariance(self.design, self.estimate("mean"))

    def functionals(self) -> Any:
        """Return draws of scalar functionals of V as a Dataset with dims (chain, draw).

        log|V|, tr V, variance shares (VPC), of each grouping factor ICC, repeatability, correlation
        within levels and reliability of a level's mean, design effect and effective sample size of
        the mean, R². Each variable has its ``definition`` among its attributes; the table of
        ``bv.summarize(post.functionals())`` prints them as footnotes. Attribute ``moments`` is the
        order below which moments exist.
        """
        import xarray as xr

        shape = self.sigma2.shape
        beta = self.beta.reshape(self.sigma2.size, self.design.p)
        found = functionals(
            self.design, self._density.stats, self._flat_covs, self.sigma2.ravel(), beta
        )
        data = xr.Dataset(
            {
                name: (("chain", "draw"), values.reshape(shape), {"definition": definition(name)})
                for name, values in found.items()
            }
        )
        # The others are shares or logarithms, whose moments exist.
        data["tr V"].attrs["moments"] = self._moments_of_V
        return data

    @accepts(groups=optional(TEXTS))
    def curves(self, at: Any, groups: Sequence[str] | None = None) -> Any:
        """Return draws of Var(y(x)) and Corr(y(x), y(x')), dims (chain, draw, x[, x2]).

        Parameters
        ----------
        at : DataFrame or mapping of columns
            Values of the columns of the random terms, one line per x; see
            `bayesv.covariance.functionals.function_of_covariates`.
        groups : sequence of str, optional
            Grouping factors whose level the two rows share; all if left out.
        """
        import xarray as xr

        found = function_of_covariates(
            self.design, self._flat_covs, self.sigma2.ravel(), at, groups
        )
        dims = ("chain", "draw", "x", "x2")
        data = {
            name: (dims[: values.ndim + 1], values.reshape(*self.sigma2.shape, *values.shape[1:]))
            for name, values in zip(("variance", "corr"), found, strict=True)
        }
        x = np.arange(found[0].shape[1])
        return xr.Dataset(data, coords={"x": x, "x2": x})

    @accepts(every=whole(1))
    def reliability(self, every: int = 1) -> Any:
        """Return draws of the reliability of the BLUPs, dims (chain, draw, effect).

        1 − Var(û − u)/Var(u), averaged over the levels of a factor, one value for each of its
        columns; Var(û − u) allows for the estimation of β.

        Parameters
        ----------
        every : int
            Keep every so many draws of each chain.
        """
        import xarray as xr

        terms = self.design.terms
        s2 = self.sigma2[:, ::every]
        covs = [self.covs[t.group][:, ::every].reshape(s2.size, t.n_columns, -1) for t in terms]
        roots = [psd_roots(cov / s2.reshape(-1, 1, 1)) for cov in covs]
        left = Pointwise(self.design).unexplained(roots, s2.ravel())
        with np.errstate(invalid="ignore"):
            found = [
                1.0 - mean / np.diagonal(cov, axis1=1, axis2=2)
                for mean, cov in zip(left, covs, strict=True)
            ]
        values = np.concatenate(found, axis=1).reshape(*s2.shape, -1)
        coords = {
            "chain": np.arange(self.n_chains),
            "draw": np.arange(0, self.n_draws, every),
            "effect": [f"{term.group}: {c}" for term in terms for c in term.columns],
        }
        return xr.DataArray(values, dims=list(coords), coords=coords, name="reliability")

    @accepts(function=FUNCTION, every=whole(1))
    def map(self, function: Callable[[VarianceComponents], Any], every: int = 1) -> Any:
        """Apply a function to draws of (Σ, σ²); a DataArray with dims (chain, draw, …).

        Parameters
        ----------
        function : callable
            Takes `VarianceComponents` and returns a number or an array.
        every : int
            Keep every so many draws of each chain.

        Examples
        --------
        ``post.map(lambda vc: bv.MarginalCovariance(post.design, vc).logdet(), every=10)``
        """
        import xarray as xr

        chains, n = self.n_chains, self.n_draws
        kept = range(0, n, every)
        values = np.array(
            [[np.asarray(function(self.components(c, i))) for i in kept] for c in range(chains)]
        )
        dims = ["chain", "draw", *(f"dim_{k}" for k in range(values.ndim - 2))]
        return xr.DataArray(values, dims=dims, coords={"chain": np.arange(chains), "draw": kept})

    @accepts(reference=a(VarianceComponents), kind=choice(*DISTANCES), every=whole(1))
    def distance(
        self, reference: VarianceComponents, kind: str = "affine_invariant", every: int = 10
    ) -> Any:
        """Return draws of the distance between V and V at ``reference``, dims (chain, draw).

        Parameters
        ----------
        reference : VarianceComponents
            Such as ``fit.components`` of a REML fit.
        kind : str
            One of `bayesv.covariance.DISTANCES`.
        every : int
            Keep every so many draws of each chain.
        """
        if kind not in DISTANCES:
            raise BayesvError(f"kind must be one of {', '.join(DISTANCES)}; found {kind!r}.")
        return self.map(lambda vc: v_distances(self.design, reference, vc)[kind], every)

    def gls_draws(self) -> tuple[Array, Array]:
        """Return β̂_GLS(V) and (X'V⁻¹X)⁻¹ of every draw, shapes (S, p) and (S, p, p).

        Under a normal prior of β they are mean and covariance of β given (Σ, σ², y).
        """
        density = self._density
        sigma2 = self.sigma2.ravel()
        scale = sigma2[:, None, None]
        lambdas = [psd_roots(cov / scale) for cov in self._flat_covs.values()]
        found = density.conditional(lambdas, sigma2)
        back = np.linalg.inv(density.stats.R)
        half = np.linalg.inv(found.factor) @ back.T
        return density.stats.start + found.mean @ back.T, np.swapaxes(half, 1, 2) @ half

    @accepts(every=optional(whole(1)))
    def log_likelihood(self, every: int | None = None) -> Any:
        """Return the draws with a group ``log_likelihood``, u integrated out, for ``az.loo``.

        Parameters
        ----------
        every : int, optional
            Keep every so many draws of each chain; left out, about 1,000 draws in all.

        Returns
        -------
        DataTree
            Group ``log_prior``, by parameter, makes ``az.psense_summary`` work (power-scaling
            sensitivity to prior and likelihood, ``likelihood_var_names="by_cluster"``). Group
            ``log_likelihood`` has ``by_row``, log p(y_i | y_−i, β, Σ, σ), for leaving out one row,
            and ``by_cluster``, log p(y_c | β, Σ, σ), for leaving out one connected cluster:
            ``az.loo(post.log_likelihood(), var_name="by_cluster")``.
        """
        import xarray as xr

        chains, n = self.n_chains, self.n_draws
        step = every or max(1, chains * n // 1000)
        pointwise, terms = Pointwise(self.design), self.design.terms
        covs, sigma2, beta = self.covs, self.sigma2, self.beta
        found = []
        kept = [(c, i) for c in range(chains) for i in range(0, n, step)]
        with progress("pointwise log likelihood", len(kept)) as done:
            for c, i in kept:
                s2 = float(sigma2[c, i])
                roots = [psd_root(covs[term.group][c, i] / s2) for term in terms]
                found.append(pointwise(roots, s2, beta[c, i]))
                done(1)
        shape = (chains, -1)
        draws = np.arange(0, n, step)
        data = {
            f"by_{name}": (("chain", "draw", name), np.reshape(x, (*shape, len(x[0]))))
            for name, x in zip(("row", "cluster"), zip(*found, strict=True), strict=True)
        }
        coords = {
            "chain": np.arange(chains),
            "draw": draws,
            "row": [str(label) for label in self.design.row_labels],
            "cluster": np.arange(pointwise.n_clusters),
        }
        posterior = self.draws["posterior"].to_dataset().isel(draw=slice(None, None, step))
        groups = {"posterior": posterior, "log_likelihood": xr.Dataset(data, coords=coords)}
        if self.priors is not None:
            found_prior = self._log_prior(self.priors).items()
            prior = {
                variable_name(name): (("chain", "draw"), x[:, ::step]) for name, x in found_prior
            }
            groups["log_prior"] = xr.Dataset(
                prior, coords={k: coords[k] for k in ("chain", "draw")}
            )
        return xr.DataTree.from_dict(groups)

    def _log_prior(self, priors: ResolvedPriors) -> dict[str, Array]:
        """Log prior density of every draw by parameter, (chain, draw); flat ones left out."""
        out = priors.log_densities(self.covs, self.sigma2)
        for name, prior, beta in zip(
            self.design.fixed_names, priors.beta, np.moveaxis(self.beta, -1, 0), strict=True
        ):
            if isinstance(prior, Normal):
                z = (beta - prior.mean) / prior.sd
                out[f"beta_{name}"] = -0.5 * z**2 - np.log(prior.sd)
        return out

    @accepts(draws=whole(1), weights=optional(TEXT), new_levels=FLAG, seed=whole(0))
    def predict(
        self,
        draws: int = 1000,
        *,
        newdata: Any = None,
        weights: str | None = None,
        new_levels: bool = False,
        seed: int = 0,
    ) -> Any:
        """Return draws of responses, a DataArray with dims (sample, row).

        Parameters
        ----------
        draws : int
            How many draws of (β, Σ, σ), evenly spaced.
        newdata : DataFrame or mapping of columns, optional
            Rows to predict, coded as the fitted ones were; the rows of the fit if left out.
        weights : str, optional
            Column of ``newdata`` with known weights; 1 if left out.
        new_levels : bool
            For groups never seen, u drawn from N(0, Σ): replications of the whole study. Else u of
            fitted levels is drawn from its conditional given y; levels of ``newdata`` that were
            not fitted are new all the same, and rows without a level share none.
        seed : int
        """
        import xarray as xr

        rng, total = np.random.default_rng(seed), self.n_chains * self.n_draws
        kept = evenly_spaced(total, draws)
        rows = fitted_rows(self.design)
        if newdata is not None:
            rows = rows_of(self.design, newdata, weights)
        stats = self._density.stats
        beta = self.beta.reshape(total, -1)
        sigma = np.sqrt(self.sigma2.ravel())
        covs = list(self._flat_covs.values())
        y = np.empty((len(kept), len(rows.labels)))
        for k, s in enumerate(kept):
            roots = [psd_root(cov[s]) for cov in covs]
            fitted: list[Array | None] = [None] * len(roots)
            if not new_levels:
                gamma = (beta[s] - stats.start) @ stats.R.T
                lambdas = stats.in_basis([root / sigma[s] for root in roots])
                drawn = draw_effects(stats, lambdas, float(sigma[s]), gamma, rng, moments=False)
                fitted = list(drawn.u)
            effects = [
                term.effects(u, root, rng)
                for term, u, root in zip(rows.terms, fitted, roots, strict=True)
            ]
            residuals = sigma[s] * rows.residual.draw(rng.normal(size=y.shape[1]))
            y[k] = response(rows, beta[s], effects, residuals)
        return xr.DataArray(y, dims=("sample", "row"), coords={"row": rows.labels}, name="y")

    @accepts(draws_of_u=optional(whole(1)))
    def check(self, draws_of_u: int | None = None) -> Coherence:
        """Check that draws, labels, design and V belong together.

        Parameters
        ----------
        draws_of_u : int, optional
            At how many draws kept random effects are held against E[u | β, V, y]; 400 if not
            given, 100 where rows and effects are more than 20,000.

        Returns
        -------
        Coherence
            ``passed``, a table with Monte Carlo errors, and notes.

        Notes
        -----
        E[β | y] must be the mean of GLS(V) over draws of V, Var(β | y) the mean of (X'V⁻¹X)⁻¹ plus
        the variance of GLS(V), and E[u | y] the mean of BLUPs; where u was kept, its second moments
        are held against those of exact draws. Where the priors are known, the gradient of log
        p(Σ, σ | y) must be 0 on average and −I on average times the parameters (Stein's identity),
        which sees draws that are shifted, scaled, too narrow or not paired. For draws made
        elsewhere β is taken to have a flat prior, and a note says what cannot be tested.
        """
        names = self.draws["posterior"].data_vars
        effects = {group: f"u_{variable_name(group)}" for group in self.design.groups}
        u = {group: self._array(name) for group, name in effects.items() if name in names}
        u = u if len(u) == len(self.design.terms) else {}
        center, cov = (x.reshape(*self.sigma2.shape, *x.shape[1:]) for x in self.gls_draws())
        drawn = Drawn(self.covs, self.sigma2, self.beta, center, cov, u)
        if draws_of_u is None:
            large = self.design.n + self.design.q > _LARGE
            draws_of_u = _DRAWS_OF_U_LARGE if large else _DRAWS_OF_U
        return coherence(self.design, self._density, drawn, draws_of_u, self.priors is not None)

    @property
    def _flat_covs(self) -> dict[str, Array]:
        """Draws of every Σ_f, all chains in one, shapes (S, r_f, r_f)."""
        return {group: cov.reshape(-1, *cov.shape[2:]) for group, cov in self.covs.items()}

    @cached_property
    def _density(self) -> MarginalDensity:
        """The density of the draws; where priors are not known, with a flat prior of β."""
        if self.density is not None:
            return self.density
        priors = self.priors or Priors().resolve(self.design)
        return MarginalDensity(statistics_of(self.design), priors)
