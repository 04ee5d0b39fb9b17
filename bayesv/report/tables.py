"""The tables of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from great_tables import GT, loc, style

from bayesv.comparison.compare import Comparison
from bayesv.comparison.models import ModelComparison
from bayesv.comparison.uncertainty import BetaUncertainty
from bayesv.covariance import MarginalCovariance, VarianceComponents
from bayesv.covariance.functionals import definition
from bayesv.covariance.quantities import point_quantities
from bayesv.design.design import Design
from bayesv.design.parametric import coarsest
from bayesv.diagnostics.summaries import footnotes, summarize
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.report.budget import affordable, thinned
from bayesv.report.page import heading

__all__ = [
    "block",
    "comparison",
    "components",
    "engine",
    "fixed",
    "functionals",
    "functionals_at",
    "html_of",
    "levels",
    "marginal",
    "models",
    "numbers",
    "posterior",
    "sizes",
    "uncertainty",
]

_BLOCK = 10  # rows of V that are printed
# What the attributes of draws are; one that is not here is shown by its name.
_OF_ENGINES = {
    "pareto_k": "Pareto k̂ of the proposal",
    "acceptance": "share of proposals accepted",
    "thin": "proposals for each kept draw",
    "n_modes": "modes of the density found",
    "evidence_gap": "difference of the log evidences of two teams of chains",
    "n_evaluations": "evaluations of the density",
    "interpolation_error": "largest error of the interpolated log density",
    "n_probes": "probes of the log-determinant",
    "probe_shift": "error of the probes, in posterior SDs (95 %)",
    "seconds": "time, in seconds",
    "nutpie_version": "version of nutpie",
    "pymc_version": "version of PyMC",
    "bambi_version": "version of Bambi",
}


def sizes(design: Design) -> str:
    """Rows, columns and the response."""
    facts = {
        "rows used": f"{design.n:,}",
        "rows dropped": f"{design.n_dropped:,} of {design.n_rows_given:,}",
        "fixed effects": f"{design.p}: {', '.join(design.fixed_names) or 'none'}",
        "random effects": f"{design.q:,}",
        "response": f"{design.response}, standard deviation {design.response_sd:.4g}",
    }
    if (known := design.known_weights) is not None:
        facts["known weights"] = f"{known[0]:.4g} … {known[1]:.4g}"
    if design.aliased:
        facts["aliased columns, dropped"] = ", ".join(design.aliased)
    frame = pd.DataFrame({"what": list(facts), "value": list(facts.values())})
    return html_of(GT(frame, id="sizes", rowname_col="what").tab_options(column_labels_hidden=True))


def levels(design: Design) -> str:
    """Levels of every grouping factor, and how many rows they have; '' without any."""
    if not design.terms:
        return ""
    rows = []
    for term in design.terms:
        row: dict[str, Any] = {
            "grouping factor": term.group,
            "levels": term.n_levels,
            "own": ", ".join(term.columns),
        }
        if any(other.relationship is not None for other in design.terms):
            row["related by"] = term.relationship.describe() if term.relationship else ""
        if design.has_rows:
            counts = np.bincount(term.codes, minlength=term.n_levels)
            row |= {"min": counts.min(), "median": float(np.median(counts)), "max": counts.max()}
        rows.append(row)
    frame = pd.DataFrame(rows)
    table = GT(frame, id="levels", rowname_col="grouping factor").fmt_integer("levels")
    if design.has_rows:
        table = table.tab_spanner("rows a level", ["min", "median", "max"])
        table = table.fmt_integer(["min", "max"]).fmt_number("median", drop_trailing_zeros=True)
    return html_of(table.cols_label(own="own coefficients"))


def components(fit: RemlFit, label: str) -> str:
    """Σ and σ² of a point fit, as lme4's VarCorr prints them."""
    design = fit.design
    scalars = point_quantities(design, fit.components)
    by = {q.key: float(q.values) for q in scalars}
    rows = []
    for term in design.terms:
        for i, name in enumerate(term.columns):
            row: dict[str, Any] = {
                "group": term.group,
                "coefficient": name,
                "variance": by["var", term.group, name, ""],
                "sd": by["sd", term.group, name, ""],
            }
            pairs = [by.get(("corr", term.group, other, name)) for other in term.columns[:i]]
            row["corr"] = ", ".join(
                "" if c is None else f"{c:.3f}".replace("-", "−") for c in pairs
            )
            rows.append(row)
    rows += _residual_rows(fit.components)
    frame = pd.DataFrame(rows)
    name = "components-" + "".join(c if c.isalnum() else "-" for c in label)
    table = GT(frame, id=name, groupname_col="group", rowname_col="coefficient")
    table = table.tab_header(title=f"Variance components, {label}")
    return html_of(numbers(table, ["variance", "sd"]).cols_label(sd="SD", corr="correlation"))


