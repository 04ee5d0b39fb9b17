"""A dense factor with the faces of SciPy's sparse ones: M of levels that are related."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve

from bayesv.errors import ComponentsError
from bayesv.linalg import Array
from bayesv.support.memory import refuse_unless

__all__ = ["DenseFactor"]


@dataclass(frozen=True, eq=False)
class DenseFactor:
    """Cholesky's factor of M = I + N'N.

    Attributes
    ----------
    upper : ndarray, shape (q, q)
        Of which the upper triangle counts.
    """

    upper: Array

    @classmethod
    def of(cls, N: sparse.csr_array) -> DenseFactor:
        """Factor I + N'N of N, shape (n, q)."""
        n, q = N.shape
        refuse_unless(
            8.0 * (n * q + 2.0 * q**2),
            f"M = I + Λ'Z'WZΛ of {q:,} related effects, dense,",
            "Leave levels out, or merge them.",
        )
        columns = N.toarray()
        M = columns.T @ columns
        M[np.diag_indices(q)] += 1.0
        try:
            return cls(cho_factor(M, overwrite_a=True)[0])
        except (np.linalg.LinAlgError, ValueError) as error:
            raise ComponentsError(
                "V cannot be factored in double precision; the variances of the random effects "
                f"are too large beside sigma2 ({error})."
            ) from error

    def solve(self, b: Array) -> Array:
        """Return M⁻¹b."""
        return np.asarray(cho_solve((self.upper, False), b))

    @property
    def U(self) -> sparse.dia_array:
        """What has D of LDL' on its diagonal."""
        return sparse.diags_array(np.diagonal(self.upper) ** 2)
