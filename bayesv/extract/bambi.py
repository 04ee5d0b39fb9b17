"""Draws of a fitted Bambi model."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesv.design.design import Design
from bayesv.errors import ExtractionError
from bayesv.inference.bambi_reading import draws_from_bambi, read_bambi
from bayesv.posterior.posterior import Posterior

__all__ = ["extract_bambi"]


def extract_bambi(model: Any, draws: Any, design: Design | None, keep_u: bool) -> Posterior:
    """Read draws of a Bambi model; see `bayesv.extract`."""
    if draws is None:
        raise ExtractionError("Pass the draws as well: bv.extract(model, model.fit()).")
    parts = read_bambi(model)
    source = parts.design()
    if design is not None:
        same = source.n == design.n and np.allclose(source.y, design.y) and source.p == design.p
        if not same or not np.allclose(source.X, design.X):
            raise ExtractionError(
                f"The Bambi model and the design differ in y or X ({source.n}×{source.p} and "
                f"{design.n}×{design.p}); are they of the same rows, in the same order, with the "
                "same reference levels?"
            )
        _check_same_terms(source, design)
    result = draws_from_bambi(parts, draws, design or source, keep_u)
    _check_same_model(parts, draws, set(model.data.columns) - {"mu", "sigma"})
    return Posterior.from_draws(result, None, "bambi (extracted)")


def _check_same_model(parts: Any, draws: Any, columns: set[str]) -> None:
    """Refuse draws that know effects, coefficients of data columns, or responses of another."""
    known = [part.posterior for part in (*parts.fixed, *parts.random)]
    others = [
        name
        for name in map(str, draws["posterior"].data_vars)
        if "|" in name or name in columns
        if not any(name == variable or name.startswith(f"{variable}_") for variable in known)
    ]
    if others:
        raise ExtractionError(
            f"The draws have {', '.join(others)}, the Bambi model {parts.formula!r} has not; pass "
            "the draws of its own fit()."
        )
    observed = draws["observed_data"] if "observed_data" in draws.children else {}
    if parts.response in observed:
        y = np.asarray(observed[parts.response], dtype=float).reshape(-1)
        if y.shape != parts.y.shape or not np.allclose(y, parts.y):
            raise ExtractionError(
                f"The draws were made with another response than the Bambi model's "
                f"{parts.response!r}; pass the draws of its own fit()."
            )


def _check_same_terms(bambi: Design, design: Design) -> None:
    """Refuse a design whose V has parts that the Bambi model lacks, or the reverse."""
    if not design.residual.iid:
        raise ExtractionError(
            "The design has var_weights, but a Bambi model has R = σ²I; pass a design without."
        )
    zero = np.zeros(bambi.n)
    offset, expected = (zero if d.offset is None else d.offset for d in (bambi, design))
    if not np.allclose(offset, expected):
        raise ExtractionError("The Bambi model and the design have different offsets.")
    columns = [sum(term.n_columns for term in d.terms) for d in (bambi, design)]
    if columns[0] != columns[1] or len(bambi.terms) != len(design.terms):
        raise ExtractionError(
            f"The Bambi model has random columns {_columns(bambi)}, the design {_columns(design)}; "
            "they must be the same."
        )


def _columns(design: Design) -> str:
    return "; ".join(f"{term.group}: {', '.join(term.columns)}" for term in design.terms)
