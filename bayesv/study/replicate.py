"""What one replicate of a study is: a model to be fitted, and the truth its data came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from bayesv.covariance import VarianceComponents
from bayesv.model import Model

__all__ = ["Replicate", "Truth"]


@dataclass(frozen=True, eq=False, init=False)
class Truth:
    """What the data were simulated from.

    Parameters
    ----------
    beta : Series, shape (p,)
        By the names of the fitted design's fixed effects.
    components : VarianceComponents
        In the columns of the fitted design; what the fitted model leaves out is not here.
    V : scipy.sparse.csr_array, shape (n, n), or callable that returns it
        Covariance of the simulated response, in the rows of the fitted design, whatever made it.
        A callable is called when V is first asked for.
    well_specified : bool
        Whether E[y] = Xβ + offset and V = Z G Z' + R of the fitted design and the components.
    normal : bool
        Whether random effects and residuals are normal; their covariances are V's in any case.
    """

    beta: pd.Series
    components: VarianceComponents
    well_specified: bool
    normal: bool
    _V: Any = field(repr=False)

    def __init__(
        self,
        beta: pd.Series,
        components: VarianceComponents,
        V: Any | Callable[[], Any],
        well_specified: bool = True,
        normal: bool = True,
    ) -> None:
        values = {
            "beta": beta,
            "components": components,
            "well_specified": well_specified,
            "normal": normal,
            "_V": V,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @cached_property
    def V(self) -> Any:
        """Covariance of the simulated response, sparse of shape (n, n)."""
        return self._V() if callable(self._V) else self._V


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
