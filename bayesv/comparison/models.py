"""Which structure of V, with which probability: several posteriors of the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from bayesv.comparison.comparable import refuse_incomparable, same_columns, short_names
from bayesv.comparison.criteria import Criteria, criteria
from bayesv.comparison.estimates import reml_of
from bayesv.comparison.leaving_out import LeftOut, left_out
from bayesv.comparison.stacking import evidence_weights, stacking_weights
from bayesv.errors import BayesvError, FitWarning, without
from bayesv.inference.evidence import Evidence
from bayesv.linalg import Array
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.support.arguments import FLAG, TEXTS, accepts, optional, whole
from bayesv.support.shown import Part, Shown, Table

__all__ = ["ModelComparison", "compare_models", "prior_weights"]

_UNRELIABLE_KHAT = 0.7
_LONGEST_NAME = 24  # characters of a model's name in a printed table
# Printed columns: head, column of the frame, format.
_EVIDENCE = (
    ("log evidence", "log_evidence", ".3f"),
    ("±", "mcse", ".3f"),
    ("log BF", "log_bf", ".2f"),
    ("prior", "prior", ".3g"),
    ("probability", "probability", ".4f"),
)
_LEFT_OUT = (
    ("row", "elpd_row", ".2f"),
    ("less ±", "elpd_row_diff_se", ".2f"),
    ("cluster", "elpd_cluster", ".2f"),
    ("less ±", "elpd_cluster_diff_se", ".2f"),
    ("stacking", "stacking", ".3f"),
)
_CRITERIA = (
    ("β", "n_beta", "d"),
    ("G, R", "n_covariance", "d"),
    ("AIC", "aic", ".2f"),
    ("BIC rows", "bic_rows", ".2f"),
    ("clusters", "bic_clusters", ".2f"),
    ("cAIC", "caic", ".2f"),
)


@dataclass(frozen=True, eq=False, repr=False)
class ModelComparison(Shown):
    """Posteriors of several structures, held against each other.

    Attributes
    ----------
    names : tuple of str
    posteriors : tuple of Posterior
    prior : ndarray, shape (K,)
        Prior probabilities of the models.
    evidences : tuple of Evidence
        Empty if they were not asked for.
    by_row, by_cluster : LeftOut or None
        Predictive densities of what is left out; None if they were not asked for.
    fits : tuple of RemlFit
        REML fits of the same designs.
    notes : tuple of str
        What is not in the table, and why; what is doubtful.
    """

    names: tuple[str, ...]
    posteriors: tuple[Posterior, ...]
    prior: Array
    evidences: tuple[Evidence, ...]
    by_row: LeftOut | None
    by_cluster: LeftOut | None
    fits: tuple[RemlFit, ...]
    notes: tuple[str, ...] = ()

    @property
    def log_evidence(self) -> Array:
        """Log evidences, shape (K,); NaN where they were not asked for."""
        return np.array([e.log for e in self.evidences] or [np.nan] * len(self.names))

    @property
    def probabilities(self) -> Array:
        """Posterior probabilities of the models, shape (K,)."""
        return evidence_weights(self.log_evidence, self.prior)

    @property
    def probability_errors(self) -> Array:
        """Monte Carlo standard errors of `probabilities`, shape (K,)."""
        p = self.probabilities
        errors = np.array([e.mcse for e in self.evidences] or [np.nan] * len(p))
        return np.asarray(p * np.sqrt(((np.eye(len(p)) - p) ** 2) @ errors**2))

    @cached_property
    def stacking(self) -> Array:
        """Stacking weights by clusters left out, shape (K,); NaN where nothing was left out."""
        if self.by_cluster is None:
            return np.full(len(self.names), np.nan)
        return stacking_weights(self.by_cluster.elpd)

    @cached_property
    def criteria(self) -> tuple[Criteria, ...]:
        """AIC, BIC and cAIC of the REML fits."""
        return tuple(criteria(fit) for fit in self.fits)

    @property
    def weights(self) -> dict[str, Array]:
        """Weights of the models by ``"evidence"`` and by ``"stacking"``, shapes (K,)."""
        return {"evidence": self.probabilities, "stacking": self.stacking}

    def bayes_factor(self, first: str, second: str) -> tuple[float, float]:
        """Return log of p(y | first)/p(y | second), by names, and its Monte Carlo error."""
        for name in (first, second):
            if name not in self.names:
                raise BayesvError(f"There is no model {name!r}; there are {', '.join(self.names)}.")
        if not self.evidences:
            raise BayesvError("Evidences were not asked for: compare_models(…, evidence=True).")
        a, b = (self.evidences[self.names.index(name)] for name in (first, second))
        return a.log - b.log, float(np.hypot(a.mcse, b.mcse))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per model, best first: by evidence, or else by clusters left out.

        Columns model, prior, log_evidence, mcse, method, log_bf (less that of the best),
        probability, probability_mcse, elpd_row, elpd_row_diff_se, elpd_cluster,
        elpd_cluster_diff_se, bad_k (units whose Pareto k̂ is above 0.7), stacking, n_beta,
        n_covariance, aic, bic_rows, bic_clusters, caic.
        """
        nan = np.full(len(self.names), np.nan)
        row, cluster = self.by_row, self.by_cluster
        table = pd.DataFrame(
            {
                "model": self.names,
                "prior": self.prior,
                "log_evidence": self.log_evidence,
                "mcse": [e.mcse for e in self.evidences] or nan,
                "method": [e.method for e in self.evidences] or "",
                "log_bf": self.log_evidence - np.max(self.log_evidence),
                "probability": self.probabilities,
                "probability_mcse": self.probability_errors,
                "elpd_row": nan if row is None else row.total,
                "elpd_row_diff_se": nan if row is None else row.error_of_difference,
                "elpd_cluster": nan if cluster is None else cluster.total,
                "elpd_cluster_diff_se": nan if cluster is None else cluster.error_of_difference,
                "bad_k": nan if cluster is None else _bad(cluster),
                "stacking": self.stacking,
            }
        )
        table = pd.concat([table, pd.DataFrame(self.criteria)], axis=1)
        by = "log_evidence" if self.evidences else "elpd_cluster"
        return table.sort_values(by, ascending=False, kind="stable", ignore_index=True)

    def _shown(self) -> Iterator[Part]:
        design = self.posteriors[0].design
        units = "" if self.by_cluster is None else f" in {len(self.by_cluster.elpd)} clusters"
        yield f"{len(self.names)} models of {design.response}, {design.n} rows{units}"
        table = self.to_frame()
        if max(map(len, table["model"])) > _LONGEST_NAME:  # a key stands for each
            yield ""
            yield from (f"[{k}] {name}" for k, name in enumerate(table["model"], start=1))
            table["model"] = [f"[{k}]" for k in range(1, len(table) + 1)]
        if self.evidences:
            yield ""
            yield _section("model", table, _EVIDENCE)
        if self.by_row is not None:
            yield ""
            yield _section("left out:", table, _LEFT_OUT)
        yield ""
        yield _section("by REML:", table, _CRITERIA)
        yield from (f"note: {note}" for note in self.notes)


