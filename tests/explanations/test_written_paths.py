"""Maps are written into the folder that the user named, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from core_builders import plain
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.explanations import ItemMap
from napari_cam_feedback.explanations.maps.files import tiff_folder


def maps(*keys: str) -> list[ItemMap]:
    values = [np.full((1, 2, 3), n, np.float32) for n in range(len(keys))]
    return [ItemMap(n, key, np.array([0]), ("a",), "cam", values[n], (2, 3), plain(2, 3)) for n, key in enumerate(keys)]


def write(items: list[ItemMap], folder: Path) -> None:
    with tiff_folder(folder, [item.key for item in items]) as add:
        for item in items:
            add(item)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_key_with_slashes_becomes_a_file_in_folders(tmp_path):
    write(maps("test/cat/1.png", "test/cat/stack.tif/0003", "ä b.npy"), tmp_path / "out")
    assert files(tmp_path) == ["out/test/cat/1.png.tif", "out/test/cat/stack.tif/0003.tif", "out/ä b.npy.tif"]
    assert tifffile.imread(tmp_path / "out/test/cat/stack.tif/0003.tif").tolist() == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize(
    "key",
    ["../x.png", "a/../../x.png", "..\\x.png", "a\\..\\..\\x.png", "/x.png", "\\x.png", "C:\\x.png", "C:x.png", "", "a\0b"],
)
def test_a_key_that_leads_out_is_refused_and_nothing_is_written(key, tmp_path):
    with pytest.raises(DataError) as caught:
        write(maps("test/1.png", key), tmp_path / "in" / "out")
    assert str(caught.value).startswith(f"The map of {key!r} would be written outside")
    assert str(caught.value).endswith("rename that image in the dataset.")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("linked", ["test", "test/cat"])
def test_a_link_in_the_folder_that_leads_out_of_it_is_not_followed(linked, tmp_path):
    other, out = tmp_path / "other", tmp_path / "out"
    other.mkdir()
    (out / linked).parent.mkdir(parents=True)
    (out / linked).symlink_to(other, target_is_directory=True)
    with pytest.raises(DataError) as caught:
        write(maps("first.png", "test/cat/1.png"), out)
    assert str(caught.value) == (
        f"{out / 'test' / 'cat'} leads out of {out} by a link; remove the link or choose another folder."
    )
    assert files(tmp_path) == []


def test_a_link_in_place_of_a_map_is_replaced_and_what_it_pointed_to_stays(tmp_path):
    precious, out = tmp_path / "precious.tif", tmp_path / "out"
    precious.write_bytes(b"mine")
    out.mkdir()
    (out / "1.png.tif").symlink_to(precious)
    write(maps("1.png"), out)
    assert precious.read_bytes() == b"mine"
    assert tifffile.imread(out / "1.png.tif").shape == (2, 3)


def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real", target_is_directory=True)
    write(maps("a/1.png"), tmp_path / "out")
    assert files(tmp_path / "real") == ["a/1.png.tif"]
