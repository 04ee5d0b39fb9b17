"""Which text files can hold."""

from __future__ import annotations

__all__ = ["is_storable"]


def is_storable(text: str) -> bool:
    """Whether HDF5 and arrays of text give it back: it has no NUL and no half of a character."""
    return "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)
