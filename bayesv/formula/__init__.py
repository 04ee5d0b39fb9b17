"""From an lme4 formula and a data frame to a Design: the only room that knows formulae."""

from bayesv.formula.build import ModelFrame, build
from bayesv.formula.grammar import Formula, parse
from bayesv.formula.sides import left_sides

__all__ = ["Formula", "ModelFrame", "build", "left_sides", "parse"]
