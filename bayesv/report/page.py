"""A page of HTML that stands alone, and the templates that pages are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from bayesv import names
from bayesv.errors import BayesvError, require
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.support.writing import write_file

__all__ = ["Report", "heading", "labelled", "refuse_others", "render"]

_FRAME_HEIGHT = 640  # pixels of a page within a notebook


@dataclass(frozen=True)
class Report:
    """A page of HTML.

    Attributes
    ----------
    html : str
        The whole page; styles and pictures are inside, and nothing is fetched from a network.
    """

    html: str

    def save(self, path: str | Path) -> Path:
        """Write the page to a file and return its path; an old page is kept until it is written.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        return write_file(path, self.html)

    def _repr_html_(self) -> str:
        """Return a frame, in which styles and names of the page stay the page's own."""
        style = f"width:100%;height:{_FRAME_HEIGHT}px;border:1px solid #ccc"
        return f'<iframe title="bayesv" style="{style}" srcdoc="{escape(self.html)}"></iframe>'

    def __repr__(self) -> str:
        return f"<Report of {len(self.html) / 1e6:.1f} MB of HTML; .save('report.html') writes it>"


def render(template: str, facts: Mapping[str, Any]) -> str:
    """Fill a template of this folder; every text in ``facts`` is escaped where it is put.

    Parameters
    ----------
    template : str
        Name of the file.
    facts : mapping
        What the template names.
    """
    jinja2 = require("jinja2", "report")
    folder = resources.files("bayesv.report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    return str(environment.get_template(template).render(facts))


def refuse_others(name: str, fits: Sequence[object]) -> None:
    """Refuse what are no fits of bayesv, or none at all."""
    others = [type(fit).__name__ for fit in fits if not isinstance(fit, RemlFit | Posterior)]
    if others or not fits:
        raise BayesvError(
            f"{name} needs fits, such as {name}(model.reml(), model.sample()); found "
            f"{', '.join(others) or 'nothing'}."
        )


def labelled(fits: Sequence[RemlFit | Posterior], labels: Sequence[str] | None) -> tuple[str, ...]:
    """Return what each fit is called on a page, no name twice.

    Raises
    ------
    BayesvError
        If there is another number of labels than of fits, or one occurs twice.
    """
    own = [fit.label if isinstance(fit, RemlFit) else f"posterior ({fit.engine})" for fit in fits]
    formulas = [fit.design.formula for fit in fits]
    if len(set(formulas)) == len(fits) > 1:
        own = [f"{name}, {text}" for name, text in zip(own, formulas, strict=True)]
    return names.labelled(labels, own)


def heading(name: str) -> str:
    """Return what a fit is called at the start of a line: a label of the user's stays as it is."""
    return f"P{name[1:]}" if name.startswith("posterior") else name
