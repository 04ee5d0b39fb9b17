"""Trial of the search for posterior modes: random models against a search with many more starts.

``python -m tests.modes 1000 7`` fits 1,000 models with seed 7 and counts modes with at least 1 %
of the mass that the draws miss without a word.
"""

from __future__ import annotations

import sys
import time
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize

import bayesv as bv
from bayesv.covariance import ComponentDraws
from bayesv.inference.density import MarginalDensity
from bayesv.inference.proposal import Mixture
from bayesv.inference.target import Target, width_root

LEAST_MASS = 0.01
_STARTS = 40
_POINTS = 6000


@dataclass(frozen=True)
class Case:
    """A model with what makes it hard, in words."""

    model: bv.Model
    text: str


def random_case(rng: np.random.Generator) -> Case:
    """Return a model with an offset of x, tight or heavy priors, few levels, crossed factors."""
    J = int(rng.choice([3, 5, 8, 15, 30]))
    m = int(rng.choice([3, 5, 10]))
    offset = float(rng.choice([0, 10, 100, 300, 600, 2000, 10_000]))
    shape = str(rng.choice(["slope", "diagonal", "intercept", "crossed", "nested", "two slopes"]))
    g = np.repeat(np.arange(J), m)
    n = len(g)
    x, z = rng.normal(size=n), rng.normal(size=n)
    h = rng.integers(0, max(3, J // 2), size=n)
    sds = np.exp(rng.normal(0.0, 1.2, size=4))
    y = rng.normal(size=n) + sds[0] * rng.normal(size=J)[g] + 0.5 * x
    y += sds[1] * rng.normal(size=J)[g] * x * (shape != "intercept")
    y += sds[2] * rng.normal(size=h.max() + 1)[h] * (shape == "crossed")
    y += sds[3] * rng.normal(size=J)[g] * z * (shape == "two slopes")
    data = pd.DataFrame({"y": y, "x": x + offset, "z": z, "g": g, "h": h, "k": g // 2})
    formula = {
        "slope": "y ~ x + (x | g)",
        "diagonal": "y ~ x + (x || g)",
        "intercept": "y ~ x + (1 | g)",
        "crossed": "y ~ x + (x | g) + (1 | h)",
        "nested": "y ~ x + (x | g) + (1 | k)",
        "two slopes": "y ~ x + z + (x + z | g)",
    }[shape]
    scale = float(np.exp(rng.normal(0.0, 2.0)))
    laws = [None, bv.HalfNormal(scale), bv.HalfStudentT(3, scale), bv.HalfCauchy(scale)]
    laws += [bv.Exponential(scale), bv.Gamma(2.0, scale)]
    law = laws[rng.integers(len(laws))]
    corr = [None, bv.LKJ(1.0), bv.LKJ(4.0)][rng.integers(3)]
    given = {"sd": law, "corr": corr}
    if rng.random() < 0.3:
        given["sigma"] = bv.HalfNormal(float(np.exp(rng.normal(0.0, 1.5))))
    given = {name: value for name, value in given.items() if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = bv.Model(formula, data, bv.Priors(**given))
    return Case(model, f"{formula}, J={J}, m={m}, offset={offset:g}, {given}")


@dataclass(frozen=True)
class Reference:
    """What a search with many more starts found.

    ``modes`` hold mean and Cholesky root of the normal approximations; ``x`` and ``weights`` are
    a weighted sample.
    """

    modes: list[tuple[np.ndarray, np.ndarray]]
    x: np.ndarray
    weights: np.ndarray

    @property
    def ess(self) -> float:
        return float(1.0 / (self.weights**2).sum())

    def masses(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Mass of the points that are nearest to each mode."""
        distance = [(np.linalg.solve(L, (x - mean).T) ** 2).sum(axis=0) for mean, L in self.modes]
        return np.bincount(np.argmin(distance, axis=0), weights, minlength=len(self.modes))

    def gap(self, x: np.ndarray) -> float:
        """Largest difference of a coordinate's distribution function, at nine points."""
        gaps = []
        for j in range(x.shape[1]):
            order = np.argsort(self.x[:, j])
            reached = np.cumsum(self.weights[order])
            for q in np.arange(0.1, 0.95, 0.1):
                cut = self.x[order[np.searchsorted(reached, q)], j]
                gaps.append(abs((x[:, j] <= cut).mean() - q))
        return max(gaps)


def reference(target: Target, reml: bv.RemlFit, rng: np.random.Generator) -> Reference:
    """Climb from REML, from draws of the prior and from anywhere, then sample by importance."""
    coordinates = target.coordinates
    starts = np.array(target.log_prior.draws(rng, _STARTS))
    point = ComponentDraws.of(coordinates.design, reml.components)
    starts[0] = np.maximum(coordinates.near(point), -5.0)
    anywhere = starts[_STARTS // 2 :]
    anywhere[:] = np.where(
        coordinates.is_sd, rng.uniform(-8, 4, anywhere.shape), rng.normal(0, 1.5, anywhere.shape)
    )

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = target.value_and_gradient(x)
        return (-value, -gradient) if np.isfinite(value) else (1e12, 0.0 * x)

    options = {"gtol": 1e-3, "maxiter": 150}
    ends = [minimize(objective, x, jac=True, method="BFGS", options=options) for x in starts]
    modes: list[tuple[np.ndarray, np.ndarray, float]] = []
    for end in sorted(ends, key=lambda end: end.fun):
        value, x = -end.fun, end.x
        if value < -1e11 or len(modes) == 8:
            break
        if all(np.linalg.norm(np.linalg.solve(L, x - mean)) > 2.0 for mean, L, _ in modes):
            L = width_root(target.inverse_hessian(x, lambda _: None))
            modes.append((x, L, value + np.log(np.diagonal(L)).sum()))
    mass = np.array([m for *_, m in modes])
    share = np.maximum(np.exp(mass - mass.max()), 0.05)
    mixture = Mixture(
        share / share.sum(),
        np.array([mean for mean, _, _ in modes]),
        np.array([1.3 * L for _, L, _ in modes]),
        0.1,
    )
    for _ in range(8):
        x = mixture.sample(rng, _POINTS)
        log_w = target.evaluate(x)[0] - mixture.log_density(x)
        weights = np.exp(log_w - log_w.max())
        weights /= weights.sum()
        if 1.0 / (weights**2).sum() > 0.3 * _POINTS:
            break
        capped = np.minimum(weights, 20.0 / _POINTS)
        mixture = mixture.adapted(x, capped / capped.sum())
    return Reference([(mean, L) for mean, L, _ in modes], x, weights)


def drawn_coordinates(target: Target, post: bv.Posterior, every: int = 4) -> np.ndarray:
    """Return the coordinates of every few draws."""
    return target.coordinates.from_values(post.values.flat.every(every))


@np.errstate(all="ignore")
def examine(case: Case, seed: int) -> dict:
    """Return the largest mass that the draws miss, and whether anything was said."""
    rng = np.random.default_rng(seed)
    target = Target(MarginalDensity(case.model.statistics, case.model.priors))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = reference(target, case.model.reml(), rng)
    mass = truth.masses(truth.x, truth.weights)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        post = case.model.sample(seed=seed, progressbar=False)
    seconds = time.perf_counter() - started
    x = drawn_coordinates(target, post)
    drawn = truth.masses(x, np.full(len(x), 1.0 / len(x)))
    missed = (mass >= LEAST_MASS) & (drawn < mass / 4.0)
    return {
        "missed": round(float(mass[missed].max(initial=0.0)), 4),
        "gap": round(truth.gap(x), 3),
        "said": bool(post.problems),
        "warned": [str(w.message)[:100] for w in caught],
        "engine": post.engine,
        "modes": int((mass >= LEAST_MASS).sum()),
        "ess": round(truth.ess),
        "seconds": round(seconds, 2),
    }


def main(count: int, seed: int) -> int:
    """Print what was missed; return the number of silent misses."""
    silent = said = fallen = multimodal = unsure = 0
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        case = random_case(rng)
        try:
            result = examine(case, seed * 100_003 + k)
        except bv.BayesvError as error:
            print(f"{k}: refused: {case.text}: {str(error)[:100]}", flush=True)
            continue
        multimodal += result["modes"] > 1
        fallen += result["engine"] != "collapsed"
        said += result["said"]
        if result["ess"] < 300:
            unsure += 1
        elif result["missed"] > 0 or result["gap"] > 0.08:
            silent += not result["said"] and result["missed"] > 0
            print(f"{k}: {result} {case.text}", flush=True)
    print(
        f"{count} models, {multimodal} with several reference components, {silent} silent misses, "
        f"{said} with a named problem, {fallen} handed to NUTS, {unsure} without a sure reference"
    )
    return silent


if __name__ == "__main__":
    sys.exit(main(*(int(value) for value in sys.argv[1:3])) > 0)
