"""Going on with a study: edited estimators, other versions, killed replicates, damaged files."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.study import read, run
from bayesv.study.estimation.fingerprint import fingerprint
from bayesv.study.execution.pool import KILLED
from bayesv.study.results import store
from bayesv.study.results.row import failed
from bayesv.study.results.store import Store
from tests.fuzz_files import LEVELS
from tests.test_study_run import same

SOURCE = """
import numpy as np
import bayesv as bv

FACTOR = 1.0
TABLE = {"a": [1, 2], "b": np.arange(3.0)}

def helper(fit):
    return fit.components

def estimator(model):
    'Estimate.'
    # a comment
    assert FACTOR and TABLE and {"x", "y"}
    return helper(model.reml("ML"))
"""


def made(source: str = SOURCE) -> Any:
    namespace: dict[str, Any] = {"__name__": "users_script"}
    exec(source, namespace)
    return namespace["estimator"]


def test_an_edited_estimator_is_not_mixed_with_what_it_was(tmp_path):
    alone = run(LEVELS, [made()], replicates=2, seed=1, workers=1)
    run(LEVELS, [made()], replicates=1, seed=1, workers=1, out=tmp_path)
    moved = made(SOURCE.replace("# a comment", "# another\n\n"))
    same(alone, run(LEVELS, [moved], replicates=2, seed=1, workers=1, out=tmp_path))
    for old, new in (("ML", "REML"), ("1.0", "2.0"), ("fit.components", "fit.components or 1")):
        edited = made(SOURCE.replace(old, new))
        with pytest.raises(bv.BayesvError, match=r"'estimator' as it was before its code"):
            run(LEVELS, [edited], replicates=3, seed=1, workers=1, out=tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"ML"', '"REML"'), ("1.0", "-1.0"), ("1.0", "1"), ("[1, 2]", "[1, 3]"),
        ("[1, 2]", "(1, 2)"),
        ("arange(3.0)", "arange(4.0)"), ('"x", "y"', '"x", "z"'), ("return fit", "return 1 or fit"),
        ("(model)", "(model, seed=3)"),
    ],
)  # fmt: skip
def test_edits_show(old, new):
    assert old in SOURCE
    assert fingerprint(made()) != fingerprint(made(SOURCE.replace(old, new)))


def test_what_is_no_edit_does_not_show():
    assert fingerprint(made()) == fingerprint(made("\n\n# moved" + SOURCE))
    code = "from tests.test_study_resume import *; print(fingerprint(made()))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert seen == {fingerprint(made())}


class Tuned:
    """An estimator with settings."""

    def __init__(self, method: str, table: Any) -> None:
        self.method, self.table = method, table

    def __call__(self, model: bv.Model) -> Any:
        return model.reml(self.method)

    def of(self, model: bv.Model) -> Any:
        return model.reml(self.method)


def test_settings_of_objects_show():
    frame = pd.DataFrame({"a": [1, 2]})
    first = Tuned("ML", frame)
    for other in (Tuned("REML", frame), Tuned("ML", frame + 1), Tuned("ML", np.arange(2))):
        assert fingerprint(first) != fingerprint(other)
        assert fingerprint(first.of) != fingerprint(other.of)
        assert fingerprint(functools.partial(first.of)) != fingerprint(functools.partial(other.of))
    again = Tuned("ML", frame.copy())
    again.itself = first.itself = [first]  # a circle ends
    assert fingerprint(first) == fingerprint(Tuned.__call__.__get__(first).__self__)
    assert fingerprint(Tuned("ML", frame)) == fingerprint(Tuned("ML", frame.copy()))


@pytest.mark.parametrize("package", ["numpy", "scipy", "python"])
def test_numbers_of_other_versions_are_not_mixed(package, tmp_path):
    run(LEVELS, ["ML"], replicates=1, seed=1, workers=1, out=tmp_path)
    path = tmp_path / "study.json"
    manifest = json.loads(path.read_text())
    del manifest["checksum"]
    manifest["versions"] |= {package: "1.2.3", "pandas": "0.1"}
    path.write_text(json.dumps(manifest | {"checksum": store._checksum_of(manifest)}))
    with pytest.raises(bv.BayesvError, match=rf"computed with {package} 1\.2.*this is {package}"):
        run(LEVELS, ["ML"], replicates=2, seed=1, workers=1, out=tmp_path)
    assert read(tmp_path).done["few"] == 1


def test_replicates_whose_process_was_killed_are_tried_again(tmp_path):
    whole = run(LEVELS, ["ML"], replicates=4, seed=1, workers=1)
    first = run(LEVELS, ["ML"], replicates=1, seed=1, workers=1, out=tmp_path)
    Store(tmp_path).begin({**first.manifest, "replicates": 2})
    for k in (0, 1, 1):  # 0 was computed, by another process
        Store(tmp_path).write(f"00000-{k:08d}", failed("few", k, KILLED))
    there = read(tmp_path)
    assert list(there.failures["replicate"]) == [1]
    assert there.failures["error"].iloc[0] == KILLED
    assert there.done["few"] == 2
    assert Store(tmp_path).done() == {("few", 0)}
    again = run(LEVELS, ["ML"], replicates=4, seed=1, workers=1, out=tmp_path)
    assert again.failures.empty
    same(whole, again)


def test_failures_of_estimators_are_kept(tmp_path):
    def breaks(model: bv.Model) -> Any:
        raise RuntimeError(KILLED.upper())

    for _ in range(2):
        found = run(LEVELS, [breaks], replicates=2, seed=1, workers=1, out=tmp_path)
    assert len(found.failures) == 2
    assert len(list((tmp_path / "parts").iterdir())) <= 2


def test_rows_of_another_study_are_not_taken_for_its_own(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    run(LEVELS, ["ML"], replicates=1, seed=1, workers=1, out=mine)
    run(LEVELS, ["ML"], replicates=2, seed=2, workers=1, out=other)
    run(LEVELS, ["ML"], replicates=2, seed=1, workers=1, out=mine)
    before = read(mine)
    for path in (other / "parts").iterdir():
        (mine / "parts" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(bv.BayesvError, match="is of another study"):
        read(mine)
    with pytest.raises(bv.BayesvError, match="is of another study"):
        run(LEVELS, ["ML"], replicates=3, seed=1, workers=1, out=mine)
    for path in (other / "parts").iterdir():
        (mine / "parts" / path.name).unlink()
    same(before, read(mine))


def test_a_manifest_that_was_changed_is_refused(tmp_path):
    run(LEVELS, ["ML"], replicates=1, seed=1, workers=1, out=tmp_path)
    path = tmp_path / "study.json"
    text = path.read_text()
    for wrong in (text.replace('"seed": 1', '"seed": 3'), "[" * 100_000, "", "{}"):
        path.write_text(wrong)
        with pytest.raises(bv.BayesvError, match=r"study\.json"):
            read(tmp_path)
