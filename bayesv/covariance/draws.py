"""Points and draws of everything that V and the mean are functions of: Σ_f, σ² and β."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bayesv.covariance.blocks import Block
from bayesv.covariance.components import VarianceComponents
from bayesv.design.design import Design
from bayesv.design.structured import Parameters
from bayesv.errors import BayesvError
from bayesv.linalg import Array, psd_root

__all__ = ["ComponentDraws"]


@dataclass(frozen=True, eq=False, init=False)
class ComponentDraws:
    """Values of (Σ_f, σ², β) of a design: one, or many along leading axes.

    Parameters
    ----------
    design : Design
        Whose terms and fixed effects they are; its rows are not looked at.
    covs : mapping of group to array_like, shape (..., r_f, r_f)
        In the order of the design's columns.
    sigma2 : array_like, shape (...)
    beta : array_like, shape (..., p), optional
        NaN where it is not known; all of it if left out.
    residual : Parameters, optional
        Of structured residuals, with SDs over σ: σ² is the mean of the labelled variances. None
        where R/σ² is known.

    Attributes
    ----------
    covs : dict of str to ndarray
        In the order of the design's terms.

    Raises
    ------
    BayesvError
        If a group is missing, or shapes do not match.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> draws = model.sample(seed=1).values
    >>> draws.shape, draws.every(100).shape, draws.flat.shape, draws.take((0, 3)).shape
    ((4, 1000), (4, 10), (4000,), ())
    >>> [lam.shape for lam in draws.relative_roots()]
    [(4, 1000, 2, 2)]
    """

    design: Design
    covs: Mapping[str, Array]
    sigma2: Array
    beta: Array
    residual: Parameters | None

    def __init__(
        self,
        design: Design,
        covs: Mapping[str, ArrayLike],
        sigma2: ArrayLike,
        beta: ArrayLike | None = None,
        residual: Parameters | None = None,
    ) -> None:
        sigma2 = np.asarray(sigma2, dtype=float)
        shape = sigma2.shape
        beta = np.full((*shape, design.p), np.nan) if beta is None else np.asarray(beta, float)
        if beta.shape != (*shape, design.p):
            raise BayesvError(
                f"Draws of β have shape {beta.shape}; needed is {(*shape, design.p)}."
            )
        arrays = {}
        for term in design.terms:
            if term.group not in covs:
                raise BayesvError(
                    f"There are no draws of Σ for {term.group!r}, only for {', '.join(covs)}."
                )
            cov = arrays[term.group] = np.asarray(covs[term.group], dtype=float)
            needed = (*shape, term.n_columns, term.n_columns)
            if cov.shape != needed:
                raise BayesvError(
                    f"Draws of Σ for {term.group!r} have shape {cov.shape}; needed is {needed}."
                )
        if residual is not None and residual.sds.shape[:-1] != shape:
            raise BayesvError(
                f"Draws of the residuals' SDs have shape {residual.sds.shape}; needed are the "
                f"leading axes {shape}."
            )
        fields = {
            "design": design, "covs": arrays, "sigma2": sigma2, "beta": beta, "residual": residual,
        }  # fmt: skip
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(
        cls, design: Design, vc: VarianceComponents, beta: ArrayLike | None = None
    ) -> ComponentDraws:
        """Return the one point, shape (), of variance components and β, (p,) in design's order.

        Where residuals have parameters, the point is one of the design with R as they say.

        Raises
        ------
        ComponentsError
            If the components do not fit the design.
        """
        design, vc = vc.known_at(design)
        covs = {term.group: vc.block_for(term) for term in design.terms}
        return cls(design, covs, vc.sigma2, beta)

    @classmethod
    def with_parameters(
        cls, design: Design, vc: VarianceComponents, beta: ArrayLike | None = None
    ) -> ComponentDraws:
        """Return the same point with the parameters of structured residuals, if there are any.

        Raises
        ------
        ComponentsError
            If the components do not fit the design.
        """
        if (form := design.structured_residual) is None:
            return cls.of(design, vc, beta)
        vc = vc.aligned(design)
        covs = {term.group: vc.block_for(term) for term in design.terms}
        return cls(design, covs, vc.sigma2, beta, form.parameters(vc.residual, vc.sigma2))

    # --- which of them ----------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading axes: () for a point, such as (chain, draw)."""
        return self.sigma2.shape

    @property
    def size(self) -> int:
        """How many there are."""
        return self.sigma2.size

    @property
    def flat(self) -> ComponentDraws:
        """The same along one leading axis, chain after chain."""
        return self.reshape(-1)

    def reshape(self, *shape: int) -> ComponentDraws:
        """Return the same with other leading axes."""
        sigma2 = self.sigma2.reshape(shape)
        return self._each(lambda x: x.reshape(*sigma2.shape, *x.shape[len(self.shape) :]))

    @property
    def contiguous(self) -> ComponentDraws:
        """The same, row by row in memory: sums depend on that in their last digit."""
        return self._each(np.ascontiguousarray)

    def take(self, index: Any) -> ComponentDraws:
        """Return some of them: an index of NumPy's into the leading axes."""
        return self._each(lambda x: np.asarray(x[index]))

    def every(self, step: int) -> ComponentDraws:
        """Return every ``step``-th along the last leading axis, as of each chain."""
        return self.take((*(slice(None),) * (len(self.shape) - 1), slice(None, None, step)))

    def followed_by(self, other: ComponentDraws) -> ComponentDraws:
        """Return these and others of the same design, along the first axis."""
        covs = {group: np.concatenate([cov, other.covs[group]]) for group, cov in self.covs.items()}
        sigma2 = np.concatenate([self.sigma2, other.sigma2])
        residual = None
        if self.residual is not None and other.residual is not None:
            pairs = zip(self.residual, other.residual, strict=True)
            residual = Parameters(*(np.concatenate(pair) for pair in pairs))
        beta = np.concatenate([self.beta, other.beta])
        return replace(self, covs=covs, sigma2=sigma2, beta=beta, residual=residual)

    def __iter__(self) -> Iterator[ComponentDraws]:
        """Yield one after the other along the first axis."""
        return (self.take(i) for i in range(len(self.sigma2)))

    # --- what they are ----------------------------------------------------------------------------

    @property
    def sigma(self) -> Array:
        """σ, shape (...)."""
        return np.asarray(np.sqrt(self.sigma2))

    def roots(self) -> list[Array]:
        """Return Λ_f with Σ_f = Λ_f Λ_f', lower triangular, (..., r_f, r_f), term by term."""
        return [psd_root(cov) for cov in self.covs.values()]

    def relative_roots(self) -> list[Array]:
        """Return λ_f with Σ_f = σ² λ_f λ_f', lower triangular, (..., r_f, r_f), term by term."""
        return [root / self.sigma[..., None, None] for root in self.roots()]

    def components(self, index: Any = ()) -> VarianceComponents:
        """Return one of them, labelled: of a point, or at an index into the leading axes."""
        blocks = {
            term.group: Block(self.covs[term.group][index], term.columns)
            for term in self.design.terms
        }
        if self.residual is None or (form := self.design.structured_residual) is None:
            return VarianceComponents(blocks, float(self.sigma2[index]))
        one = Parameters(*(np.asarray(part[index]) for part in self.residual))
        values, sigma2 = form.values_of(one, float(self.sigma2[index]))
        return VarianceComponents(blocks, sigma2, values)

    def known(self) -> Iterator[ComponentDraws]:
        """Yield one after the other along the first axis, as points of a design with known R/σ²."""
        form = self.design.structured_residual
        for point in self:
            if point.residual is None or form is None:
                yield point
                continue
            design = self.design.with_residual(form.member_of(point.residual))
            yield ComponentDraws(design, point.covs, point.sigma2, point.beta)

    def _each(self, change: Callable[[Array], Array]) -> ComponentDraws:
        covs = {group: change(cov) for group, cov in self.covs.items()}
        residual = self.residual
        if residual is not None:
            residual = Parameters(*(change(part) for part in residual))
        sigma2, beta = change(self.sigma2), change(self.beta)
        return replace(self, covs=covs, sigma2=sigma2, beta=beta, residual=residual)
