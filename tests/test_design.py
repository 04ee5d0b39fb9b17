"""y, X and Z from formula and data: values, labels, order, dropped rows, any data frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from formulae import design_matrices

import bayesv as bv
from bayesv.structures import Diagonal, Unstructured, of_blocks

N = 48


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "y": rng.normal(size=N),
            "x": rng.uniform(1, 3, N),
            "z": rng.normal(size=N),
            "g": np.repeat([10, 9, 100, 2, 30, 1, 7, 8], 6),
            "h": np.tile(["r", "q", "p"], 16),
            "f": pd.Categorical(
                np.tile(["c", "a", "b", "a"], 12), categories=["unused", "b", "a", "c"]
            ),
            "w": rng.uniform(0.5, 2, N),
            "x.1": rng.normal(size=N),
            "b": np.tile([True, False, False], 16),
        },
        index=pd.RangeIndex(1000, 1000 + N),
    )


def design(formula: str, data: object = None, **options: object) -> bv.Design:
    return bv.Model(formula, frame() if data is None else data, **options).design


def explicit_Z(codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """All columns of level 1, then of level 2, and so on."""
    n, r = values.shape
    Z = np.zeros((n, (codes.max() + 1) * r))
    for i in range(n):
        for c in range(r):
            Z[i, codes[i] * r + c] = values[i, c]
    return Z


# --- X --------------------------------------------------------------------------------------------


def test_X_by_hand():
    d = frame()
    got = design("y ~ x + z + x:z + f + I(x^2) + (1|g)")
    assert got.fixed_names == ("Intercept", "x", "z", "f[a]", "f[c]", "I(x ** 2)", "x:z")
    columns = {
        "Intercept": np.ones(N),
        "x": d.x,
        "z": d.z,
        "x:z": d.x * d.z,
        "f[a]": d.f == "a",
        "f[c]": d.f == "c",
        "I(x ** 2)": d.x**2,
    }
    np.testing.assert_allclose(got.X, np.column_stack([columns[k] for k in got.fixed_names]))
    np.testing.assert_array_equal(got.y, d.y)


@pytest.mark.parametrize(
    "fixed",
    [
        "1",
        "0 + x",
        "x - 1",
        "x * z",
        "f * x",
        "0 + f",
        "poly(x, 3)",
        "bs(x, df=5)",
        "center(z)",
        "C(f, Sum)",
        "np.log(w) + exp(z)",
        "(x + z + w) ** 2",
    ],
)
def test_X_has_the_columns_of_formulae(fixed):
    """Where formulae has R's meaning: the same columns, those of interactions in R's order."""
    d = frame()
    d["f"] = d.f.cat.remove_unused_categories().cat.as_ordered()
    d["h"] = pd.Categorical(d.h, ordered=True)
    names = {"np": np, "exp": np.exp}
    theirs = design_matrices(f"y ~ {fixed}", d, extra_namespace=names).common.design_matrix
    got = list(design(f"y ~ {fixed} + (1|g)").X.T)
    assert len(got) == theirs.shape[1]
    for column in theirs.T:
        match = next(i for i, own in enumerate(got) if np.allclose(own, column, atol=1e-12))
        del got[match]


def test_an_interaction_without_its_parts_spans_what_formulae_has():
    """R codes both factors in full and drops what is determined; formulae codes otherwise."""
    got = design("y ~ f:h + (1|g)")
    ordered = frame().assign(f=lambda d: d.f.astype(str))
    theirs = np.asarray(design_matrices("y ~ f:h", ordered).common.design_matrix)
    assert got.X.shape == theirs.shape
    fit = got.X @ np.linalg.lstsq(got.X, theirs, rcond=None)[0]
    np.testing.assert_allclose(fit, theirs, atol=1e-12)


def test_scale_divides_by_the_sd_of_r():
    d = frame()
    x = design("y ~ scale(x) + (1|g)").X[:, 1]
    np.testing.assert_allclose(x, (d.x - d.x.mean()) / d.x.std(ddof=1))
    x = design("y ~ scale(x, scale=FALSE) + (1|g)").X[:, 1]
    np.testing.assert_allclose(x, d.x - d.x.mean())
    x = design("y ~ scale(x, center=FALSE) + (1|g)").X[:, 1]
    np.testing.assert_allclose(x, d.x / np.sqrt((d.x**2).sum() / (N - 1)))


@pytest.mark.parametrize(
    ("fixed", "names"),
    [
        ("f + x:f", ("Intercept", "f[a]", "f[c]", "f[b]:x", "f[a]:x", "f[c]:x")),
        ("x * f", ("Intercept", "x", "f[a]", "f[c]", "x:f[a]", "x:f[c]")),
        ("0 + f", ("f[b]", "f[a]", "f[c]")),
        ("poly(x, 2)", ("Intercept", "poly(x, 2)[1]", "poly(x, 2)[2]")),
        ("x.1 + log(w)", ("Intercept", "x.1", "log(w)")),
    ],
)
def test_names(fixed, names):
    assert design(f"y ~ {fixed} + (1|g)").fixed_names == names


def test_an_interaction_named_as_in_r_has_its_columns():
    d, got = frame(), design("y ~ f + x:f + (1|g)")
    for level in "bac":
        column = got.X[:, got.fixed_names.index(f"f[{level}]:x")]
        np.testing.assert_allclose(column, d.x * (d.f == level))


def test_nested_fixed_effects_as_in_r():
    d, got = frame(), design("y ~ f / x + (1|g)")
    assert got.fixed_names == ("Intercept", "f[a]", "f[c]", "f[b]:x", "f[a]:x", "f[c]:x")
    np.testing.assert_allclose(got.X[:, 3:], np.column_stack([d.x * (d.f == v) for v in "bac"]))


def test_poly_is_orthonormal_and_spans_the_powers():
    d, got = frame(), design("y ~ poly(x, 2) + (1|g)")
    np.testing.assert_allclose(got.X[:, 1:].T @ got.X[:, 1:], np.eye(2), atol=1e-12)
    np.testing.assert_allclose(got.X[:, 1:].sum(axis=0), 0, atol=1e-12)
    powers = np.column_stack([np.ones(N), d.x, d.x**2])
    fit = got.X @ np.linalg.lstsq(got.X, powers, rcond=None)[0]
    np.testing.assert_allclose(fit, powers, rtol=1e-9)


def test_aliased_columns_are_dropped_and_named():
    got = design("y ~ x + I(2 * x) + z + I(x - z) + (1|g)")
    assert got.fixed_names == ("Intercept", "x", "z")
    assert got.aliased == ("I(2 * x)", "I(x - z)")
    assert any("I(2 * x), I(x - z)" in note for note in got.notes)
    assert design("y ~ x + z + (1|g)").aliased == ()


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("offset(x)", lambda d: d.x),
        ("offset(2 * x)", lambda d: 2 * d.x),
        ("offset(log(w))", lambda d: np.log(d.w)),
        ("offset(x) + offset(z)", lambda d: d.x + d.z),
        pytest.param(
            "offset(log(w)) + offset(x)",
            lambda d: np.log(d.w) + d.x,
        ),
    ],
)
def test_offset(text, want):
    got = design(f"y ~ z + {text} + (1|g)")
    assert got.fixed_names == ("Intercept", "z")
    np.testing.assert_allclose(got.offset, want(frame()))
    np.testing.assert_allclose(got.target, got.y - got.offset)


@pytest.mark.parametrize(
    ("coding", "columns"),
    [
        ("C(f)", {"a": {"a": 1}, "c": {"c": 1}}),
        ("factor(f)", {"a": {"a": 1}, "c": {"c": 1}}),
        ("C(f, Sum)", {"b": {"b": 1, "c": -1}, "a": {"a": 1, "c": -1}}),
        ("T(f, 'a')", {"b": {"b": 1}, "c": {"c": 1}}),
        pytest.param(
            'C(f, Treatment("a"))',
            {"b": {"b": 1}, "c": {"c": 1}},
        ),
        pytest.param(
            "as.factor(f)",
            {"a": {"a": 1}, "c": {"c": 1}},
        ),
    ],
)
def test_codings(coding, columns):
    got = design(f"y ~ {coding} + (1|g)")
    assert [name.split("[")[1].rstrip("]") for name in got.fixed_names[1:]] == list(columns)
    for j, values in enumerate(columns.values(), start=1):
        want = [values.get(level, 0) for level in frame().f]
        np.testing.assert_array_equal(got.X[:, j], want)


def test_namespace_functions_and_values():
    got = design("y ~ twice(x) + I(k * z) + (1|g)", namespace={"twice": lambda v: 2 * v, "k": 3})
    np.testing.assert_allclose(got.X[:, 1], 2 * frame().x)
    np.testing.assert_allclose(got.X[:, 2], 3 * frame().z)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "Int64", "float32"])
@pytest.mark.parametrize("text", ["I(k^2)", "I(-k)", "I(k * 100)", "k:k2"])
def test_arithmetic_is_in_doubles_whatever_the_dtype(dtype, text):
    data = frame()
    k = np.tile([20, 40, 100, 60], 12).astype(float)
    data["k"], data["k2"] = k.astype(int), k[::-1].astype(int)
    data = data.astype({"k": dtype, "k2": dtype})
    want = {"I(k^2)": k**2, "I(-k)": -k, "I(k * 100)": 100 * k, "k:k2": k * k[::-1]}[text]
    np.testing.assert_allclose(design(f"y ~ {text} + (1|g)", data).X[:, 1], want)


# --- Z --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lhs", "columns", "values"),
    [
        ("1", ("Intercept",), lambda d: [np.ones(N)]),
        ("x", ("Intercept", "x"), lambda d: [np.ones(N), d.x]),
        ("0 + x", ("x",), lambda d: [d.x]),
        ("x + I(x**2)", ("Intercept", "x", "I(x ** 2)"), lambda d: [np.ones(N), d.x, d.x**2]),
        ("f", ("Intercept", "f[a]", "f[c]"), lambda d: [np.ones(N), d.f == "a", d.f == "c"]),
        ("0 + f", ("f[b]", "f[a]", "f[c]"), lambda d: [d.f == v for v in "bac"]),
        ("0 + f:x", ("f[b]:x", "f[a]:x", "f[c]:x"), lambda d: [(d.f == v) * d.x for v in "bac"]),
        ("x.1", ("Intercept", "x.1"), lambda d: [np.ones(N), d["x.1"]]),
    ],
)
def test_Z_by_hand(lhs, columns, values):
    d = frame()
    got = design(f"y ~ x + ({lhs} | g)")
    (term,) = got.terms
    assert term.columns == columns
    assert term.structure == Unstructured(len(columns))
    assert list(term.levels) == ["1", "2", "7", "8", "9", "10", "30", "100"]
    codes = np.searchsorted([1, 2, 7, 8, 9, 10, 30, 100], d.g)
    np.testing.assert_array_equal(term.codes, codes)
    want = explicit_Z(codes, np.column_stack(values(d)).astype(float))
    np.testing.assert_allclose(got.Z.toarray(), want)
    r = len(columns)
    assert list(got.effect_labels[: r + 1]) == [("g", "1", c) for c in columns] + [
        ("g", "2", columns[0])
    ]


@pytest.mark.parametrize(("lhs", "n"), [("poly(x, 2)", 2), ("bs(x, df=4)", 4)])
def test_stateful_transforms_on_the_left_side(lhs, n):
    got = design(f"y ~ {lhs} + ({lhs} | g)")
    (term,) = got.terms
    assert term.columns == got.fixed_names
    assert term.n_columns == n + 1
    np.testing.assert_array_equal(term.values, got.X)


def test_only_observed_pairs():
    d = frame()
    d["k"] = np.where(d.g > 8, "only", d.h)
    got = design("y ~ x + (1 | g/k)", d)
    inner, _ = got.terms
    pairs = {f"{k}:{g}" for k, g in zip(d.k, d.g, strict=True)}
    assert inner.group == "k:g"
    assert set(inner.levels) == pairs
    assert inner.n_levels == len(pairs) == 4 * 3 + 4
    assert [f"{k}:{g}" for k, g in zip(d.k, d.g, strict=True)] == list(inner.levels[inner.codes])
    assert got.Z.shape == (N, len(pairs) + 8)
    np.testing.assert_array_equal(got.Z.sum(axis=1), 2)
    assert any("k:g is nested in g" in note for note in got.notes)


def test_pairs_whose_labels_collide_are_refused():
    d = frame()
    d["a"], d["c"] = np.tile(["p:q", "p", "r"], 16), np.tile(["s", "q:s", "t"], 16)
    with pytest.raises(bv.DataError, match="same text"):
        design("y ~ x + (1 | a:c)", d)


@pytest.mark.parametrize("name", ["_x", ".x", "`a b`", "`3`"])
def test_unusual_column_names(name):
    d = frame().rename(columns={"x": 3 if name == "`3`" else name.strip("`")})
    got = design(f"y ~ {name} + ({name} | g)", d)
    np.testing.assert_array_equal(got.X[:, 1], frame()["x"])
    assert got.terms[0].columns[1] == name.strip("`")


def test_numbers_in_object_columns_are_numbers():
    d = frame()
    got = design("y ~ x + (x | g)", d.astype({"y": object, "x": object}))
    np.testing.assert_array_equal(got.X, design("y ~ x + (x | g)", d).X)


def test_terms_by_decreasing_levels_and_shared_factors_amalgamated():
    got = design("y ~ x + (z || h) + (1 | g) + (0 + x + z | g)")
    assert got.groups == ("g", "h")
    g, h = got.terms
    assert (g.columns, g.structure) == (("Intercept", "x", "z"), of_blocks(((0,), (1, 2))))
    assert (h.columns, h.structure) == (("Intercept", "z"), Diagonal(2))
    assert g.structure.mask.tolist() == [
        [True, False, False],
        [False, True, True],
        [False, True, True],
    ]
    assert got.Z.shape == (N, 8 * 3 + 3 * 2)
    np.testing.assert_array_equal(got.Z.toarray()[:, 24:], explicit_Z(h.codes, h.values))


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (pd.Categorical(["b", "a"] * 24, categories=["u", "b", "a"]), ["b", "a"]),
        (pd.Categorical(["b", "a"] * 24, categories=["a", "u", "b"], ordered=True), ["a", "b"]),
        (pd.Categorical([3, 1] * 24, categories=[3, 2, 1]), ["3", "1"]),
        (["b", "a"] * 24, ["a", "b"]),
        ([10, 9] * 24, ["9", "10"]),
        ([10.0, 9.0] * 24, ["9", "10"]),
        ([0.5, -1.5] * 24, ["-1.5", "0.5"]),
        ([True, False] * 24, ["False", "True"]),
    ],
)
def test_order_of_levels(values, levels):
    d = frame()
    d["k"] = values
    (term,) = design("y ~ x + (1 | k)", d).terms
    assert list(term.levels) == levels
    assert list(term.levels[term.codes]) == [str(v).removesuffix(".0") for v in values]


# --- rows, weights, data frames -------------------------------------------------------------------


def test_missing_and_infinite_rows_are_dropped_and_counted():
    d = frame().astype({"g": float})
    d.iloc[0, d.columns.get_loc("y")] = np.nan
    d.iloc[1, d.columns.get_loc("x")] = np.inf
    d.iloc[2, d.columns.get_loc("g")] = np.nan
    d.iloc[3, d.columns.get_loc("f")] = np.nan
    d.iloc[4, d.columns.get_loc("w")] = np.nan
    d.iloc[5, d.columns.get_loc("z")] = np.nan  # not used
    got = design("y ~ x + f + (x | g)", d, var_weights="w")
    assert list(got.rows) == list(range(5, N))
    assert list(got.row_labels) == list(range(1005, 1000 + N))
    assert (got.n, got.n_rows_given, got.n_dropped) == (N - 5, N, 5)
    (note,) = [note for note in got.notes if "dropped" in note]
    for text in ("1 in y", "1 in x", "1 in g", "1 in f", "1 in var_weights"):
        assert text in note
    np.testing.assert_array_equal(got.y, d.y[5:])
    np.testing.assert_array_equal(got.residual.weights, d.w[5:])


@pytest.mark.filterwarnings("ignore:invalid value encountered in log")
def test_rows_that_a_function_makes_nan_are_dropped():
    d = frame()
    bad = d.z < 0
    got = design("y ~ log(z) + (1 | g)", d)
    assert list(got.rows) == list(np.flatnonzero(~bad))
    assert f"{bad.sum()} in the evaluated formula" in got.notes[0]
    np.testing.assert_allclose(got.X[:, 1], np.log(d.z[~bad]))


def test_a_level_without_complete_rows_is_no_level():
    d = frame()
    d.loc[d.g == 10, "y"] = np.nan
    assert list(design("y ~ x + (1 | g)", d).terms[0].levels) == [
        "1",
        "2",
        "7",
        "8",
        "9",
        "30",
        "100",
    ]


def test_weights_by_name_array_or_series():
    d = frame()
    for given in ("w", d.w, d.w.to_numpy(), list(d.w)):
        np.testing.assert_array_equal(
            design("y ~ x + (1 | g)", d, var_weights=given).residual.weights, d.w
        )


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda d: pl.from_pandas(d.astype({"f": str})), id="polars"),
        pytest.param(
            lambda d: pl.from_pandas(d.astype({"f": str})).with_columns(
                pl.col("f").cast(pl.Enum(["b", "a", "c"]))
            ),
            id="polars-enum",
        ),
        pytest.param(lambda d: d.to_dict("list"), id="dict"),
        pytest.param(
            lambda d: pa.Table.from_pandas(d, preserve_index=False),
            id="pyarrow",
        ),
    ],
)
def test_any_data_frame_gives_the_same_design(convert, request):
    d = frame()
    d.loc[1003, "x"] = np.nan
    formula = "y ~ x * f + (x | g) + (1 | h)"
    got = design(formula, convert(d))
    if request.node.callspec.id in ("dict", "polars"):  # these do not keep categories
        d["f"] = d.f.astype(str)
    want = design(formula, d)
    np.testing.assert_array_equal(got.X, want.X)
    np.testing.assert_array_equal(got.y, want.y)
    np.testing.assert_array_equal(got.Z.toarray(), want.Z.toarray())
    assert (got.fixed_names, got.groups) == (want.fixed_names, want.groups)
    assert all(list(a.levels) == list(b.levels) for a, b in zip(got.terms, want.terms, strict=True))
    np.testing.assert_array_equal(got.rows, want.rows)


def test_awkward_column_names_and_an_index_that_repeats():
    d = frame().rename(columns={"x": "my col", "z": "_u", "w": "größe"})
    d.index = [0] * N
    got = design("y ~ `my col` + `_u` + größe + (`my col` | g)", d)
    assert got.fixed_names == ("Intercept", "my col", "_u", "größe")
    np.testing.assert_array_equal(got.X[:, 1:], d[["my col", "_u", "größe"]])
    assert got.terms[0].columns == ("Intercept", "my col")


def test_rows_in_another_order_are_the_same_rows():
    d = frame()
    order = np.random.default_rng(0).permutation(N)
    a, b = design("y ~ x + (x | g/h)", d), design("y ~ x + (x | g/h)", d.iloc[order])
    np.testing.assert_array_equal(b.X, a.X[order])
    np.testing.assert_array_equal(b.Z.toarray(), a.Z.toarray()[order])
    assert list(b.row_labels) == list(d.index[order])
