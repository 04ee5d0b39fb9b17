"""lme4 formulas: the only room that knows the formula language."""

from bayesv.formula.build import ModelFrame, build
from bayesv.formula.encoding import Encoding
from bayesv.formula.grammar import Formula, parse
from bayesv.formula.origin import Origin
from bayesv.formula.sources import open_source
from bayesv.formula.stream import read_batches

__all__ = [
    "Encoding",
    "Formula",
    "ModelFrame",
    "Origin",
    "build",
    "open_source",
    "parse",
    "read_batches",
]
