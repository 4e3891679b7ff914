"""Which shortcuts a dataset offers, and which of them a model uses."""

from napari_cam_feedback.auditing.external import ExternalReport, ExternalRow, evaluate_external
from napari_cam_feedback.auditing.next_shortcut import NextShortcut, next_shortcuts
from napari_cam_feedback.auditing.report import write_report
from napari_cam_feedback.auditing.results import AuditReport, Finding
from napari_cam_feedback.auditing.run import audit

__all__ = [
    "AuditReport",
    "ExternalReport",
    "ExternalRow",
    "Finding",
    "NextShortcut",
    "audit",
    "evaluate_external",
    "next_shortcuts",
    "write_report",
]
