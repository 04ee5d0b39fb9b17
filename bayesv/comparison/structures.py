"""A stated list of structures of V, fitted to the same rows and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesv.comparison.models import ModelComparison, compare_models
from bayesv.errors import BayesvError, DesignWarning, FormulaError, SamplingWarning, without
from bayesv.formula.frame import column_names
from bayesv.formula.grammar import parse
from bayesv.formula.residual_text import ResidualText, parse_residual
from bayesv.gram.threads import n_threads, run, threads
from bayesv.model import Model
from bayesv.names import INTERCEPT
from bayesv.posterior.posterior import Posterior
from bayesv.priors.families import SdPrior
from bayesv.priors.priors import Priors
from bayesv.support.arguments import FLAG, a, accepts, found, optional, whole
from bayesv.support.progress import progress

__all__ = ["LISTS", "candidates_of", "structures"]

LISTS = ("growth", "mmrm")
"""Names of lists of candidates."""

_MMRM_KINDS = ("us", "toeph", "adh", "ar1h", "csh", "toep", "ad", "ar1", "cs")
_KEYS = ("random", "residual", "residual_sd")


@dataclass(frozen=True)
class Candidate:
    """A structure as it is written.

    Attributes
    ----------
    random : str
        Random terms such as ``"(Days || Subject)"``; empty for none.
    residual, residual_sd : str or None
        As of `bayesv.Model`.
    """

    random: str = ""
    residual: str | None = None
    residual_sd: str | None = None

    @property
    def label(self) -> str:
        """The structure in one line."""
        parts = (self.random, self.residual, self.residual_sd)
        return ", ".join(part for part in parts if part) or "independent rows"


@accepts(
    model=a(Model),
    draws=whole(4),
    seed=optional(whole(0)),
    leave_out=FLAG,
    cores=optional(whole(1)),
)
def structures(
    model: Model,
    candidates: str | Sequence[Any] | Mapping[str, Any] = "growth",
    *,
    draws: int = 1000,
    seed: int | None = None,
    prior: Mapping[str, float] | None = None,
    leave_out: bool = True,
    cores: int | None = None,
) -> ModelComparison:
    """Fit a stated list of structures of V to the rows of a model, and compare them.

    Parameters
    ----------
    model : Model
        Of a data frame; its fixed part, weights and priors are those of all candidates.
    candidates : {"growth", "mmrm"}, sequence, or mapping of name to candidate
        ``growth``: an intercept, an uncorrelated and a correlated slope on time of each series,
        each with independent and with AR(1) residuals (continuous ones where times are not
        integers); series and time are those of the model's slope or of its ``residual``. ``mmrm``:
        us, toeph, adh, ar1h, csh, toep, ad, ar1 and cs of the visits and series of the model's
        ``residual``, without random terms. Or a list of candidates: text of random terms such as
        ``"(Days || Subject)"``, or a mapping with the keys random, residual and residual_sd.
    draws : int
        Per chain, of four.
    seed : int, optional
    prior : mapping of name to float, optional
        Prior probabilities of the candidates; equal if left out.
    leave_out : bool
        Whether rows and clusters are left out, too.
    cores : int, optional
        How many candidates are fitted side by side, at most; as many as there are processors if
        left out. Draws do not depend on it.

    Returns
    -------
    ModelComparison
        With every candidate that has a posterior; ``notes`` say which have none, and why. None is
        chosen: `bayesv.average` averages over them.

    Raises
    ------
    BayesvError
        If the list is not known or names no structure, the model has no such series, or fewer than
        two candidates can be fitted.
    FormulaError
        If a candidate is malformed or names a column that does not exist.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> terms = ["(1 | Subject)", "(Days || Subject)", "(Days | Subject)"]
    >>> comparison = bv.structures(model, terms, seed=1, leave_out=False)
    >>> comparison.to_frame()["model"][0]
    '(Days || Subject)'
    """
    stated = candidates_of(model, candidates)
    results = _fitted(model, stated, draws, seed, cores)
    posteriors = {name: post for name, post in results.items() if isinstance(post, Posterior)}
    notes = [
        f"{name} is not among them: {error}"
        for name, error in results.items()
        if isinstance(error, BayesvError)
    ]
    if len(posteriors) < 2:
        raise BayesvError("Fewer than two candidates could be fitted. " + " ".join(notes))
    for name, post in posteriors.items():
        notes += [f"{name}: {problem}" for problem in post.problems]
    if prior is not None:
        prior = {name: weight for name, weight in prior.items() if name in posteriors}
    comparison = compare_models(
        *posteriors.values(), names=list(posteriors), prior=prior, leave_out=leave_out,
        seed=seed or 0,
    )  # fmt: skip
    return replace(comparison, notes=(*notes, *comparison.notes))


def _fitted(
    model: Model, stated: Mapping[str, Candidate], draws: int, seed: int | None, cores: int | None
) -> dict[str, Posterior | BayesvError]:
    """Return the posterior of each candidate, or why it has none."""
    with progress("fitting structures", len(stated)) as step, threads(cores):
        of_each = max(1, n_threads() // max(len(stated), 1))

        def fitted(candidate: Candidate) -> Posterior | BayesvError:
            try:
                with without(SamplingWarning), without(DesignWarning), threads(of_each):
                    other = variant(model, candidate)
                    return other.sample(draws=draws, seed=seed, progressbar=False)
            except FormulaError:  # it is not what was meant
                raise
            except BayesvError as error:
                return error
            finally:
                step(1)

        return dict(zip(stated, run(fitted, list(stated.values())), strict=True))


def candidates_of(
    model: Model, candidates: str | Sequence[Any] | Mapping[str, Any]
) -> dict[str, Candidate]:
    """Return candidates by name.

    Raises
    ------
    BayesvError
        If they cannot be read, or a list is named that the model has no series for.
    """
    if isinstance(candidates, str):
        if candidates not in LISTS:
            raise BayesvError(
                f"Lists of candidates are {', '.join(LISTS)}; found {candidates!r}. Or give a "
                "list, such as ['(1 | Subject)', '(Days | Subject)']."
            )
        made = _growth(model) if candidates == "growth" else _mmrm(model)
        return {candidate.label: candidate for candidate in made}
    items: list[tuple[str | None, Any]]
    if isinstance(candidates, Mapping):
        items = list(candidates.items())
    elif isinstance(candidates, list | tuple):
        items = [(None, each) for each in candidates]
    else:
        raise BayesvError(
            f"candidates is {', '.join(LISTS)}, a list or a mapping; {found(candidates)}."
        )
    stated: dict[str, Candidate] = {}
    for name, each in items:
        candidate = _read(each)
        label = name or candidate.label
        if label in stated:
            raise BayesvError(f"The candidate {label!r} is there twice.")
        stated[label] = candidate
    return stated


def variant(model: Model, candidate: Candidate) -> Model:
    """Return the model of the same rows and fixed part with another structure."""
    asked = model.origin.asked
    if asked is None:
        raise BayesvError(
            "Other structures are built from a data frame; this model was read in batches or made "
            "from a design. Use bv.Model(formula, data_frame)."
        )
    formula = parse(asked.formula, random=False)
    offsets = [f"offset({text})" for text in formula.offsets]
    parts = [formula.fixed or "1", *offsets, candidate.random]
    other = Model(
        f"{formula.response} ~ {' + '.join(part for part in parts if part)}",
        asked.data,
        None,
        asked.var_weights,
        asked.namespace,
        residual=candidate.residual,
        residual_sd=candidate.residual_sd,
        relationship=_related(asked.relationship, candidate.random),
    )
    return other.with_priors(_restricted(model.given_priors, other))


def _related(relationship: Mapping[str, Any] | None, random: str) -> dict[str, Any] | None:
    """Return the relationships of the grouping factors of some random terms."""
    if not relationship or not random:
        return None
    factors = {name for term in parse(f"y ~ {random}").random for name in term.factors}
    return {group: K for group, K in relationship.items() if group in factors} or None


def _restricted(priors: Priors, model: Model) -> Priors:
    """Return those of the stated priors that speak of what a model has."""
    terms = {term.group: term for term in model.design.terms}
    labels = {group: set(term.structure.sd_labels(term.columns)) for group, term in terms.items()}
    correlated = {group for group, term in terms.items() if term.structure.n_corrs}
    form = model.design.parametric_residual
    if form is not None and form.sd_labels:
        labels["Residual"] = set(form.sd_labels)
    if form is not None and form.series is not None:
        correlated.add("Residual")

    def of_columns(group: str, stated: Any) -> Any:
        if not isinstance(stated, Mapping):
            return stated
        return {name: prior for name, prior in stated.items() if name in labels[group]}

    sd, sigma, corr, center = priors.sd, priors.sigma, priors.corr, priors.center
    if isinstance(sd, Mapping):
        if "Residual" not in labels and isinstance(sd.get("Residual"), SdPrior):
            sigma = sd["Residual"]  # one prior of every SD is that of the one there is
        sd = {group: of_columns(group, each) for group, each in sd.items() if group in labels}
    if isinstance(corr, Mapping):
        corr = {group: each for group, each in corr.items() if group in correlated}
    if center is not None:
        center = {g: of_columns(g, each) for g, each in center.items() if g in correlated}
    return replace(priors, sd=sd, sigma=sigma, corr=corr or None, center=center or None)


def _growth(model: Model) -> list[Candidate]:
    """Return intercepts and slopes on time, with independent and with autoregressive residuals."""
    time, series = _time_and_series(model)
    asked = model.origin.asked
    assert asked is not None
    values = np.asarray(asked.data[time])
    whole_numbers = np.issubdtype(values.dtype, np.number) and (values == np.round(values)).all()
    serial = f"{'ar1' if whole_numbers else 'car1'}({time} | {series})"
    terms = (f"(1 | {series})", f"({time} || {series})", f"({time} | {series})")
    return [Candidate(term, residual) for residual in (None, serial) for term in terms]


def _mmrm(model: Model) -> list[Candidate]:
    """Return residual structures over the visits of the model's residual."""
    form = _residual_of(model)
    if form is None or not form.positions:
        raise BayesvError(
            "The candidates 'mmrm' are of the visits of a model with a residual structure, such as "
            "bv.Model('y ~ arm * visit', data, residual='us(visit | subject)')."
        )
    inside = form.text[form.text.index("(") :]
    return [Candidate(residual=f"{kind}{inside}") for kind in _MMRM_KINDS]


