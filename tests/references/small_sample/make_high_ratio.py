"""Φ_A, degrees of freedom, W and CR2 in 60 digits, n × n matrices, where variances are 1e8 σ².

python make_high_ratio.py writes high_ratio.json beside it (written with mpmath 1.4.1).
"""

import json
from pathlib import Path

import mpmath as mp
import numpy as np

mp.mp.dps = 60
rng = np.random.default_rng(3)
n = 26
g = np.concatenate([np.arange(5), rng.integers(0, 5, n - 5)])
k = np.concatenate([np.arange(4), rng.integers(0, 4, n - 4)])
x = rng.normal(size=n).round(3)
y = (x + rng.normal(size=n)).round(3)
frame = {"y": y.tolist(), "x": x.tolist(), "t": (g % 2).tolist(), "g": g.tolist(), "k": k.tolist()}


def matrix(a):
    return mp.matrix(np.asarray(a, dtype=float).tolist())


def numbers(A):
    return [[float(A[i, j]) for j in range(A.cols)] for i in range(A.rows)]


def trace(A, B):
    return mp.fsum(A[i, j] * B[j, i] for i in range(A.rows) for j in range(A.cols))


def parts_of(terms):
    """Return V_i and θ_i of every element of Σ, then of σ²."""
    parts, theta = [], []
    for codes, columns, sigma in terms:
        same = codes[:, None] == codes
        for a in range(len(sigma)):
            for b in range(a + 1):
                E = np.zeros_like(sigma)
                E[a, b] = E[b, a] = 1.0
                parts.append(matrix(columns @ E @ columns.T * same))
                theta.append(mp.mpf(float(sigma[a, b])))
    return [*parts, mp.eye(n)], [*theta, mp.mpf(1)]


def root(A, power):
    values, vectors = mp.eigsy(A)
    power_of = [v**power if v > mp.mpf(10) ** -30 * max(values) else 0 for v in values]
    return vectors * mp.diag(power_of) * vectors.T


def case(formula, X, terms):
    parts, theta = parts_of(terms)
    X, V = matrix(X), mp.zeros(n)
    for value, part in zip(theta, parts, strict=True):
        V += value * part
    inverse = V**-1
    Phi = (X.T * inverse * X) ** -1
    P = inverse - inverse * X * Phi * X.T * inverse
    PV, m, to = [P * part for part in parts], len(parts), inverse * X * Phi
    W = mp.matrix(m, m)
    for i in range(m):
        for j in range(m):
            W[i, j] = trace(PV[i], PV[j])
    W = 2 * W**-1
    sides = [part * to for part in parts]
    middle = mp.zeros(X.cols)
    for i in range(m):
        for j in range(m):
            middle += W[i, j] * (sides[i].T * P * sides[j])
    df = []
    for c in range(X.cols):
        slope = mp.matrix([(to.T * part * to)[c, c] for part in parts])
        df.append(float(2 * Phi[c, c] ** 2 / (slope.T * W * slope)[0]))
    out = {
        "formula": formula,
        "blocks": [sigma.tolist() for *_, sigma in terms],
        "plug_in": numbers(Phi),
        "cov": numbers(Phi + 2 * middle),
        "df": df,
        "W": numbers(W),
    }
    if len(terms) == 1:
        out["CR2"] = numbers(cr2(X, V, Phi))
    return out


def cr2(X, V, Phi):
    residual = matrix(y) - X * (Phi * (X.T * (V**-1 * matrix(y))))
    meat = mp.zeros(X.cols)
    for level in range(5):
        rows = np.flatnonzero(g == level)
        pick = mp.matrix(len(rows), n)
        for i, row in enumerate(rows):
            pick[i, int(row)] = 1
        V_c, X_c = pick * V * pick.T, pick * X
        L = mp.cholesky(V_c)
        A = L * root(L.T * (V_c - X_c * Phi * X_c.T) * L, mp.mpf(-1) / 2) * L.T
        score = X_c.T * V_c**-1 * A * (pick * residual)
        meat += score * score.T
    return Phi * meat * Phi


one, both = np.ones((n, 1)), np.column_stack([np.ones(n), x])
X = np.column_stack([np.ones(n), x, g % 2])
big = 1e8
cases = [
    case("y ~ x + t + (1 | g)", X, [(g, one, np.array([[big]]))]),
    case("y ~ x + t + (1 | g)", X, [(g, one, np.array([[1e5]]))]),
    case("y ~ x + t + (x | g)", X, [(g, both, big * np.array([[1.0, 0.3], [0.3, 0.8]]))]),
    case("y ~ x + t + (x | g)", X, [(g, both, np.array([[big, 0.0], [0.0, 1.0]]))]),
    case("y ~ x + t + (x | g)", X, [(g, both, np.array([[1.0, 0.9e3], [0.9e3, 2e6]]))]),
    case("y ~ x + (1 | g) + (1 | k)", X[:, :2],
         [(g, one, np.array([[big]])), (k, one, np.array([[0.5]]))]),
    case("y ~ x + (1 | g) + (1 | k)", X[:, :2],
         [(g, one, np.array([[big]])), (k, one, np.array([[big]]))]),
]  # fmt: skip
(Path(__file__).parent / "high_ratio.json").write_text(
    json.dumps({"data": frame, "cases": cases}) + "\n"
)
