"""Raw draws of (Σ_f, σ², β) and their labelled form, the same for every engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayesv.design.design import Design
from bayesv.errors import BayesvError
from bayesv.linalg import Array, cov_to_sd_corr
from bayesv.names import variable_name

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
            safe = variable_name(group)
            columns = (f"{safe}_coef", f"{safe}_coef_bis")
            coords |= {name: list(term.columns) for name in columns}
            own = {
                f"cov_{safe}": ((*dims, *columns), cov),
                f"sd_{safe}": ((*dims, columns[0]), sd),
                f"corr_{safe}": ((*dims, *columns), corr),
            }
            if group in self.u:
                level = f"{safe}_level"
                coords[level] = term.levels.astype(str)
                own[f"u_{safe}"] = ((*dims, level, columns[0]), self.u[group])
            if taken := [name for name in own if name in variables or name in coords]:
                raise BayesvError(
                    f"The draws of {group!r} would be called {taken[0]!r}, as others are; rename "
                    "the grouping factor."
                )
            variables |= own
        stats = {name: (dims, np.asarray(v)) for name, v in self.sample_stats.items()}
        tree = {"posterior": xr.Dataset(variables, coords=coords, attrs=dict(self.attrs))}
        if design.has_rows:
            name = variable_name(design.response)
            name = "response" if name == "row" else name
            tree["observed_data"] = xr.Dataset(
                {name: ("row", design.y)}, coords={"row": np.asarray(design.rows)}
            )
        if stats:
            tree["sample_stats"] = xr.Dataset(stats, coords={k: coords[k] for k in dims})
        return xr.DataTree.from_dict(tree)
