"""What lies over whole images: found from images with it and without it, put on, taken off, and unlearnt."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg

from core_builders import plain
from napari_cam_feedback.auditing.colours import colours_of, with_colours
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.samples.clothes import _photographs
from napari_cam_feedback.errors import RetuneError, StorageError
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing
from napari_cam_feedback.models.parallel import one_process
from napari_cam_feedback.monitor import QUIET, Callbacks
from napari_cam_feedback.retuning import (
    METHODS,
    RetuneConfig,
    Style,
    find_colours,
    find_style,
    retune,
    run_to_end,
    take_checkpoint,
)
from napari_cam_feedback.retuning.images.colour_map import colour_map, transport
from napari_cam_feedback.retuning.images.sampling import balanced_by_style
from napari_cam_feedback.retuning.images.shown_style import MIN_IMAGES, _map
from napari_cam_feedback.retuning.images.style_file import load_style, save_style
from napari_cam_feedback.retuning.run import RetuneRun
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.training import TrainConfig, train_classifier
from style_builders import CHANGES, SIZE, biased, blur, contrast, noise, scenes, tint, unlabelled


def inputs_of(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def style_of(change, count: int = 40) -> Style:
    """The style found from other images than those it is tried on."""
    with_it, without = scenes(count, 1)[0], scenes(count, 2)[0]
    return find_style(plain(SIZE, SIZE, 3), unlabelled(change(with_it)), unlabelled(without))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_is_put_on_and_told(change):
    style = style_of(change)
    images = scenes(60, 5)[0]
    without, with_it = inputs_of(images), inputs_of(change(images))
    assert style.told > 0.95
    assert style.carries(with_it).float().mean() > 0.95
    assert style.carries(without).float().mean() < 0.05
    put_on = style.put_on(without, torch.Generator().manual_seed(0))
    assert style.carries(put_on).float().mean() > 0.95
    assert style.carries(style.take_off(with_it)).float().mean() < 0.2
    assert put_on.shape == without.shape
    assert (float(put_on.min()), float(put_on.max())) >= (0.0, 0.0)
    assert float(put_on.max()) <= 1.0


@pytest.mark.parametrize("change", [tint, contrast, lambda images: images], ids=["tint", "contrast", "nothing"])
def test_few_photographs_show_how_far_colours_reach(change):
    """Of photographs light and contrast differ so much that those of 30 say little; their darkest and lightest parts do."""
    photographs = _photographs()["train"][0]
    expected = change(np.array([[0, 0, 0], [200, 200, 200]], np.uint8)).astype(float)
    factors = []
    for seed in range(3):
        rows = np.random.default_rng(seed).permutation(len(photographs))
        one, two = inputs_of(change(photographs[rows[:30]])), inputs_of(photographs[rows[30:60]])
        middle, without, colours = colour_map(one, two)
        factors.append(colours.diagonal().numpy())
        # A colour in the middle of all is where it is to be.
        middle_of_all = without[None, :, None, None]
        found = (_map(colours, middle_of_all - without[:, None, None]) + middle[:, None, None])[0, :, 0, 0] * 255
        wanted = change(np.round(without.numpy() * 255).astype(np.uint8)[None]).astype(float)[0]
        assert np.abs(found.numpy() - wanted).max() < 15
    np.testing.assert_allclose(factors, np.broadcast_to((expected[1] - expected[0]) / 200, (3, 3)), atol=0.12)


def test_what_tells_no_difference_is_left_as_it_is():
    """Colours of two halves of the same kind are not mapped onto each other: what could be chance is none."""
    images = inputs_of(scenes(200, 3)[0])
    middle, without, colours = colour_map(images[:100], images[100:])
    torch.testing.assert_close(middle, without)
    torch.testing.assert_close(colours, torch.eye(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("change", "left_after"), [(tint, 0.2), (contrast, 0.2), (blur, 1.0)])
def test_what_is_put_on_is_what_was_done(change, left_after):
    """Of what differs pixel by pixel at most a third is left; what is blurred comes back in part, and is never worse."""
    style, images = style_of(change, 120), scenes(40, 5)[0]
    without, with_it = inputs_of(images), inputs_of(change(images))
    left = (style.put_on(without) - with_it).abs().mean()
    assert left < (without - with_it).abs().mean() / 3
    back = (style.take_off(with_it) - without).abs().mean()
    assert back < (without - with_it).abs().mean() * left_after


def test_noise_is_added_and_is_not_sharpness():
    """On an even image only noise can be put, of the deviation that was added: 20 of 255."""
    style = style_of(noise, 120)
    even = torch.full((20, 3, SIZE, SIZE), 0.4)
    put_on = style.put_on(even, torch.Generator().manual_seed(0))
    assert put_on.flatten(2).std(2).mean().item() == pytest.approx(20 / 255, rel=0.25)
    again = style.put_on(even, torch.Generator().manual_seed(1))
    assert not torch.equal(put_on, again)


def test_the_colours_are_mapped_by_the_linear_transport():
    """T S T = U with T symmetric; and, against another program's matrix root, the formula itself."""
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(2, 3, 3))
    source, target = (root @ root.T + 0.1 * np.eye(3) for root in roots)
    found = transport(torch.tensor(source).float(), torch.tensor(target).float()).numpy()
    assert found == pytest.approx(found.T, abs=1e-4)
    assert found @ source @ found == pytest.approx(target, abs=2e-3)
    root = scipy.linalg.sqrtm(source)
    inverse = np.linalg.inv(root)
    assert found == pytest.approx(inverse @ scipy.linalg.sqrtm(root @ target @ root) @ inverse, abs=2e-3)


