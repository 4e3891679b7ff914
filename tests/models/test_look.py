"""A first look at a model with its data says what is amiss, what the likeliest cause is, and what to set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core_builders import gray_dataset, nearest_classifier, plain
from napari_cam_feedback.cli.naming import OptionNames
from napari_cam_feedback.data import ArrayDataset, Preprocessing
from napari_cam_feedback.errors import ModelError, Remark
from napari_cam_feedback.models import Classifier, build_classifier
from napari_cam_feedback.models.chance import beyond_chance, chance_agreement, sign_test
from napari_cam_feedback.models.classes_shown import classes_remark
from napari_cam_feedback.models.first_look.class_order import find_class_order
from napari_cam_feedback.models.first_look.coarse import coarse_remark, finer_layer
from napari_cam_feedback.models.first_look.correcting import corrected
from napari_cam_feedback.models.first_look.look import describe_change, labelled_sample, look_at
from napari_cam_feedback.models.first_look.trials import candidates
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.widgets.parts.model_form import MODEL_FIELDS

nn = torch.nn
TRUTH = [0, 1, 2] * 20


def known(classifier: Classifier, accuracy: float = 1.0) -> Classifier:
    """The same classifier from a file that says how accurate it was."""
    return replace(classifier, info={"training": {"val_accuracy": accuracy, "train_accuracy": 1.0}})


def prepared(classifier: Classifier, **values: object) -> Classifier:
    """The same classifier whose images are prepared otherwise."""
    return replace(classifier, preprocessing=Preprocessing(**{**classifier.preprocessing.model_dump(), **values}))


class Counted(nn.Module):
    """Counts the images that a network is asked about."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner, self.images = module, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.images += len(x) if x.device.type != "meta" else 0
        return self.inner(x)


def test_where_all_is_well_nothing_is_said_and_about_fifty_images_are_asked():
    classifier = nearest_classifier()
    module = Counted(classifier.module)
    looked = look_at(known(replace(classifier, module=module, target_layer="inner.features")), gray_dataset(TRUTH, TRUTH))
    assert (looked.images, looked.right, looked.doubt, looked.correction) == (50, 50, None, None)
    assert looked.outputs == ()
    assert looked.accuracy_remark() is None
    assert module.images == 50 + 8


# Chance and the binomial distribution ---------------------------------------------------------------------


def test_chance_is_what_the_same_predictions_without_a_look_at_the_image_would_get():
    labels = np.array([0, 0, 1, 1])
    assert chance_agreement(labels, np.array([0, 1, 0, 1])) == pytest.approx(0.5)
    # One class always, and the shares 3/4 and 1/4: 0.75 * 0.5 + 0.25 * 0.5.
    assert chance_agreement(labels, np.array([0, 0, 0, 0])) == pytest.approx(0.5)
    assert chance_agreement(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])) == pytest.approx(0.75 * 0.5 + 0.25 * 0.5)
    # Of many classes that are hardly ever named, chance gives next to nothing.
    assert chance_agreement(np.array([0, 1]), np.array([700, 701])) == 0.0


def test_right_answers_are_beyond_chance_by_the_tail_of_the_binomial_distribution():
    # Of 20 fair coins, 15 or more heads come with probability 0.0207, 14 or more with 0.0577.
    assert beyond_chance(15, 20, 0.5)
    assert not beyond_chance(14, 20, 0.5)


def test_one_way_is_better_than_another_by_the_images_that_they_differ_on():
    before, after = np.zeros(20, bool), np.zeros(20, bool)
    after[:9] = True
    before[9] = True
    # 9 won and 1 lost: of 10 coins, 9 or more heads come with (10 + 1) / 1024.
    assert sign_test(before, after) == pytest.approx(11 / 1024)
    assert sign_test(before, before) == 1.0


def test_a_network_at_chance_is_said_in_one_sentence():
    always = [1] * 60
    looked = look_at(nearest_classifier(), gray_dataset(TRUTH, always))
    assert looked.doubt == "chance"
    assert looked.correction is None
    assert looked.accuracy_remark() == (
        "The model is right on 20 of 60 labelled images (accuracy 0.33), no better than chance (0.33), and no usual size, "
        "scaling, mean, value range, order of colours or order of classes makes it much better: check that the model is "
        "for these images and classes."
    )


def test_too_few_labelled_images_say_nothing():
    looked = look_at(nearest_classifier(), gray_dataset(TRUTH[:18], [1] * 18))
    assert (looked.images, looked.doubt) == (0, None)


# Preprocessing --------------------------------------------------------------------------------------------


