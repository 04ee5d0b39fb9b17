"""Saving and loading: everything comes back bit for bit, nothing half-written, clear refusals."""

from __future__ import annotations

import copy
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesv as bv
from bayesv.storage.codec import decode, encode

FORMULA = "Reaction ~ Days + (Days | Subject)"


def sampled(model: bv.Model, **options: Any) -> bv.Posterior:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)  # few draws
        return model.sample(**{"draws": 60, "chains": 2, "seed": 1} | options)


@pytest.fixture(scope="module")
def model() -> bv.Model:
    return bv.Model(FORMULA, bv.load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def post(model) -> bv.Posterior:
    return sampled(model, keep_u=True)


@pytest.fixture(scope="module")
def fit(model) -> bv.RemlFit:
    return model.reml()


def same_design(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    assert repr(a) == repr(b)
    assert a.describe() == b.describe()
    for name in ("formula", "response", "fixed_names", "n_rows_given", "aliased", "notes"):
        assert getattr(a, name) == getattr(b, name)
    for one, two in zip(a.terms, b.terms, strict=True):
        assert (one.group, one.columns, one.structure) == (two.group, two.columns, two.structure)
        assert one.levels.dtype == two.levels.dtype == object
        assert list(one.levels) == list(two.levels)
        assert all(type(level) is str for level in two.levels)
        np.testing.assert_array_equal(one.rms, two.rms, strict=True)
        np.testing.assert_array_equal(one.spread, two.spread, strict=True)
    if not a.has_rows:
        assert (a.n_rows, a.response_sd, a.weight_range) == (
            b.n_rows,
            b.response_sd,
            b.weight_range,
        )
        return
    for name in ("y", "X", "rows", "offset"):
        one, two = getattr(a, name), getattr(b, name)
        assert (one is None) == (two is None)
        if one is not None:
            np.testing.assert_array_equal(one, two, strict=True)
    assert type(a.residual) is type(b.residual)
    np.testing.assert_array_equal(a.residual.weights, b.residual.weights, strict=True)
    assert (a.Z != b.Z).nnz == 0
    pd.testing.assert_index_equal(a.row_labels, b.row_labels, exact=True, check_freq=True)


def same_posterior(a: bv.Posterior, b: bv.Posterior) -> None:
    same_design(a.design, b.design)
    assert set(a.draws.children) == set(b.draws.children)
    for group in a.draws.children:
        one, two = a.draws[group].to_dataset(), b.draws[group].to_dataset()
        xr.testing.assert_identical(one, two)
        assert {k: type(v) for k, v in one.attrs.items()} == {
            k: type(v) for k, v in two.attrs.items()
        }
        for name in one.variables:
            assert one[name].dtype == two[name].dtype
    assert (a.engine, a.problems, str(a.priors)) == (b.engine, b.problems, str(b.priors))
    if a.priors is not None:
        assert (a.priors.sd, a.priors.corr) == (b.priors.sd, b.priors.corr)
        assert (a.priors.sigma, a.priors.beta) == (b.priors.sigma, b.priors.beta)
    kinds = ["mean", "median", "medoid", "log_euclidean"] + ["mode"] * (a.density is not None)
    for kind in kinds:
        assert a.estimate(kind) == b.estimate(kind)
    assert repr(a) == repr(b)


def round_trip(obj: Any, path: Path) -> Any:
    assert obj.save(path) == path
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary file is left
    return bv.load(path)


# --- round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_posterior(post, suffix, tmp_path):
    again = round_trip(post, tmp_path / f"post{suffix}")
    same_posterior(post, again)
    V, W = post.V("Subject", "308"), again.V("Subject", "308")
    pd.testing.assert_frame_equal(V.mean(), W.mean(), check_exact=True)
    pd.testing.assert_frame_equal(V.sd(), W.sd(), check_exact=True)
    xr.testing.assert_identical(post.functionals(), again.functionals())
    assert repr(again.check()) == repr(post.check())


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_fit(fit, suffix, tmp_path):
    again = round_trip(fit, tmp_path / f"fit{suffix}")
    same_design(fit.design, again.design)
    assert again.components == fit.components
    pd.testing.assert_series_equal(again.beta, fit.beta, check_exact=True)
    pd.testing.assert_frame_equal(again.cov_beta, fit.cov_beta, check_exact=True)
    for name in ("method", "criterion", "singular", "converged", "n_evaluations", "gradient_norm"):
        one, two = getattr(fit, name), getattr(again, name)
        assert one == two
        assert type(one) is type(two) or type(one).__module__ == "numpy"
    assert repr(again) == repr(fit)
    assert again.criterion_at(fit.components) == fit.criterion_at(fit.components)


def test_compare_of_loaded_equals_compare(post, fit, tmp_path):
    post.save(tmp_path / "p.nc")
    fit.save(tmp_path / "f.nc")
    again = bv.compare(bv.load(tmp_path / "f.nc"), bv.load(tmp_path / "p.nc"))
    assert repr(again) == repr(bv.compare(fit, post))


def test_a_loaded_result_can_be_saved_again(post, tmp_path):
    post.save(tmp_path / "a.nc")
    first = bv.load(tmp_path / "a.nc")
    first.save(tmp_path / "a.nc", overwrite=True)  # over the very file it came from
    same_posterior(post, bv.load(tmp_path / "a.nc"))


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_arviz_reads_the_file(post, suffix, tmp_path):
    path = post.save(tmp_path / f"post{suffix}")
    tree = az.from_netcdf(path) if suffix == ".nc" else az.from_zarr(path)
    xr.testing.assert_identical(
        tree["posterior"].to_dataset().load(), post.draws["posterior"].to_dataset()
    )
    assert "sd_Subject" in str(az.summary(tree, var_names=["sd_Subject"]).index[0])
    tree.close()


def test_extracted_draws_without_priors(post, model, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)
        foreign = bv.extract(post.draws, design=model.design)
    assert foreign.priors is None
    again = round_trip(foreign, tmp_path / "x.nc")
    same_posterior(foreign, again)
    with pytest.raises(bv.BayesvError, match="priors of these draws are not known"):
        again.estimate("mode")


def test_draws_of_nuts(model, tmp_path):
    pytest.importorskip("nutpie")
    post = sampled(model, engine="nuts", tune=100, progressbar=False)
    same_posterior(post, round_trip(post, tmp_path / "n.nc"))


def test_weights_offset_and_named_priors(tmp_path):
    data = bv.load_dataset("sleepstudy").assign(
        w=np.linspace(1, 2, 180), o=np.linspace(-3, 3, 180) ** 2
    )
    data.loc[4, "Days"] = np.nan
    priors = bv.Priors(
        sd={"Subject": {"Days": bv.HalfNormal(50)}},
        sigma=bv.Gamma(2, 20.5),
        corr=bv.LKJ(2),
        beta={"Days": bv.Normal(0, 10)},
    )
    model = bv.Model("Reaction ~ Days + offset(o) + (Days | Subject)", data, priors, "w")
    post = sampled(model)
    again = round_trip(post, tmp_path / "w.nc")
    same_posterior(post, again)
    assert again.design.n_dropped == 1
    assert again.priors.beta[1] == bv.Normal(0, 10)


LABELS = {
    "range": pd.RangeIndex(5, 365, 2, name="id"),
    "int": pd.Index(np.arange(180)[::-1] * 3),
    "float": pd.Index(np.arange(180) / 7),
    "text": pd.Index([f"row {i} é" for i in range(180)], name="name"),
    "objects": pd.Index([f"r{i}" if i % 2 else i for i in range(180)], dtype=object),
    "times": pd.date_range("2020-03-28", periods=180, freq="h"),
    "zoned": pd.date_range("2020-03-28", periods=180, freq="h", tz="Europe/Berlin", name="t"),
    "fixed zone": pd.date_range("2020-03-28", periods=180, freq="h", tz="UTC+01:30"),
    "spans": pd.timedelta_range("1h", periods=180, freq="7min"),
    "nullable": pd.Index([*range(179), pd.NA], dtype="Int64"),
    "categories": pd.CategoricalIndex(["b", "a", "c"] * 60, categories=["c", "b", "a", "z"]),
    "two": pd.MultiIndex.from_product(
        [range(18), pd.date_range("2020-01-01", periods=10)], names=["who", None]
    ),
}


@pytest.mark.parametrize("kind", LABELS)
def test_row_labels(kind, tmp_path):
    data = bv.load_dataset("sleepstudy").set_axis(LABELS[kind], axis=0)
    fit = bv.Model("Reaction ~ Days + (1 | Subject)", data).reml()
    again = round_trip(fit, tmp_path / "f.nc")
    same_design(fit.design, again.design)
    pd.testing.assert_index_equal(
        again.design.row_labels, LABELS[kind], exact=True, check_freq=False
    )


def test_labels_that_cannot_be_kept_are_refused_and_leave_nothing(tmp_path):
    periods = pd.period_range("2020-01-01", periods=180)
    data = bv.load_dataset("sleepstudy").set_axis(periods, axis=0)
    fit = bv.Model("Reaction ~ Days + (1 | Subject)", data).reml()
    with pytest.raises(bv.StorageError, match=r"period\[D\].*astype\(str\)"):
        fit.save(tmp_path / "f.nc")
    assert list(tmp_path.iterdir()) == []


def test_nested_labels_and_unused_categories(tmp_path):
    data = bv.load_dataset("three_level")
    data["tch.cl"] = pd.Categorical(data["tch.cl"].astype(str))
    data = data[data["sch.cl"] != data["sch.cl"].iloc[0]]  # categories without rows are left
    fit = bv.Model("y ~ x1 + (1 | sch.cl/tch.cl)", data).reml()
    again = round_trip(fit, tmp_path / "f.nc")
    assert "tch.cl:sch.cl" in again.design.groups
    same_design(fit.design, again.design)
    post = sampled(bv.Model("y ~ x1 + (1 | sch.cl/tch.cl)", data))
    path = tmp_path / "sub" / "p.nc"
    path.parent.mkdir()
    same_posterior(post, round_trip(post, path))


def test_singular_fit(tmp_path):
    fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff2")).reml("ML")
    assert fit.singular
    again = round_trip(fit, tmp_path / "f.nc")
    assert again.components == fit.components
    assert again.singular
    assert again.method == "ML"


def test_fit_made_elsewhere(model, fit, tmp_path):
    from bayesv.reml.imported import fit_from_components

    other = fit_from_components(model.design, fit.components, "REML", "lme4")
    again = round_trip(other, tmp_path / "f.nc")
    assert again.label == "REML (lme4)"
    assert np.isnan(again.gradient_norm)
    pd.testing.assert_series_equal(again.beta, other.beta, check_exact=True)


@pytest.mark.parametrize("options", [{"elimination": "crossed"}, {"dedupe": False}, {}])
def test_forced_structure_is_kept(options, tmp_path):
    data = bv.load_dataset("penicillin")
    data["half"] = np.where(data["plate"].cat.codes < 12, "a", "b")
    model = bv.Model("diameter ~ 1 + (1 | half/plate)", data, **options)
    fit = model.reml()
    again = round_trip(fit, tmp_path / "f.nc")
    one, two = fit._stats, again._stats
    assert one.describe(fit.design.groups) == two.describe(fit.design.groups)
    np.testing.assert_array_equal(one.merged.A, two.merged.A)
    np.testing.assert_array_equal(one.merged.H, two.merged.H)


@pytest.mark.parametrize(
    "formula",
    ["Reaction ~ Days + (Days | Subject)", "Reaction ~ Days + (1 | Subject) + (1 | Days)"],
)
def test_designs_without_rows(formula, tmp_path):
    import pyarrow as pa

    data = bv.load_dataset("sleepstudy").assign(w=np.linspace(1, 2, 180))
    table = pa.Table.from_pandas(data.astype({"Subject": str}))
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=50))
    model = bv.Model(formula, reader, var_weights="w")
    post, fit = sampled(model), model.reml()
    same_posterior(post, round_trip(post, tmp_path / "p.nc"))
    (tmp_path / "p.nc").unlink()
    again = round_trip(fit, tmp_path / "f.nc")
    assert again.criterion_at(fit.components) == fit.criterion_at(fit.components)
    assert repr(again) == repr(fit)
    with pytest.raises(bv.DataError, match="keeps no rows"):
        _ = again.design.y