def _residual_rows(vc: VarianceComponents) -> list[dict[str, Any]]:
    """Return σ², or the variance of each label, and correlations or what makes them."""
    sds = dict(vc.residual.sd) or {"": vc.sigma}
    rows: list[dict[str, Any]] = [
        {"group": "Residual", "coefficient": name, "variance": sd * sd, "sd": sd, "corr": ""}
        for name, sd in sds.items()
    ]
    rows += [
        {
            "group": "Residual",
            "coefficient": name,
            "variance": None,
            "sd": None,
            "corr": f"{value:.3f}".replace("-", "−"),
        }
        for name, value in vc.residual.corr.items()
    ]
    return rows


def posterior(post: Posterior, label: str) -> str:
    """Mean, spread, interval and diagnostics of every scalar."""
    summary = post.summary()
    frame = pd.DataFrame(
        {
            "quantity": [q.label for q in post.quantities],
            **{c: summary[c] for c in ("mean", "sd", "median", "eti_low", "eti_high")},
            **{c: summary[c] for c in ("ess_bulk", "ess_tail", "rhat")},
        }
    )
    name = "posterior-" + "".join(c if c.isalnum() else "-" for c in label)
    table = GT(frame, id=name, rowname_col="quantity")
    table = table.tab_header(title=heading(label))
    table = numbers(table, ["mean", "sd", "median", "eti_low", "eti_high"])
    table = table.sub_missing(["mean", "sd"], missing_text="–")
    for label, reason in post.undefined.items():
        table = table.tab_source_note(f"{label}: {reason}.")
    table = table.fmt_integer(["ess_bulk", "ess_tail"]).fmt_number("rhat", decimals=3)
    table = table.tab_spanner("95 % interval", ["eti_low", "eti_high"])
    table = table.tab_spanner("effective sample size", ["ess_bulk", "ess_tail"])
    return html_of(
        table.cols_label(eti_low="low", eti_high="high", ess_bulk="bulk", ess_tail="tail", rhat="R̂")
    )


def fixed(fit: RemlFit, name: str) -> str:
    """Estimates of the fixed effects, with standard errors given V."""
    frame = pd.DataFrame(
        {
            "coefficient": fit.beta.index,
            "estimate": fit.beta.to_numpy(),
            "se": fit.se.to_numpy(),
            "t": (fit.beta / fit.se).to_numpy(),
        }
    )
    table = GT(frame, id="fixed", rowname_col="coefficient")
    table = table.tab_header(title=f"Fixed effects, {name}").fmt_number("t", decimals=2)
    return html_of(numbers(table, ["estimate", "se"], 5).cols_label(se="SE given V", t="t value"))


def uncertainty(by_method: BetaUncertainty) -> str:
    """β by each method."""
    df = by_method.table["df"]
    frame = by_method.table.assign(df=df.where(np.isfinite(df)))
    table = GT(frame, id="uncertainty", groupname_col="coefficient", rowname_col="method")
    table = table.tab_header(title="Uncertainty of the fixed effects, by each method")
    table = numbers(table, ["estimate", "se", "low", "high"], 5).fmt_number("df", decimals=1)
    table = table.sub_missing("df", missing_text="").tab_spanner("95 % interval", ["low", "high"])
    return html_of(table.cols_label(se="SE"))


