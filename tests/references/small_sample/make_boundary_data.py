"""Data of make_boundary.R: python make_boundary_data.py writes boundary.csv beside it.

Small, unbalanced, with components that are 0 or states of V that are not unique (`||` of factors).
"""

from pathlib import Path

import numpy as np
import pandas as pd

rng = np.random.default_rng(20)
parts = []
for case in range(12):
    J, n = int(rng.integers(5, 9)), int(rng.integers(36, 60))
    g = np.concatenate([np.arange(J), rng.integers(0, J, n - J)])
    k = np.concatenate([np.arange(4), rng.integers(0, 4, n - 4)])
    f, x = rng.integers(0, 3, n), rng.normal(size=n) + rng.choice([0, 2])
    scale = rng.choice([0.0, 0.0, 0.4, 1.5], size=4)
    y = 1 + 0.5 * x + rng.normal(size=n)
    y += scale[0] * rng.normal(size=J)[g] + scale[1] * rng.normal(size=J)[g] * x
    y += scale[2] * rng.normal(size=(J, 3))[g, f] + scale[3] * rng.normal(size=4)[k]
    y *= [1, 1, 100, 0.01][case % 4]
    parts.append(
        pd.DataFrame(
            {
                "case": case,
                "y": y.round(6),
                "x": x.round(4),
                "t": g % 2,
                "g": [f"g{j}" for j in g],
                "k": [f"k{j}" for j in k],
                "f": [f"f{j}" for j in f],
                "h": [f"h{j}" for j in f % 2],
            }
        )
    )
pd.concat(parts).to_csv(Path(__file__).parent / "boundary.csv", index=False)
