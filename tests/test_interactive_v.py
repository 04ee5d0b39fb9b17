"""V cell by cell: the numbers of the page are those of the fits, and keys reach all of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.cli import main
from bayesv.report import cells
from tests.browser import looked_at, needs_browser


@pytest.fixture(scope="module")
def sleepstudy():
    model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    return model.reml(), model.sample(seed=1, draws=250)


@pytest.fixture(scope="module")
def page(sleepstudy):
    return bv.interactive_v(*sleepstudy).html


def data_of(html):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.S)[1])


def upper(frame):
    values = frame.to_numpy()
    return values[np.triu_indices(len(values))]


def test_numbers_are_those_of_the_fits(sleepstudy, page):
    fit, post = sleepstudy
    data = data_of(page)
    subject = data["groups"][0]["clusters"][3]
    point, draws = data["blocks"][subject["block"]]
    V = post.V("Subject", subject["label"])
    np.testing.assert_allclose(
        point, upper(fit.gls.V.block("Subject", subject["label"])), rtol=1e-4
    )
    low, high = V.interval()
    corr = V.corr()
    table = np.array(draws)
    columns = [upper(part) for part in (V.mean(), V.sd(), low, high)]
    of_corr = [corr.mean(("chain", "draw")), *corr.quantile([0.025, 0.975], ("chain", "draw"))]
    np.testing.assert_allclose(table[:, :4], np.stack(columns, axis=1), rtol=1e-4)
    np.testing.assert_allclose(
        table[:, 4:7], np.stack([upper(part.to_pandas()) for part in of_corr], axis=1), atol=1e-4
    )
    medians = table[:, 0] + table[:, 7 + data["quantiles"].index(0.5)] / 100 * table[:, 1]
    np.testing.assert_allclose(medians, upper(V.quantile(0.5)), atol=0.006 * table[:, 1].max())


def test_clusters_with_the_same_v_are_stored_once(sleepstudy):
    data = bv.load_dataset("sleepstudy").iloc[:-1]  # the last subject lacks a day
    fit = bv.Model("Reaction ~ Days + (Days | Subject)", data).reml()
    facts = cells.cells([fit], ["REML"])
    blocks = [cluster["block"] for cluster in facts["groups"][0]["clusters"]]
    assert blocks == [0] * 17 + [1]
    assert facts["groups"][0]["clusters"][0]["about"][2] == "Days 2"


def test_what_is_left_out_is_said():
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(9), 40), "x": rng.normal(size=360)})
    data["y"] = rng.normal(size=360) + rng.normal(size=9)[data["g"]] * data["x"]
    fit = bv.Model("y ~ x + (x | g)", data).reml()
    facts = cells.cells([fit], ["REML"], most_bytes=10_000)
    group = facts["groups"][0]
    assert 1 < len(group["clusters"]) < 9
    assert 10_000 < len(json.dumps(facts["blocks"], separators=(",", ":"))) < 14_000
    assert f"{len(group['clusters'])} of 9 are on this page" in group["note"]
    assert group["clusters"][0]["note"] == "24 of its 40 rows"
    assert len(group["clusters"][0]["rows"]) == 24
    chosen = cells.cells([fit], ["REML"], group="g", levels=[7])["groups"][0]["clusters"]
    assert [cluster["label"] for cluster in chosen] == ["7"]


def test_series_of_residuals_are_clusters_too():
    data = bv.load_dataset("sleepstudy")
    fits = [
        bv.Model("Reaction ~ Days", data, residual="ar1(Days | Subject)").reml(),
        bv.Model("Reaction ~ Days + (1 | Subject)", data).reml(),
    ]
    facts = data_of(bv.interactive_v(*fits, labels=["AR(1)", "intercepts"]).html)
    assert [fit["name"] for fit in facts["fits"]] == ["AR(1)", "intercepts"]
    ar1, intercepts = facts["blocks"][0]
    assert ar1[1] / ar1[0] == pytest.approx(ar1[2] / ar1[1], rel=1e-3)
    assert intercepts[1] == intercepts[2]
    assert "Days 1" in facts["groups"][0]["clusters"][0]["about"][1]


def test_labels_cannot_leave_the_script():
    data = bv.load_dataset("dyestuff")
    data["g"] = data["Batch"].map(lambda batch: f"</script><b>&{batch}")
    model = bv.Model("Yield ~ 1 + (1 | g)", data)
    html = bv.interactive_v(model.reml(), labels=["</script><i>"], title="<u>").html
    assert not re.search(r"</script><[bi]>|<u>", html)
    assert data_of(html)["groups"][0]["clusters"][0]["label"] == "</script><b>&A"


def test_rows_that_another_program_numbers_from_1_are_the_same_ones(sleepstudy):
    fit = sleepstudy[0]
    extracted = replace(fit, design=replace(fit.design, row_labels=pd.RangeIndex(1, 181)))
    html = bv.interactive_v(fit, extracted, group="Subject", levels=["308"]).html
    first, second = data_of(html)["blocks"][0]
    assert first == second


def test_what_cannot_be_shown_is_refused(sleepstudy, tmp_path):
    fit = sleepstudy[0]
    with pytest.raises(bv.BayesvError, match="found nothing"):
        bv.interactive_v()
    with pytest.raises(bv.DataError, match="group must be one of Subject"):
        bv.interactive_v(fit, group="subject")
    with pytest.raises(bv.DataError, match="must be a list"):
        bv.interactive_v(fit, levels=["308"])
    with pytest.raises(bv.BayesvError, match="labels must be a list; found 'REML'"):
        bv.interactive_v(fit, labels="REML")
    with pytest.raises(bv.BayesvError, match="one different name for each of the 1 fits"):
        bv.interactive_v(fit, labels=["REML", "ML"])
    with pytest.raises(bv.BayesvError, match="levels must be a list; found 5"):
        bv.interactive_v(fit, group="Subject", levels=5)
    with pytest.raises(bv.BayesvError, match="labels must be a list; found 3"):
        bv.interactive_v(fit, labels=3)
    other = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()
    with pytest.raises(bv.BayesvError, match="different rows"):
        bv.interactive_v(fit, other)
    with pytest.raises(bv.StorageError, match="no folder"):
        bv.interactive_v(fit, path=tmp_path / "none" / "V.html")


def test_the_command_line_writes_the_page(sleepstudy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, fit in zip(("reml.nc", "post.nc"), sleepstudy, strict=True):
        bv.save(fit, name)
    assert main(["v", "reml.nc", "post.nc", "--interactive", "V.html"]) == 0
    assert len(data_of((tmp_path / "V.html").read_text())["fits"]) == 2
    assert main(["v", "reml.nc", "--level", "309", "--interactive", "one.html"]) == 0
    clusters = data_of((tmp_path / "one.html").read_text())["groups"][0]["clusters"]
    assert [cluster["label"] for cluster in clusters] == ["309"]
    assert main(["v", "reml.nc", "--interactive", "V.csv"]) == 1
    assert "the page is an .html file" in capsys.readouterr().err
    assert main(["v", "reml.nc", "post.nc", "-o", "V.npz"]) == 1
    assert "a table is of one fit" in capsys.readouterr().err


_KEYS = """(() => {
  const map = document.querySelector("[data-map]"), said = () =>
    document.querySelector("[role=status]").textContent;
  const press = key => {
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
    return [document.activeElement.getAttribute("aria-label"), said()];
  };
  map.querySelector("td[tabindex='0']").focus();
  const heard = {start: [document.activeElement.getAttribute("aria-label"), said()]};
  for (const key of ["ArrowDown", "End", "ArrowLeft", "ArrowRight", "ArrowRight", "Home", "PageDown"])
    heard[key] = press(key);
  const choose = (name, value) => {
    const select = document.querySelector(`[data-choice=${name}]`);
    select.value = value; select.dispatchEvent(new Event("change"));
  };
  choose("what", "corr");
  const cell = map.querySelector("td[data-place='2 2']");
  cell.click();
  return {
    heard, corner: cell.textContent, tapped: said(), tabs: map.querySelectorAll("[tabindex='0']").length,
    cells: map.querySelectorAll("[role=gridcell]").length, grid: map.querySelector("[role=grid]")
      .getAttribute("aria-label"), curves: document.querySelectorAll("[data-panel] svg path").length,
    page: document.documentElement.scrollWidth, window: innerWidth,
    fetched: performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:")).length,
  }})()"""  # noqa: E501


@needs_browser
@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "desktop"])
def test_keys_move_between_cells_and_each_is_announced(sleepstudy, page, tmp_path, width):
    found, console = looked_at(page, tmp_path, width, _KEYS)
    assert console == []
    assert found["fetched"] == 0
    assert found["page"] <= found["window"]
    assert (found["cells"], found["tabs"]) == (100, 1)
    V = sleepstudy[1].V("Subject", "308")
    heard = found["heard"]
    places = {"start": (0, 1), "ArrowDown": (1, 1), "End": (1, 9), "ArrowLeft": (1, 8)}
    # Beyond the end of a row there is no cell.
    places |= {"ArrowRight": (1, 9), "Home": (1, 0), "PageDown": (1, 0)}
    for key, (i, j) in places.items():
        label, said = heard[key]
        assert f"Days {i}" in label, key
        assert f"Days {j}: Covariance" in label, key
        mean = float(re.search(r"mean ([\d,.]+),", said)[1].replace(",", ""))
        assert mean == pytest.approx(V.mean().iloc[i, j], rel=1e-3), key
        sd = float(re.search(r"SD ([\d,.]+),", said)[1].replace(",", ""))
        assert sd == pytest.approx(V.sd().iloc[i, j], rel=1e-3), key
        assert "95 % interval" in said
        assert "REML: V" in said
    assert heard["PageDown"][1].startswith("Subject 309.")
    assert found["grid"].startswith("Correlation of Subject 309")
    assert (found["corner"], found["tapped"].split(".")[0]) == (
        "1.00",
        "Variance of row 12, Days 2",
    )
    assert found["curves"] >= 3


_CONTRAST = """(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (element) => {
    const colour = parts(getComputedStyle(element).backgroundColor);
    return colour.length < 4 ? colour : behind(element.parentElement);
  };
  return [...document.querySelectorAll("td, th, p, h1, h3, label, option, select")].map((one) => {
    const pair = [luminance(parts(getComputedStyle(one).color)), luminance(behind(one))];
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  });
})()"""


@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_is_read_on_every_colour(page, tmp_path, dark):
    """WCAG 2.1, 1.4.3: text has a contrast of 4.5 or more."""
    if dark:  # what the browser would ask the system
        page = page.replace("(prefers-color-scheme: dark) {", "all {")
        page = page.replace('matchMedia("(prefers-color-scheme: dark)")', "new DarkMedia()")
        stand_in = "class DarkMedia { matches = true; addEventListener() {} }"
        page = page.replace('"use strict";', f'"use strict"; {stand_in}', 1)
    found, console = looked_at(page, tmp_path, 1280, _CONTRAST)
    assert console == []
    assert len(found) > 100
    assert min(found) >= 4.5
