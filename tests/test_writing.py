"""Files appear whole: full disks, killed processes, links, modes, folders that are replaced."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import bayesv as bv
from bayesv.study import read_scenarios
from bayesv.support import parts, swapping, writing
from bayesv.support.presence import may_exist
from bayesv.support.writing import check_writable, write_file, write_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def filled(text: str) -> Any:
    def fill(folder: Path) -> None:
        folder.mkdir()
        (folder / "a").write_text(text)

    return fill


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_old_file_survives_a_full_disk(tmp_path, monkeypatch):
    path = write_file(tmp_path / "a", "old")

    def half(file: Any) -> None:
        file.write(b"ne")
        full()

    with pytest.raises(bv.StorageError, match=r"a cannot be written: No space left.*as it was"):
        write_file(path, half)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(bv.StorageError, match="No space left"):
        write_file(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_cleaning_up_does_not_hide_the_error(tmp_path, monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("cleaning up")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(bv.StorageError, match="No space left"):
        write_file(tmp_path / "a", full)


def test_links_stay_and_what_they_lead_to_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    path = write_file(tmp_path / "far" / "a", "old")
    link = tmp_path / "link"
    link.symlink_to(Path("far", "a"))
    assert write_file(link, "new") == link
    assert link.is_symlink()
    assert path.read_text() == "new"
    (tmp_path / "dangling").symlink_to(tmp_path / "far" / "b")
    write_file(tmp_path / "dangling", "b")
    assert names(tmp_path / "far") == ["a", "b"]
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(bv.StorageError, match="circle"):
        write_file(tmp_path / "circle", "new")


def test_modes_stay(tmp_path):
    path = write_file(tmp_path / "a", "old")
    path.chmod(0o600)
    seen = []

    def look(file: Any) -> None:
        seen.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))

    write_file(path, look)
    assert seen == [0o600]  # nobody else could read it while it was written
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    folder = write_folder(tmp_path / "f", filled("old"))
    folder.chmod(0o700)
    write_folder(folder, filled("new"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_file_that_is_read_only_is_refused(tmp_path, monkeypatch):
    path = write_file(tmp_path / "a", "old")
    monkeypatch.setattr(os, "access", lambda *_: False)
    for write in (lambda: write_file(path, "new"), lambda: check_writable(path)):
        with pytest.raises(bv.StorageError, match="read-only"):
            write()


def test_planted_links_are_not_followed(tmp_path, monkeypatch):
    precious = write_file(tmp_path / "precious", "kept")
    tokens = iter(["0" * 16, "1" * 16])
    monkeypatch.setattr(parts.secrets, "token_hex", lambda _: next(tokens))
    (tmp_path / f".a.{'0' * 16}.part").symlink_to(precious)
    with pytest.raises(bv.StorageError, match="exists"):
        write_file(tmp_path / "a", "new")
    assert precious.read_text() == "kept"


KILLED = """
import os, signal, sys
from pathlib import Path
from bayesv.support.writing import write_file, write_folder

def die(_):
    os.kill(os.getpid(), signal.SIGKILL)

write_file(Path(sys.argv[1]), die) if sys.argv[2] == "file" else write_folder(sys.argv[1], die)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_killed_processes_leave_is_removed_by_the_next_save(kind, tmp_path):
    path = tmp_path / "a"
    again = write_file if kind == "file" else write_folder
    content: Any = "new" if kind == "file" else filled("new")
    again(path, content)
    (tmp_path / ".a.txt").write_text("of somebody else")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), kind], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 3
    again(path, content)
    assert names(tmp_path) == [".a.txt", "a"]


def test_a_part_that_is_being_written_is_left_alone(tmp_path):
    def meanwhile(file: Any) -> None:
        file.write(b"first")
        write_file(tmp_path / "a", "second")

    write_file(tmp_path / "a", meanwhile)
    assert (tmp_path / "a").read_text() == "first"
    assert names(tmp_path) == ["a"]


def test_a_name_that_was_taken_meanwhile_is_kept(tmp_path):
    def meanwhile(file: Any) -> None:
        (tmp_path / "a").write_text("of somebody else")

    with pytest.raises(bv.StorageError, match="exists"):
        write_file(tmp_path / "a", meanwhile, overwrite=False)
    assert (tmp_path / "a").read_text() == "of somebody else"
    assert names(tmp_path) == ["a"]


