"""Sufficient statistics of [Z X y] and the elimination of random effects from them."""

from bayesv.gram.batch import eliminate_many
from bayesv.gram.elimination import Elimination, eliminate
from bayesv.gram.statistics import GramStatistics, Grouping, gram_statistics

__all__ = [
    "Elimination",
    "GramStatistics",
    "Grouping",
    "eliminate",
    "eliminate_many",
    "gram_statistics",
]
