"""G, σ² and V for models that were fitted elsewhere; one file per kind of fit."""

from bayesv.extract.dispatch import extract

__all__ = ["extract"]
