"""Whether the plugin works on this machine, told without anything private: what a report of a fault begins with."""

from napari_cam_feedback.doctor.examine import examine
from napari_cam_feedback.doctor.report import Check, DoctorReport

__all__ = ["Check", "DoctorReport", "examine"]
