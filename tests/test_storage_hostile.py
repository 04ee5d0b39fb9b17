"""Files that were damaged, changed or made to do harm: refused by name, and nothing is run."""

from __future__ import annotations

import copy
import dataclasses
import gc
import json
import os
import pickle
import signal
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesv as bv
from bayesv.reml import Certificate
from bayesv.storage import apart, files
from bayesv.storage.files import write
from bayesv.support import memory
from tests import fuzz_files


@pytest.fixture(scope="module")
def post() -> bv.Posterior:
    return fuzz_files.a_posterior()


@pytest.fixture
def saved(post, tmp_path) -> Path:
    return post.save(tmp_path / "p.nc")


@pytest.fixture
def folder(post, tmp_path) -> Path:
    return post.save(tmp_path / "p.zarr")


def unsealed(path: Path, change: Callable[[Any], None]) -> Path:
    """Write a file again, changed, as another program does."""
    with xr.open_datatree(path, engine="h5netcdf") as opened:
        tree = copy.deepcopy(opened.load())
    change(tree)
    tree.to_netcdf(path, engine="h5netcdf")
    return path


def edited(path: Path, change: Callable[[h5py.File], None]) -> Path:
    """Change a file in place, by HDF5."""
    with h5py.File(path, "r+") as opened:
        change(opened)
    return path


@pytest.mark.parametrize("kind", fuzz_files.KINDS)
def test_no_damage_is_silent(kind, tmp_path, monkeypatch):
    # In this process: another one for each change takes a minute, and none of these changes hangs.
    monkeypatch.setattr(
        files, "read_apart", lambda path, kinds: files.groups_of(path, kinds, lambda *_: None)
    )
    counts = fuzz_files.fuzz(kind, 25, 11, tmp_path)
    assert set(counts) <= {"refused", "nothing changed"}
    assert counts["refused"] > 10


# --- all that is loaded is covered ---------------------------------------------------------------


def swap_labels(tree: Any) -> None:
    data = tree["posterior"].to_dataset()
    name = "Batch_level"
    tree["posterior"] = xr.DataTree(data.assign_coords({name: data[name].to_numpy()[::-1]}))


def rename_dimension(tree: Any) -> None:
    tree["posterior"] = xr.DataTree(tree["posterior"].to_dataset().rename(Batch_level="Batches"))


def change_attribute(tree: Any) -> None:
    tree["posterior"].attrs["seed"] = 2


def change_attribute_of_a_variable(tree: Any) -> None:
    tree["posterior"]["sigma"].attrs["units"] = "g"


def change_statistics(tree: Any) -> None:
    tree["sample_stats"]["lp"][0, 0] += 1e-9


def change_type(tree: Any) -> None:
    data = tree["posterior"].to_dataset()
    tree["posterior"] = xr.DataTree(data.assign(sigma=data["sigma"].astype(np.float32)))


def change_data(tree: Any) -> None:
    tree["observed_data"]["Yield"][0] += 1


def lose_a_group(tree: Any) -> None:
    del tree["observed_data"]


def change_versions(tree: Any) -> None:
    tree["bayesv"].attrs["versions"] = "none"


@pytest.mark.parametrize(
    "change",
    [
        swap_labels, rename_dimension, change_attribute, change_attribute_of_a_variable,
        change_statistics, change_type, change_data, lose_a_group, change_versions,
    ],
)  # fmt: skip
def test_what_was_changed_is_refused(change, saved):
    with pytest.raises(bv.StorageError, match="damaged or was changed after bayesv saved it"):
        bv.load(unsealed(saved, change))


def test_a_file_written_again_unchanged_is_read(post, saved):
    assert fuzz_files.same(post, bv.load(unsealed(saved, lambda _: None)))


def test_groups_that_nothing_covers_are_not_loaded(saved):
    def add(tree: Any) -> None:
        tree["log_likelihood"] = xr.Dataset({"y": ("row", np.zeros(3))})

    assert "log_likelihood" not in bv.load(unsealed(saved, add)).draws.children


