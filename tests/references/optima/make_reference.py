"""Random nasty designs, and the lowest criterion that searches from many random starts find.

    python tests/references/optima/make_reference.py trial 0 1500     counts missed optima
    python tests/references/optima/make_reference.py freeze           writes designs.json

The designs have few rows and levels, crossed factors, diagonal terms of several columns, columns
that nearly determine each other or lie far from zero. The reference is the best of 20 descents from
random λ on the same criterion, whose values other tests hold against lme4 and dense algebra. One in
five designs may have as many random effects as rows, so that the criterion may have no minimum:
those are refused or said not to have converged, and are counted apart. ``freeze`` keeps designs on
which a search from λ = I alone ends above what `fit_reml` finds.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import bayesv as bv
from bayesv.gram import statistics_of
from bayesv.reml import fit_reml
from bayesv.reml.criterion import Criterion
from bayesv.reml.search import _Search

HERE = Path(__file__).parent
STARTS, KEPT, MOST_ROWS = 20, 12, 40


def nasty(seed: int) -> bv.Design | None:
    """Return the design of a seed; None where there is none."""
    rng = np.random.default_rng([77, seed])
    n = int(rng.choice([12, 16, 24, 40, 80, 150]))
    x = rng.normal(size=n) + rng.choice([0, 0, 0, 1, 5, 100])
    if rng.random() < 0.2:
        x = rng.integers(0, 2, n).astype(float)
    z = x + rng.choice([0.02, 0.2, 2]) * rng.normal(size=n)
    f = rng.integers(0, 3, n)
    pool = {"1": np.ones(n), "x": x, "z": z, "f1": f == 1, "f2": f == 2, "w": rng.exponential(1, n)}
    pool = {name: np.round(values.astype(float), 4) for name, values in pool.items()}
    terms, mean = [], np.zeros(n)
    for t in range(int(rng.choice([1, 1, 2, 2, 3]))):
        _, codes = np.unique(rng.integers(0, rng.integers(3, min(n // 2, 15) + 1), n), False, True)
        J = int(codes.max()) + 1
        k = min(int(rng.choice([1, 2, 2, 3, 3, 4])), (n - 1) // J)
        names = [str(c) for c in rng.choice(list(pool), max(k, 1), replace=False)]
        if rng.random() < 0.6 and "1" not in names:
            names[0] = "1"
        values = np.column_stack([pool[c] for c in names])
        if k < 1 or J < 2 or (np.abs(values).sum(axis=0) == 0).any():
            continue
        blocks = tuple((i,) for i in range(k))
        if k > 1 and rng.random() > 0.65:
            blocks = (tuple(range(2)), *((i,) for i in range(2, k)))
        sd = np.exp(1.5 * rng.normal(size=k)) * (rng.random(k) < 0.7)
        mean += ((values * (rng.normal(size=(J, k)) * sd)[codes]).sum(axis=1)) / np.abs(
            values
        ).max()
        levels = np.array([str(j) for j in range(J)], dtype=object)
        terms.append(bv.design.RandomTerm(f"g{t}", tuple(names), levels, codes, values, blocks))
    fixed = ["1", *(c for c in ("x", "z", "w") if rng.random() < 0.4)]
    X = np.column_stack([pool[c] for c in fixed])
    kept = bv.linalg.independent_columns(X)
    y = np.round(10 + mean + rng.normal(size=n) * rng.choice([0.1, 1, 3]), 4)
    q = sum(term.n_effects for term in terms)
    if not terms or n - len(kept) < 4 or (q + len(kept) >= n and seed % 5):
        return None
    terms.sort(key=lambda term: -term.n_levels)
    return _design(y, X[:, kept], [fixed[j] for j in kept], terms)


def _design(y, X, names, terms) -> bv.Design:
    rows = np.arange(len(y))
    return bv.Design(
        formula="y ~ nasty", response="y", y=y, X=X, fixed_names=tuple(names), terms=tuple(terms),
        weights=None, offset=None, rows=rows, row_labels=pd.RangeIndex(len(y)),
        n_rows_given=len(y),
    )  # fmt: skip


def read_design(case: dict) -> bv.Design:
    """Return a design of ``designs.json``."""
    terms = [
        bv.design.RandomTerm(
            term["group"], tuple(term["columns"]), np.array(term["levels"], dtype=object),
            np.array(term["codes"]), np.array(term["values"]),
            tuple(tuple(block) for block in term["blocks"]),
        )
        for term in case["terms"]
    ]  # fmt: skip
    return _design(np.array(case["y"]), np.array(case["X"]), case["fixed"], terms)


def lowest(design: bv.Design, method: str, seed: int) -> float:
    """Return the lowest criterion that descents from many random λ end at."""
    rng = np.random.default_rng([5, seed])
    search = _Search(Criterion(design, statistics_of(design), method), 300)
    diagonal = search.criterion.diagonal
    best = np.inf
    for _ in range(STARTS):
        size = np.exp(rng.uniform(np.log(0.02), np.log(8), len(diagonal)))
        size = np.where(rng.random(len(diagonal)) < 0.3, 0.01, size)
        x = np.where(diagonal, size, rng.normal(size=len(diagonal)) * rng.choice([0.1, 1]))
        try:
            value = search._descend(x, search.all_free)[1]
        except (bv.BayesvError, np.linalg.LinAlgError):
            continue
        best = min(best, value if np.isfinite(value) else np.inf)
    return best


def trial(first: int, last: int) -> None:
    """Print the optima that `fit_reml` misses."""
    fits = missed = saturated = refused = 0
    for seed in range(first, last):
        if (design := nasty(seed)) is None:
            continue
        full = design.q + design.p >= design.n
        for method in ("REML", "ML"):
            try:
                fit = fit_reml(design, statistics_of(design), method)
            except bv.BayesvError:
                refused += 1
                continue
            fits += 1
            best = lowest(design, method, seed)
            if fit.converged and fit.criterion > best + 1e-4:
                missed, saturated = missed + (not full), saturated + full
                print(f"seed {seed} {method}: {fit.criterion:.5f} where {best:.5f} exists")
    print(f"{fits} fits, {refused} refused: {missed} optima missed in silence, and {saturated} "
          "with as many random effects as rows")  # fmt: skip


def freeze() -> None:
    """Write designs whose criterion has several minima."""
    cases = []
    for seed in range(5000):
        design = nasty(seed) if len(cases) < KEPT else None
        if design is None or design.q + design.p >= design.n or design.n > MOST_ROWS:
            continue
        for method in ("REML", "ML"):
            search = _Search(Criterion(design, statistics_of(design), method), 300)
            plain = search._descend(search.start(1.0), search.all_free)[1]
            fit = fit_reml(design, statistics_of(design), method)
            if fit.converged and plain > fit.criterion + 1e-3:
                best = lowest(design, method, seed)
                terms = [
                    {"group": t.group, "columns": t.columns, "levels": list(t.levels),
                     "codes": t.codes.tolist(), "values": t.values.tolist(), "blocks": t.blocks}
                    for t in design.terms
                ]  # fmt: skip
                cases.append(
                    {"seed": seed, "method": method, "lowest": best, "from_identity": plain,
                     "fixed": design.fixed_names, "X": design.X.tolist(), "y": design.y.tolist(),
                     "terms": terms}
                )  # fmt: skip
                break
    (HERE / "designs.json").write_text(json.dumps(cases) + "\n")
    print(f"{len(cases)} designs")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1] == "freeze":
        freeze()
    else:
        trial(int(sys.argv[2]), int(sys.argv[3]))
