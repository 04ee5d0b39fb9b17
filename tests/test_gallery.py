"""Every picture is in the gallery."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bayesv as bv

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
PAGE = (NOTEBOOKS / "guides" / "gallery.md").read_text(encoding="utf-8")
TOOLS = {"describe", "figure_of", "png"}  # what is done with pictures
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S))


@pytest.mark.parametrize("name", sorted(set(bv.plots.__all__) - TOOLS))
def test_gallery_has_the_picture_and_its_lines(name):
    section = SECTIONS[name]
    assert f"picture = bv.plots.{name}(" in section
    alt, path = re.search(r"!\[(.+)\]\((.+)\)", section).groups()
    assert len(alt.split()) >= 3
    assert (NOTEBOOKS / "guides" / path).is_file()


def test_pictures_are_small_and_none_is_left_over():
    files = list((NOTEBOOKS / "pictures" / "gallery").glob("*.png"))
    assert sum(file.stat().st_size for file in files) < 2e6
    assert {file.stem for file in files} == set(SECTIONS)
