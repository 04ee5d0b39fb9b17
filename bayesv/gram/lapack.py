"""LAPACK's Cholesky routines without Python's global lock, so that several run side by side."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from bayesv.linalg import Array

__all__ = ["cholesky", "invert", "solve"]

_pythonapi = ctypes.pythonapi
_pythonapi.PyCapsule_GetName.restype = ctypes.c_char_p
_pythonapi.PyCapsule_GetName.argtypes = [ctypes.py_object]
_pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
_pythonapi.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


@cache
def _routine(name: str, n_arguments: int) -> Any:
    """Return a routine that SciPy exports to Cython; calls through ctypes release the lock."""
    from scipy.linalg import cython_lapack

    capsule = cython_lapack.__pyx_capi__[name]
    address = _pythonapi.PyCapsule_GetPointer(capsule, _pythonapi.PyCapsule_GetName(capsule))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * n_arguments)(address)


def _call(name: str, *arguments: Array | int) -> int:
    """Call with the matrix's lower triangle in C's order, which is the upper one in Fortran's."""
    info, keep, pointers = ctypes.c_int(0), [], []
    for value in (b"U", *arguments):
        if isinstance(value, np.ndarray):
            pointers.append(value.ctypes.data)
            continue
        kept: Any = ctypes.c_char(value) if isinstance(value, bytes) else ctypes.c_int(value)
        keep.append(kept)
        pointers.append(ctypes.addressof(kept))
    _routine(name, len(pointers) + 1)(*pointers, ctypes.addressof(info))
    return info.value


def cholesky(a: Array) -> bool:
    """Overwrite the lower triangle of ``a``, shape (n, n), by its Cholesky factor.

    Returns
    -------
    bool
        False if ``a`` is not positive definite.
    """
    n = len(_checked(a))
    return _call("dpotrf", n, a, n) == 0


def solve(L: Array, b: Array) -> Array:
    """Return (LL')⁻¹b, shape (n, m)."""
    n, m = b.shape
    x = np.ascontiguousarray(b.T)  # in Fortran's order
    _call("dpotrs", n, m, _checked(L), n, x, n)
    return x.T


def invert(L: Array) -> Array:
    """Return (LL')⁻¹ in its lower triangle, shape (n, n)."""
    n, inverse = len(_checked(L)), L.copy()
    _call("dpotri", n, inverse, n)
    return inverse


def _checked(a: Array) -> Array:
    if a.dtype != np.float64 or not a.flags.c_contiguous or a.shape != (len(a), len(a)):
        raise TypeError("LAPACK needs a square array of float64 in C order.")
    return a
