"""Datasets: reading images and masks lazily, splits, preprocessing, and the samples that need no download.

`Preprocessing` and `InputCache` need torch and load on first use; everything else here works without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_cam_feedback.data.dataset import Dataset, Item
from napari_cam_feedback.data.formats.arrays import ArrayDataset
from napari_cam_feedback.data.formats.bitmaps import BitmapDataset
from napari_cam_feedback.data.formats.cifar import CifarDataset
from napari_cam_feedback.data.formats.export import save_images
from napari_cam_feedback.data.formats.folder import FolderDataset
from napari_cam_feedback.data.formats.stacks import StackDataset
from napari_cam_feedback.data.formats.table import CsvDataset
from napari_cam_feedback.data.open import open_dataset
from napari_cam_feedback.data.pixels.images import count_pages, read_image, read_mask, read_page
from napari_cam_feedback.data.samples import SAMPLES, SampleInfo, make_sample, sample_data_dir, write_sample

if TYPE_CHECKING:
    from napari_cam_feedback.data.cache import InputCache
    from napari_cam_feedback.data.preprocessing import Preprocessing

_NEED_TORCH = {"InputCache": "cache", "Preprocessing": "preprocessing"}

__all__ = [
    "SAMPLES",
    "ArrayDataset",
    "BitmapDataset",
    "CifarDataset",
    "CsvDataset",
    "Dataset",
    "FolderDataset",
    "InputCache",
    "Item",
    "Preprocessing",
    "SampleInfo",
    "StackDataset",
    "count_pages",
    "make_sample",
    "open_dataset",
    "read_image",
    "read_mask",
    "read_page",
    "sample_data_dir",
    "save_images",
    "write_sample",
]


def __getattr__(name: str) -> Any:
    if name in _NEED_TORCH:
        return getattr(import_module(f"napari_cam_feedback.data.{_NEED_TORCH[name]}"), name)
    raise AttributeError(f"module 'napari_cam_feedback.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_NEED_TORCH])
