"""The object a user holds: a formula with data, its design, its priors, and what can be fitted."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesv import gram
from bayesv.design.design import Design
from bayesv.design.known import Known
from bayesv.errors import DataError, FitWarning, without
from bayesv.formula import ModelFrame, Origin
from bayesv.inference.density import MarginalDensity
from bayesv.inference.engines import draw
from bayesv.inference.options import ENGINES, NutsOptions, check_sampling, refuse_draws
from bayesv.inference.tails import Tails
from bayesv.posterior.posterior import Posterior
from bayesv.priors.draws import prior_predictive
from bayesv.priors.priors import DEFAULTS, Priors, ResolvedPriors, priors_of
from bayesv.reml import RemlFit, fit_reml, fit_structured
from bayesv.support.arguments import SEED, TEXT, accepts, choice, mapping, optional, renamed, whole
from bayesv.support.process import computing
from bayesv.support.progress import no_progress
from bayesv.support.shown import Part, Shown, as_text

if TYPE_CHECKING:
    import xarray

__all__ = ["ENGINES", "Model", "check_sampling"]


class Model(Shown):
    """A Gaussian linear mixed model.

    Parameters
    ----------
    formula : str
        In lme4's language, such as ``"y ~ x + (x | a/b) + (1 | c)"``: R's operators have R's
        meaning in the fixed part and left of a bar, functions are those of a closed table, and what
        has no meaning is refused; ``(x | g)`` is correlated, as in lme4.
    data : DataFrame, or a source of batches
        pandas, polars, or any frame narwhals understands. In batches, summed up in one pass that
        keeps no rows: a Dask DataFrame (on its own scheduler), a pyarrow ``RecordBatchReader``,
        ``Dataset`` or ``ParquetFile``, or the path of a Parquet file or directory.
    priors : Priors, optional
        Defaults that do not depend on where covariates have their zero, where left out.
    var_weights : array_like of shape (n,), or str, optional
        Known w > 0 in R = σ² diag(1/w), or the name of their column.
    namespace : mapping, optional
        More functions and values for the formula.
    residual : str or Known, optional
        Correlation of the residuals within series, ``kind(position | series)`` such as
        ``"us(visit | subject)"`` or ``"ar1(day | subject)"``, with parameters by group
        ``"us(visit | arm / subject)"``; a model with one needs no random term. Or a known
        covariance, `bayesv.Known`; σ is 1 then.
    residual_sd : str, optional
        Standard deviation of the residuals: ``"strata(g)"`` for one of each level, ``"power(x)"``
        for σ|x|^δ, ``"exp(x)"`` for σ exp(δx), or a product of these by ``*``.
    relationship : mapping, optional
        Known K of the levels of grouping factors, whose effects have covariance Σ ⊗ K, by factor: a
        `pedigree`, a DataFrame with labels, or a pair (matrix, labels). K may have more levels.
    elimination : {"auto", "single", "nested", "crossed", "iterative"}
        How random effects are eliminated; see `describe`. Results are equal, up to a certificate.
    dedupe : bool
        Whether levels with equal rows of (z, w) are eliminated once.

    Raises
    ------
    FormulaError
        If the formula is malformed or names what does not exist.
    DataError
        If the data cannot be used with it.
    PriorError
        If a prior does not fit the design.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> model.design.Z.shape
    (180, 36)
    >>> round(model.reml().criterion, 4)
    1743.6283
    """

    design: Design

    @renamed(structure="elimination")
    @accepts(namespace=optional(mapping()), relationship=optional(mapping()), elimination=TEXT)
    def __init__(
        self,
        formula: str,
        data: Any,
        priors: Priors | None = None,
        var_weights: Any = None,
        namespace: Mapping[str, Any] | None = None,
        *,
        residual: str | Known | None = None,
        residual_sd: str | None = None,
        relationship: Mapping[str, Any] | None = None,
        elimination: str = "auto",
        dedupe: bool = True,
    ) -> None:
        self._begin(priors, elimination, dedupe)
        rows = (formula, data, var_weights, namespace)
        self._take(Origin.read(*rows, residual, residual_sd, relationship))

    def _begin(self, priors: Priors | None, elimination: str, dedupe: bool) -> None:
        """Check and keep what does not depend on the data."""
        gram.check_elimination(elimination)
        self._order, self._dedupe = elimination, dedupe
        self.given_priors = priors_of(priors)

    def _take(self, origin: Origin) -> None:
        self.origin, self.design = origin, origin.design
        self._last_reml: RemlFit | None = None
        if self.given_priors is not DEFAULTS:  # defaults have nothing to refuse, and may wait
            self.priors  # noqa: B018

    @classmethod
    @renamed(structure="elimination")
    @accepts(elimination=TEXT)
    def from_design(
        cls,
        design: Design,
        priors: Priors | None = None,
        *,
        elimination: str = "auto",
        dedupe: bool = True,
    ) -> Model:
        """Return the model of a design, without a formula to evaluate or a data frame.

        Parameters
        ----------
        design : Design
            With its rows, such as that of a fit made elsewhere.
        priors, elimination, dedupe
            As for `Model`.

        Returns
        -------
        Model
            For every engine but Bambi.

        Raises
        ------
        DataError
            If it is no design with rows.
        PriorError
            If a prior does not fit the design.

        Examples
        --------
        >>> import bayesv as bv
        >>> design = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).design
        >>> round(bv.Model.from_design(design).reml().criterion, 4)
        319.6543
        """
        if not isinstance(design, Design):
            raise DataError(f"A bv.Design with its rows is needed; found {type(design).__name__}.")
        model = cls.__new__(cls)
        model._begin(priors, elimination, dedupe)
        model._take(Origin(design))
        return model

    def with_response(self, y: Any) -> Model:
        """Return the model of another response on the same design.

        Parameters
        ----------
        y : array_like of shape (n,)
            One number for each row of the design, in its order; what the formula's left side
            would be evaluated to, offset included.

        Returns
        -------
        Model
            Equal to a fresh one, whose statistics share all parts without y: the way to fit one
            design thousands of times. Priors that scale with the data are resolved anew.

        Raises
        ------
        DataError
            If y does not fit the rows, or the model was read in batches.

        Examples
        --------
        >>> import bayesv as bv
        >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
        >>> in_seconds = model.with_response(model.design.y / 1000)
        >>> in_seconds.reml().beta.round(4).to_dict()
        {'Intercept': 0.2514, 'Days': 0.0105}
        """
        summed = self.design.parametric_residual is None and self.design.terms
        responses, new = self._responses if summed else None, copy(self)
        for name in ("_start", "_by_residual", "priors"):  # cached properties
            new.__dict__.pop(name, None)
        new._take(self.origin.with_response(y))
        if responses is not None:
            new.__dict__["statistics"] = responses.statistics(new.design.target)
        return new

    def with_priors(self, priors: Priors | None) -> Model:
        """Return the model of the same data with other priors; with None, the defaults.

        Raises
        ------
        PriorError
            If a prior does not fit the design.

        Examples
        --------
        >>> import bayesv as bv
        >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
        >>> print(model.with_priors(bv.Priors(sd=bv.HalfNormal(50))).priors.sd["Batch"][0])
        HalfNormal(50)
        """
        new = copy(self)
        new.given_priors = priors_of(priors)
        new.__dict__["priors"] = new.given_priors.resolve(self.design)
        return new

    @cached_property
    def priors(self) -> ResolvedPriors:
        """The prior of every parameter."""
        return self.given_priors.resolve(self.design)

    @cached_property
    def _responses(self) -> gram.Responses:
        """What the models of all responses on this design share."""
        return self.origin.responses(self.statistics)

    @cached_property
    def statistics(self) -> gram.GramStatistics:
        """Gram statistics of [Z X y]: all that the rows have to say.

        Raises
        ------
        DataError
            If residuals are structured (the sums depend on their parameters).
        """
        self.design.refuse_sums()
        return self.origin.statistics(self._order, dedupe=self._dedupe)

    @cached_property
    def _by_residual(self) -> gram.ByResidual | None:
        """Statistics by the parameters of structured residuals; None where R/σ² is known."""
        if self.design.structured_residual is None:
            return None
        return gram.statistics_by_residual(self.design, self._order)

    @property
    def density(self) -> MarginalDensity:
        """p(Σ, R, y) with u and β integrated out: likelihood and priors."""
        by_residual = self._by_residual
        stats = self.statistics if by_residual is None else by_residual.stats
        return MarginalDensity(stats, self.priors, by_residual)

    @property
    def frame(self) -> ModelFrame:
        """The formula with the data it was evaluated on."""
        return self.origin.frame

    @cached_property
    def _start(self) -> RemlFit:
        """Where the collapsed engine starts to look for the mode."""
        with without(FitWarning):
            return self._last_reml or self.reml()

    @property
    def elimination(self) -> str:
        """How random effects are eliminated, in words; or the memory needed, if there is less."""
        return gram.elimination_in_words(self.design, lambda: self.statistics)

    def describe(self) -> str:
        """Return design, order of elimination and priors in words."""
        elimination = f"elimination: {self.elimination}"
        return as_text([self.design.describe(), elimination, "priors:", str(self.priors)])

    def __repr__(self) -> str:
        return f"<Model {self.design.in_short}>"

    def _shown(self) -> tuple[Part, ...]:
        return self.design, "priors:", str(self.priors)

    @accepts(method=choice("REML", "ML"))
    @computing
    def reml(self, method: str = "REML", *, tolerance: float = 0.01) -> RemlFit:
        """Fit by restricted (``"REML"``) or full (``"ML"``) maximum likelihood.

        An iteration takes so many probes that others move no SD by ``tolerance`` standard errors.
        """
        if self.design.parametric_residual is not None or not self.design.terms:
            return fit_structured(self.design, method)
        fit = fit_reml(self.design, self.statistics, method, tolerance=tolerance)
        if method == "REML":
            self._last_reml = fit  # the sampler starts there and need not search again
        return fit

    @accepts(draws=whole(1), seed=SEED)
    def prior_predictive(self, draws: int = 4000, seed: int | None = None) -> xarray.Dataset:
        """Draw from the priors what they say of SDs, correlations, ICCs and the rest of V.

        Returns
        -------
        Dataset
            Of one chain; ``bv.summarize`` makes a table of it.

        Raises
        ------
        PriorError
            If an SD is flat.

        Examples
        --------
        >>> import bayesv as bv
        >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
        >>> bool((model.prior_predictive(seed=1)["VPC Batch"] < 1).all())
        True
        """
        refuse_draws(self.design, draws, keep_u=False)
        rng = np.random.default_rng(seed)
        return prior_predictive(self.priors, self.density.statistics, draws, rng)

    @computing
    def sample(
        self,
        engine: str = "collapsed",
        draws: int = 1000,
        chains: int = 4,
        seed: int | None = None,
        *,
        tune: int = 1000,
        cores: int | None = None,
        target_accept: float = 0.9,
        progressbar: bool = True,
        keep_u: bool = False,
    ) -> Posterior:
        """Draw from the posterior of (β, Σ, σ).

        Parameters
        ----------
        engine : {"collapsed", "nuts", "pymc", "bambi"}
            ``collapsed``: exact sampling of (Σ, σ) with u and β integrated out, β from its
            conditional; if its proposal does not fit, it says so and runs ``nuts``. ``nuts``: NUTS
            (nutpie) on the same density, with its analytic gradient. ``pymc``: NUTS on the
            conditional model of `to_pymc`. ``bambi``: NUTS on `to_bambi`. The last two run nutpie
            when it is installed, and compile for a while first.
        draws, chains : int
            Draws kept per chain, and chains.
        seed : int, optional
            The same seed gives the same draws.
        tune : int
            Warm-up draws per chain, of NUTS.
        cores : int, optional
            Threads at most, and chains that NUTS runs at a time. Draws do not depend on it.
        target_accept : float
            NUTS's target acceptance probability.
        progressbar : bool
            Whether work of more than a second is shown, on a terminal only; NUTS shows its own.
        keep_u : bool
            Whether to store the random effects, q numbers a draw.

        Returns
        -------
        Posterior

        Raises
        ------
        BayesvError
            If an argument is out of range.
        PriorError
            If the posterior is improper: too few levels bound a flat or a heavy-tailed SD.
        MissingPackageError
            If the engine is not installed.

        Warns
        -----
        SamplingWarning
            Once, if there are divergences, R-hat > 1.01, ESS < 400, or E[V | y] is infinite.
        """
        check_sampling(engine, draws, chains, tune, target_accept, seed)
        optional(whole(1))("cores", cores)
        refuse_draws(self.design, int(draws) * int(chains), keep_u)
        sizes = int(draws), int(tune), int(chains)
        options = NutsOptions(*sizes, cores, seed, target_accept, progressbar)
        density = self.density
        with gram.threads(cores), no_progress(not progressbar):
            Tails(density).refuse_improper()
            fit = self._start  # refuses a response that is reproduced: σ → 0 has infinite mass
            if density.by_residual is None and self.design.terms:  # with the probes it took
                density = MarginalDensity(fit.statistics, self.priors)
            result, name = draw(engine, self.design, density, fit.components, options,
                                keep_u=keep_u, frame=lambda: self.frame)  # fmt: skip
        return Posterior.from_draws(result, self.priors, name, density)
