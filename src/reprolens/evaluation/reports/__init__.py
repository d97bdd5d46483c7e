"""What an evaluation leaves behind: files of numbers, tables, figures and contact sheets."""

from reprolens.evaluation.reports.write import shown, write_reports

__all__ = ["shown", "write_reports"]