def comparison(result: Comparison, names: tuple[Sequence[str], Sequence[str]]) -> str:
    """Every fit in columns of its own, scalar by scalar: point fits first, then posteriors."""
    of_points, of_posts = names
    frame = pd.DataFrame({f"point {k}": result.points[c] for k, c in enumerate(result.points)})
    labels: dict[str, Any] = {f"point {k}": name for k, name in enumerate(of_points)}
    frame = frame.rename_axis("quantity").reset_index()
    spans, shown = [], ["mean", "mode", "low", "high", "inside"]
    for k, (name, post) in enumerate(zip(result.names, result.posteriors, strict=True)):
        rows = result.table[result.table["posterior"] == name][shown]
        rows = rows.assign(inside=[{True: "yes", False: "no"}.get(v, "–") for v in rows["inside"]])
        rows.columns = pd.Index([f"{column} {k}" for column in shown])
        rows.index = pd.Index([q.label for q in post.quantities])
        frame = frame.join(rows, on="quantity")
        labels |= dict(zip(rows.columns, [*shown[:4], f"{of_points[0]} inside?"], strict=True))
        spans.append((of_posts[k], list(rows.columns)))
    table = GT(frame, id="comparison", rowname_col="quantity")
    what = f", {100 * result.prob:g} % intervals" if spans else ""
    table = table.tab_header(title=f"Estimates, fit by fit{what}")
    for name, columns in spans:
        table = table.tab_spanner(name, columns)
        missed = [int(i) for i in np.flatnonzero(frame[columns[-1]] == "no")]
        table = table.tab_style(style.text(weight="bold"), loc.body(columns[-1], missed))
    values = [c for c in labels if not c.startswith("inside")]
    return html_of(numbers(table, values).cols_label(**labels))


def models(result: ModelComparison) -> str:
    """Structures of V: evidence and probabilities, what is left out, criteria of REML."""
    shown = [
        "model", "log_evidence", "mcse", "probability", "elpd_cluster", "stacking", "n_covariance",
        "aic", "caic",
    ]  # fmt: skip
    table = GT(result.to_frame()[shown], id="models", rowname_col="model")
    table = table.tab_header(title="Structures of V, best first")
    two, three = ["elpd_cluster", "aic", "caic"], ["log_evidence", "mcse"]
    table = table.fmt_number(two, decimals=2).fmt_number(three, decimals=3)
    table = numbers(table, ["probability", "stacking"]).sub_missing(missing_text="–")
    return html_of(
        table.cols_label(
            log_evidence="log evidence", mcse="±", elpd_cluster="log density, clusters left out",
            stacking="stacking weight", n_covariance="parameters of G, R", aic="AIC", caic="cAIC",
        )
    )  # fmt: skip


def marginal(result: Comparison | None, fit: RemlFit) -> str:
    """log|V|, tr V and the criterion at every estimate."""
    if result is None:
        V = fit.gls.V
        rows = {"V at": fit.label, "log_det": V.logdet(), "trace": V.trace()}
        frame = pd.DataFrame([{**rows, "criterion": fit.criterion}])
    else:
        frame = result.marginal
    table = GT(frame, id="marginal", rowname_col="V at")
    table = table.tab_header(title="V = Z G Zᵀ + R at each estimate")
    table = table.fmt_number(["log_det", "criterion"], decimals=4)
    table = numbers(table, ["trace"], 6)
    return html_of(
        table.cols_label(
            log_det="log|V|", trace="trace V", criterion=f"{fit.method} criterion there"
        )
    )


