"""What the package's layout must keep, as checks of a folder: each returns what breaks a rule."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

# Each room may import those that stand before it, and no other.
ORDER = (
    "errors", "linalg", "support", "names", "data", "structures", "design", "gram", "diagnostics",
    "formula", "covariance", "priors", "inference", "reml", "posterior", "model", "restate",
    "comparison", "storage", "extract", "plots", "report", "study", "cli", "__main__",
)  # fmt: skip

BASE = {"numpy", "scipy", "pandas"}  # what every room may build on
USERS = {"cli", "__main__"}  # rooms that use the package by its public names, as a user does

# Who may import what else: a room or a file, and why where there is more than one.
OWNERS: dict[str, dict[str, str]] = {
    "bambi": {"inference": ""},
    "cloudpickle": {"study/execution": ""},
    "dask": {"formula": ""},
    "distributed": {
        "study/execution": "runs studies on its workers",
        "cli/study.py": "connects to the scheduler that the command line names",
    },
    "great_tables": {"report": ""},
    "h5py": {"storage/netcdf.py": ""},
    "jinja2": {"report": ""},
    "PIL": {"plots/png.py": ""},
    "lazy_loader": {"__init__.py": ""},
    "llvmlite": {"gram/eights.py": ""},
    "matplotlib": {"plots": "draws with it", "report/packages.py": "names what is not installed"},
    "narwhals": {"formula": ""},
    "numba": {"gram": ""},
    "nutpie": {"inference": ""},
    "openpyxl": {"data/tables/binary.py": ""},
    "pyarrow": {
        "data/tables/binary.py": "asks how large a table is",
        "data/tables/write.py": "writes tables",
        "formula/sources.py": "reads rows of a model in batches",
        "study/results": "keeps replicates",
    },
    "pymc": {"inference": ""},
    "pyreadstat": {"data/tables/binary.py": ""},
    "pytensor": {"inference": ""},
    "rich": {"support/progress.py": ""},
    "rpy2": {"extract/rpy2.py": ""},
    "threadpoolctl": {"gram/threads.py": ""},
    "shtab": {"cli/completion.py": ""},
    "tomli_w": {"study/scenarios": ""},
    "xarray": {"support/xarray.py": "makes arrays", "storage": "reads and writes them"},
    "zarr": {"storage": ""},
}

# Modules that load a heavy stack as they are imported, so that functions import them when needed.
HEAVY: dict[str, str] = {
    "diagnostics.loops": "compiled by numba",
    "gram.border": "compiled by numba",
    "gram.bordered": "compiled by numba",
    "gram.by_set": "compiled by numba",
    "gram.fill": "compiled by numba",
    "gram.sparse": "compiled by numba",
    "gram.kernels": "compiled by numba",
    "gram.lanes": "compiled by numba",
    "gram.profiled": "compiled by numba",
    "gram.rows": "compiled by numba",
    "gram.several": "compiled by numba",
    "gram.small": "compiled by numba",
    "gram.stacks": "compiled by numba",
    "inference.loops": "compiled by numba",
    "inference.points": "compiled by numba",
    "reml.chains": "compiled by numba",
    "reml.quasi_newton": "compiled by numba",
    "inference.marginal": "an operation of PyTensor is a class of it",
    "plots.calibration": "draws with matplotlib, which is an extra",
    "report.pictures": "draws with matplotlib, which is an extra",
    "report.tables": "sets tables with Great Tables, which is an extra",
    "report.tested": "sets tables with Great Tables, which is an extra",
}

LINES_OF_FILE = 400
LINES_OF_FUNCTION = 60  # apart from its docstring

# Functions that may be longer, and why.
LONG: dict[str, str] = {
    "gram/kernels.py:reverse": "one compiled pass over the units; calls would not be inlined",
}


@dataclass(frozen=True)
class Import:
    """A module that a file imports; ``lazy`` inside a function, ``own`` from this package.

    ``typed``: under ``if TYPE_CHECKING``, where nothing is loaded when the program runs.
    """

    module: str
    line: int
    lazy: bool
    own: bool
    typed: bool


@dataclass(frozen=True)
class SourceFile:
    """A file of a package, parsed."""

    path: str  # in the package, with slashes
    tree: ast.Module
    n_lines: int
    imports: tuple[Import, ...]

    @property
    def module(self) -> str:
        """Dotted name in the package; empty of the package itself."""
        return _module(self.path)

    @property
    def room(self) -> str:
        """First part of the module's name."""
        return self.module.split(".")[0]


def source_files(package: Path) -> dict[str, SourceFile]:
    """Return every file of a package by its module."""
    texts = {p.relative_to(package).as_posix(): p.read_text() for p in package.rglob("*.py")}
    names = frozenset(_module(path) for path in texts)
    files = (_parsed(path, texts[path], package.name, names) for path in sorted(texts))
    return {file.module: file for file in files}


@cache
def _parsed(path: str, text: str, package: str, modules: frozenset[str]) -> SourceFile:
    tree = ast.parse(text)
    return SourceFile(path, tree, len(text.splitlines()), tuple(_imports(tree, package, modules)))


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("__init__").strip("/").replace("/", ".")


