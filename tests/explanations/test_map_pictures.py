"""Maps for reading: pictures of the images with the maps over them, and the table."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from core_builders import small_gap, stop_after
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import ConfigError, DataError
from napari_cam_feedback.explanations import explain_item
from napari_cam_feedback.explanations.maps.pictures import picture
from napari_cam_feedback.explanations.maps.writing import write_maps
from napari_cam_feedback.models import save_classifier

NAMES = ("a", "b", "c")


def dataset(truth: list[int], size: int = 16) -> ArrayDataset:
    images = np.random.default_rng(0).integers(0, 255, (len(truth), size, size), dtype=np.uint8)
    return ArrayDataset({"test": images}, {"test": truth}, NAMES)


def panels(drawn: Image.Image, side: int) -> list[np.ndarray]:
    """The parts of a picture of square panels in one row, without their titles."""
    pixels = np.asarray(drawn)
    return [pixels[21 : 21 + side, left : left + side].astype(int) for left in range(6, pixels.shape[1] - side, side + 6)]


def test_the_image_stays_as_it_is_where_nothing_speaks_for_the_class():
    image = np.full((160, 160), 100, np.uint8)
    signed = np.full((160, 160), -1.0, np.float32)
    signed[:80, :80] = 5
    half = signed / 2
    first, second, third = panels(picture(image, np.stack([signed, half]), ["a", "b"]), 160)
    assert (first == 100).all()
    assert (second[90:, 90:] == 100).all()
    # The strongest evidence is red, and half of it, on the same scale, is not.
    red, green, blue = second[20, 20]
    assert red > green
    assert red > blue
    assert third[20, 20, 1] > third[20, 20, 0]


def test_a_map_without_evidence_is_told_of_in_words():
    image = np.full((160, 160, 3), 100, np.uint8)
    nothing = -np.ones((1, 160, 160), np.float32)
    without = np.asarray(picture(image, nothing, ["a"]))
    line = without[166:181, 172:332].astype(int)
    assert len(np.unique(line)) > 2  # letters
    assert (panels(Image.fromarray(without), 160)[1][:140] == 100).all()


def test_small_images_are_enlarged_large_ones_made_small_and_many_classes_wrapped():
    def size(side: int, classes: int) -> tuple[int, int]:
        return picture(np.zeros((side, side), np.uint8), np.zeros((classes, side, side), np.float32), ["x"] * classes).size

    assert size(16, 1) == (2 * 166 + 6, 160 + 21 + 6)
    assert size(1000, 1) == (2 * 518 + 6, 512 + 21 + 6)
    assert size(16, 9) == (4 * 166 + 6, 3 * 181 + 6)


def test_pictures_and_table_are_written_with_the_maps(tmp_path):
    data, classifier = dataset([0, 2]), small_gap()
    found = write_maps(
        classifier, data, tmp_path / "m.npz", target="all", pictures=tmp_path / "p", table=tmp_path / "t.csv"
    )  # fmt: skip
    assert found.path == tmp_path / "m.npz"
    assert sorted(path.name for path in (tmp_path / "p" / "test").iterdir()) == ["00000.png", "00001.png"]
    with (tmp_path / "t.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["key"], row["true"], row["class"]) for row in table] == [
        (key, label, name) for key, label in zip(data.keys, "ac", strict=True) for name in NAMES
    ]
    for n, row in enumerate(table):
        one = explain_item(classifier, data, n // 3, target=n % 3, method="cam")
        assert row["predicted"] == NAMES[one.predicted]
        assert float(row["probability"]) == pytest.approx(float(one.probabilities[n % 3]), rel=1e-4)
        assert row["evidence"] == str(int(one.evidence))
        assert float(row["greatest"]) == pytest.approx(float(one.map.max()), rel=1e-4)
        assert one.map[int(row["row"]), int(row["column"])] == pytest.approx(float(one.map.max()), rel=1e-4)


def test_pictures_alone_and_the_table_alone_can_be_had(tmp_path):
    data = dataset([0, 2])
    assert write_maps(small_gap(), data, None, pictures=tmp_path / "p").path == tmp_path / "p"
    assert write_maps(small_gap(), data, None, table=tmp_path / "t.csv").path == tmp_path / "t.csv"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "t.csv"]
    with pytest.raises(ConfigError, match="Nothing is to be written"):
        write_maps(small_gap(), data, None)


def test_stopping_leaves_whole_pictures_and_no_table(tmp_path):
    data = dataset([0] * 9)
    found = write_maps(
        small_gap(), data, None, batch_size=2, pictures=tmp_path / "p", table=tmp_path / "t.csv", stop=stop_after(40)
    )  # fmt: skip
    assert found.stopped
    assert 0 < found.n < 9
    drawn = sorted((tmp_path / "p").rglob("*"))
    assert len([path for path in drawn if path.is_file()]) == found.n
    for path in drawn:
        if path.is_file():
            Image.open(path).load()
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_link_does_not_lead_pictures_out_of_the_folder(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "test").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(DataError, match="leads out of"):
        write_maps(small_gap(), dataset([0]), None, pictures=tmp_path / "p")


def test_the_shell_writes_them_too(tmp_path, capsys):
    data = tmp_path / "data"
    for name in NAMES:
        (data / "test" / name).mkdir(parents=True)
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16), dtype=np.uint8)).save(
            data / "test" / name / "0.png"
        )
    save_classifier(small_gap(), tmp_path / "model.safetensors")
    words = ["explain", str(tmp_path / "model.safetensors"), str(data), "--out", str(tmp_path / "m.npz")]
    more = ["--pictures", str(tmp_path / "p"), "--csv", str(tmp_path / "t.csv"), "--json", str(tmp_path / "j.json")]
    assert main([*words, *more]) == 0
    said = capsys.readouterr().out
    assert "3 maps in" in said
    assert "3 pictures in" in said
    assert (tmp_path / "p/test/a/0.png.png").is_file()
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 4
    assert json.loads((tmp_path / "j.json").read_text())["pictures"] == str(tmp_path / "p")
    assert main([*words, "--target", "a", "--target", "true"]) == 2
    assert "'true' stands alone; to have several maps an image, name classes only." in capsys.readouterr().err
    words[4] = str(tmp_path / "maps.csv")
    assert main(words) == 2
    assert "--out takes an .npz file, or a folder for one TIFF an image, and maps.csv is neither" in capsys.readouterr().err
