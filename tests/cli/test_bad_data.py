"""What is no dataset, and images behind links that lead out, in the shell."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli_runs import NAMES, complaint, run, small_gap
from dataset_kinds import cifar, npy_per_class, split_folders, tiff_stack
from napari_cam_feedback.models import save_classifier


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of ours for the stripes, with random weights."""
    file = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_classifier(small_gap(), file)
    return file


# --- links and paths that lead out -----------------------------------------------------------------------------------


def test_an_image_behind_a_link_that_leads_out_is_left_out_and_named(model, tmp_path, capsys):
    data, outside = split_folders(tmp_path / "data"), tmp_path / "secret.png"
    shutil.copy(data / "test" / "across" / "00.png", outside)
    (data / "test" / "across" / "link.png").symlink_to(outside)
    out, err = run(capsys, "predict", model, data, "--split", "test", "--out", tmp_path / "p.csv")
    assert out.startswith("6 predictions")
    assert err.count("left out: test/across/link.png: ") == 1
    assert "outside" in err


def test_maps_are_not_written_through_a_link_that_leads_out(model, tmp_path, capsys):
    data, other, maps = split_folders(tmp_path / "data"), tmp_path / "other", tmp_path / "maps"
    other.mkdir()
    maps.mkdir()
    (maps / "test").symlink_to(other, target_is_directory=True)
    line = complaint(capsys, "explain", model, data, "--out", maps)
    assert line.endswith("remove the link or choose another folder.")
    assert not list(other.iterdir())


# --- what is no dataset ----------------------------------------------------------------------------------------------


def bad_csv(text: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        split_folders(root)
        (root / "list.csv").write_text(text)
        return root / "list.csv"

    return make


def file_of(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        (root / name).write_bytes(content)
        return root / name

    return make


def bad_npz(**values: np.ndarray) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        np.savez(root / "d.npz", **values)
        return root / "d.npz"

    return make


def cut_npy(root: Path) -> Path:
    npy_per_class(root)
    content = (root / "along.npy").read_bytes()
    (root / "along.npy").write_bytes(content[: len(content) // 2])
    return root


def pickled_npy(root: Path) -> Path:
    npy_per_class(root)
    np.save(root / "along.npy", np.array([{}, []], object), allow_pickle=True)
    return root


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("evil", "w")


def evil_cifar(root: Path) -> Path:
    folder = cifar(root)
    meta = {b"label_names": [name.encode() for name in NAMES]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    (folder / "data_batch_1").write_bytes(pickle.dumps({b"data": _Evil(), b"labels": [0]}, protocol=2))
    return folder


def stack_with_a_page_too_many(root: Path) -> Path:
    tiff_stack(root)
    (root / "stack.csv").write_text("page,label\n0,across\n24,along\n")
    return root / "stack.tif"


def empty_classes(root: Path) -> Path:
    for name in NAMES:
        (root / name).mkdir()
    return root


def other_classes(root: Path) -> Path:
    split_folders(root)
    (root / "test" / "along").rename(root / "test" / "askew")
    return root


BAD = {
    "nowhere": (lambda root: root / "nowhere", "nowhere does not exist; check the path."),
    "empty folder": (lambda root: root, "has no class folders"),
    "no images": (empty_classes, "put the images of each class into a folder named after the class."),
    "unknown file": (file_of("data.xlsx", b"x"), "choose a folder"),
    "other classes": (other_classes, 'has the class "askew", which is no class of the model'),
    "CSV without path": (bad_csv("picture,label\na,b\n"), 'has no column "path"'),
    "CSV that is empty": (bad_csv("path,label\n"), "lists no images; add a line for each."),
    "CSV that leads out": (bad_csv("path,label\n../secret.png,along\n"), "leaves the CSV's folder"),
    "CSV of files not there": (bad_csv("path,label\nx.png,along\n"), "is not there"),
    "CSV in another encoding": (file_of("list.csv", b"path,label\n\xff\xfe,a\n"), "UTF-8"),
    "npz that is broken": (file_of("d.npz", b"PK\x03\x04"), "d.npz"),
    "npz without images": (bad_npz(a=np.zeros(3)), "x_"),
    "npz of another length": (
        bad_npz(x_test=np.zeros((3, 16, 16), np.uint8), y_test=np.zeros(2, int)),
        "give one label for each image.",
    ),
    "npz of objects": (bad_npz(x_test=np.array([{}, []], object), y_test=np.zeros(2, int)), "d.npz"),
    "npy cut short": (cut_npy, "along.npy"),
    "npy of objects": (pickled_npy, "along.npy"),
    "CIFAR-10 that would run code": (evil_cifar, "data_batch_1"),
    "stack with a page too many": (stack_with_a_page_too_many, "24"),
    "stack that is broken": (file_of("stack.tif", b"II*\0"), "stack.tif"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_dataset_is_one_line_with_its_remedy(case, model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, said = BAD[case]
    (tmp_path / "data").mkdir()
    data = make(tmp_path / "data")
    line = complaint(capsys, "predict", model, data, "--out", "p.csv")
    assert said in line
    assert line.endswith(".")
    assert not (tmp_path / "p.csv").exists()
    assert not (tmp_path / "evil").exists()