@accepts(names=optional(TEXTS), evidence=FLAG, leave_out=FLAG, seed=whole(0))
def compare_models(
    *posteriors: Posterior,
    names: Sequence[str] | None = None,
    prior: Sequence[float] | Mapping[str, float] | None = None,
    evidence: bool = True,
    leave_out: bool = True,
    seed: int = 0,
) -> ModelComparison:
    """Compare structures of V of the same rows: evidence, probabilities, prediction, AIC.

    Parameters
    ----------
    *posteriors : Posterior
        Two or more, with priors that are known.
    names : sequence of str, optional
        Of the models; left out, what of their formulas differs.
    prior : sequence of float or mapping of name to float, optional
        Prior probabilities of the models, or numbers proportional to them; equal if left out.
    evidence : bool
        Whether evidences are computed. Without them models of different fixed effects with flat
        priors can be compared, by prediction alone.
    leave_out : bool
        Whether rows and clusters are left out (PSIS-LOO), from which stacking weights follow.
    seed : int
        Of bridge sampling, where there are no importance weights.

    Returns
    -------
    ModelComparison
        Prints within 80 columns; ``to_frame()`` has one row per model.

    Raises
    ------
    BayesvError
        If there are fewer than two, they are of different rows, or fixed effects with flat priors
        differ between them: then their evidences have arbitrary factors that do not cancel.
    PriorError
        If the prior of a standard deviation is flat.

    Notes
    -----
    P(M_k | y) ∝ P(M_k) p(y | M_k). Probabilities are those of the models stated, should one of them
    be true; stacking weights (Yao et al. 2018, https://doi.org/10.1214/17-BA1091) ask which mixture
    predicts a new cluster best, and assume none of them. Both depend on priors: see
    `bayesv.sensitivity`.

    Examples
    --------
    >>> import bayesv as bv
    >>> sleep = bv.load_dataset("sleepstudy")
    >>> one = bv.Model("Reaction ~ Days + (1 | Subject)", sleep).sample(seed=1)
    >>> two = bv.Model("Reaction ~ Days + (Days || Subject)", sleep).sample(seed=1)
    >>> comparison = bv.compare_models(one, two, leave_out=False)
    >>> comparison.names
    ('(1 | Subject)', '(Days || Subject)')
    >>> log_bf, mcse = comparison.bayes_factor("(Days || Subject)", "(1 | Subject)")
    >>> 17 < log_bf < 20, mcse < 0.02
    (True, True)
    """
    labels = short_names(posteriors) if names is None else tuple(names)
    refuse_incomparable(posteriors, labels, evidence=evidence)
    weights = prior_weights(prior, labels)
    evidences = tuple(post.evidence(seed=seed) for post in posteriors) if evidence else ()
    notes = [
        f"{label}: {problem}"
        for label, each in zip(labels, evidences, strict=bool(evidence))
        for problem in each.problems
    ]
    rows = clusters = None
    if leave_out and all(post.design.has_rows for post in posteriors):
        rows, clusters = left_out(posteriors)
        notes += _doubtful(clusters, labels)
    elif leave_out:
        notes.append("nothing is left out: designs that were read in batches keep no rows")
    if not same_columns(posteriors):
        notes.append("fixed effects differ: AIC and BIC of REML fits do not compare")
    with without(FitWarning):
        fits = tuple(reml_of(post) for post in posteriors)
    return ModelComparison(
        labels, tuple(posteriors), weights, evidences, rows, clusters, fits, tuple(notes)
    )


