"""NUTS on p(Σ, σ | y) with u and β integrated out: nutpie with the analytic gradient."""

from __future__ import annotations

import time
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from bayesv.covariance import VarianceComponents
from bayesv.errors import BayesvError, require
from bayesv.gram.threads import in_this_context, n_threads
from bayesv.inference.collapsed import labelled, limit_reached
from bayesv.inference.completeness import require_all_draws
from bayesv.inference.density import MarginalDensity
from bayesv.inference.draws import Draws
from bayesv.inference.modes import NOWHERE, Mode, find_modes, unvisited
from bayesv.inference.options import NutsOptions
from bayesv.inference.target import Target
from bayesv.linalg import Array

__all__ = ["sample_nuts"]


_SPREAD = 2.0  # of the starts, in SDs of a mode's normal approximation
_HALVINGS = 30
_STEP, _ROUGH = 1e-3, 0.05  # SDs of a mode, within which the log density may not jump by so much


class _OutsideError(ValueError):
    """The density is 0 here; nutpie counts it as a divergence and goes on."""

    is_recoverable = True


def sample_nuts(
    density: MarginalDensity, start: VarianceComponents, options: NutsOptions, keep_u: bool
) -> Draws:
    """Run nutpie in coordinates whitened by mode and Hessian; β and u from their conditionals.

    Chains start around any of the modes that were found, wider than these are, so that R-hat
    sees a mode that chains do not leave.

    Raises
    ------
    BayesvError
        If the density cannot be evaluated around its mode, or rounding makes it rough there.
    """
    nutpie = require("nutpie", "nuts")
    started = time.perf_counter()
    target = Target(density, options.progressbar)
    rng = np.random.default_rng(options.seed)
    modes = find_modes(target, start, rng)
    _refuse_rough(target, modes)
    trace = _run(nutpie, target, modes, rng, options)
    require_all_draws(trace["posterior"], options)
    z = trace["posterior"]["z"].transpose("chain", "draw", ...).to_numpy()
    x = modes[0].x + z.reshape(-1, target.size) @ modes[0].root.T
    lp, conditional = target.evaluate(x)
    stats = trace["sample_stats"].to_dataset()
    result = labelled(
        target,
        x,
        conditional,
        z.shape[:2],
        rng,
        keep_u=keep_u,
        sample_stats={
            "lp": lp.reshape(z.shape[:2]),
            "diverging": stats["diverging"].transpose("chain", "draw").to_numpy(),
            "n_steps": stats["n_steps"].transpose("chain", "draw").to_numpy(),
        },
        attrs={
            "method": "NUTS on the collapsed density",
            "nutpie_version": nutpie.__version__,
            "n_modes": len(modes),
            "n_evaluations": target.n_evaluations,
            "seconds": round(time.perf_counter() - started, 3),
            "seed": "none" if options.seed is None else str(options.seed),
        },
    )
    return replace(result, problems=(*unvisited(modes, x), *limit_reached(target, x)))


def _refuse_rough(target: Target, modes: tuple[Mode, ...]) -> None:
    """Refuse a density of next to no digits, on which trajectories are endless."""
    for mode in modes:
        steps = _STEP * mode.root.T
        values = target.evaluate(np.vstack([mode.x, mode.x + steps, mode.x - steps]))[0]
        up, down = values[1:].reshape(2, -1)
        if not np.abs(up + down - 2.0 * values[0]).max() < _ROUGH:
            raise BayesvError(NOWHERE)


def _run(
    nutpie: ModuleType,
    target: Target,
    modes: tuple[Mode, ...],
    rng: np.random.Generator,
    options: NutsOptions,
) -> Any:
    """Return nutpie's draws of z, x = mode + L z with the first mode and its root."""
    mode, L, d = modes[0].x, modes[0].root, target.size

    def log_density(z: Array) -> tuple[float, Array]:
        value, gradient = target.value_and_gradient(mode + L @ z)
        if not np.isfinite(value):
            raise _OutsideError("outside")
        return value, L.T @ gradient

    evaluate = in_this_context(log_density)  # nutpie calls from threads of its own

    def initial(seed: Any) -> Array:
        stream = np.random.default_rng(seed)
        near = modes[stream.integers(len(modes))]
        z = stream.uniform(-_SPREAD, _SPREAD, size=d)
        for _ in range(_HALVINGS):
            x = near.x + near.root @ z
            if np.isfinite(target.value_and_gradient(x)[0]):
                return np.asarray(np.linalg.solve(L, x - mode))
            z *= 0.5
        raise BayesvError(NOWHERE)

    compiled = nutpie.compiled_pyfunc.from_pyfunc(
        ndim=d,
        make_logp_fn=lambda: evaluate,
        make_expand_fn=lambda *_: lambda z: {"z": np.asarray(z, dtype=float)},
        expanded_dtypes=[np.dtype("float64")],
        expanded_shapes=[(d,)],
        expanded_names=["z"],
        make_initial_point_fn=in_this_context(initial),
    )
    sampler = nutpie.sample(
        compiled,
        draws=options.draws,
        tune=options.tune,
        chains=options.chains,
        # Chains in threads wait for each other's Python unless an evaluation is long.
        cores=options.cores or (min(options.chains, n_threads()) if target.expensive else 1),
        seed=int(rng.integers(2**31)),
        save_warmup=False,
        progress_bar=options.progressbar,
        target_accept=options.target_accept,
        blocking=False,
    )
    try:
        return sampler.wait()
    except BaseException:  # Ctrl-C too, on which nutpie's own waiting returns what there is
        sampler.cancel()
        raise
