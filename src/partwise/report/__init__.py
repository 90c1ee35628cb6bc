"""Reports: one self-contained HTML file."""

from partwise.report.content import (
    ReportContent,
    WeightPicture,
    report_content,
    weight_pictures,
)
from partwise.report.html import write_report

__all__ = [
    "ReportContent",
    "WeightPicture",
    "report_content",
    "weight_pictures",
    "write_report",
]
