"""Profile likelihood intervals of standard deviations and correlations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.optimize import brentq, minimize
from scipy.special import chdtri

from bayesv.covariance import ComponentDraws
from bayesv.errors import BayesvError, DataError
from bayesv.inference.coordinates import Coordinates
from bayesv.linalg import Array, cov_to_sd_corr
from bayesv.reml import RemlFit
from bayesv.reml.criterion import Criterion
from bayesv.structures import CovarianceStructure
from bayesv.structures.partials import FARTHEST
from bayesv.support.arguments import PROBABILITY, a, accepts
from bayesv.support.progress import progress

__all__ = ["profile"]

_FIT = a(RemlFit, hint="fit one by model.reml().")

_NEVER = -14.0  # log SD/σ that counts as 0
_WIDEST = 60  # doublings of a step away from the estimate
_LAST_Z = 8.0  # coordinate of a correlation that counts as its end


@accepts(fit=_FIT, prob=PROBABILITY)
def profile(fit: RemlFit, prob: float = 0.95) -> pd.DataFrame:
    """Return profile likelihood intervals of the SDs, of σ, and of correlations of two columns.

    Parameters
    ----------
    fit : RemlFit
        By ML for the profile likelihood proper, as lme4's ``confint(method = "profile")``; by REML
        the restricted likelihood is profiled.
    prob : float

    Returns
    -------
    DataFrame
        Columns estimate, low, high; a lower end of 0 and ends of ±1 are on the boundary.

    Notes
    -----
    The ends are where the criterion, minimised over all other parameters, exceeds its minimum by
    the quantile of χ² with one degree of freedom.

    Examples
    --------
    >>> import bayesv as bv
    >>> fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml("ML")
    >>> bv.profile(fit).loc["sd Batch: Intercept"].round(1).to_dict()
    {'estimate': 37.3, 'low': 12.2, 'high': 84.1}
    """
    if not 0 < prob < 1:
        raise BayesvError(f"prob is a probability between 0 and 1; found {prob!r}.")
    if fit.design.sigma_is_known:
        raise DataError("Profiles for a known residual covariance are not there yet.")
    if not fit.design.terms and fit.design.parametric_residual is None:
        raise BayesvError("There is no random term, and nothing but σ² to be profiled.")
    if (form := fit.design.parametric_residual) is not None:
        raise BayesvError(
            f"Likelihoods are not profiled yet where residuals have parameters ({form.describe()})."
            " Use bv.bootstrap(fit).interval(), which refits them."
        )
    with progress("profiling the likelihood") as step:
        profiler = _Profiler(fit, float(chdtri(1, 1 - prob)), step)
        rows = {}
        for part in profiler.coordinates.parts:
            term, structure = part.term, part.term.structure
            sd, corr = cov_to_sd_corr(fit.components.block_for(term))
            for i, label in enumerate(structure.sd_labels(term.columns)):
                held = (part.sds.start + i, float(part.log_units[i]))
                rows[f"sd {term.group}: {label}"] = profiler.sd(*held, structure.free_sds(sd)[i])
            place = part.corrs.start
            for columns, family in structure.parts:
                if family.n_corrs == 1:
                    (label,) = family.corr_labels([term.columns[i] for i in columns])
                    block = corr[np.ix_(columns, columns)]
                    interval = profiler.correlation(place, family, block)
                    rows[f"corr {term.group}: {label}"] = interval
                place += family.n_corrs
        rows["sd Residual"] = profiler.sigma()
    return pd.DataFrame.from_dict(rows, orient="index", columns=["estimate", "low", "high"])


class _Profiler:
    """The criterion with one parameter held, in the sampler's coordinates."""

    def __init__(self, fit: RemlFit, rise: float, step: Callable[[int], None]) -> None:
        self.step = step
        # Of the columns as written: their SDs and correlations are what is held.
        self.coordinates = Coordinates.as_written(fit.design)
        self.criterion = Criterion(fit.design, fit.statistics, fit.method)
        point = ComponentDraws.of(fit.design, fit.components)
        self.best = self.coordinates.near(point)
        self.limit = fit.criterion + rise
        self.sigma_hat = float(np.sqrt(fit.sigma2))

    def _value(self, x: Array) -> float:
        lambdas, sigma = self.coordinates.to_lambdas(x)
        stats = self.criterion.stats
        self.step(1)
        try:
            value = self.criterion.criterion_at(stats.in_basis(lambdas), float(sigma) ** 2)
        except np.linalg.LinAlgError:
            return 1e12
        return value if np.isfinite(value) else 1e12

    def _excess(self, place: int, held: Callable[[Array], float]) -> tuple[float, Array]:
        """Minimise with x[place] = held(x); return how far the minimum is above the limit."""
        free = np.arange(len(self.best)) != place

        def full(part: Array) -> Array:
            x = self.best.copy()
            x[free] = part
            x[place] = held(x)
            return x

        # Log SDs near −14 are flat: the search stays where it makes a difference.
        bounds = [(_NEVER, 12.0) if sd else (-12.0, 12.0) for sd in self.coordinates.is_sd[free]]
        start = np.clip(self.best[free], *np.array(bounds).T) if free.any() else np.zeros(0)
        if not free.any():
            return self._value(full(start)) - self.limit, start
        result = minimize(
            lambda part: self._value(full(part)), start, method="L-BFGS-B", bounds=bounds,
            options={"ftol": 1e-12, "gtol": 1e-5},
        )  # fmt: skip
        return float(result.fun) - self.limit, result.x

    def _end(
        self, excess: Callable[[float], float], start: float, step: float, last: float
    ) -> float:
        """Return where the excess crosses 0, from the estimate towards ``last``."""
        inner = start
        for _ in range(_WIDEST):
            outer = start + step
            if (outer - last) * np.sign(step) >= 0:
                outer = last
            if excess(outer) > 0:
                return float(brentq(excess, inner, outer, xtol=1e-7, rtol=1e-9))
            if outer == last:
                return last
            inner, step = outer, 2.0 * step
        return last

    def sd(self, place: int, log_rms: float, estimate: float) -> tuple[float, float, float]:
        """Return estimate and ends of an SD of random effects; 0 at the bound of the log scale."""
        scale = self.coordinates.log_scale

        def excess(log_sd: float) -> float:
            return self._excess(place, lambda x: log_sd + log_rms - x[-1] - scale)[0]

        zero = np.log(self.sigma_hat) - log_rms + _NEVER
        best = max(np.log(estimate) if estimate > 0 else zero, zero)
        low = zero if best == zero else self._end(excess, best, -0.3, zero)
        high = self._end(excess, zero + 10.0 if best == zero else best, 0.3, zero + 30.0)
        return float(estimate), 0.0 if low == zero else float(np.exp(low)), float(np.exp(high))

    def correlation(
        self, place: int, family: CovarianceStructure, corr: Array
    ) -> tuple[float, float, float]:
        """Return estimate and ends of the one parameter of a correlation."""

        def excess(z: float) -> float:
            return self._excess(place, lambda _: z)[0]

        best = float(self.best[place])
        low, high = (self._end(excess, best, step, _LAST_Z * np.sign(step)) for step in (-0.3, 0.3))
        z = np.array([float(family.coordinates(corr)[0]), low, high])
        z[np.abs(z) >= [FARTHEST, _LAST_Z, _LAST_Z]] *= np.inf  # on the boundary
        estimate, first, last = family.natural(z[:, None])[:, 0].tolist()
        return estimate, first, last

    def sigma(self) -> tuple[float, float, float]:
        """Return estimate and ends of σ."""
        place = len(self.best) - 1

        def excess(log_sigma: float) -> float:
            return self._excess(place, lambda _: log_sigma - self.coordinates.log_scale)[0]

        best = float(np.log(self.sigma_hat))
        low, high = (
            self._end(excess, best, step, best + 20.0 * np.sign(step)) for step in (-0.1, 0.1)
        )
        return self.sigma_hat, float(np.exp(low)), float(np.exp(high))