def test_a_wrong_mean_is_found_and_named_with_what_to_set():
    wrong = prepared(known(nearest_classifier()), mean=(0.5,), std=(0.5,))
    looked = look_at(wrong, gray_dataset(TRUTH, TRUTH))
    assert looked.doubt == "below"
    assert looked.correction is not None
    assert looked.correction.preprocessing == plain(4, 4)
    assert looked.correction.class_names == ("low", "mid", "high")
    assert looked.accuracy_remark() == (
        "The model is right on 40 of 60 labelled images (accuracy 0.67), far below the 1.00 that its file says of its "
        "training; with mean 0 and deviation 1 it would be right on 60 of 60 (1.00): set mean=(0.0,), std=(1.0,)."
    )
    assert looked.accuracy_remark(OptionNames()).endswith(": --mean 0 --std 1.")
    assert looked.accuracy_remark(MODEL_FIELDS).endswith(": set “Mean” to 0 and “Deviation” to 1.")


def test_without_a_file_that_says_better_an_accuracy_beyond_chance_is_taken_as_it_is():
    wrong = prepared(nearest_classifier(), mean=(0.5,), std=(0.5,))
    assert look_at(wrong, gray_dataset(TRUTH, TRUTH)).doubt is None


def colours() -> tuple[Classifier, ArrayDataset]:
    """Red, green and blue images (brighter and darker ones), and a network that names the strongest channel but for blue.

    It says blue only where red and green are equally weak, so that exchanged colours are no other order of the classes.
    """
    module = nn.Sequential()
    module.add_module("features", nn.Conv2d(3, 3, 1))
    module.add_module("pool", nn.AdaptiveAvgPool2d(1))
    module.add_module("flatten", nn.Flatten())
    head = nn.Linear(3, 2)
    with torch.no_grad():
        module.features.weight.copy_(torch.eye(3)[:, :, None, None])
        module.features.bias.zero_()
        head.weight.copy_(torch.tensor([[1.0, 0.0, -1.0], [-1.0, 0.0, 1.0]]))
        head.bias.zero_()
    module.add_module("head", head)
    classifier = Classifier(module, ("red", "blue"), plain(4, 4, 3), "features", "colours")
    labels = np.arange(60) % 2
    images = np.zeros((60, 4, 4, 3), np.uint8)
    images[labels == 0, ..., 0] = 200
    images[labels == 1, ..., 2] = 200
    return classifier, ArrayDataset({"train": images}, {"train": labels}, ("red", "blue"))


def test_red_and_blue_exchanged_is_found_before_an_exchange_of_classes_that_would_do_as_well():
    classifier, dataset = colours()
    assert look_at(classifier, dataset).doubt is None
    looked = look_at(prepared(classifier, channel_order="bgr"), dataset)
    assert looked.right == 0
    assert looked.correction is not None
    assert looked.correction.preprocessing == classifier.preprocessing
    assert looked.correction.class_names == ("red", "blue")
    assert looked.accuracy_remark(OptionNames()).endswith(
        "with the colours in the order RGB it would be right on 60 of 60 (1.00): --channel-order rgb."
    )
    assert looked.accuracy_remark(MODEL_FIELDS).endswith("set “Colour order” to RGB.")


def test_pixel_values_of_another_depth_are_found():
    values = np.array([0, 2048, 4095], np.uint16)[TRUTH]
    images = np.broadcast_to(values[:, None, None], (60, 4, 4)).copy()
    dataset = ArrayDataset({"train": images}, {"train": TRUTH}, ("low", "mid", "high"))
    looked = look_at(nearest_classifier(), dataset)
    assert looked.doubt == "chance"
    assert looked.correction.preprocessing.value_range == (0.0, 4095.0)
    assert looked.correction.settings == {"value_range": (0.0, 4095.0)}
    assert OptionNames().assign(looked.correction.settings) == "--value-range 0 4095"
    assert MODEL_FIELDS.assign(looked.correction.settings) == "set “Value range” to 0 4095"


def test_what_is_tried_differs_in_one_respect_each():
    present = Preprocessing(size=(64, 64), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    image = np.zeros((28, 40, 3), np.uint8)
    tried = list(candidates(present, [image]))
    said = [OptionNames().assign(describe_change(present, each)[1]) for each in tried]
    assert said == [
        "--channel-order bgr",
        "--mean 0,0,0 --std 1,1,1",
        "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
        "--mean 0,0,0 --std 0.00392157,0.00392157,0.00392157",
        "--mean 0.485,0.456,0.406 --std 0.00392157,0.00392157,0.00392157",
        "--value-range 0 255",
        "--size 28 40 --no-crop",
        "--size 32 32 --no-crop",
        "--size 128 128 --no-crop",
        "--size 64 64 --crop",
        "--size 64 64 --crop --resize-to 73",
    ]
    cropped = Preprocessing(size=(64, 64), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3, crop=True, resize_to=73)
    changes = [describe_change(cropped, each)[1] for each in candidates(cropped, [image])]
    assert {"size": (64, 64), "crop": False} in changes
    assert MODEL_FIELDS.assign({"size": (64, 64), "crop": False}) == "set “Input size” to 64x64 and “Scaling” to stretched"


def test_a_network_that_takes_one_size_only_is_tried_at_that_size():
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(2 * 16, 3))
    classifier = Classifier(module, ("low", "mid", "high"), plain(4, 4), "0", "fixed")
    assert look_at(classifier, gray_dataset(TRUTH, [1] * 60)).doubt == "chance"