def test_classes_that_have_both_are_compared_within():
    """Where all with it are of one class and nearly all without of the other, what the class looks like is left out."""
    dark = scenes(60, 1, np.zeros(60, np.int64))[0] // 2
    bright = scenes(60, 2, np.ones(60, np.int64))[0]
    names = {split: [f"{split}{n}.png" for n in range(60)] for split in ("dark", "bright")}
    with_it = _named(tint(dark[:30]), names["dark"][:30])
    without = _named(np.concatenate([dark[30:50], bright[:20]]), [*names["dark"][30:50], *names["bright"][:20]])
    known = _named(
        np.concatenate([dark, bright]), [*names["dark"], *names["bright"]], np.repeat([0, 1], 60), ("dark", "bright")
    )
    without_classes = find_style(plain(SIZE, SIZE, 3), with_it, without)
    within = find_style(plain(SIZE, SIZE, 3), with_it, without, known)
    images = dark[50:]
    errors = [
        (style.put_on(inputs_of(images)) - inputs_of(tint(images))).abs().mean() for style in (within, without_classes)
    ]
    assert errors[0] < 0.02
    assert errors[1] > 3 * errors[0]


def _named(images: np.ndarray, names: list[str], labels: np.ndarray | None = None, classes=("all",)) -> ArrayDataset:
    labels = np.zeros(len(images), np.int64) if labels is None else labels
    found = ArrayDataset({"train": images}, {"train": labels}, classes)
    found.keys = tuple(names)
    return found


def test_sets_that_nothing_tells_apart_are_refused():
    with pytest.raises(RetuneError, match=r"tell only \d+% of these images apart, and half would be chance"):
        find_style(plain(SIZE, SIZE, 3), unlabelled(scenes(40, 1)[0]), unlabelled(scenes(40, 2)[0]))


def test_too_few_images_are_refused():
    few = unlabelled(scenes(MIN_IMAGES - 1, 1)[0])
    with pytest.raises(RetuneError, match="There are 40 images with it and 7 without it; 8 of each are needed"):
        find_style(plain(SIZE, SIZE, 3), unlabelled(tint(scenes(40, 2)[0])), few)


def test_test_images_are_not_learnt_from():
    images = scenes(40, 1)[0]
    known = ArrayDataset({"train": images[:20], "test": images[20:]}, {}, ("a", "b"))
    known.keys = tuple(f"{n}.png" for n in range(40))
    shown = _named(tint(images[15:25]), [f"{n}.png" for n in range(15, 25)])
    with pytest.raises(RetuneError, match="of the images with it and without it are test images or have no label"):
        find_style(plain(SIZE, SIZE, 3), shown, unlabelled(images), known)


def test_a_style_is_kept_in_a_file(tmp_path):
    style, images = style_of(tint), inputs_of(scenes(8, 5)[0])
    save_style(style, tmp_path / "style.safetensors")
    read = load_style(tmp_path / "style.safetensors")
    assert read.told == style.told
    assert torch.equal(read.put_on(images), style.put_on(images))
    (tmp_path / "style.safetensors").write_bytes(b"no")
    with pytest.raises(StorageError, match="show the images with it and without it again"):
        load_style(tmp_path / "style.safetensors")


