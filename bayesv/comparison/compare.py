"""REML and posterior side by side: where they differ, on which scale, and under which prior."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesv.comparison.alignment import Alignment, difference, joint_design
from bayesv.comparison.estimates import at_estimate, reml_of
from bayesv.comparison.reasons import reasons
from bayesv.covariance import VarianceComponents
from bayesv.covariance.quantities import Quantity, point_quantities
from bayesv.covariance.summed import AtV, at_v
from bayesv.design.design import Design
from bayesv.diagnostics.convergence import density_mode
from bayesv.errors import BayesvError
from bayesv.names import distinct, labelled, paired
from bayesv.posterior.posterior import Posterior
from bayesv.priors.priors import ResolvedPriors
from bayesv.reml import RemlFit
from bayesv.support.arguments import PROBABILITY, accepts
from bayesv.support.shown import Part, Shown, Table, digits

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown):
    """REML (or ML) fits and posteriors of one design, quantity by quantity.

    Attributes
    ----------
    table : DataFrame
        One row per posterior and scalar: scale, group, first, second, reml, mean, median, mode,
        low, high, inside (whether REML lies in the interval), mcse, prior.
    fixed : DataFrame
        One row per posterior and coefficient: GLS β̂ and SE at REML's V and at the posterior's V,
        posterior mean, sd and its Monte Carlo standard error.
    points : DataFrame
        One row per scalar, one column per REML or ML fit.
    marginal : DataFrame
        One row per V: log|V|, trace, and the REML criterion there.
    notes : tuple of str
        Which fits were made in other columns than those of the first.
    """

    design: Design
    table: pd.DataFrame
    fixed: pd.DataFrame
    points: pd.DataFrame
    marginal: pd.DataFrame
    fits: tuple[RemlFit, ...]
    posteriors: tuple[Posterior, ...]
    names: tuple[str, ...]
    prob: float
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Return the tidy table, with the columns of `fixed` beside every β."""
        keys = ["posterior", "first"]
        extra = self.fixed.rename(columns={"coefficient": "first"})
        keep = [*keys, "gls_reml", "gls_reml_se", "gls_posterior", "gls_posterior_se"]
        if self.table.empty:
            return self.points.rename_axis("quantity").reset_index()
        if self.fixed.empty:
            return self.table.assign(**dict.fromkeys(keep[2:], np.nan))
        beta = self.table["scale"] == "beta"
        joined = self.table[beta].merge(extra[keep], on=keys, how="left")
        return pd.concat([self.table[~beta], joined], ignore_index=True)

    def reasons(self) -> list[str]:
        """Return where the fits differ, and why: which cause explains what share; computed once."""
        return list(self._reasons)

    @cached_property
    def _reasons(self) -> list[str]:
        return reasons(self.fits[0], self.posteriors, self.names, self.table)

    def _shown(self) -> Iterator[Part]:
        fit = self.fits[0]
        flag = ", singular" if fit.singular else ""
        yield f"Comparison for {self.design.formula}"
        yield f"{fit.label}: criterion {fit.criterion:.4f}{flag}, {self.design.n} rows"
        if len(self.fits) > 1:
            yield ""
            yield "Estimates"
            yield Table.of(self.points)
        for name, post in zip(self.names, self.posteriors, strict=True):
            yield ""
            yield from _of_posterior(name, post, self)
        yield ""
        yield "V = Z G Z' + R at each estimate"
        yield _of_marginal(self.marginal)
        for note in self.notes:
            yield ""
            yield f"note: {note}"
        if reasons := self.reasons():
            yield ""
            yield "Where they differ, and why"
            yield from (f"  {line}" for line in reasons)


