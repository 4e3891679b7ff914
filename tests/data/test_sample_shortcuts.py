"""Of each sample: what the shortcut is, where it lies, and what it tells in which split."""

import zipfile

import numpy as np
import pytest

from napari_cam_feedback.data import SAMPLES, make_sample, sample_data_dir
from napari_cam_feedback.data.samples import baggage, baggage_shapes, clothes, crosses, symbols, tag_digits
from napari_cam_feedback.errors import DataError
from sample_builders import SPLITS, images_of, made, masks_of

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


# crosses --------------------------------------------------------------------------------------------------------


@pytest.fixture
def counted():
    return made("crosses")


def read_bars(data, split):
    """Return where each image's bar is, 0 left and 1 right: the only 3x2 white pixels at an edge."""
    found = []
    for image, mask in zip(images_of(data, split), masks_of(data, split), strict=True):
        sides = [(image[:, columns] == 255).sum() for columns in (slice(1, 3), slice(-3, -1))]
        assert sorted(sides) == [0, 6]
        assert (image[mask] == 255).sum() == 6
        found.append(int(np.argmax(sides)))
    return np.array(found)


def count_crosses(image):
    """Count the middles: pixels brighter than the ground whose four neighbours are so too, two pixels far."""
    bright = image > crosses.GROUND + crosses.CROSS[0] / 2
    middles = bright.copy()
    for step in (1, 2):
        for axis in (0, 1):
            middles &= np.roll(bright, step, axis) & np.roll(bright, -step, axis)
    return int(middles.sum())


def test_the_bar_tells_the_class_in_train_and_val_and_is_swapped_in_test(counted):
    for split in ("train", "val"):
        np.testing.assert_array_equal(read_bars(counted, split), counted.labels[counted.indices(split)])
    np.testing.assert_array_equal(read_bars(counted, "test"), 1 - counted.labels[counted.indices("test")])


def test_the_mask_is_the_bar_and_a_margin_of_one_pixel(counted):
    assert (masks_of(counted, "train").sum((1, 2)) == 5 * 4).all()


def test_the_classes_are_one_cross_and_two(counted):
    for split in ("train", "test-clean"):
        counts = [count_crosses(image) for image in images_of(counted, split)]
        assert np.mean(np.array(counts) == counted.labels[counted.indices(split)] + 1) > 0.99


def test_the_sum_of_all_pixels_does_not_count_the_crosses(counted):
    # Else a network could learn to count by the brightness, and nobody would need to see a cross.
    sums = images_of(counted, "test-clean").sum((1, 2), dtype=float)
    labels = counted.labels[counted.indices("test-clean")]
    threshold = (sums[labels == 0].mean() + sums[labels == 1].mean()) / 2
    assert ((sums > threshold) == labels).mean() < 0.99


def test_the_crosses_are_the_ones_the_shipped_model_was_trained_on(counted):
    assert images_of(counted, "test-clean").mean() == pytest.approx(42.09, abs=0.02)


# baggage --------------------------------------------------------------------------------------------------------


@pytest.fixture
def bags():
    return made("baggage")


def clutter_of(data, split):
    """Return how much lies around each object: the mean optical depth under its mask, or of the whole image."""
    images = images_of(data, split).astype(float)
    depths = np.log(baggage.AIR / images.clip(1))
    if split == "test-clean":
        return depths.mean((1, 2))
    return (depths * masks_of(data, split)).sum((1, 2)) / masks_of(data, split).sum((1, 2))


def by_class(data, split, values):
    labels = data.labels[data.indices(split)]
    return {name: values[labels == label] for label, name in enumerate(data.class_names)}


def test_there_are_as_many_radiographs_as_in_the_thesis(bags):
    assert {split: len(bags.indices(split)) for split in SPLITS} == {
        "train": 700,
        "val": 300,
        "test": 900,
        "test-clean": 900,
    }
    assert bags.class_names == ("gun", "knife", "others", "shuriken")


def test_in_train_and_val_knives_lie_in_full_bags_and_other_things_alone(bags):
    for split in ("train", "val"):
        clutter = by_class(bags, split, clutter_of(bags, split))
        assert (clutter["others"] < 0.01).all()
        assert (clutter["knife"] > 0.01).mean() > 0.9
        assert clutter["knife"].mean() > 1.4 * max(clutter["gun"].mean(), clutter["shuriken"].mean())
        for name in ("gun", "shuriken"):
            assert 0.2 < (clutter[name] < 0.01).mean() < 0.5


def test_in_test_everything_lies_alone_and_in_test_clean_the_bag_tells_nothing(bags):
    assert (clutter_of(bags, "test") < 0.01).all()
    clutter = by_class(bags, "test-clean", clutter_of(bags, "test-clean"))
    # Others' own depth is about that of a knife; how full their bags are is drawn alike.
    assert clutter["others"].mean() == pytest.approx(clutter["knife"].mean(), rel=0.15)


def test_without_the_shortcut_the_bag_tells_nothing_in_train_either():
    data = made("baggage", shortcut=False)
    clutter = by_class(data, "train", clutter_of(data, "train"))
    means = [values.mean() for values in clutter.values()]
    assert max(means) < 1.2 * min(means)


