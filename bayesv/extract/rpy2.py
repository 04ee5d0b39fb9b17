"""Fits that live in R, held by rpy2 or pymer4: written out and read as any fit made in R."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bayesv.errors import ExtractionError
from bayesv.extract.r_fit import read_fit
from bayesv.extract.r_script import r_script
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit

__all__ = ["extract_rpy2", "r_object"]


def extract_rpy2(fit: Any) -> RemlFit | Posterior:
    """Read an R fit that rpy2 holds; see `bayesv.extract` and `bayesv.read_fit`.

    Raises
    ------
    ExtractionError
        With R's own words, if the export refuses the fit.
    """
    from rpy2 import robjects
    from rpy2.rinterface_lib.embedded import RRuntimeError

    # In an environment of its own: nothing of the user's R session is touched.
    quietly = "function(fit, path) suppressMessages(bayesv_export(fit, path))"
    export = robjects.r(f"local({{\n{r_script()}\n{quietly}\n}})")
    with TemporaryDirectory() as folder:
        path = Path(folder, "fit")
        try:
            export(fit, str(path))
        except RRuntimeError as error:
            why = " ".join(str(error).split()).removeprefix("Error: ")
            raise ExtractionError(f"R refuses: {why}") from error
        return read_fit(path)


def r_object(model: Any) -> Any:
    """Return the R fit of a pymer4 model.

    Raises
    ------
    ExtractionError
        If the model was not fitted.
    """
    fit = getattr(model, "r_model", None)  # pymer4 0.9; before that, model_obj
    fit = getattr(model, "model_obj", None) if fit is None else fit
    if fit is None:
        raise ExtractionError(
            f"This pymer4 {type(model).__name__} has no fit; call its fit() first."
        )
    return fit
