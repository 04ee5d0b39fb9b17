"""Every block of the README is run as it stands, from top to bottom, as a newcomer would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.S | re.M)
PARTS = (
    *("bayesv", "models", "notebooks", "tests"),
    *("pyproject.toml", "README.md", "LICENSE", ".python-version"),
)
ONE_FILE = "-q -p no:cacheprovider tests/test_names.py"  # of the tests, which would run this again


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> str:
    """Run all blocks in one shell, in a copy of the project; return what they print."""
    folder = tmp_path_factory.mktemp("newcomer") / "bayesv"
    folder.mkdir()
    compiled = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=compiled)
        else:
            shutil.copy(ROOT / part, folder / part)
    steps = {"bash": "{}", "python": "python - <<'EOF'\n{}EOF\n", "text": ""}
    script = "".join(steps[kind].format(block) for kind, block in BLOCKS)
    # What an outer `python3 -m uv run` says of its own interpreter would send installs there.
    outer = ("PYTHONPATH", "UV_INTERNAL__PARENT_INTERPRETER")
    environment = {
        **{name: value for name, value in os.environ.items() if name not in outer},
        # `uv run` in the environment of these tests: it has all that the groups ask for.
        "UV_PROJECT_ENVIRONMENT": sys.prefix,
        "UV_NO_SYNC": "1",
        "PYTEST_ADDOPTS": ONE_FILE,
    }
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_blocks_run_and_print_what_the_readme_shows(printed):
    shown = [block for kind, block in BLOCKS if kind == "text"]
    assert shown
    for block in shown:
        assert "\n".join(line.rstrip() for line in block.splitlines()) in printed
    assert re.search(r"Done in \d+ s\.", printed)  # the demo
    assert re.search(r"\d+ passed", printed)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150
    assert all(kind in {"bash", "python", "text"} for kind, _ in BLOCKS)
    (python,) = [block for kind, block in BLOCKS if kind == "python"]
    assert len([line for line in python.splitlines() if line.strip()]) <= 12


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