def test_statistics_of_an_older_file_are_read():
    """Of a model read in batches: classes of their own, and equal levels merged."""
    fit = bv.load(Path(__file__).parent / "references" / "saved" / "batches_format_3.nc")
    fresh = bv.Model(FORMULA, bv.load_dataset("sleepstudy"))
    assert fit.criterion_at(fit.components) == pytest.approx(fit.criterion, abs=1e-9)
    assert fit.criterion == pytest.approx(fresh.reml().criterion, abs=1e-7)
    assert fit.statistics.layout.merging is not None
    groups = fit.design.groups
    assert fit.statistics.describe(groups) == fresh.statistics.describe(groups)


def test_response_with_a_slash(tmp_path):
    model = bv.Model("I(Reaction / 100) ~ Days + (1 | Subject)", bv.load_dataset("sleepstudy"))
    post = sampled(model)
    again = round_trip(post, tmp_path / "p.nc")
    same_posterior(post, again)
    assert "/" in again.design.response


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_an_existing_file_stays_unless_told(fit, post, suffix, tmp_path):
    path = fit.save(tmp_path / f"f{suffix}")
    with pytest.raises(bv.StorageError, match="exists already; overwrite=True"):
        post.save(path)
    assert isinstance(bv.load(path), bv.RemlFit)
    bv.save(post, path, overwrite=True)
    assert isinstance(bv.load(path), bv.Posterior)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_interrupted_write_leaves_the_old_file(fit, post, tmp_path, monkeypatch):
    path = fit.save(tmp_path / "f.nc")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        post.save(path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["f.nc"]
    assert isinstance(bv.load(path), bv.RemlFit)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("f.json", "saved as .nc"),
        ("f", "saved as .nc"),
        ("no/f.nc", "no folder"),
    ],
)
def test_bad_targets(fit, name, part, tmp_path):
    with pytest.raises(bv.StorageError, match=part):
        fit.save(tmp_path / name)