@pytest.mark.parametrize("end", ["\0", "\0x"])
def test_labels_that_formats_do_not_hold(end, tmp_path):
    data = bv.load_dataset("dyestuff")
    data["Batch"] = pd.Categorical([f"{level}{end}" for level in data["Batch"]])
    model = bv.Model("Yield ~ 1 + (1 | Batch)", data)
    again = bv.load(model.reml().save(tmp_path / "f.nc"))
    assert list(again.design.terms[0].levels) == list(model.design.terms[0].levels)
    with pytest.warns(bv.SamplingWarning):
        draws = model.sample(draws=10, chains=2, seed=1, keep_u=True)
    if end == "\0":  # NumPy itself drops it from the labels of draws
        assert fuzz_files.same(draws, bv.load(draws.save(tmp_path / "p.nc")))
        return
    with pytest.raises(bv.StorageError, match=r"posterior/Batch_level has the text 'A"):
        draws.save(tmp_path / "p.nc")
    assert [p.name for p in tmp_path.iterdir()] == ["f.nc"]


def test_what_a_format_cannot_hold_is_found_before_the_file_has_its_name(post, tmp_path):
    odd = np.array([0.5, np.nan], dtype=object)
    draws = xr.DataTree.from_dict(
        {name: node.to_dataset() for name, node in post.draws.children.items()}
        | {"posterior": post.draws["posterior"].to_dataset().assign(odd=("x", odd))}
    )
    with pytest.raises(bv.StorageError, match="cannot hold posterior/odd as it is"):
        dataclasses.replace(post, draws=draws).save(tmp_path / "p.nc")
    assert list(tmp_path.iterdir()) == []


# --- files made to do harm -----------------------------------------------------------------------


def test_arrays_in_other_files_are_not_read(saved, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 8)

    def external(file: h5py.File) -> None:
        space = h5py.h5s.create_simple((1,))
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_external(os.fsencode(secret), 0, 8)
        h5py.h5d.create(file["posterior"].id, b"stolen", h5py.h5t.NATIVE_INT64, space, made)

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((1,), "f8")
        layout[0] = h5py.VirtualSource(os.fspath(secret), "x", (1,))[0]
        file["posterior"].create_virtual_dataset("stolen", layout)

    for change in (external, virtual):
        path = tmp_path / "copy.nc"
        path.write_bytes(saved.read_bytes())
        with pytest.raises(bv.StorageError, match=r"an array that is in another file \(.*stolen"):
            bv.load(edited(path, change))


@pytest.mark.parametrize(
    "link",
    [
        h5py.ExternalLink("elsewhere.h5", "/x"),
        h5py.SoftLink("/posterior"),
        "hard",
    ],
)
def test_links_are_not_followed(link, saved):
    def add(file: h5py.File) -> None:
        file["more"] = file["posterior"] if link == "hard" else link

    with pytest.raises(bv.StorageError, match=r"it has (a link|two names for one object)"):
        bv.load(edited(saved, add))


def test_memory_is_not_asked_for_what_is_not_there(saved, folder):
    def add(file: h5py.File) -> None:
        file["posterior"].create_dataset("huge", (4_000_000_000,), "f8", chunks=(1000,))

    with pytest.raises(bv.StorageError, match=r"an array of 32,000,000,000 bytes of which 0"):
        bv.load(edited(saved, add))
    record = folder / "posterior" / "sigma" / ".zarray"
    record.write_text(record.read_text().replace("10", "4000000000"))
    with pytest.raises(bv.StorageError, match=r"an array of [\d,]+ bytes of which"):
        bv.load(folder)


def test_filters_of_plugins_are_not_called(saved):
    def add(file: h5py.File) -> None:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((4,))
        made.set_filter(32_015, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file["posterior"].id, b"packed", h5py.h5t.NATIVE_INT64, space, made)

    with pytest.raises(bv.StorageError, match="packed by filter 32015"):
        bv.load(edited(saved, add))


# --- files that other programs wrote: first by another process, within limits --------------------


def test_what_does_not_end_is_given_up(saved, monkeypatch):
    unsealed(saved, lambda _: None)
    monkeypatch.setattr(apart, "_SECONDS", 0.01)
    with pytest.raises(bv.StorageError, match="cannot be read within 0 seconds"):
        bv.load(saved)


