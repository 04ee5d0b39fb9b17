"""Results as JSON and arrays: readable in a file by any program, and nothing in it is executed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from bayesv.covariance import VarianceComponents
from bayesv.design.design import Design
from bayesv.design.residual import Homoscedastic, Independent, Residual
from bayesv.errors import StorageError
from bayesv.formula import Encoding
from bayesv.gram import GramStatistics
from bayesv.linalg import Array
from bayesv.storage.classes import WORDS, made
from bayesv.storage.labels import index_from, index_parts
from bayesv.storage.statistics import parts_of, statistics_from
from bayesv.storage.text import is_storable
from bayesv.structures import CovarianceStructure, of_blocks

__all__ = ["decode", "encode"]

# Classes whose family of covariances is kept as sets of columns, where it is any Σ on them.
_OF_BLOCKS = ("RandomTerm", "TermSummary", "Sequential")

# Types of arrays.
_PLAIN = re.compile(r"object|bool|u?int(?:8|16|32|64)|float(?:16|32|64)|<U\d{1,6}")


def encode(contents: Mapping[str, Any]) -> tuple[str, dict[str, Array]]:
    """Return values as JSON, and the arrays it refers to by name.

    Parameters
    ----------
    contents : mapping of str to values
        Plain values, tuples, lists, mappings, arrays, pandas objects, designs, priors, variance
        components and Gram statistics.

    Returns
    -------
    str, dict of str to ndarray
        Arrays are named by the way to them, such as ``design.terms.0.codes``.

    Raises
    ------
    StorageError
        If a value has no such form.
    """
    arrays: dict[str, Array] = {}
    plain = {key: _encoded(value, key, arrays) for key, value in contents.items()}
    return json.dumps(plain, allow_nan=False), arrays


def decode(text: str, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Return the values of `encode`.

    Raises
    ------
    StorageError
        If the text is not what `encode` writes.
    """
    try:
        return {key: _decoded(value, arrays) for key, value in json.loads(text).items()}
    except StorageError:
        raise
    except RecursionError as error:
        raise StorageError("the contents are nested too deeply to be understood") from error
    except Exception as error:  # whatever constructors and pandas say of values not from here
        raise StorageError(f"the contents cannot be understood ({error})") from error


def _encoded(value: Any, path: str, arrays: dict[str, Array]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_encoded(v, f"{path}.{i}", arrays) for i, v in enumerate(value)]}
    if isinstance(value, Mapping):
        items = enumerate(value.items())
        return {"dict": [[str(k), _encoded(v, f"{path}.{i}", arrays)] for i, (k, v) in items]}
    if isinstance(value, np.ndarray):
        return _array(value, path, arrays)
    if isinstance(value, pd.Index):
        return {"index": _encoded(index_parts(value), path, arrays)}
    if isinstance(value, pd.Series):
        parts = {"values": value.to_numpy(), "index": value.index, "name": value.name}
        return {"series": _encoded(parts, path, arrays)}
    if isinstance(value, pd.DataFrame):
        parts = {"values": value.to_numpy(), "index": value.index, "columns": value.columns}
        return {"frame": _encoded(parts, path, arrays)}
    if sparse.issparse(value):
        csr = sparse.csr_array(value)
        parts = {name: getattr(csr, name) for name in ("data", "indices", "indptr", "shape")}
        return {"sparse": _encoded(parts, path, arrays)}
    if isinstance(value, VarianceComponents):
        parts = {"blocks": {group: value[group] for group in value}, "sigma2": value.sigma2}
        residual = {what: dict(values) for what, values in vars(value.residual).items() if values}
        if residual:
            parts["residual"] = residual
        return {"components": _encoded(parts, path, arrays)}
    if isinstance(value, GramStatistics):
        return {"statistics": _encoded(parts_of(value), path, arrays)}
    if isinstance(value, Encoding) and not value.is_plain:
        return None  # it calls functions of the user, which no file holds
    if (word := WORDS.get(type(value))) is None:
        raise StorageError(f"{path} is a {type(value).__name__}, which cannot be saved.")
    kept = [f.name for f in fields(value) if f.metadata.get("saved", True)]
    parts = dict(_part(value, name) for name in kept)
    return {
        "class": word,
        "fields": {k: _encoded(v, f"{path}.{k}", arrays) for k, v in parts.items()},
    }


