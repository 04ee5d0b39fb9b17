"""The pictures of the report, as PNG inside the page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from bayesv import plots
from bayesv.comparison.models import ModelComparison
from bayesv.comparison.uncertainty import BetaUncertainty
from bayesv.design.design import Design
from bayesv.design.parametric import coarsest
from bayesv.names import INTERCEPT
from bayesv.plots.png import Tile as PngTile
from bayesv.plots.png import quick_text, tiles
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.report.budget import affordable

__all__ = ["Picture", "draw"]

_DPI, _COLORS = 160.0, 256
_MOST_EFFECTS = 1000  # random effects whose standard errors take less than a second
_LONGEST_SERIES = 500  # rows, of which all pairs are looked at


@dataclass(frozen=True)
class Picture:
    """PNGs side by side, with what is said of them.

    Attributes
    ----------
    columns, legends : tuple of Tile
        Panels, column by column, which a narrow page puts below each other; what follows them.
    alt, caption : str
        What it shows, for those who cannot see it; and what to see in it.
    """

    columns: tuple[Tile, ...]
    legends: tuple[Tile, ...]
    alt: str
    caption: str

    @property
    def width(self) -> int:
        """Pixels of the page, of all columns side by side."""
        return sum(tile.width for tile in self.columns)


@dataclass(frozen=True)
class Tile:
    """A PNG.

    Attributes
    ----------
    data : str
        Base64.
    width, height : int
        In pixels of the page, of which an inch has 96.
    """

    data: str
    width: int
    height: int


def draw(
    fit: RemlFit,
    posts: Sequence[Posterior],
    by_method: BetaUncertainty | None,
    models: ModelComparison | None = None,
    step: Callable[[int], None] = lambda steps: None,
) -> list[Picture]:
    """Draw what the design and the fits have: without rows no V, without a posterior no density."""
    drawn = []
    wanted = _wanted(fit, posts[0] if posts else None, by_method)
    with quick_text:
        for make, caption in chain(wanted, _of_models(models)):
            picture = make()
            alt = plots.describe(picture)
            columns, legends = (tuple(map(_tile, t)) for t in tiles(picture, _DPI, _COLORS))
            drawn.append(Picture(columns, legends, alt, caption))
            step(1)
    return drawn


def _tile(tile: PngTile) -> Tile:
    text = base64.b64encode(tile.data).decode("ascii")
    return Tile(text, round(tile.width * 96 / _DPI), round(tile.height * 96 / _DPI))


def _wanted(
    fit: RemlFit, post: Posterior | None, by_method: BetaUncertainty | None
) -> Iterator[tuple[Callable[[], Any], str]]:
    """Yield functions that draw, with captions."""
    design = fit.design
    if design.has_rows:
        yield from _of_rows(fit, post)
    if post is not None:
        yield (
            partial(plots.variance_densities, fit, post, scales=("sd", "corr")),
            "Posterior and prior densities of standard deviations and correlations, with "
            f"{fit.label} as a line. The posterior has no mass at a boundary estimate itself.",
        )
        for group in [t.group for t in design.terms if t.structure.n_corrs]:
            yield (
                partial(plots.ellipses, post, group, fit=fit),
                f"Ellipses of Σ of {group}: draws, posterior mean and {fit.label}.",
            )
        if (grid := _grid(design)) is not None:
            yield (
                partial(plots.curves, post, *grid, fit=fit),
                f"Variance and correlation of {design.response} along {grid[1]}, with 95 % bands.",
            )
        if by_method is not None:
            yield (
                partial(plots.forest, by_method),
                "Fixed effects with 95 % intervals, by method: the plug-in takes V as known.",
            )
        if post.density is not None:
            draws = affordable(post, most=1000)
            effects = cache(partial(post.random_effects, draws=draws))
            for term in design.terms:
                yield (
                    partial(_caterpillar, post, term.group, effects),
                    f"Random effects of {term.group} with 95 % intervals, sorted; from "
                    f"{draws:,} draws.",
                )
        if post.n_chains > 1:
            yield (
                partial(plots.chains, post),
                "Traces and ranks of the chains. A line of ranks that leaves its grey band is a "
                "chain that disagrees with the others; the band allows for the correlation of "
                "successive draws.",
            )


def _of_rows(fit: RemlFit, post: Posterior | None) -> Iterator[tuple[Callable[[], Any], str]]:
    """Yield pictures of V, and of residuals."""
    design, vc = fit.design, fit.components
    rows = slice(0, min(design.n, 60)) if design.n > 60 else None
    part = ", the first 60 rows" if rows is not None else ""
    if design.terms:
        yield (
            partial(plots.matrices, design, vc, rows=rows),
            f"Z, G, R and V at {fit.label}{part}. V = Z G Zᵀ + R.",
        )
    else:
        yield partial(plots.image_R, design, vc, rows=rows), f"V = R at {fit.label}{part}."
    source = fit.gls.V if post is None else post
    what = "V" if post is None else "Posterior mean and standard deviation of V"
    if (outer := coarsest(design)) is not None:
        yield (
            partial(plots.block, source, outer.group, outer.levels[0]),
            f"{what} for the rows of {outer.group} {outer.levels[0]}.",
        )
    yield from _of_series(fit, post)
    if design.q <= _MOST_EFFECTS:
        yield (
            partial(plots.check, fit),
            f"Does the model fit? Residuals at {fit.label} by fitted values; their quantiles, "
            "and those of random effects, by normal ones with 95 % bands; clusters whose "
            "residuals are larger than the model allows; of several terms, how far each inflates "
            "the variances of the others' coefficients (VIF).",
        )


def _of_models(models: ModelComparison | None) -> Iterator[tuple[Callable[[], Any], str]]:
    """Yield the picture of a comparison of structures, if there is one."""
    if models is not None:
        yield (
            partial(plots.models, models),
            "Probabilities of the structures by evidence and their stacking weights; log "
            "predictive density of clusters left out, less that of the best, with its standard "
            "error.",
        )


def _of_series(fit: RemlFit, post: Posterior | None) -> Iterator[tuple[Callable[[], Any], str]]:
    """Yield pictures of residuals that are correlated within series."""
    form = fit.design.parametric_residual
    series = None if form is None else form.series
    if series is None or not 1 < series.sizes.max() <= _LONGEST_SERIES:
        return
    yield (
        partial(plots.series, fit, corr=True),
        f"Correlations of the residuals, and of the rows, of one {series.label} by "
        f"{series.position}, at {fit.label}.",
    )
    source = fit if post is None else post
    lines = "as the fit has them (lines)" if post is None else "medians with 95 % posterior bands"
    yield (
        partial(plots.lags, source),
        f"Correlation and semivariance of two rows of a series by their lag: {lines}, and in the "
        "data (dots, as large as there are pairs).",
    )


def _caterpillar(post: Posterior, group: str, effects: Callable[[], pd.DataFrame]) -> Any:
    """Draw the effects of one factor; those of all factors are computed once."""
    return plots.caterpillar(post, group, effects=effects())


def _grid(design: Design) -> tuple[pd.DataFrame, str] | None:
    """Return a grid of the one numeric column that slopes go along, if there is just one."""
    if not design.has_rows:
        return None
    columns = {c for term in design.terms for c in term.columns if c != INTERCEPT}
    if len(columns) != 1:
        return None
    name = columns.pop()
    term = next(t for t in design.terms if name in t.columns)
    values = np.unique(term.values[:, term.columns.index(name)])
    if len(values) < 3 or not name.isidentifier():
        return None
    if len(values) > 25:
        values = np.linspace(values[0], values[-1], 25)
    return pd.DataFrame({name: values}), name
