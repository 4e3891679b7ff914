"""Where all that surrounds an object is painted: the object before other surroundings."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.evaluation.perturbations.backgrounds import before_others, of_other_classes, without_objects
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing
from napari_cam_feedback.retuning import RetuneConfig, describe_method, retune, run_to_end
from napari_cam_feedback.retuning.images.masked_set import MaskedSet
from napari_cam_feedback.retuning.images.refill import Replacer
from napari_cam_feedback.retuning.methods import AUTO_SURROUNDINGS, Batch, Context, make_methods
from napari_cam_feedback.torch_loader import torch

OBJECT = (slice(None), slice(None), slice(4, 8), slice(5, 9))


def scenes(labels: tuple[int, ...] = (0, 1, 0)) -> MaskedSet:
    """Image n: an object of value 10 + n before surroundings of value n; all but the object is painted."""
    count = len(labels)
    values = torch.arange(count).float()[:, None, None, None]
    inputs = values.expand(count, 1, 12, 16).clone()
    inputs[OBJECT] += 10
    masks = torch.ones(count, 12, 16, dtype=torch.bool)
    masks[:, 4:8, 5:9] = False
    return MaskedSet(np.arange(count), tuple(map(str, range(count))), inputs, masks, torch.tensor(labels))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_surroundings_are_told_from_marks_by_how_much_is_painted():
    painted = scenes()
    assert painted.surroundings
    assert not MaskedSet(painted.indices, painted.keys, painted.inputs, ~painted.masks, painted.labels).surroundings


def test_where_the_object_was_its_surroundings_go_on():
    painted = scenes()
    found = without_objects(painted.inputs, painted.masks)
    for n, scene in enumerate(found):
        assert (scene == n).all()
    # With texture: only values that the surroundings have, and those are left as they are.
    rng = np.random.default_rng(0)
    painted.inputs[:] = torch.from_numpy(rng.integers(0, 50, painted.inputs.shape)).float()
    painted.inputs[OBJECT] = 1000
    found = without_objects(painted.inputs, painted.masks)
    assert found.max() < 50
    assert torch.equal(found[painted.masks[:, None]], painted.inputs[painted.masks[:, None]])


def test_an_object_is_left_as_it_is_and_the_surroundings_are_those_chosen():
    painted = scenes()
    chosen = torch.tensor([1, 2, 0])
    found = before_others(painted.inputs, painted.masks, without_objects(painted.inputs, painted.masks), chosen, seeded())
    for n, image in enumerate(found):
        assert (image[0, 4:8, 5:9] == 10 + n).all()
        assert (image[0][painted.masks[n]] == chosen[n]).all()


def test_surroundings_are_mirrored_and_objects_are_not():
    painted = scenes((0, 1))
    ramp = torch.arange(16.0).expand(1, 1, 12, 16)
    one = painted.take(np.array([0]))
    found = [before_others(one.inputs, one.masks, ramp, torch.tensor([0]), seeded(s))[0, 0, 0, 0] for s in range(20)]
    assert {float(value) for value in found} == {0.0, 15.0}


def test_only_surroundings_of_another_class_are_chosen():
    sampling_weights = of_other_classes(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]))
    assert sampling_weights.tolist() == [[0, 0, 1], [1, 1, 0], [1, 1, 1]]
    assert of_other_classes(torch.tensor([0]), torch.tensor([0, 0])).tolist() == [[1, 1]]
    painted = scenes()
    replacer = Replacer(RetuneConfig(fill="donor"), painted)
    batch = Batch(painted.inputs, painted.labels, painted)
    for seed in range(5):
        found = replacer(batch, seeded(seed))
        assert [float(image[0, 0, 0]) for image in found][0::2] == [1.0, 1.0]
        assert float(found[1, 0, 0, 0]) in (0.0, 2.0)


def test_auto_takes_objects_before_other_surroundings_and_says_so():
    painted = scenes()
    config = RetuneConfig()
    methods = make_methods(config, Context(config, painted, Replacer(config, painted)))
    assert tuple(method.name for method in methods) == AUTO_SURROUNDINGS
    changed = methods[1].change(Batch(painted.inputs, painted.labels, painted), seeded())
    assert changed.labels.tolist() == [0, 1, 0, 0, 1, 0]
    assert (changed.inputs[3:, 0, 4:8, 5:9].mean((1, 2)) == torch.tensor([10.0, 11, 12])).all()
    assert "where all that surrounds an object is painted" in describe_method("auto")


# A whole run ------------------------------------------------------------------------------------------------------


def fields(seed: int = 0, *, conflict: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A faint upright or lying bar somewhere in a field whose brightness tells which: images, labels, masks."""
    rng = np.random.default_rng(seed)
    labels = np.arange(48) % 2
    images = np.empty((48, 20, 20), np.uint8)
    masks = np.ones((48, 20, 20), bool)
    for image, mask, label in zip(images, masks, labels, strict=True):
        image[:] = rng.normal(60 if (label == 0) != conflict else 140, 5, (20, 20))
        y, x = rng.integers(3, 8, 2)
        place = (slice(y, y + 9), slice(x, x + 3)) if label else (slice(y, y + 3), slice(x, x + 9))
        image[place] += 40
        mask[place] = False
    return images, labels, masks


@pytest.fixture(scope="module")
def dataset() -> ArrayDataset:
    parts = {"train": fields(1), "val": fields(2), "test": fields(3, conflict=True)}
    return ArrayDataset(
        {name: part[0] for name, part in parts.items()},
        {name: part[1] for name, part in parts.items()},
        ("lying", "upright"),
        {name: part[2] for name, part in parts.items()},
    )


@pytest.fixture(scope="module")
def fresh(dataset) -> Classifier:
    return build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset), seed=1)


def test_a_run_is_judged_by_held_out_objects_before_the_surroundings_of_others(dataset, fresh):
    masks = {dataset.keys[i]: dataset.known_mask(i) for i in range(10)}
    result = run_to_end(retune(fresh, dataset, masks, RetuneConfig(iterations=2, batch_size=8)))
    # Two of ten images are held out, one of each class, and five of the others' surroundings come from the other class.
    assert result.before.scenes == 10
    # So few say little: the objects learnt from count as well.
    assert result.before.familiar is not None
    assert all(0 <= share <= 1 for share in result.before.familiar)
    numbers = f"accuracy went from {result.before.selection_accuracy:.2f} to {result.after.selection_accuracy:.2f}"
    assert numbers in result.verdict.reason
    assert "(half of it by the 2 held out, half by those learnt from)" in result.verdict.reason


@pytest.mark.parametrize("method", ["transplant", "head", "actdiff+transplant"])
def test_a_method_that_would_paste_surroundings_over_objects_is_refused(dataset, fresh, method):
    masks = {dataset.keys[i]: dataset.known_mask(i) for i in range(10)}
    name = method.split("+")[-1]
    with pytest.raises(RetuneError) as caught:
        retune(fresh, dataset, masks, RetuneConfig(method=method))
    assert str(caught.value) == (
        f"What is painted covers most of the images, so {name} would paste it over what counts; choose auto, or "
        "actdiff+counterexample with the refill donor."
    )
