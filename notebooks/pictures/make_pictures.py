"""Draw the pictures of the README: ``python notebooks/pictures/make_pictures.py``."""

from pathlib import Path

import numpy as np
import pandas as pd

import bayesv as bv
from bayesv import plots

FOLDER = Path(__file__).parent


def main() -> None:
    """Fit sleepstudy and star_k20, and draw."""
    model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    fit, post = model.reml(), model.sample(seed=1)
    write("block", plots.block(post, "Subject", "308"))
    write("curves", plots.curves(post, pd.DataFrame({"Days": np.arange(10)}), "Days", fit=fit))
    star = bv.Model("read ~ cltype + sx + (sx | sch/tch)", bv.load_dataset("star_k20"))
    scales = ("sd", "corr")
    write("singular", plots.variance_densities(star.reml(), star.sample(seed=1), scales=scales))


def write(name: str, picture: object) -> None:
    """Save a picture as PNG."""
    (FOLDER / f"{name}.png").write_bytes(plots.png(picture, dpi=90)[0])


if __name__ == "__main__":
    main()
