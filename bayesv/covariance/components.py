"""Variance components: one labelled covariance Σ_f per grouping factor, and σ²."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from bayesv.covariance.blocks import (
    Block,
    block_of,
    block_of_term,
    correlation_of,
    number,
    real_array,
)
from bayesv.covariance.listings import read_varcorr
from bayesv.covariance.listings.own import listed_line
from bayesv.covariance.listings.residual_text import cut, residual_corr, residual_lines
from bayesv.design.design import Design, DesignSummary, RandomTerm, TermSummary
from bayesv.design.parametric import ResidualValues
from bayesv.errors import ComponentsError
from bayesv.linalg import Array, cov_to_sd_corr, psd_root
from bayesv.names import factors_of, matched, resolved
from bayesv.support.arguments import a
from bayesv.support.shown import Part, Shown, Table

__all__ = ["VarianceComponents"]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class VarianceComponents(Shown):
    """Σ_f of every grouping factor and the residual variance σ².

    Parameters
    ----------
    blocks : mapping of str to array_like of shape (r_f, r_f), or DataFrame
        Covariance of one level's effects, in units of y² over the units of the columns. A plain
        array takes the column order of the design it is used with; a DataFrame is aligned by name.
        A number stands for a 1 × 1 block.
    sigma2 : float
        Residual variance σ² > 0, in units of y²; the mean of them where rows differ.
    residual : mapping, optional
        Parameters of a structured residual covariance, ``{"sd": {label: value}, "corr": {label:
        value}}``, as they are printed.

    Raises
    ------
    ComponentsError
        If a block is not square, symmetric and positive semi-definite, or σ² is not positive.

    Notes
    -----
    Variances of 0 and correlations of ±1 are legal; nothing here inverts Σ_f.

    Examples
    --------
    >>> vc = VarianceComponents({"Subject": [[612.10, 9.604], [9.604, 35.07]]}, sigma2=654.94)
    >>> vc.groups
    ('Subject',)
    >>> float(vc["Subject"].iloc[1, 1])
    35.07
    """

    _blocks: dict[str, Block]
    sigma2: float
    residual: ResidualValues

    def __init__(self, blocks: Mapping[str, Any], sigma2: float, residual: Any = None) -> None:
        if not isinstance(blocks, Mapping):
            raise ComponentsError(
                "Variance components need {group: covariance matrix}, found "
                f"{type(blocks).__name__}."
            )
        sigma2 = number(sigma2)
        if not (np.isfinite(sigma2) and sigma2 > 0):
            raise ComponentsError(
                f"sigma2 is the residual variance and must be positive and finite; found {sigma2}."
            )
        values = ResidualValues() if residual is None else ResidualValues.of(residual)
        checked = {str(group): block_of(str(group), b) for group, b in blocks.items()}
        self.__dict__.update(_blocks=checked, sigma2=sigma2, residual=values)

    @classmethod
    def _valid(cls, blocks: dict[str, Block], sigma2: float, residual: ResidualValues) -> Self:
        """Return components of parts that have been checked or are so made."""
        new = cls.__new__(cls)
        new.__dict__.update(_blocks=blocks, sigma2=sigma2, residual=residual)
        return new

    @classmethod
    def from_sd_corr(
        cls,
        sd: Mapping[str, Any],
        corr: Mapping[str, Any] | None = None,
        *,
        sigma: float,
        residual: Any = None,
    ) -> VarianceComponents:
        """Build from standard deviations and correlations.

        Parameters
        ----------
        sd : mapping of str to float, sequence, mapping or Series
            SDs of each group's coefficients; a mapping or Series names them.
        corr : mapping of str to float or array_like, optional
            Correlation matrix, or the lower triangle row by row, or one number for r_f = 2.
            Groups left out are uncorrelated.
        sigma : float
            Residual standard deviation.
        residual : mapping, optional
            Parameters of structured residuals, as of `VarianceComponents`.

        Examples
        --------
        >>> vc = VarianceComponents.from_sd_corr(
        ...     {"Subject": {"Intercept": 24.74, "Days": 5.92}}, {"Subject": 0.066}, sigma=25.59)
        >>> round(vc.sigma2, 2)
        654.85
        """
        sigma = number(sigma)
        if sigma <= 0:
            raise ComponentsError(f"sigma is the residual SD and must be positive; found {sigma}.")
        corr = {} if corr is None else corr
        for what, by_group in (("sd", sd), ("corr", corr)):
            if not isinstance(by_group, Mapping):
                raise ComponentsError(
                    f"{what} must be {{group: values}}, found {type(by_group).__name__}."
                )
        unknown = [group for group in corr if group not in sd]
        if unknown:
            raise ComponentsError(f"Correlations for {unknown}, which have no SDs.")
        blocks = {}
        for group, by_group in sd.items():
            names = list(by_group.keys()) if isinstance(by_group, Mapping | pd.Series) else None
            values = list(by_group.values()) if isinstance(by_group, Mapping) else by_group
            sds = np.atleast_1d(real_array(f"SDs of {group!r}", values))
            if not (sds >= 0).all() or sds.ndim > 1:
                raise ComponentsError(f"SDs of {group!r} must be a list of numbers ≥ 0: {values}.")
            matrix = correlation_of(group, corr.get(group), sds, names) * np.outer(sds, sds)
            blocks[group] = pd.DataFrame(matrix, names, names) if names else matrix
        return cls(blocks, sigma * sigma, residual)

    @classmethod
    def from_varcorr(cls, listing: str | pd.DataFrame) -> VarianceComponents:
        """Build from what a mixed-model program prints, or from lme4's data frame.

        Parameters
        ----------
        listing : str or DataFrame
            ``print(VarCorr(fit))``, ``print(fit)`` or ``summary(fit)`` of lme4, glmmTMB or nlme, as
            pasted (behind ``##``, wrapped, with blanks collapsed, as a Markdown table);
            ``VarCorr(fit)`` of MixedModels.jl; the covariance parameter estimates of SAS PROC MIXED
            (UN, VC) or Stata's ``mixed``; ``as.data.frame(VarCorr(fit))`` with columns grp, var1,
            var2, vcov; or what `VarianceComponents` prints, or its `to_frame`, to all digits.

        Raises
        ------
        ComponentsError
            If a line is not understood; the message shows it.

        Notes
        -----
        Of a variance and its SD the one that is printed more exactly is used. Printed correlations
        are rounded; where rounding alone makes a block indefinite it is moved to the nearest
        covariance, with a warning. lme4 prints the terms of ``(x || g)`` as ``g`` and ``g.1``; they
        are one factor here, unless both have a column of one name or the listing's last line names
        a factor ``g.1``. Inner factors of nlme and Stata are labelled ``inner:outer``.

        Examples
        --------
        >>> vc = VarianceComponents.from_varcorr('''
        ...  Groups   Name        Std.Dev. Corr
        ...  Subject  (Intercept) 24.7407
        ...           Days         5.9221  0.066
        ...  Residual             25.5918
        ... ''')
        >>> [float(v) for v in vc["Subject"].to_numpy().round(3)[1]]
        [9.67, 35.071]
        """
        return cls(*read_varcorr(listing))

    @property
    def groups(self) -> tuple[str, ...]:
        """Labels of the grouping factors."""
        return tuple(self._blocks)

    @property
    def sigma(self) -> float:
        """Residual standard deviation."""
        return float(np.sqrt(self.sigma2))

    def __getitem__(self, group: str) -> pd.DataFrame:
        """Return a labelled copy of Σ_f, shape (r_f, r_f)."""
        if _is_residual(group) and "Residual" not in self._blocks:
            raise ComponentsError(
                "The residuals have no Σ: .sigma2, .sd('Residual') and .residual say what R is, "
                "and bv.residual_R(design, components) is R of the rows."
            )
        return self._blocks[self._key(group)].frame

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VarianceComponents):
            return NotImplemented
        return (
            self.groups == other.groups
            and self.sigma2 == other.sigma2
            and self.residual == other.residual
            and all(self[g].equals(other[g]) for g in self.groups)
        )

    __hash__ = None  # type: ignore[assignment]

    def sd(self, group: str) -> pd.Series:
        """Return the standard deviations of a group's coefficients, shape (r_f,).

        Of ``"Residual"`` those of visits or strata, or σ.
        """
        if _is_residual(group):
            return pd.Series(dict(self.residual.sd) or {"sigma": self.sigma}, name="sd_Residual")
        block = self[group]
        return pd.Series(cov_to_sd_corr(block.to_numpy())[0], block.index, name=f"sd_{group}")

    def corr(self, group: str) -> pd.DataFrame:
        """Return the correlations, shape (r_f, r_f); NaN where a variance is 0.

        Of ``"Residual"`` those of visits, where each pair has one of its own (us).

        Raises
        ------
        ComponentsError
            If the correlations of the residuals are functions of parameters.
        """
        if _is_residual(group):
            return residual_corr(self.residual)
        block = self[group]
        return pd.DataFrame(cov_to_sd_corr(block.to_numpy())[1], block.index, block.columns)

    def block_for(self, term: RandomTerm) -> Array:
        """Return Σ_f in the column order of a design's term.

        Raises
        ------
        ComponentsError
            If the group is missing, or its labels or shape do not fit the term.
        """
        a(RandomTerm, TermSummary)("term", term)
        return block_of_term(self._blocks[self._key(term.group)], term)

    def aligned(self, design: Design) -> VarianceComponents:
        """Return the same components with the design's groups, labels and order.

        Raises
        ------
        ComponentsError
            If a group is missing or superfluous, or labels do not fit.
        """
        a(Design, DesignSummary)("design", design)
        if self._fits(design):
            self._residual_of(design)  # refused if it does not fit
            return self
        places = matched(
            self.groups, design.groups, "The grouping factor", ComponentsError, factors_of
        )
        pairs = list(zip(self.groups, places, strict=True))
        extra = [group for group, i in pairs if i is None]
        if extra:
            raise ComponentsError(
                f"Variance components for {', '.join(extra)}, which the design lacks; it has "
                f"{', '.join(design.groups)}."
            )
        block_of_place = {i: self._blocks[group] for group, i in pairs}
        missing = [group for i, group in enumerate(design.groups) if i not in block_of_place]
        if missing:
            raise ComponentsError(
                f"No variance components for group {', '.join(map(repr, missing))}; there are "
                f"{', '.join(self.groups)}."
            )
        blocks = {
            term.group: Block(block_of_term(block_of_place[i], term), term.columns)
            for i, term in enumerate(design.terms)
        }
        return self._valid(blocks, self.sigma2, self._residual_of(design))

    def _fits(self, design: Design) -> bool:
        """Whether groups and labels are the design's own, and residuals have no parameters."""
        return (
            design.parametric_residual is None
            and self.groups == design.groups
            and all(self._blocks[term.group].labels is term.columns for term in design.terms)
        )

    def _residual_of(self, design: Design) -> ResidualValues:
        """Return the parameters of the residuals in the order of a design's labels."""
        if (form := design.parametric_residual) is not None:
            return form.aligned(self.residual, self.sigma2)
        if design.sigma_is_known and abs(self.sigma2 - 1.0) > 1e-12:
            raise ComponentsError(
                f"sigma2 = {self.sigma2:g}, and the residual covariance of the design is known: "
                "sigma2 is 1."
            )
        if self.residual.sd or self.residual.corr:
            raise ComponentsError(
                "The components have parameters of the residuals, "
                f"{', '.join([*self.residual.sd, *self.residual.corr])}, and the design has none: "
                "state them by bv.Model(…, residual=…)."
            )
        return ResidualValues()

    def known_at(self, design: Design) -> tuple[Design, VarianceComponents]:
        """Return a design whose residual covariance over σ² is known, and its components.

        Parameters
        ----------
        design : Design
            Which these components fit; if its residuals have no parameters, itself.

        Raises
        ------
        ComponentsError
            If the parameters of the residuals are not those of the design.
        """
        a(Design, DesignSummary)("design", design)
        values = self._residual_of(design)
        if not values.sd and not values.corr:
            return design, self
        return design.at(self), self._valid(self._blocks, self.sigma2, values)

    def relative_root(self, term: RandomTerm) -> Array:
        """Return λ_f with Σ_f = σ² λ_f λ_f', lower triangular, shape (r_f, r_f)."""
        return psd_root(self.block_for(term)) / self.sigma

    def to_frame(self) -> pd.DataFrame:
        """Return a tidy table, as lme4's ``as.data.frame(VarCorr(fit))``: vcov and sdcor."""
        rows: list[tuple[str, str, str | None, float, float]] = []
        for group, names, cov, sd, corr in self._parts():
            rows += [(group, a, None, cov[i, i], sd[i]) for i, a in enumerate(names)]
            rows += [
                (group, names[j], names[i], cov[i, j], corr[i, j])
                for j in range(len(names))
                for i in range(j + 1, len(names))
            ]
        if not self.residual.sd:
            rows.append(("Residual", "", None, self.sigma2, self.sigma))
        rows += [("Residual", name, None, sd * sd, sd) for name, sd in self.residual.sd.items()]
        nan = float("nan")
        rows += [("Residual", name, None, nan, c) for name, c in self.residual.corr.items()]
        return pd.DataFrame(rows, columns=["group", "var1", "var2", "cov", "sd_or_corr"])

    def _shown(self) -> Iterator[Part]:
        yield Table(("Group", "Name", "Variance", "Std.Dev.", "Corr"), tuple(self._lines()), 2)
        if lines := residual_lines(self.residual):
            yield "\n".join(lines)

    def _lines(self) -> Iterator[tuple[str, ...]]:
        """Give what stands in each line of the table."""
        for group, names, cov, sd, corr in self._parts():
            for i, name in enumerate(names):
                row = "  ".join("–" if np.isnan(c) else f"{c:.3f}" for c in corr[i, :i])
                label = group if i == 0 else ""
                yield label, name, f"{cov[i, i]:.5g}", f"{sd[i]:.5g}", row
        for i, (name, size) in enumerate((dict(self.residual.sd) or {"": self.sigma}).items()):
            yield "" if i else "Residual", name, f"{size * size:.5g}", f"{size:.5g}", ""

    def __repr__(self) -> str:
        lines = [f"{'Group':<16} {'Name':<22} {'Variance':>12} {'Std.Dev.':>10}  Corr"]
        for group, names, cov, sd, corr in self._parts():
            for i, name in enumerate(names):
                row = ["   NaN" if np.isnan(c) else f"{c:6.3f}" for c in corr[i, :i]]
                numbers = [f"{cov[i, i]:12.5g}", f"{sd[i]:10.5g}", *row]
                lines += listed_line("" if i else group, name, numbers)
        residual = dict(self.residual.sd) or {"": self.sigma}
        for i, (name, size) in enumerate(residual.items()):
            numbers = [f"{size * size:12.5g}", f"{size:10.5g}"]
            lines += listed_line("" if i else "Residual", cut(name, 22), numbers)
        lines += residual_lines(self.residual)
        return "\n".join(line.rstrip() for line in lines)

    def _parts(self) -> Iterator[tuple[str, list[str], Array, Array, Array]]:
        """Give label, names, covariance, SDs and correlations of each group."""
        for group, block in self._blocks.items():
            yield group, block.shown_names, block.matrix, *cov_to_sd_corr(block.matrix)

    def _key(self, group: str) -> str:
        what = "group of the variance components"
        return self.groups[resolved(group, self.groups, what, ComponentsError, factors_of)]


def _is_residual(group: object) -> bool:
    return isinstance(group, str) and group == "Residual"
