"""V = Z G Z' + R as an operator: never inverted, never dense unless asked."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, splu

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.dense_factor import DenseFactor
from bayesv.covariance.iterative_factor import IterativeFactor, crossed_columns
from bayesv.design.design import Design, DesignSummary
from bayesv.design.parametric import rows_of_level
from bayesv.errors import ComponentsError, DataError, FitWarning, MemoryNeededError, warn
from bayesv.gram import DENSE_COLUMNS, eliminate, statistics_of
from bayesv.linalg import Array
from bayesv.support.arguments import accepts, numeric, whole
from bayesv.support.memory import refuse_unless
from bayesv.support.shown import Part, Shown

__all__ = ["MarginalCovariance", "expand_G", "residual_R"]

_UNCERTAIN = 1e-3  # standard error of log|V| that is told
_DENSE_SHARE = 0.2  # of elements of N that are not 0, above which M is dense, as of related levels

DENSE_LIMIT = 10_000
"""Most rows for which `MarginalCovariance.to_dense` answers without being told twice."""


def expand_G(design: Design, vc: VarianceComponents) -> sparse.csr_array:
    """Return G, the covariance of all random effects, sparse of shape (q, q).

    Parameters
    ----------
    design : Design
    vc : VarianceComponents

    Returns
    -------
    scipy.sparse.csr_array
        blockdiag over terms of I ⊗ Σ_f, or K ⊗ Σ_f where levels are related by K, in the order
        of Z's columns.
    """
    vc = _checked(design, vc)
    between = [
        sparse.eye_array(term.n_levels)
        if term.related is None
        else sparse.csr_array(term.related.K)
        for term in design.terms
    ]
    return _products(between, [vc.block_for(term) for term in design.terms])


def residual_R(design: Design, vc: VarianceComponents) -> sparse.sparray:
    """Return R, σ² diag(1/w) where residuals are independent, sparse of shape (n, n)."""
    vc = _checked(design, vc)
    return vc.sigma2 * design.at(vc).residual.matrix


class Factor(Protocol):
    """What solves with M = I + N'N and has |M|: SciPy's sparse LU, or a dense root."""

    def solve(self, b: Array) -> Array:
        """Return M⁻¹b."""

    @property
    def U(self) -> sparse.sparray:
        """The upper factor, whose diagonal's product is |M|."""


