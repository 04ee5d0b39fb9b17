"""Damage saved results at random; what loads must be what was saved.

``python -m tests.fuzz_files 2000 7`` makes 2,000 changes of each kind of file with seed 7 and
prints what came of them.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import bayesv as bv
from bayesv.study import Scenario, read, run

KINDS = ("sealed .nc", "unsealed .nc", ".zarr", "study")
LEVELS = Scenario(
    name="few", formula="y ~ 1 + (1 | g)", levels={"g": 6}, rows=5, sd={"g": 1}, sigma=2
)


def a_posterior() -> bv.Posterior:
    """A small posterior with effects, problems and statistics of the sampler."""
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)
        return model.sample(draws=10, chains=2, seed=1, keep_u=True)


def same(one: bv.Posterior, two: bv.Posterior) -> bool:
    """Whether two posteriors agree in all that loading gives."""
    groups = set(one.draws.children) == set(two.draws.children) and all(
        one.draws[g].to_dataset().identical(two.draws[g].to_dataset()) for g in one.draws.children
    )
    a, b = one.design, two.design
    return (
        groups
        and (one.engine, one.problems) == (two.engine, two.problems)
        and repr(one.priors) == repr(two.priors)
        and (repr(a), a.describe(), a.formula, a.notes)
        == (repr(b), b.describe(), b.formula, b.notes)
        and all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("y", "X", "rows"))
        and (a.Z != b.Z).nnz == 0
        and a.row_labels.identical(b.row_labels)
        and all(list(s.levels) == list(t.levels) for s, t in zip(a.terms, b.terms, strict=True))
    )


def damaged(raw: bytes, rng: np.random.Generator) -> bytes:
    """Flip a bit, or (one time in eight) cut, repeat or overwrite a piece."""
    content = bytearray(raw)
    place = int(rng.integers(len(content)))
    change = int(rng.integers(32))
    if change == 0:
        return bytes(content[:place])
    if change == 1:
        return bytes(content[:place] + content[max(0, place - 100) :])
    if change < 4:
        content[place : place + 8] = rng.bytes(8)[: len(content) - place]
    else:
        content[place] ^= 1 << int(rng.integers(8))
    return bytes(content)


def fuzz(kind: str, changes: int, seed: int, folder: Path) -> Counter[str]:
    """Return how often a change was refused, changed nothing, was silent, or raised a raw error."""
    rng = np.random.default_rng(seed)
    files, load, unchanged = _subject(kind, folder)
    counts: Counter[str] = Counter()
    for _ in range(changes):
        file = files[int(rng.integers(len(files)))]
        raw = file.read_bytes()
        if not raw or (content := damaged(raw, rng)) == raw:
            continue
        file.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                counts["nothing changed" if unchanged(load()) else "SILENT"] += 1
        except bv.BayesvError:
            counts["refused"] += 1
        except Exception as error:
            counts[f"RAW {type(error).__name__}"] += 1
        file.write_bytes(raw)
    return counts


def _subject(kind: str, folder: Path) -> tuple[list[Path], Any, Any]:
    """Return the files to damage, what loads them, and what compares with the original."""
    if kind == "study":
        whole = run(LEVELS, ["REML"], replicates=4, seed=1, workers=1, out=folder / "study")
        files = [p for p in (folder / "study").rglob("*") if p.is_file()]
        rows, manifest = whole.rows, dict(whole.manifest)
        return (
            files,
            lambda: read(folder / "study"),
            lambda found: found.rows.equals(rows) and dict(found.manifest) == manifest,
        )
    post = a_posterior()
    path = post.save(folder / ("p.zarr" if kind == ".zarr" else "p.nc"))
    if kind == "unsealed .nc":  # as another program writes it again
        with xr.open_datatree(path, engine="h5netcdf") as opened:
            tree = opened.load()
        tree.to_netcdf(path, engine="h5netcdf")
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return files, lambda: bv.load(path), lambda found: same(post, found)


def main() -> None:
    """Print what came of N changes of each kind."""
    changes, seed = (int(text) for text in (sys.argv[1:] + ["200", "1"][len(sys.argv) - 1 :])[:2])
    table = {}
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            table[kind] = fuzz(kind, changes, seed, Path(folder))
        print(kind, dict(table[kind]), flush=True)  # of a long run, what there is so far
    print(pd.DataFrame(table).fillna(0).astype(int).to_string())


if __name__ == "__main__":
    main()
