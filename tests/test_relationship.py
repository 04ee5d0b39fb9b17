"""Known relationships: pedigrees against the tabular method, matrices, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from bayesv.errors import DataError
from bayesv.structures.pedigree import pedigree
from bayesv.structures.relationship import known_relationship, relationship_of

HERE = Path(__file__).parent / "references" / "structures"


def tabular(sires, dams):
    """A of individuals who stand after their parents, element by element."""
    n = len(sires)
    A = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            A[i, j] = A[j, i] = 0.5 * sum(A[j, p] for p in (sires[i], dams[i]) if p >= 0)
        both = sires[i] >= 0 and dams[i] >= 0
        A[i, i] = 1.0 + (0.5 * A[sires[i], dams[i]] if both else 0.0)
    return A


def random_pedigree(rng, n, width):
    """Parents among the last few before, so that inbreeding builds up."""
    sires, dams = np.full(n, -1), np.full(n, -1)
    for i in range(2, n):
        low = max(0, i - width)
        sires[i], dams[i] = rng.integers(low, i, 2)
        if rng.uniform() < 0.15:
            sires[i] = -1
        if rng.uniform() < 0.15:
            dams[i] = -1
    return sires, dams


def frame(sires, dams, order):
    name = [f"a{i}" for i in range(len(sires))]
    cells = [[name[p] if p >= 0 else None for p in parents] for parents in (sires, dams)]
    return pd.DataFrame({"id": name, "sire": cells[0], "dam": cells[1]}).iloc[order]


@given(seed=st.integers(0, 10_000), n=st.integers(1, 40), width=st.integers(2, 20))
@settings(max_examples=60, deadline=None)
def test_relationships_are_those_of_the_tabular_method(seed, n, width):
    rng = np.random.default_rng(seed)
    sires, dams = random_pedigree(rng, n, width)
    A = tabular(sires, dams)
    ped = pedigree(frame(sires, dams, rng.permutation(n)))
    chosen = rng.permutation(n)[: rng.integers(1, n + 1)]
    levels = [f"a{i}" for i in chosen]
    np.testing.assert_allclose(ped.among(levels), A[np.ix_(chosen, chosen)], atol=1e-12)
    np.testing.assert_allclose(ped.inbreeding[ped.places(levels)], np.diag(A)[chosen] - 1)
    root = ped.of(levels).root.matrix.toarray()
    np.testing.assert_allclose(root @ root.T, A[np.ix_(chosen, chosen)], atol=1e-9)


def test_relatives_have_the_known_coefficients():
    ped = pedigree(
        {
            "id": ["child", "half", "full", "inbred", "selfed", "pa", "ma"],
            "sire": ["pa", "pa", "pa", "child", "pa", "", ""],
            "dam": ["ma", None, "ma", "full", "pa", "0", np.nan],
        }
    )
    A = ped.among(["pa", "ma", "child", "full", "half", "inbred", "selfed"])
    assert A[0].tolist() == [1.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1.0]
    assert A[2, 3] == 0.5
    assert A[2, 4] == 0.25
    assert A[5, 5] == 1.25
    assert A[6, 6] == 1.5


def test_labels_are_read_whatever_their_type():
    rows = {"id": [3, 1, 2], "sire": [1.0, np.nan, np.nan], "dam": [2.0, np.nan, np.nan]}
    expected = [[1.0, 0.5], [0.5, 1.0]]
    assert pedigree(pd.DataFrame(rows)).among(["1", "3"]).tolist() == expected
    texts = pl.DataFrame({"who": ["3", "1"], "pa": ["1", None], "ma": [None, None]})
    assert pedigree(texts, id="who", sire="pa", dam="ma").among(["1", "3"]).tolist() == expected


def test_zero_may_be_a_name():
    ped = pedigree({"id": ["0", "1"], "sire": ["", "0"], "dam": ["", ""]})
    assert ped.among(["0", "1"]).tolist() == [[1.0, 0.5], [0.5, 1.0]]


def test_parents_without_a_row_are_founders():
    ped = pedigree({"id": ["x", "y"], "sire": ["s", "s"], "dam": ["d", "e"]})
    assert ped.labels == ("x", "y", "s", "d", "e")
    assert ped.among(["x", "y"]).tolist() == [[1.0, 0.25], [0.25, 1.0]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"id": ["a", "b", "a"], "sire": [""] * 3, "dam": [""] * 3}, "more than one row for 'a'"),
        ({"id": ["a", None], "sire": [""] * 2, "dam": [""] * 2}, "no value in row 2"),
        ({"id": ["a"], "sir": [""], "dam": [""]}, "no column 'sire'; did you mean 'sir'"),
        ({"id": ["a"], "sire": ["a"], "dam": [""]}, "'a' is a child of 'a'"),
        (
            {"id": ["a", "b", "c", "d"], "sire": ["b", "c", "a", "c"], "dam": [""] * 4},
            "its own ancestor: 'a' is a child of 'b', 'b' is a child of 'c', 'c' is a child of 'a'",
        ),
    ],
)
def test_pedigrees_that_are_none(rows, message):
    with pytest.raises(DataError, match=message):
        pedigree(rows)


def test_levels_without_a_row():
    ped = pedigree({"id": ["cow1", "cow2"], "sire": ["", ""], "dam": ["", ""]})
    with pytest.raises(DataError, match=r"no row for 1 of 2 levels: 'cow3'; did you mean 'cow"):
        ped.among(["cow1", "cow3"])


# --- matrices -------------------------------------------------------------------------------------

K = np.array([[1.0, 0.5, 0.2], [0.5, 2.0, 0.0], [0.2, 0.0, 1.5]])


def test_matrices_are_read_by_their_labels():
    order = [2, 0, 1]
    shuffled = pd.DataFrame(K, index=list("abc"), columns=list("abc"))[["c", "a", "b"]]
    for given_as in (
        known_relationship(shuffled),
        known_relationship(K, "abc"),
        known_relationship(sparse.coo_array(K), "abc"),
    ):
        assert given_as.among(["c", "a", "b"]).tolist() == K[np.ix_(order, order)].tolist()
        root = given_as.of(["b", "c"]).root.matrix.toarray()
        np.testing.assert_allclose(root @ root.T, K[1:, 1:], atol=1e-14)
    numbers = known_relationship(pd.DataFrame(K, index=[1.0, 2.0, 3.0], columns=[1, 2, 3]))
    assert numbers.among(["3"]).tolist() == [[1.5]]


def test_relationships_are_given_in_several_ways():
    ped = pedigree({"id": ["a", "b"], "sire": ["", "a"], "dam": ["", ""]})
    assert relationship_of(ped) is ped
    for value in (
        (K, list("abc")),
        [sparse.csr_matrix(K), np.array(list("abc"))],
        pd.DataFrame(K, index=list("abc"), columns=list("abc")),
    ):
        assert relationship_of(value).among(["a", "b", "c"]).tolist() == K.tolist()
    with pytest.raises(DataError, match="needs the labels"):
        relationship_of(K)


def test_matrices_of_lower_rank():
    singular = known_relationship(np.ones((4, 4)), "abcd")
    root = singular.of(["a", "b", "c"]).root.matrix.toarray()
    assert root.shape == (3, 1)
    np.testing.assert_allclose(root @ root.T, np.ones((3, 3)))


@pytest.mark.parametrize(
    ("matrix", "labels", "message"),
    [
        (K, None, "needs the labels"),
        (K, "ab", r"shape \(3, 3\), and there are 2 labels"),
        (K, "aba", "more than one row for 'a'"),
        (K - 1.2 * np.eye(3), "abc", "-0.2 on its diagonal, at 'a'"),
        (K + np.diag([0.3, 0.0], 1), "abc", "'a' with 'b' has 0.8, and the other way round 0.5"),
        (sparse.csr_matrix(K + np.diag([0.3, 0.0], 1)), "abc", "not symmetric: 'a' with 'b'"),
        (np.where(np.eye(3) > 0, K, 1.4), "abc", "smallest eigenvalue is -0"),
        (np.where(np.eye(3) > 0, K, np.nan), "abc", "missing or infinite"),
        (pd.DataFrame(K, index=list("abd"), columns=list("abc")), None, "'c', 'd' are in one"),
        (pd.DataFrame(K, index=list("abc"), columns=list("abb")), None, "column for 'b'"),
    ],
)
def test_matrices_that_are_none(matrix, labels, message):
    with pytest.raises(DataError, match=message):
        known_relationship(matrix, labels)


# --- an animal model of lme4 ----------------------------------------------------------------------


def test_criterion_of_an_animal_model_is_that_of_lme4():
    """A by the pedigree, in V built dense: −2 log restricted likelihood and rows of V."""
    reference = json.loads((HERE / "animal_model.json").read_text())
    data = pd.read_csv(HERE / "animals.csv")
    ped = pedigree(pd.read_csv(HERE / "pedigree.csv"))
    data = data[data["y2"].notna()]
    V = reference["sigma2"] * np.eye(len(data))
    for term in reference["G"]:
        codes, levels = pd.factorize(data[term["group"]].astype(str))
        relation = ped.among(list(levels)) if "K" in term else np.eye(len(levels))
        V += term["Sigma"][0][0] * relation[np.ix_(codes, codes)]
    rows = reference["V_head"]["rows"]
    np.testing.assert_allclose(V[:rows, :rows], reference["V_head"]["V"], rtol=1e-12)
    X = np.column_stack([np.ones(len(data)), data["sex"] == "M", data["t"]])
    inverse = np.linalg.inv(V)
    information = X.T @ inverse @ X
    beta = np.linalg.solve(information, X.T @ inverse @ data["y2"])
    np.testing.assert_allclose(beta, list(reference["beta"].values()), rtol=1e-7)
    rest = data["y2"] - X @ beta
    logdets = np.linalg.slogdet(V)[1] + np.linalg.slogdet(information)[1]
    free = len(data) - X.shape[1]
    criterion = free * np.log(2 * np.pi) + logdets + rest @ inverse @ rest
    assert criterion == pytest.approx(reference["criterion"], abs=1e-6)


def test_blocks_of_columns_are_those_of_the_whole(monkeypatch):
    sires, dams = random_pedigree(np.random.default_rng(5), 30, 8)
    ped = pedigree(frame(sires, dams, np.arange(30)))
    levels = [f"a{i}" for i in range(5, 28)]
    whole = ped.among(levels)
    monkeypatch.setattr(sys.modules[type(ped).__module__], "_BLOCK", 100)
    np.testing.assert_array_equal(ped.among(levels), whole)
