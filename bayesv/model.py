"""The object a user holds: a formula with data, its design, and what can be fitted to it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from bayesv.design import Design
from bayesv.formula import ModelFrame, build
from bayesv.gram import GramStatistics, gram_statistics
from bayesv.gram.statistics import Grouping
from bayesv.reml import RemlFit, fit_reml

__all__ = ["Model"]


class Model:
    """A Gaussian linear mixed model: formula, data and priors."""

    def __init__(
        self,
        formula: str,
        data: Any,
        priors: Any = None,
        var_weights: Any = None,
        namespace: Mapping[str, Any] | None = None,
    ) -> None:
        self.design: Design
        self.frame: ModelFrame
        self.design, self.frame = build(formula, data, var_weights, namespace)
        self.priors = priors

    @cached_property
    def statistics(self) -> GramStatistics:
        """Gram statistics of [Z X y]."""
        design = self.design
        groupings = [Grouping(t.codes, t.values, t.n_levels) for t in design.terms]
        return gram_statistics(groupings, design.X, design.target, design.weights)

    def reml(self, method: str = "REML") -> RemlFit:
        """Fit by REML or ML."""
        return fit_reml(self.design, self.statistics, method)
