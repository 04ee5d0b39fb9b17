"""Fits that rpy2 or pymer4 hold in a running R, for which a stand-in exports what R wrote."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path

import pytest

import bayesv as bv

EXPORT = Path(__file__).parent / "references" / "r_export" / "lmer_sleepstudy"


class RRuntimeError(Exception):
    """Stands for rpy2's error."""


@pytest.fixture
def rpy2(monkeypatch):
    """A stand-in for rpy2, which needs R to be built: exports what R wrote before."""

    def r(text):
        assert "bayesv_export <- " in text

        def export(fit, folder):
            if fit.broken:
                raise RRuntimeError("Error: its class is lm\n")
            shutil.copytree(EXPORT, folder)

        return export

    class RS4:
        broken = False

    RS4.__module__ = "rpy2.robjects.methods"
    modules = {
        "rpy2": types.ModuleType("rpy2"),
        "rpy2.robjects": types.ModuleType("rpy2.robjects"),
        "rpy2.rinterface_lib": types.ModuleType("rpy2.rinterface_lib"),
        "rpy2.rinterface_lib.embedded": types.ModuleType("rpy2.rinterface_lib.embedded"),
    }
    modules["rpy2"].robjects = modules["rpy2.robjects"]
    modules["rpy2.robjects"].r = r
    modules["rpy2.rinterface_lib.embedded"].RRuntimeError = RRuntimeError
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return RS4


def test_fits_that_live_in_R(rpy2):
    model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    fit = bv.extract(rpy2())
    assert fit.label == "REML (lme4)"
    assert bv.extract(rpy2(), design=model.design).design is model.design
    assert abs(fit.criterion - model.reml().criterion) < 1e-6
    broken = rpy2()
    broken.broken = True
    with pytest.raises(bv.ExtractionError, match=r"R refuses: its class is lm$"):
        bv.extract(broken)


def test_pymer4_models_hold_such_fits(rpy2):
    lmer = type("lmer", (), {"__module__": "pymer4.models.lmer", "r_model": rpy2()})
    assert bv.extract(lmer()).label == "REML (lme4)"
    older = type("Lmer", (), {"__module__": "pymer4.models.Lmer", "model_obj": rpy2()})
    assert bv.extract(older()).label == "REML (lme4)"
    empty = type("lmer", (), {"__module__": "pymer4.models.lmer", "r_model": None})
    with pytest.raises(bv.ExtractionError, match="no fit; call its fit"):
        bv.extract(empty())
