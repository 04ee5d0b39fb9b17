"""Write the unbalanced data sets of the references, from seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import bayesv as bv

HERE = Path(__file__).parent


def main() -> None:
    rng = np.random.default_rng(7)
    sleep = bv.load_dataset("sleepstudy")
    few = sleep[sleep["Subject"].isin(sleep["Subject"].unique()[:8])]
    few.sample(45, random_state=3).sort_index().to_csv(HERE / "sleep_few.csv", index=False)

    n = 140
    school = rng.integers(0, 9, n)
    frame = pd.DataFrame(
        {
            "school": [f"s{k}" for k in school],
            "class": [f"c{k}" for k in rng.integers(0, 4, n)],
            "x": rng.normal(size=n) + 0.5 * rng.normal(size=9)[school],
            "arm": np.array(["a", "b", "c"])[school % 3],
        }
    )
    cell = pd.factorize(frame["school"] + frame["class"])[0]
    frame["y"] = (
        1.0 + 0.5 * frame["x"] + 0.8 * rng.normal(size=9)[school]
        + 0.6 * rng.normal(size=cell.max() + 1)[cell] + rng.normal(size=n)
    )  # fmt: skip
    frame.round(6).to_csv(HERE / "nested.csv", index=False)

    n = 150
    g = rng.integers(0, 14, n)
    x, z = rng.normal(size=(2, n))
    u = rng.multivariate_normal(np.zeros(3), [[1, 0.3, 0.2], [0.3, 0.6, 0.1], [0.2, 0.1, 0.5]], 14)
    y = 2.0 + x - 0.5 * z + u[g, 0] + u[g, 1] * x + u[g, 2] * z + rng.normal(size=n)
    frame = pd.DataFrame({"y": y, "x": x, "z": z, "g": [f"g{k:02}" for k in g]})
    frame.round(6).to_csv(HERE / "slopes3.csv", index=False)

    n = 160
    a, b, x = rng.integers(0, 12, n), rng.integers(0, 9, n), rng.normal(size=n)
    u = rng.multivariate_normal(np.zeros(2), [[1, 0.2], [0.2, 0.5]], 12)
    y = x + u[a, 0] + u[a, 1] * x + 0.7 * rng.normal(size=9)[b] + rng.normal(size=n)
    frame = pd.DataFrame({"y": y, "x": x, "a": [f"a{k:02}" for k in a], "b": [f"b{k}" for k in b]})
    frame.round(6).to_csv(HERE / "crossed.csv", index=False)


if __name__ == "__main__":
    main()