def test_a_folder_is_never_replaced_by_a_file(fit, tmp_path):
    (tmp_path / "f.nc").mkdir()
    with pytest.raises(bv.StorageError, match="not saved by bayesv"):
        fit.save(tmp_path / "f.nc", overwrite=True)
    assert (tmp_path / "f.nc").is_dir()


def test_a_folder_of_other_things_is_never_replaced(fit, tmp_path):
    precious = tmp_path / "f.zarr" / "thesis.tex"
    precious.parent.mkdir()
    precious.write_text("x")
    with pytest.raises(bv.StorageError, match="folder that was not saved by bayesv"):
        fit.save(precious.parent, overwrite=True)
    assert precious.read_text() == "x"


def test_other_things_cannot_be_saved(fit, tmp_path):
    with pytest.raises(bv.StorageError, match="A VarianceComponents cannot be saved"):
        bv.save(fit.components, tmp_path / "f.nc")


def test_missing_file(tmp_path):
    with pytest.raises(bv.StorageError, match="no file"):
        bv.load(tmp_path / "f.nc")


@pytest.mark.parametrize("content", [b"", b"not a file of this kind", b"\x89HDF\r\n\x1a\n junk"])
def test_damaged_file(content, tmp_path):
    path = tmp_path / "f.nc"
    path.write_bytes(content)
    with pytest.raises(bv.StorageError, match="cannot be read as NetCDF"):
        bv.load(path)


