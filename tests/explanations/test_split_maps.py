"""Maps of whole splits as files: what is in them, that none is ever half of one, and that memory stays bounded."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from core_builders import plain, small_disk, small_gap, stop_after
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import ConfigError, DataError, ModelError, StorageError
from napari_cam_feedback.explanations import METHODS, ItemMap, explain, explain_item
from napari_cam_feedback.explanations.maps.split import iterate_maps
from napari_cam_feedback.explanations.maps.writing import write_maps
from napari_cam_feedback.models import build_classifier, save_classifier

NAMES = ("a", "b", "c")


class SomeBroken(ArrayDataset):
    """A dataset whose items with the label 1 cannot be read."""

    def read(self, index: int) -> np.ndarray:
        if self.labels[index] == 1:
            raise DataError(f"{self.keys[index]} is broken; restore or remove it.")
        return super().read(index)


def dataset(truth: list[int], size: int = 16) -> SomeBroken:
    images = np.random.default_rng(0).integers(0, 255, (len(truth), size, size), dtype=np.uint8)
    return SomeBroken({"test": images}, {"test": truth}, NAMES)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("method", ["cam", "gradcam"])
def test_one_class_gives_the_file_of_the_contract(tmp_path, method):
    classifier, data = small_gap(), dataset([0, 2, 0, 2, 0])
    seen: list[tuple[int, int]] = []
    found = write_maps(
        classifier, data, tmp_path / "new" / "maps.npz", method=method, target="true", batch_size=2,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert (found.path, found.n, found.total, found.stopped, found.skipped) == (
        tmp_path / "new" / "maps.npz", 5, 5, False, {},
    )  # fmt: skip
    assert seen == [(2, 5), (4, 5), (5, 5)]
    with np.load(found.path, allow_pickle=False) as file:
        assert sorted(file.files) == ["keys", "maps", "targets"]
        assert (file["maps"].dtype, file["maps"].shape) == (np.float32, (5, 16, 16))
        assert file["targets"].dtype == np.int64
        assert file["targets"].tolist() == [0, 2, 0, 2, 0]
        assert file["keys"].tolist() == list(data.keys)
        for n in range(5):
            one = explain_item(classifier, data, n, target="true", method=method)
            np.testing.assert_allclose(file["maps"][n], one.map, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("target", "expected"), [("all", [0, 1, 2]), (["c", "a"], [2, 0]), ([1], [1])])
@pytest.mark.parametrize("method", ["cam", "gradcam", "scorecam"])
def test_several_classes_give_a_map_of_each_for_every_image(tmp_path, method, target, expected):
    classifier, data = small_gap(), dataset([0, 2, 0])
    found = write_maps(classifier, data, tmp_path / "maps.npz", method=method, target=target)
    write_maps(classifier, data, tmp_path / "maps", method=method, target=target)
    with np.load(found.path, allow_pickle=False) as file:
        assert file["maps"].shape == (3, len(expected), 16, 16)
        assert file["targets"].tolist() == expected
        for n in range(3):
            for place, number in enumerate(expected):
                one = explain_item(classifier, data, n, target=number, method=method)
                np.testing.assert_allclose(file["maps"][n, place], one.map, rtol=1e-4, atol=1e-6)
            with tifffile.TiffFile(tmp_path / "maps" / f"{data.keys[n]}.tif") as tiff:
                assert len(tiff.pages) == len(expected)
                assert np.array_equal(tiff.asarray().reshape(file["maps"][n].shape), file["maps"][n])
                assert tiff.shaped_metadata[0]["classes"] == [NAMES[number] for number in expected]
                assert tiff.shaped_metadata[0]["method"] == method
    held = explain(classifier, data, method=method, target=target)
    assert held.targets == expected
    assert held.maps[0].shape == (len(expected), 16, 16)


def test_a_folder_gets_one_plain_tiff_an_image(tmp_path):
    classifier, data = small_gap(), dataset([0, 2])
    found = write_maps(classifier, data, tmp_path / "maps")
    assert files(tmp_path) == ["maps/test/00000.tif", "maps/test/00001.tif"]
    held = explain(classifier, data)
    for key, signed in zip(held.keys, held.maps, strict=True):
        assert np.array_equal(tifffile.imread(found.path / f"{key}.tif"), signed)


def test_maps_held_in_memory_are_of_the_layer_s_size_and_read_in_the_image_s(tmp_path):
    classifier = build_classifier("small-gap", NAMES, plain(16, 16))
    held = explain(classifier, dataset([0, 2], size=96))
    assert [item.raw.shape for item in held.items] == [(1, 4, 4)] * 2
    assert [m.shape for m in held.maps] == [(96, 96)] * 2
    assert np.stack(held.maps).dtype == np.float32
    assert np.array_equal(held.maps[-1], held.maps[1])
    assert len(held.maps[:1]) == 1
    held.save_npz(tmp_path / "held.npz")
    write_maps(classifier, dataset([0, 2], size=96), tmp_path / "written.npz")
    with np.load(tmp_path / "held.npz") as one, np.load(tmp_path / "written.npz") as other:
        assert all(np.array_equal(one[name], other[name]) for name in ("maps", "keys", "targets"))


def test_images_that_cannot_be_read_leave_no_gap(tmp_path):
    found = write_maps(small_gap(), dataset([0, 1, 2, 1, 0]), tmp_path / "maps.npz", batch_size=2)
    assert (found.n, found.total) == (3, 5)
    assert found.skipped == {
        "test/00001": "test/00001 is broken; restore or remove it.",
        "test/00003": "test/00003 is broken; restore or remove it.",
    }
    with np.load(found.path, allow_pickle=False) as file:
        assert file["keys"].tolist() == ["test/00000", "test/00002", "test/00004"]
        assert file["maps"].shape == (3, 16, 16)
        assert np.array_equal(file["maps"], np.stack(explain(small_gap(), dataset([0, 1, 2, 1, 0]), batch_size=2).maps))
    assert zipfile.ZipFile(found.path).testzip() is None
    assert files(tmp_path) == ["maps.npz"]


@pytest.mark.parametrize("name", ["maps.npz", "maps"])
def test_what_cannot_work_is_said_before_anything_is_written(tmp_path, name):
    def write(data=None, names=NAMES, **more):
        write_maps(small_gap(names), data or dataset([0]), tmp_path / "new" / name, **more)

    with pytest.raises(DataError, match=r"No image of the split test could be read: test/00000 is broken; restore"):
        write(dataset([1, 1]))
    with pytest.raises(DataError, match=r'no split "tset", only test; did you mean "test"'):
        write(split="tset")
    with pytest.raises(ModelError, match="The model knows 2 classes"):
        write(names=("a", "b"))
    with pytest.raises(ConfigError, match="no class 'd'"):
        write(target=["a", "d"])
    with pytest.raises(ConfigError, match="did you mean gradcam"):
        write(method="gradcan")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("before", [None, b"the old maps"])
def test_stopping_an_npz_leaves_what_was_there_before(tmp_path, before):
    file = tmp_path / "maps.npz"
    if before is not None:
        file.write_bytes(before)
    found = write_maps(small_gap(), dataset([0] * 9), file, batch_size=2, stop=stop_after(40))
    assert (found.stopped, found.n, found.total) == (True, 0, 9)
    assert files(tmp_path) == ([] if before is None else ["maps.npz"])
    assert before is None or file.read_bytes() == before


def test_stopping_a_folder_leaves_whole_files_of_what_was_reached(tmp_path):
    data = dataset([0] * 9)
    found = write_maps(small_gap(), data, tmp_path, batch_size=2, stop=stop_after(40))
    assert found.stopped
    assert 0 < found.n < 9
    assert files(tmp_path) == [f"{key}.tif" for key in data.keys[: found.n]]
    expected = explain(small_gap(), data, batch_size=2)
    assert all(np.array_equal(tifffile.imread(tmp_path / f"{data.keys[n]}.tif"), expected.maps[n]) for n in range(found.n))


@pytest.mark.parametrize("name", ["maps.npz", "maps"])
def test_a_full_disk_is_told_of_and_leaves_whole_files_only(tmp_path, name):
    with small_disk(30_000), pytest.raises(StorageError, match="Could not write"):
        write_maps(small_gap(), dataset([0] * 9, size=100), tmp_path / name)
    assert files(tmp_path) == []


def test_the_shell_takes_all_classes_and_several(tmp_path, capsys):
    model, data = tmp_path / "m.safetensors", tmp_path / "data.npz"
    save_classifier(small_gap(), model)
    np.savez(data, x_test=np.zeros((3, 16, 16), np.uint8), y_test=np.zeros(3, np.int64), classes=np.array(NAMES))
    for options, expected in ((["all"], [0, 1, 2]), (["c", "--target", "a"], [2, 0])):
        file = tmp_path / "maps.npz"
        arguments = ["explain", model, data, "--device", "cpu", "--out", file, "--target", *options]
        assert main([str(argument) for argument in arguments]) == 0
        assert capsys.readouterr().out == f"3 maps in {file}.\n"
        with np.load(file, allow_pickle=False) as found:
            assert found["maps"].shape == (3, len(expected), 16, 16)
            assert found["targets"].tolist() == expected


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way on Windows")
def test_ctrl_c_leaves_nothing_half_written(tmp_path):
    model, data = tmp_path / "m.safetensors", tmp_path / "data.npz"
    save_classifier(small_gap(), model)
    images = np.zeros((4000, 16, 16), np.uint8)
    np.savez(data, x_test=images, y_test=np.zeros(4000, np.int64), classes=np.array(NAMES))
    out = tmp_path / "out"
    code = (
        "import os, signal, sys\n"
        # Where the tests run in the background of a shell, it has switched Ctrl-C off.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from napari_cam_feedback.cli import main\n"
        "from napari_cam_feedback.explanations.maps import split\n"
        "real = split.ItemMap.blocks\n"
        "def blocks(item):\n"
        "    if item.index == 200:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(item)\n"
        "split.ItemMap.blocks = blocks\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", code, "explain", model, data, "--device", "cpu", "--out", out / "maps.npz"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 130, done.stderr
    assert files(out) == []


def test_an_item_of_another_size_fits_a_folder_only(tmp_path):
    class TwoSizes(ArrayDataset):
        def read(self, index: int) -> np.ndarray:
            return super().read(index)[: 16 - 2 * (index == 2)]

        def image_size(self, index: int) -> tuple[int, int]:
            return 16 - 2 * (index == 2), 16

    data = TwoSizes({"test": np.zeros((3, 16, 16), np.uint8)}, None, NAMES)
    with pytest.raises(DataError) as caught:
        write_maps(small_gap(), data, tmp_path / "maps.npz")
    assert str(caught.value) == (
        "The images are of different sizes, so their maps do not fit one array; "
        "write them into a folder, a TIFF for each image."
    )
    assert files(tmp_path) == []
    assert write_maps(small_gap(), data, tmp_path / "maps").n == 3
    assert tifffile.imread(tmp_path / "maps" / "test" / "00002.tif").shape == (14, 16)


class Many(ArrayDataset):
    """As many images as asked for, all the same one, which takes no memory of its own."""

    def __init__(self, count: int, size: int) -> None:
        image = np.random.default_rng(0).integers(0, 255, (size, size), dtype=np.uint8)
        super().__init__({"test": np.broadcast_to(image, (count, size, size))}, None, NAMES)


@pytest.mark.parametrize("target", ["predicted", "all"])
def test_memory_does_not_grow_with_the_number_of_images(tmp_path, target):
    count, size = (1200, 128) if target == "predicted" else (400, 128)
    maps = count * size * size * 4 * (3 if target == "all" else 1)
    at, held = {}, []
    others = sum(type(o) is ItemMap for o in gc.get_objects())

    def note(done: int, total: int) -> None:
        at[done] = psutil.Process().memory_info().rss
        if done % 160 == 0:
            held.append(sum(type(o) is ItemMap for o in gc.get_objects()))

    found = write_maps(small_gap(), Many(count, size), tmp_path / "maps.npz", target=target, batch_size=16, progress=note)
    assert found.path.stat().st_size > maps > 75e6
    # Of a batch and the one before it.
    assert max(held) - others <= 2 * 16
    assert at[count] - at[count // 10 // 16 * 16] < maps / 8


@pytest.mark.parametrize("method", [name for name in METHODS if not METHODS[name].slow])
def test_a_batch_has_fewer_images_where_each_has_many_maps(method):
    names = tuple(f"class {n}" for n in range(100))
    data = ArrayDataset({"test": np.zeros((20, 16, 16), np.uint8)}, None, names)
    batches = iterate_maps(small_gap(names), data, data.indices("test"), method=method, target="all")
    assert [len(batch) for batch in batches] == [6, 6, 6, 2]