def test_what_ends_its_reader_ends_another_process(saved, monkeypatch):
    unsealed(saved, lambda _: None)
    monkeypatch.setattr(apart, "_CODE", "import os; os.abort()")
    with pytest.raises(bv.StorageError, match=r"ended with status -6"):
        bv.load(saved)


def test_files_of_bayesv_need_no_other_process(saved, folder, monkeypatch):
    monkeypatch.setattr(apart, "_CODE", "raise SystemExit(1)")
    bv.load(saved)
    bv.load(folder)


def test_the_other_process_runs_nothing_of_the_current_folder(saved, tmp_path, monkeypatch):
    unsealed(saved, lambda _: None)
    for name in ("h5py", "json", "bayesv", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w').close(); raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    bv.load(saved)
    assert not (tmp_path / "ran").exists()


def bomb(file: h5py.File) -> None:
    """Put 1.5 GiB of zeros into the one chunk of an array that declares 8,000 bytes."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 26)) for _ in range(24)) + packer.flush()
    del file["posterior/sigma"].attrs["DIMENSION_LIST"], file["posterior/sigma"]
    array = file["posterior"].create_dataset(
        "sigma", (1000,), "f8", chunks=(1000,), compression="gzip"
    )
    array.id.write_direct_chunk((0,), packed)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
def test_little_that_unpacks_to_much_is_given_up(saved):
    unsealed(saved, lambda _: None)
    with pytest.raises(bv.StorageError, match="cannot be read as NetCDF"):
        bv.load(edited(saved, bomb))


def test_what_declares_more_than_there_is_is_refused(saved, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1000)
    monkeypatch.setattr(memory, "_NOT_WORTH_ASKING", 0)
    with pytest.raises(bv.MemoryNeededError, match=r"Reading .* needs .* of memory"):
        bv.load(saved)


class _Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (os.fspath(self.mark),)


def test_python_objects_in_zarr_are_not_read(folder, tmp_path):
    array = folder / "posterior" / "sigma"
    record = json.loads((array / ".zarray").read_text())
    record |= {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}], "compressor": None}
    (array / ".zarray").write_text(json.dumps(record | {"fill_value": None}))
    payload = pickle.dumps([_Runs(tmp_path / "ran"), [2, 10]])
    for chunk in array.glob("[0-9]*"):
        chunk.write_bytes(payload)
    with pytest.raises(bv.StorageError, match="an array of Python objects"):
        bv.load(folder)
    assert not (tmp_path / "ran").exists()
    (array / ".zarray").write_text(json.dumps(record | {"dtype": "<f8"}))
    with pytest.raises(bv.StorageError, match="an array packed by pickle"):
        bv.load(folder)


def test_zarr_folders_lead_nowhere_else(folder, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"x")
    (folder / "posterior" / "sigma" / "0.0").unlink()
    (folder / "posterior" / "sigma" / "0.0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(bv.StorageError, match=r"a link \(0\.0\)"):
        bv.load(folder)


@pytest.mark.parametrize(
    "contents",
    [
        '{"design": ' + '{"tuple": [' * 100_000 + "]}" * 100_000 + "}",
        '{"design": {"empty": [10000000000000], "dtype": "float64"}}',
        '{"design": {"empty": [0], "dtype": "V1000000000"}}',
        '{"design": {"class": "RandomTerm", "fields": {}}}',
        '{"design": {"index": {"dict": [["kind", "range"], ["bounds", {"list": [0, "a"]}]]}}}',
        '{"design": 1' + "0" * 5000 + "}",
        '{"design": {"array": "none"}}',
        "[]",
        '{"design": null}',
    ],
)
def test_contents_that_no_fit_has(contents, tmp_path):
    path = write(tmp_path / "f.nc", None, "RemlFit", contents, {}, False)
    with pytest.raises(bv.StorageError, match="cannot be understood"):
        bv.load(path)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("method", lambda fit: "MLE"),
        ("cov_beta", lambda fit: fit.cov_beta.iloc[:0]),
        ("cov_beta", lambda fit: fit.cov_beta.rename(columns=lambda _: "x")),
        ("beta", lambda fit: fit.beta.rename(lambda _: "x")),
        ("beta", lambda fit: None),
        ("criterion", lambda fit: "low"),
        ("problems", lambda fit: 3),
        ("cov_beta", lambda fit: fit.cov_beta.round().astype(int)),
        ("beta", lambda fit: fit.beta.astype(str)),
        ("certificate", lambda fit: 0.5),
        ("certificate", lambda fit: Certificate(0.5, 0.1, 12, 0.01, 1e-9)),
    ],
)
def test_parts_that_are_not_of_the_fit(part, change, tmp_path):
    fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()
    path = dataclasses.replace(fit, **{part: change(fit)}).save(tmp_path / "f.nc")
    with pytest.raises(bv.StorageError, match="cannot be understood"):
        bv.load(path)


@pytest.mark.parametrize("part", ["sd", "beta", "bases"])
def test_priors_that_are_not_of_the_design(part, post, tmp_path):
    other = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    basis = {"Batch": other.priors.bases["Subject"]}
    wrong = {"sd": {}, "beta": (), "bases": basis}[part]
    priors = dataclasses.replace(post.priors, **{part: wrong})
    path = dataclasses.replace(post, priors=priors).save(tmp_path / "p.nc")
    with pytest.raises(bv.StorageError, match="the priors are not of the parameters"):
        bv.load(path)


def test_numbers_that_no_model_has(tmp_path):
    fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()
    y = fit.design.y.copy()
    y[3] = np.inf
    path = dataclasses.replace(fit, design=dataclasses.replace(fit.design, y=y)).save(
        tmp_path / "f.nc"
    )
    with pytest.raises(bv.StorageError, match=r"design\.y has values that are no finite"):
        bv.load(path)


def test_no_thread_goes_on_writing_a_zarr_folder(post, tmp_path, monkeypatch):
    """As zarr's own do after a full disk: the part could not be removed."""
    from zarr.storage import LocalStore

    async def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a thread of zarr writes to the disk")

    for name in ("set", "set_if_not_exists"):
        monkeypatch.setattr(LocalStore, name, refuse)
    assert fuzz_files.same(post, bv.load(post.save(tmp_path / "p.zarr")))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "p.nc")
    signal.alarm(20)
    try:
        with pytest.raises(bv.StorageError, match="stream"):
            bv.load(tmp_path / "p.nc")
    finally:
        signal.alarm(0)


