"""lme4 formulas: the only room that knows the formula language and formulae."""

from bayesv.formula.build import ModelFrame, build
from bayesv.formula.grammar import Formula, parse
from bayesv.formula.sides import left_sides
from bayesv.formula.sources import open_source
from bayesv.formula.stream import read_batches

__all__ = ["Formula", "ModelFrame", "build", "left_sides", "open_source", "parse", "read_batches"]
