"""Sufficient statistics of [Z X y] and the elimination of random effects from them."""

from bayesv.gram.effects import Effects, draw_effects
from bayesv.gram.elimination import Elimination, eliminate, eliminate_many
from bayesv.gram.identification import Elements, flat_directions
from bayesv.gram.moments import Moments, accumulate, merge, permute, recode
from bayesv.gram.of_design import responses_of, statistics_of
from bayesv.gram.rebase import joined
from bayesv.gram.responses import Responses
from bayesv.gram.statistics import (
    LARGEST_ERROR,
    STRUCTURES,
    GramStatistics,
    arrange,
    check_structure,
    gram_statistics,
    independent,
)
from bayesv.gram.threads import threads
from bayesv.gram.units import Grouping, Rows, Units

__all__ = [
    "LARGEST_ERROR",
    "STRUCTURES",
    "Effects",
    "Elements",
    "Elimination",
    "GramStatistics",
    "Grouping",
    "Moments",
    "Responses",
    "Rows",
    "Units",
    "accumulate",
    "arrange",
    "check_structure",
    "draw_effects",
    "eliminate",
    "eliminate_many",
    "flat_directions",
    "gram_statistics",
    "independent",
    "joined",
    "merge",
    "permute",
    "recode",
    "responses_of",
    "statistics_of",
    "threads",
]
