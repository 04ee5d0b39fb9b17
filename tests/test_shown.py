"""Results print within 80 columns, with whole names, and as HTML and in documents, escaped."""

from __future__ import annotations

import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.errors import BayesvError
from bayesv.support.shown import WIDTH, Shown, Table, WholeFrame, as_html, as_text

HOSTILE = "<script>alert('x & \"y\"')<script>"
LONG = "x_a_name_that_is_longer_than_any_column_of_a_table_would_be"


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    group = np.repeat([f"{HOSTILE}{k}" for k in range(12)], 8)
    x = np.tile(np.arange(8.0), 12)
    effects = rng.normal(size=12).repeat(8) * 2
    y = 5 + x + effects + rng.normal(size=96)
    kind = np.tile([f"{HOSTILE}a", f"{HOSTILE}b"], 48)
    return pd.DataFrame({"y": y, LONG: x, f"g {HOSTILE}": group, "kind": kind})


@pytest.fixture(scope="module")
def results(rows):
    formula = f"y ~ {LONG} + kind + ({LONG} | `g {HOSTILE}`)"
    model = bv.Model(formula, rows)
    small = bv.Model(f"y ~ {LONG} + kind + (1 | `g {HOSTILE}`)", rows)
    fit = model.reml()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)  # few draws
        post, of_small = (one.sample(draws=200, seed=1, cores=1) for one in (model, small))
    models = bv.compare_models(post, of_small, names=[HOSTILE, "small"])
    return {
        "Model": model,
        "Design": model.design,
        "RemlFit": fit,
        "VarianceComponents": fit.components,
        "GLSFit": fit.gls,
        "ResolvedPriors": model.priors,
        "KenwardRoger": fit.kenward_roger(),
        "Posterior": post,
        "Comparison": bv.compare(fit, post),
        "BetaUncertainty": bv.beta_uncertainty(fit, post),
        "Evidence": post.evidence(),
        "ModelComparison": models,
        "Sensitivity": bv.sensitivity(models, factors=(0.5, 1.0)),
        "AveragedPosterior": bv.average(post, of_small, names=[HOSTILE, "small"]),
        "MarginalCovariance": fit.gls.V,
        "PosteriorV": post.V(rows=[0, 1, 2]),
        "Bootstrap": bv.bootstrap(small.reml(), 5, seed=1),
        "ZeroVariance": bv.zero_variance(of_small, f"g {HOSTILE}", simulations=50),
    }


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_notebooks_show_every_result_and_labels_stay_labels(results):
    for name, result in results.items():
        parsed = _Tags()
        parsed.feed(result._repr_html_())
        assert not parsed.open, name
        assert parsed.seen <= {"div", "p", "table", "thead", "tbody", "tr", "th", "td"}, name
        text = "".join(parsed.text)
        if name not in ("Evidence", "GLSFit"):
            assert "<script>alert(" in text, name
    formatter = pytest.importorskip("IPython.core.formatters").HTMLFormatter()
    assert formatter(results["RemlFit"]).startswith("<div")


def test_results_print_within_80_columns(results):
    for name, result in results.items():
        if name in ("Model", "Design", "MarginalCovariance"):  # one line
            continue
        text = repr(result)
        # Of the listing that is read back a name that is longer than a line is whole.
        listing = result.components if name == "RemlFit" else result
        if name in ("RemlFit", "VarianceComponents"):
            names = [str(c) for group in listing for c in listing[group].columns]
            groups = [f"{group:<16} " for group in listing]
            for part in (*groups, *names):
                text = text.replace(part, "")
        assert max(map(len, text.splitlines())) <= WIDTH, name
        assert "…" not in text.replace(" … ", " "), name  # of intervals
    for name in ("Posterior", "Comparison", "KenwardRoger", "RemlFit"):
        assert LONG in repr(results[name])


def test_tables_that_are_too_wide_are_continued():
    frame = pd.DataFrame(np.arange(40.0).reshape(2, 20), ["one", LONG]).add_prefix("column ")
    text = as_text([Table.of(frame)])
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    for head in frame.columns:
        assert head in text
    assert text.count(LONG) == text.count("one ")  # whole, in every piece
    assert re.findall(r"\d+", " ".join(line[30:] for line in lines if line.startswith("one")))
    numbers = [float(word) for line in lines if line.startswith("one") for word in line.split()[1:]]
    assert numbers == list(range(20))


def test_what_is_not_a_number_is_a_dash_and_truth_is_a_word():
    frame = pd.DataFrame({"a": [np.nan, 1.0], "b": [True, False], "c": [None, 3]}, dtype=object)
    assert as_text([Table.of(frame)]).splitlines()[1].split() == ["0", "–", "yes", "–"]


def test_rows_that_begin_as_arguments_do_and_labels_of_several_lines():
    frame = pd.DataFrame({"b": [1.0, 2.0]}, ["[1]", "*a\r\nb\u2028c"])
    latex = bv.to_table(frame, "latex")
    assert "\n{}[1] & 1" in latex
    assert "\n{}*a" in latex
    assert bv.to_table(frame, "markdown").splitlines()[3] == r"| \*a b c | 2 |"


