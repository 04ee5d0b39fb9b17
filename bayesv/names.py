"""One spelling of labels, so that tables align by name, else by meaning, and never by position."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from decimal import Decimal
from itertools import combinations, pairwise, permutations

from bayesv.errors import BayesvError, near

__all__ = [
    "INTERCEPT",
    "Meaning",
    "canonical",
    "distinct",
    "factors_of",
    "labelled",
    "level_label",
    "matched",
    "paired",
    "places",
    "reordered_levels",
    "resolved",
    "unquoted",
    "variable_name",
]

INTERCEPT = "Intercept"

Meaning = Callable[[str], Hashable]


def level_label(level: object) -> str:
    """Return the text of a factor level; whole floats read as integers, midnight as its day.

    >>> level_label(308.0)
    '308'
    >>> level_label(datetime.datetime(2020, 1, 31))
    '2020-01-31'
    """
    if isinstance(level, datetime.datetime) and level.time() == datetime.time():
        return level.date().isoformat()
    if isinstance(level, float | Decimal) and math.isfinite(level) and level % 1 == 0:
        return str(int(level))
    return str(level)


def variable_name(name: str) -> str:
    """Return a name that a variable of a DataTree and of its file may have.

    >>> variable_name("beta_I(x/2)"), variable_name(".")
    ('beta_I(x÷2)', '․')
    """
    name = name.replace("/", "÷").replace("\0", "␀")  # a slash is a path, a NUL the end of a text
    return name.replace(".", "․") if set(name) == {"."} else name


def distinct(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the names, numbered where they occur again.

    >>> distinct(["collapsed", "collapsed"])
    ('collapsed', 'collapsed 2')
    """
    names: list[str] = []
    for first in labels:
        name, k = first, 2
        while name in names:
            name, k = f"{first} {k}", k + 1
        names.append(name)
    return tuple(names)


def labelled(labels: Sequence[str] | None, own: Sequence[str]) -> tuple[str, ...]:
    """Return the labels that a user gave to fits, or their own names, numbered where they repeat.

    Raises
    ------
    BayesvError
        If there is another number of labels than of fits, or one occurs twice.
    """
    if labels is None:
        return distinct(own)
    names = tuple(map(str, labels)) if isinstance(labels, Sequence) else ()
    if isinstance(labels, str) or len(names) != len(own) or len(set(names)) < len(names):
        raise BayesvError(
            f"labels must be one different name for each of the {len(own)} fits, in their "
            f"order; found {labels!r}."
        )
    return names


# --- what a name means ----------------------------------------------------------------------------


def factors_of(label: str) -> tuple[str, ...]:
    """Return the factors of a grouping label, order ignored: ``tch:sch`` equals ``sch:tch``.

    >>> factors_of("c:(b:a)"), factors_of("x(1)")
    (('a', 'b', 'c'), ('x(1)',))
    """
    return tuple(sorted(_in_order(label)))


def _in_order(label: str) -> list[str]:
    label = str(label)
    while (bare := _BRACKETED.sub(r"\1\2", label)) != label:
        label = bare
    return [part.replace("`", "").strip() for part in _parts(label)]


# A product in brackets, which is a factor itself; not the brackets of a name such as x(1).
_BRACKETED = re.compile(r"((?:^|[:(])\s*)\(([^()]*)\)(?=\s*(?:$|[:)]))")


def unquoted(name: str) -> str:
    """Return a name of patsy or formulaic without ``Q('…')``.

    >>> unquoted("C(Q('tch.cl'))[3]")
    'C(tch.cl)[3]'
    """
    return re.sub(r"\bQ\(([\"'])(.*?)\1\)", r"\2", name)


def canonical(name: str) -> str:
    """Return a coefficient name without what only differs between packages.

    ``(Intercept)`` = ``Intercept`` = ``1``; ``sx[T.F]`` = ``sx[F]`` = ``sxF`` = ``C(sx)[T.F]`` =
    ``factor(sx)F``; ``on`` = ``onTRUE`` = ``on[T.True]``; ``I(x^2)`` = ``I(x ** 2)``; ``a:b`` =
    ``b:a``. Two different coefficients may come out alike, as ``dose[1]`` and a column ``dose1``
    do: `matched` and `places` take a name as it stands first.

    >>> canonical("(Intercept)") == canonical("Intercept")
    True
    >>> canonical("sx[T.F]") == canonical("sxF") == canonical("C(sx)[T.F]")
    True
    >>> [canonical(name) for name in ("on", "x:onTRUE", "on[T.True]:x")]
    ['on', 'on:x', 'on:x']
    >>> len({canonical(name) for name in ("log(u)", "logu", "a b", "ab", "g(1)", "g1")})
    6
    """
    name = unquoted(str(name).strip())
    if name in ("1", "(Intercept)", INTERCEPT):
        return INTERCEPT
    name = _CODED.sub(r"\1", name.replace("[T.", "["))
    name = re.sub(r"(?<![\w.])np\.", "", name).replace("**", "^")
    name = re.sub(r"(?<=\w)(\[True\]|\[?TRUE\]?)(?=:|$)", "", name)  # on[T.True] of a logical on
    # R glues a level to its factor, f[b] is fb; a colon of a level is one of the name then.
    glued = ":".join(re.sub(r"\[([^\[\]]*)\]$", r"\1", part) for part in _parts(name))
    return ":".join(sorted(map(_without_quotes, _parts(glued))))