@accepts(prob=PROBABILITY)
def compare(
    *fits: RemlFit | Posterior, prob: float = 0.95, labels: Sequence[str] | None = None
) -> Comparison:
    """Compare any number of REML fits, ML fits and posteriors of the same design.

    Parameters
    ----------
    *fits : RemlFit or Posterior
        At least two, or one posterior. The first `RemlFit` is what posteriors are held against; if
        there is none, a REML fit is made.
    prob : float
        Probability of the equal-tailed intervals.
    labels : sequence of str, optional
        What each fit is called; left out, by method and engine.

    Returns
    -------
    Comparison
        Prints within 80 columns; ``to_frame()`` is tidy.

    Raises
    ------
    BayesvError
        If there are fewer than two fits, or the designs differ.

    Notes
    -----
    ``mode`` is the marginal mode of each scalar on its own scale, from a kernel density (the least
    certain of the three): the mode of a variance is not the square of the mode of its SD. The GLS
    columns use V at E[Σ_f | y] and E[σ² | y] as the posterior's V.

    Fits of the same model in other columns (another coding of a factor, another zero of x) are
    brought to the columns of the first fit: with X_b = X_a M and Z_b = Z_a N within each row,
    β_a = M β_b and Σ_a = N Σ_b N', draw by draw. Fits of other spaces of columns are refused.
    """
    reml = tuple(fit for fit in fits if isinstance(fit, RemlFit))
    posts = tuple(fit for fit in fits if isinstance(fit, Posterior))
    others = [type(f).__name__ for f in fits if not isinstance(f, RemlFit | Posterior)]
    if others or len(fits) + len(posts) < 2:
        raise BayesvError(
            "compare needs a posterior or at least two fits, as in compare(model.reml(), post); "
            f"found {', '.join(type(f).__name__ for f in fits) or 'nothing'}."
        )
    called = labelled(labels, [f.label if isinstance(f, RemlFit) else f.engine for f in fits])
    of_reml = distinct([c for c, f in zip(called, fits, strict=True) if isinstance(f, RemlFit)])
    names = distinct([c for c, f in zip(called, fits, strict=True) if isinstance(f, Posterior)])
    if not reml:
        reml = (reml_of(posts[0]),)
        of_reml = (reml[0].label,)
    design, stats = reml[0].design, reml[0]._stats
    ways = [_alignment(design, fit.design) for fit in reml]
    of_posts = [_alignment(design, post.design) for post in posts]
    notes = _notes(names, posts, of_posts)
    posts = tuple(way.posterior(post) for way, post in zip(of_posts, posts, strict=True))
    summaries = [post.summary(prob) for post in posts]
    tables = [_table(reml[0], p, n, s) for p, n, s in zip(posts, names, summaries, strict=True)]
    means = [post.estimate("mean") for post in posts]
    at_mean = [at_v(design, vc.aligned(design), stats) for vc in means]
    fixed = [_fixed(reml[0], g, n, s) for g, n, s in zip(at_mean, names, summaries, strict=True)]
    rows, points = [], {}
    joint = joint_design(design, ways)
    for label, fit, way in zip(of_reml, reml, ways, strict=True):
        vc, beta, _ = way.fit(fit)
        rows.append(_marginal_row(label, at_estimate(fit), reml[0].criterion_at(vc)))
        points[label] = pd.Series({q.label: float(q.values) for q in _point(joint, vc, beta)})
    for post, name, mean, center in zip(posts, names, means, at_mean, strict=True):
        rows.append(
            _marginal_row(f"{name}: mean", center, reml[0].criterion_at(mean.aligned(design)))
        )
        for kind in ("median", "mode") if post.density is not None else ("median",):
            vc = post.estimate(kind).aligned(design)
            there = at_v(design, vc, stats)
            rows.append(_marginal_row(f"{name}: {kind}", there, reml[0].criterion_at(vc)))
    return Comparison(
        design=design,
        table=pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(),
        fixed=pd.concat(fixed, ignore_index=True) if fixed else pd.DataFrame(),
        points=pd.DataFrame(points),
        marginal=pd.DataFrame(rows),
        fits=reml,
        posteriors=posts,
        names=names,
        prob=prob,
        notes=notes,
    )


