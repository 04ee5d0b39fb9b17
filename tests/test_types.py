"""What public names say of themselves: types of what they return, listings that are read back."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.support.shown import WIDTH


def callables():
    """Yield functions, methods and properties of all public names that bayesv defines."""
    spaces = {"bv": bv, "bv.plots": bv.plots, "bv.study": bv.study}
    for space, module in spaces.items():
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing):
                for member in dir(thing):
                    if not member.startswith("_"):
                        held = inspect.getattr_static(thing, member)
                        held = getattr(held, "__func__", None) or getattr(held, "fget", held)
                        yield f"{space}.{name}.{member}", getattr(held, "func", held)
            else:
                yield f"{space}.{name}", thing


OWN = {
    name: inspect.unwrap(thing)
    for name, thing in callables()
    if inspect.isfunction(inspect.unwrap(thing))
    and inspect.unwrap(thing).__module__.startswith("bayesv")
}


def test_every_public_name_says_what_it_returns():
    """An editor completes what follows; Any would say nothing."""
    assert len(OWN) > 250
    vague = {}
    for name, thing in OWN.items():
        returned = inspect.signature(thing).return_annotation
        text = returned if isinstance(returned, str) else getattr(returned, "__name__", "")
        if returned is inspect.Signature.empty or re.search(r"\bAny\b", text):
            vague[name] = text
    assert not vague


@pytest.mark.parametrize("k", [2, 7, 12])
def test_a_listing_of_many_columns_fits_and_is_read_back(k):
    names = [f"a column with a name {i}" for i in range(k)]
    A = np.random.default_rng(k).normal(size=(k, k))
    block = pd.DataFrame(A @ A.T, names, names)
    one = pd.DataFrame([[2.0]], ["Intercept"], ["Intercept"])
    vc = bv.VarianceComponents({"pupil:class:school": block, "g": one}, sigma2=3.0)
    text = repr(vc)
    assert max(map(len, text.splitlines())) <= WIDTH
    again = bv.VarianceComponents.from_varcorr(text)
    assert list(again["pupil:class:school"].columns) == names
    np.testing.assert_allclose(again.sd("pupil:class:school"), vc.sd("pupil:class:school"), 1e-4)
    assert (
        np.abs(again.corr("pupil:class:school") - vc.corr("pupil:class:school")).max().max() < 1e-3
    )
