"""Pooled features of a split: the numbers, what is kept on disk and for what it is used again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core_builders import gray_dataset, hand_classifier, nearest_classifier, small_disk, small_gap, stop_after
from napari_cam_feedback.data import ArrayDataset, make_sample, open_dataset, sample_data_dir
from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.errors import ConfigError, DataError, MaskError, ModelError, StorageError
from napari_cam_feedback.explanations import explain_item
from napari_cam_feedback.explanations.filters.features import Features, features_of, load_features
from napari_cam_feedback.explanations.filters.statistics import (
    activation_under_masks,
    class_contributions,
    class_histograms,
    class_means,
    top_images,
)
from napari_cam_feedback.explanations.filters.store import dataset_digest, drop_oldest
from napari_cam_feedback.feedback import known_masks
from napari_cam_feedback.models import Classifier, load_classifier
from napari_cam_feedback.torch_loader import torch

NAMES = ("a", "b", "c")


def table(mean: object, labels: object, predicted: object = None, names: tuple[str, ...] = NAMES) -> Features:
    """Features with the mean activations given, one row an image; the items have indices 10, 11, …"""
    values = np.asarray(mean, np.float32)
    truth = np.asarray(labels, np.int64)
    shown = np.maximum(truth, 0) if predicted is None else np.asarray(predicted)
    indices = np.arange(10, 10 + len(values))
    return Features(
        indices=indices,
        keys=tuple(f"train/{n}" for n in indices),
        labels=truth,
        mean=values,
        maximum=values * 2,
        logits=np.eye(len(names), dtype=np.float32)[shown],
        class_names=names,
        split="train",
        layer="features",
        classifier="f" * 64,
        data="d" * 64,
    )


def noise(count: int = 7, split: str = "train", seed: int = 0) -> ArrayDataset:
    images = np.random.default_rng(seed).integers(0, 255, (count, 16, 16), dtype=np.uint8)
    return ArrayDataset({split: images}, {split: np.arange(count) % 3}, NAMES)


class SomeBroken(ArrayDataset):
    """Images with the label 1 cannot be read; counts what was asked for."""

    asked = 0

    def read(self, index: int) -> np.ndarray:
        self.asked += 1
        if self.labels[index] == 1:
            raise DataError(f"{self.keys[index]} is broken; restore or remove it.")
        return super().read(index)


def some_broken(labels: list[int], split: str = "train") -> SomeBroken:
    images = np.random.default_rng(0).integers(0, 255, (len(labels), 16, 16), dtype=np.uint8)
    return SomeBroken({split: images}, {split: labels}, NAMES)


class Counted(torch.nn.Module):
    """Counts the images that a network is given."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.images = module, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.images += len(x)
        return self.inner(x)


def counted(seed: int = 0) -> Classifier:
    plain = small_gap(seed=seed)
    classifier = Classifier(Counted(plain.module), NAMES, plain.preprocessing, "inner.features", "counted")
    assert classifier.layout.filters > 1  # found by a forward pass of its own
    classifier.module.images = 0
    return classifier


def test_means_maxima_and_logits_by_hand():
    # a_0 = x and a_1 = -x of the image [1 2; 3 4] / 255; logits -z + 0.5 and 4 z - 0.5.
    images = np.array([[[1, 2], [3, 4]], [[0, 0], [0, 255]]], np.uint8)
    found = features_of(hand_classifier(), ArrayDataset({"test": images}, {"test": [1, 0]}, ("a", "b")), "test")
    z = np.array([2.5 / 255, 0.25])
    np.testing.assert_allclose(found.mean, np.stack([z, -z], 1), rtol=1e-6)
    np.testing.assert_allclose(found.maximum, [[4 / 255, -1 / 255], [1, 0]], rtol=1e-6)
    np.testing.assert_allclose(found.logits, np.stack([-z + 0.5, 4 * z - 0.5], 1), rtol=1e-6)
    assert found.predicted.tolist() == [0, 1]
    assert found.accuracy == 0.0
    assert (found.mean.dtype, found.maximum.dtype, found.logits.dtype) == (np.float32,) * 3
    assert (found.keys, found.labels.tolist()) == (("test/00000", "test/00001"), [1, 0])
    assert (found.split, found.layer, found.filters, len(found), found.complete) == ("test", "features", 2, 2, True)


