"""The commands with every kind of dataset: what is written, what is said, what is left out and what is refused."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from core_builders import stripes, without_look
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.models import build_classifier, load_classifier, save_classifier

NAMES = ("across", "along")
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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of ours for the stripes, with random weights."""
    file = tmp_path_factory.mktemp("model") / "m.safetensors"
    plain = Preprocessing(size=(16, 16), channels=1, mean=(0.5,), std=(0.25,))
    save_classifier(build_classifier("small-gap", NAMES, plain), file)
    return file


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    """Run a command that must succeed; return what it said on stdout and on stderr."""
    capsys.readouterr()
    status = main([str(a) for a in arguments])
    said = capsys.readouterr()
    assert status == 0, said.err
    return said.out, said.err


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must end with status 2 and one line on stderr; return that line."""
    capsys.readouterr()
    status = main([str(a) for a in arguments])
    said = capsys.readouterr()
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, lines
    assert status == 2
    assert lines[0].startswith("napari-cam-feedback: ")
    return lines[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_trained_on_a_dataset_of_any_kind_and_then_measured_by_it(kind, tmp_path, capsys):
    data, file = kind(tmp_path / "data"), tmp_path / "m.safetensors"
    drawn = kind in (class_folders, npy_per_class)
    counts = {"train": 20, "test": 10} if kind is cifar else None if drawn else COUNTS
    total = 30 if kind is cifar else 24
    names = CIFAR if kind is cifar else NAMES

    out, err = run(capsys, "train", data, "--epochs", "1", "--batch-size", "8", "--seed", "4", "--out", file)
    assert out.splitlines()[-1] == f"Saved {file} (epoch 1 of 1)."
    said = "The dataset has no splits; a split into train, val, test was drawn with seed 4."
    assert (said in out) == drawn
    assert err.strip() == ""
    assert load_classifier(file).class_names == names

    out, err = run(capsys, "evaluate", file, data, "--json", tmp_path / "e.json")
    assert not without_look(err)
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["skipped"] == {}
    found = {name: split["n"] for name, split in result["splits"].items()}
    assert found == counts if counts else set(found) == {"train", "val", "test"}
    assert sum(found.values()) == total

    out, _ = run(capsys, "predict", file, data, "--out", tmp_path / "p.csv")
    assert out.startswith(f"{total} predictions in {tmp_path / 'p.csv'}, accuracy ")
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert len({row["key"] for row in rows}) == total
    assert {row["label"] for row in rows} == set(names)

    out, _ = run(capsys, "explain", file, data, "--out", tmp_path / "maps")
    maps = {path.relative_to(tmp_path / "maps").as_posix() for path in (tmp_path / "maps").rglob("*") if path.is_file()}
    assert maps == {f"{row['key']}.tif" for row in rows if row["split"] == "test"}
    side = 32 if kind is cifar else 16
    assert {tifffile.imread(tmp_path / "maps" / name).shape for name in maps} == {(side, side)}


def test_every_kind_holds_the_same_pixels_and_labels(model, tmp_path, capsys):
    """Whatever the form, an image is predicted alike."""
    found = {}
    for kind in KINDS:
        if kind is cifar:
            continue
        folder = tmp_path / kind.__name__
        run(capsys, "predict", model, kind(folder), "--out", folder / "p.csv")
        rows = csv.DictReader((folder / "p.csv").open())
        found[kind.__name__] = sorted((row["p_along"], row["label"]) for row in rows)
    first = found.pop("split_folders")
    for name, rows in found.items():
        assert rows == first, name


def test_a_seed_draws_the_split_of_a_dataset_without_one_and_is_said(tmp_path, capsys, model):
    data = class_folders(tmp_path / "data")
    _, err = run(capsys, "predict", model, data, "--split", "test", "--seed", "5", "--out", tmp_path / "p.csv")
    assert without_look(err) == ["Assumed, since it was not said: a split drawn with seed 5 (else --seed)."]


@pytest.mark.parametrize("kind", [split_folders, npz])
def test_a_retune_takes_the_masks_that_the_dataset_brings(kind, model, tmp_path, capsys):
    data = kind(tmp_path / "data")
    settings = ["--set", "iterations=2", "--set", "batch_size=4", "--set", "check_every=2", "--method", "actdiff"]
    settings += ["--set", "pasa_base=2"]
    out, said = run(capsys, "retune", model, data, "--out", tmp_path / "run", "--json", tmp_path / "r.json", *settings)
    assert f"Run: {tmp_path / 'run'}" in out
    assert "The method actdiff does not use pasa_base." in said.splitlines()
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["skipped"] == {}
    assert result["comparison"]["rows"]
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"model.safetensors", "config.json", "result.json"}


# --- files that cannot be read ---------------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Path, list[str]]:
    """Class folders with splits in which seven images cannot be read, and their keys."""
    root = split_folders(tmp_path / "data")
    keys = [f"train/across/{n:02}.png" for n in (0, 2, 4)] + ["train/along/01.png", "val/across/00.png"]
    keys += ["test/across/00.png", "test/along/01.png"]
    for number, key in enumerate(keys):
        content = (root / key).read_bytes()
        (root / key).write_bytes([b"", b"no image", content[:50], content[: len(content) // 2]][number % 4])
    return root, keys


def check_said_once(err: str, keys: list[str]) -> None:
    lines = [line for line in err.splitlines() if line.startswith("left out: ")]
    assert len(lines) == min(len(keys), 6)
    for line in lines[:5]:
        key = line.removeprefix("left out: ").split(":")[0]
        assert key in keys
        assert Path(key).name in line.partition(key)[2], "the sentence names the file"
    more = len(keys) - 5
    assert more <= 0 or lines[5] == f"left out: {more} more {'image' if more == 1 else 'images'} that cannot be read"


def test_predict_leaves_out_what_cannot_be_read_and_says_so_once(broken, model, tmp_path, capsys):
    data, keys = broken
    out, err = run(capsys, "predict", model, data, "--out", tmp_path / "p.csv", "--json", tmp_path / "p.json")
    check_said_once(err, keys)
    assert out.startswith("17 predictions")
    said = json.loads((tmp_path / "p.json").read_text())
    assert sorted(said["skipped"]) == sorted(keys)
    assert said["n"] == 17
    assert all(sentence.endswith(".") for sentence in said["skipped"].values())
    assert not {row["key"] for row in csv.DictReader((tmp_path / "p.csv").open())} & set(keys)


def test_explain_leaves_out_what_cannot_be_read_and_says_so_once(broken, model, tmp_path, capsys):
    data, keys = broken
    command = ["explain", model, data, "--json", tmp_path / "x.json", "--out", tmp_path / "maps"]
    out, err = run(capsys, *command)
    check_said_once(err, keys[5:])
    assert out.startswith("4 maps")
    assert sorted(json.loads((tmp_path / "x.json").read_text())["skipped"]) == sorted(keys[5:])
    assert len(list((tmp_path / "maps").rglob("*.tif"))) == 4


def test_evaluate_leaves_out_what_cannot_be_read_and_says_so_once(broken, model, tmp_path, capsys):
    data, keys = broken
    _, err = run(capsys, "evaluate", model, data, "--json", tmp_path / "e.json")
    check_said_once(err, keys)
    said = json.loads((tmp_path / "e.json").read_text())
    assert sorted(said["skipped"]) == sorted(keys)
    assert {name: split["n"] for name, split in said["splits"].items()} == {"train": 8, "val": 5, "test": 4}


def test_retune_leaves_out_what_cannot_be_read_and_says_so_once(broken, model, tmp_path, capsys):
    data, keys = broken
    settings = ["--set", "iterations=2", "--set", "batch_size=4", "--set", "check_every=2", "--method", "actdiff"]
    _, err = run(capsys, "retune", model, data, "--out", tmp_path / "run", "--json", tmp_path / "r.json", *settings)
    check_said_once(err, keys)
    said = json.loads((tmp_path / "r.json").read_text())
    assert sorted(said["skipped"]) == sorted(keys)
    assert not set(said["painted"]) & set(keys)
    assert sorted(json.loads((tmp_path / "run" / "result.json").read_text())["comparison"]["before"]["skipped"]) == sorted(
        keys
    )


def test_train_leaves_out_what_cannot_be_read_and_says_so_once(broken, tmp_path, capsys):
    data, keys = broken
    file = tmp_path / "m.safetensors"
    _, err = run(capsys, "train", data, "--epochs", "2", "--out", file, "--json", tmp_path / "t.json", "--batch-size", "4")
    # A training looks at the splits train and val.
    check_said_once(err, keys[:5])
    assert sorted(json.loads((tmp_path / "t.json").read_text())["skipped"]) == sorted(keys[:5])
    assert file.is_file()


def test_images_of_another_value_range_are_trained_on_once_that_is_said(tmp_path, capsys):
    data, file = tmp_path / "data", tmp_path / "m.safetensors"
    for split, (images, labels, _) in arrays().items():
        for n, (image, label) in enumerate(zip(images, labels, strict=True)):
            (data / split / NAMES[label]).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(data / split / NAMES[label] / f"{n:02}.tif", image.astype(np.float32) * 40)
    command = ["train", data, "--epochs", "1", "--batch-size", "8", "--out", file]
    assert "the value range" in fails(capsys, *command)
    run(capsys, *command, "--value-range", "0", "10000")
    found = load_classifier(file).preprocessing
    assert found.value_range == (0, 10000)
    assert 0.2 < found.mean[0] < 0.7
    out, err = run(capsys, "predict", file, data, "--out", tmp_path / "p.csv")
    assert out.startswith("24 predictions")
    assert not without_look(err)


def test_a_stack_without_a_list_is_predicted_without_labels(model, tmp_path, capsys):
    data = tiff_stack(tmp_path / "data")
    data.with_suffix(".csv").unlink()
    out, _ = run(capsys, "predict", model, data, "--out", tmp_path / "p.csv")
    assert out == f"24 predictions in {tmp_path / 'p.csv'}.\n"


def test_a_dataset_of_which_nothing_can_be_read_is_refused_by_the_first_reason(model, tmp_path, capsys):
    data = split_folders(tmp_path / "data")
    for path in data.glob("t*/*/*.png"):
        path.write_bytes(b"no image")
    line = fails(capsys, "predict", model, data, "--split", "test", "--out", tmp_path / "p.csv")
    assert "None of the images could be read: " in line
    assert "00.png" in line
    line = fails(capsys, "explain", model, data, "--out", tmp_path / "maps")
    assert "00.png" in line
    line = fails(capsys, "train", data, "--out", tmp_path / "m.safetensors")
    assert ".png" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_split_without_labels_is_predicted_and_does_not_stop_the_others_from_being_measured(model, tmp_path, capsys):
    data = split_folders(tmp_path / "data")
    for path in [*(data / "test").glob("*/*.png")]:
        path.rename(data / "test" / f"{path.parent.name}_{path.name}")
    for name in NAMES:
        (data / "test" / name).rmdir()
    run(capsys, "evaluate", model, data, "--json", tmp_path / "e.json")
    assert set(json.loads((tmp_path / "e.json").read_text())["splits"]) == {"train", "val"}
    run(capsys, "predict", model, data, "--split", "test", "--out", tmp_path / "p.csv")
    assert [row["label"] for row in csv.DictReader((tmp_path / "p.csv").open())] == [""] * 6
    settings = ["--set", "iterations=1", "--set", "batch_size=4", "--method", "actdiff"]
    run(capsys, "retune", model, data, "--out", tmp_path / "run", *settings)
    line = fails(capsys, "evaluate", model, data, "--split", "test")
    assert line.endswith("Nothing can be measured on the split test: its images have no labels.")


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
    line = fails(capsys, "explain", model, data, "--out", maps)
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
    line = fails(capsys, "predict", model, data, "--out", "p.csv")
    assert said in line
    assert line.endswith(".")
    assert not (tmp_path / "p.csv").exists()
    assert not (tmp_path / "evil").exists()
