"""Bars: nothing in a pipe, nothing for short work, one at a time, and draws that do not change."""

from __future__ import annotations

import io
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import bayesv as bv
from bayesv.support import progress as room
from bayesv.support.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    stream = Terminal()
    monkeypatch.setattr(room, "sys", SimpleNamespace(stderr=stream))
    monkeypatch.setenv("TERM", "xterm")
    return stream


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(room, "_PATIENCE", 0.0)


def test_long_work_on_a_terminal_is_shown_and_vanishes(terminal, impatient):
    with progress("counting sheep", 3) as step:
        for _ in range(3):
            step(1)
    text = terminal.getvalue()
    assert "counting sheep" in text
    assert "3/3" in text
    assert text.endswith("\x1b[2K")  # the line is erased


def test_unknown_totals_are_counted(terminal, impatient):
    with progress("reading rows") as step:
        step(1234)
    assert "1,234" in terminal.getvalue()


def test_short_work_shows_nothing(terminal):
    with progress("blinking", 2) as step:
        step(1)
        step(1)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("show", [None, False])
def test_nothing_in_a_pipe(capsys, impatient, show):
    with progress("counting", 1, show=show) as step:
        step(1)
    assert capsys.readouterr() == ("", "")


def test_inner_work_is_not_shown_on_its_own(terminal, impatient):
    with progress("outer", 1) as step:
        with progress("inner", 1) as inner:
            inner(1)
        step(1)
    assert "inner" not in terminal.getvalue()
    assert "outer" in terminal.getvalue()


def test_a_bar_that_ends_in_an_error_leaves_the_next_one_free(terminal, impatient):
    def fail() -> None:
        with progress("first", 2) as step:
            step(1)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    with progress("second", 1) as step:
        step(1)
    assert "second" in terminal.getvalue()


def draws_of(model: bv.Model, progressbar: bool) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)
        post = model.sample(draws=50, chains=2, seed=3, progressbar=progressbar)
    return np.concatenate([post.beta.ravel(), post.sigma2.ravel()])


def test_quiet_work_of_a_thread_that_ends_last_does_not_silence_the_next(terminal, impatient):
    begun, ended = threading.Event(), threading.Event()

    def quiet() -> None:
        with room.no_progress(True):
            begun.set()
            ended.wait(10)

    with progress("loud", 1):
        thread = threading.Thread(target=quiet)
        thread.start()
        begun.wait(10)
    ended.set()
    thread.join()
    with progress("next", 1) as step:
        step(1)
    assert "next" in terminal.getvalue()


def test_draws_do_not_depend_on_the_bar(terminal, impatient):
    model = bv.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", bv.load_dataset("penicillin"))
    quiet = draws_of(model, False)
    assert terminal.getvalue() == ""
    shown = draws_of(model, True)
    assert "looking for posterior modes" in terminal.getvalue()
    assert "evaluating the posterior density" in terminal.getvalue()
    np.testing.assert_array_equal(quiet, shown)


def test_other_long_work_is_shown(terminal, impatient):
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    bv.bootstrap(model.reml(), draws=2, seed=1)
    bv.profile(model.reml())
    model.sample(seed=1).log_likelihood(every=100)
    text = terminal.getvalue()
    for label in ("refitting", "profiling the likelihood", "pointwise log likelihood"):
        assert label in text


def test_batches_are_counted_in_rows(terminal, impatient):
    import pyarrow as pa

    table = pa.Table.from_pandas(bv.load_dataset("sleepstudy").astype({"Subject": str}))
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=60))
    bv.Model("Reaction ~ Days + (1 | Subject)", reader)
    assert "reading rows" in terminal.getvalue()
    assert "180" in terminal.getvalue()
