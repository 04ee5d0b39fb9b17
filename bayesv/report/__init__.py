"""One self-contained HTML page about a model, its fits and V."""

from bayesv.report.report import Report, report

__all__ = ["Report", "report"]
