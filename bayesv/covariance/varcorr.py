"""Read lme4's VarCorr listing, printed or as a data frame."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd

from bayesv.errors import ComponentsError, DesignWarning
from bayesv.linalg import Array, nearest_psd, smallest_relative_eigenvalue

__all__ = ["read_varcorr"]

_NUMBER = re.compile(r"-?\d+\.?\d*(?:[eE][-+]?\d+)?$")


def read_varcorr(listing: str | pd.DataFrame) -> tuple[dict[str, pd.DataFrame], float]:
    """Return ({group: Σ_f}, σ²) of a VarCorr listing."""
    if isinstance(listing, pd.DataFrame):
        return _from_frame(listing)
    return _from_text(listing)


def _from_frame(frame: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], float]:
    needed = {"grp", "var1", "var2", "vcov"}
    if not needed <= set(frame.columns):
        raise ComponentsError(
            f"as.data.frame(VarCorr(fit)) has columns {sorted(needed)}; found {list(frame)}."
        )
    residual = frame.loc[frame["grp"] == "Residual", "vcov"]
    if len(residual) != 1:
        raise ComponentsError("The listing has no line for the residual variance.")
    blocks = {}
    for group, rows in frame[frame["grp"] != "Residual"].groupby("grp", sort=False):
        names = list(rows.loc[rows["var2"].isna(), "var1"])
        block = pd.DataFrame(0.0, names, names)
        for _, row in rows.iterrows():
            other = row["var1"] if pd.isna(row["var2"]) else row["var2"]
            block.loc[row["var1"], other] = block.loc[other, row["var1"]] = row["vcov"]
        blocks[str(group)] = block
    return _merge_split_groups(blocks), float(residual.iloc[0])


def _from_text(text: str) -> tuple[dict[str, pd.DataFrame], float]:
    lines = [line.rstrip() for line in str(text).splitlines()]
    header = next((i for i, line in enumerate(lines) if re.match(r"\s*Groups\s+Name", line)), None)
    if header is None:
        raise ComponentsError(
            "No header 'Groups  Name  …  Std.Dev.' found; paste what print(VarCorr(fit)) shows."
        )
    titles = re.findall(r"Variance|Std\.Dev\.|Corr", lines[header])
    name_at = lines[header].index("Name")
    n_scales = sum(title != "Corr" for title in titles)
    sds: dict[str, list[float]] = {}
    names: dict[str, list[str]] = {}
    corrs: dict[str, list[list[str]]] = {}
    group, sigma2 = "", None
    for line in lines[header + 1 :]:
        if not line.strip():
            if sigma2 is not None:
                break
            continue
        head, rest = line[:name_at].strip(), line[name_at:]
        words = rest.split()
        first = next((i for i, word in enumerate(words) if _NUMBER.match(word)), None)
        if first is None:
            break
        numbers = words[first:]
        # SDs carry more printed digits than variances only by luck: use what is squared last.
        scales = dict(zip([t for t in titles if t != "Corr"], numbers[:n_scales], strict=False))
        sd = float(scales["Std.Dev."]) if "Std.Dev." in scales else float(scales["Variance"]) ** 0.5
        if head == "Residual":
            sigma2 = sd**2
            continue
        if head:
            group = head if head not in sds else f"{head}.{len(sds)}"
        if not group:
            raise ComponentsError(f"A line without a group: {line!r}.")
        sds.setdefault(group, []).append(sd)
        names.setdefault(group, []).append(" ".join(words[:first]))
        corrs.setdefault(group, []).append(numbers[n_scales:])
    if sigma2 is None or not sds:
        raise ComponentsError("The listing needs at least one group and a line 'Residual'.")
    blocks = {g: _block(g, names[g], np.array(sds[g]), corrs[g]) for g in sds}
    return _merge_split_groups(blocks), sigma2


def _block(group: str, names: list[str], sd: Array, corr_words: list[list[str]]) -> pd.DataFrame:
    r = len(sd)
    corr = np.eye(r)
    digits = 3
    for i, words in enumerate(corr_words):
        if words and len(words) != i:
            raise ComponentsError(f"{group!r}, row {names[i]!r}: {i} correlations needed: {words}.")
        for j, word in enumerate(words):
            if not _NUMBER.match(word):
                raise ComponentsError(f"{group!r}: {word!r} is not a correlation.")
            corr[i, j] = corr[j, i] = float(word)
            digits = min(digits, len(word.partition(".")[2]))
    if -r * 10.0**-digits < smallest_relative_eigenvalue(corr) < 0:
        warnings.warn(
            f"The printed correlations of {group!r} are rounded to {digits} digits and not quite a "
            "correlation matrix; the nearest one is used.",
            DesignWarning,
            stacklevel=5,
        )
        corr = nearest_psd(corr)
    return pd.DataFrame(corr * np.outer(sd, sd), names, names)


def _merge_split_groups(blocks: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """lme4 prints ``(x || g)`` as groups g and g.1; here it is one group with a diagonal block."""
    merged: dict[str, pd.DataFrame] = {}
    for label, block in blocks.items():
        group = re.sub(r"\.\d+$", "", label)
        if group not in merged:
            group = group if group in blocks else label
            merged[group] = block
            continue
        both = list(merged[group].index) + list(block.index)
        joined = pd.DataFrame(0.0, both, both)
        joined.loc[merged[group].index, merged[group].index] = merged[group]
        joined.loc[block.index, block.index] = block
        merged[group] = joined
    return merged
