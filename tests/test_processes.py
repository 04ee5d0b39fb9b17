"""What a fit leaves of the process: its threads, streams, filters and loggers, and interrupts."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from threadpoolctl import ThreadpoolController

import bayesv as bv
from bayesv.comparison.stacking import evidence_weights, stacking_weights
from bayesv.errors import warn, without
from bayesv.gram.compiled import widths
from bayesv.gram.threads import n_threads, one_blas_thread, run, threads
from bayesv.inference.completeness import require_all_draws
from bayesv.inference.options import NutsOptions
from bayesv.plots.png import quick_text
from bayesv.study.execution.processes import _without_main
from bayesv.support.process import Shared, computing, own_warnings


def blas_threads() -> list[int]:
    return [
        lib.get_num_threads()
        for lib in ThreadpoolController().select(user_api="blas").lib_controllers
    ]


@pytest.fixture
def _three_blas_threads():
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    before = [lib.get_num_threads() for lib in libraries]
    for lib in libraries:
        lib._real_set_num_threads(3)
    yield
    for lib, count in zip(libraries, before, strict=True):
        lib._real_set_num_threads(count)


def test_a_limit_holds_in_its_context_alone():
    free = n_threads()
    inside, over = threading.Event(), threading.Event()

    def limited():
        with threads(1):
            inside.set()
            over.wait(10)
            return n_threads()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(limited)
        inside.wait(10)
        with threads(free + 3):
            assert n_threads() == free + 3
            assert run(lambda _: n_threads(), range(3)) == [free + 3] * 3
            over.set()
            assert other.result() == 1
        assert n_threads() == free


@pytest.mark.usefixtures("_three_blas_threads")
def test_blas_is_as_before_when_users_leave_in_the_order_they_came():
    """The one who restores last has seen the limit of the other when it came."""
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first():
        with one_blas_thread():
            first_in.set()
            second_in.wait(10)
        first_out.set()

    def second():
        first_in.wait(10)
        with one_blas_thread():
            second_in.set()
            first_out.wait(10)
            return blas_threads()

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.submit(first), pool.submit(second)
        one.result()
        assert set(other.result()) == {1}
    assert set(blas_threads()) == {3}


def test_a_shared_change_is_undone_once():
    state = []

    def change():
        state.append(1)
        return lambda: state.append(-1)

    shared = Shared(change)

    def use(_):
        for _ in range(200):
            with shared, shared:
                assert sum(state) == 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert sum(state) == 0
    with pytest.raises(ZeroDivisionError), shared:
        raise ZeroDivisionError
    assert sum(state) == 0


def test_threads_that_catch_warnings_leave_the_filters_as_they_were():
    before = list(warnings.filters)

    def catch(number):
        with own_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.warn(str(number), UserWarning, stacklevel=1)
            time.sleep(0.002 * (number % 3))
        return [str(one.message) for one in caught]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(catch, range(40))) == [[str(k)] for k in range(40)]
    assert list(warnings.filters) == before


def test_studies_and_pictures_in_threads_change_nothing_of_the_process():
    """What hides the script from processes that start, and what hastens the text of pictures."""
    main, settings = sys.modules["__main__"], dict(plt.rcParams)
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first():
        with _without_main, quick_text:
            first_in.set()
            second_in.wait(10)
        first_out.set()

    def second():
        first_in.wait(10)
        with _without_main, quick_text:
            second_in.set()
            first_out.wait(10)
            assert sys.modules["__main__"] is not main

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(first), pool.submit(second)]:
            done.result()
    assert sys.modules["__main__"] is main
    assert dict(plt.rcParams) == settings


def test_reading_adds_no_filter_of_warnings(tmp_path, sleepstudy):
    path = bv.save(sleepstudy.reml(), tmp_path / "fit.nc")
    before = list(warnings.filters)
    bv.load(path)
    assert list(warnings.filters) == before


def test_silence_is_the_threads_own():
    with without(bv.FitWarning), ThreadPoolExecutor(1) as pool:
        warn("not said", bv.FitWarning)
        with pytest.warns(bv.DesignWarning):
            warn("said", bv.DesignWarning)
        with pytest.warns(bv.FitWarning):
            pool.submit(warn, "said", bv.FitWarning).result()
    with pytest.warns(bv.FitWarning):
        warn("said", bv.FitWarning)


@pytest.mark.usefixtures("_three_blas_threads")
@pytest.mark.filterwarnings("ignore::bayesv.errors.SamplingWarning")
def test_fits_in_threads_change_nothing_of_the_process():
    """Formulas, REML, sampling, comparing and the bootstrap, side by side."""
    rng = np.random.default_rng(3)
    n = 900
    df = pd.DataFrame({"y": rng.normal(size=n), "x": rng.normal(size=n)})
    df["g"], df["h"] = rng.integers(0, 200, n), rng.integers(0, 160, n)  # a large dense block
    small = bv.load_dataset("sleepstudy")
    loggers = [logging.getLogger(name) for name in ("pymc", "bambi", "")]

    def state():
        return (
            sys.stdout, sys.stderr, list(warnings.filters), warnings.showwarning,
            [logger.level for logger in loggers], blas_threads(), n_threads(), np.geterr(),
            signal.getsignal(signal.SIGINT),
        )  # fmt: skip

    def work(k):
        if k % 2:
            return bv.Model("y ~ x + (1 | g) + (1 | h)", df).reml().criterion
        model = bv.Model("Reaction ~ Days + (Days | Subject)", small)
        fit, post = model.reml(), model.sample(draws=50, seed=1, cores=1, progressbar=False)
        bv.compare(fit, post)
        bv.bootstrap(fit, draws=3, seed=1)
        post.summary()
        return fit.criterion

    work(0), work(1)
    before = state()
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(work, range(8)))
    assert state() == before
    assert values == values[:2] * 4


def options(draws: int, chains: int) -> NutsOptions:
    return NutsOptions(draws, 10, chains, 1, 1, 0.8, False)


def test_missing_draws_are_no_posterior():
    import xarray as xr

    full = np.ones((2, 5))
    short = full.copy()
    short[1, 3:] = np.nan

    def posterior(values):
        return xr.Dataset({"z": (("chain", "draw"), values), "k": (("chain", "draw"), values)})

    require_all_draws(posterior(full), options(5, 2))
    for values, asked in [(full, (6, 2)), (full, (5, 3)), (short, (5, 2)), (full[:, :0], (5, 2))]:
        with pytest.raises(KeyboardInterrupt, match="not a posterior"):
            require_all_draws(posterior(values), options(*asked))


@pytest.mark.parametrize(("engine", "chains"), [("nuts", 1), ("nuts", 3), ("collapsed", 2)])
def test_interrupts_end_in_an_interrupt(engine, chains, sleepstudy):
    """Never in a shorter posterior without a word."""
    main = threading.main_thread().ident
    # What an engine imports and compiles first may drop an interrupt; sampling must not.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sleepstudy.sample(engine, 100, 1, seed=1, tune=100, cores=1, progressbar=False)

    def interrupt():
        time.sleep(1.0)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            sleepstudy.sample(engine, 200_000, chains, seed=1, tune=100, cores=1, progressbar=False)
    finally:
        thread.join()


def test_long_tasks_end_with_the_call_that_was_interrupted():
    """Interrupts reach the main thread alone; others must not go on until they are done."""
    main, seen = threading.main_thread().ident, []

    def task(number):
        if number == 0:
            signal.pthread_kill(main, signal.SIGINT)
        for _ in range(2000):  # ten seconds
            run(time.sleep, [0.005])
        seen.append(number)

    start = time.monotonic()
    with threads(2), pytest.raises(KeyboardInterrupt):
        run(task, [0, 1, 2])
    assert time.monotonic() - start < 5
    assert not seen
    assert run(len, ["a", "bc"]) == [1, 2]


def test_an_interrupt_of_compiled_code_is_an_interrupt():
    def struck(error: BaseException | None) -> None:
        raise SystemError("a loop returned a result with an exception set") from error

    with pytest.raises(KeyboardInterrupt):
        computing(struck)(KeyboardInterrupt())
    with pytest.raises(SystemError):
        computing(struck)(None)


def test_interrupts_wait_until_compiled_code_has_returned(monkeypatch):
    seen = []

    def strike() -> None:
        signal.raise_signal(signal.SIGINT)
        seen.append("ended")

    @computing
    def fit(loop: Callable[[], None]) -> None:
        loop()
        seen.append("went on")

    monkeypatch.setattr(widths, "whole", strike)
    before = signal.getsignal(signal.SIGINT)
    for loop, ends in ((strike, []), (widths, ["ended"])):
        seen.clear()
        with pytest.raises(KeyboardInterrupt):
            computing(fit)(loop)
        assert seen == ends
        assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("engine", ["collapsed", "nuts", "pymc", "bambi"])
@pytest.mark.parametrize("noise", [0.0, 1e-12, 1e-9, 1e-8, 1e-7])
def test_no_engine_samples_a_response_that_is_constant_within_groups(engine, noise):
    """The posterior has infinite mass at σ = 0: refused at once, where a sampler never ends."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(10), 6)
    y = rng.normal(size=10)[g] + noise * rng.normal(size=60)
    model = bv.Model("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": g}))
    with pytest.raises(bv.DataError, match="exactly, or so nearly"):
        model.sample(engine, draws=10, chains=1, tune=10, seed=1, progressbar=False)


@pytest.mark.filterwarnings("ignore::bayesv.errors.SamplingWarning")
def test_all_works_where_numpy_raises(sleepstudy):
    with np.errstate(all="raise"):
        model = sleepstudy.with_response(sleepstudy.design.y)
        fit = model.reml()
        post = model.sample(draws=50, chains=2, seed=1)
        str(bv.compare(fit, post))
        post.summary()
        post.functionals()
        assert np.isfinite(post.evidence().log)
        bv.zero_variance(post, "Subject", "Days")
        bv.kenward_roger(fit).table()
        bv.bootstrap(fit, draws=3, seed=1)
        model.prior_predictive(seed=1)
        bv.plots.variance_densities(fit, post)
        bv.plots.distance_density(post, fit)
        bv.plots.check(fit)
        bv.compare_models(post, post)
        stacking_weights(np.array([[0.0, -2000.0], [-2000.0, 0.0]]))
        evidence_weights(np.array([0.0, -2000.0]), np.array([0.5, 0.5]))
        assert np.geterr() == dict.fromkeys(("divide", "over", "under", "invalid"), "raise")
