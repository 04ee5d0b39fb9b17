"""The report is one page that stands alone, says what is wrong first, and reads in a browser."""

from __future__ import annotations

import base64
import importlib
import re
import struct
import sys
import warnings
from contextlib import contextmanager
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.cli import main
from bayesv.report import budget, packages, pictures, tables
from bayesv.report.mathematics import equations, words
from tests.browser import looked_at, needs_browser


class Page(HTMLParser):
    """Tags with attributes, ids, links within the page, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._hidden = 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag in ("style", "script", "title")

    def handle_endtag(self, tag):
        self._hidden -= tag in ("style", "script", "title")

    def handle_data(self, data):
        if not self._hidden:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def sleepstudy():
    model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    return model.reml(), model.sample(seed=1, draws=250)


@pytest.fixture(scope="module")
def full(sleepstudy):
    return bv.report(*sleepstudy, data="sleep.csv").html


@pytest.fixture(scope="module")
def singular():
    """Crossed with the singular star-like fit: html-special labels in data, two point fits."""
    df = bv.load_dataset("dyestuff2").rename(columns={"Batch": "batch<b>&co"})
    df["g"] = df["batch<b>&co"].cat.rename_categories(lambda c: f"<{c}>")
    model = bv.Model("Yield ~ 1 + (1 | g)", df)
    return bv.report(model.reml(), model.reml("ML"), pictures=False).html


def test_the_page_stands_alone(full):
    page = Page(full)
    for tag, attrs in page.tags:
        for name in ("src", "href"):
            link = attrs.get(name)
            assert link is None or link.startswith(("data:", "#")), (tag, link)
    assert "@import" not in full
    assert not re.search(r"url\((?!data:)", full)


def test_links_lead_somewhere_and_ids_are_unique(full):
    page = Page(full)
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert link["href"][1:] in ids


def test_every_picture_has_an_alternative_text_and_its_size(full):
    images = Page(full).all("img")
    described = [image["alt"] for image in images if image["alt"]]  # once of several columns
    assert len(described) >= 7
    assert len(set(described)) == len(described)
    for image in images:
        assert not 0 < len(image["alt"].split()) < 8
        data = base64.b64decode(image["src"].split(",")[1])
        assert data[:4] == b"\x89PNG"
        width, height = struct.unpack(">II", data[16:24])
        size = (round(0.6 * width), round(0.6 * height))  # 160 dots on the 96 pixels of an inch
        assert (int(image["width"]), int(image["height"])) == size


def test_numbers_are_those_of_the_fits(full, sleepstudy):
    fit, post = sleepstudy
    text = Page(full).text
    assert "1743.6283" in text
    assert f"{fit.components['Subject'].iloc[0, 0]:.1f}" in text
    assert f"{post.estimate('mean').sigma2:.1f}" in text
    assert f"{fit.gls.V.logdet():,.4f}" in text
    for line in bv.compare(fit, post, labels=["REML", "posterior (collapsed)"]).reasons():
        assert line in text.replace("−", "-")


def test_fine_fits_are_called_fine_and_problems_come_first(full, singular):
    assert 'role="alert"' not in full
    assert "No problem was found" in full
    assert "Pareto k̂ of the proposal" in full  # what an engine did is said in words
    assert "pareto_k" not in full
    assert "n_evaluations" not in full
    assert singular.index('role="alert"') < singular.index('id="model"')
    assert singular.count("singular fit") >= 2
    assert "No problem was found" not in singular


def test_a_posterior_with_problems_says_so_first():
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    with pytest.warns(bv.SamplingWarning):
        post = model.sample(seed=1, draws=20, chains=2)
    html = bv.report(post, pictures=False).html
    first = html[html.index('role="alert"') : html.index('id="model"')]
    assert post.problems[0][:40] in Page(first).text
    assert "REML criterion there" in html  # the point fit was made for the comparison


def test_labels_are_escaped(singular):
    assert "&lt;A&gt;" in singular
    assert "<A>" not in singular


def test_the_code_makes_the_fits_again(sleepstudy, full, tmp_path, monkeypatch):
    fit, post = sleepstudy
    code = re.search(r"<pre><code>(.*?)</code></pre>", full, re.S).group(1)
    for entity, char in (("&#39;", "'"), ("&#34;", '"'), ("&lt;", "<"), ("&gt;", ">")):
        code = code.replace(entity, char)
    bv.load_dataset("sleepstudy").to_csv(tmp_path / "sleep.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bv, "report", lambda *fits, path: fits)
    space: dict = {}
    # A factor that is numbers in a file is read as a number; the formula groups by it all the same.
    exec(code, space)
    assert space["fit"].criterion == pytest.approx(fit.criterion, abs=1e-8)
    assert (space["post"].sigma2 == post.sigma2).all()


def test_the_code_of_the_command_line_runs(tmp_path, monkeypatch):
    """Tabs or semicolons, known weights, numbers as factors, an offset and priors."""
    data = bv.load_dataset("sleepstudy")
    data = data.assign(w=np.linspace(1, 2, 180), o=np.linspace(0, 9, 180), k=np.arange(180) % 3)
    data.to_csv(tmp_path / "d.csv", sep=";", decimal=",", index=False)
    monkeypatch.chdir(tmp_path)
    formula = "Reaction ~ k + offset(o) + (1 | Subject)"
    options = ["--weights", "w", "--factor", "k", "--prior-sd", "Subject = HalfNormal(30)"]
    options += ["--prior-beta", "k[1] = Normal(0, 10)", "--chains", "1", "--draws", "500", "-q"]
    options += ["--save", "post.nc", "--report", "r.html"]
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)
        assert main(["fit", "d.csv", formula, *options]) == 0
        code = unescape(
            re.search(r"<pre><code>(.*?)</code></pre>", Path("r.html").read_text(), re.S).group(1)
        )
        monkeypatch.setattr(bv, "report", lambda *fits, path: fits)
        space: dict = {}
        exec(code, space)
    want = bv.load("post.nc")
    assert (space["post"].sigma2 == want.sigma2).all()
    assert str(space["post"].priors) == str(want.priors)
    assert space["post"].design.fixed_names == ("Intercept", "k[1]", "k[2]")


def code_of(html: str) -> str:
    """Return the code that a page says makes its fits again."""
    return unescape(re.search(r"<pre><code>(.*?)</code></pre>", html, re.S).group(1))


def test_posteriors_with_other_priors_are_made_again(tmp_path, monkeypatch):
    """Two of three posteriors share their priors; columns are read with marks for gaps."""
    data = bv.load_dataset("sleepstudy")
    data.loc[3, "Reaction"] = np.nan
    data.to_csv(tmp_path / "d.txt", sep="|", na_rep="-9", index=False)
    data["Subject"] = data["Subject"].astype(int)
    formula = "Reaction ~ Days + (Days | Subject)"
    tight = bv.Priors(sd=bv.HalfNormal(3.0), beta=bv.Normal(0, 50))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)
        posts = [
            bv.Model(formula, data, priors).sample(seed=seed, draws=100, chains=2)
            for priors, seed in ((tight, 1), (None, 2), (tight, 3))
        ]
        fit = bv.Model(formula, data).reml("ML")
        reading = {"separator": "|", "na": ["-9"]}
        page = bv.report(fit, *posts, data="d.txt", reading=reading, pictures=False).html
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(bv, "report", lambda *fits, path: fits)
        space: dict = {}
        exec(code_of(page), space)
    assert space["fit"].criterion == pytest.approx(fit.criterion, abs=1e-8)
    assert "model_3" not in space
    for name, post in zip(("post", "post_2", "post_3"), posts, strict=True):
        assert str(space[name].priors) == str(post.priors)
        np.testing.assert_array_equal(space[name].sigma2, post.sigma2)


def test_fits_in_other_columns_are_made_again_from_their_own_formulas(tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"f": rng.choice(list("abc"), 90), "g": np.tile(np.arange(9), 10)})
    data["y"] = (rng.normal(size=90) + rng.normal(size=9)[data["g"]]).round(6)
    data.to_csv(tmp_path / "d.csv", index=False)
    contrasts, cells = "y ~ f + (1 | g)", "y ~ 0 + f + (1 | g)"
    informed = bv.Priors(beta={"f[a]": bv.Normal(0, 0.01)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)
        fits = [bv.Model(contrasts, data).reml(), bv.Model(cells, data).reml("ML")]
        posts = [
            bv.Model(contrasts, data).sample(seed=1, draws=50, chains=2),
            bv.Model(cells, data, informed).sample(seed=2, draws=50, chains=2),
        ]
        page = bv.report(*fits, *posts, data="d.csv", pictures=False).html
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(bv, "report", lambda *fits, path: fits)
        space: dict = {}
        exec(code_of(page), space)
    for name, fit in zip(("fit", "fit_2"), fits, strict=True):
        assert space[name].design.formula == fit.design.formula
        np.testing.assert_allclose(space[name].beta, fit.beta, rtol=1e-6)
    for name, post in zip(("post", "post_2"), posts, strict=True):
        assert space[name].design.fixed_names == post.design.fixed_names
        np.testing.assert_allclose(space[name].beta, post.beta, rtol=1e-6)


def test_random_effects_are_asked_for_once(monkeypatch):
    """And from as many draws as a large dense block allows, which the page says."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"a": np.arange(240) % 12, "b": np.arange(240) % 20})
    data["y"] = rng.normal(size=20)[data["b"]] + rng.normal(size=240)
    model = bv.Model("y ~ 1 + (1 | a) + (1 | b)", data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit, post = model.reml(), model.sample(seed=1, draws=300, chains=1)
    asked = []
    whole = bv.Posterior.random_effects
    monkeypatch.setattr(
        bv.Posterior,
        "random_effects",
        lambda self, draws=1000, seed=0: asked.append(draws) or whole(self, draws, seed),
    )
    monkeypatch.setattr(budget, "_MAX_OPERATIONS", 50 * (12**3 + 32e3))
    page = bv.report(fit, post).html
    assert asked == [50]
    assert "from 50 draws" in page
    assert "from 50 of 300 draws" in page


def test_progress_is_shown_and_the_work_is_the_same(sleepstudy, monkeypatch):
    steps = []

    @contextmanager
    def shown(label, total=None):
        yield steps.append

    monkeypatch.setattr(importlib.import_module("bayesv.report.report"), "progress", shown)
    bv.report(sleepstudy[0], pictures=False)
    assert len(steps) == 3


@pytest.mark.parametrize("package", ["jinja2", "great_tables", "matplotlib"])
def test_missing_packages_are_refused_before_the_work(package, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(bv.BayesvError, match=rf"{package}.*bayesv\[report\]"):
        packages.check_packages()
    data = tmp_path / "d.csv"
    data.write_text("y,g\n1,1\n")  # which no model can be fitted to
    report = str(tmp_path / "r.html")
    assert main(["fit", str(data), "y ~ 1 + (1 | g)", "--report", report]) == 1
    assert package in capsys.readouterr().err


@pytest.mark.parametrize(
    ("formula", "levels"), [("y ~ I(x/2) + (1 | g)", "ab"), ("y ~ f + (1 | g)", ["mg/dL", "1/3"])]
)
def test_labels_may_have_a_slash(formula, levels):
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"x": rng.normal(size=60), "f": rng.choice(list(levels), 60)})
    data["g"] = np.arange(60) % 6
    data["y"] = data["x"] + rng.normal(size=6)[data["g"]] + rng.normal(size=60)
    model = bv.Model(formula, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)
        post = model.sample(seed=1, draws=100, chains=2)
    assert bv.plots.describe(bv.plots.chains(post))
    assert levels[0] in bv.report(model.reml(), post, pictures=False).html or "x/2" in formula


