"""What is kept of each kind of result, and how it is made whole again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bayesv.design.design import Design
from bayesv.errors import StorageError
from bayesv.gram import GramStatistics, Probes, statistics_of
from bayesv.inference.density import MarginalDensity
from bayesv.posterior.labelled import check_draws
from bayesv.posterior.posterior import Posterior
from bayesv.priors.priors import ResolvedPriors
from bayesv.priors.residual import ResidualPriors
from bayesv.reml import RemlFit
from bayesv.storage.codec import decode, encode
from bayesv.storage.expected import check_fit, check_priors
from bayesv.storage.files import check_target, read, write
from bayesv.support.arguments import PATH, accepts
from bayesv.support.saving import save

__all__ = ["load"]

_FIT = (
    "design", "method", "components", "beta", "cov_beta", "criterion", "singular", "converged",
    "n_evaluations", "gradient_norm", "origin", "reported_cov_beta", "notes", "problems",
    "certificate",
)  # fmt: skip

_PRIORS = ("sd", "corr", "sigma", "beta", "bases", "note")


@accepts(path=PATH)
def load(path: str | os.PathLike[str]) -> Posterior | RemlFit:
    """Read what `bayesv.save` wrote.

    Parameters
    ----------
    path : str or path
        A ``.nc`` file or ``.zarr`` directory.

    Returns
    -------
    Posterior or RemlFit
        With the same draws, estimates, labels, priors and design, bit for bit.

    Raises
    ------
    StorageError
        If there is no such file, it is damaged, was changed or made by another program, or has a
        format that this version does not read.

    Notes
    -----
    What follows from the design, such as Gram statistics and the posterior density, is computed
    again; of designs that were summed up in batches and have no rows, the statistics are in the
    file. A file holds values only: reading it runs nothing that is in it, follows no link and reads
    no other file, and takes no more memory than the file's size warrants. All that is loaded, with
    labels, attributes and statistics of the sampler, is compared with the fingerprint made when it
    was saved; groups that other programs add later stay in the file and are not loaded.

    Examples
    --------
    >>> import bayesv as bv, tempfile
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> post = model.sample(seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = bv.load(post.save(f"{folder}/dyestuff.nc"))
    >>> again.estimate("median") == post.estimate("median")
    True
    """
    kind, tree, contents, arrays = read(path, ("Posterior", "RemlFit"))
    try:
        parts = decode(contents, arrays)
        if kind == "RemlFit":
            recipe, design = parts.pop("statistics"), parts["design"]
            check_fit(parts)
            statistics = None if recipe is None else _statistics(recipe, design)
            parts["components"].aligned(design)  # labels fit, or it is no fit of this design
            return RemlFit(**parts, _stats=statistics)
        return _posterior(tree, parts)
    except Exception as error:  # what a file that another program made says may be anything
        raise StorageError(f"{path} cannot be understood: {error}") from error


@save.register
def _save_fit(fit: RemlFit, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    target = check_target(path, overwrite)
    contents = {name: getattr(fit, name) for name in _FIT}
    # Sums of rows that depend on parameters of the residuals are in no fit.
    contents["statistics"] = None if fit._stats is None else _recipe(fit._stats, fit.design)
    return write(target, None, "RemlFit", *encode(contents), overwrite)


@save.register
def _save_posterior(
    post: Posterior, path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    target = check_target(path, overwrite)
    priors, density = post.priors, post.density
    contents = {
        "design": post.design,
        "priors": priors and _of_priors(priors),
        "engine": post.engine,
        "problems": post.problems,
        "statistics": None if density is None else _recipe(density.stats, post.design),
    }
    return write(target, post.draws, "Posterior", *encode(contents), overwrite)


def _posterior(tree: Any, parts: dict[str, Any]) -> Posterior:
    design = parts["design"]
    priors = parts["priors"] and _priors_of(parts["priors"], design)
    recipe, density = parts["statistics"], None
    if priors is not None and isinstance(recipe, GramStatistics):
        density = MarginalDensity(recipe, priors)
    elif priors is not None and recipe is not None:
        density = MarginalDensity.of(design, priors, recipe["structure"], dedupe=recipe["dedupe"])
    post = Posterior(tree, design, priors, parts["engine"], density, parts["problems"])
    check_draws(post.values, "the file")
    return post


def _of_priors(priors: ResolvedPriors) -> dict[str, Any]:
    """Return the parts of priors, those of structured residuals without what the design says."""
    contents = {name: getattr(priors, name) for name in _PRIORS}
    if (own := priors.residual) is not None:
        contents["residual"] = {"sds": own.sds, "corr": own.corr, "exponents": own.exponents}
    return contents


def _priors_of(contents: dict[str, Any], design: Design) -> ResolvedPriors:
    """Return priors of their parts."""
    own, form = contents.pop("residual", None), design.structured_residual
    residual = None if own is None or form is None else ResidualPriors(form, **own)
    priors = ResolvedPriors(**contents, design=design, residual=residual)
    check_priors(priors, design)
    return priors


def _recipe(stats: GramStatistics, design: Design) -> Any:
    """Return how the statistics follow from the design, or themselves where rows are gone."""
    if not design.has_rows:
        return stats
    layout, probes = stats.layout, stats.probes
    if probes is not None:
        numbers = [probes.seed, probes.group, probes.scale]
        return {"structure": "iterative", "dedupe": False, "probes": numbers}
    return {
        # With a border, a chain of one factor is what "crossed" makes whatever the nesting.
        "structure": "crossed" if layout.border and len(layout.chain) == 1 else "auto",
        "dedupe": layout.merging is not None,
    }


def _statistics(recipe: Any, design: Design) -> GramStatistics:
    if isinstance(recipe, GramStatistics):
        return recipe
    stats = statistics_of(design, recipe["structure"], dedupe=recipe["dedupe"])
    probes = recipe.get("probes")
    return stats if probes is None else stats.with_probes(Probes(*map(int, probes)))
