"""REML and ML by the profiled criterion on Gram statistics."""

from bayesv.reml.certificate import Certificate
from bayesv.reml.fit import RemlFit
from bayesv.reml.fitting import fit_reml
from bayesv.reml.identification import unidentified
from bayesv.reml.imported import fit_from_components
from bayesv.reml.rounding import rounded_response
from bayesv.reml.structured import fit_structured

__all__ = [
    "Certificate",
    "RemlFit",
    "fit_from_components",
    "fit_reml",
    "fit_structured",
    "rounded_response",
    "unidentified",
]
