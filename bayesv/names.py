"""One spelling of labels, so that tables align by meaning and never by position."""

from __future__ import annotations

import datetime
import math
import re
from decimal import Decimal

INTERCEPT = "Intercept"


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


def factors_of(label: str) -> tuple[str, ...]:
    """Return the factors of a grouping label, order ignored: ``tch:sch`` equals ``sch:tch``.

    >>> factors_of("c:(b:a)")
    ('a', 'b', 'c')
    """
    return tuple(sorted(part.strip() for part in re.sub(r"[()]", "", str(label)).split(":")))


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
    ``b:a``.

    >>> canonical("(Intercept)") == canonical("Intercept")
    True
    >>> canonical("sx[T.F]") == canonical("sxF") == canonical("C(sx)[T.F]")
    True
    >>> [canonical(name) for name in ("on", "x:onTRUE", "on[T.True]:x")]
    ['on', 'on:x', 'on:x']
    """
    name = unquoted(str(name).strip())
    if name in ("1", "(Intercept)", "Intercept", "const"):
        return INTERCEPT
    name = name.replace("[T.", "[").replace("np.", "").replace("**", "^")
    name = re.sub(r"\b(?:C|factor|as\.factor)\(([\w.]+)(?:,[^\[\]]*)?\)", r"\1", name)
    name = re.sub(r"(?<=\w)(\[True\]|\[?TRUE\]?)(?=:|$)", "", name)  # on[T.True] of a logical on
    parts = re.split(r":(?![^(]*\))", name)
    return ":".join(sorted(re.sub(r"[\s\[\]()`,]", "", part) for part in parts))
