"""The expert's feedback: masks of what is irrelevant."""

from napari_cam_feedback.feedback.choose import KnownMasks, choose_masks, known_masks
from napari_cam_feedback.feedback.mask_store import MaskStore, read_mask_file

__all__ = ["KnownMasks", "MaskStore", "choose_masks", "known_masks", "read_mask_file"]
