"""The expert's feedback: masks of what is irrelevant."""

from napari_cam_feedback.feedback.exchange.fitting import FittingMasks, fitting_masks
from napari_cam_feedback.feedback.exchange.formats import export_masks
from napari_cam_feedback.feedback.exchange.importing import find_masks, import_masks
from napari_cam_feedback.feedback.exchange.merging import compare_masks, merge_into, merge_masks
from napari_cam_feedback.feedback.masks.choose import KnownMasks, choose_masks, known_masks
from napari_cam_feedback.feedback.masks.reading import read_mask_file
from napari_cam_feedback.feedback.masks.store import MaskStore
from napari_cam_feedback.feedback.painting.grow import hot_region
from napari_cam_feedback.feedback.painting.same_place import Copied, same_place
from napari_cam_feedback.feedback.painting.superpixels import superpixel_at, superpixels
from napari_cam_feedback.feedback.painting.wand import wand
from napari_cam_feedback.feedback.proposals.from_filter import (
    FilterMask,
    SavedMasks,
    filter_masks,
    save_filter_masks,
    split_threshold,
)
from napari_cam_feedback.feedback.proposals.propagate import KINDS, Proposal, propose_masks
from napari_cam_feedback.feedback.proposals.store import ProposalStore, ProposedMask
from napari_cam_feedback.feedback.suggestions.clusters import MapCluster
from napari_cam_feedback.feedback.suggestions.signals import SuggestWeights
from napari_cam_feedback.feedback.suggestions.suggest import Suggestion, Suggestions, suggest

__all__ = [
    "KINDS",
    "Copied",
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
    "hot_region",
    "import_masks",
    "known_masks",
    "merge_into",
    "merge_masks",
    "propose_masks",
    "read_mask_file",
    "same_place",
    "save_filter_masks",
    "split_threshold",
    "suggest",
    "superpixel_at",
    "superpixels",
    "wand",
]
