"""Simulated data of realistic shape, each from a seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

__all__ = ["SIMULATORS"]

Rng = np.random.Generator


def grouped(rng: Rng, rows: int, groups: int) -> pd.DataFrame:
    """One factor ``g`` with correlated intercepts and slopes over ``x``; rows divided evenly."""
    g = np.arange(rows) * groups // rows
    u = rng.multivariate_normal([0, 0], [[1.0, 0.15], [0.15, 0.25]], size=groups)
    x = rng.normal(size=rows)
    y = 1.0 + 0.5 * x + u[g, 0] + u[g, 1] * x + rng.normal(size=rows)
    return pd.DataFrame({"y": y, "x": x, "g": g})


def nested(rng: Rng, rows: int, depth: int, branches: int) -> pd.DataFrame:
    """Factors ``a/b/c/…``, ``branches`` levels in each level above; rows divided evenly."""
    x = rng.normal(size=rows)
    y = 1.0 + 0.5 * x + rng.normal(size=rows)
    factors = {}
    for level, name in enumerate("abcdef"[:depth], start=1):
        codes = np.arange(rows) * branches**level // rows
        factors[name] = codes
        y += rng.normal(size=branches**level)[codes]
    return pd.DataFrame({"y": y, "x": x} | factors)


def schools(rng: Rng, rows: int, schools: int, areas: int) -> pd.DataFrame:
    """Pupils in schools in local authorities, of the size and imbalance of Chem97 (mlmRev)."""
    lea_of = _uneven(rng, schools, areas)
    school = _uneven(rng, rows, schools)
    lea = lea_of[school]
    x = rng.normal(scale=0.8, size=rows)  # GCSE score, centred
    y = 5.6 + 2.5 * x + 0.3 * rng.normal(size=areas)[lea] + 0.8 * rng.normal(size=schools)[school]
    y += 2.3 * rng.normal(size=rows)
    return pd.DataFrame({"y": y, "x": x, "lea": lea, "school": school})


def star(rng: Rng, students: int, schools: int, teachers: int) -> pd.DataFrame:
    """Students over four years in schools, with a new teacher each year, as in full STAR (mlmRev).

    Students enter late, leave early and rarely change school; teachers are crossed with students.
    """
    entry = rng.choice(4, size=students, p=[0.55, 0.18, 0.15, 0.12])
    stays = np.minimum(rng.geometric(0.25, size=students), 4 - entry)
    student = np.repeat(np.arange(students), stays)
    first = np.repeat(np.cumsum(stays) - stays, stays)
    yr = entry[student] + np.arange(len(student)) - first
    home = rng.integers(schools, size=students)
    moved = rng.random(len(student)) < 0.03
    school = np.where(moved, rng.integers(schools, size=len(student)), home[student])
    # Teachers of each school and year: as many as the total allows, one more in the first of them.
    cells = schools * 4
    per_cell = np.full(cells, teachers // cells) + (np.arange(cells) < teachers % cells)
    start = np.cumsum(per_cell) - per_cell
    cell = school * 4 + yr
    teacher = start[cell] + (rng.random(len(cell)) * per_cell[cell]).astype(int)
    u = rng.multivariate_normal([0, 0], [[800.0, -60.0], [-60.0, 40.0]], size=students)
    v = rng.multivariate_normal([0, 0], [[180.0, -20.0], [-20.0, 25.0]], size=schools)
    y = 490.0 + 28.0 * yr + u[student, 0] + u[student, 1] * yr + v[school, 0] + v[school, 1] * yr
    y += 12.0 * rng.normal(size=teachers)[teacher] + 20.0 * rng.normal(size=len(yr))
    return pd.DataFrame(
        {"y": y, "yr": yr, "student": student, "school": school, "teacher": teacher}
    )


def animals(rng: Rng, rows: int, animals: int) -> pd.DataFrame:
    """Animals with records, of sires and dams among earlier ones, whose effects are inherited."""
    founders = animals // 5
    sire, dam = np.full(animals, -1), np.full(animals, -1)
    u = rng.normal(size=animals)
    for i in range(founders, animals):
        earlier = rng.integers(max(0, i - 2 * founders), i, 2)
        sire[i], dam[i] = 2 * (earlier // 2)  # even ones are male
        dam[i] += 1 if dam[i] + 1 < i else -1
        u[i] = 0.5 * (u[sire[i]] + u[dam[i]]) + np.sqrt(0.5) * rng.normal()
    animal = _uneven(rng, rows, animals)
    x = rng.normal(size=rows)
    y = 1.0 + 0.5 * x + u[animal] + rng.normal(size=rows)
    names = np.array([*(f"a{i}" for i in range(animals)), ""])
    table = {"y": y, "x": x, "animal": names[animal]}
    return pd.DataFrame(table | {"sire": names[sire[animal]], "dam": names[dam[animal]]})


def ratings(rng: Rng, rows: int, users: int, items: int) -> pd.DataFrame:
    """Ratings of items by users, both with Zipf margins: few of each have most of the rows."""
    margins = [1.0 / np.arange(1, levels + 1) ** 0.7 for levels in (users, items)]
    user, item = (rng.choice(len(m), size=rows, p=m / m.sum()) for m in margins)
    user[:users], item[:items] = np.arange(users), np.arange(items)
    x = rng.normal(size=rows)
    y = 3.5 + 0.1 * x + 0.4 * rng.normal(size=users)[user] + 0.5 * rng.normal(size=items)[item]
    y += 0.85 * rng.normal(size=rows)
    return pd.DataFrame({"y": y, "x": x, "user": user, "item": item})


def trial(rng: Rng, subjects: int, visits: int) -> pd.DataFrame:
    """A trial of two arms: a baseline, visits of which some are missed, and drop-out."""
    subject, visit = (code.ravel() for code in np.indices((subjects, visits)))
    lags = np.abs(np.subtract.outer(np.arange(visits), np.arange(visits)))
    sds = np.linspace(1.0, 2.0, visits)
    root = np.linalg.cholesky(0.6**lags * np.outer(sds, sds))
    noise = (rng.normal(size=(subjects, visits)) @ root.T).ravel()
    baseline, race, arm = (
        rng.normal(size=subjects),
        rng.integers(0, 3, subjects),
        rng.random(subjects),
    )
    treated = arm < 0.5
    y = 5.0 + 0.5 * baseline[subject] + 0.3 * visit * (1.0 + treated[subject]) + noise
    last = np.minimum(rng.geometric(0.01, subjects), visits)
    seen = (visit < last[subject]) & (rng.random(len(visit)) < 0.95)
    names = np.array([f"VIS{v + 1:02}" for v in range(visits)])
    table = pd.DataFrame(
        {
            "y": y,
            "baseline": baseline[subject],
            "race": np.array(["A", "B", "W"])[race[subject]],
            "arm": np.where(treated[subject], "TRT", "CTL"),
            "visit": names[visit],
            "subject": subject,
        }
    )[seen]
    text = ["race", "arm", "visit"]
    return table.astype(dict.fromkeys(text, "category")).reset_index(drop=True)


def serial(rng: Rng, rows: int, series: int) -> pd.DataFrame:
    """Series of equal length with slopes on x, AR(1) residuals and two strata of SDs."""
    length = rows // series
    g, t = (code.ravel() for code in np.indices((series, length)))
    x, noise = rng.normal(size=len(g)), rng.normal(size=(series, length))
    for k in range(1, length):
        noise[:, k] = 0.5 * noise[:, k - 1] + np.sqrt(0.75) * noise[:, k]
    s = g % 2
    y = 1.0 + 0.5 * x + 0.8 * rng.normal(size=series)[g] + 0.5 * rng.normal(size=series)[g] * x
    y += (1.0 + s) * noise.ravel()
    return pd.DataFrame(
        {"y": y, "x": x, "g": g, "t": t, "s": pd.Categorical(np.array(["a", "b"])[s])}
    )


def _uneven(rng: Rng, items: int, boxes: int) -> np.ndarray:
    """Put items into boxes of uneven size, none empty; sorted, as such data usually are."""
    weights = rng.gamma(1.5, size=boxes)
    extra = rng.choice(boxes, size=items - boxes, p=weights / weights.sum())
    return np.sort(np.concatenate([np.arange(boxes), extra]))


SIMULATORS: dict[str, Callable[..., pd.DataFrame]] = {
    "grouped": grouped,
    "nested": nested,
    "ratings": ratings,
    "schools": schools,
    "star": star,
    "animals": animals,
    "trial": trial,
    "serial": serial,
}
