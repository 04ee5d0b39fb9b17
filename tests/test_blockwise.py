"""Residuals correlated within clusters against dense algebra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import bayesv as bv
from bayesv.design.blockwise import Blockwise


@pytest.fixture(params=[1, 2, 3])
def case(request):
    rng = np.random.default_rng(request.param)
    n = 23
    codes = rng.permutation(np.repeat([7, 2, 9, 4, 5], [5, 5, 1, 8, 4]))
    root = rng.normal(size=(n, n)) + 3 * np.eye(n)
    dense = (root @ root.T) * (codes[:, None] == codes)
    residual = Blockwise.of(codes, lambda rows: dense[rows[:, :, None], rows[:, None, :]])
    return residual, dense, rng


def test_matrix_determinant_and_blocks_are_dense_ones(case):
    residual, dense, rng = case
    np.testing.assert_allclose(residual.matrix.toarray(), dense)
    np.testing.assert_allclose(residual.diagonal, np.diagonal(dense))
    assert residual.log_det == pytest.approx(np.linalg.slogdet(dense)[1])
    rows = rng.permutation(residual.size)[:12].reshape(3, 4)
    expected = dense[rows[:, :, None], rows[:, None, :]]
    np.testing.assert_allclose(residual.block(rows), expected)
    np.testing.assert_allclose(residual.block(rows[0]), expected[0])


def test_two_halves_make_the_inverse(case):
    residual, dense, rng = case
    x = rng.normal(size=(residual.size, 3))
    twice = residual.whiten(residual.whiten(x), transposed=True)
    np.testing.assert_allclose(twice, np.linalg.solve(dense, x), atol=1e-10)
    np.testing.assert_allclose(residual.whiten(x)[:, 1], residual.whiten(x[:, 1]))
    for transposed in (False, True):
        dense_result = residual.whiten(x, transposed=transposed)
        sparse_result = residual.whiten(sparse.csr_array(x), transposed=transposed)
        np.testing.assert_allclose(sparse_result.toarray(), dense_result, atol=1e-12)


def test_drawing_undoes_whitening(case):
    residual, _, rng = case
    scores = rng.normal(size=(residual.size, 2))
    np.testing.assert_allclose(residual.whiten(residual.draw(scores)), scores, atol=1e-10)
    np.testing.assert_allclose(residual.draw(scores[:, 0]), residual.draw(scores)[:, 0])


def test_some_rows_keep_their_covariance(case):
    residual, dense, rng = case
    rows = rng.permutation(residual.size)[:9]
    np.testing.assert_allclose(residual.take(rows).matrix.toarray(), dense[np.ix_(rows, rows)])


def test_a_singular_block_is_refused():
    with pytest.raises(bv.DataError, match="singular"):
        Blockwise.of(np.zeros(3, dtype=int), lambda rows: np.ones((1, 3, 3)))
