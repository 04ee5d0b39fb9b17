"""Profile likelihood intervals of SDs, correlations, parameters of residuals and fixed effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy  # .optimize is loaded when it is used
from scipy.special import chdtri

from bayesv.covariance.quantities import point_quantities
from bayesv.errors import BayesvError, DataError, FitWarning, warn
from bayesv.linalg import Array
from bayesv.reml.surface import Surface
from bayesv.structures.partials import FARTHEST
from bayesv.support.arguments import FLAG, PROBABILITY, TEXTS, accepts, called, optional
from bayesv.support.progress import progress

__all__ = ["profile", "profiled"]

_NEVER = -14.0  # log SD/σ that counts as 0
_FLAT, _LIFTED = -4.0, -1.0  # log SD/σ next to 0, and where a second search starts instead
_WIDEST = 60  # doublings of a step away from the estimate
_LAST_Z = 8.0  # coordinate of a correlation that counts as its end
_WORST = 1e12  # value where V cannot be factored
_MET = 1e-2  # difference of the criterion from the limit, within which an end is one
_NEXT_TO_ONE = 0.999  # correlation whose end is ±1

Ends = tuple[float, float, float]


@accepts(fit=called("RemlFit"), prob=PROBABILITY, parameters=optional(TEXTS), fixed=FLAG)
def profile(
    fit: Any, prob: float = 0.95, parameters: Sequence[str] | None = None, fixed: bool = False
) -> pd.DataFrame:
    """Return profile likelihood intervals of SDs, of correlations and of parameters of residuals.

    Parameters
    ----------
    fit : RemlFit
        By ML for the profile likelihood proper, as lme4's ``confint(method = "profile")``; by REML
        the restricted likelihood is profiled.
    prob : float
    parameters : sequence of str, optional
        Which rows, such as ``["sd Subject: Days", "corr Residual: rho"]``; all if left out.
    fixed : bool
        Whether the fixed effects are profiled, too, of a fit by ML.

    Returns
    -------
    DataFrame
        Columns estimate, low, high; a lower end of 0 and ends of ±1 are on the boundary.

    Raises
    ------
    BayesvError
        If a parameter has another name, or the restricted likelihood is asked for fixed effects.

    Warns
    -----
    FitWarning
        If an end was not found; it is NaN then.

    Notes
    -----
    The ends are where the criterion, minimised over all other parameters, exceeds its minimum by
    the quantile of χ² with one degree of freedom. Correlations that are no coordinates of their
    family are maximised and minimised where the criterion is within that.

    Examples
    --------
    >>> import bayesv as bv
    >>> fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml("ML")
    >>> bv.profile(fit).loc["sd Batch: Intercept"].round(1).to_dict()
    {'estimate': 37.3, 'low': 12.2, 'high': 84.1}
    """
    if fixed and fit.method != "ML":
        raise BayesvError(
            "The restricted likelihood has no fixed effects to be profiled. Fit by ML, "
            "model.reml('ML'), or use fit.confint(), which has their Kenward–Roger intervals."
        )
    return profiled(fit, fit.method, prob, parameters, fixed)


def profiled(
    fit: Any, method: str, prob: float, parameters: Sequence[str] | None, fixed: bool
) -> pd.DataFrame:
    """Return profile likelihood intervals by a criterion that may be another than the fit's."""
    if not 0 < prob < 1:
        raise BayesvError(f"prob is a probability between 0 and 1; found {prob!r}.")
    if not fit.design.terms and fit.design.parametric_residual is None:
        if fit.design.sigma_is_known:
            raise BayesvError("R is known and there is no random term: nothing is to be profiled.")
        if not fixed:
            raise BayesvError("There is no random term, and nothing but σ² to be profiled.")
    with progress("profiling the likelihood") as step:
        profiler = _Profiler(Surface(fit, method), float(chdtri(1, 1 - prob)), step)
        ways = profiler.ways(fit) | (profiler.fixed() if fixed else {})
        unknown = [name for name in parameters or () if name not in ways]
        if unknown:
            raise BayesvError(f"No parameter is called {unknown[0]!r}; there are {list(ways)}.")
        rows = {name: way() for name, way in ways.items() if not parameters or name in parameters}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["estimate", "low", "high"])
    if method == fit.method:  # exactly, on the boundary, too
        exact = {q.label: float(q.values) for q in point_quantities(fit.design, fit.components)}
        table["estimate"] = [exact.get(name, table["estimate"][name]) for name in table.index]
    return table


