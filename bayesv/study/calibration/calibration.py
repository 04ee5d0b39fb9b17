"""The result of a calibration: ranks, bands, and what passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.names import variable_name
from bayesv.study.calibration.bands import Band, detectable, ecdf_band
from bayesv.support.shown import Part, Shown, Table
from bayesv.support.xarray import data_tree, dataset

if TYPE_CHECKING:
    import xarray

__all__ = ["Calibration"]


@dataclass(frozen=True, eq=False, repr=False)
class Calibration(Shown):
    """Ranks of every quantity among posterior draws, and whether they are uniform; see `sbc`.

    Attributes
    ----------
    kind : {"prior", "posterior"}
        Where parameters came from.
    formula, engine, priors : str
        What was calibrated. Priors are those that every replicate was simulated and fitted with;
        defaults were resolved once, from the data of the model given.
    ranks : DataFrame, shape (ranked replicates, quantities)
        Number of draws below the simulated value, from 0 to ``n_draws``; rows are replicates.
    n_draws : int
        Draws that are ranked among.
    prob : float
        Probability that all of the quantities stay in their bands if all are calibrated, at least.
    fallbacks : tuple of int
        Replicates that the collapsed engine would have handed over to NUTS; they have no ranks.
    failures : DataFrame
        Replicates that raised an error: replicate, seed, error. They have no ranks. ``sbc`` with
        the same arguments, ``seed=result.seed`` and ``replicates=[17]`` repeats one of them.
    seed : int
        Replicate k draws from ``numpy.random.SeedSequence(seed, spawn_key=(k,))``.
    sensitivity : DataFrame, shape (ranked replicates, prior parameters)
        How far draws move, in posterior SDs, per change of a prior: of the log of an SD prior's
        scale, of LKJ's η.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> found = bv.study.sbc(model, kind="posterior", replicates=5, seed=1, workers=1)
    >>> found.failed, list(found.table.columns)
    ((), ['passed', 'excess', 'p', 'mean', 'spread'])
    """

    kind: str
    formula: str
    engine: str
    priors: str
    ranks: pd.DataFrame
    n_draws: int
    prob: float
    fallbacks: tuple[int, ...]
    failures: pd.DataFrame
    seed: int
    sensitivity: pd.DataFrame

    @property
    def band(self) -> Band:
        """Band of each quantity; Bonferroni over the quantities."""
        return ecdf_band(len(self.ranks), self.n_draws + 1, self._each)

    @property
    def _each(self) -> float:
        """Probability of the band of one quantity."""
        return float(1 - (1 - self.prob) / self.ranks.shape[1])

    @cached_property
    def power(self) -> pd.Series:
        """The smallest errors that a calibration of this size sees 4 times in 5.

        ``shift`` of a quantity's draws in posterior SDs; ``narrow`` and ``wide``, factors of their
        SD. Then what may be wrong with a prior: the factor of an SD's scale (``scale of sd …``),
        the change of LKJ's η (``η of …``), and the number of replicates that would see a half-t(3)
        in place of a half-normal or the reverse (``tails of sd …``). Those of priors are to first
        order, for what moves most; infinite where the data leave a prior nothing to say. With
        kind="posterior" an error that acts like another prior is not seen at all.
        """
        shift, narrow, wide = detectable(len(self.ranks), self.n_draws + 1, self._each)
        smallest = {"shift": shift, "narrow": narrow, "wide": wide}
        if self.kind == "prior":
            for name, moves in self.sensitivity.mean().items():
                change = shift / moves if moves > 0 else np.inf
                with np.errstate(over="ignore"):
                    if str(name).startswith("scale"):
                        change = float(np.exp(change))
                    elif str(name).startswith("tails"):
                        change = float(np.ceil(len(self.ranks) * change**2))
                smallest[str(name)] = change
        return pd.Series(smallest, name="smallest error seen")

    @cached_property
    def table(self) -> pd.DataFrame:
        """One line per quantity.

        Columns: passed; excess, how far the ECDF leaves its band, as a probability; p, the share of
        uniform samples that stray as far as this one (of one quantity, not corrected for their
        number); mean and spread of the ranks, 0.5 and 1 if uniform. A mean above 0.5 says that the
        draws are too small; a spread above 1 that they are too narrow, or dependent.
        """
        u = (self.ranks + 0.5) / (self.n_draws + 1)
        excess = self.ranks.apply(self.band.excess)
        return pd.DataFrame(
            {
                "passed": excess == 0,
                "excess": excess,
                "p": self.ranks.apply(self.band.p_value),
                "mean": u.mean(),
                "spread": u.std(ddof=0) * 12**0.5,
            }
        ).rename_axis("quantity")

    @property
    def failed(self) -> tuple[str, ...]:
        """Quantities whose ranks leave their band."""
        return tuple(self.table.index[~self.table["passed"]])

    @property
    def passed(self) -> bool:
        """Whether every quantity stays in its band."""
        return not self.failed

    def to_datatree(self) -> xarray.DataTree:
        """Return normalised ranks as ArviZ-plots reads them, such as for ``plot_ecdf_pit``.

        Returns
        -------
        DataTree
            Group ``prior_sbc``: (rank + ½)/(n_draws + 1), dims (chain, draw), one chain.
        """
        u = (self.ranks + 0.5) / (self.n_draws + 1)
        values = {variable_name(name): (("chain", "draw"), u[name].to_numpy()[None]) for name in u}
        coords = {"chain": [0], "draw": self.ranks.index.to_numpy()}
        return data_tree({"prior_sbc": dataset(values, coords=coords)})

    def plot(self, **options: Any) -> NDArray[np.object_]:
        """Draw the ECDFs with their bands; see `bayesv.plots.rank_ecdfs`."""
        from bayesv.plots.calibration import rank_ecdfs

        return rank_ecdfs(self, **options)

    def _power_text(self) -> str:
        power = self.power
        text = (
            f"Smallest errors that {len(self.ranks)} replicates see 4 times in 5 (smaller ones are "
            f"likely to be missed): draws shifted by {power['shift']:.2g} posterior SDs; their SD "
            f"{power['narrow']:.2g} or {power['wide']:.2g} times what it should be"
        )
        said = {"scale": "{} × {:.2g}", "η": "{} + {:.2g}", "tails": "{} seen by {:.2g} replicates"}
        priors = [
            said[str(name).split(" ")[0]].format(name, value)
            for name, value in power.iloc[3:].items()
        ]
        if self.kind == "posterior":
            return f"{text}. Errors that act like another prior are not seen."
        return f"{text}; a wrong prior: {', '.join(priors)}."

    def _shown(self) -> Iterator[Part]:
        n, K = self.ranks.shape
        where = "the priors" if self.kind == "prior" else "the posterior, with new data beside y"
        said = self.table.assign(passed=np.where(self.table["passed"], "pass", "FAIL"))
        verdict = (
            f"All {K} quantities stay in their bands"
            if self.passed
            else f"Outside their bands: {', '.join(self.failed)}"
        )
        yield f"Simulation-based calibration of {self.formula}"
        yield f"engine {self.engine}; parameters from {where}"
        yield f"priors {self.priors}"
        yield (
            f"{n} replicates ranked among {self.n_draws} draws, {len(self.fallbacks)} fallbacks to "
            f"NUTS, {len(self.failures)} failures, seed {self.seed}"
        )
        yield Table.of(said.rename_axis(None), lambda value: f"{value:.4f}")
        yield f"{verdict} ({self.prob:.0%} for all quantities together)."
        yield self._power_text()
        if len(self.failures):
            first = self.failures.iloc[0]
            yield f"first failure: replicate {first['replicate']}: {first['error']}"