def _alignment(design: Design, other: Design) -> Alignment:
    """Return how fits of another design read in the columns of one, or say why they cannot."""
    if other is not design and not (design.has_rows and other.has_rows):
        raise BayesvError(
            "Fits of data that were read in batches are compared where they are of one model, "
            "model.reml() and model.sample() of one bv.Model: whether the rows of two are the same "
            "cannot be told. bv.compare_models(…) compares posteriors of different models."
        )
    what = difference(design, other)
    if what is not None:
        raise BayesvError(
            f"The fits are of different data or models: their {what} differ ({design.formula!r} "
            f"and {other.formula!r}). Compare fits of the same rows and spaces of columns. "
            "Posteriors of other models of the same rows are compared by bv.compare_models(…), on "
            "a page by bv.report(fit, post, models=…), in a shell by `bayesv models`; for a fit "
            "made elsewhere, bv.extract(fit, design=model.design) takes the labels of a model."
        )
    return Alignment(design, other)


def _notes(
    names: Sequence[str], posts: Sequence[Posterior], ways: Sequence[Alignment]
) -> tuple[str, ...]:
    """Say which posteriors were brought to other columns than they were fitted in."""
    return tuple(
        f"{name}: its draws are brought from the columns of {way.other.formula!r} to those of "
        f"{way.design.formula!r}, and summarised there{_left_out(post, way)}"
        for name, post, way in zip(names, posts, ways, strict=True)
        if not way.by_name
    )


def _left_out(post: Posterior, way: Alignment) -> str:
    """Name the priors that do not speak of the columns a posterior is brought to."""
    if post.priors is None or way.priors(post) is not None:
        return ""
    return (
        f"; its priors speak of its own columns ({post.priors.one_line()}), so that what they "
        "explain is not computed"
    )


def _point(design: Design, vc: VarianceComponents, beta: pd.Series) -> list[Quantity]:
    return point_quantities(design, vc, beta.to_numpy())


def _table(fit: RemlFit, post: Posterior, name: str, summary: pd.DataFrame) -> pd.DataFrame:
    reml = {
        q.key: float(q.values)
        for q in _point(post.design, fit.components, _in_order(fit.beta, post.design.fixed_names))
    }
    with np.errstate(all="ignore"):
        modes = [density_mode(quantity.values) for quantity in post.quantities]
    at_reml = np.array([reml[q.key] for q in post.quantities])
    table = pd.DataFrame(
        {
            "posterior": name,
            **{c: summary[c] for c in ("scale", "group", "first", "second")},
            "reml": at_reml,
            "mean": summary["mean"],
            "median": summary["median"],
            "mode": modes,
            "low": summary["eti_low"],
            "high": summary["eti_high"],
            "inside": (summary["eti_low"] <= at_reml) & (at_reml <= summary["eti_high"]),
            "mcse": summary["mcse_mean"],
            "prior": [_prior_of(q, post.priors) for q in post.quantities],
        }
    )
    # A correlation with an SD of 0 has no REML value, so it is neither inside nor outside.
    table["inside"] = table["inside"].astype(object).where(table["reml"].notna(), None)
    return table


def _in_order(values: pd.Series, names: Sequence[str]) -> pd.Series:
    """Values of fixed effects in the order of other names for them."""
    order = paired(names, [str(name) for name in values.index])
    if order is None:
        raise BayesvError(
            f"The fits name their fixed effects differently: {', '.join(map(str, values.index))} "
            f"and {', '.join(names)}."
        )
    return pd.Series(values.to_numpy(dtype=float)[order], list(names))


def _prior_of(quantity: Quantity, priors: ResolvedPriors | None) -> str:
    if priors is None:
        return "unknown"
    scale, group, first, second = quantity.key
    if scale == "beta":
        return str(priors.beta[priors.design.fixed_names.index(first)])
    if group == "Residual":
        return str(priors.sigma) if scale == "sd" else "implied by sd"
    term = priors.design.term(group)
    if not term.structure.is_free:
        if scale == "corr":
            return str(priors.corr[group])
        place = term.structure.sd_labels(term.columns).index(first)
        return str(priors.sd[group][place]) if scale == "sd" else "implied by sd"
    basis, i = priors.basis(term), term.columns.index(first)
    if scale == "sd" and basis.moved(i):
        return f"implied by {basis.labels[i]}"
    if scale == "corr" and (basis.moved(i) or basis.moved(term.columns.index(second))):
        return f"implied by {priors.corr[group]} of {basis.labels[i]}"
    if scale == "corr":
        return str(priors.corr[group])
    if scale != "sd":
        return "implied by sd" + (" and corr" if scale == "cov" else "")
    return str(priors.sd[group][i])


