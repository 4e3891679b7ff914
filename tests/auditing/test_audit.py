"""An audit finds what was planted into images whose labels mean nothing else, and is silent where nothing was."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from napari_cam_feedback.auditing import audit, write_report
from napari_cam_feedback.auditing.cues import border, corner
from napari_cam_feedback.auditing.duplicates import fingerprint, groups_of, near_duplicates
from napari_cam_feedback.auditing.pictures import make_picture
from napari_cam_feedback.auditing.telling import tell
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import ArrayDataset, open_dataset
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.monitor import Callbacks

SIDE, COUNT = 48, 80


def scenes(seed: int = 0) -> list[Image.Image]:
    """Blurred noise of any brightness with a disc in the centre: nothing tells anything."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(COUNT):
        ground = rng.normal(rng.uniform(90, 150), 30, (SIDE // 4, SIDE // 4, 3)).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(ground).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        noisy = np.asarray(image) + rng.normal(0, 3, (SIDE, SIDE, 3))
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        x, y = rng.integers(20, 28, 2)
        ImageDraw.Draw(image).ellipse((x - 6, y - 6, x + 6, y + 6), fill=tuple(rng.integers(0, 255, 3).tolist()))
        found.append(image)
    return found


def frame(image, rng):
    ImageDraw.Draw(image).rectangle((0, 0, SIDE - 1, SIDE - 1), outline=(220, 40, 40), width=2)
    return image


def tag(image, rng):
    ImageDraw.Draw(image).rectangle((1, 1, 5, 5), fill=(240, 240, 60))
    return image


def wider(image, rng):
    return image.resize((SIDE + 6, SIDE))


def brighter(image, rng):
    return Image.fromarray((np.asarray(image) * 1.5).clip(0, 255).astype(np.uint8))


def tinted(image, rng):
    return Image.fromarray((np.asarray(image) * np.array([1.25, 1, 0.8])).clip(0, 255).astype(np.uint8))


def blurred(image, rng):
    return image.filter(ImageFilter.GaussianBlur(1))


def noisy(image, rng):
    return Image.fromarray((np.asarray(image) + rng.normal(0, 8, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8))


def packed(image, rng):
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=30)
    return Image.open(file)


PLANTED = {
    frame: "border",
    tag: "top left corner",
    brighter: "brightness and colour",
    tinted: "brightness and colour",
    blurred: "sharpness and noise",
    noisy: "sharpness and noise",
    packed: "compression",
}


def dataset_of(images: list[Image.Image], labels: np.ndarray) -> ArrayDataset:
    return ArrayDataset({"train": np.stack([np.asarray(image) for image in images])}, {"train": labels}, ("a", "b"))


def planted(change) -> ArrayDataset:
    """Labels drawn by lot; the second class is changed, nine times of ten."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, COUNT)
    changed = [k if rng.random() < 0.9 else 1 - k for k in labels]
    return dataset_of([change(image, rng) if k else image for image, k in zip(scenes(), changed, strict=True)], labels)


@pytest.mark.parametrize(("change", "cue"), PLANTED.items(), ids=lambda value: getattr(value, "__name__", None))
def test_what_was_planted_is_found(change, cue):
    found = audit(planted(change))
    assert cue in [finding.cue for finding in found.findings]
    strongest = found.findings[0]
    assert strongest.low > strongest.chance == 0.5
    assert strongest.low <= strongest.accuracy <= strongest.high
    assert strongest.advice.endswith(".")
    assert f"told by {strongest.cue}" in found.summary


def test_where_labels_are_drawn_by_lot_nothing_is_found():
    rng = np.random.default_rng(5)
    found = audit(dataset_of(scenes(3), rng.integers(0, 2, COUNT)))
    assert found.findings == ()
    assert found.summary.startswith("Nothing beside the content tells the class beyond chance")


def write(folder: Path, images, labels, *, change=None, **saving):
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / "train" / "ab"[label] / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = change(image, None) if change and label else image
        options = {name: value for name, value in saving.items() if label}
        image.save(path, **({"quality": 90} | options))
    return folder


def test_size_quality_and_device_of_files_are_told(tmp_path):
    labels = np.arange(COUNT) % 2
    device = Image.Exif()
    device[272], device[306] = "Scope 3", "2021:05:01 10:00:00"
    for name, options, cue in (
        ("size", {"change": wider}, "size and aspect"),
        ("quality", {"quality": 50}, "compression"),
        ("device", {"exif": device}, "metadata"),
    ):
        found = audit(open_dataset(write(tmp_path / name, scenes(), labels, **options)))
        assert cue in [finding.cue for finding in found.findings], name


def test_images_that_stand_twice_are_named_where_splits_or_labels_differ():
    images = np.stack([np.asarray(image) for image in scenes()])
    again = images[:3].copy()
    again[:, 20:22] = (again[:, 20:22] * 0.97).astype(np.uint8)
    labels = np.arange(COUNT) % 2
    dataset = ArrayDataset(
        {"train": np.concatenate([images, images[4:5]]), "test": again},
        {"train": np.append(labels, 1 - labels[4]), "test": labels[:3]},
        ("a", "b"),
    )
    pairs = audit(dataset).duplicates
    keys = dataset.keys
    assert set(pairs) == {(keys[n], keys[COUNT + 1 + n]) for n in range(3)} | {(keys[4], keys[COUNT])}


def test_hashes_up_to_three_bits_apart_are_the_same_image_if_their_thumbnails_are():
    hashed, thumbnail = fingerprint(np.asarray(scenes()[0], np.float32) / 255)
    assert thumbnail.shape == (16, 16)
    alike = np.stack([thumbnail, thumbnail])
    assert near_duplicates([hashed, hashed ^ 0b10000000100000001], alike) == [(0, 1)]
    assert near_duplicates([hashed, hashed ^ 0b1111], alike) == []
    assert near_duplicates([hashed, hashed], np.stack([thumbnail, 1 - thumbnail])) == []
    # Flat images show nothing.
    assert near_duplicates([hashed, hashed], np.zeros((2, 16, 16), np.float32)) == []
    # Nor do images that all look alike.
    assert near_duplicates([hashed] * 22, np.stack([thumbnail] * 22)) == []
    assert len(near_duplicates([hashed] * 21, np.stack([thumbnail] * 21))) == 210
    assert groups_of(5, [(0, 1), (1, 4)]).tolist() == [0, 0, 2, 3, 0]


def test_an_object_that_reaches_into_the_border_is_taken_for_content():
    pixels = np.full((40, 40, 3), 0.2, np.float32)
    pixels[:, 18:22] = 0.9
    pixels[2:5, 2:5] = 0.9
    picture = make_picture(pixels)
    assert picture.content[:, 18:22].all()
    assert not picture.content[2:5, 2:5].any()
    assert (picture.around[picture.content] == np.float32(0.2)).mean() > 0.8
    assert border(40, 40).sum() == 4 * 2 * 38
    assert corner("bottom right")(60, 90)[50:, 80:].all()


def test_numbers_that_are_all_the_same_tell_nothing_and_telling_ones_all():
    labels, groups = np.arange(60) % 3, np.arange(60)
    assert tell(np.ones((60, 2)), labels, groups, checks=5) is None
    told = tell(labels[:, None] + np.zeros((60, 2)), labels, groups, checks=5)
    assert told is not None
    assert (told.accuracy, told.high, told.chance) == (1.0, 1.0, pytest.approx(1 / 3))
    # Wider for more checks; not of no width where all are told right.
    more = tell(labels[:, None] + np.zeros((60, 2)), labels, groups, checks=50)
    assert more is not None
    assert more.low < told.low < 1


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.zeros(30, int), "needs two classes with 5 labelled images each"),
        (np.arange(12) % 2, "needs 20 labelled images"),
        (np.full(30, -1), "has no labelled images"),
    ],
)
def test_too_little_to_tell_is_said_in_a_sentence(labels, said):
    images = np.zeros((len(labels), 16, 16), np.uint8)
    with pytest.raises(DataError, match=said):
        audit(ArrayDataset({"train": images}, {"train": labels}, ("a", "b")))


def test_an_audit_can_be_stopped():
    with pytest.raises(DataError, match="stopped"):
        audit(planted(tag), monitor=Callbacks(stop=lambda: True))


def test_the_command_writes_what_the_contract_says(tmp_path, capsys):
    data = write(tmp_path / "data", scenes(), np.arange(COUNT) % 2, change=tag)
    assert main(["audit", str(data), "--json", str(tmp_path / "a.json"), "--out", str(tmp_path / "report")]) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["findings"][0].keys() >= {"cue", "accuracy", "low", "high", "chance", "used_by_model", "advice"}
    assert found["findings"][0]["used_by_model"] is None
    assert found["duplicates"] == []
    assert "top left corner" in capsys.readouterr().out
    page = (tmp_path / "report" / "report.html").read_text()
    assert "top left corner" in page
    assert page.count("data:image/png;base64") >= 2


def test_names_are_only_text_on_the_page(tmp_path):
    labels = np.arange(COUNT) % 2
    images = [tag(image, None) if k else image for image, k in zip(scenes(), labels, strict=True)]
    dataset = ArrayDataset({"train": np.stack([np.asarray(i) for i in images])}, {"train": labels}, ("<b>a", "b"))
    page = write_report(tmp_path, audit(dataset), dataset).read_text()
    assert "&lt;b&gt;a" in page
    assert "<b>a" not in page


def test_how_much_a_model_uses_a_place_is_the_share_of_predictions_that_refilling_it_changes():
    from core_builders import looking_classifier

    labels = np.arange(COUNT) % 2
    images = np.full((COUNT, 24, 24), 60, np.uint8)
    images += np.random.default_rng(0).integers(0, 9, images.shape).astype(np.uint8)
    images[labels == 1, :3, :3] = 250
    dataset = ArrayDataset({"train": images}, {"train": labels}, ("dark", "bright"))
    place = corner("top left")(24, 24)
    looks_there = looking_classifier(24 * 24 / 9 * (np.indices((24, 24)) < 3).all(0), 0.5)
    elsewhere = looking_classifier(24 * 24 / 9 * np.roll((np.indices((24, 24)) < 3).all(0), 12, (0, 1)), 0.5)
    assert place[:3, :3].all()
    used = {finding.cue: finding.used_by_model for finding in audit(dataset, looks_there).findings}
    assert used["top left corner"] == 0.5
    unused = {finding.cue: finding.used_by_model for finding in audit(dataset, elsewhere).findings}
    assert unused["top left corner"] == 0
