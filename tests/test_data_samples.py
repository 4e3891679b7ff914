"""The samples hide the shortcut that they promise, know where it is, and are the same on disk as in memory."""

import json
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image

from napari_cam_feedback.data import SAMPLES, make_sample, open_dataset, sample_data_dir, write_sample
from napari_cam_feedback.data.samples import symbols, tag_digits
from napari_cam_feedback.errors import DataError, StorageError

SPLITS = ("train", "val", "test", "test-clean")


@lru_cache
def made(name):
    return make_sample(name)


@pytest.fixture(params=list(SAMPLES))
def sample(request):
    return request.param, made(request.param)


def images_of(data, split):
    return np.stack([data.read(i) for i in data.indices(split)])


def masks_of(data, split):
    return np.stack([data.known_mask(i) for i in data.indices(split)])


def test_every_sample_says_what_it_is():
    assert list(SAMPLES) == ["tag-digits", "symbols"]
    for name, info in SAMPLES.items():
        assert info.name == name
        assert info.title
        assert info.description.endswith(".")


def test_there_are_four_splits_with_every_class_in_balance(sample):
    _, data = sample
    assert data.split_names == SPLITS
    for split in SPLITS:
        counts = np.bincount(data.labels[data.indices(split)], minlength=len(data.class_names))
        assert counts.max() - counts.min() <= 0.15 * counts.mean()


def test_a_seed_gives_the_same_images_and_another_one_others(sample):
    name, data = sample
    again, other = make_sample(name), make_sample(name, seed=1)
    assert list(again.keys) == list(data.keys)
    for i in range(0, len(data), 3):
        np.testing.assert_array_equal(again.read(i), data.read(i))
    assert (other.read(0) != data.read(0)).any()


def test_the_shortcut_is_inside_the_known_mask_and_nowhere_else(sample):
    _, data = sample
    test, clean, masks = images_of(data, "test"), images_of(data, "test-clean"), masks_of(data, "test")
    assert (data.labels[data.indices("test")] == data.labels[data.indices("test-clean")]).all()
    assert all(data.known_mask(i) is None for i in data.indices("test-clean"))
    if data.class_names == tag_digits.CLASSES:  # the same pixels but for the code
        np.testing.assert_array_equal(test[~masks], clean[~masks])
    differs = np.abs(test.astype(float) - clean).mean(0) > 30  # above the noise
    assert (differs <= masks.any(0)).all()
    assert differs.any()


def test_the_written_folder_is_the_same_dataset(sample, tmp_path):
    name, data = sample
    folder = write_sample(name, tmp_path / "out" / "data")
    assert folder == tmp_path / "out" / "data"
    opened = open_dataset(folder)
    assert list(opened.keys) == list(data.keys)
    assert opened.class_names == data.class_names
    np.testing.assert_array_equal(opened.labels, data.labels)
    np.testing.assert_array_equal(opened.splits, data.splits)
    for i in range(0, len(data), 7):
        np.testing.assert_array_equal(opened.read(i), data.read(i))
        ours, theirs = data.known_mask(i), opened.known_mask(i)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs)
    assert [path.name for path in folder.parent.iterdir()] == ["data"]  # nothing temporary is left
    with Image.open(folder / data.keys[0]) as image:
        assert image.mode == "L"


# tag-digits -----------------------------------------------------------------------------------------------------


@pytest.fixture
def digits():
    return made("tag-digits")


def read_codes(data, split):
    """Return the class that each image's code stands for, read from its pixels."""
    codes = np.stack([tag_digits.code(label) for label in range(10)])
    found = []
    for image, mask in zip(images_of(data, split), masks_of(data, split), strict=True):
        match = [np.array_equal(image[mask].reshape(4, 4), code) for code in codes]
        assert sum(match) == 1
        found.append(match.index(True))
    return np.array(found)


def test_codes_are_far_apart():
    bits = np.array([[code >> i & 1 for i in range(16)] for code in tag_digits.CODES])
    assert len(bits) == 10
    distances = (bits[:, None] != bits).sum(2)
    assert distances[~np.eye(10, dtype=bool)].min() >= 6
    assert set(np.unique(tag_digits.code(3))) == {0, 255}


def test_the_code_tells_the_class_in_train_and_val_and_lies_in_test(digits):
    for split in ("train", "val"):
        np.testing.assert_array_equal(read_codes(digits, split), digits.labels[digits.indices(split)])
    told, truth = read_codes(digits, "test"), digits.labels[digits.indices("test")]
    assert 0.06 < (told == truth).mean() < 0.14  # one time in ten by chance
    assert np.bincount(told).min() > 25


def test_the_code_is_4x4_in_any_corner(digits):
    masks = masks_of(digits, "train")
    assert (masks.sum((1, 2)) == 16).all()
    corners = [masks[:, y, x].sum() for y in (0, 27) for x in (0, 27)]
    assert sum(corners) == len(masks)
    assert min(corners) > 200


def test_no_digit_is_in_two_splits():
    numbers = np.arange(1797)
    labels = np.tile(np.arange(10), 180)[:1797]
    parts = tag_digits._split(labels, np.random.default_rng(0))
    assert {split: len(rows) for split, rows in parts.items()} == {"train": 1000, "val": 297, "test": 500}
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), numbers)
    for rows in parts.values():
        share = np.bincount(labels[rows]) / np.bincount(labels)
        assert np.ptp(share) < 0.012  # stratified to within an image or two