def test_a_split_s_features_are_those_of_its_images_however_they_are_batched():
    classifier, dataset = small_gap(), noise()
    whole = features_of(classifier, dataset)
    parts = features_of(classifier, dataset, batch_size=3)
    np.testing.assert_allclose(whole.mean, parts.mean, rtol=1e-4, atol=1e-6)
    for n in range(len(dataset)):
        one = explain_item(classifier, dataset, n)
        np.testing.assert_allclose(whole.mean[n], one.activations.mean((1, 2)), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(whole.maximum[n], one.activations.max((1, 2)), rtol=1e-4, atol=1e-6)


def test_images_without_a_label_have_features_and_no_accuracy():
    dataset = ArrayDataset({"train": np.zeros((2, 16, 16), np.uint8)}, None, NAMES)
    found = features_of(small_gap(), dataset)
    assert found.labels.tolist() == [-1, -1]
    assert found.accuracy is None


def test_broken_images_are_left_out_and_named_and_count_as_done():
    seen: list[tuple[int, int]] = []
    dataset = some_broken([0, 1, 2, 0, 1])
    found = features_of(small_gap(), dataset, batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert found.keys == ("train/00000", "train/00002", "train/00003")
    assert found.skipped == {
        "train/00001": "train/00001 is broken; restore or remove it.",
        "train/00004": "train/00004 is broken; restore or remove it.",
    }
    assert found.complete
    assert seen == [(3, 5), (4, 5), (5, 5)]


def test_images_skipped_in_another_split_are_not_counted():
    dataset = SomeBroken(
        {"train": np.zeros((3, 16, 16), np.uint8), "val": np.zeros((2, 16, 16), np.uint8)},
        {"train": [1, 0, 1], "val": [0, 2]},
        NAMES,
    )
    inputs = InputCache(dataset, small_gap().preprocessing)
    assert len(features_of(small_gap(), dataset, "train", inputs=inputs).skipped) == 2
    found = features_of(small_gap(), dataset, "val", inputs=inputs)
    assert (len(found), found.skipped, found.complete) == (2, {}, True)


def test_what_cannot_be_gives_a_sentence():
    with pytest.raises(DataError, match=r"No image of the split train could be read: train/00000 is broken; restore or"):
        features_of(small_gap(), some_broken([1, 1]))
    with pytest.raises(DataError, match=r'no split "tain", only train; did you mean "train"'):
        features_of(small_gap(), noise(), "tain")
    with pytest.raises(ModelError, match="The model knows 2 classes"):
        features_of(small_gap(("a", "b")), noise())
    with pytest.raises(ConfigError, match=r"There is no filter 2; the target layer's filters are 0 to 1\."):
        top_images(table([[0, 1]], [0]), 2)


def test_a_stopped_pass_gives_what_there_is_and_is_not_kept(tmp_path):
    found = features_of(small_gap(), noise(), cache=tmp_path, batch_size=2, stop=stop_after(1))
    assert (len(found), found.complete, found.skipped) == (4, False, {})
    assert list(tmp_path.iterdir()) == []
    # Stopped when everything was done is not stopped.
    assert features_of(small_gap(), noise(), cache=tmp_path, batch_size=7, stop=lambda: True).complete


def test_a_second_pass_is_read_from_disk_bit_for_bit(tmp_path):
    classifier, dataset = counted(), some_broken([0, 1, 2, 0])
    first = features_of(classifier, dataset, cache=tmp_path)
    assert classifier.module.images == 3
    seen: list[tuple[int, int]] = []
    again = features_of(classifier, dataset, cache=tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert classifier.module.images == 3
    assert seen == [(4, 4)]
    for name in ("indices", "labels", "mean", "maximum", "logits"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert getattr(first, name).dtype == getattr(again, name).dtype
    assert replace(again, **{n: getattr(first, n) for n in ("indices", "labels", "mean", "maximum", "logits")}) == first
    assert again.skipped == {"train/00001": "train/00001 is broken; restore or remove it."}


def test_what_is_kept_is_used_for_the_same_weights_layer_and_images_only(tmp_path):
    classifier = counted()
    features_of(classifier, noise(), cache=tmp_path)
    for other in (noise(seed=1), noise(6), noise(split="val")):
        classifier.module.images = 0
        features_of(classifier, other, other.split_names[0], cache=tmp_path)
        assert classifier.module.images == len(other)
    relabelled = ArrayDataset({"train": [noise().read(n) for n in range(7)]}, {"train": [0] * 7}, NAMES)
    assert features_of(classifier, relabelled, cache=tmp_path).labels.tolist() == [0] * 7
    before = features_of(classifier, noise(), cache=tmp_path)
    with torch.no_grad():
        next(classifier.module.parameters()).add_(0.5)
    assert not np.allclose(features_of(classifier, noise(), cache=tmp_path).mean, before.mean)
    earlier = next(info.name for info in classifier.layers if info.name != classifier.target_layer)
    assert features_of(classifier.with_layer(earlier), noise(), cache=tmp_path).layer == earlier


def test_a_file_whose_name_fits_and_whose_content_does_not_is_not_used(tmp_path):
    classifier = counted()
    first = features_of(classifier, noise(), cache=tmp_path)
    (file,) = tmp_path.iterdir()
    for other in ({"classifier": "0" * 64}, {"data": "0" * 64}, {"complete": False}):
        replace(first, mean=first.mean + 1, **other).save_npz(file)
        assert np.array_equal(features_of(classifier, noise(), cache=tmp_path).mean, first.mean)


def images_on_disk(folder: Path) -> Path:
    for n in range(4):
        path = folder / "train" / NAMES[n % 3] / f"{n}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16), 40 * n, np.uint8)).save(path)
    return folder


def test_an_image_file_that_was_changed_is_looked_at_again(tmp_path):
    folder = images_on_disk(tmp_path / "data")
    before = features_of(small_gap(), open_dataset(folder), cache=tmp_path / "kept")
    size = (folder / "train/a/0.bmp").stat().st_size
    Image.fromarray(np.full((16, 16), 250, np.uint8)).save(folder / "train/a/0.bmp")
    assert (folder / "train/a/0.bmp").stat().st_size == size
    os.utime(folder / "train/a/0.bmp", ns=(1, 1))  # an older image can be newly there
    after = features_of(small_gap(), open_dataset(folder), cache=tmp_path / "kept")
    assert not np.allclose(before.mean[0], after.mean[0])
    assert np.allclose(before.mean[1:], after.mean[1:])


def test_the_digest_is_of_files_without_reading_them(tmp_path):
    folder = images_on_disk(tmp_path / "data")
    dataset = open_dataset(folder)
    first = dataset_digest(dataset, dataset.indices("train"))
    assert first == dataset_digest(open_dataset(folder), dataset.indices("train"))
    assert first != dataset_digest(dataset, dataset.indices("train")[1:])
    (folder / "train/b/1.bmp").unlink()
    assert first != dataset_digest(dataset, dataset.indices("train"))


def test_a_broken_file_among_those_kept_is_made_again(tmp_path):
    first = features_of(small_gap(), noise(), cache=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"PK\x03\x04 nonsense"):
        file.write_bytes(content)
        with pytest.raises(StorageError, match="does not hold features, or is broken; remove it, and it is made again"):
            load_features(file)
        assert np.array_equal(features_of(small_gap(), noise(), cache=tmp_path).mean, first.mean)
        assert file.read_bytes() == whole


def test_features_written_by_a_newer_version_or_missing_give_a_sentence(tmp_path):
    file = tmp_path / "f.npz"
    np.savez(file, about=np.array('{"schema": 99}'), **dict.fromkeys(("keys", "indices", "labels"), np.zeros(1)),
             mean=np.zeros((1, 1)), maximum=np.zeros((1, 1)), logits=np.zeros((1, 1)))  # fmt: skip
    with pytest.raises(StorageError, match=r"A newer version of napari-cam-feedback wrote .*f\.npz; update the plugin"):
        load_features(file)
    with pytest.raises(StorageError, match=r"Could not read .*no such file or folder; check the path"):
        load_features(tmp_path / "nothing.npz")
    np.savez(file, keys=np.array([{"a": 1}], dtype=object))
    with pytest.raises(StorageError, match="does not hold features"):
        load_features(file)


def test_a_full_disk_gives_a_sentence_and_leaves_no_half_a_file(tmp_path):
    with small_disk(500), pytest.raises(StorageError, match="Could not write"):
        features_of(small_gap(), noise(), cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_what_is_kept_the_oldest_goes_when_it_is_too_much(tmp_path):
    files = [tmp_path / f"features-{n}.npz" for n in range(4)]
    for n, file in enumerate(files):
        file.write_bytes(b"x" * 100)
        os.utime(file, (n, n))
    (tmp_path / "other.npz").write_bytes(b"x" * 1000)
    drop_oldest(tmp_path, keep=files[0], most=250)
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["features-0.npz", "features-3.npz", "other.npz"]


def test_the_file_can_be_read_without_us(tmp_path):
    found = features_of(small_gap(), noise())
    found.save_npz(tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["about", "indices", "keys", "labels", "logits", "maximum", "mean"]
        assert file["keys"].tolist() == list(found.keys)
        assert np.array_equal(file["mean"], found.mean)


def test_the_images_in_which_a_filter_is_most_active():
    found = table([[1, 0], [5, 0], [3, 0], [4, 0]], [0, 1, 0, -1])
    assert top_images(found, 0, 3).tolist() == [11, 13, 12]
    assert top_images(found, 0, label=0).tolist() == [12, 10]
    by_maximum = replace(found, maximum=np.array([[9, 0], [1, 0], [2, 0], [3, 0]], np.float32))
    assert top_images(by_maximum, 0, 2, by="maximum").tolist() == [10, 13]


def test_histograms_of_each_class_share_their_bins():
    found = class_histograms(table([[0.0], [1.0], [3.0], [4.0], [4.0], [2.0]], [0, 0, 0, 1, 1, -1]), 0, bins=4)
    assert found.edges.tolist() == [0, 1, 2, 3, 4]
    assert found.counts.tolist() == [[1, 1, 0, 1], [0, 0, 0, 2], [0, 0, 0, 0]]  # the last bin holds its upper end
    dead = class_histograms(table([[0.0], [0.0]], [0, 1]), 0, bins=4)
    assert dead.counts.sum(1).tolist() == [1, 1, 0]


def test_contributions_are_the_head_s_weights_times_the_class_s_mean_activation():
    # Means z = 0.2 and 0.6 for class a, 1 for class b; weights [[1, 2], [3, -1]] of the filters z and -z.
    images = np.array([51, 153, 255], np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    dataset = ArrayDataset({"train": images}, {"train": [0, 0, 1]}, ("a", "b"))
    classifier = hand_classifier()
    found = features_of(classifier, dataset)
    np.testing.assert_allclose(class_means(found), [[0.4, -0.4], [1, -1]], rtol=1e-6)
    np.testing.assert_allclose(class_contributions(classifier, found), [[0.4, -0.8], [3, 1]], rtol=1e-6)
    # They sum to the mean logit less the bias.
    sums = class_contributions(classifier, found).sum(1) + np.array([0.5, -0.5])
    np.testing.assert_allclose(sums, [found.logits[:2, 0].mean(), found.logits[2, 1]], rtol=1e-6)
    # Gradients say the same where there is a head.
    classifier.__dict__["head"] = None
    assert class_contributions(classifier, found) is None
    np.testing.assert_allclose(class_contributions(classifier, found, dataset), [[0.4, -0.8], [3, 1]], rtol=1e-6)


def test_a_class_without_images_has_no_contributions():
    found = features_of(nearest_classifier(), gray_dataset([0, 2], [0, 2]), "test")
    contributions = class_contributions(nearest_classifier(), found)
    np.testing.assert_allclose(contributions, [[0.0], [np.nan], [2.0]])


def test_activation_under_masks_by_hand():
    images = np.array([[[255, 0], [0, 0]], [[255, 255], [0, 0]]], np.uint8)
    dataset = ArrayDataset({"train": images}, {"train": [0, 1]}, ("a", "b"))
    mask = np.array([[True, False], [False, False]])
    found = activation_under_masks(hand_classifier(), dataset, {"train/00000": mask, "train/00001": mask, "elsewhere": mask})
    np.testing.assert_allclose(found.inside, [1, -1])
    np.testing.assert_allclose(found.outside, [1 / 6, -1 / 6])
    deviation = np.sqrt(3 / 8 * 5 / 8)  # of three ones in eight places
    np.testing.assert_allclose(found.spread, [deviation] * 2, rtol=1e-6)
    np.testing.assert_allclose(found.excess, np.array([5, -5]) / 6 / deviation, rtol=1e-6)
    assert (found.order.tolist(), found.images) == ([0, 1], 2)


def test_filters_that_are_constant_do_not_stand_out_under_masks():
    images = np.full((2, 2, 2), 77, np.uint8)
    dataset = ArrayDataset({"train": images}, {"train": [0, 1]}, ("a", "b"))
    found = activation_under_masks(hand_classifier(), dataset, {"train/00000": np.eye(2, dtype=bool)})
    assert found.excess.tolist() == [0, 0]


def test_masks_that_fit_no_image_give_a_sentence():
    with pytest.raises(
        MaskError, match="None of these images has a mask yet; paint what is irrelevant on some of them first"
    ):
        activation_under_masks(small_gap(), noise(), {"elsewhere": np.ones((16, 16), bool)})
    with pytest.raises(MaskError, match=r"The mask of train/00000 is 3x3 pixels and its image 16x16; paint it on its own"):
        activation_under_masks(small_gap(), noise(), {"train/00000": np.ones((3, 3), bool)})


def test_the_filters_that_look_at_the_tags_of_the_digits_are_found_by_known_masks():
    dataset = make_sample("tag-digits")
    classifier = load_classifier(sample_data_dir() / "tag-digits" / "model.safetensors", device="cpu")
    found = activation_under_masks(classifier, dataset, known_masks(dataset, 60))
    best, rest = found.order[:5], found.order[32:]
    assert (found.inside[best] > 2 * found.outside[best]).all()
    assert found.excess[best].min() > found.excess[rest].max()
    # It holds for images that were not looked at, too.
    others = activation_under_masks(classifier, dataset, known_masks(dataset, 60, split="val"))
    assert len(set(best.tolist()) & set(others.order[:10].tolist())) >= 4
