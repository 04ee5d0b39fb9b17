"""Raw draws of (Σ_f, σ², β) and their labelled form, the same for every engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayesv.design import Design
from bayesv.errors import BayesvError
from bayesv.linalg import Array, cov_to_sd_corr

__all__ = ["Draws"]


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws as plain arrays with leading axes (chain, draw).

    Attributes
    ----------
    covs : mapping of group to ndarray, shape (chain, draw, r_f, r_f)
    sigma2 : ndarray, shape (chain, draw)
    beta : ndarray, shape (chain, draw, p)
    u : mapping of group to ndarray, shape (chain, draw, J_f, r_f)
        Empty unless random effects were asked for.
    sample_stats : mapping of str to ndarray, shape (chain, draw)
    attrs : mapping
        Facts about the run: seed, versions, seconds.
    problems : tuple of str
        What the engine knows to be wrong.
    """

    covs: Mapping[str, Array]
    sigma2: Array
    beta: Array
    u: Mapping[str, Array] = field(default_factory=dict)
    sample_stats: Mapping[str, Array] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def to_datatree(self, design: Design, engine: str) -> Any:
        """Return an ArviZ DataTree with the design's labels.

        Raises
        ------
        BayesvError
            If shapes do not match the design, or a draw is not finite.
        """
        import xarray as xr

        shape = self.sigma2.shape
        if self.beta.shape != (*shape, design.p):
            raise BayesvError(
                f"Draws of β have shape {self.beta.shape}; needed is {(*shape, design.p)}."
            )
        for what, values in {"σ²": self.sigma2, "β": self.beta, **self.covs}.items():
            if not np.isfinite(values).all():
                raise BayesvError(f"{engine}: some draws of {what} are not finite.")
        if (self.sigma2 <= 0).any():
            raise BayesvError(f"{engine}: some draws of σ² are not positive.")
        dims = ("chain", "draw")
        variables: dict[str, Any] = {
            "beta": ((*dims, "coef"), self.beta),
            "sigma": (dims, np.sqrt(self.sigma2)),
            "sigma2": (dims, self.sigma2),
        }
        coords: dict[str, Any] = {
            "chain": np.arange(shape[0]),
            "draw": np.arange(shape[1]),
            "coef": list(design.fixed_names),
        }
        for term in design.terms:
            group = term.group
            if group not in self.covs:
                raise BayesvError(
                    f"There are no draws of Σ for {group!r}, only for {', '.join(self.covs)}."
                )
            cov = np.asarray(self.covs[group])
            if cov.shape != (*shape, term.n_columns, term.n_columns):
                raise BayesvError(
                    f"Draws of Σ for {group!r} have shape {cov.shape}; needed is "
                    f"{(*shape, term.n_columns, term.n_columns)}."
                )
            sd, corr = cov_to_sd_corr(cov)
            columns = (f"{group}_coef", f"{group}_coef_bis")
            coords |= {name: list(term.columns) for name in columns}
            variables[f"cov_{group}"] = ((*dims, *columns), cov)
            variables[f"sd_{group}"] = ((*dims, columns[0]), sd)
            variables[f"corr_{group}"] = ((*dims, *columns), corr)
            if group in self.u:
                level = f"{group}_level"
                coords[level] = term.levels.astype(str)
                variables[f"u_{group}"] = ((*dims, level, columns[0]), self.u[group])
        stats = {name: (dims, np.asarray(v)) for name, v in self.sample_stats.items()}
        tree = {"posterior": xr.Dataset(variables, coords=coords, attrs=dict(self.attrs))}
        if design.has_rows:
            name = design.response.replace("/", "÷")  # no variable of a DataTree has a slash
            tree["observed_data"] = xr.Dataset(
                {name: ("row", design.y)}, coords={"row": np.asarray(design.rows)}
            )
        if stats:
            tree["sample_stats"] = xr.Dataset(stats, coords={k: coords[k] for k in dims})
        return xr.DataTree.from_dict(tree)
