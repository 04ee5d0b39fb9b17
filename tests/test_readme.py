"""The README's example prints what the README shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_example_prints_its_output():
    code, want = re.search(
        r"## Example\n\n```python\n(.*?)```\n\nprints\n\n```text\n(.*?)```", README, re.S
    ).groups()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    got = "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())
    number = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")
    assert number.sub("#", got).split() == number.sub("#", want.strip()).split()
    # Another BLAS may flip an accept decision, so what depends on draws is held to 3 %.
    head = want.index("Comparison")
    pairs = zip(number.findall(got[:head]), number.findall(want[:head]), strict=False)
    for a, b in pairs:
        assert float(a) == pytest.approx(float(b), rel=0.03, abs=0.01)
    assert got.splitlines()[:4] == want.strip().splitlines()[:4]
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