def test_truncated_file(fit, tmp_path):
    path = fit.save(tmp_path / "f.nc")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(bv.StorageError, match="cannot be read as NetCDF"):
        bv.load(path)


def test_wrong_kind_of_path(fit, tmp_path):
    (tmp_path / "f.zarr").mkdir()
    with pytest.raises(bv.StorageError, match="cannot be read as Zarr"):
        bv.load(tmp_path / "f.zarr")
    (tmp_path / "f.csv").write_text("a")
    with pytest.raises(bv.StorageError, match=r"a \.nc or \.zarr file"):
        bv.load(tmp_path / "f.csv")


def test_a_file_of_another_program(post, tmp_path):
    post.draws.to_netcdf(tmp_path / "arviz.nc", engine="h5netcdf")
    with pytest.raises(bv.StorageError, match=r"not saved by bayesv.*posterior.*bv\.extract\("):
        bv.load(tmp_path / "arviz.nc")


def changed(path: Path, **attrs: Any) -> Path:
    """Rewrite the attributes of the group bayesv."""
    with xr.open_datatree(path, engine="h5netcdf") as opened:
        tree = copy.deepcopy(opened.load())
    tree["bayesv"].attrs.update(attrs)
    tree.to_netcdf(path, engine="h5netcdf")
    return path


