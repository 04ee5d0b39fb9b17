"""G, σ² and V for models that were fitted elsewhere; one file per kind of fit."""

from bayesv.extract.dispatch import extract
from bayesv.extract.r_fit import r_script, read_data, read_fit

__all__ = ["extract", "r_script", "read_data", "read_fit"]