def _residual_of(model: Model) -> ResidualText | None:
    asked = model.origin.asked
    if asked is None or not isinstance(asked.residual, str):
        return None
    return parse_residual(asked.residual)


def _time_and_series(model: Model) -> tuple[str, str]:
    """Return the columns of times and of series, by the residual or the one slope of a term."""
    form = _residual_of(model)
    if form is not None and len(form.positions) == 1 and form.series:
        return form.positions[0], ":".join(form.series)
    asked = model.origin.asked
    if asked is not None:
        for term in model.design.terms:
            slopes = [name for name in term.columns if name != INTERCEPT]
            if len(slopes) == 1 and slopes[0] in column_names(asked.data):
                return slopes[0], term.group
    raise BayesvError(
        "The candidates 'growth' need times and series: a model with a slope, (time | series), or "
        "with residual='ar1(time | series)'."
    )


def _read(each: Any) -> Candidate:
    if isinstance(each, str):
        return Candidate(each)
    if isinstance(each, Mapping) and set(each) <= set(_KEYS) and each:
        return Candidate(**{key: value for key, value in each.items() if value})
    raise BayesvError(
        "A candidate is a text of random terms, such as '(Days || Subject)', or a mapping with "
        f"some of the keys {', '.join(_KEYS)}; found {each!r}."
    )
