"""Cases of simulation-based calibration, and dense algebra that the library's tool is held against.

Simulator and likelihoods here are dense and share no code with `bayesv.study.sbc`.
``python -m tests.sbc --help`` runs the cases that are too slow for the tests.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaln
from scipy.stats import expon, gamma, norm
from scipy.stats import t as student

import bayesv as bv
from bayesv.priors.families import SdPrior
from bayesv.priors.priors import ResolvedPriors

Array = NDArray[Any]
Values = dict[str, Array]


class Case(NamedTuple):
    """The arguments of `bayesv.Model`; the frame's response is a place holder."""

    formula: str
    frame: pd.DataFrame
    priors: bv.Priors
    var_weights: str | None = None

    def model(self) -> bv.Model:
        """Return the model."""
        return bv.Model(*self)


class Structured(NamedTuple):
    """The arguments of a model with related levels or structured residuals, these by keyword."""

    formula: str
    frame: pd.DataFrame
    priors: bv.Priors
    structure: dict[str, Any]

    def model(self) -> bv.Model:
        """Return the model."""
        return bv.Model(self.formula, self.frame, self.priors, **self.structure)


def frame(n: int, seed: int, **levels: int) -> pd.DataFrame:
    """Covariates x, y and z, weights w, and unbalanced factors, each level present."""
    rng = np.random.default_rng(seed)
    out = pd.DataFrame({name: rng.normal(size=n) for name in ("y", "x", "z")})
    out["far"] = out["x"] + 1e3
    out["w"] = np.exp(0.5 * rng.normal(size=n))
    for name, count in levels.items():
        share = rng.dirichlet(np.full(count, 5.0))
        rest = rng.choice(count, n - count, p=share)
        out[name] = rng.permutation(np.concatenate([np.arange(count), rest]))
    return out


def priors(
    sd: object = bv.HalfNormal(1.0),
    eta: float = 1.0,
    sigma: object = bv.HalfNormal(1.0),
    beta: float = 2.0,
) -> bv.Priors:
    return bv.Priors(sd=sd, sigma=sigma, corr=bv.LKJ(eta), beta=bv.Normal(0.0, beta))


SLOPES = Case("y ~ x + (x | g)", frame(40, 1, g=8), priors(eta=2.0), "w")
CROSSED = Case("y ~ 1 + (1 | a) + (1 | b)", frame(30, 2, a=6, b=5), priors())
# Few rows for four wide fixed effects make errors of a density large; gamma priors of shape above 1
# keep the posterior proper without its Jacobian.
FEW_ROWS = Case(
    "y ~ x + z + w + (1 | g)",
    frame(15, 9, g=4),
    priors(bv.Gamma(1.5, 0.8), sigma=bv.Gamma(3.0, 0.4), beta=10.0),
)
# The edges of the vocabulary, for ``python -m tests.sbc``.
SLOW = {
    "gamma": Case("y ~ x + (1 | g)", frame(40, 3, g=8), priors(bv.Gamma(0.1, 5.0))),
    "lkj": Case("y ~ x + (x | g)", frame(40, 4, g=8), priors(eta=0.1)),
    "three crossed": Case(
        "y ~ x + (1 | a) + (1 | b) + (1 | c)", frame(48, 5, a=8, b=6, c=4), priors()
    ),
    "three columns": Case("y ~ x + z + (x + z | g)", frame(48, 6, g=8), priors(eta=1.5)),
    "nested": Case("y ~ x + (x || a / b)", frame(48, 7, a=5, b=3), priors(bv.Exponential(1.0))),
    "offset": Case(
        "y ~ far + (far | g)",
        frame(40, 8, g=8),
        priors(bv.HalfStudentT(3.0, 2.5), sigma=bv.HalfStudentT(3.0, 2.5)),
    ),
}


def _visits(n_series: int, n_visits: int, kept: float, seed: int) -> pd.DataFrame:
    """Series of visits 0, 1, …, of which a share is kept, each visit and series present."""
    rng = np.random.default_rng(seed)
    series, day = np.divmod(np.arange(n_series * n_visits), n_visits)
    out = pd.DataFrame({"g": series, "day": day, "visit": [f"v{d}" for d in day]})
    out["x"], out["y"] = rng.normal(size=len(out)), rng.normal(size=len(out))
    out["arm"] = np.where(out["g"] % 2 == 0, "a", "b")
    whole = out["g"] < 2
    return out[whole | (rng.uniform(size=len(out)) < kept)].reset_index(drop=True)


def _related(count: int) -> pd.DataFrame:
    """Relationship of families of three: ½ within, 0 between."""
    family = np.arange(count) // 3
    K = np.where(family[:, None] == family, 0.5, 0.0) + 0.5 * np.eye(count)
    return pd.DataFrame(K, range(count), range(count))


