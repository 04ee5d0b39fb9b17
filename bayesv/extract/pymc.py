"""Draws of a PyMC model whose variables are named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayesv.design import Design, RandomTerm
from bayesv.errors import ExtractionError, near
from bayesv.inference.draws import Draws
from bayesv.linalg import Array, cov_to_sd_corr, smallest_relative_eigenvalue
from bayesv.names import canonical, factors_of
from bayesv.posterior import Posterior

__all__ = ["extract_pymc"]


def extract_pymc(tree: Any, design: Design, names: Mapping[str, Any]) -> Posterior:
    """Read draws of a PyMC model; see `bayesv.extract`."""
    known = {"sigma", "sigma2", "beta"}
    for key in names:
        if key not in known and factors_of(key) not in {factors_of(g) for g in design.groups}:
            raise ExtractionError(
                f"names has {key!r}; expected are sigma, sigma2, beta and the groups "
                f"{', '.join(design.groups)}{near(key, [*known, *design.groups])}"
            )
    reader = _Reader(tree["posterior"])
    if "sigma2" in names:
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
    covs = {term.group: _group(reader, term, names) for term in design.terms}
    stats = {}
    if "sample_stats" in tree.children and "diverging" in tree["sample_stats"]:
        stats["diverging"] = np.asarray(tree["sample_stats"]["diverging"])
    return Posterior.from_draws(Draws(covs, sigma2, beta, {}, stats), design, None, "extracted")


def _group(reader: _Reader, term: RandomTerm, names: Mapping[str, Any]) -> Array:
    """Draws of Σ_f from a covariance, or SDs with a correlation."""
    given = next((v for k, v in names.items() if factors_of(k) == factors_of(term.group)), None)
    r = term.n_columns
    if given is None:
        if f"cov_{term.group}" in reader.posterior:
            given = {"cov": f"cov_{term.group}"}
        else:
            chol = f"chol_{term.group}"
            given = {"sd": f"sd_{term.group}"}
            given |= {"chol": chol} if chol in reader.posterior else {}
    if not isinstance(given, Mapping) or not {"cov", "sd"} & set(given):
        raise ExtractionError(
            f"names[{term.group!r}] must be {{'cov': variable}} or {{'sd': variable(s), 'corr': "
            f"variable}}; found {given!r}."
        )
    if "cov" in given:
        cov = reader.square(given["cov"], term)
        _check_psd(cov, term)
        return cov
    sd = reader.columns(given["sd"], term.columns, f"SDs of {term.group!r}")
    if (sd < 0).any():
        raise ExtractionError(f"Some draws of the SDs of {term.group!r} are negative.")
    corr = np.broadcast_to(np.eye(r), (*sd.shape, r)).copy()
    if "chol" in given:
        L = reader.square(given["chol"], term)
        corr = L @ np.swapaxes(L, -1, -2)
    elif "corr" in given:
        values = reader.array(given["corr"])
        if r == 2 and values.ndim == 2:
            corr[..., 0, 1] = corr[..., 1, 0] = values
        else:
            corr = reader.square(given["corr"], term)
        if not np.allclose(np.diagonal(corr, axis1=-2, axis2=-1), 1.0, atol=1e-6):
            raise ExtractionError(
                f"{given['corr']!r} of {term.group!r} does not have 1 on its diagonal; is it a "
                "covariance or a Cholesky factor? Name those as 'cov' or 'chol'."
            )
    cov = corr * sd[..., :, None] * sd[..., None, :]
    _check_psd(cov, term)
    return cov


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
        return np.asarray(values.transpose("chain", "draw", ...).to_numpy(), dtype=float)

    def columns(self, name: str | list[str], wanted: tuple[str, ...], what: str) -> Array:
        """Return (chain, draw, k) in the order of the wanted coefficients."""
        if not isinstance(name, str):
            if not isinstance(name, list | tuple):
                raise ExtractionError(f"{what}: a variable or a list of them, found {name!r}.")
            if len(name) != len(wanted):
                raise ExtractionError(
                    f"{what}: {len(name)} variables named, {len(wanted)} needed, in this order: "
                    f"{', '.join(wanted)}."
                )
            return np.stack([self.array(n) for n in name], axis=-1)
        values = self.array(name)
        values = values[..., None] if values.ndim == 2 else values
        if values.ndim != 3 or values.shape[2] != len(wanted):
            raise ExtractionError(
                f"{what}: {name!r} has shape {values.shape[2:]} a draw; {len(wanted)} are needed: "
                f"{', '.join(wanted)}."
            )
        order = self._order(name, 0, wanted, what)
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

    def _order(self, name: str, axis: int, wanted: tuple[str, ...], what: str) -> list[int] | None:
        """Positions by label; None where the axis has no text labels."""
        variable = self.posterior[name]
        dims = [dim for dim in variable.dims if dim not in ("chain", "draw")]
        if axis >= len(dims) or dims[axis] not in variable.coords:
            return None
        labels = [str(v) for v in variable.coords[dims[axis]].to_numpy()]
        if all(label.isdigit() for label in labels):
            return None
        meanings = [canonical(label) for label in labels]
        if set(meanings) != {canonical(w) for w in wanted} or len(set(meanings)) < len(meanings):
            raise ExtractionError(
                f"{what}: the draws have labels {', '.join(labels)}; the design has "
                f"{', '.join(wanted)}. Rename the coordinate, or drop it if the order is the same."
            )
        return [meanings.index(canonical(w)) for w in wanted]