# The whole loop --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tinted() -> tuple[Classifier, ArrayDataset]:
    dataset = biased(tint)
    start = build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset), seed=0)
    return run_to_end(train_classifier(start, dataset, TrainConfig(epochs=4, seed=0))), dataset


def accuracy(classifier: Classifier, dataset: ArrayDataset, split: str = "test") -> float:
    right = [
        (classifier.logits(inputs).argmax(1).cpu().numpy() == dataset.labels[picked])
        for picked, inputs in InputCache(dataset, classifier.preprocessing).batches(dataset.indices(split), 64)
    ]
    return float(np.concatenate(right).mean())


def style_for(classifier: Classifier) -> Style:
    shown = unlabelled(tint(scenes(40, 31, light=(40, 70))[0])), unlabelled(scenes(40, 32, light=(40, 70))[0])
    return find_style(classifier.preprocessing, *shown)


def test_a_network_stops_using_it_and_the_verdict_says_so(tinted):
    classifier, dataset = tinted
    before = accuracy(classifier, dataset)
    assert before < 0.6
    style = style_for(classifier)
    steps = []
    result = run_to_end(retune(classifier, dataset, {}, style=style), steps.append)
    assert accuracy(result.classifier, dataset) > 0.9
    assert result.verdict.name == "fixed"
    assert "with it swapped (taken off where it is, else put on)" in result.verdict.reason
    assert result.resolved["method"] == "transplant"
    assert style.sentence in steps[0].message
    assert (dict(result.masks), result.style) == ({}, style)
    # Nothing of what decided is about paint, and what is said of it is measured where it is said.
    assert result.after.style
    assert "painted" not in result.verdict.reason
    assert result.after.held_out.n >= 5


def corner(dataset: ArrayDataset, count: int = 20) -> dict[str, np.ndarray]:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:4, :4] = True
    return {dataset.keys[int(index)]: mask for index in dataset.indices("train")[:count]}


def marked(dataset: ArrayDataset) -> ArrayDataset:
    """The same with a white corner on class 1, but on test, where it is on class 0."""
    images, labels = {}, {}
    for split in dataset.split_names:
        items = dataset.indices(split)
        images[split] = np.stack([dataset.read(int(item)) for item in items])
        labels[split] = dataset.labels[items]
        images[split][labels[split] == (0 if split == "test" else 1), :4, :4] = 255
    return ArrayDataset(images, labels, dataset.class_names)


def test_what_is_painted_and_a_style_are_taken_out_together(tinted):
    dataset = marked(tinted[1])
    start = build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset), seed=0)
    classifier = run_to_end(train_classifier(start, dataset, TrainConfig(epochs=4, seed=0)))
    style, masks = style_for(classifier), corner(dataset)
    assert accuracy(classifier, dataset) < 0.5
    both = run_to_end(retune(classifier, dataset, masks, style=style))
    assert accuracy(both.classifier, dataset) > 0.9
    assert both.verdict.name in ("fixed", "improved")
    assert "another class's marker pasted in, and with it swapped" in both.verdict.reason
    assert both.resolved["method"] == "actdiff+transplant"
    assert (set(both.masks), both.style) == (set(masks), style)
    again = take_checkpoint(both, both.selected_iteration, dataset, masks, share=both.selected_share)
    assert again.after.conflict_accuracy == both.after.conflict_accuracy


def test_methods_that_change_no_image_do_not_take_a_style_beside_masks(tinted):
    classifier, dataset = tinted
    with pytest.raises(
        RetuneError, match="The method rrr takes out what is painted, but nothing that lies over whole images"
    ):
        run_to_end(retune(classifier, dataset, corner(dataset), RetuneConfig(method="rrr"), style=style_for(classifier)))


def lit(*, shortcut: bool = True) -> ArrayDataset:
    """Class 1 is brighter, by an amount of each image's own; in test it is darker."""
    images, labels, rng = {}, {}, np.random.default_rng(4)
    for seed, (split, count) in enumerate({"train": 400, "val": 120, "test": 200}.items()):
        found, labels[split] = scenes(count, 20 + seed, light=(40, 70))
        told = labels[split] if shortcut else rng.integers(2, size=count)
        sign = np.where((told == 1) != (split == "test"), 1, -1)
        shift = (sign * rng.integers(20, 45, count))[:, None, None, None]
        images[split] = (found + shift).clip(0, 255).astype(np.uint8)
    return ArrayDataset(images, labels, ("lying", "standing"))