def test_a_folder_that_was_made_meanwhile(tmp_path):
    def meanwhile(folder: Path) -> None:
        filled("new")(folder)
        filled("of somebody else")(tmp_path / "f")

    with pytest.raises(bv.StorageError, match="exists"):
        write_folder(tmp_path / "f", meanwhile, overwrite=False)
    assert (tmp_path / "f" / "a").read_text() == "of somebody else"
    write_folder(tmp_path / "f", filled("new"))
    assert (tmp_path / "f" / "a").read_text() == "new"
    assert names(tmp_path) == ["f"]


def test_writers_of_one_folder_take_no_part_of_each_other(tmp_path):
    errors = []

    def write(text: str) -> None:
        try:
            for _ in range(40):
                write_folder(tmp_path / "f", filled(text))
        except bv.BayesvError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(str(i),)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert (tmp_path / "f" / "a").read_text() in "012345"
    assert names(tmp_path) == ["f"]


def test_a_part_that_is_removed_before_it_is_open_is_made_again(tmp_path, monkeypatch):
    opened, paths = os.open, []

    def late(path: Any, *args: Any, **options: Any) -> int:
        if str(path).endswith(".part") and not paths:
            paths.append(path)
            os.rmdir(path)
        return opened(path, *args, **options)

    monkeypatch.setattr(parts.os, "open", late)
    write_folder(tmp_path / "f", filled("new"))
    assert (names(tmp_path), len(paths)) == (["f"], 1)


def test_a_folder_is_replaced_without_a_moment_of_none(tmp_path):
    path = write_folder(tmp_path / "f", filled("0"))
    missing, ended = [], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if not path.is_dir():
                missing.append(path)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for i in range(200):
        write_folder(path, filled(str(i)))
    ended.set()
    watcher.join()
    assert not missing
    assert (path / "a").read_text() == "199"
    assert names(tmp_path) == ["f"]


def test_a_disk_that_cannot_swap_folders_is_refused_before_any_work(tmp_path, monkeypatch):
    path = write_folder(tmp_path / "f", filled("old"))
    for swap, reason in ((None, "this system"), (lambda *_: -1, "this disk")):
        monkeypatch.setattr(swapping, "_swapping_rename", lambda swap=swap: swap)
        for write in (lambda: check_writable(path), lambda: write_folder(path, filled("new"))):
            with pytest.raises(bv.StorageError, match=f"{reason} cannot replace a folder"):
                write()
    assert (path / "a").read_text() == "old"
    assert names(tmp_path) == ["f"]


def test_devices_and_pipes_are_written_to(tmp_path):
    write_file("/dev/null", "x")
    assert not stat.S_ISREG(os.stat("/dev/null").st_mode)
    with pytest.raises(bv.StorageError, match="No space left"):
        write_file("/dev/full", "x")
    os.mkfifo(tmp_path / "pipe")
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_file(tmp_path / "pipe", "through")
    reader.join()
    assert found == ["through"]


def test_names_that_are_long(tmp_path):
    path = tmp_path / ("ä" * 120)
    write_file(path, "x")
    assert names(tmp_path) == [path.name]


def test_missing_folders_are_named(tmp_path):
    for write in (check_writable, lambda path: write_file(path, "x")):
        with pytest.raises(bv.StorageError, match=r"no folder|No such file"):
            write(tmp_path / "no" / "a")


def test_everything_that_is_written_survives_a_full_disk(tmp_path, monkeypatch):
    import pandas as pd
    from scipy import sparse

    from bayesv.cli import main, results, v
    from bayesv.report.report import Report

    frame = pd.DataFrame([[1.0]], index=["a"], columns=["a"])
    writers = {
        "r.html": lambda path: Report("page").save(path),
        "r.json": lambda path: results.write_json({}, str(path)),
        "v.csv": lambda path: v._write_block({"V": frame}, str(path)),
        "v.tsv": lambda path: v._write_block({"V": frame}, str(path)),
        "v.parquet": lambda path: v._write_block({"V": frame}, str(path)),
        "v.npz": lambda path: v._write_block({"V": frame}, str(path)),
        "v.mtx": lambda path: v._write_mtx(path, sparse.coo_array(frame.to_numpy())),
    }
    for name, write in writers.items():
        path = tmp_path / name
        write(path)
        first = path.read_bytes()
        assert first
        path.write_bytes(b"old")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(bv.StorageError, match=f"{name} cannot be written: No space left"):
                write(path)
        assert path.read_bytes() == b"old"
    script = tmp_path / "x.R"
    script.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    assert main(["export-r", "-o", str(script)]) == 1
    assert script.read_bytes() == b"old"
    assert names(tmp_path) == sorted([*writers, "x.R"])


