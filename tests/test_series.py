"""Series, visits and groups of a residual correlation, from the columns of a frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.formula.frame import take_columns
from bayesv.formula.residual_text import parse_residual
from bayesv.formula.series import complete_rows, read_series

FRAME = pd.DataFrame(
    {
        "id": ["b", "a", "b", "a", "c", "b"],
        "arm": ["p", "t", "p", "t", "p", "p"],
        "visit": pd.Categorical(
            ["v1", "v1", "v4", "v2", "v2", "v2"], ["v1", "v2", "v3", "v4"], ordered=True
        ),
        "day": [7, 0, 21, 14, 7, 14],
        "time": [0.5, 1.25, 2.0, 3.5, 1.0, 0.75],
        "x": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    },
    index=[10, 11, 12, 13, 14, 15],
)


def series_of(text, frame=FRAME):
    spec = parse_residual(text)
    return read_series(spec, take_columns(frame, spec.names))


def test_categories_are_visits_and_unused_ones_keep_their_place():
    series = series_of("us(visit | id)")
    assert series.visits == ("v1", "v2", "v3", "v4")
    assert series.times.tolist() == [0, 1, 2, 3]
    assert series.visit.tolist() == [0, 0, 3, 1, 1, 1]
    assert [series.labels[k] for k in series.codes] == list(FRAME.id)
    assert series.never_met == ()


def test_integers_are_times_whose_gaps_count():
    series = series_of("ar1(day | id)")
    assert series.times.tolist() == [0, 7, 14, 21]
    assert series.times[series.visit].tolist() == FRAME.day.tolist()


def test_rows_are_numbered_within_their_series_whatever_stands_between_them():
    series = series_of("ar1(1 | id)")
    assert series.times[series.visit].tolist() == [1, 1, 2, 2, 1, 3]
    assert series.position == "row"


def test_times_and_places_are_coordinates():
    assert series_of("car1(time | id)").coordinates[:, 0].tolist() == FRAME.time.tolist()
    field = series_of("sp_exp(time + x | 1)")
    assert field.coordinates.shape == (6, 2)
    assert field.labels.tolist() == ["1"]
    assert not field.by_visit


def test_groups_have_parameters_of_their_own():
    series = series_of("us(visit | arm / id)")
    assert series.groups == ("p", "t")
    assert [series.groups[g] for g in series.group] == list(FRAME.arm)


def test_visits_that_never_meet_are_named():
    frame = FRAME[~((FRAME.id == "b") & (FRAME.visit == "v1"))]
    assert series_of("us(visit | id)", frame).never_met == (("v1", "v4"),)


def test_chosen_rows_keep_labels_and_visits():
    series = series_of("us(visit | id)")
    part = series.take(np.array([2, 0]))
    assert part.visit.tolist() == [3, 0]
    assert part.visits == series.visits
    assert part.n == 2


def test_gaps_of_any_column_that_is_used_make_a_row_incomplete():
    frame = FRAME.astype({"day": float})
    frame.loc[11, "day"] = np.nan
    frame.loc[12, "id"] = None
    spec = parse_residual("us(day | arm / id)")
    complete = complete_rows(spec.names, take_columns(frame, spec.names))
    assert complete.tolist() == [True, False, False, True, True, True]


@pytest.mark.parametrize(
    ("text", "change", "words"),
    [
        ("us(visit | id)", {"visit": ["v1"] * 6}, r"Rows 11 and 13 of series 'a' .* visit = 'v1'"),
        ("sp_exp(x | 1)", {"x": [1.0, 2, 3, 4, 5, 5]}, "Rows 14 and 15 .* x = 5"),
        ("ar1(time | id)", {}, r"has 0.5 in row 10; .*car1\(time"),
        ("car1(visit | id)", {}, "needs numbers as positions"),
        ("car1(x | id)", {"x": [-1e308, -1.0, 0.0, 1.0, 2.0, 1e308]}, "x is 1e.308 at most"),
        ("ar1(day | x)", {}, "has one row"),
        ("us(visit | arm / id)", {"arm": list("pptppp")}, "'b' is in the groups 'p' and 't'"),
        ("us(visit | visit:id)", {}, "has one row"),
    ],
)
def test_series_that_cannot_be_used_are_refused(text, change, words):
    with pytest.raises(bv.DataError, match=words):
        series_of(text, FRAME.assign(**change))


def test_two_rows_at_one_place_are_legal_with_a_nugget():
    frame = FRAME.assign(x=[1.0, 2, 3, 4, 5, 5])
    assert series_of("sp_exp(x | 1, nugget=True)", frame).n == 6
