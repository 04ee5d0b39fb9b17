"""Draws of a PyMC model whose variables are named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.design.design import Design, RandomTerm
from bayesv.errors import ExtractionError, near
from bayesv.inference.draws import Draws
from bayesv.inference.pymc import drawn_residual
from bayesv.linalg import Array, cov_to_sd_corr, smallest_relative_eigenvalue
from bayesv.names import factors_of, matched, paired
from bayesv.posterior.posterior import Posterior

__all__ = ["extract_pymc"]

# What may be named for a group; a Cholesky factor beside SDs is that of the correlation.
_FORMS = ({"cov"}, {"chol"}, {"sd"}, {"sd", "corr"}, {"sd", "chol"})


def extract_pymc(tree: Any, design: Design, names: Mapping[str, Any]) -> Posterior:
    """Read draws of a PyMC model; see `bayesv.extract`."""
    by_group = _by_group(names, design)
    reader = _Reader(tree["posterior"])
    if {"sigma", "sigma2"} <= set(names):
        raise ExtractionError("names has sigma and sigma2; name the one that the model has.")
    if design.sigma_is_known:
        sigma2 = np.ones(reader.shape)
    elif design.structured_residual is not None and design.structured_residual.sd_labels:
        sigma2 = (reader.array("sd_Residual") ** 2).mean(axis=-1)  # whatever else is called sigma
    elif "sigma2" in names:
        sigma2 = reader.array(names["sigma2"])
    else:
        sigma2 = reader.array(names.get("sigma", "sigma")) ** 2
    if sigma2.ndim != 2:
        raise ExtractionError(
            f"sigma has shape {sigma2.shape[2:]} a draw; V = Z G Z' + σ²W⁻¹ needs one number. "
            "Models with several residual SDs cannot be represented."
        )
    if (sigma2 <= 0).any():
        raise ExtractionError("Some draws of sigma are not positive.")
    beta = reader.columns(names.get("beta", "beta"), design.fixed_names, "beta")
    covs = {term.group: _group(reader, term, by_group.get(term.group)) for term in design.terms}
    stats = {}
    if "sample_stats" in tree.children and "diverging" in tree["sample_stats"]:
        stats["diverging"] = np.asarray(tree["sample_stats"]["diverging"])
    residual = drawn_residual(design, sigma2, reader.array)
    draws = Draws(ComponentDraws(design, covs, sigma2, beta, residual), sample_stats=stats)
    return Posterior.from_draws(draws, None, "extracted")


def _by_group(names: Mapping[str, Any], design: Design) -> dict[str, Any]:
    """Return what is named for each grouping factor of the design."""
    known = ("sigma", "sigma2", "beta")
    keys = [key for key in names if key not in known]
    places = matched(keys, design.groups, "names: the group", ExtractionError, factors_of)
    for key, place in zip(keys, places, strict=True):
        if place is None:
            raise ExtractionError(
                f"names has {key!r}; expected are sigma, sigma2, beta and the groups "
                f"{', '.join(design.groups)}{near(key, [*known, *design.groups])}"
            )
    return {
        design.groups[i]: names[key] for key, i in zip(keys, places, strict=True) if i is not None
    }


def _group(reader: _Reader, term: RandomTerm, names: Any) -> Array:
    """Draws of Σ_f from a covariance, or SDs with a correlation."""
    if names is None:
        if f"cov_{term.group}" in reader.posterior:
            names = {"cov": f"cov_{term.group}"}
        else:
            chol = f"chol_{term.group}"
            names = {"sd": f"sd_{term.group}"}
            names |= {"chol": chol} if chol in reader.posterior else {}
    if not isinstance(names, Mapping) or set(names) not in _FORMS:
        raise ExtractionError(
            f"names[{term.group!r}] must be {{'cov': variable}}, {{'chol': variable}}, {{'sd': "
            f"variable(s)}} or {{'sd': variable(s), 'corr' or 'chol': variable}}; found {names!r}."
        )
    if "cov" in names:
        cov = reader.square(names["cov"], term)
    elif "sd" not in names:
        cov = _squared(reader.root(names["chol"], term))
    else:
        sd = reader.columns(names["sd"], term.columns, f"SDs of {term.group!r}")
        if (sd < 0).any():
            raise ExtractionError(f"Some draws of the SDs of {term.group!r} are negative.")
        cov = _correlation(reader, term, names) * sd[..., :, None] * sd[..., None, :]
    _check_psd(cov, term)
    if (cov[..., ~term.structure.mask] != 0).any():
        raise ExtractionError(
            f"Draws of Σ of {term.group!r} have covariances where the design has none; pass the "
            f"design of '({' + '.join(term.columns)} | {term.group})'."
        )
    return cov


def _correlation(reader: _Reader, term: RandomTerm, names: Mapping[str, Any]) -> Array:
    """Return draws of the correlation that stands beside SDs; none is needed for ``||``."""
    r = term.n_columns
    if "corr" not in names and "chol" not in names:
        if term.structure.n_corrs:
            raise ExtractionError(
                f"names[{term.group!r}] has SDs alone, but the design correlates "
                f"{', '.join(term.columns)}. Name their 'corr' or 'chol', or, if the model has "
                "none, pass the design of '(x || group)'."
            )
        return np.eye(r)
    if "chol" in names:
        corr = _squared(reader.root(names["chol"], term))
    else:
        values = reader.array(names["corr"])
        if r == 2 and values.ndim == 2:
            corr = np.ones((*values.shape, 2, 2))
            corr[..., 0, 1] = corr[..., 1, 0] = values
        else:
            corr = reader.square(names["corr"], term)
    if not np.allclose(np.diagonal(corr, axis1=-2, axis2=-1), 1.0, atol=1e-6):
        raise ExtractionError(
            f"{names.get('corr', names.get('chol'))!r} of {term.group!r} is not of a correlation: "
            "its diagonal is not 1. Name a covariance as {'cov': …} and its Cholesky factor as "
            "{'chol': …}, without SDs."
        )
    return corr


def _squared(root: Array) -> Array:
    return root @ np.swapaxes(root, -1, -2)


def _check_psd(cov: Array, term: RandomTerm) -> None:
    flat = cov.reshape(-1, *cov.shape[-2:])
    if not np.allclose(flat, np.swapaxes(flat, -1, -2), rtol=1e-6):
        raise ExtractionError(f"Draws of Σ of {term.group!r} are not symmetric; a Cholesky factor?")
    sd, corr = cov_to_sd_corr(flat)
    corr = np.nan_to_num(corr) + np.eye(flat.shape[-1]) * (sd == 0)[:, None, :]
    low = np.linalg.eigvalsh(corr)[:, 0]
    worst = int(np.argmin(low))
    if low[worst] < -1e-6 or (np.diagonal(flat, axis1=1, axis2=2) < 0).any():
        raise ExtractionError(
            f"Draw {worst} of Σ of {term.group!r} is not positive semi-definite (smallest "
            f"eigenvalue of its correlation {smallest_relative_eigenvalue(flat[worst]):.3g})."
        )


class _Reader:
    """Variables of a posterior group as arrays, aligned by label where labels exist."""

    def __init__(self, posterior: Any) -> None:
        self.posterior = posterior

    @property
    def shape(self) -> tuple[int, int]:
        """Number of chains, and of draws of each."""
        return self.posterior.sizes["chain"], self.posterior.sizes["draw"]

    def array(self, name: str) -> Array:
        if name not in self.posterior:
            have = [str(v) for v in self.posterior.data_vars]
            raise ExtractionError(
                f"The draws have no variable {name!r}{near(name, have)} There are: "
                f"{', '.join(have)}."
            )
        values = self.posterior[name]
        if not {"chain", "draw"} <= set(values.dims):
            raise ExtractionError(f"{name!r} has dims {values.dims}; chain and draw are needed.")
        array = np.asarray(values.transpose("chain", "draw", ...).to_numpy(), dtype=float)
        if (bad := ~np.isfinite(array)).any():
            raise ExtractionError(f"{name!r} has {int(bad.sum())} values that are not finite.")
        return array

    def columns(self, name: str | list[str], labels: tuple[str, ...], what: str) -> Array:
        """Return (chain, draw, k) in the order of the wanted coefficients."""
        if not isinstance(name, str):
            if not isinstance(name, list | tuple):
                raise ExtractionError(f"{what}: a variable or a list of them, found {name!r}.")
            if len(name) != len(labels):
                raise ExtractionError(
                    f"{what}: {len(name)} variables named, {len(labels)} needed, in this order: "
                    f"{', '.join(labels)}."
                )
            return np.stack([self.array(n) for n in name], axis=-1)
        values = self.array(name)
        values = values[..., None] if values.ndim == 2 else values
        if values.ndim != 3 or values.shape[2] != len(labels):
            raise ExtractionError(
                f"{what}: {name!r} has shape {values.shape[2:]} a draw; {len(labels)} are needed: "
                f"{', '.join(labels)}."
            )
        order = self._order(name, 0, labels, what)
        return values if order is None else values[..., order]

    def square(self, name: str, term: RandomTerm) -> Array:
        """Return (chain, draw, r, r) in the order of the term's columns."""
        values = self.array(name)
        r = term.n_columns
        if values.ndim == 2 and r == 1:
            values = values[..., None, None]
        if values.shape[2:] != (r, r):
            raise ExtractionError(
                f"{name!r} has shape {values.shape[2:]} a draw; {term.group!r} needs ({r}, {r}) "
                f"for {', '.join(term.columns)}."
            )
        rows = self._order(name, 0, term.columns, name)
        columns = self._order(name, 1, term.columns, name)
        values = values if rows is None else values[..., rows, :]
        return values if columns is None else values[..., columns]

    def root(self, name: str, term: RandomTerm) -> Array:
        """Return a Cholesky factor, also one that PyMC packs row by row into a vector."""
        values = self.array(name)
        r = term.n_columns
        if r == 1 or values.shape[2:] != (r * (r + 1) // 2,):
            return self.square(name, term)
        root = np.zeros((*values.shape[:2], r, r))
        root[..., *np.tril_indices(r)] = values
        return root

    def _order(self, name: str, axis: int, columns: tuple[str, ...], what: str) -> list[int] | None:
        """Positions by label; None where the axis has no text labels."""
        variable = self.posterior[name]
        dims = [dim for dim in variable.dims if dim not in ("chain", "draw")]
        if axis >= len(dims) or dims[axis] not in variable.coords:
            return None
        labels = [str(v) for v in variable.coords[dims[axis]].to_numpy()]
        if all(label.isdigit() for label in labels):
            return None
        order = paired(columns, labels)
        if order is None:
            raise ExtractionError(
                f"{what}: the draws have labels {', '.join(labels)}; the design has "
                f"{', '.join(columns)}. Rename the coordinate, or drop it if the order is the same."
            )
        return order