_SERIES = _visits(8, 6, 0.7, 21)
STRUCTURED = {
    # Days are missing: lags of 2 and more between neighbours.
    "ar1": Structured("y ~ x + (1 | g)", _SERIES, priors(eta=1.5), {"residual": "ar1(day | g)"}),
    "us": Structured(
        "y ~ x",
        _visits(12, 3, 0.75, 22),
        bv.Priors(
            sd={"Residual": bv.HalfNormal(1.0)},
            corr={"Residual": bv.LKJ(2.0)},
            beta=bv.Normal(0.0, 2.0),
        ),
        {"residual": "us(visit | g)"},
    ),
    "strata": Structured(
        "y ~ x + (1 | g)",
        _SERIES,
        bv.Priors(
            sd={"g": bv.HalfNormal(1.0), "Residual": bv.HalfNormal(1.0)},
            beta=bv.Normal(0.0, 2.0),
        ),
        {"residual_sd": "strata(arm)"},
    ),
    "car1": Structured(
        "y ~ x",
        _SERIES.assign(time=_SERIES["day"] + 0.5 * np.sin(np.arange(len(_SERIES)))),
        priors(),
        {"residual": "car1(time | g)"},
    ),
    "relationship": Structured(
        "y ~ x + (1 | g)", frame(36, 23, g=12), priors(), {"relationship": {"g": _related(12)}}
    ),
}


def simulate(priors: ResolvedPriors, rng: np.random.Generator) -> tuple[Values, Array]:
    """Parameters from the priors under the posterior's names, and data from the parameters."""
    design = priors.design
    beta = np.array([rng.normal(prior.mean, prior.sd) for prior in priors.beta])
    sigma = _draw_sd(priors.sigma, rng)
    truth: Values = {"sigma": np.array(sigma), "beta": beta}
    w = design.residual.weights
    y = design.X @ beta + sigma * rng.normal(size=design.n) / np.sqrt(w)
    for term in design.terms:
        root = np.zeros((term.n_columns, term.n_columns))
        for block in term.structure.blocks:
            eta = priors.corr[term.group].eta if len(block) > 1 else 1.0
            root[np.ix_(block, block)] = _draw_lkj_root(len(block), eta, rng)
        sd = np.array([_draw_sd(prior, rng) for prior in priors.sd[term.group]])
        u = rng.normal(size=(term.n_levels, term.n_columns)) @ (sd[:, None] * root).T
        truth |= {f"sd_{term.group}": sd, f"corr_{term.group}": root @ root.T}
        truth[f"u_{term.group}"] = u
        y += (term.values * u[term.codes]).sum(axis=1)
    return truth, y


def _draw_sd(prior: SdPrior, rng: np.random.Generator) -> float:
    match prior:
        case bv.HalfNormal(scale):
            return abs(scale * rng.normal())
        case bv.HalfStudentT(nu, scale):
            return abs(scale * rng.standard_t(nu))
        case bv.Exponential(scale):
            return rng.exponential(scale)
        case bv.Gamma(shape, scale):
            return rng.gamma(shape, scale)
    raise ValueError(f"There is no simulator for {prior}.")


def _draw_lkj_root(r: int, eta: float, rng: np.random.Generator) -> Array:
    """Cholesky factor of an LKJ(η) correlation matrix by the onion method (LKJ 2009, 3.2)."""
    root = np.eye(r)
    for k in range(1, r):
        length2 = rng.beta(k / 2, eta + (r - 1 - k) / 2)
        direction = rng.normal(size=k)
        root[k, :k] = np.sqrt(length2) * direction / np.linalg.norm(direction)
        root[k, k] = np.sqrt(1 - length2)
    return root


