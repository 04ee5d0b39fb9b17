"""What one replicate of a study is: a model to be fitted, and the truth its data came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd
from scipy import sparse

from bayesv.covariance import VarianceComponents
from bayesv.model import Model

__all__ = ["Replicate", "Truth"]


@dataclass(frozen=True, eq=False)
class Truth:
    """What the data were simulated from.

    Attributes
    ----------
    beta : Series, shape (p,)
        By the names of the fitted design's fixed effects.
    components : VarianceComponents
        In the columns of the fitted design; what the fitted model leaves out is not here.
    covariance : callable
        Returns V; called when it is first asked for.
    well_specified : bool
        Whether E[y] = Xβ + offset and V = Z G Z' + R of the fitted design and the components.
    normal : bool
        Whether random effects and residuals are normal; their covariances are V's in any case.
    """

    beta: pd.Series
    components: VarianceComponents
    covariance: Callable[[], sparse.csr_array] = field(repr=False)
    well_specified: bool = True
    normal: bool = True

    @cached_property
    def V(self) -> sparse.csr_array:
        """Covariance of the simulated response, whatever made it, sparse of shape (n, n)."""
        return self.covariance()


@dataclass(frozen=True, eq=False)
class Replicate:
    """One simulated data set.

    Attributes
    ----------
    model : Model
        With the simulated response and the formula that is to be fitted.
    truth : Truth
        Replicates of one design and one set of parameters share it.
    index : int
        Its number in the study.
    seed : int
        For what is random in fitting it; its own, like its data.
    """

    model: Model
    truth: Truth
    index: int = 0
    seed: int = 0
