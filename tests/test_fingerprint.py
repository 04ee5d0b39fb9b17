"""Edits of an estimator, and of all that it uses, show in its fingerprint."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from bayesv.study.estimation.fingerprint import fingerprint

HELPER = "RATE = 1\ndef scale(x):\n    return x * 1\n"
HEAD = """
import collections, contextlib, copy, dataclasses, datetime, decimal, enum, functools, logging
import operator, pathlib, random, re, threading, types, weakref
import numpy as np
import pandas as pd
import bayesv as bv
"""
# What the estimator is made of, what is edited, and into what; "helper" edits the other module.
MODULES = {
    "function": ("import users_helper\ndef estimator(m): return users_helper.scale(m)", "x * 1"),
    "constant": ("import users_helper as h\ndef estimator(m): return m * h.RATE", "RATE = 1"),
    "inside": ("def estimator(m):\n    import users_helper as h\n    return h.scale(m)", "x * 1"),
    "name inside": (
        "def estimator(m):\n    from users_helper import scale\n    return scale(m)", "x * 1"
    ),
    "name": ("from users_helper import scale\ndef estimator(m): return scale(m)", "x * 1"),
    "in a container": ("import users_helper\nL = [users_helper]\ndef estimator(m): return L", "1"),
}  # fmt: skip
VALUES = [
    "range(1)", "slice(0, 1)", "pathlib.Path('1')", "datetime.timedelta(1)", "decimal.Decimal('1')",
    "collections.deque([1])", "bytearray(b'1')", "operator.itemgetter(1)", "re.compile('1')",
    "np.array([1, 'a'], dtype=object)", "pd.Timestamp(1)", "{'a': 1}.get", "np.ma.array([1, 0])",
    "types.SimpleNamespace(a=1)", "np.vectorize(lambda x: x * 1)", "np.random.default_rng(1)",
    "functools.lru_cache(lambda x: x * 1)", "contextlib.contextmanager(lambda x: x * 1)",
    "functools.singledispatch(lambda x: x * 1)", "staticmethod(lambda x: x * 1)",
    "property(lambda x: x * 1)", "functools.cached_property(lambda x: x * 1)",
    "bv.Priors(sd=bv.HalfNormal(1))", "bv.study.Bayes(draws=1000)",
    "bv.VarianceComponents({'g': [[1.0]]}, sigma2=2.0)",
]  # fmt: skip
CLASSES = [
    "__slots__ = ('a',)\n    def __init__(self): self.a = 1",
    "f = staticmethod(lambda x: x * 1)",
    "f = classmethod(lambda x: x * 1)",
    "f = property(lambda x: x * 1)",
    "f = functools.cached_property(lambda x: x * 1)",
    "a = types.MappingProxyType({'a': 1})",
    "def __getattr__(self, name): raise RuntimeError(1)",
]


@pytest.fixture
def estimator(tmp_path, monkeypatch):
    """Write two modules of a user, and import the estimator."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(source: str, helper: str = HELPER) -> Any:
        for name, text in (("users_helper", helper), ("users_script", HEAD + source)):
            Path(tmp_path, f"{name}.py").write_text(text)
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return importlib.import_module("users_script").estimator

    return make


def differs(make: Any, source: str) -> None:
    first = fingerprint(make(source))
    assert fingerprint(make(source)) == first
    assert fingerprint(make(source.replace("1", "2"))) != first


@pytest.mark.parametrize("name", MODULES)
def test_edits_of_modules_of_the_user_show(name, estimator):
    source, old = MODULES[name]
    first = fingerprint(estimator(source))
    assert fingerprint(estimator(source)) == first
    assert fingerprint(estimator(source, HELPER.replace(old, old.replace("1", "2")))) != first


@pytest.mark.parametrize("value", VALUES)
def test_values_of_any_kind_show(value, estimator):
    differs(estimator, f"value = {value}\ndef estimator(m): return value")


@pytest.mark.parametrize("body", CLASSES)
def test_members_of_classes_show(body, estimator):
    text = f"class K:\n    {body}\nvalue = K()\ndef estimator(m): return value, K"
    differs(estimator, text)


def test_what_is_hung_on_a_function_shows(estimator):
    differs(estimator, "def estimator(m): return estimator.rate\nestimator.rate = 1")


def test_what_changes_from_process_to_process_does_not_show(estimator):
    """Locks, loggers, weak references, generators, the random numbers of modules."""
    source = """
from random import gauss
from numpy.random import normal
values = (threading.Lock(), logging.getLogger("x"), (i for i in [1]), weakref.ref(re), np.random)
def estimator(m): return gauss(), normal(), random.random(), values
"""
    first = fingerprint(estimator(source))
    for _ in range(2):
        assert fingerprint(estimator(source)) == first
        random_numbers = importlib.import_module("random"), importlib.import_module("numpy.random")
        for module in random_numbers:
            module.random()


def test_what_an_object_has_cached_does_not_show(estimator):
    found = estimator("""
class K:
    @functools.cached_property
    def long(self): return 3
value = K()
def estimator(m): return value.long
""")
    first = fingerprint(found)
    assert found(None) == 3
    assert fingerprint(found) == first


@pytest.mark.parametrize(
    "source",
    [
        "def estimator(m):\n    estimator.calls += 1\nestimator.calls = 0",
        "calls = 0\ndef estimator(m):\n    global calls\n    calls += 1",
    ],
)
def test_what_a_function_assigns_while_it_runs_does_not_show(source, estimator):
    found = estimator(source)
    first = fingerprint(found)
    found(None)
    assert fingerprint(found) == first
