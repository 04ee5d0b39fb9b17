"""The result of a study: every replicate's numbers, their scores, and what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bayesv.study.results.performance import GROUPS, performance
from bayesv.study.results.store import Store, arranged
from bayesv.support.arguments import PATH, accepts
from bayesv.support.shown import Part, Shown, Table
from bayesv.support.xarray import dataset

if TYPE_CHECKING:
    import xarray

__all__ = ["StudyResult", "read"]

_LINES_SHOWN = 40


@dataclass(frozen=True, eq=False, repr=False)
class StudyResult(Shown):
    """What a study found; of all replicates or, if it was interrupted, of those that are done.

    Attributes
    ----------
    manifest : mapping
        What was asked for: scenarios, estimators, scores, seed, replicates, versions.
    rows : DataFrame
        See `to_frame`; without the factors of the grid.
    """

    manifest: Mapping[str, Any]
    rows: pd.DataFrame = field(repr=False)

    def to_frame(self) -> pd.DataFrame:
        """Return one line per replicate, estimator and scalar.

        Returns
        -------
        DataFrame
            Columns scenario, the factors of the grid, replicate, estimator, kind (``sd``, ``var``,
            ``cov``, ``corr``, ``V``, ``functional``, ``curve``, ``loss``, ``beta``, ``status``),
            quantity, method (of standard error and interval), truth, estimate, se, df, low, high,
            message. ``status`` counts what was ``failed``, ``warned``, ``singular``, ``not
            converged``, a ``fallback`` to another engine, or had ``problems`` with its draws; and
            has ``seconds``. They alone depend on the machine and the run.
        """
        return self._with_factors(self.rows.copy(deep=False))

    def scores(self) -> pd.DataFrame:
        """Return every score with its Monte Carlo standard error, one per line.

        Returns
        -------
        DataFrame
            Columns scenario, the factors of the grid, estimator, kind, quantity, method, score,
            value, mcse, n; see `bayesv.study.results.performance.performance`. Replicates that
            could not be simulated, or whose process died, are among the `failures`; n is without
            them.
        """
        return self._scores.copy()

    @cached_property
    def _scores(self) -> pd.DataFrame:
        # A replicate without an estimator has no results at all; it is among the failures.
        rows = self.rows[self.rows["estimator"] != ""]
        return self._with_factors(performance(rows))

    def to_xarray(self) -> xarray.Dataset:
        """Return the scores as a Dataset.

        Returns
        -------
        Dataset
            A variable for each score, and ``<score> mcse``, ``<score> n``; dims (scenario,
            estimator, quantity, method), NaN where there is none. Factors of the grid are
            coordinates of ``scenario``, kinds of ``quantity``.
        """
        table = self.scores()
        dims = ["scenario", "estimator", "quantity", "method"]
        table["quantity"] = [
            name if kind != "status" else f"status {name}"
            for kind, name in zip(table["kind"], table["quantity"], strict=True)
        ]
        kinds = table.drop_duplicates("quantity").set_index("quantity")["kind"].astype(str)
        variables = {}
        for score, part in table.groupby("score", sort=False):
            index = pd.MultiIndex.from_frame(part[dims].astype(str))
            for suffix, column in (("", "value"), (" mcse", "mcse"), (" n", "n")):
                values = pd.Series(part[column].to_numpy(dtype=float), index)
                variables[f"{score}{suffix}"] = values.to_xarray()
        names = [one["name"] for one in self.manifest["estimators"]]
        order = {"scenario": list(self.scenarios), "estimator": names}
        data = dataset(variables)
        # Aligning has sorted the labels; the order of the study is the one that means something.
        data = data.sel(
            {dim: [x for x in wanted if x in data[dim]] for dim, wanted in order.items()}
        )
        data = data.assign_coords(
            kind=("quantity", kinds.reindex(data["quantity"].to_numpy()).to_numpy(dtype=object))
        )
        factors = self.factors.reindex(data["scenario"].to_numpy())
        return data.assign_coords(
            {name: ("scenario", factors[name].to_numpy()) for name in factors}
        )

    @property
    def failures(self) -> pd.DataFrame:
        """Replicates that raised an error.

        Columns scenario, replicate, estimator (empty: the simulation itself, or the process died),
        seed, error. ``data = scenario.prepare(seed).replicate(replicate)`` makes the same data
        again, and ``estimator.fit(data.model, estimator.seed(data))`` the same fit.
        """
        rows = self.rows
        bad = rows[(rows["quantity"] == "failed") & (rows["estimate"] == 1.0)]
        table = bad[["scenario", "replicate", "estimator"]].astype({"estimator": str})
        table["seed"], table["error"] = self.manifest["seed"], bad["message"].astype(str)
        return table.reset_index(drop=True)

    @property
    def factors(self) -> pd.DataFrame:
        """Values of the grid's factors, one line per scenario."""
        factors = self.manifest["factors"]
        return pd.DataFrame(
            [factors.get(name, {}) for name in self.scenarios], index=list(self.scenarios)
        )

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Names of the scenarios."""
        return tuple(self.manifest["names"])

    @property
    def done(self) -> pd.Series:
        """Number of replicates that are done, by scenario."""
        counts = self.rows.groupby("scenario", observed=False)["replicate"].nunique()
        return counts.reindex(list(self.scenarios), fill_value=0)

    def _with_factors(self, table: pd.DataFrame) -> pd.DataFrame:
        """Put the grid's factors beside the scenario."""
        factors = self.factors
        place = pd.Index(self.scenarios).get_indexer(table["scenario"])
        for i, name in enumerate(factors.columns):
            if name not in table:
                table.insert(1 + i, str(name), factors[name].to_numpy()[place])
        return table

    def _shown(self) -> Iterator[Part]:
        done, wanted = self.done, self.manifest["replicates"]
        estimators = [one["name"] for one in self.manifest["estimators"]]
        short = int((wanted - done).clip(lower=0).sum())
        yield (
            f"Study of {len(self.scenarios)} scenario{'s' * (len(self.scenarios) != 1)} × "
            f"{wanted} replicates, seed {self.manifest['seed']}: {', '.join(estimators)}"
        )
        if short:
            yield f"not complete: {short} replicates are missing"
        if len(self.rows):
            yield from _sections(self._scores)
        if len(failures := self.failures):
            first = failures.iloc[0]
            where = ", ".join(filter(None, [first["scenario"], first["estimator"]]))
            yield (
                f"{len(failures)} failures, see .failures; the first: {where}, replicate "
                f"{first['replicate']}: {first['error']}"
            )


