"""Random nasty designs, and the lowest criterion that searches from many random starts find.

    python tests/references/optima/make_reference.py trial 0 1500     counts missed optima
    python tests/references/optima/make_reference.py freeze 245 284   writes designs.json

The designs have few rows and levels, crossed factors, diagonal terms of several columns, columns
that nearly determine each other or lie far from zero. The reference is the best of 20 descents from
random λ on the same criterion, whose values other tests hold against lme4 and dense algebra. One in
five designs may have as many random effects as rows, so that the criterion may have no minimum:
those are refused or said not to have converged, and are counted apart. ``freeze`` keeps designs on
which a search from λ = I alone ends above the lowest value.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import bayesv as bv
from bayesv.design.design import RandomTerm
from bayesv.design.residual import Homoscedastic
from bayesv.gram import statistics_of
from bayesv.reml import fit_reml
from bayesv.reml.criterion import Criterion
from bayesv.reml.search import Search
from bayesv.structures import of_blocks

HERE = Path(__file__).parent
STARTS = 20


def nasty(seed: int) -> bv.Design | None:
    """Return the design of a seed; None where there is none."""
    rng = np.random.default_rng([77, seed])
    n = int(rng.choice([12, 16, 24, 40, 80, 150]))
    n_terms = int(rng.choice([1, 1, 2, 2, 3]))
    offset = rng.choice([0, 0, 0, 1, 5, 100])
    x = rng.normal(size=n) + offset
    if rng.random() < 0.2:
        x = rng.integers(0, 2, n).astype(float)
    z = x + rng.choice([0.02, 0.2, 2]) * rng.normal(size=n)
    f = rng.integers(0, 3, n)
    pool = {"1": np.ones(n), "x": x, "z": z, "f1": 1.0 * (f == 1), "f2": 1.0 * (f == 2)}
    pool["w"] = rng.exponential(size=n)
    terms, mean = [], np.zeros(n)
    for t in range(n_terms):
        J = int(rng.integers(2, max(3, min(n // 2, 15)) + 1))
        if t and rng.random() < 0.3 and rng.random() < 0.5 and terms:
            codes = terms[0].codes % J
        else:
            codes = rng.integers(0, J, n)
        term, part = _term(rng, f"g{t}", codes, pool)
        if term is not None:
            terms.append(term)
            mean += part
    if not terms:
        return None
    terms.sort(key=lambda term: -term.n_levels)
    fixed = ["1", *(name for name in ("x", "z", "w") if rng.random() < 0.4)]
    X = np.column_stack([pool[name] for name in fixed])
    kept = [] if rng.random() < 0.1 else bv.linalg.independent_columns(X)
    y = mean + rng.normal(size=n) * rng.choice([0.1, 1, 3]) + 10 * (len(kept) > 0)
    q = sum(term.n_effects for term in terms)
    if n - len(kept) < 4 or (q + len(kept) >= n and seed % 5):
        return None
    return _design(y, X[:, kept], [fixed[i] for i in kept], terms)


def _term(rng, group, codes, pool):
    """Return a random term of some of the columns and what it adds to the mean."""
    levels, codes = np.unique(codes, return_inverse=True)
    J, n = len(levels), len(codes)
    if J < 2 or (k := min(int(rng.choice([1, 2, 2, 3, 3, 4])), (n - 1) // J)) < 1:
        return None, 0.0
    names = [str(name) for name in rng.choice(list(pool), k, replace=False)]
    if rng.random() < 0.6 and "1" not in names:
        names[0] = "1"
    values = np.column_stack([pool[name] for name in names])
    if (np.abs(values).sum(axis=0) == 0).any():
        return None, 0.0
    if rng.random() < 0.65 or k == 1:
        blocks = tuple((i,) for i in range(k))
    elif k > 2 and rng.random() < 0.4:
        blocks = (tuple(range(2)), tuple(range(2, k)))
    else:
        blocks = (tuple(range(k)),)
    sd = np.exp(rng.normal(size=k) * 1.5) * (rng.random(k) < 0.7)
    u = rng.normal(size=(J, k)) * sd
    labels = np.array([str(level) for level in levels], dtype=object)
    part = (values * u[codes]).sum(axis=1) / max(1, np.abs(values).max())
    return RandomTerm(group, tuple(names), labels, codes, values, of_blocks(blocks)), part


def _design(y, X, names, terms) -> bv.Design:
    rows = np.arange(len(y))
    return bv.Design(
        formula="y ~ nasty", response="y", y=y, X=X, fixed_names=tuple(names), terms=tuple(terms),
        residual=Homoscedastic(len(y)), offset=None, rows=rows, row_labels=pd.RangeIndex(len(y)),
        n_rows_given=len(y),
    )  # fmt: skip


def read_design(case: dict) -> bv.Design:
    """Return a design of ``designs.json``."""
    terms = [
        RandomTerm(
            term["group"], tuple(term["columns"]), np.array(term["levels"], dtype=object),
            np.array(term["codes"]), np.array(term["values"]),
            of_blocks(tuple(tuple(block) for block in term["blocks"])),
        )
        for term in case["terms"]
    ]  # fmt: skip
    return _design(np.array(case["y"]), np.array(case["X"]), case["fixed"], terms)


def lowest(design: bv.Design, method: str, seed: int) -> float:
    """Return the lowest criterion that descents from many random λ end at."""
    rng = np.random.default_rng([5, seed])
    search = Search(Criterion(design, statistics_of(design), method), 300)
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


def freeze(seeds: list[int]) -> None:
    """Write those of the designs on which a search from λ = I alone ends above the lowest value."""
    cases = []
    for seed, design in ((seed, nasty(seed)) for seed in seeds):
        for method in ("REML", "ML") if design is not None else ():
            search = Search(Criterion(design, statistics_of(design), method), 300)
            best, plain = lowest(design, method, seed), search.run(search.start(1.0)).value
            if plain < best + 1e-4:
                continue
            terms = [
                {"group": t.group, "columns": t.columns, "levels": list(t.levels),
                 "codes": t.codes.tolist(), "values": t.values.tolist(),
                 "blocks": t.structure.blocks}
                for t in design.terms
            ]  # fmt: skip
            cases.append(
                {"seed": seed, "method": method, "lowest": best, "fixed": design.fixed_names,
                 "X": design.X.tolist(), "y": design.y.tolist(), "terms": terms}
            )  # fmt: skip
    (HERE / "designs.json").write_text(json.dumps(cases) + "\n")
    print(f"{len(cases)} designs")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1] == "freeze":
        freeze([int(seed) for seed in sys.argv[2:]])
    else:
        trial(int(sys.argv[2]), int(sys.argv[3]))
