"""Results in files: what is kept of a posterior or a fit, and how it comes back."""

from bayesv.storage.files import check_target
from bayesv.storage.records import load

__all__ = ["check_target", "load"]
