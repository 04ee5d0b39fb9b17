"""Sufficient statistics of [Z X y] and the elimination of random effects from them."""

from bayesv.gram.arrange import after_fixed, arrange, gram_statistics
from bayesv.gram.by_residual import statistics_by_residual
from bayesv.gram.effects import Effects, draw_effects
from bayesv.gram.elimination import Adjoint, Elimination, chain_problem, eliminate, profile_chain
from bayesv.gram.elimination_order import DENSE_COLUMNS, ELIMINATIONS, check_elimination
from bayesv.gram.fixed import FixedCoordinates
from bayesv.gram.identification import Elements, flat_directions
from bayesv.gram.krylov import EIGHT, krylov
from bayesv.gram.layout import Layout
from bayesv.gram.many import (
    BATCH,
    WORTH_THREADS,
    ChainValues,
    eliminate_many,
    probe_logs,
)
from bayesv.gram.moments import Moments, accumulate, merge, permute, recode
from bayesv.gram.of_design import refuse_crossed_clusters, responses_of, statistics_of
from bayesv.gram.predicted import PredictedEffects, predicted_effects, squares_of_effects
from bayesv.gram.probes import Probes
from bayesv.gram.rebase import in_scaling
from bayesv.gram.reproduced import digits_reproduced
from bayesv.gram.residual_rows import ByResidual, Weighted
from bayesv.gram.responses import Responses
from bayesv.gram.scaling import Grouping, RowBatch, Scaling, Triangles
from bayesv.gram.statistics import LARGEST_ERROR, GramStatistics, keeps_digits, smallest_kept
from bayesv.gram.tables import ChainProblem, Rule, Sums, inner
from bayesv.gram.threads import threads
from bayesv.gram.words import elimination_in_words

__all__ = [
    "elimination_in_words",
    "BATCH",
    "DENSE_COLUMNS",
    "EIGHT",
    "ELIMINATIONS",
    "LARGEST_ERROR",
    "WORTH_THREADS",
    "Adjoint",
    "ChainProblem",
    "ChainValues",
    "ByResidual",
    "Effects",
    "Elements",
    "Elimination",
    "FixedCoordinates",
    "GramStatistics",
    "Grouping",
    "Layout",
    "Moments",
    "PredictedEffects",
    "Probes",
    "Responses",
    "RowBatch",
    "Rule",
    "Scaling",
    "Sums",
    "Triangles",
    "Weighted",
    "accumulate",
    "after_fixed",
    "arrange",
    "chain_problem",
    "check_elimination",
    "digits_reproduced",
    "draw_effects",
    "eliminate",
    "eliminate_many",
    "flat_directions",
    "gram_statistics",
    "in_scaling",
    "inner",
    "keeps_digits",
    "krylov",
    "merge",
    "permute",
    "predicted_effects",
    "probe_logs",
    "profile_chain",
    "recode",
    "refuse_crossed_clusters",
    "responses_of",
    "smallest_kept",
    "statistics_by_residual",
    "squares_of_effects",
    "statistics_of",
    "threads",
]
