"""Pictures of an image before and after, and the report of a comparison as a page, JSON and CSV."""

from __future__ import annotations

import errno
import io
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from core_builders import looking_classifier
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import DataError, StorageError
from napari_cam_feedback.evaluation import Picture, VersionComparison, compare_models, picture_versions, show, write_report
from napari_cam_feedback.models import Classifier

PATCH = np.zeros((8, 8), bool)
PATCH[:3, :3] = True
CHEAT, HONEST = looking_classifier(PATCH, 0.1), looking_classifier(~PATCH, 0.1)


def draw(before: Classifier, after: Classifier, dataset: ArrayDataset, index: int, mask: np.ndarray | None) -> Picture:
    return picture_versions({"before": before, "after": after}, dataset, index, mask)


def compared(dataset: ArrayDataset) -> VersionComparison:
    return compare_models({"before": CHEAT, "after": HONEST}, dataset)


@pytest.fixture
def dataset() -> ArrayDataset:
    """Even gray images of the class bright with a white patch in a corner, which is the mask."""
    images = np.full((2, 8, 8), 128, np.uint8)
    images[:, :3, :3] = 255
    return ArrayDataset({"test": images}, {"test": [1, -1]}, ("dark", "bright"), {"test": np.stack([PATCH] * 2)})


def test_a_picture_says_what_was_predicted_before_and_after(dataset):
    picture = draw(looking_classifier(PATCH, 0.9), HONEST, dataset, 0, PATCH)
    assert picture.key == "test/00000"
    assert re.fullmatch(
        r"test/00000: bright; predicted dark by before \(bright: 0\.\d\d\), bright by after \(bright: 0\.\d\d\)\. "
        r"Heatmaps of the class bright\.",
        picture.caption,
    )
    unknown = draw(CHEAT, HONEST, dataset, 1, None)
    assert unknown.caption.startswith("test/00001: unknown; predicted bright by before ")
    with Image.open(io.BytesIO(picture.png)) as image:
        assert image.format == "PNG"
        assert image.width > 3 * image.height  # four panels side by side


def test_a_picture_shows_the_mask_and_the_heatmaps(dataset):
    pictures = [
        draw(before, after, dataset, 0, mask).png
        for before, after, mask in ((CHEAT, HONEST, PATCH), (CHEAT, HONEST, None), (CHEAT, CHEAT, PATCH))
    ]
    pixels = [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int) for png in pictures]
    quarter = pixels[0].shape[1] // 4
    differs = [np.abs(pixels[0] - other).sum((0, 2)) for other in pixels[1:]]
    # Without the mask only the first panel changes; with another model after only its heatmap and the difference do.
    assert [differs[0][n * quarter : (n + 1) * quarter].any() for n in range(4)] == [True, False, False, False]
    assert [differs[1][n * quarter : (n + 1) * quarter].any() for n in range(4)] == [False, False, True, True]


def test_pictures_are_the_same_each_time(dataset):
    once, again = (draw(CHEAT, HONEST, dataset, 0, PATCH) for _ in range(2))
    assert once.png == again.png


def test_a_report_is_one_page_that_needs_no_other_file_and_the_same_numbers_as_json_and_csv(dataset, tmp_path):
    comparison = compared(dataset)
    pictures = [draw(CHEAT, HONEST, dataset, 0, PATCH)]
    page = write_report(
        tmp_path / "report", title="Tags", summary="fixed: it <helped> & more", comparison=comparison, pictures=pictures,
        facts={"data": "tag-digits", "seed": 0},
    )  # fmt: skip
    assert page == tmp_path / "report/report.html"
    text = page.read_text(encoding="utf-8")
    assert "it &lt;helped&gt; &amp; more" in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "data:image/png;base64," in text
    assert "tag-digits" in text
    # flip rate 1 before, 0 after, which is better
    assert re.search(r'flip rate.*?>1\.000<.*?>0\.000<.*?class="number better">-1\.000<', text)
    content = json.loads((tmp_path / "report/report.json").read_text(encoding="utf-8"))
    assert content["comparison"] == comparison.to_json()
    assert (content["title"], content["facts"]) == ("Tags", {"data": "tag-digits", "seed": 0})
    assert (tmp_path / "report/report.csv").read_text() == comparison.to_csv()
    assert (tmp_path / "report/pictures/test/00000.png").read_bytes() == pictures[0].png


def test_an_earlier_report_leaves_nothing_stale_in_its_folder_and_nothing_else_is_removed(dataset, tmp_path):
    folder, other = tmp_path / "report", tmp_path / "flips-mine.csv"
    comparison = compared(dataset)
    pictures = [draw(CHEAT, HONEST, dataset, index, PATCH) for index in (0, 1)]
    write_report(folder, title="t", summary="s", comparison=comparison, pictures=pictures)
    mine = [other, folder / "flips-mine.csv", folder / "pictures" / "mine.png", folder / "notes.txt"]
    for path in mine:
        path.write_text("mine")
    content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    stale = next(folder / name for name in content["files"] if name.startswith("flips-"))
    # Somebody's hand in the list does not reach out of the folder, nor to files of other kinds.
    content["files"] += ["../flips-mine.csv", str(other), "pictures/../flips-mine.csv", "notes.txt", 3]
    (folder / "report.json").write_text(json.dumps(content), encoding="utf-8")
    renamed = replace(comparison, names=(comparison.names[0], "another"))
    write_report(folder, title="t", summary="s", comparison=renamed, pictures=pictures[1:])
    assert not stale.exists()
    assert (folder / "flips-another.csv").is_file()
    assert not (folder / "pictures/test/00000.png").exists()
    assert (folder / "pictures/test/00001.png").is_file()
    assert [path.read_text() for path in mine] == ["mine"] * 4
    write_report(folder, title="t", summary="s", comparison=renamed)
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == ["mine.png"]


def test_a_measure_is_written_for_people():
    assert show(0.12345) == "0.123"
    assert show(0.5, signed=True) == "+0.500"
    assert show(-0.5, signed=True) == "-0.500"
    assert show(None) == show(None, signed=True) == "–"


def test_a_report_that_cannot_be_written_gives_a_sentence(dataset, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match=r"Could not write .*: the disk is full; free some space"):
        write_report(tmp_path, title="t", summary="s", comparison=compared(dataset))
    assert list(tmp_path.iterdir()) == []


def test_a_broken_image_gives_a_sentence(dataset, monkeypatch):
    def broken(self, index: int) -> np.ndarray:
        raise DataError(f"{self.keys[index]} is broken; restore or remove it.")

    monkeypatch.setattr(ArrayDataset, "read", broken)
    with pytest.raises(DataError, match="test/00000 is broken"):
        draw(CHEAT, HONEST, dataset, 0, PATCH)
