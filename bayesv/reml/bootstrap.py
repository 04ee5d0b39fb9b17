"""Parametric bootstrap of REML and ML fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesv.covariance import ComponentDraws
from bayesv.covariance.quantities import point_quantities
from bayesv.design.design import Design
from bayesv.design.simulation import normal_scores, simulate
from bayesv.errors import BayesvError, FitWarning, without
from bayesv.gram import responses_of
from bayesv.linalg import Array
from bayesv.reml import RemlFit, fit_reml, fit_structured
from bayesv.support.arguments import PROBABILITY, SEED, a, accepts, whole
from bayesv.support.memory import refuse_unless
from bayesv.support.progress import progress
from bayesv.support.shown import Part, Shown, Table, WholeFrame

__all__ = ["Bootstrap", "bootstrap", "simulated_refits"]

_BYTES = 16.0  # of a number, in its row and in the table of all
_FIT = a(RemlFit, hint="fit one by model.reml().")


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap(Shown):
    """Refits to data simulated from a fit.

    Attributes
    ----------
    draws : DataFrame
        One line per refit, one column per scalar (var, cov, sd, corr, beta).
    estimate : Series
        The scalars of the original fit.
    singular : ndarray of bool
        Which refits are on the boundary.
    failed : tuple of str
        Refits that raised an error, with the reason; they are not among the draws.
    """

    draws: pd.DataFrame
    estimate: pd.Series
    singular: Array
    failed: tuple[str, ...]

    @accepts(prob=PROBABILITY)
    def interval(self, prob: float = 0.95) -> pd.DataFrame:
        """Return estimate, bias, standard error and percentile interval of each scalar."""
        low, high = (self.draws.quantile((1 + s * prob) / 2) for s in (-1, 1))
        return WholeFrame(
            {
                "estimate": self.estimate,
                "bias": self.draws.mean() - self.estimate,
                "se": self.draws.std(),
                "low": low,
                "high": high,
            }
        )

    def _shown(self) -> Iterator[Part]:
        share = float(np.mean(self.singular)) if len(self.singular) else float("nan")
        head = f"Parametric bootstrap: {len(self.draws)} refits, {share:.0%} singular"
        yield f"{head}, {len(self.failed)} failed" if self.failed else head
        yield Table.of(self.interval())


@accepts(fit=_FIT, draws=whole(1), seed=SEED)
def bootstrap(fit: RemlFit, draws: int = 500, seed: int | None = None) -> Bootstrap:
    """Simulate from a fit and refit, as lme4's ``bootMer`` with ``use.u = FALSE``.

    Parameters
    ----------
    fit : RemlFit
        With its rows.
    draws : int
        Number of refits.
    seed : int, optional

    Returns
    -------
    Bootstrap

    Examples
    --------
    >>> import bayesv as bv
    >>> fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()
    >>> found = bv.bootstrap(fit, draws=20, seed=1)
    >>> found.draws.shape, list(found.draws.columns)[:2]
    ((20, 5), ['var Batch: Intercept', 'sd Batch: Intercept'])
    """
    if draws < 2:
        raise BayesvError(f"At least 2 refits are needed; found draws={draws}.")
    estimate = _scalars(fit)
    asked = f"{draws:,} refits of {len(estimate)} numbers"
    refuse_unless(_BYTES * draws * len(estimate), asked, "Draw fewer.")
    rows, singular, failed = [], [], []
    for k, found in enumerate(simulated_refits([fit], draws, np.random.default_rng(seed))):
        if isinstance(found, BayesvError):
            failed.append(f"refit {k}: {found}")
            continue
        (refit,) = found
        rows.append(_scalars(refit))
        singular.append(refit.singular)
    return Bootstrap(pd.DataFrame(rows), estimate, np.array(singular), tuple(failed))


def simulated_refits(
    fits: Sequence[RemlFit], draws: int, rng: np.random.Generator
) -> Iterator[list[RemlFit] | BayesvError]:
    """Yield fits of the same models to responses simulated from the first, or why one failed.

    Parameters
    ----------
    fits : sequence of RemlFit
        Of the same rows.
    draws : int
        Number of responses.
    rng : Generator
    """
    first = fits[0]
    point = ComponentDraws.of(first.design, first.components, first.beta.to_numpy())
    models = [(_refitter(fit), fit.design) for fit in fits]
    with progress("refitting", draws) as step:
        for _ in range(draws):
            step(1)
            y, _ = simulate(point.design, point, normal_scores(point.design, rng))
            found: list[RemlFit] | BayesvError
            try:
                with without(FitWarning):
                    found = [fit(design.with_response(y)) for fit, design in models]
            except BayesvError as error:
                found = error
            yield found


def _scalars(fit: RemlFit) -> pd.Series:
    scalars = point_quantities(fit.design, fit.components, fit.beta.to_numpy())
    return pd.Series({q.label: float(q.values) for q in scalars}, name="estimate")


def _refitter(fit: RemlFit) -> Callable[[Design], RemlFit]:
    """Return what fits the same model to its design with another response."""
    if fit.design.parametric_residual is not None or not fit.design.terms:
        return lambda design: fit_structured(design, fit.method)
    responses = responses_of(fit.design, fit.statistics)
    return lambda design: fit_reml(design, responses.statistics(design.target), fit.method)
