"""G, σ² and V for models that were fitted elsewhere; one file per kind of fit."""

from bayesv.extract.dispatch import extract
from bayesv.extract.r_fit import read_data, read_fit
from bayesv.extract.r_script import r_script

__all__ = ["extract", "r_script", "read_data", "read_fit"]
