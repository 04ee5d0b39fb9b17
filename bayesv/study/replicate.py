"""What one replicate of a study is: a model to be fitted, and the truth its data came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

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
    V : scipy.sparse.csr_array, shape (n, n)
        Covariance of the simulated response, in the rows of the fitted design, whatever made it.
    well_specified : bool
        Whether V is Z G Z' + R of the components.
    """

    beta: pd.Series
    components: VarianceComponents
    V: Any
    well_specified: bool = True


@dataclass(frozen=True, eq=False)
class Replicate:
    """One simulated data set.

    Attributes
    ----------
    model : Model
        With the simulated response and the formula that is to be fitted.
    truth : Truth
    """

    model: Model
    truth: Truth
