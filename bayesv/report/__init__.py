"""One self-contained HTML page about a model, its fits and V."""

from bayesv.report.report import Report, report
from bayesv.report.work import check_packages

__all__ = ["Report", "check_packages", "report"]
