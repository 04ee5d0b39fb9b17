"""Whether models of the same data can be compared by their evidence, and what to call them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesv.covariance.summed import same_rows
from bayesv.errors import BayesvError
from bayesv.inference.evidence import flat_effects
from bayesv.linalg import Array
from bayesv.posterior.posterior import Posterior

__all__ = ["refuse_incomparable", "same_columns", "short_names"]

_ROUNDING = 1e-9  # of a column's size


def refuse_incomparable(
    posteriors: Sequence[Posterior], names: Sequence[str], *, evidence: bool
) -> None:
    """Refuse posteriors of different rows, or whose evidences have arbitrary factors.

    Raises
    ------
    BayesvError
    """
    others = [type(post).__name__ for post in posteriors if not isinstance(post, Posterior)]
    if others or len(posteriors) < 2:
        raise BayesvError(
            "Two or more posteriors of the same rows are needed, such as those of "
            f"bv.Model(…).sample(); found {', '.join(others) or len(posteriors)}."
        )
    if len(names) != len(posteriors) or len(set(names)) != len(names):
        raise BayesvError(
            f"names needs {len(posteriors)} different names; found {', '.join(map(str, names))}."
        )
    first = posteriors[0].design
    for post, name in zip(posteriors, names, strict=True):
        if post.priors is None:
            raise BayesvError(
                f"{name}: the priors of these draws are not known, so that the model is not; refit "
                "with bv.Model(...).sample()."
            )
        if not _same_rows(posteriors[0], post):
            raise BayesvError(
                f"{names[0]} and {name} are of different rows ({first.n} and {post.design.n}, or "
                "other responses). A probability compares models of the same data: fit them to "
                "the same rows, for instance after dropping all that are incomplete."
            )
    if evidence:
        _refuse_other_flat_effects(posteriors, names)


def _refuse_other_flat_effects(posteriors: Sequence[Posterior], names: Sequence[str]) -> None:
    columns = [_flat_columns(post) for post in posteriors]
    for post, own, name in zip(posteriors, columns, names, strict=True):
        if not _same(posteriors[0], post, columns[0], own):
            flat = [flat_effects(p.priors) for p in (posteriors[0], post) if p.priors is not None]
            raise BayesvError(
                "Flat priors have no constant: the evidence of each model has an arbitrary factor, "
                "which cancels only where the fixed effects that have them are the same columns "
                f"with the same coding. {names[0]} has {', '.join(flat[0]) or 'none'}; {name} has "
                f"{', '.join(flat[1]) or 'none'}. Fit all models with one fixed part, or state "
                "proper priors, Priors(beta=Normal(0, …)), of those that differ; evidence=False "
                "compares by prediction alone."
            )


def _flat_columns(post: Posterior) -> list[bool]:
    """Say which columns of X have flat priors."""
    assert post.priors is not None
    flat = flat_effects(post.priors)
    return [name in flat for name in post.design.fixed_names]


def same_columns(posteriors: Sequence[Posterior]) -> bool:
    """Whether all designs have the same columns of X, in any order."""
    first, *others = posteriors
    every = (True,) * first.design.p
    return all(_same(first, post, every, (True,) * post.design.p) for post in others)


def _same(one: Posterior, other: Posterior, some: Sequence[bool], others: Sequence[bool]) -> bool:
    """Whether some columns of X of two designs are the same, in any order.

    Of designs whose rows are gone those of the same names, if X'WX is the same, too.
    """
    if one.design is other.design:
        return tuple(some) == tuple(others)
    if one.design.has_rows and other.design.has_rows:
        return _same_set(one.design.X[:, some], other.design.X[:, others])
    squares = []
    for post, kept in ((one, some), (other, others)):
        assert post.density is not None  # designs of the same rows, see `_same_rows`
        upper, names = post.density.stats.fixed.upper, post.design.fixed_names
        full = pd.DataFrame(upper.T @ upper, names, names)
        chosen = sorted(name for name, keep in zip(names, kept, strict=True) if keep)
        squares.append(full.loc[chosen, chosen])
    a, b = squares
    return list(a.index) == list(b.index) and np.allclose(a, b, rtol=1e-9)


def _same_set(A: Array, B: Array) -> bool:
    """Whether two matrices have the same columns, in any order."""
    if A.shape != B.shape:
        return False
    left = list(range(B.shape[1]))
    for a in A.T:
        limit = _ROUNDING * max(float(np.abs(a).max(initial=0.0)), 1e-300)
        match = next((j for j in left if np.abs(B[:, j] - a).max(initial=0.0) <= limit), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_rows(one: Posterior, other: Posterior) -> bool:
    a, b = one.design, other.design
    if a is b:
        return True
    if a.has_rows and b.has_rows:
        return a.n == b.n and bool(np.allclose(a.y, b.y, rtol=1e-12, atol=0.0))
    if a.has_rows or b.has_rows or one.density is None or other.density is None:
        return False
    return same_rows(a, b, (one.density.stats, other.density.stats))


def short_names(posteriors: Sequence[Posterior]) -> tuple[str, ...]:
    """Return a name of each model: its random terms and residuals; its formula where that differs.

    Equal ones are numbered.
    """
    if not all(isinstance(post, Posterior) for post in posteriors):
        return tuple(map(str, range(1, len(posteriors) + 1)))
    formulas = [post.design.formula for post in posteriors]
    fixed = {_apart(formula)[0] for formula in formulas}
    names: list[str] = []
    for post, formula in zip(posteriors, formulas, strict=True):
        terms = " + ".join(_apart(formula)[1])
        form = post.design.parametric_residual
        parts = [terms if len(fixed) == 1 else formula, getattr(form, "text", "")]
        name = base = ", ".join(part for part in parts if part) or formula
        k = 2
        while name in names:
            name, k = f"{base} ({k})", k + 1
        names.append(name)
    return tuple(names)


def _apart(formula: str) -> tuple[str, tuple[str, ...]]:
    """Return the fixed part of a formula and its bracketed terms with a bar, as written."""
    terms, rest, depth, start = [], [], 0, 0
    for place, sign in enumerate(formula):
        if sign == "(":
            start = place if depth == 0 else start
            depth += 1
        if depth == 0:
            rest.append(sign)
        if sign == ")":
            depth -= 1
            if depth == 0:
                text = formula[start : place + 1]
                if "|" in text:
                    terms.append(text)
                else:
                    rest.append(text)
    fixed = "".join("".join(rest).split()).rstrip("+")
    while "++" in fixed:
        fixed = fixed.replace("++", "+")
    return fixed, tuple(terms)