_CODED = re.compile(r"(?<![\w.])(?:C|factor|as\.factor)\((`[^`]+`|[\w.]+)(?:,[^\[\]]*)?\)")


def _parts(name: str) -> list[str]:
    """Split a product at its colons, not at those of a call, a level or a quoted name."""
    parts, depth, quoted, start = list[str](), 0, False, 0
    for i, letter in enumerate(name):
        quoted ^= letter == "`"
        depth += 0 if quoted else (letter in "([") - (letter in ")]")
        if letter == ":" and not quoted and depth <= 0:
            parts.append(name[start:i])
            start = i + 1
    return [*parts, name[start:]]


def _without_quotes(part: str) -> str:
    """Return a factor of a product without backticks and without the blanks of a call."""
    part = part.replace("`", "").strip()
    head, opening, call = part.partition("(")
    return head + opening + re.sub(r"\s", "", call)


# --- which name is meant --------------------------------------------------------------------------


def places(name: str, names: Sequence[str], meaning: Meaning = canonical) -> list[int]:
    """Return the positions of what a name may be: the one it is exactly, else all of its meaning.

    >>> places("dose1", ["dose1", "dose[1]"]), places("C(dose)[1]", ["dose1", "dose[1]"])
    ([0], [0, 1])
    """
    exact = [i for i, other in enumerate(names) if other == name]
    if exact:
        return exact
    meant = meaning(name)
    return [i for i, other in enumerate(names) if meaning(other) == meant]


def resolved(
    name: object,
    names: Sequence[str],
    what: str,
    error: type[BayesvError] = BayesvError,
    meaning: Meaning = canonical,
) -> int:
    """Return the position of the one name that is meant.

    Parameters
    ----------
    name : object
        Text; anything else is refused.
    names : sequence of str
    what : str
        What is looked for, such as ``"grouping factor"``.
    error : type of BayesvError
    meaning : callable
        Equal for two spellings of one thing.

    Raises
    ------
    BayesvError
        If nothing or more than one thing may be meant.
    """
    have = ", ".join(names) or "none"
    if not isinstance(name, str):
        raise error(f"The name of a {what} is needed ({have}); found {name!r}.")
    candidates = places(name, names, meaning)
    if not candidates:
        raise error(f"No {what} {name!r}; there are {have}{near(name, names)}")
    if len(candidates) > 1:
        raise error(_ambiguous(what, name, [names[i] for i in candidates]))
    return candidates[0]


def matched(
    wanted: Sequence[str],
    names: Sequence[str],
    what: str = "name",
    error: type[BayesvError] = BayesvError,
    meaning: Meaning = canonical,
) -> list[int | None]:
    """Return the position in ``names`` of each wanted name, None for those that are not there.

    Names that are equal belong together; what is left over is matched by meaning, one to one.

    Raises
    ------
    BayesvError
        If a name that is left over may be several, or several may be it.

    Examples
    --------
    >>> matched(["dose[1]", "dose1", "x"], ["dose1", "doseA", "dose[1]", "(Intercept)"])
    [2, 0, None]
    >>> matched(["Intercept", "dose[1]"], ["(Intercept)", "dose1"])
    [0, 1]
    """
    for side in (wanted, names):
        twice = sorted({name for name in side if side.count(name) > 1})
        if twice:
            raise error(f"{what} {', '.join(map(repr, twice))} is there more than once.")
    exact = {name: i for i, name in enumerate(names)}
    free = [name for name in names if name not in wanted]
    left = [meaning(name) for name in wanted if name not in exact]
    positions: list[int | None] = []
    for name in wanted:
        if name in exact:
            positions.append(exact[name])
            continue
        meant = meaning(name)
        candidates = [other for other in free if meaning(other) == meant]
        if len(candidates) > 1 or (candidates and left.count(meant) > 1):
            raise error(_ambiguous(what, name, candidates))
        positions.append(exact[candidates[0]] if candidates else None)
    return positions


def paired(
    wanted: Sequence[str], names: Sequence[str], meaning: Meaning = canonical
) -> list[int] | None:
    """Return the position in ``names`` of each wanted name; None unless they are the same names.

    >>> paired(["Intercept", "f[b]"], ["fb", "(Intercept)"]), paired(["x"], ["x", "z"])
    ([1, 0], None)
    """
    if len(wanted) != len(names):
        return None
    try:
        positions = matched(wanted, names, meaning=meaning)
    except BayesvError:
        return None
    complete = [i for i in positions if i is not None]
    return complete if len(complete) == len(names) else None


def reordered_levels(name: str, label: str, level: str) -> Iterator[str]:
    """Yield how a level of ``name`` may read where the factors stand in the order of ``label``.

    Levels may contain colons themselves, so that there can be several ways.

    >>> list(reordered_levels("a:b", "b:a", "1:3"))
    ['3:1']
    """
    factors, target = _in_order(name), _in_order(label)
    pieces, k = level.split(":"), len(factors)
    orders = {p for p in permutations(range(k)) if [factors[i] for i in p] == target}
    for cuts in combinations(range(1, len(pieces)), k - 1):
        ends = [0, *cuts, len(pieces)]
        parts = [":".join(pieces[a:b]) for a, b in pairwise(ends)]
        for order in sorted(orders):
            yield ":".join(parts[i] for i in order)


def _ambiguous(what: str, name: str, candidates: Sequence[str]) -> str:
    return (
        f"{what} {name!r} may be {' or '.join(map(repr, candidates))}; write the name as it is "
        "printed."
    )
