"""The method of Broyden, Fletcher, Goldfarb and Shanno, one evaluation at a time: compiled."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled
from bayesv.reml.course import (
    DONE,
    HIGH,
    LOW,
    LOW_SLOPE,
    LOW_VALUE,
    LOWER,
    PHASE,
    SCALE,
    SLOPE,
    STALLED,
    STEPS,
    TRIALS,
    VALUE,
    WANTED,
)

__all__ = ["advance"]

_SEARCHING, _POLISHING = 1, 2  # phases, after the first evaluation
# A step of the line search has so much of the decrease that the slope promises, and leaves no more
# than so much of the slope (Wolfe's conditions); how many it tries, and the narrowest bracket.
_DECREASE, _SLOPE = 1e-4, 0.9
_TRIALS, _NARROWEST = 24, 1e-9
_POLISHINGS = 12  # steps without a line search
_NEARLY = 10.0  # times the finer tolerance: stalled there, it is left as it is


@compiled
def advance(course, value, gradient):
    """Take the value and gradient at the point of a course on; return what is told of it."""
    numbers, counts = course.numbers, course.counts
    if counts[PHASE] == _POLISHING:
        if not _largest(gradient, course.finer) < _largest(course.gradient, course.finer):
            return DONE if _largest(course.gradient, course.finer) < _NEARLY else STALLED
        _accept(course, value, gradient)
        return _polish(course)
    if counts[PHASE] == 0:
        counts[PHASE] = _SEARCHING
        numbers[VALUE] = value
        for i in range(len(gradient)):
            course.gradient[i] = gradient[i]
        _turn(course)
        # The first step is no longer than one unit of the coordinate with the largest curvature.
        square, least = 0.0, np.inf
        for i in range(len(gradient)):
            square -= course.step[i] * gradient[i]
            least = min(least, course.inverse[i, i])
        numbers[SCALE] = min(1.0, 1.0 / np.sqrt(square * least)) if square > 0 else 1.0
        return _search(course)
    slope, scale, low = 0.0, numbers[SCALE], numbers[LOW]
    for i in range(len(gradient)):
        slope += gradient[i] * course.step[i]
    width = scale - low
    if not value <= numbers[VALUE] + _DECREASE * scale * numbers[SLOPE]:
        numbers[HIGH] = scale
        # Where a parabola through both values with the lower one's slope has its minimum.
        bend = max(value - numbers[LOW_VALUE] - numbers[LOW_SLOPE] * width, 1e-300)
        numbers[SCALE] = low + width * min(max(-0.5 * numbers[LOW_SLOPE] * width / bend, 0.1), 0.7)
    elif slope < _SLOPE * numbers[SLOPE]:
        # Where the slope, going on as it did, is 0.
        rate = (slope - numbers[LOW_SLOPE]) / width
        further = -slope / rate if rate > 0 else np.inf
        numbers[LOW], numbers[LOW_VALUE], numbers[LOW_SLOPE] = scale, value, slope
        numbers[SCALE] = scale + min(max(further, 0.1 * width), 4.0 * width)
        if numbers[SCALE] >= numbers[HIGH]:
            numbers[SCALE] = 0.5 * (scale + numbers[HIGH])
    else:
        fall = numbers[VALUE] - value
        _accept(course, value, gradient)
        if not fall > 0:  # what is left to fall is rounding
            return _begin_to_polish(course)
        _turn(course)
        # As far as a parabola that falls as much as the last step did.
        numbers[SCALE] = min(1.0, 2.02 * fall / -numbers[SLOPE])
        counts[STEPS] -= 1
        told = _search(course)
        return LOWER if told == WANTED else told
    counts[TRIALS] += 1
    if counts[TRIALS] == _TRIALS or numbers[HIGH] - numbers[LOW] < _NARROWEST:
        return _begin_to_polish(course)
    _place(course, numbers[SCALE])
    return WANTED


@compiled
def _search(course):
    """Begin a line search along the step, unless the search has come to its end."""
    numbers, counts = course.numbers, course.counts
    there = _largest(course.gradient, course.tolerance) <= 1.0
    if there or counts[STEPS] == 0 or not numbers[SLOPE] < 0:
        return _begin_to_polish(course)
    counts[TRIALS] = 0
    numbers[LOW], numbers[LOW_VALUE], numbers[LOW_SLOPE] = 0.0, numbers[VALUE], numbers[SLOPE]
    numbers[HIGH] = np.inf
    _place(course, numbers[SCALE])
    return WANTED


@compiled
def _begin_to_polish(course):
    course.counts[PHASE], course.counts[STEPS] = _POLISHING, _POLISHINGS
    return _polish(course)


@compiled
def _polish(course):
    """Go one whole step, unless the gradient is small enough."""
    if course.counts[STEPS] == 0 or _largest(course.gradient, course.finer) < 1.0:
        return DONE
    course.counts[STEPS] -= 1
    _turn(course)
    _place(course, 1.0)
    return WANTED


@compiled
def _largest(gradient, tolerance):
    """Return the largest element of a gradient over what is tolerated; NaN counts as ∞."""
    largest = 0.0
    for i in range(len(gradient)):
        largest = max(largest, abs(gradient[i]) / tolerance[i])
        if np.isnan(gradient[i]):
            return np.inf
    return largest


@compiled
def _place(course, scale):
    for i in range(len(course.x)):
        course.point[i] = course.x[i] + scale * course.step[i]


@compiled
def _turn(course):
    """Let the step be that of the inverse Hessian, and note its slope."""
    slope = 0.0
    for i in range(len(course.x)):
        course.step[i] = 0.0
        for j in range(len(course.x)):
            course.step[i] -= course.inverse[i, j] * course.gradient[j]
        slope += course.gradient[i] * course.step[i]
    course.numbers[SLOPE] = slope


@compiled
def _accept(course, value, gradient):
    """Go to the point, and update the inverse Hessian by the change of the gradient."""
    d = len(gradient)
    along, curved, moved = 0.0, 0.0, np.zeros(d)
    for i in range(d):
        change = gradient[i] - course.gradient[i]
        along += change * (course.point[i] - course.x[i])
        for j in range(d):
            moved[i] += course.inverse[i, j] * (gradient[j] - course.gradient[j])
        curved += change * moved[i]
    if along > 0:
        weight = (1.0 + curved / along) / along
        for i in range(d):
            for j in range(d):
                one, other = course.point[i] - course.x[i], course.point[j] - course.x[j]
                course.inverse[i, j] += (
                    one * weight * other - (one * moved[j] + moved[i] * other) / along
                )
    course.numbers[VALUE] = value
    for i in range(d):
        course.x[i], course.gradient[i] = course.point[i], gradient[i]