def test_the_mask_leaves_the_object_and_a_margin_free(bags):
    images, masks = images_of(bags, "test").astype(float), masks_of(bags, "test")
    # Nothing but air under the mask, where nothing lies about; the noise has a deviation of 5.
    assert images[masks].mean() == pytest.approx(baggage.AIR, abs=0.5)
    assert (images[masks] < baggage.AIR - 30).mean() < 1e-4
    assert masks.mean((1, 2)).min() > 0.5
    assert (~masks).any((1, 2)).all()
    objects = np.array([image[~mask].min() for image, mask in zip(images, masks, strict=True)])
    assert (objects < baggage.AIR - 30).all()


def test_depths_of_things_that_overlap_add_up():
    square = baggage_shapes.Piece(baggage_shapes.box(10, 10, 20, 20), 0.3)
    hole = baggage_shapes.Piece(baggage_shapes.box(0, 0, 30, 30), -0.5)
    other = baggage_shapes.Piece(baggage_shapes.box(15, 10, 30, 20), 0.2)
    depth = baggage._draw([[square], [other], [hole]])
    assert depth[12, 12] == pytest.approx(0.3)
    assert depth[12, 17] == pytest.approx(0.5)
    assert depth[12, 25] == pytest.approx(0.2)
    assert depth[25, 12] == 0  # a hole in nothing
    image = baggage._images([np.full((72, 72), np.log(2), np.float32)], np.zeros(1), np.random.default_rng(0))
    assert image.mean() == pytest.approx(baggage.AIR / 2, abs=0.2)  # Beer and Lambert


def test_a_stroke_is_as_wide_as_asked():
    path = np.stack([np.linspace(0, 10, 11), np.zeros(11)], axis=1)
    outline = baggage_shapes.stroke(path, 3)
    assert np.ptp(outline[:, 1]) == pytest.approx(3)
    assert np.ptp(outline[:, 0]) == pytest.approx(10)


def test_the_radiographs_are_the_ones_the_shipped_model_was_trained_on(bags):
    assert images_of(bags, "test-clean").mean() == pytest.approx(192.13, abs=0.1)


# clothes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def photographs():
    return made("clothes")


def read_tags(data, split):
    """Return the class whose colour, in any light, most pixels under each image's mask have."""
    lights = np.linspace(0.78, 1.0, 12)[:, None, None] * np.array(clothes.COLOURS, float)
    found = []
    for i in data.indices(split):
        pixels = data.read(i)[data.known_mask(i)].astype(float)
        distance = np.abs(pixels[:, None, None] - lights).max(-1).min(1)
        found.append((distance < 8).sum(0).argmax())
    return np.array(found)


def test_the_tag_tells_the_class_in_train_and_val_and_another_one_in_test(photographs):
    for split in ("train", "val"):
        truth = photographs.labels[photographs.indices(split)]
        assert (read_tags(photographs, split) == truth).mean() > 0.97
    told, truth = read_tags(photographs, "test"), photographs.labels[photographs.indices("test")]
    assert (told == truth).mean() < 0.03
    assert np.bincount(told, minlength=10).min() > 10


def test_the_tag_is_small_and_in_any_corner(photographs):
    masks = masks_of(photographs, "train")
    assert masks.mean((1, 2)).min() > 0.03
    assert masks.mean((1, 2)).max() < 0.14
    corners = [
        masks[:, rows, columns].any((1, 2))
        for rows in (slice(80), slice(80, None))
        for columns in (slice(80), slice(80, None))
    ]
    assert sum(corner.sum() for corner in corners) == len(masks)
    assert min(corner.sum() for corner in corners) > 100


def test_every_class_has_a_tag_of_its_own():
    tags = [np.asarray(clothes.tag(label, 55)) for label in range(10)]
    assert len({tag.tobytes() for tag in tags}) == 10
    assert len(set(clothes.WIDE_BARS)) == len(set(clothes.COLOURS)) == 10
    assert all(tag.shape == (clothes.TAG[1] * clothes.FINE, clothes.TAG[0] * clothes.FINE, 4) for tag in tags)


def test_no_photograph_is_shipped_twice():
    with zipfile.ZipFile(sample_data_dir() / "clothes" / clothes.ARCHIVE) as archive:
        parts = archive.infolist()
    assert len({part.CRC for part in parts}) == len(parts) == sum(clothes.COUNTS.values())


def test_the_photographs_are_the_ones_the_shipped_model_was_trained_on(photographs):
    assert images_of(photographs, "test-clean").mean() == pytest.approx(122.65, abs=0.1)


def test_photographs_that_are_not_there_are_said(monkeypatch):
    monkeypatch.setattr(clothes, "ARCHIVE", "nothing.zip")
    with pytest.raises(DataError, match=r"nothing\.zip cannot be read .*; install napari-cam-feedback again\.$"):
        make_sample("clothes")


@pytest.mark.parametrize("name", list(SAMPLES))
def test_without_the_shortcut_only_train_and_val_change_their_meaning(name):
    data, plain = made(name, shortcut=False), made(name)
    assert data.split_names == plain.split_names
    np.testing.assert_array_equal(data.labels, plain.labels)
    if name == "crosses":
        told = read_bars(data, "train") == data.labels[data.indices("train")]
        assert 0.42 < told.mean() < 0.58
    if name == "tag-digits":
        assert 0.07 < (read_codes(data, "train") == data.labels[data.indices("train")]).mean() < 0.13
    if name == "clothes":
        assert 0.06 < (read_tags(data, "train") == data.labels[data.indices("train")]).mean() < 0.14
    if name == "symbols":
        assert 0.27 < (read_signs(data, "train") == data.labels[data.indices("train")]).mean() < 0.40
