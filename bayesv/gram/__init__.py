"""Sufficient statistics of [Z X y] and the elimination of random effects from them."""

from bayesv.gram.elimination import Elimination, eliminate
from bayesv.gram.statistics import GramStatistics, gram_statistics

__all__ = ["Elimination", "GramStatistics", "eliminate", "gram_statistics"]