def prior_weights(
    prior: Sequence[float] | Mapping[str, float] | None, names: Sequence[str]
) -> Array:
    """Return prior probabilities of models, shape (K,).

    Raises
    ------
    BayesvError
        If names are missing, or numbers are not finite and ≥ 0 with a positive sum.
    """
    if prior is None:
        return np.full(len(names), 1.0 / len(names))
    if isinstance(prior, Mapping):
        if set(prior) != set(names):
            raise BayesvError(
                f"prior needs a number for each of {', '.join(names)}; found "
                f"{', '.join(map(str, prior))}."
            )
        prior = [prior[name] for name in names]
    try:
        weights = np.asarray(prior, dtype=float)
    except (TypeError, ValueError, OverflowError):
        weights = np.empty(0)
    if weights.shape != (len(names),) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise BayesvError(
            f"Weights of {len(names)} models are as many numbers of 0 or more; found {prior!r}."
        )
    if not weights.sum() > 0:
        raise BayesvError("Weights of models are all 0; one of them must be positive.")
    return np.asarray(weights / weights.sum())


def _bad(left: LeftOut) -> Array:
    return np.asarray((left.pareto_k > _UNRELIABLE_KHAT).sum(axis=0))


def _doubtful(left: LeftOut, names: Sequence[str]) -> list[str]:
    """Say which models have units whose leaving out is not reliable."""
    counts = _bad(left)
    if not counts.any():
        return []
    each = ", ".join(f"{name} {n}" for name, n in zip(names, counts, strict=True) if n)
    return [
        f"clusters of {len(left.elpd)} whose weights have a Pareto k̂ above {_UNRELIABLE_KHAT} "
        f"({each}): elpd by cluster and stacking are approximate"
    ]


def _section(title: str, table: pd.DataFrame, columns: Sequence[tuple[str, str, str]]) -> Table:
    """Return some columns of the table under their heads, each in its format."""
    cells = ([format(value, form) for value in table[name]] for _, name, form in columns)
    heads = (title, *(head for head, _, _ in columns))
    return Table(heads, tuple(zip(table["model"], *cells, strict=True)))
