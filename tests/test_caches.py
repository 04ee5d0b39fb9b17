"""Compiled loops where no disk can keep them: read-only, full or damaged caches cost time only."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import DefaultPassBuilder
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering

import bayesv as bv
from bayesv.gram import linked, loop_cache
from bayesv.gram.tables import BorderTable

LOOP = """
from bayesv.gram.compiled import compiled

@compiled
def total(x):
    s = 0.0
    for value in x:
        s += value
    return s
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Import a loop afresh, as a new process would; its cache is in ``tmp_path``."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "some_loop.py").write_text(LOOP)

    def load():
        monkeypatch.setattr(loop_cache, "_said", [])
        spec = importlib.util.spec_from_file_location("some_loop", tmp_path / "some_loop.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.total

    return load


def files(folder: Path, ending: str) -> list[Path]:
    return sorted(folder.rglob(f"*{ending}"))


def test_a_loop_is_compiled_once(load, tmp_path):
    assert load()((1.0, 2.0)) == 3.0
    assert files(tmp_path, ".nbc")
    loop = load()
    assert loop((1.0, 2.0)) == 3.0
    assert sum(loop.whole.stats.cache_hits.values()) == 1


INNER = """
from bayesv.gram.compiled import compiled

@compiled
def changed(value):
    return value * {factor}
"""
OUTER = """
from bayesv.gram.compiled import compiled
from looped.inner import changed

@compiled
def total(x):
    return changed(x[0]) + changed(x[1])
"""


def test_a_loop_is_compiled_anew_if_one_that_it_calls_was_edited(tmp_path):
    (tmp_path / "looped").mkdir()
    (tmp_path / "looped" / "outer.py").write_text(OUTER)
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }
    found = []
    for factor in (2.0, 3.0):
        (tmp_path / "looped" / "inner.py").write_text(INNER.format(factor=factor))
        done = subprocess.run(
            [sys.executable, "-c", "from looped.outer import total; print(total((1.0, 2.0)))"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(float(done.stdout))
    assert found == [6.0, 9.0]
    kept = {path.stem.partition("-")[0] for path in files(tmp_path / "cache", ".nbc")}
    assert kept == {
        "outer.total"
    }  # the inner loop is a part of it, and machine code of its own none


def test_a_loop_serves_python_and_other_loops(tmp_path):
    source = INNER.format(factor=2.0) + OUTER.replace("from looped.inner import changed\n", "")
    (tmp_path / "both.py").write_text(source)
    spec = importlib.util.spec_from_file_location("both", tmp_path / "both.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.total((1.0, 2.0)) == 6.0
    assert module.changed(4.0) == 8.0
    assert module.total((1, 2)) == 6.0


def test_what_inner_loops_do_otherwise_has_the_names_of_this_numba():
    """Numba's own methods of other names would be called, and compile each loop many times."""
    for own in (linked._Library, linked._Linked, linked._Lowering, linked.LinkedLoop):
        for name, value in vars(own).items():
            if callable(value) and name not in ("__init__", "__call__"):
                assert any(name in vars(base) for base in own.__mro__[1:]), name
    assert linked._Lowering._name == NativeLowering._name
    state = numba.core.compiler.StateDict(func_ir=None, flags=numba.core.compiler.Flags())
    passes = [step for step, _ in DefaultPassBuilder.define_nopython_pipeline(state).passes]
    assert passes.count(NativeLowering) == 1
    called = {
        JITCodeLibrary.finalize: ["_optimize_final_module", "_finalize_final_module"],
        CPUDispatcher.compile: ["add_overload"],
    }
    for function, names in called.items():
        assert set(names) <= set(function.__code__.co_names)


def test_a_loop_that_takes_named_tuples_is_compiled_once(load, tmp_path):
    (tmp_path / "some_loop.py").write_text(LOOP.replace("for value in x", "for value in x.places"))
    table = BorderTable(np.arange(2), np.ones(2, dtype=np.intp), np.array([3, 4]))
    assert load()(table) == 7.0
    loop = load()
    assert loop(table) == 7.0
    assert sum(loop.whole.stats.cache_hits.values()) == 1


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", ["cut", "empty", "flip", "text"])
def test_a_damaged_cache_is_said_and_mended(load, tmp_path, ending, damage):
    load()((1.0, 2.0))
    (path,) = files(tmp_path, ending)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-20] ^= 64
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"?"}.get(damage, data))
    loop = load()
    with warnings.catch_warnings():
        if (ending, damage) == (".nbi", "flip"):  # such as of a stamp: the cache is out of date
            warnings.simplefilter("ignore", bv.CacheWarning)
            assert loop((1.0, 2.0)) == 3.0
        else:
            with pytest.warns(bv.CacheWarning, match="compiles them in memory"):
                assert loop((1.0, 2.0)) == 3.0
    loop = load()
    assert loop((1.0, 2.0)) == 3.0
    assert sum(loop.whole.stats.cache_hits.values()) == 1


def test_code_for_other_arguments_is_not_run(load, tmp_path):
    loop = load()
    loop((1.0, 2.0))
    loop((1.0, 2.0, 3.0))
    one, other = files(tmp_path, ".nbc")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.warns(bv.CacheWarning, match="other arguments"):
        assert load()((1.0, 2.0)) == 3.0


def test_a_full_disk_costs_no_fit(load, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loop_cache.IndexDataCacheFile, "_save_data", full)
    loop = load()
    with pytest.warns(bv.CacheWarning, match="No space left"):
        assert loop((1.0, 2.0)) == 3.0
    assert loop((1.0, 2.0, 3.0)) == 6.0  # and nothing more is said


def test_a_read_only_package_and_home_fit(tmp_path):
    """Nothing may be written beside the package, nor at home: one note, and the loops run."""
    package = Path(bv.__file__).parent
    shutil.copytree(package, tmp_path / "bayesv", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [
        tmp_path / "bayesv",
        *(p for p in (tmp_path / "bayesv").rglob("*") if p.is_dir()),
    ]:
        (folder / "__pycache__").touch()  # refuses a cache to the administrator, too
    code = (
        "import numpy as np\n"
        "from bayesv.gram.small import solve_many\n"
        "print(solve_many(4*np.ones((1,1,1)), np.ones((1,1)), np.ones((1,1,1)), np.ones((1,1))))"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "XDG"))}
    environment |= {"HOME": "/dev/null", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        capture_output=True, text=True, env=environment, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert "0.25" in done.stdout
    assert done.stderr.count("CacheWarning") == 1
    assert "NUMBA_CACHE_DIR" in done.stderr
