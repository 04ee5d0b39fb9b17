"""Standard deviations of residuals as Bambi's formula of log sigma, and names of its columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayesv.errors import require
from bayesv.inference.pymc_priors import prior_vector, sd_scalar
from bayesv.priors.families import SdPrior
from bayesv.priors.residual import ResidualPriors

__all__ = ["LogSds", "log_sd_formula", "placed", "quoted"]


@dataclass(frozen=True)
class LogSds:
    """Logs of standard deviations that have priors, as a coefficient of Bambi.

    Attributes
    ----------
    priors : tuple of SdPrior
        Of each stratum, or of the one SD.
    """

    priors: tuple[SdPrior, ...]

    def __call__(self, name: str, dims: Any = None, **_: Any) -> Any:
        """Create ``sd_Residual`` in the model that Bambi is building; return its logs."""
        import pymc as pm

        if dims:
            sd = prior_vector("sd_Residual", self.priors, dims[0], flat="HalfFlat")
        else:
            sd = sd_scalar("sd_Residual", self.priors[0])
        return pm.Deterministic(name, pm.math.log(sd), dims=dims)


def log_sd_formula(priors: ResidualPriors, data: pd.DataFrame) -> tuple[str, dict[str, Any]]:
    """Return the formula of ``sigma`` and its priors; put its columns into the data.

    Covariates are centred: priors speak of the SDs at their means.
    """
    bmb = require("bambi", "bambi")
    scales = priors.form.scales
    said = bmb.Prior("LogSD", dist=LogSds(priors.sds))
    if (strata := scales.strata) is None:
        summands, stated = ["1"], {"Intercept": said}
    else:
        levels = pd.Categorical.from_codes(strata.codes, list(strata.levels), ordered=True)
        name = placed(data, f"stratum_{strata.name}", levels)
        summands, stated = ["0", quoted(name)], {name: said}
    for label, power, prior in zip(
        scales.exponent_labels, scales.powers, priors.exponents, strict=True
    ):
        name = placed(data, re.sub(r"\W+", "_", label), power.log_x - power.log_x.mean())
        summands.append(quoted(name))
        stated[name] = bmb.Prior("Normal", mu=prior.mean, sigma=prior.sd)
    return f"sigma ~ {' + '.join(summands)}", {"sigma": stated}


def placed(data: pd.DataFrame, name: str, values: Any) -> str:
    """Put a column into the data; return its name, which is another if that is taken."""
    name = re.sub(r"[`|]", "_", name)
    while name in data and not (
        isinstance(values, np.ndarray) and np.array_equal(data[name].to_numpy(), values)
    ):
        name += "_"
    data[name] = values
    return name


def quoted(name: str) -> str:
    """Return a name as it stands in a formula."""
    return name if re.fullmatch(r"[^\W\d][\w.]*", name) else f"`{name}`"
