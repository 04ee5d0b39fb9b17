"""The R function that exports fits: one script of the pieces in ``r/``."""

from __future__ import annotations

from importlib import resources

__all__ = ["r_script"]

# One for each program, and what they share; functions only, in any order.
_PIECES = (
    "export", "lme4", "nlme", "nlme_residuals", "glmmTMB", "mmrm", "metafor", "rstanarm", "brms",
    "brms_residuals", "designs", "tables",
)  # fmt: skip


def r_script() -> str:
    """Return the R function ``bayesv_export(fit, path)``, which needs no R package but the fit's.

    Returns
    -------
    str
        To be saved and read with R's ``source``.

    Examples
    --------
    >>> from bayesv.extract import r_script
    >>> "bayesv_export <- " in r_script()
    True
    """
    folder = resources.files("bayesv") / "extract" / "r"
    header, *pieces = (
        (folder / f"{name}.R").read_text(encoding="utf-8") for name in ("header", *_PIECES)
    )
    body = "\n".join(pieces)
    return f"{header}\nbayesv_export <- local({{\n\n{body}\nexport\n}})\n"