@accepts(out=PATH)
def read(out: str | Path) -> StudyResult:
    """Read a study from its folder, complete or not.

    Parameters
    ----------
    out : str or Path
        What `run` was given.

    Raises
    ------
    BayesvError
        If there is no study, or a file of it is damaged.
    """
    store = Store(out)
    manifest = store.manifest()
    return StudyResult(manifest, arranged(store.read(), manifest["names"], manifest["replicates"]))


def _sections(scores: pd.DataFrame) -> Iterator[Part]:
    """Give tables with bias and coverage of SDs, correlations and β, losses, and rates."""
    columns = [*GROUPS, "score", "value", "mcse", "n"]
    known = {
        tuple(str(part) for part in key): (value, mcse, n)
        for *key, value, mcse, n in scores[columns].itertuples(index=False)
    }
    heads = list(dict.fromkeys(key[:-1] for key in known))

    def text(key: tuple[str, ...], score: str) -> str:
        value, mcse, n = known.get((*key, score), (None, 0.0, 0))
        if value is None:
            return ""
        # Not all replicates have an interval: what is said of coverage is said of these.
        of = f" of {n}" if score == "coverage" and n < known[(*key, "bias")][2] else ""
        return f"{value:.4g} ± {mcse:.2g}{of}"

    left = _LINES_SHOWN
    for section in dict.fromkeys(key[:2] for key in heads):
        here = [key for key in heads if key[:2] == section]
        shown = [key for key in here if key[2] in ("sd", "corr", "beta", "loss")]
        if left <= 0:
            yield "…; all of it is in .scores()"
            break
        left -= len(shown)
        yield ""
        yield ", ".join(part for part in section if part)
        rows = []
        for key in shown:
            name = f"loss {key[3]}" if key[2] == "loss" else key[3]
            label = f"{name} ({key[4]})" if key[2] == "beta" else name
            first = text(key, "bias") or text(key, "mean")
            rows.append((f"  {label}", first, text(key, "rmse"), text(key, "coverage")))
        yield Table(("", "bias, or mean", "rmse", "coverage"), tuple(rows))
        rates = [
            f"{key[3]} {known[(*key, 'rate')][0]:.1%}" for key in here if (*key, "rate") in known
        ]
        seconds = [known[(*key, "mean")][0] for key in here if key[3] == "seconds"]
        rates += [f"{value:.3g} s a fit" for value in seconds]
        yield f"  {', '.join(rates)}"