def test_one_chain_has_no_picture_of_agreement():
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    post = model.sample(seed=1, draws=2000, chains=1)
    fit = model.reml()
    by_method = bv.beta_uncertainty(fit, post)
    wanted = [caption for _, caption in pictures._wanted(fit, post, by_method)]
    assert wanted
    assert not any("chains" in caption for caption in wanted)


def test_large_clusters_are_reported_in_seconds(monkeypatch):
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"y": rng.normal(size=10_000), "g": np.arange(10_000) % 2})
    model = bv.Model("y ~ 1 + (1 | g)", data)
    for slow in ("beta_uncertainty", "cluster_robust", "forest"):  # cubic in 5,000 rows
        for room in (importlib.import_module("bayesv.report.report"), tables, bv.plots):
            monkeypatch.setattr(room, slow, None, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits = model.reml(), model.sample(seed=1, draws=100)
    assert "is left out" in bv.report(*fits, pictures=False).html
    assert not any("by method" in c for _, c in pictures._wanted(*fits, None))


def test_structures_are_compared(sleepstudy):
    """Given, or of posteriors whose structures differ."""
    data = bv.load_dataset("sleepstudy")
    other = bv.Model("Reaction ~ Days + (Days || Subject)", data).sample(seed=1, draws=250)
    page = Page(bv.report(sleepstudy[1], other, pictures=False).html)
    assert "Structures of V, best first" in page.text
    assert "(Days || Subject)" in page.text
    models = bv.compare_models(sleepstudy[1], other)
    page = Page(bv.report(other, models=models, pictures=False).html)
    assert "Structures of V, best first" in page.text
    page = Page(bv.report(other, pictures=False).html)
    assert "Structures of V, best first" not in page.text


def test_fits_have_the_names_that_are_given_and_columns_of_their_own():
    model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    fits = model.reml(), model.reml("ML")
    html = bv.report(*fits, labels=["restricted", "<full>"], pictures=False).html
    page = Page(html)
    assert "Variance components, restricted" in page.text
    assert "<full>: −2 log likelihood 1751.9393" in page.text
    table = html[html.index("Estimates, fit by fit") :]
    head = table[: table.index("</thead>")]
    assert "restricted" in head
    assert "&lt;full&gt;" in head
    with pytest.raises(bv.BayesvError, match="one different name for each of the 2 fits"):
        bv.report(*fits, labels=["REML"], pictures=False)


@pytest.mark.parametrize("residual", ["ar1(Days | Subject)", "us(Days | Subject)"])
def test_posteriors_of_structured_residuals_have_a_page(residual):
    data = bv.load_dataset("sleepstudy").query("Days < 3")
    model = bv.Model("Reaction ~ Days", data, residual=residual)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit, post = model.reml(), model.sample(seed=1, draws=100)
    page = Page(bv.report(fit, post, pictures=False).html)
    assert "V, cell by cell" in page.text
    drawn = bv.plots.variance_densities(fit, post, scales=("sd", "corr"))
    assert len(drawn) == sum(q.scale in ("sd", "corr") for q in post.quantities)
    assert any(line.get_label() == "prior" for ax in drawn for line in ax.lines)


def test_point_fits_have_tests_and_means_of_factors():
    model = bv.Model("read ~ cltype + sx + (1 | sch)", bv.load_dataset("star_k20"))
    fit = model.reml()
    text = Page(bv.report(fit, pictures=False).html).text
    for title in ("Kenward–Roger", "Tests of terms (type III)", "Marginal means of cltype"):
        assert title in text
    assert f"{fit.marginal_means('cltype')['estimate'][0]:.2f}" in text
    assert f"{fit.anova()['p']['sx']:.4f}" in text


def test_intervals_of_variances_and_means_of_posteriors():
    model = bv.Model("read ~ cltype + sx + (1 | sch)", bv.load_dataset("star_k20"))
    fit = model.reml()
    text = Page(bv.report(fit, pictures=False).html).text
    assert "SDs and correlations, Wald intervals" in text
    low, high = fit.confint().loc["sd sch: Intercept", ["low", "high"]]
    assert f"{low:.5g}" in text
    assert f"{high:.5g}" in text
    post = model.sample(draws=250, seed=1)
    text = Page(bv.report(fit, post, pictures=False).html).text
    assert "Tests of terms (type III)" in text
    assert "Marginal means of cltype, posterior mean, SD and interval" in text
    assert f"{post.marginal_means('cltype')['estimate'][0]:.2f}" in text
    assert "held against what design and model say" not in text  # draws of bayesv's own


def test_small_p_values_are_bounds():
    sleep = bv.Model("Reaction ~ Days + (1 | Subject)", bv.load_dataset("sleepstudy")).reml()
    html = bv.report(sleep, pictures=False).html
    assert "&lt;0.0001" in html
    assert "0.0000" not in Page(html).text


def test_draws_made_elsewhere_are_checked():
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    post = model.sample(draws=250, seed=1)
    other = replace(post, priors=None, density=None, engine="elsewhere")
    assert "Coherence check: passed" in Page(bv.report(other, pictures=False).html).text
    shifted = other.draws.copy(deep=True)
    shifted["posterior"]["beta"] += 50.0
    wrong = replace(other, draws=shifted)
    assert "Coherence check: FAILED" in Page(bv.report(wrong, pictures=False).html).text


def test_words_and_equations_name_every_part():
    df = bv.load_dataset("star_k20")
    design = bv.Model("read ~ cltype + sx + (sx || sch/tch)", df).design
    said = " ".join(words(design))
    for part in ("read", "cltype[reg]", "319 levels of tch within sch", "uncorrelated"):
        assert part in said
    found = equations(design)
    assert found[0]["text"].startswith("read = β0 + β1 cltype[reg]")
    assert found[-1]["text"] == "β̂ = (X'V⁻¹X)⁻¹X'V⁻¹y"
    assert all(e["mathml"].count("<mrow>") == e["mathml"].count("</mrow>") for e in found)


def test_designs_without_rows_have_a_page(tmp_path):
    path = tmp_path / "sleep.parquet"
    bv.load_dataset("sleepstudy").to_parquet(path)
    model = bv.Model("Reaction ~ Days + (Days | Subject)", path)
    page = Page(bv.report(model.reml(), model.sample(seed=1, draws=250)).html)
    assert "612.1" in page.text
    assert len(page.all("img")) >= 2


def test_what_cannot_be_reported_is_refused(sleepstudy, tmp_path):
    with pytest.raises(bv.BayesvError, match="found nothing"):
        bv.report()
    with pytest.raises(bv.BayesvError, match="found str"):
        bv.report("fit")
    with pytest.raises(bv.BayesvError, match="no folder"):
        bv.report(*sleepstudy, path=tmp_path / "none" / "report.html")
    other = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()
    with pytest.raises(bv.BayesvError, match="different data"):
        bv.report(sleepstudy[0], other)


# --- in a browser ---------------------------------------------------------------------------------


@needs_browser
@pytest.mark.parametrize("width", [390, 1200], ids=["phone", "desktop"])
def test_the_page_reads_in_a_browser(full, tmp_path, width):
    """No console errors, nothing requested, nothing wider than the window, every picture drawn."""
    find = """(() => {
      const images = [...document.images];
      const wide = [...document.querySelectorAll("body *")].filter(e =>
        e.getBoundingClientRect().right > innerWidth + 1 &&
        !e.closest(".table, pre, math, .unseen, .cells-scroll, nav"));
      return {
        broken: images.filter(i => !i.complete || !i.naturalWidth).length,
        images: images.length, page: document.documentElement.scrollWidth, window: innerWidth,
        wide: wide.map(e => e.tagName + "." + e.className).slice(0, 5),
        fetched: performance.getEntriesByType("resource").map(r => r.name.slice(0, 60))
          .filter(n => !n.startsWith("data:")),
        math: [...document.querySelectorAll("math")].map(m => m.getBoundingClientRect().height)
      }})()"""
    found, console = looked_at(full, tmp_path, width, find)
    assert console == []
    assert found["images"] >= 7
    assert found["broken"] == 0
    assert found["fetched"] == []
    assert found["wide"] == []
    assert found["page"] <= found["window"] + 1
    assert min(found["math"]) > 10
