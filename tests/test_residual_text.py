"""Residual correlations and SDs as they are written."""

from __future__ import annotations

import pytest

import bayesv as bv
from bayesv.formula.residual_text import (
    KINDS,
    ResidualText,
    SDText,
    parse_residual,
    parse_residual_sd,
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read(kind):
    assert parse_residual(f"{kind}(day | subject)") == ResidualText(
        f"{kind}(day | subject)", kind, ("day",), ("subject",)
    )


@pytest.mark.parametrize(
    ("text", "positions", "series", "group", "nugget"),
    [
        ("us( AVISIT|USUBJID )", ("AVISIT",), ("USUBJID",), None, False),
        ("us(visit | arm / id)", ("visit",), ("id",), "arm", False),
        ("ar1(1 | id)", (), ("id",), None, False),
        ("ar1(day | site:id)", ("day",), ("site", "id"), None, False),
        ("sp_exp(x + y | 1)", ("x", "y"), (), None, False),
        ("sp_gau(x + y | field, nugget=True)", ("x", "y"), ("field",), None, True),
        ("ar1(`the day` | `my id`)", ("the day",), ("my id",), None, False),
    ],
)
def test_parts_are_told_apart(text, positions, series, group, nugget):
    spec = parse_residual(text)
    assert (spec.positions, spec.series, spec.group, spec.nugget) == (
        positions, series, group, nugget,
    )  # fmt: skip


def test_names_are_each_named_once():
    assert parse_residual("us(a | b / a:c)").names == ("a", "c", "b")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is a text, such as"),
        (None, "is a text, such as"),
        ("ar2(day | id)", "did you mean 'ar1'"),
        ("AR1(day | id)", "There is no kind of residual correlation 'AR1'"),
        ("ar1 day | id", "opening bracket"),
        ("ar1(day, id)", "bar before the series"),
        ("ar1(day | id", "never closed"),
        ("ar1(day | id) + 1", "Nothing is expected here"),
        ("ar1(day | id, nuget=True)", "did you mean 'nugget'"),
        ("ar1(day | id, nugget=3)", "True or False"),
        ("ar1(2 | id)", "A position is needed here"),
        ("ar1(x + y | id)", "takes one position"),
        ("car1(1 | id)", "car1 needs times"),
        ("sp_exp(1 | id)", "needs coordinates"),
        ("us(v | a:b / id)", "Parameters differ by one column"),
        ("us(v | 1 / id)", "stands alone"),
        ("us(v | )", "series is needed here"),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text, words):
    with pytest.raises(bv.FormulaError, match=words):
        parse_residual(text)


def test_products_of_sds_are_read():
    assert parse_residual_sd("strata(sex) * power(age)") == (
        SDText("strata", "sex"), SDText("power", "age"),
    )  # fmt: skip
    assert parse_residual_sd("exp(`my x`)") == (SDText("exp", "my x"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (3, "is a text, such as"),
        ("stratum(sex)", "did you mean 'strata'"),
        ("strata(sex, age)", "takes one column"),
        ("strata(1)", "name of a column"),
        ("strata(sex) + power(x)", "Nothing is expected here"),
        ("strata(sex) * strata(sex)", "twice"),
        ("strata(sex) *", "is missing here"),
    ],
)
def test_sds_that_cannot_be_read_are_pointed_at(text, words):
    with pytest.raises(bv.FormulaError, match=words):
        parse_residual_sd(text)
