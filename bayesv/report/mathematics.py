"""The model as equations (MathML, which browsers draw by themselves) and in words."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from bayesv.design.design import Design
from bayesv.names import INTERCEPT, factors_of

__all__ = ["equations", "words"]

_MAX_PARTS = 8  # parts of the mean that are written out


def equations(design: Design) -> list[dict[str, str]]:
    """Return each equation with its text, for readers that do not see MathML.

    Returns
    -------
    list of dict
        Keys ``mathml`` and ``text``.
    """
    weights = design.known_weights is not None
    structured = design.parametric_residual is not None or design.sigma_is_known
    R = _i("R") if structured else _residual(weights)
    residual = _row(_i("ε"), _o("∼"), _i("N"), _o("("), _n("0"), _o(","), R, _o(")"))
    text = f"ε ~ N(0, {'R' if structured else 'σ²W⁻¹' if weights else 'σ²I'})"
    effects, effects_text = [], []
    for k, term in enumerate(design.terms, 1):
        sub = _n(str(k)) if len(design.terms) > 1 else None
        sigma, u = [_sub(_i("Σ"), sub)], _sub(_i("u"), sub)
        name, whose = f"Σ{k if sub else ''}", f"of each level of {term.group}"
        if term.relationship is not None:
            sigma = [_sub(_i("K"), sub), _o("⊗"), *sigma]
            name, whose = f"K{k if sub else ''} ⊗ {name}", f"of the levels of {term.group}"
        law = [_o("∼"), _i("N"), _o("("), _n("0"), _o(","), *sigma, _o(")")]
        effects.append(_row(u, _sp(), _t(whose), _sp(), *law))
        effects_text.append(f"u{k if sub else ''} {whose} ~ N(0, {name})")
    between = "K" if any(term.relationship is not None for term in design.terms) else "I"
    V = _row(
        _i("V"), _o("="), _i("Z"), _i("G"), _sup(_i("Z"), _o("⊤")), _o("+"), _i("R"), _o(","),
        _sp(), _i("G"), _o("="), _t("blockdiag"), _o("("), _i(between), _o("⊗"), _i("Σ"), _o(")"),
    )  # fmt: skip
    Xt, less_one = _sup(_i("X"), _o("⊤")), _row(_o("−"), _n("1"))
    information = _row(_o("("), Xt, _inv("V"), _i("X"), _o(")"))
    beta = _row(_i("β̂"), _o("="), _sup(information, less_one), Xt, _inv("V"), _i("y"))
    return [
        _equation(_mean(design), _mean_text(design)),
        *(_equation(m, t) for m, t in zip(effects, effects_text, strict=True)),
        _equation(residual, text),
        _equation(V, f"V = Z G Z' + R, G = blockdiag({between} ⊗ Σ)"),
        _equation(beta, "β̂ = (X'V⁻¹X)⁻¹X'V⁻¹y"),
    ]


def words(design: Design) -> list[str]:
    """Return the model in sentences."""
    others = [name for name in design.fixed_names if name != INTERCEPT]
    by = f" by {_listed(others)}" if others else ""
    intercept = "an intercept" if INTERCEPT in design.fixed_names else "no intercept"
    sentences = [f"The mean of {design.response} is modelled{by}, with {intercept}."]
    for term in design.terms:
        inner = factors_of(term.group)
        level = " within ".join(term.group.split(":")) if len(inner) > 1 else term.group
        has = _listed(["intercept" if c == INTERCEPT else f"effect of {c}" for c in term.columns])
        how = ""
        if term.n_columns > 1:
            apart = len(term.structure.blocks) > 1
            how = ", uncorrelated" if apart else ", which may be correlated"
            if not term.structure.is_free:
                how = f", with a covariance of the form {term.structure.words}"
        sentences.append(
            f"Each of the {term.n_levels:,} levels of {level} has its own {has}{how}, drawn from a "
            "normal distribution around 0."
        )
        if term.relationship is not None:
            sentences.append(
                f"These of different levels are correlated as the {term.relationship.what} says: "
                "their covariance is its element K_ij times that of one level."
            )
    sentences.append(_residual_words(design))
    return sentences


def _residual_words(design: Design) -> str:
    form = design.parametric_residual
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
    parts = [
        _row(_sub(_i("β"), _n(str(j))), *([] if name == INTERCEPT else [_t(name)]))
        for j, name in enumerate(design.fixed_names)
    ]
    for k, term in enumerate(design.terms, 1):
        for c, name in enumerate(term.columns):
            index = _row(*([_n(str(k)), _o(",")] if len(design.terms) > 1 else []), _n(str(c)))
            parts.append(_row(_sub(_i("u"), index), *([] if name == INTERCEPT else [_t(name)])))
    if len(parts) > _MAX_PARTS:
        parts = [*parts[: _MAX_PARTS - 1], _o("…")]
    summed: list[str] = []
    for part in [*parts, _i("ε")]:
        summed += [_o("+"), part] if summed else [part]
    return _row(_t(design.response), _o("="), *summed)


def _mean_text(design: Design) -> str:
    parts = [
        f"β{j} {'' if n == INTERCEPT else n}".strip() for j, n in enumerate(design.fixed_names)
    ]
    for term in design.terms:
        parts += [f"u {'' if n == INTERCEPT else n}".strip() for n in term.columns]
    if len(parts) > _MAX_PARTS:
        parts = [*parts[: _MAX_PARTS - 1], "…"]
    return f"{design.response} = {' + '.join([*parts, 'ε'])}"


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MAX_PARTS:
        return f"{', '.join(names[: _MAX_PARTS - 1])} and {len(names) - _MAX_PARTS + 1} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _residual(weights: bool) -> str:
    square = _sup(_i("σ"), _n("2"))
    return _row(square, _inv("W")) if weights else _row(square, _i("I"))


def _equation(mathml: str, text: str) -> dict[str, Any]:
    head = f'<math display="block" alttext="{escape(text)}" aria-label="{escape(text)}">'
    return {"mathml": f"{head}{mathml}</math>", "text": text}


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _i(name: str) -> str:
    return f"<mi>{escape(name)}</mi>"


def _n(number: str) -> str:
    return f"<mn>{escape(number)}</mn>"


def _o(operator: str) -> str:
    return f"<mo>{escape(operator)}</mo>"


def _t(text: str) -> str:
    return f"<mtext>{escape(text)}</mtext>"


def _sp() -> str:
    return '<mspace width="0.6em"/>'


def _sub(base: str, index: str | None) -> str:
    return base if index is None else f"<msub>{base}{index}</msub>"


def _sup(base: str, exponent: str) -> str:
    return f"<msup>{base}{exponent}</msup>"


def _inv(name: str) -> str:
    return _sup(_i(name), _row(_o("−"), _n("1")))