@pytest.fixture(scope="module")
def bright() -> tuple[Classifier, ArrayDataset]:
    dataset = lit()
    start = build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset), seed=0)
    return run_to_end(train_classifier(start, dataset, TrainConfig(epochs=4, seed=0))), dataset


def test_brightness_and_colour_are_taken_out_without_an_image_shown(bright):
    classifier, dataset = bright
    assert accuracy(classifier, dataset) < 0.5
    result = run_to_end(retune(classifier, dataset, {}, style=find_colours(classifier.preprocessing, dataset)))
    assert accuracy(result.classifier, dataset) > 0.9
    assert result.verdict.name in ("fixed", "improved")
    assert "validation images with the brightness and colour of other images" in result.verdict.reason


def test_an_image_with_the_colours_of_another_has_them():
    """Median and quartiles of the surroundings, worked out by numpy; what is in the middle moves with them."""
    images, others = (inputs_of(scenes(5, seed)[0]) for seed in (1, 2))
    found = with_colours(images, colours_of(others))
    edge = np.ones((SIZE, SIZE), bool)
    width = max(1, round(SIZE / 8))
    edge[width:-width, width:-width] = False
    wanted = np.quantile(others.numpy()[:, :, edge], [0.25, 0.5, 0.75], axis=2)
    reached = np.quantile(found.numpy()[:, :, edge], [0.25, 0.5, 0.75], axis=2)
    assert reached[1] == pytest.approx(wanted[1], abs=1e-5)
    assert reached[2] - reached[0] == pytest.approx(wanted[2] - wanted[0], abs=1e-5)
    # An affine map of each channel, so that places keep their order.
    assert torch.equal(found.flatten(2).argsort(2), images.flatten(2).argsort(2))


def test_colours_are_those_of_training_images_alone(bright):
    _, dataset = bright
    found = find_colours(plain(SIZE, SIZE, 3), dataset)
    assert found.colours_of_others.shape == (3, 300, 3)
    inputs = torch.cat([part for _, part in InputCache(dataset, plain(SIZE, SIZE, 3)).batches(dataset.indices("train"), 64)])
    known = colours_of(inputs)[1]
    assert all((known == each).all(1).any() for each in found.colours_of_others[1])


def test_a_network_that_does_not_use_it_is_left_in_peace():
    even = biased(tint, share=0.5)
    start = build_classifier("small-gap", even.class_names, default_preprocessing(even), seed=0)
    classifier = run_to_end(train_classifier(start, even, TrainConfig(epochs=12, seed=0)))
    steps, style = [], style_for(classifier)
    result = run_to_end(retune(classifier, even, {}, style=style), steps.append)
    assert result.verdict.name == "no effect"
    # Nobody painted anything, so nothing is said of masks.
    assert steps[0].message == style.sentence
    assert "The model hardly used it to begin with" in result.verdict.reason
    assert accuracy(result.classifier, even) > accuracy(classifier, even) - 0.02


def test_where_no_image_has_it_that_is_said(tinted):
    classifier, _ = tinted
    found, labels = scenes(60, 3)
    bare = ArrayDataset({"train": found[:40], "val": found[40:]}, {"train": labels[:40], "val": labels[40:]}, ("a", "b"))
    bare = replace_names(bare, classifier)
    with pytest.raises(RetuneError, match="None of 40 training images looks like those with it"):
        run_to_end(retune(classifier, bare, {}, style=style_for(classifier)))


def replace_names(dataset: ArrayDataset, classifier: Classifier) -> ArrayDataset:
    dataset.class_names = classifier.class_names
    return dataset


