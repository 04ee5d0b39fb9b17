"""Imports go downwards only, heavy libraries stay unloaded, and every file stays readable."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bayesv"
FILES = sorted(PACKAGE.rglob("*.py"))

# Ground floor first; a room may import rooms of its own floor only if they stand before it.
FLOORS = {
    "errors": 0, "arguments": 0, "linalg": 0, "names": 0, "labels": 0, "diagnostics": 0,
    "progress": 0, "saving": 0, "tables": 0, "scales": 0, "row_encoder": 0, "writing": 0,
    "process": 0, "memory": 0,
    "random_terms": 1, "design": 1, "prior_families": 1, "prior_basis": 1, "priors": 1,
    "prior_text": 1,
    "covariance": 1, "gram": 1, "quantities": 1,
    "formula": 2, "reml": 2, "inference": 2, "estimators": 2,
    "summaries": 1, "simulation": 1, "new_rows": 2, "prediction": 2, "functionals": 2,
    "posterior_v": 2,
    "coherence": 2, "prior_draws": 2, "profile": 3,
    "marginal_methods": 3, "posterior": 3, "model": 3, "restate": 3, "counterfactuals": 3,
    "reasons": 3, "alignment": 3, "compare": 3, "bootstrap": 3, "uncertainty": 3,
    "storage": 4, "extract": 4, "datasets": 4, "plots": 4, "report": 5, "study": 5, "cli": 6,
}  # fmt: skip
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
    "rich": {"progress"},
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
