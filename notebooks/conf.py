"""How the documentation is built: ``sphinx-build -W notebooks build/site``."""

from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.addnodes import pending_xref

import bayesv
from bayesv import __version__

project = "bayesv"
author = "The bayesv developers"
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
    "sphinx_copybutton",
]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
exclude_patterns = ["**/.ipynb_checkpoints", "pictures/*.py"]
default_role = "py:obj"

# Notebooks are run by the tests; the site shows the outputs that are stored in them.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # types stand in the docstrings, with shapes
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_preprocess_types = False

html_theme = "furo"
html_title = f"bayesv {version}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_search_scorer = str(Path(__file__).with_name("search.js"))
html_copy_source = False
html_show_copyright = False
html_math_renderer = "mathml"


def setup(app):
    """Put formulas into pages as MathML, and mend what docstrings' readers take for types."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    app.connect("autodoc-process-docstring", _whole_sentence, priority=400)
    app.connect("doctree-read", _known_classes)


def _inline(translator, node):
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _display(translator, node):
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def _whole_sentence(app, what, name, obj, options, lines):
    """Of a property, what stands before a colon is no type."""
    if what in {"property", "attribute"} and lines:
        lines[0] = lines[0].replace(": ", " – ")


def _known_classes(app, doctree):
    """Types link to classes of the library alone; ``shape`` and ``R`` are words."""
    for reference in list(doctree.findall(pending_xref)):
        target = reference.get("reftarget", "")
        if reference.get("refspecific") and target.split(".")[-1] not in bayesv.__all__:
            reference.replace_self(reference.children)