def test_the_digits_are_the_ones_shipped_models_were_trained_on(digits):
    # Another generator would leave the models in sample_data with other data than they learned.
    assert images_of(digits, "test-clean").mean() == pytest.approx(68.43, abs=0.05)
    assert digits.read(0)[14, 8:20].astype(int) == pytest.approx([109, 119, 48, 18, 54, 0, 0, 0, 74, 111, 99, 66], abs=1)


# symbols --------------------------------------------------------------------------------------------------------


@pytest.fixture
def letters():
    return made("symbols")


def read_signs(data, split):
    """Return the class whose sign is nearest to what each image has in its corner."""
    plain = np.full((3, symbols.SIZE, symbols.SIZE), 0.0)
    for image, name in zip(plain, symbols.CLASSES, strict=True):
        symbols._sign(image, name)
    corner = (slice(None), slice(-symbols.CORNER, None), slice(symbols.CORNER))
    seen = images_of(data, split)[corner].astype(float)
    return np.square(seen[:, None] - symbols.PAPER - plain[corner]).sum((2, 3)).argmin(1)


def test_the_sign_tells_the_class_in_train_and_val_and_not_in_test(letters):
    for split in ("train", "val"):
        np.testing.assert_array_equal(read_signs(letters, split), letters.labels[letters.indices(split)])
    told, truth = read_signs(letters, "test"), letters.labels[letters.indices("test")]
    assert 0.25 < (told == truth).mean() < 0.42  # one time in three by chance
    assert np.bincount(told).min() > 70
    assert (read_signs(letters, "test-clean") == symbols.CLASSES.index("zeta")).mean() > 0.98


def test_the_mask_is_the_whole_corner_also_where_it_is_empty(letters):
    expected = np.zeros((72, 72), bool)
    expected[56:, :16] = True
    assert (masks_of(letters, "train") == expected).all()


def test_letters_lie_within_the_image_and_outside_the_corner():
    rng = np.random.default_rng(3)
    reached = 0
    for i in range(150):
        ink = symbols._letter(symbols.CLASSES[i % 3], rng)
        border = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
        assert border.max() < symbols.LETTER / 4
        assert ink.max() > symbols.LETTER / 3
        reached += ink[-symbols.CORNER :, : symbols.CORNER].max() > symbols.LETTER / 4
    assert reached <= 2


def test_a_persons_matplotlib_settings_do_not_change_the_letters(monkeypatch):
    import matplotlib

    symbols.glyph.cache_clear()
    usual = symbols.glyph(r"$\xi$")
    symbols.glyph.cache_clear()
    changes = {"mathtext.fontset": "stix", "font.size": 40, "text.antialiased": False, "mathtext.default": "rm"}
    with matplotlib.rc_context(changes):
        np.testing.assert_array_equal(symbols.glyph(r"$\xi$"), usual)
    symbols.glyph.cache_clear()


# Writing --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    """Make the samples small and quick."""
    monkeypatch.setattr(symbols, "COUNTS", {"train": 6, "val": 3, "test": 3})


def test_writing_again_leaves_the_folder_as_it_is(tiny, tmp_path):
    folder = write_sample("symbols", tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_sample("symbols", folder) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert json.loads((folder / "sample.json").read_text())["sample"] == "symbols"


def test_an_empty_folder_is_filled(tiny, tmp_path):
    (tmp_path / "data").mkdir()
    assert len(open_dataset(write_sample("symbols", tmp_path / "data"))) == 15


def test_a_folder_with_something_else_is_refused_and_left_alone(tiny, tmp_path):
    folder = write_sample("symbols", tmp_path / "data")
    refused = f"{folder} is not empty; choose a new folder for the sample."
    with pytest.raises(DataError) as error:
        write_sample("symbols", folder, seed=1)
    assert str(error.value) == refused
    next(folder.glob("train/*/*.png")).unlink()  # no longer whole
    with pytest.raises(DataError, match="is not empty"):
        write_sample("symbols", folder)
    (folder / "sample.json").write_text("{")
    with pytest.raises(DataError, match="is not empty"):
        write_sample("symbols", folder)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("keep me")
    with pytest.raises(DataError, match="is not empty"):
        write_sample("symbols", mine)
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]


def test_a_file_in_the_way_is_told(tiny, tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(DataError, match="is a file or lies below one; choose a folder"):
            write_sample("symbols", place)


def test_a_full_disk_leaves_nothing_behind(tiny, tmp_path, monkeypatch):
    saved = []

    def save(image, path, **options):
        if len(saved) == 5:
            raise OSError(28, "No space left on device", str(path))
        saved.append(path)

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(StorageError, match="the disk is full; free some space and try again"):
        write_sample("symbols", tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_sample_names_those_there_are():
    with pytest.raises(DataError) as error:
        make_sample("digits")
    assert str(error.value) == 'There is no sample "digits"; choose one of tag-digits, symbols.'


def test_shipped_files_have_a_folder():
    assert sample_data_dir().name == "sample_data"
