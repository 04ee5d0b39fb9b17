"""Arrays with names: draws as ArviZ knows them, and what is computed from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.design.design import Design
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.errors import BayesvError
from bayesv.inference.draws import Draws
from bayesv.linalg import Array, cov_to_sd_corr
from bayesv.names import variable_name
from bayesv.support.xarray import data_array, data_tree, dataset

if TYPE_CHECKING:
    import xarray

__all__ = [
    "array",
    "check_draws",
    "draws_of",
    "refuse_shared_names",
    "response_name",
    "tree_of",
    "variables_of",
]

_DIMS = ("chain", "draw")


def array(values: Array, coords: Mapping[str, Any], name: str | None = None) -> xarray.DataArray:
    """Return a DataArray; keys of ``coords`` are its dims, None stands for no labels."""
    labels = {dim: label for dim, label in coords.items() if label is not None}
    return data_array(values, dims=list(coords), coords=labels, name=name)


def draws_of(tree: Any, name: str) -> Array:
    """Return a variable of the posterior, shape (chain, draw, …)."""
    values = tree["posterior"][name]
    # One layout in memory whatever made the draws: sums depend on it in their last digit.
    return np.ascontiguousarray(values.transpose(*_DIMS, ...).to_numpy(), dtype=float)


def check_draws(values: ComponentDraws, source: str) -> None:
    """Refuse draws that are not finite, and variances that are none.

    Raises
    ------
    BayesvError
    """
    for what, numbers in {"σ²": values.sigma2, "β": values.beta, **values.covs}.items():
        if not np.isfinite(numbers).all():
            raise BayesvError(f"{source}: some draws of {what} are not finite.")
    if (values.sigma2 <= 0).any():
        raise BayesvError(f"{source}: some draws of σ² are not positive.")
    for group, cov in values.covs.items():
        if (np.diagonal(cov, axis1=-2, axis2=-1) < 0).any():
            raise BayesvError(f"{source}: some draws of a variance of {group} are negative.")


def refuse_shared_names(design: Design, groups_of_u: Collection[str] = ()) -> None:
    """Refuse a design of whose draws two variables would share a name.

    Raises
    ------
    BayesvError
    """
    taken = {"beta", "sigma", "sigma2", "coef", *_DIMS}
    if design.structured_residual is not None:
        taken |= {"sd_Residual", "corr_Residual", "residual_sd", "residual_corr"}
    for term in design.terms:
        safe = variable_name(term.group)
        own = [f"cov_{safe}", f"sd_{safe}", f"corr_{safe}"]
        taken |= {f"{safe}_coef", f"{safe}_coef_bis"}
        if term.group in groups_of_u:
            own.append(f"u_{safe}")
            taken.add(f"{safe}_level")
        if shared := [name for name in own if name in taken]:
            raise BayesvError(
                f"The draws of {term.group!r} would be called {shared[0]!r}, as others are; rename "
                "the grouping factor."
            )
        taken.update(own)


def tree_of(draws: Draws) -> xarray.DataTree:
    """Return an ArviZ DataTree with the design's labels.

    Raises
    ------
    BayesvError
        If two variables would share a name.
    """
    values = draws.values
    design = values.design
    variables, coords = variables_of(values, draws.u)
    groups = {"posterior": dataset(variables, coords=coords, attrs=dict(draws.attrs))}
    if design.has_rows:
        groups["observed_data"] = _observed(design)
    if draws.sample_stats:
        stats = {name: (_DIMS, np.asarray(v)) for name, v in draws.sample_stats.items()}
        groups["sample_stats"] = dataset(stats, coords={dim: coords[dim] for dim in _DIMS})
    if draws.log_weights is not None:
        groups["proposals"] = dataset({"log_weight": ("proposal", draws.log_weights)})
    return data_tree(groups)


def variables_of(
    values: ComponentDraws, u: Mapping[str, Array]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the labelled variables of draws, (dims, values) by name, and labels of their dims.

    Parameters
    ----------
    values : ComponentDraws, shape (chain, draw)
    u : mapping of str to ndarray, shape (chain, draw, J, r)
        Random effects that were kept.

    Raises
    ------
    BayesvError
        If two variables would share a name.
    """
    design = values.design
    refuse_shared_names(design, u)
    variables: dict[str, Any] = {
        "beta": ((*_DIMS, "coef"), values.beta),
        "sigma": (_DIMS, values.sigma),
        "sigma2": (_DIMS, values.sigma2),
    }
    coords: dict[str, Any] = {
        "chain": np.arange(values.shape[0]),
        "draw": np.arange(values.shape[1]),
        "coef": list(design.fixed_names),
    }
    if values.residual is not None and (form := design.structured_residual) is not None:
        names, labels = _of_residual(form, values, values.residual)
        variables, coords = variables | names, coords | labels
    for term in design.terms:
        names, labels = _of_term(term, values, u)
        variables, coords = variables | names, coords | labels
    return variables, coords


def _of_term(
    term: Any, values: ComponentDraws, u: Mapping[str, Array]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the variables of a term, (dims, values) by name, and labels of their dims."""
    safe, cov = variable_name(term.group), values.covs[term.group]
    sd, corr = cov_to_sd_corr(cov)
    columns = (f"{safe}_coef", f"{safe}_coef_bis")
    labels = {name: list(term.columns) for name in columns}
    variables = {
        f"cov_{safe}": ((*_DIMS, *columns), cov),
        f"sd_{safe}": ((*_DIMS, columns[0]), sd),
        f"corr_{safe}": ((*_DIMS, *columns), corr),
    }
    if term.group in u:
        level = f"{safe}_level"
        labels[level] = term.levels.astype(str)
        variables[f"u_{safe}"] = ((*_DIMS, level, columns[0]), u[term.group])
    return variables, labels


def _of_residual(
    form: StructuredResidual, values: ComponentDraws, residual: Parameters
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the labelled variables of structured residuals, and labels of their dims."""
    variables: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    if form.sd_labels:
        labels["residual_sd"] = list(form.sd_labels)
        variables["sd_Residual"] = (
            (*_DIMS, "residual_sd"), residual.sds * values.sigma[..., None],
        )  # fmt: skip
    if form.corr_labels:
        labels["residual_corr"] = list(form.corr_labels)
        variables["corr_Residual"] = ((*_DIMS, "residual_corr"), form.numbers(residual))
    return variables, labels


def response_name(design: Design) -> str:
    """Return what the response is called among variables."""
    name = variable_name(design.response)
    return "response" if name == "row" else name


def _observed(design: Design) -> xarray.Dataset:
    return dataset(
        {response_name(design): ("row", design.y)}, coords={"row": np.asarray(design.rows)}
    )
