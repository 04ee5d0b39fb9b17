"""Every error and warning of bayesv: what was found, what is needed, what to do."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib.util
import os
import warnings
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

__all__ = [
    "BayesvError",
    "CacheWarning",
    "ComponentsError",
    "DataError",
    "DesignWarning",
    "ExtractionError",
    "FitWarning",
    "FormulaError",
    "MemoryNeededError",
    "MissingPackageError",
    "PriorError",
    "SamplingWarning",
    "ScenarioError",
    "StorageError",
]


class BayesvError(ValueError):
    """Base class: the input cannot be used, and the message says why and what to do."""


class FormulaError(BayesvError):
    """The formula cannot be read; the message points at the place."""


class DataError(BayesvError):
    """The data cannot be used with this formula."""


class MemoryNeededError(DataError):
    """More memory is needed than there is; the message has both sizes and what can be done."""


class ComponentsError(BayesvError):
    """Variance components are not a covariance, or do not fit the design."""


class PriorError(BayesvError):
    """A prior is not defined, or does not fit the design."""


class ExtractionError(BayesvError):
    """A fit made elsewhere cannot be represented as V = Z G Z' + R."""


class ScenarioError(BayesvError):
    """A scenario of a study cannot be read; the message names the key and what is allowed."""


class MissingPackageError(BayesvError, ImportError):
    """An optional package is needed; the message has the line that installs it."""


class StorageError(BayesvError):
    """A result cannot be saved, or a file does not hold one that can be read."""


class CacheWarning(Warning):
    """What could be kept on disk cannot; results are the same, and take longer."""


class DesignWarning(UserWarning):
    """The design is usable, but something about it deserves attention."""


class FitWarning(UserWarning):
    """A REML or ML fit ended in a named status other than plain success."""


class SamplingWarning(UserWarning):
    """Posterior draws have a named problem: divergences, high R-hat, low ESS."""


_unsaid: ContextVar[tuple[type[Warning], ...]] = ContextVar("not said", default=())


@contextlib.contextmanager
def without(*categories: type[Warning]) -> Iterator[None]:
    """Keep `warn` quiet inside, in this thread alone: Python's own filters are the process's."""
    before = _unsaid.set((*_unsaid.get(), *categories))
    try:
        yield
    finally:
        _unsaid.reset(before)


def _folder(package: str) -> Path:
    """Return where a package is, without loading it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


# Where the frames between a warning and the user's line are: here, in decorators and compilers.
_BETWEEN = (
    f"{Path(__file__).parent}{os.sep}",
    *(f"{_folder(name)}{os.sep}" for name in ("numpy", "numba")),
    contextlib.__file__,
    functools.__file__,  # cached properties
)


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line that called bayesv, unless the caller is `without` such warnings."""
    if not issubclass(category, _unsaid.get()):
        warnings.warn(message, category, skip_file_prefixes=_BETWEEN)


def near(name: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest choices, or a full stop."""
    spelled = {str(choice).casefold(): str(choice) for choice in choices}
    folded = difflib.get_close_matches(str(name).casefold(), spelled, n=3, cutoff=0.5)
    close = [spelled[word] for word in folded]
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else "."


def none_of(name: str, value: object, choices: Iterable[str]) -> str:
    """Return what to say of a value that is none of some choices.

    Examples
    --------
    >>> none_of("method", "ml", ("REML", "ML"))
    "method must be one of REML, ML; found 'ml'; did you mean 'ML' or 'REML'?"
    """
    hint = near(value, choices) if isinstance(value, str) else "."
    return f"{name} must be one of {', '.join(choices)}; found {value!r}{hint}"


def require(package: str, extra: str) -> ModuleType:
    """Import an optional package, or say how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"This needs the package '{package}', which is not installed ({error}). "
            f'Install it with: python3 -m pip install "bayesv[{extra}]"'
        ) from error
