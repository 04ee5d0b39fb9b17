"""The folder of a study: two writers, a full disk, damaged files, another study, and resuming."""

from __future__ import annotations

import errno
import json
import os

import pytest

import bayesv as bv
from bayesv.study import Scenario, Scores, read, run
from bayesv.study.results.store import Store
from tests.test_study_run import SEED, SLOPES, same


def test_two_writers_of_one_study_count_each_replicate_once(tmp_path):
    alone = run(SLOPES, ["REML"], replicates=4, seed=SEED, workers=1, out=tmp_path)
    rows = alone.rows[alone.rows["replicate"].isin([1, 3])]
    Store(tmp_path).write("00000-00000001", rows)
    Store(tmp_path).write("00000-00000001", rows)
    assert len(list(tmp_path.glob("parts/00000-00000001*"))) >= 2
    same(alone, read(tmp_path))


def test_a_full_disk_keeps_what_was_written(tmp_path, monkeypatch):
    whole = run(SLOPES, ["REML"], replicates=6, seed=SEED, workers=1)
    fsync, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 5:  # each file and its folder: the manifest, a first part, a second
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(bv.BayesvError, match=r"cannot be written \(No space.*goes on from there"):
        run(SLOPES, ["REML"], replicates=6, seed=SEED, workers=1, out=tmp_path)
    assert 0 < read(tmp_path).done["slopes"] < 6
    assert not list(tmp_path.rglob(".*"))
    same(whole, run(SLOPES, ["REML"], replicates=6, seed=SEED, workers=1, out=tmp_path))


def test_a_damaged_file_is_named_and_can_be_computed_again(tmp_path):
    whole = run(SLOPES, ["REML"], replicates=3, seed=SEED, workers=1, out=tmp_path)
    part = min(tmp_path.glob("parts/*.parquet"))
    part.write_bytes(part.read_bytes()[:200])
    with pytest.raises(bv.BayesvError, match=f"{part.name} cannot be read.*Delete it"):
        read(tmp_path)
    part.unlink()
    same(whole, run(SLOPES, ["REML"], replicates=3, seed=SEED, workers=1, out=tmp_path))


def test_factors_of_any_kind_are_stored(tmp_path):
    rows = {"law": "uniform", "low": 3, "high": 6}
    scenarios = bv.study.grid(SLOPES, rows=[4, rows])
    # So few replicates that a chunk has both scenarios.
    there = run(scenarios, ["ML"], replicates=2, seed=SEED, workers=1, out=tmp_path)
    assert list(there.to_frame()["rows"].unique()) == [4, str(rows)]
    assert list(there.scores()["rows"].unique()) == [4, str(rows)]


def test_files_of_own_data_count_wherever_they_lie(tmp_path):
    own = {"name": "own", "formula": "Reaction ~ Days + (Days | Subject)", "parameters": "ML"}
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "sleep.csv"
        bv.load_dataset("sleepstudy").to_csv(path, index=False)
        scenario = Scenario(**own, data=path)
        found = run(scenario, ["ML"], replicates=1, seed=1, workers=1, out=tmp_path / "out")
    assert found.done["own"] == 1
    assert found.manifest["scenarios"][0]["data"] == "sleep.csv"


def test_another_study_in_the_folder_is_refused(tmp_path):
    run(SLOPES, ["REML"], replicates=1, seed=1, workers=1, out=tmp_path)
    with pytest.raises(bv.BayesvError, match=r"another study: seed is 1 there and 2 here"):
        run(SLOPES, ["REML"], replicates=1, seed=2, workers=1, out=tmp_path)
    with pytest.raises(bv.BayesvError, match=r"scores.prob is 0.95 there and 0.9 here"):
        run(SLOPES, ["REML"], replicates=1, seed=1, scores=Scores(prob=0.9), out=tmp_path)
    with pytest.raises(bv.BayesvError, match="estimators"):
        run(SLOPES, ["ML"], replicates=1, seed=1, workers=1, out=tmp_path)
    manifest = json.loads((tmp_path / "study.json").read_text())
    (tmp_path / "study.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(bv.BayesvError, match="format 99"):
        read(tmp_path)
    with pytest.raises(bv.BayesvError, match="no study"):
        read(tmp_path / "elsewhere")
