"""log p(x | y) in unconstrained coordinates, its gradient, its mode and the curvature there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesv.design.structured import Parameters
from bayesv.gram.threads import run
from bayesv.inference.coordinates import Coordinates
from bayesv.inference.density import Conditional, MarginalDensity
from bayesv.inference.log_prior import LogPrior, coordinates_for
from bayesv.inference.plain import Plain
from bayesv.linalg import Array, symmetrize
from bayesv.support.interpolation import Interpolant, interpolate
from bayesv.support.progress import progress

__all__ = ["Target", "width_root"]

_FAR = 30.0  # coordinates of residuals, and log σ over the scale of the response
_LARGEST = 12.0  # log SD over σ
_SPACING = 1e-2  # of differences for the Hessian
_CHEAP = 20_000  # flops or so of an evaluation, up to which thousands of them are nothing


class Target:
    """log p(x | y) in unconstrained coordinates, up to a constant.

    Parameters
    ----------
    density : MarginalDensity
    progressbar : bool
        Whether what takes long is shown on a terminal.
    coordinates : Coordinates, optional
        The likelier of `coordinates_for` the priors if left out.
    """

    def __init__(
        self,
        density: MarginalDensity,
        progressbar: bool = False,
        coordinates: Coordinates | None = None,
    ) -> None:
        self.density = density
        self.show = None if progressbar else False  # None: on a terminal
        self.coordinates = coordinates or coordinates_for(density.priors)[0]
        self.log_prior = LogPrior(density.priors, self.coordinates)
        self.interpolants: list[Interpolant] = []
        self.n_evaluations = self.n_interpolated = 0

    @property
    def expensive(self) -> bool:
        """Whether an evaluation takes a large dense factorisation."""
        return self.density.stats.large_border

    @property
    def cheap(self) -> bool:
        """Whether thousands of evaluations take less time than a climb by analytic gradients."""
        by_residual, layout = self.density.by_residual, self.density.stats.layout
        if by_residual is not None and not by_residual.summed:
            return False
        chain = layout.plan.n_events * layout.plan.width**2
        of_rows = 0.0 if by_residual is None else by_residual.cost
        return chain + layout.border_work / 10 + of_rows <= _CHEAP

    def interpolate(self, mode: Array, L: Array) -> None:
        """Replace log|M| and T near the mode by polynomials if their error does not matter.

        They depend on all coordinates but log σ. Points outside are evaluated exactly, as before.
        """
        m, d = self.density.stats.p + 1, self.size - int(self.coordinates.has_sigma)
        upper = np.triu_indices(m)
        sigma = np.exp(self.coordinates.log_sigma(mode))

        def outputs(theta: Array) -> Array:
            x = np.hstack([theta, np.zeros((len(theta), self.size - d))])
            lambdas, _ = self.coordinates.to_lambdas(x)
            with progress("tabulating the density", len(x), show=self.show) as step:
                residual = self.coordinates.parameters(x)
                logdet, T = self.density.eliminated(lambdas, step, residual)
            self.n_evaluations += len(x)
            return np.column_stack([logdet, T[:, upper[0], upper[1]]])

        def scale(values: Array) -> Array:
            """Return the change of log|M| and T that changes the log density by about 1."""
            T = np.zeros((len(values), m, m))
            T[:, upper[0], upper[1]] = values[:, 1:]
            root = np.sqrt(np.abs(np.diagonal(T, axis1=1, axis2=2)))
            root[:, -1] = sigma
            T = root[:, :, None] * root[:, None, :]
            return np.column_stack([np.ones(len(values)), T[:, upper[0], upper[1]]])

        covariance = (L @ L.T)[:d, :d]
        interpolant = interpolate(outputs, scale, mode[:d], np.linalg.cholesky(covariance))
        if interpolant is not None:
            self.interpolants.append(interpolant)

    def _eliminated(
        self, x: Array, lambdas: list[Array], step: Callable[[int], None]
    ) -> tuple[Array, Array]:
        """Return log|M| and T, by interpolation where an interpolant covers x."""
        residual, d = self.coordinates.parameters(x), self.size - int(self.coordinates.has_sigma)
        if not self.interpolants:
            if not self.expensive or residual is not None:
                return self.density.eliminated(lambdas, step, residual)
            # Points that differ in σ alone have the same λ.
            _, first, which = np.unique(x[:, :d], axis=0, return_index=True, return_inverse=True)
            logdet, T = self.density.eliminated([lam[first] for lam in lambdas], step)
            return logdet[which], T[which]
        m = self.density.stats.p + 1
        upper = np.triu_indices(m)
        logdet, T = np.empty(len(x)), np.zeros((len(x), m, m))
        outside = np.ones(len(x), dtype=bool)
        for interpolant in self.interpolants:
            inside = outside & interpolant.covers(x[:, :d])
            values = interpolant(x[inside, :d])
            logdet[inside] = values[:, 0]
            symmetric = np.zeros((len(values), m, m))
            symmetric[:, upper[0], upper[1]] = symmetric[:, upper[1], upper[0]] = values[:, 1:]
            T[inside] = symmetric
            outside &= ~inside
        self.n_interpolated += int((~outside).sum())
        if outside.any():
            step(int((~outside).sum()))
            if residual is not None:
                residual = Parameters(*(part[outside] for part in residual))
            logdet[outside], T[outside] = self.density.eliminated(
                [lam[outside] for lam in lambdas], step, residual
            )
        return logdet, T

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return self.coordinates.size

    def evaluate(self, x: Array) -> tuple[Array, Conditional]:
        """Return log p(x | y), shape (S,), and the conditional of β.

        Far outside, where nothing is accepted, the density is 0 and the conditional that of x = 0.
        """
        self.n_evaluations += len(x)
        plain = self._plain
        if plain is not None and plain.is_quick(len(x)):
            return plain.evaluate(np.ascontiguousarray(x))
        bar = progress("evaluating the posterior density", len(x), show=self.show)
        if plain is not None:
            with bar as step:
                return plain.evaluate(np.ascontiguousarray(x), step)
        within = self._within(x)
        x = np.where(within[:, None], x, 0.0)
        with np.errstate(invalid="ignore", over="ignore"), bar as step:
            lambdas, sigma = self.coordinates.to_lambdas(x)
            eliminated = self._eliminated(x, lambdas, step)
            conditional = self.density.conditional(lambdas, sigma**2, eliminated)
            value = conditional.log_likelihood + self.log_prior(x)
        return np.where(within & np.isfinite(value), value, -np.inf), conditional

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Return log p(x | y) and its derivative by x, shape (d,); −inf and 0 far outside."""
        self.n_evaluations += 1
        return self._value_and_gradient(x)

    def _value_and_gradient(self, x: Array) -> tuple[float, Array]:
        if not self._within(x[None])[0]:
            return -np.inf, np.zeros(len(x))
        with np.errstate(invalid="ignore", over="ignore"):
            lambdas, sigma = self.coordinates.to_lambdas(x)
            try:
                value, bars, by_sigma, by_residual = self.density.value_and_gradient(
                    lambdas, float(sigma), self.coordinates.parameters(x)
                )
            except np.linalg.LinAlgError:
                return -np.inf, np.zeros(len(x))
            value += float(self.log_prior(x))
            gradient = self.coordinates.lambda_gradient(x, lambdas, bars)
            gradient += self.log_prior.gradient(x)
        if self.coordinates.residual is not None and by_residual is not None:
            places = self.coordinates.residuals
            gradient[places] += self.coordinates.residual.gradient(by_residual)
        if self.coordinates.has_sigma:
            gradient[-1] += by_sigma * sigma
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return -np.inf, np.zeros(len(x))
        return value, gradient

    def near_limit(self, x: Array) -> NDArray[np.bool_]:
        """Return which points, (S, d), have an SD near the largest that can be evaluated."""
        return np.asarray((x[:, self.coordinates.is_sd] > _LARGEST - 1.0).any(axis=1))

    def _within(self, x: Array) -> NDArray[np.bool_]:
        """Where the density can be evaluated."""
        low, high = self._limits
        return np.asarray(((x > low) & (x < high)).all(axis=1))

    @cached_property
    def _plain(self) -> Plain | None:
        """What one compiled pass takes; None where classes put the density together."""
        return Plain.of(self.density, self.coordinates, self._limits)

    @cached_property
    def _limits(self) -> Array:
        """Smallest and largest coordinates: effects up to e¹²σ, all else far from overflow."""
        limits = np.where(self.coordinates.is_sd, [[-300.0], [_LARGEST]], [[-150.0], [150.0]])
        limits[:, self.coordinates.residuals.start :] = [[-_FAR], [_FAR]]  # residuals and σ
        return limits

    def inverse_hessian(self, x: Array, step: Callable[[int], None]) -> Array:
        """Inverse of the negative Hessian, flat and wrongly curved directions limited to 4."""
        if self.cheap:
            curvature = self._bend_of_values(x)
            step(1)
        else:
            curvature = self._bend_of_slopes(x, step)
        values, vectors = np.linalg.eigh(curvature)
        values = np.maximum(values, 0.25)
        return symmetrize(np.asarray((vectors / values) @ vectors.T))

    def _bend_of_values(self, x: Array) -> Array:
        """Return the negative Hessian by differences of values, one batch of d² + d + 1."""
        h, d = _SPACING, len(x)
        i, j = np.triu_indices(d, 1)
        steps = h * np.eye(d)
        away = np.concatenate([steps, steps[i] + steps[j]])
        values = self.evaluate(np.concatenate([x[None], x + away, x - away]))[0]
        both = values[1 : len(away) + 1] + values[len(away) + 1 :] - 2.0 * values[0]
        both = np.where(np.isfinite(both), both, 0.0) / h**2
        bend = np.diag(-both[:d])
        bend[i, j] = bend[j, i] = 0.5 * (both[i] + both[j] - both[d:])
        return bend

    def _bend_of_slopes(self, x: Array, step: Callable[[int], None]) -> Array:
        """Return the negative Hessian by differences of analytic gradients."""

        def evaluate(point: Array) -> tuple[float, Array]:
            step(1)
            return self._value_and_gradient(point)

        h, d = _SPACING, len(x)
        points = [*(x - h * np.eye(d)), *(x + h * np.eye(d))]
        # Side by side only what takes long: threads cost, too.
        evaluations = run(evaluate, points, serial=not self.expensive)
        self.n_evaluations += 2 * d
        gradients = np.array([gradient for _, gradient in evaluations])
        return symmetrize(gradients[:d] - gradients[d:]) / (2 * h)


def width_root(scale: Array) -> Array:
    """Lower Cholesky roots, (..., d, d); what has collapsed onto a line gets a little width."""
    values, vectors = np.linalg.eigh(symmetrize(scale))
    values = np.maximum(values, 1e-8 * np.maximum(values[..., -1:], 1e-8))
    return np.asarray(
        np.linalg.cholesky((vectors * values[..., None, :]) @ vectors.swapaxes(-1, -2))
    )