def test_what_there_was_no_time_to_try_is_not_claimed():
    looked = look_at(nearest_classifier(), gray_dataset(TRUTH, [1] * 60), stop=lambda: True)
    assert not looked.complete
    assert "no other preprocessing that there was time to try" in looked.accuracy_remark()


# Order of the classes -------------------------------------------------------------------------------------


def test_another_order_of_the_classes_is_found_and_named():
    # Outputs that stand for high, low and mid, in that order.
    shown = [(k + 1) % 3 for k in TRUTH]
    looked = look_at(nearest_classifier(), gray_dataset(TRUTH, shown))
    assert looked.right == 0
    assert looked.correction.class_names == ("high", "low", "mid")
    assert looked.correction.preprocessing == plain(4, 4)
    assert looked.correction.settings == {"class_names": ("high", "low", "mid")}
    assert looked.accuracy_remark(OptionNames()).endswith(
        "; with the classes in another order it would be right on 60 of 60 (1.00): name them with --classes FILE in the "
        "order high, low, mid."
    )
    assert "set “Class names” to a file with the names in the order high, low, mid." in looked.accuracy_remark(MODEL_FIELDS)


def test_two_classes_exchanged_are_found_though_the_accuracy_is_beyond_chance():
    truth = [0] * 40 + [1] * 10 + [2] * 10
    looked = look_at(nearest_classifier(), gray_dataset(truth, [{0: 0, 1: 2, 2: 1}[k] for k in truth]))
    assert looked.doubt == "order"
    assert looked.correction.class_names == ("low", "high", "mid")


def test_an_order_is_not_read_out_of_noise():
    rng = np.random.default_rng(0)
    for classes in (3, 10, 40):
        labels = np.arange(100) % classes
        assert find_class_order(labels, rng.integers(0, classes, 100), classes) is None
    # Nor where classes are confused, one way.
    labels = np.arange(100) % 4
    assert find_class_order(labels, np.where(labels == 3, 2, labels), 4) is None


def test_classes_that_no_image_shows_keep_their_place():
    labels = np.repeat([0, 1], 20)
    order = find_class_order(labels, 1 - labels, 5)
    assert order.classes == (1, 0, 2, 3, 4)
    assert order.right.all()


# Which images ---------------------------------------------------------------------------------------------


def test_images_are_spread_over_classes_and_none_is_of_the_test_split():
    images = {name: np.zeros((n, 4, 4), np.uint8) for name, n in (("train", 90), ("test", 90))}
    labels = {"train": np.repeat([0, 1, 2], [80, 7, 3]), "test": np.zeros(90, np.int64)}
    dataset = ArrayDataset(images, labels, ("low", "mid", "high"))
    chosen = labelled_sample(dataset, 30)
    assert set(dataset.splits[chosen]) == {"train"}
    assert np.bincount(dataset.labels[chosen]).tolist() == [10, 7, 3]
    assert np.bincount(dataset.labels[chosen[:9]]).tolist() == [3, 3, 3]
    # Only where nothing else has labels.
    labels["train"] = np.full(90, -1)
    assert set(dataset.splits[labelled_sample(ArrayDataset(images, labels, dataset.class_names), 30)]) == {"test"}


def test_without_labels_the_outputs_are_looked_at_and_nothing_else():
    dataset = gray_dataset([-1] * 30, TRUTH[:30])
    looked = look_at(ended(lambda x: x.softmax(1)), dataset)
    assert looked.images == 0
    assert len(looked.outputs) == 1


# What the outputs show by themselves ----------------------------------------------------------------------


class Ended(nn.Module):
    def __init__(self, end) -> None:
        super().__init__()
        self.inner, self.end = nearest_classifier().module, end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.inner(x))


def ended(end) -> Classifier:
    """The nearest-gray network whose logits something is done with."""
    return replace(nearest_classifier(), module=Ended(end), target_layer="inner.features")