def test_a_later_format_names_both_versions(fit, tmp_path):
    path = changed(fit.save(tmp_path / "f.nc"), format=99, bayesv_version="7.8.9")
    with pytest.raises(bv.StorageError, match=rf"format 99.*7\.8\.9.*{bv.__version__}.*up to 4"):
        bv.load(path)


def test_an_unknown_kind(fit, tmp_path):
    path = changed(fit.save(tmp_path / "f.nc"), kind="Sausage")
    with pytest.raises(bv.StorageError, match="holds a Sausage"):
        bv.load(path)


def test_a_format_that_is_no_number(fit, tmp_path):
    path = changed(fit.save(tmp_path / "f.nc"), format="2b")
    with pytest.raises(bv.StorageError, match="has format 2b"):
        bv.load(path)


def _less_beta(tree: Any) -> None:
    del tree["posterior"]["beta"]


def _one_draw(tree: Any) -> None:
    tree["posterior"]["sigma2"][0, 0] *= 1.01


def _one_number(tree: Any) -> None:
    tree["bayesv"]["design.y"][3] += 1e-9


def _less_contents(tree: Any) -> None:
    del tree["bayesv"]["contents"]


def _other_text(tree: Any) -> None:
    text = str(tree["bayesv"]["contents"].item())
    tree["bayesv"]["contents"] = xr.DataArray(np.array(text.replace("Days", "Tage")))


@pytest.mark.parametrize(
    "change", [_less_beta, _one_draw, _one_number, _less_contents, _other_text]
)
def test_a_file_that_was_changed(change, post, tmp_path):
    path = post.save(tmp_path / "f.nc")
    with xr.open_datatree(path, engine="h5netcdf") as opened:
        tree = copy.deepcopy(opened.load())
    change(tree)
    tree.to_netcdf(path, engine="h5netcdf")
    with pytest.raises(bv.StorageError, match="damaged or was changed after bayesv saved it"):
        bv.load(path)


def test_a_zarr_folder_that_lost_a_part(post, tmp_path):
    path = post.save(tmp_path / "f.zarr")
    shutil.rmtree(path / "posterior" / "beta")  # Zarr itself reads NaN for it
    with pytest.raises(bv.StorageError, match="damaged or was changed"):
        bv.load(path)


def test_groups_of_other_programs_may_be_added(post, tmp_path):
    path = post.save(tmp_path / "f.nc")
    tree = az.from_netcdf(path)
    tree.load()
    tree.close()
    tree["log_likelihood"] = xr.Dataset({"y": ("row", np.zeros(3))})
    tree.to_netcdf(tmp_path / "g.nc", engine="h5netcdf")
    assert bv.load(tmp_path / "g.nc").estimate("mean") == post.estimate("mean")


def test_contents_name_nothing_but_what_is_known(fit):
    text, arrays = encode({"design": fit.design})
    for wrong in ("{", text.replace("RandomTerm", "Popen"), text.replace('"codes"', '"nodes"')):
        with pytest.raises(bv.StorageError):
            decode(wrong, arrays)


def test_codec_keeps_types():
    values = {
        "a": (1, 2.5, True, None, "x", [1, (2,)], {"k": (float("inf"), float("nan"))}),
        "b": np.array([], dtype=np.uint64),
        "c": np.array([[True, False]]),
        "d": np.float64(0.1),
    }
    text, arrays = encode(values)
    back = decode(text, arrays)
    assert back["a"][:6] == values["a"][:6]
    assert back["a"][6]["k"][0] == float("inf")
    assert np.isnan(back["a"][6]["k"][1])
    assert back["b"].dtype == np.uint64
    assert back["c"].dtype == bool
    assert back["d"] == 0.1
    with pytest.raises(bv.StorageError, match=r"a\.1 is a object"):
        encode({"a": [1, object()]})
