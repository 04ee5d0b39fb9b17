"""Fingerprints of functions: what their code does, with the values and functions it uses."""

from __future__ import annotations

import copyreg
import dis
import functools
import importlib.util
import inspect
import random
import struct
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["fingerprint"]

_PACKAGES = tuple(
    str(Path(sysconfig.get_path(name)).resolve())
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


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
    Followed are compiled code, defaults, closures, global values, the user's own functions,
    classes and modules (imported inside a function, too), and what objects hold that can be
    pickled, less what they have cached. What a function assigns while it runs, such as a count of
    its calls, is not part of it. What packages have is known by name. Not followed are names
    that are texts until they are looked up, and files that are read.

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
        self.of_modules: set[tuple[str, str]] = set()

    def add_function(self, value: FunctionType) -> None:
        self._add_all("function", value.__code__, value.__defaults__, value.__kwdefaults__)
        for cell in value.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # not assigned yet
                self._say("empty")
        names = _global_names(value.__code__)
        of_module, of_function = (_assigned(value.__code__, to) for to in _ASSIGNMENTS)
        for name in names:
            if name in value.__globals__ and name not in of_module:
                self._say("global", name)
                self._add_named(value.__globals__[name], names)
        for name in _imported(value.__code__, value.__globals__.get("__package__")):
            self._say("import", name)
            self._add_named(_module(name), names)
        # __wrapped__, and what the user has hung on it
        self.add({name: held for name, held in vars(value).items() if name not in of_function})

    def _add_named(self, value: Any, names: Sequence[str]) -> None:
        """Add a value; of a module of the user, what has one of the names."""
        if not isinstance(value, ModuleType) or _is_of_package(value):
            self.add(value)
            return
        self._say("module", value.__name__)
        for name in names:
            if name in vars(value) and (value.__name__, name) not in self.of_modules:
                self.of_modules.add((value.__name__, name))
                self._say("member", name)
                self._add_named(vars(value)[name], names)

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
            if (file := getattr(value, "__file__", None)) and not _is_of_package(value):
                self._say(Path(file).read_bytes())
        elif isinstance(value, BuiltinFunctionType):
            self._add_all("builtin", _name(value), value.__self__)
        elif _is_of_package(value):
            self._say("package", _name(value))
            self._add_wrapped(value)
        elif isinstance(value, FunctionType):
            self.add_function(value)
        elif isinstance(value, type):
            members = {k: v for k, v in vars(value).items() if k not in _INCIDENTAL}
            self._add_all("class", value.__qualname__, type(value), value.__bases__, members)
        else:
            self._add_object(value)

    def _add_wrapped(self, value: Any) -> None:
        """Add the functions that were given to a package's decorator or descriptor."""
        cells = value.__closure__ or () if isinstance(value, FunctionType) else ()
        inner = [getattr(value, name, None) for name in _WRAPPED]
        inner += [cell.cell_contents for cell in cells if cell != CellType()]
        self._add_all("given", *(f for f in inner if isinstance(f, FunctionType | MethodType)))

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
        elif isinstance(value, tuple | list):
            self._add_all(type(value).__name__, *value)
        elif isinstance(value, Mapping):
            self._add_all("mapping", *(part for item in value.items() for part in item))
        else:
            self._say("object", _name(type(value)))
            self.add(type(value))
            if _is_of_package(type(value)):
                self._add_wrapped(value)
            self._add_state(value)

    def _add_state(self, value: Any) -> None:
        """Add what an object is pickled as; nothing of one that cannot be."""
        if isinstance(value, random.Random | np.random.RandomState):
            return  # the system seeds those that modules hold
        try:
            if hasattr(value, "py_func"):  # compiled by Numba, which gives it a random name
                return
            registered = copyreg.dispatch_table.get(type(value))
            reduced = registered(value) if registered else value.__reduce_ex__(4)
        except Exception:  # a file, a lock, a generator, or whatever a class raises
            return
        if isinstance(reduced, str):
            self._say(reduced)
            return
        made, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        if isinstance(state, dict):
            state = {k: v for k, v in state.items() if not _is_cache(type(value), k)} or None
        self._add_all("state", made, arguments, state, list(items or ()), list(pairs or ()))

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


# Where decorators and descriptors keep the function that they were given.
_WRAPPED = ("__wrapped__", "__func__", "fget", "fset", "py_func")

# How code changes a value of its module, or one that hangs on a function.
_ASSIGNMENTS = ("STORE_GLOBAL", "STORE_ATTR")

# Of classes and modules: where they stand, and what Python keeps for itself.
_INCIDENTAL = {
    "__dict__", "__weakref__", "__module__", "__firstlineno__", "__static_attributes__",
    "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__",
    "__abstractmethods__", "_abc_impl", "__doc__", "__slotnames__",
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


def _assigned(code: CodeType, how: str) -> set[str]:
    """Return the names that code and the code within it assign by an instruction."""
    names = {str(step.argval) for step in dis.get_instructions(code) if step.opname == how}
    return names.union(*(_assigned(c, how) for c in code.co_consts if isinstance(c, CodeType)))


def _imported(code: CodeType, package: str | None) -> list[str]:
    """Return the modules that code and the code within it may import, in order."""
    steps = dis.get_instructions(code)
    names = [str(step.argval) for step in steps if step.opname == "IMPORT_NAME"]
    if package:
        names += [f"{package}.{name}" for name in names]  # of a relative import
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names += _imported(constant, package)
    return list(dict.fromkeys(names))


def _module(name: str) -> Any:
    """Return a module of the user that an estimator imports when it runs; None of any other."""
    try:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.has_location or _is_in_package(str(spec.origin)):
            return None
        return importlib.import_module(name)
    except Exception:  # whatever a module raises
        return None


def _is_cache(kind: type, name: str) -> bool:
    return isinstance(inspect.getattr_static(kind, name, None), functools.cached_property)


def _is_of_package(value: Any) -> bool:
    """Whether a function, class or module comes with Python, bayesv or an installed package."""
    if isinstance(value, ModuleType):
        module = value.__name__
    elif isinstance(value, FunctionType | type):
        module = str(getattr(value, "__module__", "") or "")
    else:
        return False
    if module.partition(".")[0] in ("bayesv", "builtins"):
        return True
    try:
        file = inspect.getfile(value)
    except (TypeError, OSError):  # compiled, or made in a session
        return module in sys.modules and module != "__main__"
    return _is_in_package(file)


def _is_in_package(file: str) -> bool:
    return str(Path(file).resolve()).startswith(_PACKAGES)


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
