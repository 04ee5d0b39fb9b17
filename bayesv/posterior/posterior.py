"""Posterior draws of G, σ² and β, their diagnostics, and what they say of V."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bayesv.covariance import (
    DISTANCES,
    MarginalCovariance,
    VarianceComponents,
    contrasts,
    marginal_means,
    v_distances,
)
from bayesv.covariance.prediction import OF
from bayesv.covariance.quantities import quantities
from bayesv.errors import BayesvError, SamplingWarning, none_of, warn
from bayesv.formula.prediction import fitted_rows, rows_of
from bayesv.inference.density import MarginalDensity
from bayesv.inference.draws import Draws
from bayesv.inference.tails import Tails
from bayesv.linalg import Array, evenly_spaced
from bayesv.posterior import diagnosis, labelled
from bayesv.posterior.coherence import Coherence, coherence
from bayesv.posterior.covariance_draws import PosteriorV, v_of_rows
from bayesv.posterior.effects import gls_draws, random_effects
from bayesv.posterior.estimators import ESTIMATES, point_estimate
from bayesv.posterior.expected import expected_v
from bayesv.posterior.functions_of_v import curves, functionals_of_v, mapped, reliabilities
from bayesv.posterior.of_density import DrawsOfDensity
from bayesv.posterior.prediction import responses
from bayesv.priors.priors import ResolvedPriors
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
from bayesv.support.deferred import later
from bayesv.support.saving import Savable

if TYPE_CHECKING:
    import xarray

if TYPE_CHECKING:
    import xarray

__all__ = ["Posterior"]


@dataclass(frozen=True, eq=False, repr=False)
class Posterior(DrawsOfDensity, Savable):
    """Posterior draws of a Gaussian mixed model, whatever engine made them.

    Attributes
    ----------
    draws : DataTree
        Group ``posterior`` with dims (chain, draw, …): ``beta, sigma, sigma2, cov_<group>,
        sd_<group>, corr_<group>`` and, if asked for, ``u_<group>``; ``sample_stats``;
        ``observed_data``.
    design : Design
        The design the draws belong to.
    priors : ResolvedPriors or None
        None for draws made elsewhere under priors that are not known.
    engine : str
        What made the draws.
    density : MarginalDensity or None
        p(Σ, σ | y) with u and β integrated out; needed for the mode.
    problems : tuple of str
        Divergences, R-hat, ESS: empty when nothing is wrong.
    """

    @classmethod
    @accepts(draws=a(Draws), engine=TEXT)
    def from_draws(
        cls,
        draws: Draws,
        priors: ResolvedPriors | None,
        engine: str,
        density: MarginalDensity | None = None,
    ) -> Posterior:
        """Label raw draws, diagnose them, and warn once if something is wrong."""
        values = draws.values
        labelled.check_draws(values, engine)
        labelled.refuse_shared_names(values.design, draws.u)
        problems = [*draws.problems, *diagnosis.of_chains(quantities(values), draws.sample_stats)]
        if density is not None:
            problems += diagnosis.of_tails(Tails(density))
            problems += diagnosis.of_model(values, density.stats)
        if problems:
            text = f"{engine}: {'; '.join(problems)}"
            warn(text, SamplingWarning)
        tree = later(labelled.tree_of, draws)
        return cls(tree, values.design, priors, engine, density, tuple(problems))

    # --- the posterior-summary step ---------------------------------------------------------------

    @accepts(kind=choice(*ESTIMATES))
    def estimate(self, kind: str = "mean") -> VarianceComponents:
        """Summarise the draws of G and σ² by one set of variance components.

        Parameters
        ----------
        kind : {"mean", "median", "mode", "stein", "log_euclidean", "medoid"}
            ``mean``: E[Σ_f | y] and E[σ² | y], the mean of the drawn matrices (quadratic loss), so
            that V is E[V | y]. All others are in the family of the term's covariances; of families
            that are not closed under sums, such as an AR(1), the mean is not. Of structured
            residuals it is the member with the mean variances and the mean natural parameters:
            E[V | y] itself, which leaves their family, is `expected_V`.
            ``median``: geometric median of the drawn Σ_f in units of their SDs, and the median of
            σ² (absolute loss); for one column it is the ordinary median of the variance.
            ``mode``: maximum of the joint posterior density by (SDs, correlations, σ), with u and β
            integrated out; it moves with the scale, which is why the scale is named here: SDs and
            correlations are of the effects that the priors speak of, see `ResolvedPriors.basis`.
            ``stein``: minimises the posterior mean of Stein's loss of V. ``log_euclidean``:
            exp E[log Σ_f] and exp E[log σ²]. ``medoid``: the draw nearest to the medians of all
            elements, one that occurred.

        Returns
        -------
        VarianceComponents
            Positive semi-definite for every choice, and 0 wherever the model says 0: between the
            columns of ``(x || g)``.
        """
        if kind not in ESTIMATES:
            raise BayesvError(none_of("kind", kind, ESTIMATES))
        stats = self._likelihood.stats if kind == "stein" else None
        return point_estimate(self.values, kind, stats, self.density).components()

    @accepts(draws=whole(1), seed=whole(0))
    def random_effects(self, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
        """Return posterior means and SDs of the random effects, without storing their draws.

        Parameters
        ----------
        draws : int
            How many draws of (β, Σ, σ), evenly spaced, are averaged over.
        seed : int
            Of the effects of coarser factors that finer ones are conditioned on.

        Returns
        -------
        DataFrame, shape (q, 2)
            Columns mean, sd, in units of the coefficients; rows as the columns of Z.

        Raises
        ------
        BayesvError
            For draws made elsewhere.

        Notes
        -----
        Rao–Blackwell: the mean of E[u | ·] and, for the SD, the mean of Var(u | ·) plus the
        variance of E[u | ·], given each draw and the effects of coarser factors drawn with it.
        """
        if self.density is None:
            raise BayesvError(
                "Random effects need the model of the draws, which is not known for draws made "
                "elsewhere; refit with bv.Model(...).sample()."
            )
        return random_effects(self.values.flat, self.density, draws, seed)

    # --- V ----------------------------------------------------------------------------------------

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
            The rows of one level, such as ``post.V("Subject", "308")``; of a model of data in
            batches they are read again.
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
        return v_of_rows(self.values, group, level, rows=rows, newdata=newdata, weights=weights)

    def expected_V(self) -> MarginalCovariance:
        """Return E[V | y] of all rows, exactly: V at the posterior means, an operator.

        V is linear in (Σ, σ²), so that no draw of V is needed; ``expected_V().to_sparse()`` is the
        matrix. Of structured residuals the mean over draws of R is taken series by series; it
        leaves their family.
        """
        return expected_v(self.values.flat)

    def marginal_means(self, specs: str | Sequence[str] = (), **options: Any) -> pd.DataFrame:
        """Return `bayesv.marginal_means` of the draws: mean, sd and interval of each."""
        return marginal_means(self, specs, **options)

    def contrasts(
        self,
        specs: str | Sequence[str],
        method: str | Mapping[str, Sequence[float]] = "pairwise",
        **options: Any,
    ) -> pd.DataFrame:
        """Return `bayesv.contrasts` of the draws, with the probability that each is above 0."""
        return contrasts(self, specs, method, **options)

    def functionals(self) -> xarray.Dataset:
        """Return draws of scalar functionals of V as a Dataset with dims (chain, draw).

        log|V|, tr V, variance shares (VPC), of each grouping factor ICC, repeatability, correlation
        within levels and reliability of a level's mean, design effect and effective sample size of
        the mean, R². Each variable has its ``definition`` among its attributes; the table of
        ``bv.summarize(post.functionals())`` prints them as footnotes. Attribute ``moments`` is the
        order below which moments exist.
        """
        return functionals_of_v(self.values, self._likelihood, self._moments_of_V)

    @accepts(groups=optional(TEXTS))
    def curves(self, at: Any, groups: Sequence[str] | None = None) -> xarray.Dataset:
        """Return draws of Var(y(x)) and Corr(y(x), y(x')), dims (chain, draw, x[, x2]).

        Parameters
        ----------
        at : DataFrame or mapping of columns
            Values of the columns of the random terms, one line per x; see
            `bayesv.covariance.functionals.function_of_covariates`.
        groups : sequence of str, optional
            Grouping factors whose level the two rows share; all if left out.
        """
        return curves(self.values, at, groups)

    @accepts(every=whole(1))
    def reliability(self, every: int = 1) -> xarray.DataArray:
        """Return draws of the reliability of the BLUPs, dims (chain, draw, effect).

        1 − Var(û − u)/Var(u), averaged over the levels of a factor, one value for each of its
        columns; Var(û − u) allows for the estimation of β.

        Parameters
        ----------
        every : int
            Keep every so many draws of each chain.
        """
        return reliabilities(self.values, every)

    @accepts(function=FUNCTION, every=whole(1))
    def map(
        self, function: Callable[[VarianceComponents], Any], every: int = 1
    ) -> xarray.DataArray:
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
        return mapped(self.values, function, every)

    @accepts(reference=a(VarianceComponents), kind=choice(*DISTANCES), every=whole(1))
    def distance(
        self, reference: VarianceComponents, kind: str = "affine_invariant", every: int = 10
    ) -> xarray.DataArray:
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
            raise BayesvError(none_of("kind", kind, DISTANCES))
        return self.map(lambda vc: v_distances(self.design, reference, vc)[kind], every)

    def gls_draws(self) -> tuple[Array, Array]:
        """Return β̂_GLS(V) and (X'V⁻¹X)⁻¹ of every draw, shapes (S, p) and (S, p, p).

        Under a normal prior of β they are mean and covariance of β given (Σ, σ², y).
        """
        return gls_draws(self.values.flat, self._likelihood)

    @accepts(of=choice(*OF), draws=whole(1), weights=optional(TEXT), new_levels=FLAG, seed=whole(0))
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
        """Return draws of responses or of their means, a DataArray with dims (sample, row).

        Parameters
        ----------
        newdata : DataFrame or mapping of columns, optional
            Rows to predict, coded as the fitted ones were; the rows of the fit if left out.
        of : {"response", "mean"}
            What is drawn: y, or E[y | β, Σ, σ, u] without what is not known of residuals.
        draws : int
            How many draws of (β, Σ, σ), evenly spaced.
        weights : str, optional
            Column of ``newdata`` with known weights; 1 if left out.
        new_levels : bool
            For groups never seen, u drawn from N(0, Σ): replications of the whole study. Else u of
            fitted levels is drawn from its conditional given y; levels of ``newdata`` that were
            not fitted are new all the same, and rows without a level share none.
        seed : int

        Examples
        --------
        >>> import bayesv as bv
        >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
        >>> drawn = model.sample(seed=1).predict({"Days": [10], "Subject": ["308"]}, of="mean")
        >>> list(bv.summarize(drawn, prob=0.9)[["mean", "sd", "eti_low", "eti_high"]])
        ['mean', 'sd', 'eti_low', 'eti_high']
        """
        rng, values = np.random.default_rng(seed), self.values.flat
        if newdata is None:
            rows = fitted_rows(self.design)
        else:
            rows = rows_of(self.design, newdata, weights)
        kept = values.take(evenly_spaced(values.size, draws))
        y = responses(kept, rows, self._likelihood, rng, new_levels=new_levels, of=of)
        return labelled.array(y, {"sample": None, "row": rows.labels}, "y")

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
        return coherence(self._likelihood, self.values, self.u, draws_of_u)
