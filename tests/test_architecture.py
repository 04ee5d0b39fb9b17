"""Imports go downwards only, heavy libraries stay unloaded, and every file stays readable."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bayesv"
FILES = sorted(PACKAGE.rglob("*.py"))

# Each room may import those that stand before it.
ORDER = (
    "errors", "linalg", "support", "names", "diagnostics", "data", "structures", "design", "gram",
    "formula", "covariance", "priors", "inference", "reml", "posterior", "model", "restate",
    "comparison", "storage", "extract", "plots", "report", "study", "cli",
)  # fmt: skip
FLOORS = {name: place for place, name in enumerate(ORDER)}
# The only rooms that may import these.
OWNERS = {
    "formulae": set(),  # Bambi brings it; formulas are read by bayesv alone
    "pymc": {"inference"},
    "pytensor": {"inference"},
    "bambi": {"inference"},
    "nutpie": {"inference"},
    "narwhals": {"formula"},
    "matplotlib": {"plots"},
    "jinja2": {"report"},
    "great_tables": {"report"},
    "rich": {"support"},
    "statsmodels": {"extract"},
    "rpy2": {"extract"},
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downwards(path):
    here = room(path)
    if here == "__init__":
        return
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "bayesv" and rest:
            assert FLOORS[rest[0]] <= FLOORS[here], f"{here} imports {name}"
        if top in OWNERS:
            assert here in OWNERS[top], f"{here} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short_and_say_why_they_exist(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 450


def test_import_is_light():
    code = (
        "import sys, bayesv; "
        "print([m for m in ('pymc', 'pytensor', 'bambi', 'nutpie', 'matplotlib', 'numba') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