class _Profiler:
    """The criterion minimised with one coordinate, or one fixed effect, held."""

    def __init__(self, surface: Surface, rise: float, step: Callable[[int], None]) -> None:
        self.surface, self.step = surface, step
        wide = np.full(surface.size, 12.0)
        low, high = -wide, wide
        sds = surface.relative.copy()
        sds[-1] = True
        # Log SDs near −14 below σ are flat: the search stays where it makes a difference.
        low[sds], high[sds] = surface.best[-1] + _NEVER - 2.0, surface.best[-1] + 30.0
        low[: surface.m] -= np.where(sds[: surface.m], surface.log_units, 0.0)
        high[: surface.m] -= np.where(sds[: surface.m], surface.log_units, 0.0)
        self.bounds = np.stack([low, high], axis=1)
        self.best = surface.best
        least, self.best = self._minimum(None, None, self.best)
        self.limit = least + rise

    def _minimum(
        self, place: int | None, held: tuple[int, float] | None, start: Array
    ) -> tuple[float, Array]:
        """Minimise with y[place] as in ``start``, from SDs next to 0 also after lifting them."""
        level, y = self._descend(place, held, start)
        flat = self.surface.relative & (self.surface.log_relative_sds(y) < _FLAT)
        if place is not None:
            flat[place] = False
        if flat.any():  # where the criterion hardly changes, a search sees no way out
            lifted = np.maximum(self.best, y + _LIFTED - self.surface.log_relative_sds(y))
            other, z = self._descend(place, held, np.where(flat, lifted, y))
            if other < level:
                return other, z
        return level, y

    def _descend(
        self, place: int | None, held: tuple[int, float] | None, start: Array
    ) -> tuple[float, Array]:
        """Minimise with y[place] as in ``start``, from there."""
        free = np.arange(len(start)) != place

        def value(part: Array) -> tuple[float, Array]:
            y = start.copy()
            y[free] = part
            self.step(1)
            try:
                level, slope = self.surface.value_and_gradient(y, held)
            except (np.linalg.LinAlgError, DataError):
                return _WORST, np.zeros(int(free.sum()))
            return (level, slope[free]) if np.isfinite(level) else (_WORST, np.zeros(sum(free)))

        if not free.any():
            return value(np.zeros(0))[0], start
        bounds = self.bounds[free]
        result = scipy.optimize.minimize(
            value, np.clip(start[free], *bounds.T), jac=True, method="L-BFGS-B", bounds=bounds,
            options={"ftol": 1e-12, "gtol": 1e-5, "maxiter": 500},
        )  # fmt: skip
        y = start.copy()
        y[free] = result.x
        return float(result.fun), y

    def _end(
        self, excess: Callable[[float], float], start: float, step: float, last: float
    ) -> float:
        """Return where the excess crosses 0, from the estimate towards ``last``."""
        inner = start
        if excess(start) > 0:
            return start
        for _ in range(_WIDEST):
            outer = start + step
            if (outer - last) * np.sign(step) >= 0:
                outer = last
            if excess(outer) > 0:
                return float(scipy.optimize.brentq(excess, inner, outer, xtol=1e-7, rtol=1e-9))
            if outer == last:
                return last
            inner, step = outer, 2.0 * step
        return last

    def _excess(self, place: int) -> Callable[[float], float]:
        """Return the function that is the minimum with y[place] held, less the limit."""
        # From the nearest minimum inside: one far outside may be in another valley.
        known, inside = dict[float, float](), [self.best]

        def excess(held: float) -> float:
            if held not in known:
                y = min(inside, key=lambda y: abs(float(y[place]) - held)).copy()
                y[place] = held
                level, y = self._minimum(place, None, y)
                known[held] = level - self.limit
                if level < self.limit:
                    inside.append(y)
            return known[held]

        return excess

    # --- which way each parameter goes -----------------------------------------------------------

    def ways(self, fit: Any) -> dict[str, Callable[[], Ends]]:
        """Return how the interval of each parameter is found, by its label."""
        found: dict[str, Callable[[], Ends]] = {}
        estimates = self.surface.scalars(self.best)
        places, families = self.surface.places()
        structured = any(name.startswith("sd Residual: ") for name in estimates)
        for name in sorted(estimates, key=lambda name: name.startswith("sd Residual")):
            if name == "sd Residual" and structured:
                continue
            if name in families:
                found[name] = self._way(self._correlation, *families[name])
            elif name in places:
                found[name] = self._way(self._sd, places[name], name.startswith("sd"))
            else:
                found[name] = self._way(self._function, name, estimates[name])
        return found

    @staticmethod
    def _way(function: Callable[..., Ends], *arguments: Any) -> Callable[[], Ends]:
        return lambda: function(*arguments)

    def fixed(self) -> dict[str, Callable[[], Ends]]:
        """Return how the interval of each fixed effect is found."""
        names = self.surface.design.fixed_names
        return {f"beta {name}": self._way(self._beta, j) for j, name in enumerate(names)}

    # --- intervals -------------------------------------------------------------------------------

    def _sd(self, place: int, is_sd: bool) -> Ends:
        """Return estimate and ends of an SD, 0 at the bound of the log scale; or of an exponent."""
        excess, best = self._excess(place), float(self.best[place])
        floor, ceiling = self.bounds[place]
        low = self._end(excess, best, -0.3, floor)
        # From next to 0 the way up is long: over what is flat it is one step.
        low_start = best < floor + 4.0 and is_sd
        high = self._end(excess, floor + 10.0 if low_start else best, 0.3, ceiling)
        if not is_sd:
            return best, low, high
        estimate = 0.0 if best < floor + 4.0 else float(np.exp(best))
        return estimate, 0.0 if low == floor else float(np.exp(low)), float(np.exp(high))

    def _correlation(self, place: int, family: Any) -> Ends:
        """Return estimate and ends of the one parameter of a correlation."""
        excess, best = self._excess(place), float(self.best[place])
        inside = float(np.clip(best, -_LAST_Z, _LAST_Z))
        low, high = (
            self._end(excess, inside, step, _LAST_Z * np.sign(step)) for step in (-0.3, 0.3)
        )
        z = np.array([best, low, high])
        z[np.abs(z) >= [min(FARTHEST, _LAST_Z), _LAST_Z, _LAST_Z]] *= np.inf  # on the boundary
        estimate, first, last = family.natural(z[:, None])[:, 0].tolist()
        return estimate, first, last

    def _beta(self, j: int) -> Ends:
        """Return estimate and ends of a fixed effect, by ML."""
        done = self.surface.estimate_of(self.best, j)
        inside = [(done.value, self.best)]  # as in `_excess`

        def excess(value: float) -> float:
            start = min(inside, key=lambda known: abs(known[0] - value))[1]
            level, y = self._minimum(None, (j, value), start.copy())
            if level < self.limit:
                inside.append((value, y))
            return level - self.limit

        far = 1e6 * done.se
        low, high = (
            self._end(excess, done.value, sign * 2.0 * done.se, done.value + sign * far)
            for sign in (-1.0, 1.0)
        )
        return done.value, low, high

    def _function(self, name: str, estimate: float) -> Ends:
        """Return estimate and ends of what is a function of several coordinates."""
        ends = [self._extreme(name, sign) for sign in (-1.0, 1.0)]
        return estimate, ends[0], ends[1]

    def _extreme(self, name: str, sign: float) -> float:
        """Return the least or largest value of a parameter where the criterion is in the limit."""

        def within(y: Array) -> float:
            self.step(1)
            try:
                return self.limit - self.surface.value_and_gradient(y)[0]
            except (np.linalg.LinAlgError, DataError):
                return -_WORST

        def slope(y: Array) -> Array:
            try:
                return -self.surface.value_and_gradient(y)[1]
            except (np.linalg.LinAlgError, DataError):
                return np.zeros(len(y))

        result = scipy.optimize.minimize(
            lambda y: -sign * self.surface.scalars(y)[name], self.best, method="SLSQP",
            bounds=self.bounds, constraints={"type": "ineq", "fun": within, "jac": slope},
            options={"maxiter": 200, "ftol": 1e-9},
        )  # fmt: skip
        value = -sign * float(result.fun)
        if abs(value) > _NEXT_TO_ONE and within(result.x) > -_MET:
            return sign
        if not result.success or abs(within(result.x)) > _MET:
            side = "upper" if sign > 0 else "lower"
            warn(f"The {side} end of {name} was not found: {result.message}", FitWarning)
            return float("nan")
        return value
