"""Draw the pictures of the guides and of the gallery: ``python notebooks/pictures/make_pictures.py``.

The code of the gallery's page is run as it stands there; each section names its picture.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

import bayesv as bv
from bayesv import plots

FOLDER = Path(__file__).parent
GALLERY = FOLDER.parent / "guides" / "gallery.md"


def main() -> None:
    """Fit sleepstudy and star_k20, and draw."""
    model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    fit, post = model.reml(), model.sample(seed=1)
    write("block", plots.block(post, "Subject", "308"))
    write("curves", plots.curves(post, pd.DataFrame({"Days": np.arange(10)}), "Days", fit=fit))
    star = bv.Model("read ~ cltype + sx + (sx | sch/tch)", bv.load_dataset("star_k20"))
    scales = ("sd", "corr")
    write("singular", plots.variance_densities(star.reml(), star.sample(seed=1), scales=scales))
    gallery()


def gallery() -> None:
    """Run the page of the gallery, and write what each section calls ``picture``."""
    (FOLDER / "gallery").mkdir(exist_ok=True)
    space: dict[str, object] = {}
    for section in re.split(r"^##+ ", GALLERY.read_text(encoding="utf-8"), flags=re.M):
        space.pop("picture", None)
        for code in re.findall(r"```python\n(.*?)```", section, re.S):
            exec(code, space)
        if "picture" in space:
            write(f"gallery/{section.splitlines()[0]}", space["picture"], 72)


def write(name: str, picture: object, dpi: int = 90) -> None:
    """Save a picture as PNG."""
    (FOLDER / f"{name}.png").write_bytes(plots.png(picture, dpi=dpi)[0])


if __name__ == "__main__":
    main()
