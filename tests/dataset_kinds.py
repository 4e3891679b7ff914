"""One dataset, the stripes, written in each of the ways that datasets are kept."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from cli_runs import NAMES
from core_builders import stripes

COUNTS = {"train": 12, "val": 6, "test": 6}
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def arrays() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Images (N, 16, 16) uint8, labels and masks of each split."""
    dataset = stripes(COUNTS)
    found = {}
    for split in COUNTS:
        indices = dataset.indices(split)
        found[split] = (
            np.stack([dataset.read(int(i)) for i in indices]),
            dataset.labels[indices],
            np.stack([dataset.known_mask(int(i)) for i in indices]),
        )
    return found


def split_folders(root: Path) -> Path:
    for split, (images, labels, masks) in arrays().items():
        for n, (image, label, mask) in enumerate(zip(images, labels, masks, strict=True)):
            relative = Path(split) / NAMES[label] / f"{n:02}.png"
            for file, pixels in ((root / relative, image), (root / "masks" / relative, mask.astype(np.uint8) * 255)):
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
    return root


def class_folders(root: Path) -> Path:
    for split, (images, labels, _) in arrays().items():
        for n, (image, label) in enumerate(zip(images, labels, strict=True)):
            file = root / NAMES[label] / f"{split}_{n:02}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
    return root


def csv_list(root: Path) -> Path:
    split_folders(root / "images")
    lines = [
        f"images/{split}/{NAMES[label]}/{n:02}.png,{NAMES[label]},{split}"
        for split, (_, labels, _) in arrays().items()
        for n, label in enumerate(labels)
    ]
    (root / "list.csv").write_text("path,label,split\n" + "\n".join(lines))
    return root / "list.csv"


def npz(root: Path) -> Path:
    values: dict[str, np.ndarray] = {"classes": np.array(NAMES)}
    for split, (images, labels, masks) in arrays().items():
        values |= {f"x_{split}": images, f"y_{split}": labels, f"masks_{split}": masks}
    root.mkdir(parents=True, exist_ok=True)
    np.savez(root / "data.npz", **values)
    return root / "data.npz"


def npy_per_class(root: Path) -> Path:
    found = list(arrays().values())
    root.mkdir(parents=True, exist_ok=True)
    for label, name in enumerate(NAMES):
        np.save(root / f"{name}.npy", np.concatenate([images[labels == label] for images, labels, _ in found]))
    return root


def cifar(root: Path) -> Path:
    folder, rng = root / "cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name, count in {"data_batch_1": 20, "test_batch": 10}.items():
        pixels = rng.integers(0, 256, (count, 3072), np.uint8)
        content = {b"data": pixels, b"labels": [n % 10 for n in range(count)], b"batch_label": name.encode()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    meta = {b"label_names": [name.encode() for name in CIFAR], b"num_cases_per_batch": 10000, b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return folder


def tiff_stack(root: Path) -> Path:
    found = arrays()
    root.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        root / "stack.tif", np.concatenate([images for images, _, _ in found.values()]), photometric="minisblack"
    )
    labels = [(split, NAMES[label]) for split, (_, labels, _) in found.items() for label in labels]
    lines = [f"{page},{name},{split}" for page, (split, name) in enumerate(labels)]
    (root / "stack.csv").write_text("page,label,split\n" + "\n".join(lines))
    return root / "stack.tif"


def multi_page(root: Path) -> Path:
    for split, (images, labels, _) in arrays().items():
        for label, name in enumerate(NAMES):
            file = root / split / name / "pages.tif"
            file.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(file, images[labels == label], photometric="minisblack")
    return root


KINDS = [split_folders, class_folders, csv_list, npz, npy_per_class, tiff_stack, multi_page, cifar]
