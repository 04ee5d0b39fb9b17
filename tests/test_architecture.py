"""Imports go downwards only, heavy libraries stay unloaded, and every file stays readable."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import architecture
from tests.architecture import (
    CHECKS,
    HEAVY,
    LINES_OF_FILE,
    LINES_OF_FUNCTION,
    LONG,
    ORDER,
    OWNERS,
    Import,
)

PACKAGE = Path(__file__).parent.parent / "bayesv"
GUIDE = PACKAGE.parent / "notebooks" / "guides" / "architecture.md"

Check = Callable[[Path], list[str]]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_package_keeps_its_rules(check):
    assert check(PACKAGE) == []


def test_every_room_of_the_order_is_there():
    rooms = {file.room for file in architecture.source_files(PACKAGE).values()} - {""}
    assert rooms == set(ORDER)


def test_no_exception_outlives_its_reason():
    files = architecture.source_files(PACKAGE)
    for stack, owners in OWNERS.items():
        for owner in owners:
            users = [f for f in files.values() if architecture.belongs(f.path, owner)]
            assert any(_stack(i) == stack for f in users for i in f.imports), (stack, owner)
        assert len(owners) == 1 or all(owners.values()), f"{stack} has owners without a reason"
    lengths = architecture.function_lengths(PACKAGE)
    assert all(lengths[name] > LINES_OF_FUNCTION for name in LONG)
    lazy = {i.module for f in files.values() for i in f.imports if i.own and i.lazy}
    assert set(HEAVY) <= lazy
    for module in HEAVY:
        assert _loads(module) & {"numba", "pytensor", "matplotlib", "great_tables"}, module


def _stack(target: Import) -> str:
    return "" if target.own else target.module.split(".")[0]


def _loads(module: str) -> set[str]:
    """Return the third-party stacks that a module loads as it is imported."""
    files = architecture.source_files(PACKAGE)
    stacks, waiting, seen = set(), [module], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in files:
            continue
        seen.add(name)
        for target in files[name].imports:
            if not target.lazy and target.own:
                waiting.append(target.module)
            elif not target.lazy:
                stacks.add(_stack(target))
    return stacks


STACKS = (
    *("pymc", "pytensor", "bambi", "nutpie", "matplotlib", "numba", "jinja2", "great_tables"),
    *("xarray", "zarr", "dask"),
)
TABLES = ("numpy", "scipy", "pandas")
SLOW = ("scipy.stats", "scipy.interpolate", "scipy.optimize")  # a third of a second and more
HELP = "import bayesv.cli as cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass"


@pytest.mark.parametrize(
    ("code", "unloaded"),
    [
        ("import bayesv", STACKS + TABLES),
        (HELP, STACKS + TABLES),
        ("import bayesv as bv\nfor name in bv.__all__: getattr(bv, name)", STACKS + SLOW),
    ],
    ids=["import", "help", "names"],
)  # fmt: skip
def test_no_more_is_loaded_than_is_used(code, unloaded):
    code = code.replace("in bv.__all__", "in set(bv.__all__) - {'plots'}")  # which needs an extra
    code += f"\nimport sys; print([name for name in {unloaded} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_names_of_functions_are_not_hidden_by_their_rooms():
    import bayesv.extract
    import bayesv.report

    assert callable(bayesv.report)
    assert callable(bayesv.extract)
    assert {"plots", "study", "Model"} <= set(dir(bayesv))


@pytest.mark.parametrize("room", ORDER)
def test_guide_names_every_room(room):
    assert f"`{room}`" in GUIDE.read_text()


# --- the checks see what they are for -------------------------------------------------------------

CLEAN = {
    "__init__.py": '"""A package."""\n\nimport importlib\n\nfrom pack.names import word\n',
    "linalg.py": '"""Numbers."""\n\nimport numpy as np\n',
    "names.py": '"""Words."""\n\nfrom pack.linalg import np\n\nword = np\n',
    "gram/__init__.py": '"""Sums."""\n\nfrom pack.gram.sums import total\n',
    "gram/kernels.py": '"""Loops."""\n\nimport numba\n',
    "gram/sums.py": '"""Sums."""\n\n\ndef total():\n    """Add."""\n'
    "    from pack.gram.kernels import numba\n\n    return numba\n",
    "cli/__init__.py": '"""Commands."""\n\nimport pack as p\n\nprint(p)\n',
}
LONG_DOCSTRING = '    """' + "Say it.\n" * (LINES_OF_FUNCTION + 1) + '    """\n'
PLANTED: list[tuple[str, Check, str, str]] = [
    ("a room imports one after it", architecture.upward_imports,
     "linalg.py", "from pack.names import word\n"),
    ("a room imports one after it, by a function", architecture.upward_imports,
     "linalg.py", "def f():\n    import pack.names\n"),
    ("a room imports one after it, through the package", architecture.upward_imports,
     "linalg.py", "from pack import names\n"),
    ("a room imports the package", architecture.upward_imports, "names.py", "import pack\n"),
    ("a room that is not in the order", architecture.upward_imports, "attic.py", "x = 1\n"),
    ("an import that is relative", architecture.upward_imports,
     "gram/sums.py", "from .kernels import numba\n"),
    ("a circle", architecture.circles, "gram/kernels.py", "import pack.gram.sums\n"),
    ("a circle for types alone", architecture.circles,
     "gram/kernels.py", "if False:\n    from pack.gram.sums import total\n"),
    ("a circle by the room's own list", architecture.circles,
     "gram/sums.py", "from pack.gram import total as t\n"),
    ("a stack of another room", architecture.owned_by_others, "names.py", "import numba\n"),
    ("a part of a stack", architecture.owned_by_others,
     "names.py", "from numba.core import types\n"),
    ("a stack that nobody owns", architecture.owned_by_others, "names.py", "import sympy\n"),
    ("a stack in a function", architecture.owned_by_others,
     "names.py", "def f():\n    import xarray as xr\n"),
    ("a stack that is required", architecture.owned_by_others,
     "names.py", 'require("pyarrow", "parquet")\n'),
    ("a stack by import_module", architecture.owned_by_others,
     "names.py", 'importlib.import_module("dask.array")\n'),
    ("an own module in a function", architecture.lazy_own_imports,
     "gram/sums.py", "def f():\n    from pack.linalg import np\n"),
    ("an own module in a method", architecture.lazy_own_imports,
     "gram/sums.py", "class A:\n    def f(self):\n        import pack.linalg\n"),
    ("a long file", architecture.long_files, "names.py", "x = 1\n" * LINES_OF_FILE),
    ("a long function", architecture.long_functions,
     "names.py", "def f():\n" + "    x = 1\n" * LINES_OF_FUNCTION),
    ("a long function with a docstring", architecture.long_functions,
     "names.py", "def f():\n" + LONG_DOCSTRING + "    x = 1\n" * LINES_OF_FUNCTION),
    ("a long method", architecture.long_functions,
     "names.py", "class A:\n    async def f(self):\n" + "        x = 1\n" * LINES_OF_FUNCTION),
]  # fmt: skip


@pytest.fixture
def package(tmp_path) -> Path:
    """A package that keeps every rule."""
    for name, text in CLEAN.items():
        path = tmp_path / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "pack"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_clean_package_passes(package, check):
    assert check(package) == []


@pytest.mark.parametrize(
    ("check", "name", "text"), [case[1:] for case in PLANTED], ids=[case[0] for case in PLANTED]
)
def test_planted_violations_are_seen(package, check, name, text):
    path = package / name
    path.write_text((path.read_text() if path.exists() else '"""New."""\n') + text)
    (problem,) = check(package)
    assert name.removesuffix(".py").replace("/", ".") in problem.replace("/", ".")


def test_circle_of_folders_is_seen(package):
    for name, text in {
        "gram/inner/one.py": '"""One."""\n\nfrom pack.gram.sums import total\n',
        "gram/inner/two.py": '"""Two."""\n',
        "gram/words.py": '"""Words."""\n\nimport pack.gram.inner.two\n',
    }.items():
        path = package / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert architecture.circles(package) == []
    (problem,) = architecture.circles_of_folders(package)
    assert "gram.inner" in problem


def test_missing_docstring_is_seen(package):
    (package / "names.py").write_text("word = 1\n")
    assert architecture.without_docstring(package) == ["names.py"]


def test_docstrings_do_not_count_as_lines(package):
    (package / "names.py").write_text(
        '"""Words."""\n\n\ndef f():\n' + LONG_DOCSTRING + "    x = 1\n" * (LINES_OF_FUNCTION - 1)
    )
    assert architecture.long_functions(package) == []


def test_every_circle_is_named(package):
    for name, other in (("linalg", "names"), ("gram/kernels", "gram.sums")):
        path = package / f"{name}.py"
        path.write_text(path.read_text() + f"import pack.{other}\n")
    assert len(architecture.circles(package)) == 2
