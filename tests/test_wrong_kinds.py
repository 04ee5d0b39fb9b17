"""Every public function, called with a wrong kind of argument, succeeds or says why in words."""

from __future__ import annotations

import inspect
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv import plots, study
from bayesv.support.arguments import PATH, accepts, choice, numeric, optional, some, whole

# Parameters of other libraries' kinds (axes), or of work that takes long whatever is passed.
LEFT_OUT = {"axes", "ax", "self", "progressbar", "workers"}
SLOW = {"bootstrap", "profile", "report", "to_pymc", "to_bambi", "sbc", "run", "sample"}
INHERITED = {"H", "T", "adjoint", "transpose", "dot", "matmat", "matvec"}  # of SciPy's operators


@pytest.fixture(scope="module")
def things():
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)
        post = model.sample(seed=1, draws=20, chains=2)
    fit = model.reml()
    scenario = study.Scenario(
        name="one", formula="y ~ 1 + (1 | g)", levels={"g": 5}, rows=4, beta={"Intercept": 1},
        sd={"g": 1}, sigma=1,
    )  # fmt: skip
    return {
        "model": model, "fit": fit, "post": post, "V": fit.gls.V, "gls": fit.gls, "scenario":
        scenario, "vc": fit.components, "design": model.design, "term": model.design.terms[0],
        "comparison": bv.compare(fit, post), "kr": bv.kenward_roger(model.design, fit.components),
        "boot": bv.bootstrap(fit, draws=2, seed=1), "pv": post.V("Batch", "A"),
        "priors": bv.Priors(),
        "result": study.run([scenario], ["REML"], replicates=2, seed=1, workers=1),
    }  # fmt: skip


def wrong(things):
    return [
        None, 95, "Subject", [1, 2], -1, float("nan"), 0.5, object(), {"a": 1}, pd.DataFrame(),
        np.array(["a", None], dtype=object), things["model"], things["post"], things["fit"],
        things["design"], things["vc"],
    ]  # fmt: skip


def valid(things):
    vc, y = things["vc"], things["design"].y
    return {
        **things, "components": vc, "fits": things["fit"], "a": vc, "b": vc, "source":
        things["fit"], "group": "Batch", "level": "A", "draws": 3, "prob": 0.9, "seed": 1,
        "every": 10, "y": y, "formula": "Yield ~ 1 + (1 | Batch)", "rows": [0, 1], "x": y,
        "data": bv.load_dataset("dyestuff"), "path": "x.nc", "at": pd.DataFrame({"Intercept": [1]}),
        "positions": [0, 1], "kind": "mean", "method": "REML", "replicates": 2, "estimators":
        ["REML"], "scenarios": [things["scenario"]], "weights": [1.0], "L": [[1.0]], "beta": [1.0],
        "sd": {"Batch": 1.0}, "sigma": 1.0, "sigma2": 1.0, "blocks": {"Batch": 1.0}, "reference":
        vc, "function": lambda _: 1.0, "obj": things["fit"], "matrix": np.eye(3),
    }  # fmt: skip


def faults(name, function, things, only_first=False):
    """Calls with each argument wrong in turn, the others right, that end in a raw error."""
    parameters = [
        p for p in inspect.signature(function).parameters.values()
        if p.name not in LEFT_OUT and p.kind is not p.VAR_KEYWORD
    ]  # fmt: skip
    known, found = valid(things), []
    for p in parameters[:1] if only_first else parameters:
        for value in wrong(things):
            if only_first and isinstance(value, bv.RemlFit | bv.Posterior | bv.Model):
                continue
            needed = [
                q for q in parameters if q.default is q.empty and q.kind is not q.VAR_POSITIONAL
            ]
            given = {q.name: known.get(q.name, value) for q in needed}
            args = (value,)
            if p.kind is not p.VAR_POSITIONAL:
                given[p.name] = value
                ordered = [q.name for q in parameters if q.name in given]
                simple = (
                    p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and ordered[0] == p.name
                )
                args = (given.pop(p.name),) if simple else ()
            try:
                function(*args, **given)
            except bv.BayesvError:
                pass
            except Exception as error:
                what = value if isinstance(value, str | float | list) else type(value).__name__
                found.append(f"{name}({p.name}={what}): {type(error).__name__}: {error}"[:200])
            plt.close("all")
    return found


PUBLIC = [
    *(("bv", name) for name in bv.__all__),
    *(("plots", name) for name in plots.__all__),
    *(("study", name) for name in study.__all__),
]
ROOMS = {"bv": bv, "plots": plots, "study": study}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("room", ROOMS)
def test_public_functions(room, things, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for where, name in PUBLIC:
        thing = getattr(ROOMS[where], name)
        skip = not callable(thing) or (isinstance(thing, type) and issubclass(thing, Exception))
        if where == room and not skip:
            if name == "save":  # dispatches on its first argument, which has no name
                thing = lambda obj, path: bv.save(obj, path)  # noqa: E731
            found += faults(name, thing, things, only_first=name in SLOW)
    assert not found, "\n".join(found)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    ["model", "fit", "post", "V", "gls", "vc", "design", "term", "comparison", "kr", "boot", "pv",
     "priors"],
)  # fmt: skip
def test_public_methods(name, things, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    thing, found = things[name], []
    for method in dir(type(thing)):
        if method.startswith(("_", "r")) and method not in ("reml", "rows", "reliability"):
            continue
        if method in INHERITED or (name, method) == ("post", "from_draws"):
            continue
        function = getattr(thing, method)
        if callable(function) and not inspect.isclass(function):
            found += faults(f"{name}.{method}", function, things, only_first=method in SLOW)
    assert not found, "\n".join(found)


def test_arguments_of_sample(things):
    model = things["model"]
    for name in ("draws", "chains", "tune", "seed", "cores", "target_accept"):
        for value in ("a", [1], -3, 0.25j, object(), float("nan"), pd.DataFrame()):
            with pytest.raises(bv.BayesvError):
                model.sample(**{"draws": 4, name: value})


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (PATH, ["a.nc"], ["", 3, b"a"]),
        (choice("a", "b"), ["a"], ["c", 1, ["a"]]),
        (whole(2), [2, np.int64(3)], [1, True, 2.0, "2", np.bool_(True)]),
        (numeric, [1, [1.5], np.eye(2), True], ["a", None, [[1], [1, 2]], 1j]),
        (optional(some(whole(0))), [None, [1], range(2)], [1, "12", [1.5]]),
    ],
)
def test_rules(rule, good, bad):
    for value in good:
        rule("x", value)
    for value in bad:
        with pytest.raises(bv.BayesvError, match="x"):
            rule("x", value)


def test_accepts_keeps_names_and_documentation():
    @accepts(n=whole(1))
    def f(n: int, *, k: int = 1) -> int:
        """Return n."""
        return n

    assert str(inspect.signature(f)) == "(n: 'int', *, k: 'int' = 1) -> 'int'"
    assert (f.__name__, f.__doc__, f(2)) == ("f", "Return n.", 2)
    with pytest.raises(TypeError):
        f(1, 2)