def test_a_group_of_others_reads_no_more_than_anybody(tmp_path, monkeypatch):
    path = write_file(tmp_path / "a", "old")
    path.chmod(0o664)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("not yours to give away")

    write_file(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
    stat_of, group = os.stat, path.stat().st_gid

    def of_another_group(name: Any, *args: Any, **options: Any) -> Any:
        status = list(stat_of(name, *args, **options))
        if name == path:
            status[5] = group + 1
        return os.stat_result(status)

    monkeypatch.setattr(os, "chown", refuse)
    monkeypatch.setattr(writing.os, "stat", of_another_group)
    write_file(path, "newer")
    monkeypatch.undo()
    assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (0o644, "newer")


def test_a_disk_without_modes_is_written_to(tmp_path, monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("no modes here")

    path = write_file(tmp_path / "a", "old")
    path.chmod(0o600)
    monkeypatch.setattr(os, "chmod", refuse)
    assert write_file(path, "new").read_text() == "new"


def test_a_folder_that_cannot_be_opened_is_taken_away(tmp_path, monkeypatch):
    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(parts.os, "open", refuse)
    with pytest.raises(bv.StorageError, match="Too many open files"):
        write_folder(tmp_path / "f", filled("new"))
    monkeypatch.undo()
    assert names(tmp_path) == []


LOCKED = {
    "save": lambda path, fit: fit.save(path / "a.nc"),
    "save a folder": lambda path, fit: fit.save(path / "a.zarr"),
    "load": lambda path, _: bv.load(path / "a.nc"),
    "load a folder": lambda path, _: bv.load(path / "a.zarr"),
    "fit of R": lambda path, _: bv.read_fit(path),
    "rows": lambda path, _: bv.Model("y ~ 1 + (1 | g)", path / "a.parquet"),
    "study": lambda path, _: bv.study.run(FEW, replicates=1, seed=1, workers=1, out=path),
    "results": lambda path, _: bv.study.read(path),
    "scenarios": lambda path, _: read_scenarios(path / "a.toml"),
    "data": lambda path, _: bv.study.Scenario(**SIMULATED, data=path / "a.csv"),
    "page": lambda path, fit: bv.report(fit, path=path / "a.html", pictures=False),
}
SIMULATED: dict[str, Any] = {"name": "few", "formula": "y ~ 1 + (1 | g)", "sd": {"g": 1},
                             "sigma": 2}  # fmt: skip
FEW = bv.study.Scenario(**SIMULATED, levels={"g": 4}, rows=3)


@pytest.fixture(scope="module")
def fit() -> bv.RemlFit:
    return bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()


@pytest.mark.parametrize("use", LOCKED)
@pytest.mark.parametrize("reason", [errno.EACCES, errno.ENAMETOOLONG, errno.ESTALE])
def test_a_folder_that_may_not_be_looked_into_is_named(use, reason, fit, tmp_path, monkeypatch):
    locked, looks = str(tmp_path / "locked"), {}

    def refusing(look: Any) -> Any:
        def refuse(path: Any, *args: Any, **options: Any) -> Any:
            if isinstance(path, str | Path) and str(path).startswith(locked):
                raise OSError(reason, os.strerror(reason), str(path))
            return look(path, *args, **options)

        return refuse

    for name in ("stat", "lstat", "open", "mkdir", "scandir"):
        looks[name] = getattr(os, name)
        monkeypatch.setattr(os, name, refusing(looks[name]))
    monkeypatch.setattr("builtins.open", refusing(open))
    monkeypatch.setattr("io.open", refusing(open))
    with pytest.raises(bv.BayesvError, match="locked"):
        LOCKED[use](Path(locked), fit)


@pytest.mark.parametrize("path", ["", "a\0.nc", b"a.nc", 3])
@pytest.mark.parametrize(
    "use",
    [
        lambda path, fit: fit.save(path),
        lambda path, _: bv.load(path),
        lambda path, fit: bv.report(fit, path=path, pictures=False),
        lambda path, fit: bv.report(fit, pictures=False).save(path),
        lambda path, _: bv.study.run(FEW, replicates=1, seed=1, workers=1, out=path),
        lambda path, _: bv.Model("y ~ 1 + (1 | g)", path),
    ],
)
def test_what_is_no_path_is_refused(use, path, fit):
    with pytest.raises(bv.BayesvError, match=r"path|data frame"):
        use(path, fit)


def test_what_may_be_there(tmp_path):
    (tmp_path / "a").write_text("")
    found = [may_exist(tmp_path / name) for name in ("a", "b", "a/b", "x" * 300)]
    assert found == [True, False, False, True]
