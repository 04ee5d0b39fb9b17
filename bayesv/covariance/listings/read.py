"""Which program printed a listing of variance components, and what of it is the table."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd

from bayesv.covariance.listings.entries import Entry, assembled, refuse_second
from bayesv.covariance.listings.frame import read_frame
from bayesv.covariance.listings.julia import read_julia
from bayesv.covariance.listings.lme4 import read_lme4
from bayesv.covariance.listings.nlme import HEAD, read_nlme
from bayesv.covariance.listings.own import COLUMNS as OWN_COLUMNS
from bayesv.covariance.listings.own import HEAD as OWN_HEAD
from bayesv.covariance.listings.own import Printed, read_own, read_own_frame
from bayesv.covariance.listings.sas import read_sas
from bayesv.covariance.listings.stata import read_stata
from bayesv.errors import ComponentsError

__all__ = ["read_varcorr"]

Parsed = tuple[list[Entry], set[str] | None]

# What the head of each program's table looks like.
_READERS: tuple[tuple[str, Callable[[list[str], int], Parsed]], ...] = (
    (r"\s*Random-effects [Pp]arameters\s*\|", read_stata),
    (r"\s*Cov(?:ariance)?\s+Parm", read_sas),
    (r"[\s|]*Groups[\s|]+Name\b", read_lme4),
    (r"[\s|]*Column\s+Variance\b", read_julia),
    (HEAD, read_nlme),
)


def read_varcorr(listing: str | pd.DataFrame) -> Printed:
    """Return {group: Σ_f}, σ² and parameters of residuals of a listing.

    Raises
    ------
    ComponentsError
        If a line of it is not understood; the message shows the line.
    """
    if isinstance(listing, pd.DataFrame):
        if set(OWN_COLUMNS) <= set(listing.columns):
            return read_own_frame(listing)
        return Printed(*read_frame(listing))
    if not isinstance(listing, str):
        raise ComponentsError(
            "A listing is the text that a program prints, or the data frame of "
            f"as.data.frame(VarCorr(fit)); found {type(listing).__name__}."
        )
    lines = [_plain(line) for line in listing.splitlines() if not line.strip().startswith("```")]
    if (
        own := next((i for i, line in enumerate(lines) if re.match(OWN_HEAD, line)), None)
    ) is not None:
        return read_own(lines, own)
    for pattern, reader in _READERS:
        head = next((i for i, line in enumerate(lines) if re.match(pattern, line)), None)
        if head is not None:
            if pattern != HEAD:  # nlme has one for each factor
                refuse_second(pattern, lines[head + 1 :])
            return Printed(*assembled(*reader(lines, head)))
    raise ComponentsError(
        "No header of a table of variance components found: 'Groups  Name  …  Std.Dev.' (lme4, "
        "glmmTMB: print(VarCorr(fit)) or summary(fit)), 'Variance StdDev' (nlme), 'Column Variance "
        "Std.Dev.' (MixedModels.jl), 'Cov Parm … Estimate' (SAS) or 'Random-effects parameters | "
        "Estimate' (Stata)."
    )


def _plain(line: str) -> str:
    """Return a line without the marks of knitr and reprex, with plain blanks and minus signs."""
    line = re.sub(r"^\s*(?:##|#>)\s?", " ", line)
    return line.replace("\u00a0", " ").replace("\u2212", "-").replace("\t", " | ").rstrip()