def _fixed(fit: RemlFit, at_mean: AtV, name: str, summary: pd.DataFrame) -> pd.DataFrame:
    beta = summary[summary["scale"] == "beta"].set_index("first")
    order = list(beta.index)
    at_reml, se = _in_order(fit.beta, order), _in_order(fit.se, order)
    beta_mean, se_mean = _in_order(at_mean.beta, order), _in_order(at_mean.se, order)
    return pd.DataFrame(
        {
            "posterior": name,
            "coefficient": order,
            "gls_reml": at_reml.to_numpy(),
            "gls_reml_se": se.to_numpy(),
            "gls_posterior": beta_mean.to_numpy(),
            "gls_posterior_se": se_mean.to_numpy(),
            "mean": beta["mean"].to_numpy(),
            "sd": beta["sd"].to_numpy(),
            "mcse": beta["mcse_mean"].to_numpy(),
        }
    )


def _marginal_row(name: str, at: AtV, criterion: float) -> dict[str, Any]:
    return {"V at": name, "log_det": at.log_det, "trace": at.trace, "criterion": criterion}


# --- shown ----------------------------------------------------------------------------------------


def _of_posterior(name: str, post: Posterior, comparison: Comparison) -> Iterator[Part]:
    """Give what one posterior says beside the first fit: V's scalars, β, priors, problems."""
    method = comparison.fits[0].method
    table = comparison.table[comparison.table["posterior"] == name]
    yield f"Posterior '{name}': {post.n_chains} chains × {post.n_draws} draws"
    rows = []
    for label, (_, row) in zip([q.label for q in post.quantities], table.iterrows(), strict=True):
        if row["scale"] != "beta":
            inside = {True: "yes", False: "no"}.get(row["inside"], "–")
            interval = f"{_short(row['low'], 3)} … {_short(row['high'], 3)}"
            numbers = (_short(row[c]) for c in ("reml", "mean", "median", "mode"))
            rows.append((label, *numbers, interval, inside, _short(row["mcse"], 2)))
    percent = f"{100 * comparison.prob:g} % interval"
    yield Table(("", method, "mean", "median", "mode", percent, "in?", "MCSE"), tuple(rows))
    fixed = comparison.fixed[comparison.fixed["posterior"] == name]
    if not fixed.empty:
        yield ""
        yield _of_fixed(fixed, method)
    if post.priors is not None:
        yield ""
        yield "Priors"
        yield from (f"  {line}" for line in str(post.priors).splitlines())
    yield from (f"problem: {problem}" for problem in post.problems)


def _of_fixed(fixed: pd.DataFrame, method: str) -> Table:
    pairs = (
        ("gls_reml", "gls_reml_se"), ("gls_posterior", "gls_posterior_se"), ("mean", "sd"),
    )  # fmt: skip
    heads = (f"GLS at {method} V (se)", "at E[V | y] (se)", "posterior (sd)", "MCSE")
    rows = tuple(
        (
            str(row["coefficient"]),
            *(f"{_short(row[value], 6)} ({_short(row[error])})" for value, error in pairs),
            _short(row["mcse"], 2),
        )
        for _, row in fixed.iterrows()
    )
    return Table(("Fixed effects", *heads), rows)


def _of_marginal(marginal: pd.DataFrame) -> Table:
    rows = tuple(
        (
            str(row["V at"]), f"{row['log_det']:.4f}", f"{row['trace']:.6g}",
            f"{row['criterion']:.4f}",
        )
        for _, row in marginal.iterrows()
    )  # fmt: skip
    return Table(("", "log|V|", "trace V", "REML criterion there"), rows)


def _short(value: float, significant: int = 4) -> str:
    return digits(significant)(value)
