"""Simulate, fit and rank, many times."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesv.errors import BayesvError, DesignWarning, FitWarning, SamplingWarning, near, none_of
from bayesv.linalg import Array
from bayesv.model import Model, check_sampling
from bayesv.posterior.posterior import Posterior
from bayesv.study.calibration.calibration import Calibration
from bayesv.study.calibration.ranked import ranked_quantities, sensitivities
from bayesv.study.calibration.setting import (
    Setting,
    drawn_of,
    posterior_setting,
    prior_setting,
)
from bayesv.study.execution.chunks import Died, in_chunks
from bayesv.support.process import own_warnings
from bayesv.support.progress import progress

__all__ = ["sbc"]

KINDS = ("prior", "posterior")
_DRAWS_APART_NUTS = 10  # from there on draws of NUTS are as good as independent
_LEAST_DRAWS_OF_A_CHAIN = 1000  # of p(θ | y_obs)


def sbc(
    model: Model,
    *,
    kind: str = "prior",
    replicates: int | Sequence[int] = 500,
    engine: str = "collapsed",
    draws: int = 25,
    chains: int = 4,
    thin: int | None = None,
    tune: int = 1000,
    seed: int | None = None,
    quantities: Sequence[str] | None = None,
    keep_u: bool = False,
    prob: float = 0.95,
    posterior: Posterior | None = None,
    workers: int | None = None,
    client: Any = None,
    progressbar: bool | None = None,
) -> Calibration:
    """Check by simulation that posterior draws are draws from the posterior.

    Parameters θ are drawn, then data from them, the model is fitted to the data, and θ is ranked
    among the draws. If prior, density and sampler agree with each other and with the simulator, the
    ranks are uniform.

    Parameters
    ----------
    model : Model
        Design, priors, and for ``kind="posterior"`` the response. Default priors are fixed as
        resolved from its data; they do not move with the simulated ones.
    kind : {"prior", "posterior"}
        ``prior``: θ from the priors, which must be proper. ``posterior``: θ from p(θ | y); new data
        of new levels of every factor, same X, Z and weights, are fitted together with y. It looks
        at the parameters that the data leave possible, and flat priors of β are allowed. An error
        that acts like another prior is not seen, because it changes p(θ | y) alike.
    replicates : int or sequence of int
        How many simulated data sets: 100 show gross errors; the result states which ones its
        number is likely to miss. Or which of them, such
        as ``[17]`` with the same seed, to see one that failed again.
    engine : {"collapsed", "nuts", "pymc", "bambi"}
    draws, chains : int
        The truth is ranked among ``draws × chains`` draws.
    thin : int, optional
        Of the engine's draws every so many are used; 1 for the collapsed engine, 10 for NUTS.
        Dependent draws make ranks too extreme (a spread above 1).
    tune : int
        Warm-up draws of NUTS.
    seed : int, optional
        The same seed gives the same ranks, whatever computes them.
    quantities : sequence of str, optional
        Which to rank, by name; all if left out. Fewer have narrower bands.
    keep_u : bool
        Whether to rank a random effect of every column and a fitted value as well.
    prob : float
        Probability that all of the quantities stay in their bands if all are calibrated.
    posterior : Posterior, optional
        Of the model, for ``kind="posterior"``; sampled by the engine if left out.
    workers : int, optional
        Local processes; all processors if left out. 1 starts none.
    client : dask.distributed.Client, optional
        A cluster to compute on, instead.
    progressbar : bool, optional
        Left out: if standard error is a terminal.

    Returns
    -------
    Calibration
        Printing it shows what passes, and the smallest error that it would have seen.

    Raises
    ------
    BayesvError
        If an argument is out of range, a quantity is not known, or no replicate could be ranked.
    PriorError
        If a prior is flat and ``kind="prior"``.

    Notes
    -----
    Talts et al. 2018 (https://arxiv.org/abs/1804.06788); quantities of data and parameters: Modrák
    et al. 2023 (https://doi.org/10.1214/23-BA1404); bands: Säilynoja et al. 2022
    (https://doi.org/10.1007/s11222-022-10090-6), Bonferroni over quantities; around data:
    Säilynoja et al. 2025 (https://arxiv.org/abs/2502.03279). Ties are broken at random. Where the
    collapsed engine would hand over to NUTS, the replicate is counted and not ranked; whether it
    does depends on the data, and ranks are uniform given the data.

    Examples
    --------
    >>> import bayesv as bv
    >>> priors = bv.Priors(
    ...     sd=bv.HalfNormal(50), sigma=bv.HalfNormal(50), beta=bv.Normal(1500, 100)
    ... )
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"), priors)
    >>> found = bv.study.sbc(model, replicates=20, seed=1, workers=1)
    >>> found.passed, found.ranks.shape
    (True, (20, 11))
    """
    keys = _check(model, kind, replicates, prob, posterior)
    check_sampling(engine, draws, chains, tune)
    if thin is None:
        thin = 1 if engine == "collapsed" else _DRAWS_APART_NUTS
    if not isinstance(thin, int | np.integer) or thin < 1:
        raise BayesvError(f"thin must be a positive integer; found {thin!r}.")
    if seed is not None and (not isinstance(seed, int | np.integer) or seed < 0):
        raise BayesvError(f"seed must be a non-negative integer; found {seed!r}.")
    root = np.random.SeedSequence(seed)
    entropy = int(root.entropy)  # type: ignore[arg-type]
    run: dict[str, Any] = {
        "engine": engine,
        "draws": draws * thin,
        "chains": chains,
        "tune": tune,
        "cores": 1,
    }
    if kind == "prior":
        setting = prior_setting(model, engine)
    else:
        if posterior is None:
            each = max(_LEAST_DRAWS_OF_A_CHAIN, -(-(max(keys) + 1) // chains))
            start = {**run, "draws": each, "cores": None, "progressbar": progressbar is not False}
            posterior = model.sample(**start, seed=int(root.generate_state(1)[0]) >> 1)
        order = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(0, 1)))
        setting = posterior_setting(model, posterior, max(keys) + 1, order, engine)
    names = _known(setting, keep_u, entropy)
    if quantities is not None:
        _check_names(quantities, names)
        names = list(dict.fromkeys(quantities))
    work = _Work(setting, run, thin, entropy, keep_u)
    by_replicate: dict[int, _Ranks] = {}
    with progress("calibrating", len(keys), show=progressbar) as advance:
        for chunk, result in in_chunks(work, keys, workers=workers, client=client):
            ranks = [_Ranks(error=result.reason)] if isinstance(result, Died) else result
            by_replicate |= dict(zip(chunk, ranks, strict=True))
            advance(len(chunk))
    return _collected(model, kind, engine, by_replicate, names, (draws * chains, prob, entropy))


@dataclass(frozen=True)
class _Ranks:
    """What came of a replicate: ranks and sensitivities, or a fallback (neither), or an error."""

    ranks: dict[str, int] | None = None
    moves: dict[str, float] | None = None
    error: str | None = None


@dataclass(frozen=True, eq=False)
class _Work:
    """Ranks of some replicates, each by its own random numbers."""

    setting: Setting
    run: dict[str, Any]
    thin: int
    entropy: int
    keep_u: bool

    def __call__(self, keys: tuple[int, ...]) -> list[_Ranks]:
        return [self._one(k) for k in keys]

    def _one(self, k: int) -> _Ranks:
        rng = np.random.default_rng(np.random.SeedSequence(self.entropy, spawn_key=(k,)))
        with own_warnings():
            # So few draws are kept that a low ESS is reported; a hand-over need not be carried out.
            for known in (DesignWarning, FitWarning, SamplingWarning):
                warnings.simplefilter("ignore", known)
            warnings.filterwarnings("error", ".*runs instead", SamplingWarning)
            try:
                return self._ranks(k, rng)
            except SamplingWarning:
                return _Ranks()
            except Exception as error:  # recorded with its replicate; the others go on
                return _Ranks(error=f"{type(error).__name__}: {error}")

    def _ranks(self, k: int, rng: np.random.Generator) -> _Ranks:
        truth, model = self.setting.replicate(k, rng)
        post = model.sample(
            seed=int(rng.integers(2**31)), keep_u=self.keep_u, progressbar=False, **self.run
        )
        drawn = drawn_of(post, slice(self.thin - 1, None, self.thin), keep_u=self.keep_u)
        density = model.density
        both = truth.followed_by(drawn)
        values = ranked_quantities(density, both)
        ranks = {name: _rank(x[0], x[1:], rng) for name, x in values.items()}
        return _Ranks(ranks, sensitivities(model.priors, drawn.values))


def _rank(true: float, drawn: Array, rng: np.random.Generator) -> int:
    """Rank of the truth, among ties at random. What is not defined counts as smallest."""
    true, drawn = np.nan_to_num(true, nan=-np.inf), np.nan_to_num(drawn, nan=-np.inf)
    below, ties = int((drawn < true).sum()), int((drawn == true).sum())
    return below + int(rng.integers(ties + 1))


def _check(
    model: Any, kind: str, replicates: Any, prob: Any, posterior: Posterior | None
) -> Sequence[int]:
    """Refuse what is out of range; return the replicates' numbers."""
    if not isinstance(model, Model):
        raise BayesvError(f"A bv.Model is needed; found {type(model).__name__}.")
    _ = model.design.row_labels  # a design without rows says here that it has none
    if kind not in KINDS:
        raise BayesvError(none_of("kind", kind, KINDS))
    keys = range(replicates) if isinstance(replicates, int) else replicates
    numbers = isinstance(keys, Sequence) and all(isinstance(k, int) and k >= 0 for k in keys)
    if not numbers or not keys or len(set(keys)) < len(keys):
        raise BayesvError(
            "replicates must be a positive integer, or different integers from 0 that number "
            f"replicates; found {replicates!r}."
        )
    if not isinstance(prob, float) or not 0 < prob < 1:
        raise BayesvError(f"prob must lie between 0 and 1; found {prob!r}.")
    if posterior is None:
        return keys
    if kind != "posterior":
        raise BayesvError(
            "A posterior is given, but parameters come from the priors; kind='prior'."
        )
    same = posterior.design is model.design and posterior.priors is model.priors
    if not same:
        raise BayesvError(
            "The posterior is not of this model and its priors; give the one that "
            "model.sample() returned, or leave it out."
        )
    return keys


def _known(setting: Setting, keep_u: bool, entropy: int) -> list[str]:
    """Names of the quantities, from parameters and data that no replicate uses."""
    rng = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(0, 0)))
    truth, model = setting.replicate(0, rng)
    density = model.density
    truth = truth if keep_u else replace(truth, u={})
    with np.errstate(all="ignore"):
        return list(ranked_quantities(density, truth))


def _check_names(quantities: Any, known: list[str]) -> None:
    names = [quantities] if isinstance(quantities, str) else list(quantities)
    for name in names:
        if name not in known:
            raise BayesvError(
                f"There is no quantity {name!r} among {', '.join(known)}{near(str(name), known)}"
            )
    if isinstance(quantities, str) or not names:
        raise BayesvError(f"quantities must be a list of names; found {quantities!r}.")


def _collected(
    model: Model,
    kind: str,
    engine: str,
    by_replicate: dict[int, _Ranks],
    names: list[str],
    numbers: tuple[int, float, int],
) -> Calibration:
    n_draws, prob, entropy = numbers
    ordered = sorted(by_replicate.items())
    ranked = {k: one.ranks for k, one in ordered if one.ranks is not None}
    failures = pd.DataFrame(
        [(k, f"({entropy}, {k})", one.error) for k, one in ordered if one.error is not None],
        columns=["replicate", "seed", "error"],
    )
    fallbacks = tuple(k for k, one in ordered if one.ranks is None and one.error is None)
    if not ranked:
        why = failures["error"].iloc[0] if len(failures) else "the collapsed engine refused all"
        raise BayesvError(
            f"None of {len(by_replicate)} replicates could be ranked ({len(failures)} failed, "
            f"{len(fallbacks)} fell back to NUTS). The first: {why}"
        )
    ranks = pd.DataFrame.from_dict(ranked, orient="index")[names].rename_axis("replicate")
    moves = {k: one.moves for k, one in ordered if one.moves is not None}
    return Calibration(
        kind, model.design.formula, engine, model.priors.one_line(), ranks, n_draws, prob,
        fallbacks, failures, entropy,
        pd.DataFrame.from_dict(moves, orient="index").rename_axis("replicate"),
    )  # fmt: skip
