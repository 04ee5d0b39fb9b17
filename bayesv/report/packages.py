"""What a page cannot be made without."""

from __future__ import annotations

from bayesv.errors import require

__all__ = ["check_packages"]


def check_packages(pictures: bool = True) -> None:
    """Refuse a page whose packages are missing, before anything is computed for it.

    Raises
    ------
    MissingPackageError
        If Jinja, Great Tables or, with pictures, matplotlib are not installed.
    """
    require("great_tables", "report")
    if pictures:
        require("matplotlib", "report")
    require("jinja2", "report")