def quantities(priors: ResolvedPriors, values: Values, y: Array) -> Values:
    """Every quantity of S parameter values by dense algebra, shapes (S,)."""
    design, sigma, beta = priors.design, values["sigma"], values["beta"]
    out = {"sd Residual": sigma}
    out |= {f"beta {name}": beta[:, i] for i, name in enumerate(design.fixed_names)}
    w = design.residual.weights
    V = sigma[:, None, None] ** 2 * np.diag(1 / w)
    fitted = beta @ design.X[-1]
    shares = np.zeros(design.n, dtype=bool)
    for term in design.terms:
        sd, corr = values[f"sd_{term.group}"], values[f"corr_{term.group}"]
        names = term.columns
        out |= {f"sd {term.group}: {c}": sd[:, i] for i, c in enumerate(names)}
        for i, j in zip(*np.nonzero(np.tril(term.structure.mask, -1)), strict=True):
            out[f"corr {term.group}: {names[j]}, {names[i]}"] = corr[:, i, j]
        cov = np.where(term.structure.mask, corr, 0.0) * sd[:, :, None] * sd[:, None, :]
        V += (term.codes[:, None] == term.codes) * (term.values @ cov @ term.values.T)
        u = values[f"u_{term.group}"]
        out |= {f"u {term.group}: {c}": u[:, term.codes[-1], i] for i, c in enumerate(names)}
        fitted = fitted + u[:, term.codes[-1]] @ term.values[-1]
        shares |= term.codes == term.codes[-1]
    out["fitted value"] = fitted
    product = np.log(sigma) + sum(
        np.log(values[f"sd_{term.group}"]).sum(axis=1) for term in design.terms
    )
    out["product of SDs"] = product
    out["log prior"] = _log_density(priors.sigma, sigma)
    for term in design.terms:
        sds, corr = values[f"sd_{term.group}"], values[f"corr_{term.group}"]
        for sd, prior in zip(sds.T, priors.sd[term.group], strict=True):
            out["log prior"] = out["log prior"] + _log_density(prior, sd)
        if len(term.structure.blocks) < term.n_columns:  # one block of all columns in these cases
            out[f"log|C| {term.group}"] = np.linalg.slogdet(corr)[1]
            eta, r = priors.corr[term.group].eta, term.n_columns
            # Normalised by the product of the betas of its canonical partial correlations.
            each = [eta + (r - 2 - j) / 2 for i in range(1, r) for j in range(i)]
            constant = sum(betaln(b, b) + (2 * b - 1) * np.log(2) for b in each)
            out["log prior"] = out["log prior"] + (eta - 1) * out[f"log|C| {term.group}"] - constant
    partner = np.flatnonzero(shares)[-2]
    out |= {"V[i, i]": V[:, -1, -1], "V[i, k]": V[:, -1, partner]}
    out["log|V|"] = np.linalg.slogdet(V)[1]
    out["log p(y | Σ, σ, β)"] = _log_normal(y - beta @ design.X.T, V)
    if priors.flat_beta:
        out["log p(y | Σ, σ)"] = _log_restricted(design.X, y, V)
    else:
        mean = np.array([prior.mean for prior in priors.beta])
        VX = design.X * np.array([prior.sd for prior in priors.beta])
        out["log p(y | Σ, σ)"] = _log_normal(y - design.X @ mean, V + VX @ VX.T)
    out["log posterior"] = out["log prior"] + out["log p(y | Σ, σ)"]
    return out


def _log_density(prior: SdPrior, sd: Array) -> Array:
    match prior:
        case bv.HalfNormal(scale):
            return np.log(2) + norm(0, scale).logpdf(sd)
        case bv.HalfStudentT(nu, scale):
            return np.log(2) + student(nu, 0, scale).logpdf(sd)
        case bv.Exponential(scale):
            return expon(0, scale).logpdf(sd)
        case bv.Gamma(shape, scale):
            return gamma(shape, 0, scale).logpdf(sd)
    raise ValueError(f"There is no density for {prior}.")


def _log_normal(residual: Array, V: Array) -> Array:
    """Log density of a centred normal."""
    L = np.linalg.cholesky(2 * np.pi * V)
    z = np.linalg.solve(L, np.broadcast_to(residual, L.shape[:2])[..., None])[..., 0]
    logdet = np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)
    return np.asarray(-logdet - np.pi * (z**2).sum(-1))


def _log_restricted(X: Array, y: Array, V: Array) -> Array:
    """Log of the likelihood integrated over all β, a matrix at a time."""
    out = []
    for one in V:
        VX = np.linalg.solve(one, X)
        beta = np.linalg.solve(X.T @ VX, VX.T @ y)
        logdet = np.linalg.slogdet(X.T @ VX / (2 * np.pi))[1]
        out.append(_log_normal((y - X @ beta)[None], one[None])[0] - 0.5 * logdet)
    return np.array(out)


def main() -> None:
    """Print one table for each slow case."""
    parser = argparse.ArgumentParser(prog="python -m tests.sbc")
    cases: dict[str, Case | Structured] = {**SLOW, **STRUCTURED}
    parser.add_argument("cases", nargs="*", default=list(cases), help=", ".join(cases))
    parser.add_argument("--kind", choices=["prior", "posterior"], default="prior")
    parser.add_argument("--engine", default="collapsed")
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--workers", type=int, default=1)
    options = vars(parser.parse_args())
    for name in options.pop("cases"):
        print(f"{name}\n{bv.study.sbc(cases[name].model(), seed=0, **options)}\n", flush=True)


if __name__ == "__main__":
    main()