@pytest.mark.parametrize("change", ["missing", "negative", "nan", "shape", "rows"])
def test_draws_that_are_not_of_the_design(change, post, tmp_path):
    """The checksum is right: another program wrote them."""
    draws = post.draws.copy(deep=True)
    own = draws["posterior"].to_dataset()
    design = post.design
    if change == "missing":
        own = own.drop_vars("cov_Batch")
    elif change == "shape":
        own = own.assign(beta=own["beta"].isel(coef=[]))
    elif change == "rows":
        design = dataclasses.replace(design, rows=np.append(design.rows, 0))
    else:
        own["cov_Batch"][0, 0] = -1.0 if change == "negative" else np.nan
    draws["posterior"] = draws["posterior"].__class__(own)
    path = dataclasses.replace(post, draws=draws, design=design).save(tmp_path / "p.nc")
    with pytest.raises(bv.StorageError, match="cannot be understood"):
        bv.load(path)


def test_several_damaged_arrays_of_a_zarr_folder_print_nothing(post, tmp_path, caplog):
    path = post.save(tmp_path / "p.zarr")
    for file in path.rglob(".zarray"):
        file.write_text(file.read_text().replace('"zarr_format": 2', '"zarr_format": 5'))
    with pytest.raises(bv.StorageError, match="cannot be read as Zarr"):
        bv.load(path)
    gc.collect()
    assert not caplog.records


def test_thousands_of_objects_are_refused_before_they_are_read(saved):
    def fill(file: h5py.File) -> None:
        for k in range(1100):
            file["posterior"].create_dataset(f"v{k}", data=k)

    with pytest.raises(bv.StorageError, match="more than 1000 objects"):
        bv.load(edited(saved, fill))


def test_a_digest_that_is_no_text_is_another_one(saved):
    def change(tree: Any) -> None:
        tree["bayesv"].attrs["digest"] = [1.0, 2.0]

    with pytest.raises(bv.StorageError, match="was changed after bayesv saved it"):
        bv.load(unsealed(saved, change))
