"""One self-contained HTML page about a model, its fits and V."""

from bayesv.report.packages import check_packages
from bayesv.report.report import Report, report

__all__ = ["Report", "check_packages", "report"]
