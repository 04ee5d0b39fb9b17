"""Standard streams that can take whatever is printed: other encodings than UTF-8, or none."""

from __future__ import annotations

import codecs
import os
import sys

import bayesv as bv

__all__ = ["leave_stdout", "prepare", "refuse_closed_output", "shows_every_letter"]

# What stands for letters of the field where a terminal has none.
_PLAIN = {
    "α": "alpha", "β": "beta", "γ": "gamma", "ε": "eps", "λ": "lambda", "σ": "sigma", "θ": "theta",
    "ρ": "rho", "τ": "tau", "ν": "nu", "Σ": "Sigma", "Λ": "Lambda", "χ": "chi", "²": "2", "⁻": "-",
    "¹": "1", "ᵀ": "'", "⊤": "'", "−": "-", "–": "-", "—": "-", "×": "x", "·": ".", "…": "...",
    "≥": ">=", "≤": "<=", "≠": "!=", "∼": "~", "⊗": "(x)", "→": "->", "½": "1/2", "\u0302": "^",
    "’": "'", "‘": "'", "“": '"', "”": '"', "\u00a0": " ", "\u202f": " ", "±": "+-",
}  # fmt: skip
_HANDLER = "bayesv.plain"


def prepare() -> None:
    """Let letters that a terminal lacks be spelled out, and closed streams lead nowhere."""
    codecs.register_error(_HANDLER, _spelled)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, nowhere)
        elif hasattr(stream, "reconfigure") and not shows_every_letter(stream):
            stream.reconfigure(errors=_HANDLER)


def shows_every_letter(stream: object) -> bool:
    """Return whether a stream writes UTF-8, or does not encode at all."""
    encoding = getattr(stream, "encoding", None)
    return encoding is None or codecs.lookup(encoding).name.startswith("utf")


def leave_stdout() -> None:
    """Let what is still printed go nowhere: its reader, such as head, has seen enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refuse_closed_output() -> None:
    """Refuse results on a standard output that was closed before the command began."""
    if sys.__stdout__ is None:
        raise bv.DataError("Standard output is closed; name a file instead of -.")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter, "?") for letter in text), error.end
