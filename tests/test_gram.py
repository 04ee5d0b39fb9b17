"""Elimination on Gram statistics against dense Gaussian algebra, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesv.gram import Grouping, eliminate, eliminate_many, gram_statistics

STRUCTURES = ("single", "nested", "nested three", "crossed", "chain and crossed", "many")


def random_design(structure: str, rng: np.random.Generator, p: int, k: int, weighted: bool):
    """Groupings of n = 48 rows in random order, X, y, w."""
    n = 48
    leaf = rng.integers(0, 12, n)
    leaf[:12] = np.arange(12)
    middle, top = leaf // 2, leaf // 6
    other = rng.integers(0, 5, n)
    other[:5] = np.arange(5)
    third = rng.integers(0, 3, n)
    third[:3] = np.arange(3)
    codes = {
        "single": [leaf],
        "nested": [leaf, top],
        "nested three": [leaf, middle, top],
        "crossed": [leaf, other],
        "chain and crossed": [leaf, top, other],
        "many": [leaf, middle, other, third],
    }[structure]
    groupings = []
    for i, code in enumerate(codes):
        width = k if i % 2 == 0 else max(1, k - 1)
        values = np.column_stack([np.ones(n), rng.normal(size=(n, width - 1))])
        groupings.append(Grouping(code.astype(np.intp), values, int(code.max()) + 1))
    X = np.column_stack([np.ones(n), rng.normal(size=(n, max(p - 1, 0)))])[:, :p]
    w = np.exp(rng.normal(size=n)) if weighted else None
    return groupings, X, 100 + rng.normal(size=n), w


def random_lambdas(groupings, rng: np.random.Generator) -> list[np.ndarray]:
    out = []
    for grouping in groupings:
        lam = np.tril(rng.normal(size=(grouping.k, grouping.k)))
        if rng.uniform() < 0.3:
            lam[:, -1] = 0.0  # singular
        out.append(lam)
    return out


def dense(groupings, X, y, w, lambdas) -> tuple[float, np.ndarray]:
    """log|M| and [X y]'V_r⁻¹[X y] with V_r formed."""
    n = len(y)
    V = np.diag(np.ones(n) if w is None else 1 / w)
    for grouping, lam in zip(groupings, lambdas, strict=True):
        effect = grouping.values @ lam
        V += (effect @ effect.T) * (grouping.codes[:, None] == grouping.codes)
    XY = np.column_stack([X, y])
    logdet = np.linalg.slogdet(V)[1] + (0.0 if w is None else np.log(w).sum())
    return logdet, XY.T @ np.linalg.solve(V, XY)


def in_user_coordinates(stats, T: np.ndarray) -> np.ndarray:
    """Undo X = QR and y − X start."""
    p = stats.p
    back = np.eye(p + 1)
    back[:p, :p] = stats.R
    back[:p, p] = stats.R @ stats.start
    return back.T @ T @ back


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    structure=st.sampled_from(STRUCTURES),
    p=st.integers(0, 3),
    k=st.integers(1, 4),
    weighted=st.booleans(),
)
def test_values_equal_dense_algebra(seed, structure, p, k, weighted):
    rng = np.random.default_rng(seed)
    groupings, X, y, w = random_design(structure, rng, p, k, weighted)
    stats = gram_statistics(groupings, X, y, w)
    lambdas = random_lambdas(groupings, rng)
    want_logdet, want_T = dense(groupings, X, y, w, lambdas)
    done = eliminate(stats, lambdas)
    assert done.logdet == pytest.approx(want_logdet, rel=1e-10, abs=1e-10)
    got = in_user_coordinates(stats, done.T)
    assert np.allclose(got, want_T, rtol=1e-9, atol=1e-9 * np.abs(want_T).max())
    logdet, T = eliminate_many(stats, [np.stack([lam, 0 * lam]) for lam in lambdas])
    assert logdet[0] == pytest.approx(want_logdet, rel=1e-10, abs=1e-10)
    assert np.allclose(T[0], done.T, rtol=1e-10, atol=1e-10 * np.abs(done.T).max())
    assert logdet[1] == pytest.approx(0.0, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    structure=st.sampled_from(STRUCTURES),
    k=st.integers(1, 3),
)
def test_gradient_equals_central_differences(seed, structure, k):
    rng = np.random.default_rng(seed)
    groupings, X, y, w = random_design(structure, rng, 2, k, True)
    stats = gram_statistics(groupings, X, y, w)
    lambdas = random_lambdas(groupings, rng)
    T_bar = rng.normal(size=(3, 3))
    T_bar = T_bar + T_bar.T

    def value(at: list[np.ndarray]) -> float:
        done = eliminate(stats, at)
        return done.logdet + float((T_bar * done.T).sum())

    bars = eliminate(stats, lambdas).gradient(T_bar)
    scale = max(1.0, *(np.abs(bar).max() for bar in bars))
    h = 1e-5
    for f, lam in enumerate(lambdas):
        for i, j in np.ndindex(lam.shape):
            up, down = [m.copy() for m in lambdas], [m.copy() for m in lambdas]
            up[f][i, j] += h
            down[f][i, j] -= h
            assert bars[f][i, j] == pytest.approx(
                (value(up) - value(down)) / (2 * h), abs=2e-7 * scale
            )


def test_structure_in_words():
    rng = np.random.default_rng(0)
    groupings, X, y, w = random_design("chain and crossed", rng, 2, 1, False)
    text = gram_statistics(groupings, X, y, w).describe(["leaf", "top", "other"])
    assert text == "crossed: leaf (12×1) in top (2×1), dense block of 5: other (5×1)"
    groupings, X, y, w = random_design("nested", rng, 2, 2, False)
    text = gram_statistics(groupings, X, y, w).describe(["leaf", "top"])
    assert text == "nested: leaf (12×2) in top (2×1)"


def test_large_means_cost_no_digits():
    rng = np.random.default_rng(3)
    groupings, X, y, _ = random_design("single", rng, 2, 2, False)
    lambdas = random_lambdas(groupings, rng)
    near = eliminate(gram_statistics(groupings, X, y - 100, None), lambdas).T[-1, -1]
    far = eliminate(gram_statistics(groupings, X, y + 2.0**30, None), lambdas).T[-1, -1]
    assert far == pytest.approx(near, rel=1e-6)
