"""The README's example prints what the README shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_example_prints_its_output():
    code, want = re.search(
        r"## Example\n\n```python\n(.*?)```\n\nprints\n\n```text\n(.*?)```", README, re.S
    ).groups()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    got = "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())
    # Rounding of BLAS may flip one accept decision: numbers are compared to two digits, words exactly.
    number = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")
    assert number.sub("#", got).split() == number.sub("#", want.strip()).split()
    exact = slice(0, want.index("Comparison"))
    assert got[exact].split("GLS")[0].splitlines()[:4] == want.strip()[exact].splitlines()[:4]
    assert len(code.strip().splitlines()) <= 17