def block(fit: RemlFit, posts: Sequence[Posterior]) -> str | None:
    """V of one level of the coarsest factor, its first rows; E[V | y] if there is a posterior."""
    design = fit.design
    outer = coarsest(design)
    if outer is None:
        return None
    members = np.flatnonzero(outer.codes == 0)
    rows = members[:_BLOCK]
    vc = posts[0].estimate("mean") if posts else fit.components
    V = MarginalCovariance(design, vc).rows(rows).to_numpy()
    labels = [str(label) for label in design.row_labels[rows]]
    frame = pd.DataFrame(V, columns=[f"c{i}" for i in range(len(labels))])
    frame.insert(0, "row", labels)
    what = "E[V | y]" if posts else f"V at {fit.label}"
    count = len(members)
    part = f", its first {len(rows)} of {count} rows" if count > len(rows) else ""
    table = GT(frame, id="block", rowname_col="row")
    table = table.tab_header(title=f"{what} of {outer.group} {outer.levels[0]}{part}")
    names: dict[str, Any] = {f"c{i}": label for i, label in enumerate(labels)}
    return html_of(numbers(table, list(names)).cols_label(**names))


def functionals_at(fit: RemlFit, label: str) -> str:
    """Shares of variance and the like at an estimate."""
    values = fit.functionals()
    frame = pd.DataFrame({"quantity": values.index, "value": values.to_numpy()})
    table = GT(frame, id="functionals", rowname_col="quantity")
    table = numbers(table.tab_header(title=f"Functionals of V at {label}"), ["value"])
    for note in footnotes({name: definition(str(name)) for name in values.index}):
        table = table.tab_source_note(note)
    return html_of(table.cols_label(value="at the estimate"))


def functionals(post: Posterior) -> str:
    """Shares of variance and the like, computed for each draw."""
    few = thinned(post, affordable(post, most=post.n_chains * post.n_draws))
    table_of_draws = summarize(few.functionals())
    frame = table_of_draws[["quantity", "mean", "sd", "eti_low", "eti_high"]]
    table = GT(frame, id="functionals", rowname_col="quantity")
    table = table.tab_header(title="Functionals of V, posterior", subtitle=_share(few, post))
    table = numbers(table, ["mean", "sd", "eti_low", "eti_high"])
    table = table.sub_missing(["mean", "sd"], missing_text="–")
    table = table.tab_spanner("95 % interval", ["eti_low", "eti_high"])
    for note in footnotes(table_of_draws.attrs["definitions"]):
        table = table.tab_source_note(note)
    return html_of(table.cols_label(eti_low="low", eti_high="high"))


def _share(few: Posterior, post: Posterior) -> str | None:
    """Say from how many of the draws something is computed, if not from all."""
    if few is post:
        return None
    return f"from {few.n_chains * few.n_draws:,} of {post.n_chains * post.n_draws:,} draws"


def engine(post: Posterior) -> str:
    """Facts about the run of an engine."""
    facts = {"engine": post.engine, "chains": post.n_chains, "draws a chain": post.n_draws}
    attributes = post.draws["posterior"].attrs.items()
    facts |= {_OF_ENGINES.get(str(key), str(key).replace("_", " ")): v for key, v in attributes}
    frame = pd.DataFrame({"what": list(facts), "value": [_plain(v) for v in facts.values()]})
    name = "engine-" + "".join(c if c.isalnum() else "-" for c in post.engine)
    return html_of(GT(frame, id=name, rowname_col="what").tab_options(column_labels_hidden=True))


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


def numbers(table: GT, columns: list[str], digits: int = 4) -> GT:
    """Significant digits, so that variances of 1e6 and of 1e-3 can stand in one column."""
    return table.fmt_number(columns, n_sigfig=digits).sub_missing(columns, missing_text="–")


def html_of(table: GT) -> str:
    """Return a table in the look of the page."""
    styled = table.tab_options(
        table_width="auto",
        table_margin_left="0",
        table_font_size="0.92rem",
        data_row_padding="3px",
        heading_align="left",
        heading_title_font_size="1rem",
        heading_title_font_weight="bold",
        table_border_top_style="hidden",
        table_border_bottom_color="#9aa5b1",
        column_labels_font_weight="bold",
        row_group_font_weight="bold",
    )
    return str(styled.as_raw_html())
