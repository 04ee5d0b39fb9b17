"""Fingerprints of functions: what their code does, with the values and functions it uses."""

from __future__ import annotations

import functools
import inspect
import struct
import sysconfig
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["fingerprint"]

_PACKAGES = tuple(
    str(Path(sysconfig.get_path(name)).resolve())
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_MOST_ELEMENTS = 1 << 20  # elements of a container that are looked at


def fingerprint(function: Any) -> str:
    """Return what changes when a function's code does, or a value or a function that it uses.

    Parameters
    ----------
    function : callable

    Returns
    -------
    str
        16 hexadecimal digits; the same in every process of one version of Python. It says nothing
        of comments and line numbers.

    Notes
    -----
    Followed are compiled code, defaults, closures, global numbers, texts, arrays, tables and
    containers of these, and the user's own functions and classes. What packages have is known by
    name, what other objects hold by the name of their class.

    Examples
    --------
    >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 1)
    True
    >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 2)
    False
    """
    walk = _Walk()
    if isinstance(function, FunctionType):
        walk.add_function(function)
    else:
        walk.add(function)
    return walk.hash.hexdigest()


class _Walk:
    """One walk over all that a function is made of; what was seen counts by its number."""

    def __init__(self) -> None:
        self.hash = blake2b(digest_size=8)
        self.seen: dict[int, tuple[int, Any]] = {}  # keeps what it numbers alive

    def add_function(self, value: FunctionType) -> None:
        self._add_all("function", value.__code__, value.__defaults__, value.__kwdefaults__)
        for cell in value.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # not assigned yet
                self._say("empty")
        for name in _global_names(value.__code__):
            if name in value.__globals__:
                self._say("global", name)
                self.add(value.__globals__[name])
        if (wrapped := getattr(value, "__wrapped__", None)) is not None:
            self.add(wrapped)

    def add(self, value: Any) -> None:
        if isinstance(value, str | bytes | int | float | complex | None | type(Ellipsis)):
            self._say(type(value).__name__, _packed(value))
            return
        # Which constants are one object is up to the compiler; only these can hold themselves.
        if not isinstance(value, tuple | frozenset | CodeType | MethodType | np.ndarray):
            if id(value) in self.seen:
                self._say("seen", str(self.seen[id(value)][0]))
                return
            self.seen[id(value)] = len(self.seen), value
        if isinstance(value, CodeType):
            self._add_code(value)
        elif isinstance(value, MethodType):
            self._add_all("method", value.__func__, value.__self__)
        elif isinstance(value, functools.partial):
            self._add_all("partial", value.func, value.args, value.keywords)
        elif isinstance(value, ModuleType):
            self._say("module", value.__name__)
        elif isinstance(value, BuiltinFunctionType) or _is_of_package(value):
            self._say("package", _name(value))
        elif isinstance(value, FunctionType):
            self.add_function(value)
        elif isinstance(value, type):
            members = {k: v for k, v in vars(value).items() if k not in _INCIDENTAL}
            self._add_all("class", value.__qualname__, value.__bases__, members)
        else:
            self._add_object(value)

    def _add_code(self, code: CodeType) -> None:
        self._add_all(
            "code", code.co_code, code.co_names, code.co_varnames, code.co_freevars,
            code.co_cellvars, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount,
            code.co_flags, code.co_exceptiontable, code.co_consts,
        )  # fmt: skip

    def _add_object(self, value: Any) -> None:
        if isinstance(value, np.ndarray | np.generic) and not np.asarray(value).dtype.hasobject:
            values = np.ascontiguousarray(value)
            self._say("array", str(values.dtype), str(values.shape), values.tobytes())
        elif isinstance(value, pd.DataFrame | pd.Series | pd.Index):
            self._add_table(value)
        elif isinstance(value, set | frozenset):
            self._add_all("set", *sorted(value, key=repr))
        elif isinstance(value, tuple | list) and len(value) <= _MOST_ELEMENTS:
            self._add_all(type(value).__name__, *value)
        elif isinstance(value, Mapping) and len(value) <= _MOST_ELEMENTS:
            self._add_all("mapping", *(part for item in value.items() for part in item))
        else:
            self._say("object", _name(type(value)))
            self.add(type(value))
            if not _is_of_package(type(value)):
                self.add(dict(getattr(value, "__dict__", {})))

    def _add_table(self, value: Any) -> None:
        self._say("table", _name(type(value)), *map(str, getattr(value, "columns", ())))
        try:
            self._say(pd.util.hash_pandas_object(value).to_numpy().tobytes())
        except TypeError:  # labels or cells that have no hash
            self._say("cells")

    def _add_all(self, kind: str, *values: Any) -> None:
        self._say(kind, str(len(values)))
        for value in values:
            self.add(value)

    def _say(self, *words: str | bytes) -> None:
        for word in words:
            raw = word if isinstance(word, bytes) else word.encode("utf-8", "surrogatepass")
            self.hash.update(len(raw).to_bytes(8, "little") + raw)


# Of classes and modules: where they stand, and what Python keeps for itself.
_INCIDENTAL = {
    "__dict__", "__weakref__", "__module__", "__firstlineno__", "__static_attributes__",
    "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__",
    "__abstractmethods__", "_abc_impl", "__doc__",
}  # fmt: skip


def _packed(value: Any) -> str | bytes:
    """Return a plain value so that 1, True, 1.0, 0.0 and −0.0 differ."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    return value if isinstance(value, str | bytes) else repr(value)


def _global_names(code: CodeType) -> list[str]:
    """Return the names that code and the code within it may take from its module, in order."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names.update(dict.fromkeys(_global_names(constant)))
    return list(names)


def _is_of_package(value: Any) -> bool:
    """Whether a function or class comes with Python, bayesv or an installed package."""
    if not isinstance(value, FunctionType | type):
        return False
    module = str(getattr(value, "__module__", "") or "")
    if module.partition(".")[0] in ("bayesv", "builtins"):
        return True
    try:
        file = inspect.getfile(value)
    except (TypeError, OSError):  # made in a session, or compiled
        return isinstance(value, type) and module != "__main__"
    return str(Path(file).resolve()).startswith(_PACKAGES)


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