class MarginalCovariance(LinearOperator, Shown):
    """The marginal covariance V = Z G Z' + R of the data.

    Parameters
    ----------
    design : Design
        n rows, q random effects.
    vc : VarianceComponents
        Σ_f for every term of the design, and σ².

    Raises
    ------
    ComponentsError
        If the components do not fit the design.

    Notes
    -----
    With G = σ² ΛΛ' and R = σ² LL', all of V⁻¹ and log|V| come from one sparse factorisation of
    M = I + N'N, N = L⁻¹ZΛ, which exists for singular G too:
    V⁻¹ = L'⁻¹(I − N M⁻¹ N')L⁻¹/σ² and log|V| = log|M| + log|R|.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> vc = bv.VarianceComponents({"Subject": [[612.10, 9.604], [9.604, 35.07]]}, sigma2=654.94)
    >>> V = bv.MarginalCovariance(model.design, vc)
    >>> V.shape, round(V.logdet(), 3)
    ((180, 180), 1243.178)
    """

    def __init__(self, design: Design, vc: VarianceComponents) -> None:
        self.vc = _checked(design, vc)
        self.design = design
        self.residual = design.at(self.vc).residual
        super().__init__(dtype=np.dtype(float), shape=(design.n, design.n))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what defines V: factorisations cannot be copied and are made again."""
        return type(self), (self.design, self.vc)

    # --- operator ---------------------------------------------------------------------------------

    @cached_property
    def G(self) -> sparse.csr_array:
        """Covariance of the random effects, sparse (q, q)."""
        return expand_G(self.design, self.vc)

    @cached_property
    def R(self) -> sparse.csr_array:
        """Covariance of the residuals, sparse (n, n)."""
        return sparse.csr_array(residual_R(self.design, self.vc))

    def _matmat(self, X: Array) -> Array:
        Z = self.design.Z
        return np.asarray(Z @ (self.G @ (Z.T @ X)) + self.R @ X)

    def _matvec(self, x: Array) -> Array:
        return self._matmat(np.reshape(x, (-1, 1))).reshape(np.shape(x))

    def _adjoint(self) -> MarginalCovariance:
        return self

    # --- solves -----------------------------------------------------------------------------------

    @cached_property
    def root_of_G(self) -> sparse.csr_array:
        """Λ with G = σ²ΛΛ', sparse (q, q)."""
        terms = self.design.terms
        roots = [self.vc.relative_root(term) for term in terms]
        between = [
            sparse.eye_array(term.n_levels) if term.related is None else term.related.root.matrix
            for term in terms
        ]
        return _products(between, roots)

    @cached_property
    def white_root(self) -> sparse.csr_array:
        """N = L⁻¹ZΛ with R = σ²LL', shape (n, q): V = σ²L(NN' + I)L'."""
        return sparse.csr_array(self.residual.whiten(self.design.Z @ self.root_of_G))

    @cached_property
    def factor(self) -> Factor | IterativeFactor:
        """LU of M = I + N'N > 0 without pivoting, so that U's diagonal is D of LDL'."""
        related = any(term.related is not None for term in self.design.terms)
        if related and self.white_root.nnz > _DENSE_SHARE * np.prod(self.white_root.shape):
            return DenseFactor.of(self.white_root)
        if not related and crossed_columns(self.design) > DENSE_COLUMNS:
            return IterativeFactor.of(self.design, self.white_root)
        M = sparse.csc_array(
            self.white_root.T @ self.white_root + sparse.eye_array(self.white_root.shape[1])
        )
        try:
            factor: Factor = splu(
                M,
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
        except MemoryError as error:
            raise MemoryNeededError(
                f"The factors of M = I + Λ'Z'WZΛ, of {M.shape[0]:,} random effects, take more "
                "memory than there is: grouping factors are crossed, and fill it. Leave out the "
                "crossed factor with the most levels, or merge levels of it."
            ) from error
        except (RuntimeError, ValueError) as error:
            raise ComponentsError(
                "V cannot be factored in double precision; the variances of the random effects "
                f"are too large beside sigma2={self.vc.sigma2:g} ({error})."
            ) from error
        return factor

    def solve(self, b: ArrayLike) -> Array:
        """Return V⁻¹ b for b of shape (n,) or (n, k)."""
        try:
            b = np.asarray(b, dtype=float)
        except (TypeError, ValueError, OverflowError):
            raise DataError("b must be an array of numbers.") from None
        if b.shape[:1] != (self.design.n,) or b.ndim > 2:
            raise DataError(
                f"b has shape {b.shape}; V has {self.design.n} rows: needed is (n,) or (n, k)."
            )
        whiten = self.residual.whiten
        white = whiten(b)
        if not self.design.terms:
            return np.asarray(whiten(white, transposed=True) / self.vc.sigma2)
        inner = white - self.white_root @ self.factor.solve(self.white_root.T @ white)
        return np.asarray(whiten(inner, transposed=True) / self.vc.sigma2)

    def logdet(self) -> float:
        """Return log|V|.

        Warns
        -----
        FitWarning
            If it is a mean over probes, of crossed factors with so many levels that M's factor
            would fill: with its standard error.
        """
        of_R = self.design.n * np.log(self.vc.sigma2) + self.residual.log_det
        if not self.design.terms:
            return float(of_R)
        if isinstance(self.factor, IterativeFactor):
            return float(self._logdet_of_sums + of_R)
        return float(np.log(np.abs(self.factor.U.diagonal())).sum() + of_R)

    @cached_property
    def _logdet_of_sums(self) -> float:
        """log|M| from Gram statistics, exact or by probes."""
        stats = statistics_of(self.design.at(self.vc))
        roots = [self.vc.relative_root(term) for term in self.design.terms]
        done = eliminate(stats, stats.in_basis(roots))
        if done.logdet_se > _UNCERTAIN:
            warn(
                f"log|V| of crossed grouping factors with so many levels is a mean over "
                f"{len(done.logs)} probes, with a standard error of {done.logdet_se:.2g}.",
                FitWarning,
            )
        return done.logdet

    @accepts(b=numeric)
    def quadratic(self, b: ArrayLike) -> Array:
        """Return b'V⁻¹b: a number for b of shape (n,), else (k, k)."""
        b = np.asarray(b, dtype=float)
        return np.asarray(b.T @ self.solve(b))

    # --- elements ---------------------------------------------------------------------------------

    def diagonal(self) -> Array:
        """Return Var(y_i), shape (n,)."""
        Z, residual = self.design.Z, self.residual
        random = np.asarray((Z @ self.G).multiply(Z).sum(axis=1)).ravel()
        return np.asarray(random + self.vc.sigma2 * residual.diagonal)

    def trace(self) -> float:
        """Return the trace of V."""
        return float(self.diagonal().sum())

    def to_sparse(self) -> sparse.csr_array:
        """Return V as a sparse matrix; zero where rows share no level."""
        counts = [np.bincount(term.codes).astype(float) for term in self.design.terms]
        refuse_unless(
            2.0 * 16.0 * (self.design.n + sum(float(c @ c) for c in counts)),
            "The sparse V, with an entry for each two rows that share a level,",
            "Use V @ x, V.solve(b), V.diagonal() or V.block(group, level), which do not form it.",
        )
        Z = self.design.Z
        V = sparse.csr_array(Z @ self.G @ Z.T + self.R)
        V.sort_indices()
        return V

    @accepts(limit=whole(0))
    def to_dense(self, limit: int = DENSE_LIMIT) -> Array:
        """Return V as an array of shape (n, n).

        Parameters
        ----------
        limit : int
            Most rows to allow; V takes 8 n² bytes.

        Raises
        ------
        DataError
            If n exceeds the limit.
        MemoryNeededError
            If there is less memory than V takes.
        """
        if self.design.n > limit:
            raise DataError(
                f"V has {self.design.n} rows and would take {8 * self.design.n**2 / 1e9:.1f} GB "
                "dense. Use to_sparse(), block() or V @ x, or pass a higher limit."
            )
        refuse_unless(
            8.0 * self.design.n**2,
            f"V of {self.design.n:,} rows, dense,",
            "Use to_sparse(), block() or V @ x.",
        )
        return np.asarray(self.to_sparse().toarray())

    def rows(self, positions: ArrayLike) -> pd.DataFrame:
        """Return the labelled dense V of chosen rows.

        Parameters
        ----------
        positions : array_like of int
            Positions among the design's rows.
        """
        places = np.asarray(positions)
        n = self.design.n
        whole = places.ndim == 1 and (places.size == 0 or np.issubdtype(places.dtype, np.integer))
        if not whole or (places.size and not (-n <= places.min() and places.max() < n)):
            raise DataError(f"positions must be a list of integers below {n}; found {positions!r}.")
        if len(places) > DENSE_LIMIT:
            raise DataError(
                f"{len(places):,} rows are too many for a dense block of V (at most "
                f"{DENSE_LIMIT:,}). V.rows(positions) has the block of some of them, and V @ x, "
                "V.solve(b) and V.diagonal() need no block."
            )
        Z = self.design.Z[places]
        block = (Z @ self.G @ Z.T).toarray() + self.vc.sigma2 * self.residual.block(places)
        labels = self.design.row_labels[places]
        return pd.DataFrame(block, labels, labels)

    def block(self, group: str, level: object) -> pd.DataFrame:
        """Return V of the rows of one level, labelled by the user's row labels.

        Examples
        --------
        ``V.block("Subject", "308")`` is the 10 × 10 covariance of one subject's days.
        """
        return self.rows(self.rows_of(group, level))

    def corr_block(self, group: str, level: object) -> pd.DataFrame:
        """Return the marginal correlation of the rows of one level."""
        block = self.block(group, level)
        sd = np.sqrt(np.diagonal(block))
        return block / np.outer(sd, sd)

    def rows_of(self, group: str, level: object) -> NDArray[np.intp]:
        """Return the positions of the rows of one level, or of one series of residuals."""
        return rows_of_level(self.design, group, level)

    @property
    def clusters(self) -> NDArray[np.intp]:
        """Cluster of each row, shape (n,); see `Design.clusters`."""
        return self.design.clusters

    def __repr__(self) -> str:
        return (
            f"<MarginalCovariance {self.shape[0]}×{self.shape[1]} of {self.design.formula!r}, "
            f"sigma2={self.vc.sigma2:.5g}>"
        )

    def _shown(self) -> tuple[Part, ...]:
        n = self.shape[0]
        return f"V = ZGZ' + R, {n} × {n}, of {self.design.formula}, at", self.vc


def _checked(design: Any, vc: VarianceComponents) -> VarianceComponents:
    """Return components in the design's order, or say what was passed instead."""
    if not isinstance(design, Design):
        if isinstance(design, DesignSummary):
            _ = design.rows  # raises an error that says why there are none
        raise DataError(f"A bv.Design is needed (model.design), found {type(design).__name__}.")
    if not isinstance(vc, VarianceComponents):
        raise ComponentsError(
            f"bv.VarianceComponents are needed, found {type(vc).__name__}; build them with "
            "bv.VarianceComponents({group: matrix}, sigma2=…)."
        )
    return vc.aligned(design)


def _products(between: list[sparse.sparray], within: list[Array]) -> sparse.csr_array:
    """Return blockdiag over terms of what is between levels ⊗ what is within each."""
    if not within:
        return sparse.csr_array((0, 0))
    parts = [sparse.kron(*pair, format="csr") for pair in zip(between, within, strict=True)]
    return sparse.csr_array(sparse.block_diag(parts, format="csr"))