def _part(value: Any, name: str) -> tuple[str, Any]:
    """Return the name of a field in a file, and its value.

    Of R/σ² = diag(1/w) these are the weights; of a family of any Σ which columns are correlated.
    """
    part = getattr(value, name)
    if type(part) in (Homoscedastic, Independent):
        return "weights", None if part.iid else part.weights
    if isinstance(part, CovarianceStructure) and part == of_blocks(part.blocks):
        return "blocks", part.blocks
    return name, part


def _array(value: Array, path: str, arrays: dict[str, Array]) -> dict[str, Any]:
    if value.size == 0:  # in NetCDF a length of 0 means "unlimited"
        return {"empty": list(value.shape), "dtype": str(value.dtype)}
    if value.dtype == object:
        texts: list[Any] = value.ravel().tolist()
        if not all(isinstance(text, str) for text in texts):
            raise StorageError(f"{path} has objects that are not text and cannot be saved.")
        if not all(map(is_storable, texts)):  # JSON holds what arrays of text do not
            return {"texts": texts, "shape": list(value.shape)}
    arrays[path] = value
    return {"array": path, "dtype": str(value.dtype)}


def _decoded(value: Any, arrays: Mapping[str, Array]) -> Any:
    if not isinstance(value, dict):
        return value
    if "class" in value:
        make = made(value["class"])
        if make is None:
            raise StorageError(f"the contents have a {value['class']!r}, which is not known")
        parts = {key: _decoded(v, arrays) for key, v in value["fields"].items()}
        if "blocks" in parts and value["class"] in _OF_BLOCKS:
            parts["structure"] = of_blocks(parts.pop("blocks"))
        if make is Design and "weights" in parts:
            parts["residual"] = Residual.of_weights(parts.pop("weights"), len(parts["y"]))
        return make(**parts)
    if "array" in value:
        array = arrays[value["array"]]
        if value["dtype"] == "object":
            return np.array(array.tolist(), dtype=object)
        if not _PLAIN.fullmatch(value["dtype"]):
            raise StorageError(f"the contents have an array of type {value['dtype']!r}")
        return np.ascontiguousarray(array, dtype=value["dtype"]).reshape(array.shape)
    if "texts" in value:
        return np.array([str(v) for v in value["texts"]], dtype=object).reshape(value["shape"])
    if "empty" in value:
        return _empty(value["empty"], value["dtype"])
    ((kind, inner),) = value.items()
    if kind == "float":
        return float(inner)
    if kind == "dict":
        return {key: _decoded(v, arrays) for key, v in inner}
    if kind in ("tuple", "list"):
        items = [_decoded(v, arrays) for v in inner]
        return tuple(items) if kind == "tuple" else items
    parts = _decoded(inner, arrays)
    if kind == "index":
        return index_from(parts)
    if kind == "series":
        return pd.Series(parts["values"], parts["index"], name=parts["name"])
    if kind == "frame":
        return pd.DataFrame(parts["values"], parts["index"], parts["columns"])
    if kind == "statistics":
        return statistics_from(parts)
    if kind == "sparse":
        arrays_of = (parts["data"], parts["indices"], parts["indptr"])
        matrix = sparse.csr_array(arrays_of, shape=parts["shape"])
        matrix.check_format()
        return matrix
    if kind == "components":
        return VarianceComponents(**parts)
    raise StorageError(f"the contents have a {kind!r}, which is not known")


def _empty(shape: Any, dtype: str) -> Array:
    """Return an array without elements; a file's word for it takes no memory."""
    if not isinstance(shape, list) or 0 not in shape or not _PLAIN.fullmatch(dtype):
        raise StorageError(f"the contents have an empty array of shape {shape} and type {dtype!r}")
    return np.zeros(shape, dtype=dtype)