def test_a_softmax_at_the_end_is_said():
    (said,) = look_at(ended(lambda x: (20 * x).softmax(1)), gray_dataset(TRUTH, TRUTH)).sentences()[:1]
    assert said.startswith("The network ends in a softmax, and a second one is applied to its outputs")
    assert said.endswith("let its forward return what comes before the softmax.")
    # Logits that are all positive, or sum to 1 now and then, are none.
    assert look_at(ended(lambda x: x.exp()), gray_dataset(TRUTH, TRUTH)).outputs == ()


def test_outputs_that_are_drawn_at_random_are_said():
    random = ended(lambda x: nn.functional.dropout(x + 1, 0.5, training=True))
    (said,) = look_at(random, gray_dataset(TRUTH, TRUTH)).outputs
    assert said.sentence.startswith(
        "Asked twice about the same image, the network answers differently (a probability changes by"
    )
    assert "dropout that stays on" in said.sentence


def test_outputs_that_are_no_numbers_are_an_error_that_names_the_weights():
    broken = nearest_classifier()
    broken.module.head.weight[0, 0] = float("nan")
    with pytest.raises(ModelError) as error:
        look_at(broken, gray_dataset(TRUTH, TRUTH))
    assert str(error.value) == (
        "The network's outputs are not finite numbers (NaN) for any image, since its weights are not either (head.weight); "
        "load another checkpoint, saved before the training broke down."
    )
    with pytest.raises(ModelError, match=r"\(NaN\) for any image; check the mean, the deviation and the value range"):
        look_at(ended(lambda x: x / 0), gray_dataset(TRUTH, TRUTH))


def test_some_outputs_that_are_no_numbers_are_said():
    some = ended(lambda x: torch.where(x.argmax(1, keepdim=True) == 2, torch.nan, x))
    looked = look_at(some, gray_dataset(TRUTH, TRUTH))
    assert looked.outputs[0].sentence.startswith(
        "The network's outputs are not finite numbers (NaN) for 16 of 50 images; check"
    )


# The target layer -----------------------------------------------------------------------------------------


def test_coarse_maps_are_said_with_the_finer_layer():
    coarse = build_classifier("small-gap", ("a", "b"), plain(16, 16))
    assert coarse_remark(coarse) == Remark(
        "The maps of layer features are coarse, with 4x4 places; for finer ones choose features.3, with 8x8.", ("layer",)
    )
    assert coarse_remark(coarse.with_layer(finer_layer(coarse).name)) is None
    assert coarse_remark(build_classifier("small-gap", ("a", "b"), plain(28, 28))) is None
    only = Classifier(nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten(), nn.Linear(8, 2)), ("a", "b"), plain(9, 9), "0", "own")
    assert coarse_remark(only).sentence.endswith("are coarse, with 2x2 places; larger images give finer ones.")
    assert coarse_remark(only).fields == ("size",)


# Classes that the training images do not show -------------------------------------------------------------


def test_classes_without_training_images_are_said():
    classifier = nearest_classifier()
    assert classes_remark(gray_dataset(TRUTH, TRUTH, "train"), classifier) is None
    assert classes_remark(gray_dataset([0, 2] * 9, [0, 2] * 9, "train"), classifier) == (
        "The training images show 2 of the model's 3 classes; the other (mid) cannot be learnt from and may be forgotten, "
        "so add images of them or use the retuned model for the classes shown only."
    )
    names = tuple(f"c{k}" for k in range(1000))
    large = build_classifier("small-gap", names, plain(16, 16))
    few = ArrayDataset({"train": np.zeros((12, 4, 4), np.uint8)}, {"train": np.arange(12)}, names)
    assert classes_remark(few, large).startswith(
        "The training images show 12 of the model's 1,000 classes; the others cannot be learnt from"
    )


def test_what_helps_by_itself_is_listed_and_can_be_used_at_once():
    classifier, dataset = colours()
    wrong = prepared(classifier, channel_order="bgr")
    looked = look_at(wrong, dataset)
    # The best of each kind of change, those that help most first, with how many images it makes right.
    assert looked.causes[0].preprocessing.channel_order == "rgb"
    assert [cause.accuracy for cause in looked.causes] == sorted((cause.accuracy for cause in looked.causes), reverse=True)
    found = corrected(wrong, looked.correction)
    assert look_at(found, dataset).accuracy == 1
    assert look_at(wrong, dataset).accuracy == 0


def test_outputs_are_put_into_the_order_of_the_classes():
    shown = [(k + 1) % 3 for k in TRUTH]
    classifier, dataset = nearest_classifier(), gray_dataset(TRUTH, shown)
    looked = look_at(classifier, dataset)
    assert looked.correction in looked.causes
    found = corrected(classifier, looked.correction)
    assert found is not None
    assert found.class_names == classifier.class_names
    assert look_at(found, dataset).accuracy == 1