def test_tables_in_the_languages_of_documents():
    frame = pd.DataFrame({"50 %": [1.5], "a_b": [2.0]}, ["x & <y> | #z"])
    assert bv.to_table(frame, "markdown").splitlines()[
        2
    ] == r"| x & \<y\> \| \#z | 1.5 | 2 |".replace("&", r"\&")
    latex = bv.to_table(frame, "latex")
    assert r"50 \% & a\_b \\" in latex
    assert r"x \& \textless{}y\textgreater{}" in latex
    typst = bv.to_table(frame, "typst")
    assert "columns: 3" in typst
    assert r"[x & \<y\> | \#z]" in typst
    assert "x &amp; &lt;y&gt;" in bv.to_table(frame, "html")
    assert bv.to_table(frame["a_b"], "text").split() == ["a_b", "x", "&", "<y>", "|", "#z", "2"]


def test_results_in_the_languages_of_documents(results):
    for result in results.values():
        for language in ("markdown", "latex", "typst", "html", "text"):
            assert bv.to_table(result, language)
    latex = bv.to_table(results["RemlFit"], "latex")
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 4


def test_latex_has_letters_and_signs_that_pdflatex_knows(results):
    tex = "".join(bv.to_table(result, "latex") for result in results.values())
    assert {sign for sign in tex if not sign.isascii()} <= set("çé" + LONG + HOSTILE)
    frame = pd.DataFrame({"β̂ ± σ₁²": [1.0]}, ["X'V⁻¹X ∇θ Σ − λ é $_%"])
    head, row = bv.to_table(frame, "latex").splitlines()[2:5:2]
    assert head == r" & $\hat{\beta}$ $\pm$ $\sigma$$_{1}$$^{2}$ \\"
    assert row.startswith(r"X'V$^{-}$$^{1}$X $\nabla$$\theta$ $\Sigma$ $-$ $\lambda$ é \$\_\% & 1")


def test_other_languages_and_other_objects_are_refused(results):
    with pytest.raises(BayesvError, match="language"):
        bv.to_table(results["RemlFit"], "word")
    with pytest.raises(BayesvError, match="found int"):
        bv.to_table(3)


def test_every_part_of_html_is_escaped():
    class Whole(Shown):
        def _shown(self):
            return HOSTILE, Table((HOSTILE, HOSTILE), ((HOSTILE, HOSTILE),)), ""

    assert "<script" not in as_html([Whole(), HOSTILE])
    assert as_html([Whole()]).count("&lt;script&gt;alert") == 5


def test_tables_print_all_their_columns():
    """And what is made of them is a plain table."""
    fit = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy")).reml()
    for table in (fit.kenward_roger().table(), fit.influence()):
        text = repr(table)
        assert "..." not in text
        assert all(str(column) in text for column in table)
        assert max(map(len, text.splitlines())) <= 80
        assert type(table.round(2)) is pd.DataFrame


def test_p_values_are_never_zero():
    data = bv.load_dataset("sleepstudy").assign(late=lambda d: d["Days"] > 4)
    one, two = (bv.Model(f"Reaction ~ late{x} + (1 | Subject)", data).reml() for x in ("", "*Days"))
    tables = (two.kenward_roger().table(), one.anova(), one.contrasts("late"), bv.lrt(one, two))
    for table in tables:
        assert (table["p"] < 5e-5).any()
        for text in (repr(table), table._repr_html_().replace("&lt;", "<"), bv.to_table(table)):
            assert "<0.0001" in text.replace("\\", "")
    assert repr(tables[2]).splitlines()[1].startswith("False - True   -53.755")
    assert f"{tables[3]['aic'].iloc[1]:.2f}" in repr(tables[3])


def test_long_tables_print_their_ends():
    table = WholeFrame({"name": [f"n{i}" for i in range(100)], "x": np.arange(100.0)})
    lines = repr(table).splitlines()
    assert len(lines) == 63
    assert lines[-1] == "100 rows"
    assert lines[1].split() == ["n0", "0"]
    assert lines[-2].split() == ["n99", "99"]


def test_levels_that_are_true_or_false_are_named_so():
    table = WholeFrame(
        {"arm": ["a", "b"], "late": [True, False], "mean": [1.0, 2.0], "ok": [True] * 2}
    )
    lines = [line.split() for line in repr(table).splitlines()]
    assert lines == [
        ["arm", "late", "mean", "ok"],
        ["a", "True", "1", "yes"],
        ["b", "False", "2", "yes"],
    ]


def test_probabilities_counted_in_draws_are_never_0_or_1():
    table = WholeFrame({"contrast": list("abcd"), "positive": [0.0, 1.0, 0.25, np.nan]})
    cells = [line.split()[1] for line in repr(table).splitlines()[1:]]
    assert cells == ["<0.001", ">0.999", "0.250", "–"]
