"""Self-contained HTML pages about a model, its fits and V."""

from bayesv.report.cells import interactive_v
from bayesv.report.packages import check_packages
from bayesv.report.page import Report
from bayesv.report.report import report

__all__ = ["Report", "check_packages", "interactive_v", "report"]