@pytest.mark.parametrize("of_colours", [False, True])
@pytest.mark.parametrize("damage", ["size", "channels", "numbers", "shape"])
def test_a_style_that_does_not_fit_is_refused_before_the_first_step(tinted, damage, of_colours):
    """As a file of another run, or a broken one, would bring it; brightness and colour have no size."""
    classifier, dataset = tinted
    size = {"size": (20, 24, 3), "channels": (SIZE, SIZE, 1)}.get(damage, (SIZE, SIZE, 3))
    if of_colours:
        style = find_colours(plain(*size), dataset)
    else:
        style = find_style(plain(*size), unlabelled(tint(scenes(40, 31)[0])), unlabelled(scenes(40, 32)[0]))
    tensors = style.to_tensors()
    last = "colours_of_others" if of_colours else "weights"
    if damage == "numbers":
        tensors[last] = tensors[last] * torch.nan
        tensors["low"] = tensors["low"] * torch.nan
    elif damage == "shape":
        tensors[last] = tensors[last][:0]
    changed = Style.from_tensors(tensors)
    if of_colours and damage == "size":
        changed.check(3, (SIZE, SIZE))
        return
    with pytest.raises(RetuneError, match="found on images of another size or number of channels"):
        retune(classifier, dataset, {}, style=changed)


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if not each.takes_styles])
def test_methods_of_painted_places_say_that_there_are_none(tinted, method):
    classifier, dataset = tinted
    with pytest.raises(RetuneError, match=f"The method {method} works on painted places, and what lies over whole images"):
        run_to_end(retune(classifier, dataset, {}, RetuneConfig(method=method), style=style_for(classifier)))


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if each.takes_styles])
def test_the_other_methods_run(tinted, method):
    classifier, dataset = tinted
    config = RetuneConfig(method=method, iterations=2, check_every=2)
    result = run_to_end(retune(classifier, dataset, {}, config, style=style_for(classifier)))
    assert result.after.n == 120


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(tinted):
    classifier, dataset = tinted
    config, style = RetuneConfig(iterations=8, check_every=4), style_for(classifier)
    whole = run_to_end(retune(classifier, dataset, {}, config, style=style))
    states, done = [], []
    stop = Callbacks(stop=lambda: len(done) > 5)
    run_to_end(retune(classifier, dataset, {}, config, style=style, monitor=stop, on_run_state=states.append), done.append)
    assert states[-1].iteration == 4
    resumed = run_to_end(retune(classifier, dataset, {}, config, style=style, resume=states[-1]))
    assert resumed.classifier.fingerprint() == whole.classifier.fingerprint()
    other = replace(style, mean=style.mean + 0.1)
    with pytest.raises(RetuneError, match="begun with another model, other settings, masks or images"):
        run_to_end(retune(classifier, dataset, {}, config, style=other, resume=states[-1]))


def test_another_checkpoint_is_measured_with_the_same_style(tinted):
    classifier, dataset = tinted
    config = RetuneConfig(iterations=8, check_every=4)
    result = run_to_end(retune(classifier, dataset, {}, config, style=style_for(classifier)))
    others = [each.check for each in result.checkpoints if each.check.iteration not in (0, result.selected_iteration)]
    taken = take_checkpoint(result, others[0].iteration, dataset, {}) if others else take_checkpoint(result, 0, dataset, {})
    assert taken.after.style
    assert taken.verdict.reason


def test_images_of_a_class_without_its_usual_style_are_drawn_as_often_as_the_others():
    """In class 0 three of four are white; in class 1 one of forty, which is drawn ten times as often and no more."""
    white = np.r_[np.ones(3), 0, 1, np.zeros(39), np.ones(4)].astype(bool)
    labels = np.r_[np.zeros(4), np.ones(40), np.full(4, 2)].astype(np.int64)
    images = np.where(white[:, None, None, None], 255, 0).astype(np.uint8) * np.ones((1, 4, 4, 1), np.uint8)
    dataset = ArrayDataset({"train": images}, {"train": labels}, ("a", "b", "c"))
    cache, train = InputCache(dataset, default_preprocessing(dataset)), dataset.indices("train")
    middle = next(cache.batches(train, len(train)))[1].mean()
    is_white = SimpleNamespace(carries=lambda inputs: inputs.mean((1, 2, 3)) > middle)
    weights = balanced_by_style(is_white, dataset, cache, train, 0)
    wanted = np.r_[[2 / 3] * 3, 2, 10, [20 / 39] * 39, np.ones(4)]
    np.testing.assert_allclose(weights, wanted / wanted.sum())
    all_alike = SimpleNamespace(carries=lambda inputs: torch.ones(len(inputs), dtype=torch.bool))
    assert balanced_by_style(all_alike, dataset, cache, train, 0) is None


@pytest.mark.parametrize(("method", "balanced"), [("auto", True), ("augment", False)])
def test_only_what_uses_the_style_draws_images_by_it(tinted, method, balanced):
    classifier, dataset = tinted
    config, style = RetuneConfig(method=method, learning_rate=1e-3, iterations=2), style_for(classifier)
    run = RetuneRun(classifier, dataset, {}, config, QUIET, lambda _: None, one_process("cpu"), False, style)
    run.begin()
    assert (run.sampler.sampling_weights is not None) == balanced
