"""The model as equations (MathML, which browsers draw by themselves) and in words."""

from __future__ import annotations

from collections.abc import Sequence

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.quantities import point_quantities
from bayesv.design.design import Design, RandomTerm
from bayesv.design.known import KnownVariances
from bayesv.names import INTERCEPT, factors_of
from bayesv.report.families import (
    effect_formulas,
    family_words,
    found_words,
    residual_formulas,
    residual_sentences,
)
from bayesv.report.mathml import equation, quoted

__all__ = ["equations", "words"]

_MAX_PARTS = 8  # parts of the mean that are written out


def equations(design: Design) -> list[dict[str, str]]:
    """Return each equation with its text, for readers that do not see MathML.

    Returns
    -------
    list of dict
        Keys ``mathml`` and ``text``.
    """
    lines = [equation(_mean(design), _mean_text(design))]
    for k, term in enumerate(design.terms, 1):
        lines += _effect_equations(term, str(k) if len(design.terms) > 1 else "")
    structured = design.parametric_residual is not None or design.sigma_is_known
    R = "R" if structured else "σ^2 W^{−1}" if design.known_weights is not None else "σ^2 I"
    plain = R.replace("^2", "²").replace(" W^{−1}", "W⁻¹").replace(" I", "I")
    lines.append(equation(f"ε ∼ N(0, {R})", f"ε ~ N(0, {plain})"))
    lines += [equation(line) for line in residual_formulas(design)]
    V, text = "V = R", "V = R"
    if design.terms:
        several = len(design.terms) > 1
        blocks = [
            ("I" if term.relationship is None else "K") + " ⊗ Σ" + (f"_{k}" if several else "")
            for k, term in enumerate(design.terms, 1)
        ]
        G = f"G = blockdiag({', '.join(blocks)})"
        V, text = f"V = Z G Z^⊤ + R,  {G}", f"V = Z G Z' + R, {G.replace('_', '')}"
    return [
        *lines,
        equation(V, text),
        equation("β̂ = (X^⊤ V^{−1} X)^{−1} X^⊤ V^{−1} y", "β̂ = (X'V⁻¹X)⁻¹X'V⁻¹y"),
    ]


def _effect_equations(term: RandomTerm, number: str) -> list[dict[str, str]]:
    """Return the law of the effects of a term, and the elements of its Σ."""
    index = f"_{number}" if number else ""
    whose, law, text = f"of each level of {term.group}", f"Σ{index}", f"Σ{number}"
    if term.relationship is not None:
        whose, law = f"of the levels of {term.group}", f"K{index} ⊗ {law}"
        text = f"K{number} ⊗ {text}"
    return [
        equation(f"u{index}  {quoted(whose)}  ∼ N(0, {law})", f"u{number} {whose} ~ N(0, {text})"),
        *map(equation, effect_formulas(term, index)),
    ]


def words(
    design: Design, components: VarianceComponents | None = None, name: str = "The fit"
) -> list[str]:
    """Return the model in sentences.

    Parameters
    ----------
    design : Design
    components : VarianceComponents, optional
        Of a fit, whose parameters are then said.
    name : str
        What the fit is called.
    """
    others = [name for name in design.fixed_names if name != INTERCEPT]
    by = f" by {_listed(others)}" if others else ""
    intercept = "an intercept" if INTERCEPT in design.fixed_names else "no intercept"
    sentences = [f"The mean of {design.response} is modelled{by}, with {intercept}."]
    found = [] if components is None else point_quantities(design, components)
    for term in design.terms:
        sentences += [*_effect_words(term), found_words(term.group, found, name)]
    sentences += [_residual_words(design), *residual_sentences(design)]
    sentences.append(found_words("Residual", found, name))
    return [sentence for sentence in sentences if sentence]


def _effect_words(term: RandomTerm) -> list[str]:
    inner = factors_of(term.group)
    level = " within ".join(term.group.split(":")) if len(inner) > 1 else term.group
    has = _listed(["intercept" if c == INTERCEPT else f"effect of {c}" for c in term.columns])
    how = ""
    if term.n_columns > 1:
        apart = len(term.structure.blocks) > 1
        how = ", uncorrelated" if apart else ", which may be correlated"
        if not term.structure.is_free:
            how = f", with a covariance of the form {term.structure.words}"
    sentences = [
        f"Each of the {term.n_levels:,} levels of {level} has its own {has}{how}, drawn from a "
        "normal distribution around 0."
    ]
    if not term.structure.is_free:
        for _, part in term.structure.parts:
            said = family_words(part, "effect") if part.size > 1 else ""
            sentences.append(f"In the form {part.kind}, {said}." if said else "")
    if term.relationship is not None:
        sentences.append(
            f"These of different levels are correlated as the {term.relationship.what} says: "
            "their covariance is its element K_ij times that of one level."
        )
    return sentences


def _residual_words(design: Design) -> str:
    form = design.parametric_residual
    if design.sigma_is_known and isinstance(design.residual, KnownVariances):
        return "What is left in a row is independent and normal, with a variance that is known."
    if design.sigma_is_known:
        return "What is left in the rows is normal, with a covariance R that is known."
    if form is None:
        how = "σ² divided by its known weight" if design.known_weights else "the same everywhere"
        return f"What is left in a row is independent and normal, with a variance that is {how}."
    what = f"What is left in the rows is normal, with a covariance R of the form {form.describe()}"
    if design.known_weights:
        return f"{what}, in which the variance of a row is divided by its known weight."
    return f"{what}."


def _mean(design: Design) -> str:
    def part(letter: str, name: str) -> str:
        return letter if name == INTERCEPT else f"{letter} {quoted(name)}"

    fixed = [part(f"β_{{{j}}}", name) for j, name in enumerate(design.fixed_names)]
    random = []
    for k, term in enumerate(design.terms, 1):
        which = f"{k}," if len(design.terms) > 1 else ""
        random += [part(f"u_{{{which}{c}}}", name) for c, name in enumerate(term.columns)]
    return f"{quoted(design.response)} = {' + '.join([*_shortened(fixed, random), 'ε'])}"


def _mean_text(design: Design) -> str:
    fixed = [
        f"β{j} {'' if n == INTERCEPT else n}".strip() for j, n in enumerate(design.fixed_names)
    ]
    random = [
        f"u {'' if n == INTERCEPT else n}".strip() for term in design.terms for n in term.columns
    ]
    return f"{design.response} = {' + '.join([*_shortened(fixed, random), 'ε'])}"


def _shortened(fixed: list[str], random: list[str]) -> list[str]:
    """Return the parts of a mean: of many, some of each kind."""
    if len(fixed) + len(random) > _MAX_PARTS:
        random = _first(random, _MAX_PARTS // 2)
        fixed = _first(fixed, _MAX_PARTS - len(random))
    return fixed + random


def _first(parts: list[str], most: int) -> list[str]:
    return parts if len(parts) <= most else [*parts[: most - 1], "…"]


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MAX_PARTS:
        return f"{', '.join(names[: _MAX_PARTS - 1])} and {len(names) - _MAX_PARTS + 1} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