def _imports(tree: ast.Module, package: str, modules: Collection[str]) -> Iterator[Import]:
    """Give all that a file imports, also by ``require`` and ``import_module`` of a literal."""
    typed = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node, lazy in _nodes(tree, False):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            targets = [
                f"{base}.{alias.name}"
                if f"{base}.{alias.name}".removeprefix(f"{package}.") in modules
                else base
                for alias in node.names
            ]
        elif isinstance(node, ast.Call) and _called(node.func) in ("require", "import_module"):
            match node.args:
                case [ast.Constant(value=str() as target), *_]:
                    targets = [target]
        for target in targets:
            top = target.split(".")[0]
            own = top in (package, "")
            module = target.removeprefix(package).removeprefix(".") if top == package else target
            yield Import(module, node.lineno, lazy, own, id(node) in typed)


def _nodes(node: ast.AST, lazy: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Walk a tree; also say whether a node is run only when a function is called."""
    for child in ast.iter_child_nodes(node):
        deeper = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield child, lazy
        yield from _nodes(child, deeper)


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


# --- the checks -----------------------------------------------------------------------------------


def upward_imports(
    package: Path, order: tuple[str, ...] = ORDER, users: Collection[str] = USERS
) -> list[str]:
    """Rooms import rooms that stand before them, by their full name."""
    places = {room: i for i, room in enumerate(order)}
    problems = []
    for file in source_files(package).values():
        if file.room == "":
            continue
        if file.room not in places:
            problems.append(f"{file.path} is in no room of ORDER")
            continue
        for target in (i for i in file.imports if i.own):
            room = target.module.split(".")[0]
            if room == "" and file.room in users:
                continue
            if room not in places or places[room] > places[file.room]:
                problems.append(
                    f"{file.path}:{target.line} imports {target.module or package.name}"
                )
    return problems


def circles(package: Path) -> list[str]:
    """No module leads back to itself by imports, lazy ones and those for types included."""
    files = source_files(package)
    graph = {
        name: {i.module for i in file.imports if i.own and i.module in files and i.module != name}
        for name, file in files.items()
    }
    return _circles(graph, package.name)


def circles_of_folders(package: Path) -> list[str]:
    """Nor does a folder in a room lead back to itself, by what its files import of others."""
    files = source_files(package)
    graph: dict[str, set[str]] = {}
    for file in files.values():
        if file.path.endswith("/__init__.py"):  # gathers what is in its folder
            continue
        folder = _folder(file)
        targets = {_folder(files[i.module]) for i in file.imports if i.own and i.module in files}
        graph.setdefault(folder, set()).update(targets - {folder})
    graph.pop("", None)  # of rooms that are files; `upward_imports` looks at them
    return _circles(graph, package.name)


def _folder(file: SourceFile) -> str:
    return file.path.rpartition("/")[0].replace("/", ".")


def _circles(graph: dict[str, set[str]], package: str) -> list[str]:
    """Return circles until none is left, each cut at one place when it is found."""
    problems = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
            return problems
        except CycleError as error:
            circle = error.args[1][::-1]
            problems.append(" imports ".join(name or package for name in circle))
            graph[circle[0]].discard(circle[1])  # and on to the next


def owned_by_others(
    package: Path, owners: Mapping[str, Collection[str]] = OWNERS, base: Collection[str] = BASE
) -> list[str]:
    """A third-party stack is imported by its owners alone; its types may be named elsewhere."""
    problems = []
    for file in source_files(package).values():
        for target in (i for i in file.imports if not i.own and not i.typed):
            stack = target.module.split(".")[0]
            if stack in base or stack in sys.stdlib_module_names:
                continue
            if not any(belongs(file.path, owner) for owner in owners.get(stack, ())):
                problems.append(f"{file.path}:{target.line} imports {stack}")
    return problems


def belongs(path: str, owner: str) -> bool:
    """Whether a file is the owner, or in the room that is."""
    return path in (owner, f"{owner}.py") or path.startswith(f"{owner}/")


def lazy_own_imports(package: Path, heavy: Collection[str] = HEAVY) -> list[str]:
    """Functions import modules of the package only where these load a heavy stack.

    ``__main__`` does so once interrupts have an answer.
    """
    return [
        f"{file.path}:{target.line} imports {target.module or package.name} in a function"
        for file in source_files(package).values()
        for target in file.imports
        if target.own and target.lazy and target.module not in heavy and file.path != "__main__.py"
    ]


def long_files(package: Path, most: int = LINES_OF_FILE) -> list[str]:
    """Files are short."""
    files = source_files(package).values()
    return [f"{file.path} has {file.n_lines} lines" for file in files if file.n_lines > most]


def long_functions(
    package: Path, allowed: Collection[str] = LONG, most: int = LINES_OF_FUNCTION
) -> list[str]:
    """Functions are short."""
    return [
        f"{name} has {length} lines"
        for name, length in function_lengths(package).items()
        if length > most and name not in allowed
    ]


def function_lengths(package: Path) -> dict[str, int]:
    """Return the lines of each function from its ``def``, apart from its docstring."""
    lengths: dict[str, int] = {}
    for file in source_files(package).values():
        for node in ast.walk(file.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if ast.get_docstring(node) is not None:
                    text = node.body[0]
                    length -= (text.end_lineno or text.lineno) - text.lineno + 1
                name = f"{file.path}:{node.name}"
                lengths[name] = max(length, lengths.get(name, 0))
    return lengths


def without_docstring(package: Path) -> list[str]:
    """Files say what they are for."""
    files = source_files(package).values()
    return [file.path for file in files if not ast.get_docstring(file.tree)]


CHECKS = (
    upward_imports, circles, circles_of_folders, owned_by_others, lazy_own_imports, long_files,
    long_functions, without_docstring,
)  # fmt: skip
