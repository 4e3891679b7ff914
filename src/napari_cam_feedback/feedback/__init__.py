"""The expert's feedback: masks of what is irrelevant."""

from napari_cam_feedback.feedback.choose import KnownMasks, choose_masks, known_masks
from napari_cam_feedback.feedback.filter_masks import (
    FilterMask,
    SavedMasks,
    filter_masks,
    save_filter_masks,
    split_threshold,
)
from napari_cam_feedback.feedback.mask_store import MaskStore, read_mask_file

__all__ = [
    "FilterMask",
    "KnownMasks",
    "MaskStore",
    "SavedMasks",
    "choose_masks",
    "filter_masks",
    "known_masks",
    "read_mask_file",
    "save_filter_masks",
    "split_threshold",
]
