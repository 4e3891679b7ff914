"""The expert's feedback: masks of what is irrelevant."""

from napari_cam_feedback.feedback.mask_store import MaskStore, read_mask_file
from napari_cam_feedback.feedback.simulated import known_masks

__all__ = ["MaskStore", "known_masks", "read_mask_file"]
