"""How far V̂ is from the covariance that the data came from, cluster by cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayesv.covariance import VarianceComponents, v_distances
from bayesv.covariance.clusters import row_batches, v_blocks
from bayesv.design.design import Design
from bayesv.linalg import Array, connected
from bayesv.study.simulation.replicate import Truth

__all__ = ["LOSSES", "Losses"]

LOSSES = ("stein", "affine_invariant", "frobenius")
_ROWS_WITHOUT_Z = 400  # rows of a cluster up to which dense blocks are as fast as going through Z
_MOST_ROWS_DENSE = 5_000  # rows of a cluster whose dense block is still formed


class Losses:
    """Losses of V̂ against the truth's V, for one design.

    Parameters
    ----------
    design : Design
        With its rows.
    truth : Truth
    also : sequence of Design
        Of the same rows: what they connect is in one cluster.

    Notes
    -----
    With ℓ the eigenvalues of V⁻¹V̂: ``stein`` is tr(V⁻¹V̂) − log|V⁻¹V̂| − n, twice
    KL(N(0, V̂) ‖ N(0, V)) (James and Stein 1961); ``affine_invariant`` is (Σ log²ℓ)^½; ``frobenius``
    is ‖V̂ − V‖/‖V‖. They are taken on V, and so exist for singular fits; and against the covariance
    of the simulated response itself, whether or not the fitted model can represent it. NaN, with
    the reason in ``missing``, for clusters too large for a dense block where there is no other way.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> fit = model.reml()
    >>> V = fit.gls.V.to_sparse()
    >>> losses = Losses(model.design, Truth(fit.beta, fit.components, lambda: 2 * V))
    >>> round(losses(fit.components)["frobenius"], 6)
    0.5
    """

    def __init__(self, design: Design, truth: Truth, also: Sequence[Design] = ()) -> None:
        self.design, self.truth = design, truth
        V = sparse.coo_array(truth.V)
        cluster = self.cluster = _clusters([design, *also], V)
        sizes = np.bincount(cluster)
        largest = int(sizes.max())
        plain = design.residual.iid
        self.through_Z = largest > _ROWS_WITHOUT_Z and truth.well_specified and plain and not also
        self.missing = ""  # why there are none
        if largest > _MOST_ROWS_DENSE and not self.through_Z:
            self.missing = (
                f"not computed: a cluster has {largest:,} rows, more than {_MOST_ROWS_DENSE:,}"
            )
        if self.through_Z or self.missing:
            return
        place, local = np.empty(design.n, dtype=int), np.empty(design.n, dtype=int)
        self.batches = []
        for rows in row_batches(cluster):
            m = rows.shape[1]
            place[:] = -1
            place[rows] = np.arange(len(rows))[:, None]
            local[rows] = np.arange(m)
            i, j = V.coords
            here = place[i] >= 0
            block = np.zeros((len(rows), m, m))
            np.add.at(block, (place[i[here]], local[i[here]], local[j[here]]), V.data[here])
            self.batches.append((rows, block, np.linalg.cholesky(block)))

    def covers(self, designs: Sequence[Design]) -> bool:
        """Whether rows that one of the designs connects are in one cluster of these losses."""
        if self.through_Z:
            return False
        pairs = [np.unique(np.stack([d.clusters, self.cluster]), axis=1) for d in designs]
        return all(len(np.unique(pair[0])) == pair.shape[1] for pair in pairs)

    def __call__(self, vc: VarianceComponents) -> dict[str, float]:
        """Return the losses of V at variance components of the design."""
        if self.through_Z and not self.missing:
            distances = v_distances(self.design, self.truth.components, vc)
            return {name: distances[name] for name in LOSSES}
        return self.of_mean([(self.design, vc)], np.ones(1))

    def of_mean(
        self, parts: Sequence[tuple[Design, VarianceComponents]], weights: Array
    ) -> dict[str, float]:
        """Return the losses of the weighted mean of V̂ of several designs of the same rows.

        NaN with the reason in ``missing``. Of designs that are covered, see `covers`.
        """
        if self.missing:
            return dict.fromkeys(LOSSES, float("nan"))
        stein = square = gap = size = 0.0
        each = [
            (weight, design.at(vc), vc) for weight, (design, vc) in zip(weights, parts, strict=True)
        ]
        for rows, block, L in self.batches:
            estimate = sum(weight * v_blocks(design, vc, rows) for weight, design, vc in each)
            half = np.linalg.solve(L, estimate)
            ratio = np.linalg.eigvalsh(np.linalg.solve(L, np.swapaxes(half, 1, 2)))
            log = np.log(ratio)
            stein += float((ratio - 1.0 - log).sum())
            square += float((log**2).sum())
            gap += float(((estimate - block) ** 2).sum())
            size += float((block**2).sum())
        return {
            "stein": max(stein, 0.0),
            "affine_invariant": float(np.sqrt(square)),
            "frobenius": float(np.sqrt(gap / size)),
        }


def _clusters(designs: Sequence[Design], V: Any) -> NDArray[np.intp]:
    """Cluster of each row: what is connected by shared levels or by the truth's V."""
    n, K = designs[0].n, len(designs)
    rows = np.concatenate([*[np.arange(n)] * K, V.coords[0]])
    nodes = [n * (k + 1) + design.clusters for k, design in enumerate(designs)]
    return connected((K + 1) * n, rows, np.concatenate([*nodes, V.coords[1]]))[:n]
