"""Families of covariances in formulas and words: one entry for each kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bayesv.covariance.quantities import Quantity
from bayesv.design.design import Design, RandomTerm
from bayesv.design.known import KnownVariances
from bayesv.design.row_scales import Exponential
from bayesv.design.structured import StructuredResidual
from bayesv.report.mathml import quoted
from bayesv.structures.spatial import Spatial, SpatialMatern
from bayesv.structures.structure import CovarianceStructure

__all__ = [
    "FORMS",
    "Form",
    "effect_formulas",
    "family_words",
    "found_words",
    "residual_formulas",
    "residual_sentences",
]

_MAX_VALUES = 6  # parameters of one kind that are written out


class Form(NamedTuple):
    """What a family says of two positions a and b.

    Attributes
    ----------
    correlation : str
        Of a ≠ b, as `mathml.equation` reads it.
    words : str
        The same in words; ``{position}`` stands for visit, time, place or effect.
    """

    correlation: str
    words: str


FORMS: dict[str, Form] = {
    "us": Form("ρ_{ab}", "every two {position}s have a correlation ρ_ab of their own"),
    "diag": Form("0", "{position}s are uncorrelated"),
    "homdiag": Form("0", "{position}s are uncorrelated"),
    "cs": Form("ρ", "every two {position}s have the same correlation ρ"),
    "csh": Form("ρ", "every two {position}s have the same correlation ρ"),
    "ar1": Form(
        "ρ^{|t_a − t_b|}",
        "the correlation of two {position}s is ρ to the power of the number of steps between them",
    ),
    "ar1h": Form(
        "ρ^{|t_a − t_b|}",
        "the correlation of two {position}s is ρ to the power of the number of steps between them",
    ),
    "toep": Form(
        "ρ_h,  h = |t_a − t_b|",
        "the correlation of two {position}s is ρ_h, of the number h of steps between them alone",
    ),
    "toeph": Form(
        "ρ_h,  h = |t_a − t_b|",
        "the correlation of two {position}s is ρ_h, of the number h of steps between them alone",
    ),
    "ad": Form(
        "ρ_a ρ_{a + 1} ⋯ ρ_{b − 1},  a < b",
        "the correlation of two {position}s is the product of those of the steps between them, so "
        "that each depends on the one before alone",
    ),
    "adh": Form(
        "ρ_a ρ_{a + 1} ⋯ ρ_{b − 1},  a < b",
        "the correlation of two {position}s is the product of those of the steps between them, so "
        "that each depends on the one before alone",
    ),
    "ma1": Form(
        "ρ_1  ⟨if⟩  |t_a − t_b| = 1,  0  ⟨beyond⟩",
        "neighbouring {position}s have the correlation ρ_1 = θ/(1 + θ²), others none",
    ),
    "arma11": Form(
        "γ φ^{|t_a − t_b| − 1}",
        "neighbouring {position}s have the correlation γ, and each further step multiplies it by φ",
    ),
    "car1": Form(
        "φ^{|t_a − t_b|}",
        "the correlation of two {position}s is φ to the power of the time between them",
    ),
    "sp_exp": Form(
        "exp(−d_{ab} / r)",
        "correlations fall exponentially with the distance d, to 1/e at the range r",
    ),
    "sp_gau": Form(
        "exp(−d_{ab}^2 / r^2)",
        "correlations fall as a normal density with the distance d, to 1/e at the range r",
    ),
    "sp_pow": Form(
        "ρ^{d_{ab}}",
        "the correlation of two {position}s is ρ to the power of the distance d between them",
    ),
    "sp_mat": Form(
        "[2^{1 − κ}/Γ(κ)] x^κ K_κ(x),  x = d_{ab} / r",
        "correlations fall with the distance d as Matérn's of smoothness κ and range r",
    ),
}
"""Correlation of two positions, by the word for the family."""

_SYMBOLS = {"rho": "ρ", "phi": "φ", "range": "r", "nugget": "ν"}


# --- formulas ---------------------------------------------------------------------------------


def effect_formulas(term: RandomTerm, index: str) -> list[str]:
    """Return elements of Σ of a term, for each of its independent parts.

    Parameters
    ----------
    term : RandomTerm
    index : str
        What tells its Σ from others, such as ``_1``; empty where there is one term.
    """
    which = f"{index[1:]}," if index else ""
    lines = []
    for rows, part in term.structure.parts:
        whose = ""
        if len(term.structure.parts) > 1:
            names = ", ".join(str(term.columns[i]) for i in rows)
            whose = f"  {quoted(f'for {names}')}"
        scale = "s_a s_b" if part.n_sds > 1 else "s^2"
        own = "s_a^2" if part.n_sds > 1 else "s^2"
        if part.size == 1:
            lines.append(f"Σ{index} = s^2" if not whose else f"Σ_{{{which}aa}} = s^2{whose}")
        elif part.n_corrs == 0:
            lines.append(f"Σ_{{{which}aa}} = {own},  Σ_{{{which}ab}} = 0{whose}")
        else:
            lines.append(f"Σ_{{{which}ab}} = {_times(scale, part)}{whose}")
    return lines


def residual_formulas(design: Design) -> list[str]:
    """Return elements of R, and the SDs in them; none where R is σ² over known weights."""
    form = design.parametric_residual
    if design.sigma_is_known:
        variances = isinstance(design.residual, KnownVariances)
        return ["R = diag(v_1, …, v_n),  v  ⟨known⟩" if variances else "R  ⟨known⟩"]
    if not isinstance(form, StructuredResidual):
        return []
    sds = _sds(form)
    scale = "σ^2" if sds == "σ" else "σ_j σ_k"
    lines = [f"R = {'σ^2 I' if sds == 'σ' else 'diag(σ_1^2, …, σ_n^2)'}"]
    if form.sequential is not None:
        within = _times(scale, form.sequential.structure)
        where = "" if form.sequential.series.label == "1" else " of a series"
        lines = [f"R_{{jk}} = {within}  {quoted(f'for rows j, k at a, b{where}')}"]
    return lines if sds == "σ" else [*lines, f"σ_j = {sds}"]


def _times(scale: str, structure: CovarianceStructure) -> str:
    """Return an SD times an SD times the correlation, with the share of a nugget."""
    share = " (1 − ν)" if isinstance(structure, Spatial) and structure.nugget else ""
    return f"{scale}{share} {FORMS[structure.kind].correlation}"


def _sds(form: StructuredResidual) -> str:
    """Return the SD of row j."""
    strata, powers = form.scales.strata, form.scales.powers
    if strata is not None:
        sd = f"σ_{{{quoted(strata.name)} j}}"
    elif not form.sd_labels:
        sd = "σ"
    else:
        assert form.sequential is not None
        by_visit = ["a"] if form.sequential.structure.n_sds > 1 else []
        by_group = ["⟨group⟩"] if form.sequential.series.groups else []
        sd = f"σ_{{{', '.join(by_visit + by_group)}}}"
    for k, power in enumerate(powers, 1):
        delta = "δ" if len(powers) == 1 else f"δ_{k}"
        x = f"{quoted(power.name)}_j"
        sd += f" exp({delta} {x})" if isinstance(power, Exponential) else f" |{x}|^{{{delta}}}"
    return sd if form.known is None else f"{sd} w_j^{{−1/2}}"


# --- words ------------------------------------------------------------------------------------


def family_words(structure: CovarianceStructure, position: str) -> str:
    """Return what a family says of its positions, in words without a full stop.

    Parameters
    ----------
    structure : CovarianceStructure
    position : str
        What its rows are: visit, time, place, effect.
    """
    text = FORMS[structure.kind].words.format(position=position)
    if isinstance(structure, SpatialMatern):
        text += f", κ = {structure.smoothness:g}"
    if isinstance(structure, Spatial) and structure.nugget:
        text += "; a share ν of the variance, the nugget, is of each row alone"
    if structure.size > 1 or isinstance(structure, Spatial):
        sds = f"each {position} has its own SD" if structure.n_sds > 1 else "all have one SD"
        text += f"; {sds}"
    return text


def residual_sentences(design: Design) -> Iterator[str]:
    """Yield what the families of R say, in sentences."""
    form = design.parametric_residual
    if not isinstance(form, StructuredResidual):
        return
    if form.sequential is not None:
        part, series = form.sequential, form.sequential.series
        position = "visit" if series.by_visit else "place"
        if not series.by_visit and series.coordinates.shape[1] == 1:
            position = "time"
        said = family_words(part.structure, position)
        if form.scales or (form.sd_labels and part.structure.n_sds == 1):
            said = said.removesuffix("; all have one SD")
        where = "" if series.label == "1" else f"Within a series of {series.label}, "
        alone = "" if series.label == "1" else "; rows of different series are uncorrelated"
        sentence = f"{where}{said}{alone}."
        yield sentence[:1].upper() + sentence[1:]
        if series.groups:
            yield f"Each of {', '.join(series.groups)} has its own parameters."
    if form.scales.strata is not None:
        yield f"Rows have the SD of their level of {form.scales.strata.name}."
    for power in form.scales.powers:
        how = "exp(δx)" if isinstance(power, Exponential) else "|x|^δ"
        yield f"SDs are proportional to {how} of x = {power.name}."


def found_words(group: str, quantities: Iterable[Quantity], name: str) -> str:
    """Return SDs and parameters of correlations that a fit found; empty if there are none.

    Parameters
    ----------
    group : str
        Grouping factor, or ``"Residual"``.
    quantities : iterable of Quantity
        Of one point.
    name : str
        What the fit is called.
    """
    own = [q for q in quantities if q.group == group]
    letter = "σ" if group == "Residual" else "s"
    sds = [q for q in own if q.scale == "sd"]
    if any(q.first for q in sds) and group == "Residual":
        sds = [q for q in sds if q.first]  # σ is the root mean square of these
    named = len(sds) > 1
    parts = [(f"{letter}({q.first})" if named else letter, q) for q in sds]
    corrs = [(_symbol(q), q) for q in own if q.scale == "corr"]
    shown = []
    for what, values in (("SDs", parts), ("correlations", corrs)):
        if len(values) > _MAX_VALUES:
            shown.append(f"the {len(values)} {what} that are among the variance components")
        else:
            shown += [f"{symbol} = {float(q.values):.4g}" for symbol, q in values]
    return f"{name} found {', '.join(shown)}." if shown else ""


def _symbol(quantity: Quantity) -> str:
    """Return the letter of a parameter of a correlation: that of the formulas, with its label."""
    if quantity.second:
        return f"ρ({quantity.first}, {quantity.second})"
    *group, label = quantity.first.split(": ")
    symbol = _SYMBOLS.get(label, f"ρ({label})")
    if label.startswith(("exp ", "power ")):
        symbol = f"δ({label})"
    return f"{symbol} of {group[0]}" if group else symbol
