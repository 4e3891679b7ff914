"""Everything of ours that reads a file of a user's, each with small files that it reads well."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from napari_cam_feedback.data import Preprocessing, open_dataset
from napari_cam_feedback.data.pixels import images
from napari_cam_feedback.errors import FeedbackError, describe, printable

SIZE = (12, 10)
_RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Reader:
    """One way to read a file.

    Attributes
    ----------
    name : str
        Of the reader.
    prepare : callable
        Takes an empty folder, writes files into it, and returns those that are to be changed.
    read : callable
        Takes one of these paths, and reads the file as the program does. What lies beside it is there.
    form : str
        Of `mutated`.
    """

    name: str
    prepare: Callable[[Path], list[Path]]
    read: Callable[[Path], object]
    form: str = ""


def _picture(*shape: int, kind: type = np.uint8) -> np.ndarray:
    return _RNG.integers(0, 255, shape).astype(kind)


def _pngs(folder: Path) -> list[Path]:
    h, w = SIZE
    pictures = {
        "gray": Image.fromarray(_picture(h, w)),
        "rgb": Image.fromarray(_picture(h, w, 3)),
        "rgba": Image.fromarray(_picture(h, w, 4)),
        "deep": Image.fromarray(_picture(h, w, kind=np.uint16)),
        "palette": Image.fromarray(_picture(h, w)).convert("P"),
        "bits": Image.fromarray(_picture(h, w)).convert("1"),
    }
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in pictures]


def _pictures(folder: Path) -> list[Path]:
    picture = Image.fromarray(_picture(*SIZE, 3))
    paths = [folder / f"a{suffix}" for suffix in (".jpg", ".bmp", ".gif", ".webp", ".ppm")]
    for path in paths:
        picture.save(path)
    (folder / "b.pgm").write_bytes(b"P2 3 2 255\n1 2 3 4 5 6\n")
    return [*paths, folder / "b.pgm"]


def _tiffs(folder: Path) -> list[Path]:
    h, w = SIZE
    tifffile.imwrite(folder / "plain.tif", _picture(h, w))
    tifffile.imwrite(folder / "rgb.tif", _picture(h, w, 3), photometric="rgb", compression="deflate")
    tifffile.imwrite(folder / "pages.tif", _picture(3, h, w, kind=np.uint16), photometric="minisblack")
    tifffile.imwrite(folder / "float.tif", _picture(h, w).astype(np.float32) / 255, compression="deflate")
    tifffile.imwrite(folder / "tiles.tif", _picture(2, 32, 32), tile=(16, 16), photometric="minisblack")
    tifffile.imwrite(folder / "ij.tif", _picture(4, h, w), imagej=True)
    tifffile.imwrite(folder / "a.ome.tif", _picture(3, h, w), photometric="minisblack", metadata={"axes": "ZYX"})
    Image.fromarray(_picture(h, w, 3)).save(folder / "lzw.tif", compression="tiff_lzw")
    return sorted(folder.glob("*.tif"))


def _read_picture(path: Path) -> None:
    _each(
        lambda: images.read_image(path),
        lambda: images.image_size(path),
        lambda: images.read_mask(path, SIZE),
        lambda: images.read_page(path, images.count_pages(path) - 1),
        lambda: _mask_file(path),
    )


def _mask_file(path: Path) -> None:
    from napari_cam_feedback.feedback.masks.store import read_mask_file

    read_mask_file(path)


def _each(*reads: Callable[[], object]) -> None:
    """Call all of them, so that a refusal by one does not keep the others from being tried."""
    for read in reads:
        try:
            read()
        except FeedbackError as error:
            check_sentence(error)


def check_sentence(error: FeedbackError) -> None:
    """A refusal is one sentence for a person."""
    sentence = describe(error)
    assert sentence.strip(), repr(error)
    assert len(sentence) < 3000, sentence[:300]
    assert printable(sentence) == sentence, sentence[:300]
    assert "\n" not in sentence, sentence[:300]


def _dataset(path: Path) -> None:
    dataset = open_dataset(path)
    dataset.item(0)
    for index in {0, len(dataset) - 1}:
        _each(
            lambda index=index: dataset.read(index),
            lambda index=index: dataset.image_size(index),
            lambda index=index: dataset.known_mask(index),
        )
    dataset.may_have_mask()


def _npz(folder: Path) -> list[Path]:
    arrays = {
        "x_train": _picture(4, 8, 8),
        "y_train": np.array([0, 1, 0, 1]),
        "masks_train": _picture(4, 8, 8) > 200,
        "x_test": _picture(2, 8, 8),
        "y_test": np.array([0, 1]),
    }
    np.savez(folder / "a.npz", **arrays, classes=np.array(["cat", "dog"]))
    np.savez_compressed(folder / "b.npz", x=_picture(4, 8, 8, 3), y=np.array(["a", "b", "a", "b"]))
    return [folder / "a.npz", folder / "b.npz"]


def _npy(folder: Path) -> list[Path]:
    for name in ("cat", "dog"):
        np.save(folder / f"{name}.npy", _picture(3, 64))
    return [folder / "cat.npy"]


def _cifar(folder: Path) -> list[Path]:
    batch = {b"data": _picture(2, 3072), b"labels": [0, 1], b"filenames": [b"a", b"b"]}
    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_bytes(pickle.dumps(batch, 2))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}, 2))
    return [folder / "data_batch_1", folder / "batches.meta"]


def _images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_picture(*SIZE)).save(folder / name)


def _csv(folder: Path) -> list[Path]:
    _images(folder, "a.png", "b.png", "c.png")
    (folder / "list.csv").write_text('path,label,split\na.png,cat,train\n"b.png",dog,train\nc.png,cat,test\n')
    tifffile.imwrite(folder / "p.tif", _picture(3, 8, 8), photometric="minisblack")
    (folder / "pages.csv").write_text("path;label;page\np.tif;1;0\np.tif;2;1\np.tif;1;2\n")
    return [folder / "list.csv", folder / "pages.csv"]


def _stack(folder: Path) -> list[Path]:
    tifffile.imwrite(folder / "s.tif", _picture(4, 8, 8), photometric="minisblack")
    (folder / "s.csv").write_text("page,label,split\n0,cat,train\n1,dog,train\n2,cat,val\n3,dog,test\n")
    return [folder / "s.csv", folder / "s.tif"]


def _masks_of_others(folder: Path) -> list[Path]:
    masks = {"a.png": _picture(8, 8) > 99, "train/b.png": _picture(8, 8)}
    for protocol in (0, 2, 4):
        (folder / f"p{protocol}.pkl").write_bytes(pickle.dumps(masks, protocol))
    (folder / "n.pkl").write_bytes(pickle.dumps({"cat": [_picture(4, 4), None], "dog": {3: _picture(4, 4)}}, 4))
    coco: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 8}],
        "categories": [{"id": 1, "name": "irrelevant"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 6, 1, 6, 6]]},
            {"id": 2, "image_id": 1, "category_id": 1, "segmentation": {"size": [8, 8], "counts": [10, 20, 34]}},
            {"id": 3, "image_id": 1, "category_id": 1, "segmentation": {"size": [8, 8], "counts": "PPPL0"}},
        ],
    }
    (folder / "c.json").write_text(json.dumps(coco))
    return sorted(folder.iterdir())


def _npz_of_masks(folder: Path) -> list[Path]:
    np.savez(folder / "a.npz", **{"a.png": _picture(8, 8) > 99, "train/b.png": _picture(8, 8)})
    np.savez_compressed(folder / "b.npz", keys=np.array(["a.png", "b.png"]), masks=_picture(2, 8, 8))
    return [folder / "a.npz", folder / "b.npz"]


def _read_masks_of_others(path: Path) -> None:
    from napari_cam_feedback.feedback.exchange.formats import read_named_masks

    for _, read in read_named_masks(path):
        _each(read)


def _mask_store(folder: Path) -> list[Path]:
    from napari_cam_feedback.feedback import MaskStore

    store = MaskStore(folder, author="me")
    for key in ("a.png", "train/b.png"):
        store.put(key, _picture(*SIZE) > 99)
    return [folder / "masks.json", store.file("a.png")]


def _read_mask_store(path: Path) -> None:
    from napari_cam_feedback.feedback import MaskStore

    store = MaskStore(path.parent)
    for key in store:
        _each(lambda key=key: store[key], lambda key=key: store.size(key), lambda key=key: store.info(key))
    store.put("c.png", np.ones(SIZE))


def _proposals(folder: Path) -> list[Path]:
    entry = {"kind": "place", "score": 0.5, "reason": "like", "donor": "a.png", "classifier": "x", "time": "2024"}
    content = {"schema_version": 1, "proposals": {"a.png": entry}, "accepted": {}, "rejected": {"b.png": entry}}
    (folder / "proposals.json").write_text(json.dumps(content))
    _images(folder, "open/a.png.png", "rejected/b.png.png")
    return [folder / "proposals.json", folder / "open" / "a.png.png"]


def _read_proposals(path: Path) -> None:
    from napari_cam_feedback.feedback.proposals.store import ProposalStore

    folder = path.parent.parent if path.suffix == ".png" else path.parent
    store = ProposalStore(folder)
    for key in store:
        _each(lambda key=key: store.mask(key), lambda key=key: store.about(key).author)


def _class_names(folder: Path) -> list[Path]:
    (folder / "n.txt").write_text("cat\ndog\n")
    (folder / "n.csv").write_text("index,name\n0,cat\n1,dog\n")
    (folder / "list.json").write_text('["cat", "dog"]')
    (folder / "by_number.json").write_text('{"0": ["n01", "cat"], "1": ["n02", "dog"]}')
    (folder / "by_name.json").write_text('{"classes": {"cat": 0, "dog": 1}}')
    return sorted(folder.iterdir())


def _read_class_names(path: Path) -> None:
    from napari_cam_feedback.models.files.class_names import read_class_names

    read_class_names(path)


def _project(folder: Path) -> list[Path]:
    version = {"id": "v001", "parent": None, "created": "2024-01-01T00:00:00+00:00", "origin": "opened", "settings": {}}
    content = {"schema_version": 1, "dataset": "data", "split_seed": 3, "current": "v001", "versions": [version]}
    (folder / "project.json").write_text(json.dumps(content))
    return [folder / "project.json"]


def _read_project(path: Path) -> None:
    from napari_cam_feedback.projects.versions import ProjectFolder

    folder = ProjectFolder(path.parent)
    assert folder.versions
    folder.version("v001")
    _ = folder.current, folder.available


def _run(folder: Path) -> list[Path]:
    from napari_cam_feedback.retuning import RetuneConfig

    (folder / "config.json").write_text(RetuneConfig().model_dump_json())
    content = {"selected_iteration": 3, "painted": ["a.png"], "verdict": {"name": "fixed", "reason": "good"}}
    (folder / "result.json").write_text(json.dumps(content))
    (folder / "painted.csv").write_text("iteration,key,probability\n0,a.png,0.5\n1,a.png,0.6\n")
    (folder / "model.safetensors").write_bytes(b"")
    return [folder / "config.json", folder / "result.json", folder / "painted.csv"]


def _read_run(path: Path) -> None:
    from napari_cam_feedback.cli.commands.retune import _retune_config
    from napari_cam_feedback.evaluation.report.painted_history import read_painted_history
    from napari_cam_feedback.projects.keeping import _read

    _each(
        lambda: _read(path.parent),
        lambda: read_painted_history(path.parent),
        lambda: _retune_config(path.parent / "config.json", [], None, None),
    )


def _settings(folder: Path) -> list[Path]:
    (folder / "e.toml").write_text(
        'title = "t"\ndata = "sample:symbols"\npainted = [5, 20]\nseeds = [0, 1]\nmethods = ["auto", {name = "b", method = '
        '"actdiff", settings = {iterations = 5}}]\n[training]\nepochs = 3\n'
    )
    recipe = {"arch": "small-gap", "training": {"epochs": 3, "augment": True}, "options": {"size": [32, 32]}}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return sorted(folder.iterdir())


def _read_settings(path: Path) -> None:
    from napari_cam_feedback.experiments.config import read_experiment
    from napari_cam_feedback.training.config import read_recipe

    read_experiment(path) if path.suffix == ".toml" else read_recipe(path)


def _features(folder: Path) -> list[Path]:
    from napari_cam_feedback.explanations.filters.store import write_arrays

    write_arrays(folder / "f.npz", {"a": _picture(3, 4), "b": _picture(3)}, {"layer": "x"})
    return [folder / "f.npz"]


def _read_features(path: Path) -> None:
    from napari_cam_feedback.explanations.filters.store import read_arrays

    read_arrays(path, ("a", "b"))


def _models(folder: Path) -> list[Path]:
    from napari_cam_feedback.models import build_classifier, save_classifier
    from napari_cam_feedback.torch_loader import torch

    preprocessing = Preprocessing(size=(16, 16), channels=1, mean=(0.5,), std=(0.5,))
    classifier = build_classifier("small-gap", ("cat", "dog"), preprocessing)
    save_classifier(classifier, folder / "ours.safetensors")
    state = classifier.module.state_dict()
    torch.save(state, folder / "weights.pt")
    torch.save({"epoch": 3, "state_dict": state}, folder / "old.pth", _use_new_zipfile_serialization=False)
    header = {"arch": "small-gap", "class_names": ["cat", "dog"], "preprocessing": preprocessing.model_dump(mode="json")}
    (folder / "weights.pt.json").write_text(json.dumps({**header, "target_layer": classifier.target_layer, "grid": None}))
    return [folder / name for name in ("ours.safetensors", "weights.pt", "old.pth", "weights.pt.json")]


def _read_model(path: Path) -> None:
    from napari_cam_feedback.models import load_classifier

    told = {"arch": "small-gap", "class_names": ("cat", "dog"), "size": (16, 16), "mean": (0.5,), "std": (0.5,)}
    if path.suffix == ".pth":
        load_classifier(path, device="cpu", **told)
    else:
        load_classifier(path.with_suffix("") if path.suffix == ".json" else path, device="cpu")


def _programs(folder: Path) -> list[Path]:
    from napari_cam_feedback.torch_loader import torch

    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    program = torch.export.export(network.eval(), (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, folder / "p.pt2")
    return [folder / "p.pt2"]


def _read_program(path: Path) -> None:
    from napari_cam_feedback.models.networks.exported import Archive

    archive = Archive(path)
    _each(archive.info, archive.check, archive.clean)


def _run_state(folder: Path) -> list[Path]:
    from napari_cam_feedback.torch_loader import torch

    torch.save({"schema_version": 2, "before": {}, "position": {}, "checkpoints": []}, folder / "state.pt")
    return [folder / "state.pt"]


def _read_run_state(path: Path) -> None:
    from napari_cam_feedback.retuning import load_run_state

    load_run_state(path)


def _styles(folder: Path) -> list[Path]:
    from napari_cam_feedback.retuning.images.colour_style import ColourStyle
    from napari_cam_feedback.retuning.images.shown_style import ShownStyle, features
    from napari_cam_feedback.retuning.images.spectra import BANDS
    from napari_cam_feedback.retuning.images.style_file import save_style
    from napari_cam_feedback.torch_loader import torch

    one, bands = (lambda: torch.ones(1)), (1, BANDS)
    weights = torch.zeros(features(torch.zeros(1, 1, 8, 8)).shape[1])
    size = torch.tensor([8, 8])
    last = (torch.ones(bands), torch.zeros(bands), weights, torch.tensor(0.5), torch.tensor(1.0), size)
    shown = ShownStyle(-one(), one(), torch.zeros(1), torch.zeros(1), torch.eye(1), *last)
    save_style(shown, folder / "shown.safetensors")
    save_style(ColourStyle(-one(), one(), torch.rand(3, 4, 1)), folder / "colours.safetensors")
    return sorted(folder.iterdir())


def _read_style(path: Path) -> None:
    from napari_cam_feedback.retuning.images.style_file import load_style

    load_style(path).check(1, (8, 8))


READERS = (
    Reader("png", _pngs, _read_picture, "png"),
    Reader("picture", _pictures, _read_picture),
    Reader("tiff", _tiffs, _read_picture),
    Reader("npz", _npz, _dataset, "zip"),
    Reader("npy", _npy, lambda path: _dataset(path.parent)),
    Reader("cifar", _cifar, lambda path: _dataset(path.parent)),
    Reader("csv", _csv, _dataset),
    Reader("stack", _stack, lambda path: _dataset(path.with_suffix(".tif"))),
    Reader("masks of others", _masks_of_others, _read_masks_of_others),
    Reader("masks in npz", _npz_of_masks, _read_masks_of_others, "zip"),
    Reader("mask store", _mask_store, _read_mask_store),
    Reader("proposals", _proposals, _read_proposals),
    Reader("class names", _class_names, _read_class_names),
    Reader("project", _project, _read_project),
    Reader("run", _run, _read_run),
    Reader("settings", _settings, _read_settings),
    Reader("features", _features, _read_features, "zip"),
    Reader("model", _models, _read_model),
    Reader("model in zip", lambda folder: _models(folder)[1:2], _read_model, "zip"),
    Reader("program", _programs, _read_program, "zip"),
    Reader("run state", _run_state, _read_run_state, "zip"),
    Reader("style", _styles, _read_style),
)
