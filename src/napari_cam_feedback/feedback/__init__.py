"""The expert's feedback: masks of what is irrelevant."""

from napari_cam_feedback.feedback.choose import KnownMasks, choose_masks, known_masks
from napari_cam_feedback.feedback.filter_masks import (
    FilterMask,
    SavedMasks,
    filter_masks,
    save_filter_masks,
    split_threshold,
)
from napari_cam_feedback.feedback.mask_files import export_masks
from napari_cam_feedback.feedback.mask_fitting import FittingMasks, fitting_masks
from napari_cam_feedback.feedback.mask_import import find_masks, import_masks
from napari_cam_feedback.feedback.mask_store import MaskStore, read_mask_file
from napari_cam_feedback.feedback.merge import compare_masks, merge_into, merge_masks
from napari_cam_feedback.feedback.propagate import KINDS, Proposal, propose_masks
from napari_cam_feedback.feedback.proposals import ProposalStore, ProposedMask
from napari_cam_feedback.feedback.suggest import Suggestion, Suggestions, suggest
from napari_cam_feedback.feedback.suggest_clusters import MapCluster
from napari_cam_feedback.feedback.suggest_signals import SuggestWeights

__all__ = [
    "KINDS",
    "FilterMask",
    "FittingMasks",
    "KnownMasks",
    "MapCluster",
    "MaskStore",
    "Proposal",
    "ProposalStore",
    "ProposedMask",
    "SavedMasks",
    "SuggestWeights",
    "Suggestion",
    "Suggestions",
    "choose_masks",
    "compare_masks",
    "export_masks",
    "filter_masks",
    "find_masks",
    "fitting_masks",
    "import_masks",
    "known_masks",
    "merge_into",
    "merge_masks",
    "propose_masks",
    "read_mask_file",
    "save_filter_masks",
    "split_threshold",
    "suggest",
]
