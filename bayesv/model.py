"""The object a user holds: a formula with data, its design, its priors, and what can be fitted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from copy import copy
from functools import cached_property
from typing import Any, cast

import numpy as np

from bayesv.covariance import VarianceComponents
from bayesv.design.design import Design
from bayesv.errors import (
    DataError,
    FitWarning,
    MemoryNeededError,
    PriorError,
    SamplingWarning,
    without,
)
from bayesv.formula import ModelFrame, build, open_source, read_batches
from bayesv.gram import (
    GramStatistics,
    Moments,
    Responses,
    Units,
    arrange,
    check_structure,
    responses_of,
    statistics_of,
    threads,
)
from bayesv.inference.adaptation import ProposalError
from bayesv.inference.collapsed import sample_collapsed
from bayesv.inference.density import MarginalDensity
from bayesv.inference.draws import Draws
from bayesv.inference.options import ENGINES, NutsOptions, check_sampling, refuse_too_many
from bayesv.inference.tails import Tails
from bayesv.posterior.posterior import Posterior
from bayesv.priors.draws import prior_predictive
from bayesv.priors.priors import Priors, ResolvedPriors
from bayesv.reml import RemlFit, fit_reml
from bayesv.support.arguments import SEED, TEXT, accepts, choice, mapping, optional, whole

__all__ = ["ENGINES", "Model", "check_sampling"]

# Inside, numbers may underflow whatever np.seterr says outside.
_USUAL: dict[str, Any] = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


class Model:
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
    structure : {"auto", "single", "nested", "crossed"}
        How random effects are eliminated; `describe` shows what was chosen. The results are equal.
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
    priors: ResolvedPriors
    _frame: ModelFrame | None
    _sums: tuple[Moments, Units] | None

    @accepts(namespace=optional(mapping()), structure=TEXT)
    def __init__(
        self,
        formula: str,
        data: Any,
        priors: Priors | None = None,
        var_weights: Any = None,
        namespace: Mapping[str, Any] | None = None,
        *,
        structure: str = "auto",
        dedupe: bool = True,
    ) -> None:
        self._begin(priors, structure, dedupe)
        source = open_source(data)
        if source is None:
            self.design, self._frame = build(formula, data, var_weights, namespace)
        else:
            design, moments, units = read_batches(formula, source, var_weights, namespace)
            # Answers to the same names; those of rows raise an error that says why.
            self.design = cast(Design, design)
            self._sums = moments, units
        self.priors = self._given_priors.resolve(self.design)

    def _begin(self, priors: Priors | None, structure: str, dedupe: bool) -> None:
        """Check and keep what does not depend on the data."""
        check_structure(structure)
        self._structure, self._dedupe = structure, dedupe
        self._given_priors = _checked(priors)
        self._frame = None
        self._frame_is_older = False  # than the response
        self._last_reml: RemlFit | None = None
        self._sums = None

    @classmethod
    @accepts(structure=TEXT)
    def from_design(
        cls,
        design: Design,
        priors: Priors | None = None,
        *,
        structure: str = "auto",
        dedupe: bool = True,
    ) -> Model:
        """Return the model of a design, without a formula to evaluate or a data frame.

        Parameters
        ----------
        design : Design
            With its rows, such as that of a fit made elsewhere.
        priors, structure, dedupe
            As for `Model`.

        Returns
        -------
        Model
            For every engine but Bambi, which needs the data frame.

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
        model._begin(priors, structure, dedupe)
        model.design = design
        model.priors = model._given_priors.resolve(design)
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
            Equal to a fresh one. The formula is not evaluated again and the statistics share all
            parts without y, which makes it the way to fit one design thousands of times. Priors
            that scale with the data are resolved for the new response.

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
        responses, new = self._responses, copy(self)
        new.__dict__.pop("_start", None)
        new._last_reml = None
        new.design = self.design.with_response(y)
        new.__dict__["statistics"] = responses.statistics(new.design.target)
        new._frame_is_older = True
        new.priors = self._given_priors.resolve(new.design)
        return new

    def with_priors(self, priors: Priors | None) -> Model:
        """Return the model of the same data with other priors.

        Parameters
        ----------
        priors : Priors or None
            None: the defaults.

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
        new._given_priors = _checked(priors)
        new.priors = new._given_priors.resolve(self.design)
        return new

    @cached_property
    def _responses(self) -> Responses:
        """What the models of all responses on this design share."""
        if self._sums is not None:
            raise DataError(
                "This model was read in batches and keeps no rows, so that Z'Wy of another "
                "response cannot be summed up. Build it from a data frame."
            )
        return responses_of(self.design, self.statistics)

    @cached_property
    def statistics(self) -> GramStatistics:
        """Gram statistics of [Z X y]: all that the rows have to say."""
        design = self.design
        if self._sums is None:
            return statistics_of(design, self._structure, dedupe=self._dedupe)
        return arrange(*self._sums, self._structure, dedupe=self._dedupe)

    @property
    def frame(self) -> ModelFrame:
        """The formula with the data it was evaluated on."""
        if self._frame is None and self._sums is None:
            raise DataError(
                "This model was made from a design and has no data frame, which Bambi needs. Use "
                "another engine, or build it by bv.Model(formula, data)."
            )
        if self._frame is None:
            raise DataError(
                "This model was read in batches and keeps no rows; PyMC and Bambi models of the "
                "conditional likelihood need a data frame. engine='collapsed' and "
                "bv.to_pymc(model, marginal=True) do not."
            )
        return self._frame.with_response(self.design.y) if self._frame_is_older else self._frame

    @cached_property
    def _start(self) -> VarianceComponents:
        """Where the collapsed engine starts to look for the mode."""
        with without(FitWarning):
            return (self._last_reml or self.reml()).components

    @property
    def elimination(self) -> str:
        """How random effects are eliminated, in words; or the memory needed, if there is less."""
        try:
            return self.statistics.describe(self.design.groups)
        except MemoryNeededError as error:
            return f"none. {error}"

    def describe(self) -> str:
        """Return design, elimination structure and priors in words."""
        return f"{self.design.describe()}\nstructure: {self.elimination}\npriors:\n{self.priors}"

    def __repr__(self) -> str:
        return f"<Model {self.design!r}>"

    @accepts(method=choice("REML", "ML"))
    @np.errstate(**_USUAL)
    def reml(self, method: str = "REML") -> RemlFit:
        """Fit by restricted (``"REML"``) or full (``"ML"``) maximum likelihood.

        Returns
        -------
        RemlFit
            Printing it shows what lme4's ``summary`` shows.
        """
        fit = fit_reml(self.design, self.statistics, method)
        if method == "REML":
            self._last_reml = fit  # the sampler starts there and need not search again
        return fit

    @accepts(draws=whole(1), seed=SEED)
    def prior_predictive(self, draws: int = 4000, seed: int | None = None) -> Any:
        """Draw from the priors what they say of SDs, correlations, ICCs and the rest of V.

        Parameters
        ----------
        draws : int
        seed : int, optional

        Returns
        -------
        Dataset
            Dims (chain, draw), one chain; ``bv.summarize`` makes a table of it.

        Raises
        ------
        PriorError
            If the prior of an SD is flat.

        Examples
        --------
        >>> import bayesv as bv
        >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
        >>> bool((model.prior_predictive(seed=1)["VPC Batch"] < 1).all())
        True
        """
        return prior_predictive(self.priors, self.statistics, draws, np.random.default_rng(seed))

    @np.errstate(**_USUAL)
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
            If the posterior is improper: a flat SD, or one with a heavy tail, that the levels of
            its factor do not bound.
        MissingPackageError
            If the engine is not installed.

        Warns
        -----
        SamplingWarning
            Once, if there are divergences, R-hat above 1.01 or ESS below 400, or E[V | y] is
            infinite.
        """
        check_sampling(engine, draws, chains, tune, target_accept, seed)
        if cores is not None:
            whole(1)("cores", cores)
        refuse_too_many(self.design, int(draws) * int(chains), keep_u)
        density = MarginalDensity(self.statistics, self.priors)
        options = NutsOptions(
            int(draws), int(tune), int(chains), cores, seed, target_accept, progressbar
        )
        with threads(cores):
            Tails(density).refuse_improper()
            _ = self._start  # refuses a response that the model reproduces: σ → 0 has infinite mass
            result, name = self._run(engine, density, options, keep_u)
        return Posterior.from_draws(result, self.priors, name, density)

    def _run(
        self, engine: str, density: MarginalDensity, options: NutsOptions, keep_u: bool
    ) -> tuple[Draws, str]:
        """Run an engine; return the draws and the name of the engine that made them."""
        if engine == "pymc":
            from bayesv.inference.pymc import build_pymc, sample_pymc

            built = build_pymc(self.design, self.priors)
            return sample_pymc(built, self.priors, options, keep_u), engine
        if engine == "bambi":
            from bayesv.inference.bambi import build_bambi, sample_bambi

            built = build_bambi(self.design, self.frame, self.priors)
            return sample_bambi(built, self.design, options, keep_u), engine
        if engine == "collapsed":
            try:
                return sample_collapsed(density, self._start, options, keep_u), engine
            except ProposalError as error:
                warnings.warn(
                    f"The collapsed engine's proposal does not cover the posterior ({error}); NUTS "
                    "on the same density runs instead.",
                    SamplingWarning,
                    stacklevel=4,
                )
        from bayesv.inference.nuts import sample_nuts

        return sample_nuts(density, self._start, options, keep_u), "nuts"


def _checked(priors: Priors | None) -> Priors:
    if priors is not None and not isinstance(priors, Priors):
        raise PriorError(f"priors must be a bv.Priors, found {type(priors).__name__}.")
    return priors or Priors()
