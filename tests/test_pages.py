"""What the pages of the site say is run: whole blocks, and the short calls between the words."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import arviz as az
import pandas as pd
import pytest

import bayesv as bv

GUIDES = Path(__file__).parent.parent / "notebooks" / "guides"
REFERENCES = Path(__file__).parent / "references"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```", re.S | re.M)
CALL = re.compile(r"(?<!`)`((?:bv|fit|post|az)\.[^`…]*\))`(?!`)")


def blocks(page: str, kind: str) -> list[str]:
    found = BLOCK.findall((GUIDES / page).read_text(encoding="utf-8"))
    return [text for of, text in found if of == kind and ">>>" not in text]


def test_getting_started_prints_what_it_shows():
    printed = io.StringIO()
    (code,) = blocks("getting_started.md", "python")
    with redirect_stdout(printed):
        exec(code, {})
    (shown,) = blocks("getting_started.md", "text")
    pairs = list(zip(printed.getvalue().split(), shown.split(), strict=True))
    assert not [pair for pair in pairs if not same(*pair)]


def same(printed: str, shown: str) -> bool:
    """Whether two words are alike, or two numbers up to what processors differ in."""
    try:
        numbers = float(printed.strip("(),%")), float(shown.strip("(),%"))
    except ValueError:
        return printed == shown
    return numbers[0] == pytest.approx(numbers[1], rel=0.005, abs=1e-3)


def test_another_number_and_another_word_are_seen():
    assert same("(6.825)", "(6.826)")
    assert not same("24.74", "25.74")
    assert not same("yes", "no")


QUESTIONS = (GUIDES / "how_do_i.md").read_text(encoding="utf-8")
CALLS = sorted(set(CALL.findall(BLOCK.sub("", QUESTIONS))))


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> dict[str, Any]:
    """What the page's first block makes, and what its answers call by name alone."""
    names: dict[str, Any] = {"az": az, "pd": pd}
    for code in blocks("how_do_i.md", "python"):
        exec(code, names)
    exec(blocks("how_do_i.md", "python")[0], names)
    df = names["df"]
    without = bv.Model("Reaction ~ Days + (Days || Subject)", df)
    return names | {
        "new": df.iloc[:3],
        "other": without.sample(seed=2),
        "smaller": without.reml(),
        "larger": names["fit"],
        "trial": pd.read_csv(REFERENCES / "structures" / "fev.csv"),
    }


@pytest.fixture(scope="module")
def fields() -> dict[str, Any]:
    """Fits with factors, for the answers about levels."""
    data = pd.read_csv(REFERENCES / "small_sample" / "oats.csv").rename(columns={"y": "yield"})
    model = bv.Model("yield ~ variety * nitro + (1 | block/variety)", data)
    return {"bv": bv, "df": data, "fit": model.reml(), "post": model.sample(seed=1)}


def test_the_page_has_calls():
    assert len(CALLS) > 30


@pytest.mark.usefixtures("_closed")
@pytest.mark.parametrize("call", CALLS)
def test_calls_in_the_answers_run(call, names, fields, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some of them write
    of_levels = re.search(r"variety|nitro|collinearity", call)
    assert eval(call, dict(fields if of_levels else names)) is not None or "save" in call
