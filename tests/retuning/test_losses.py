"""The penalties and the methods, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.retuning import METHODS, RetuneConfig, describe_method, make_config, method_names, unused_remark
from napari_cam_feedback.retuning.images.masked_set import MaskedSet
from napari_cam_feedback.retuning.images.refill import Replacer
from napari_cam_feedback.retuning.losses import actdiff, energy, gradcam, pas, pasa, rrr, rrr_gradcam, tap
from napari_cam_feedback.retuning.methods import AUTO, Batch, Context, Method, Outputs, make_methods
from napari_cam_feedback.torch_loader import torch

# Two images, two filters, 1x2 places.
ACTIVATIONS = torch.tensor([[[[1.0, -2.0]], [[3.0, 4.0]]], [[[5.0, 6.0]], [[-7.0, 8.0]]]])
MASKS = torch.tensor([[[True, False]], [[True, True]]])
SIGNS = torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]], [[[1.0, 1.0]], [[-1.0, 1.0]]]])  # of what is under the masks
SUMS = (1 + 3, 5 + 6 + 7 + 8)


def leaf(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.clone().requires_grad_(True)


def test_pas_by_hand():
    activations = leaf(ACTIVATIONS)
    value = pas(activations, MASKS)
    assert value.item() == sum(SUMS) / 2
    value.backward()
    assert torch.equal(activations.grad, SIGNS / 2)


def test_pas_without_a_masked_place_is_zero():
    assert float(pas(ACTIVATIONS, torch.zeros_like(MASKS))) == 0.0


def test_pasa_by_hand():
    activations, probability = leaf(ACTIVATIONS), leaf(torch.tensor([0.7, 0.0]))
    value = pasa(activations, MASKS, probability)
    # Act = sum / (F (places + 1)); base^(p / threshold) is 0.4^(0.7 / 0.7) and 0.4^0.
    acts = (SUMS[0] / (2 * 2), SUMS[1] / (2 * 3))
    factors = (0.4, 1.0)
    assert value.item() == pytest.approx((acts[0] * factors[0] + acts[1] * factors[1]) / 2)
    value.backward()
    expected = SIGNS * torch.tensor([0.4 / 4, 1.0 / 6]).view(2, 1, 1, 1) / 2
    assert torch.allclose(activations.grad, expected)
    slopes = [act * factor * math.log(0.4) / 0.7 / 2 for act, factor in zip(acts, factors, strict=True)]
    assert probability.grad.tolist() == pytest.approx(slopes)


@pytest.mark.parametrize(("base", "rises"), [(0.4, False), (5.0, True)])
def test_pasa_falls_with_certainty_below_a_base_of_one_and_rises_above(base, rises):
    values = [float(pasa(ACTIVATIONS, MASKS, torch.full((2,), p), base=base, threshold=0.8)) for p in (0.1, 0.5, 0.9)]
    assert values == sorted(values, reverse=not rises)
    assert len(set(values)) == 3


def test_pasa_with_a_base_of_one_does_not_depend_on_certainty():
    values = [float(pasa(ACTIVATIONS, MASKS, torch.full((2,), p), base=1.0)) for p in (0.1, 0.9)]
    assert values == pytest.approx([(SUMS[0] / 4 + SUMS[1] / 6) / 2] * 2)


def test_actdiff_by_hand():
    features = leaf(torch.tensor([[1.0, 2.0], [1.0, 1.0]]))
    refilled = leaf(torch.tensor([[4.0, 6.0], [1.0, 0.0]]))
    value = actdiff(features, refilled)
    assert value.item() == pytest.approx((5 + 1) / 2)  # 3-4-5 and 0-1-1
    value.backward()
    expected = torch.tensor([[-3 / 5, -4 / 5], [0.0, 1.0]]) / 2
    assert torch.allclose(features.grad, expected)
    assert torch.allclose(refilled.grad, -expected)


def test_actdiff_of_identical_features_is_zero_and_has_a_gradient():
    features = leaf(torch.tensor([[1.0, 2.0]]))
    value = actdiff(features, features.detach().clone())
    assert value.item() == pytest.approx(0.0, abs=1e-5)
    value.backward()
    assert torch.equal(features.grad, torch.zeros(1, 2))


# Penalties made of gradients ---------------------------------------------------------------------------------------

CURVED = leaf(torch.tensor([2.0, 3.0]))


def curved(inputs: torch.Tensor) -> torch.Tensor:
    """Logits w_k sum x^2 of images (N, 1, h, w), so that their gradient is 2 w_k x."""
    return inputs.square().sum((1, 2, 3))[:, None] * CURVED


def test_rrr_by_hand():
    # The second class, of weight 3, is predicted; the gradient is 6 x.
    inputs = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]])
    value = rrr(curved, inputs, MASKS[:, :1].clone())
    assert value.item() == pytest.approx((6**2 + 18**2 + 24**2) / 2)
    (slope,) = torch.autograd.grad(value, CURVED)
    # d/dw of 4 w^2 sum x^2 is 8 w sum x^2, for the class predicted alone.
    assert slope.tolist() == pytest.approx([0.0, 8 * 3 * (1 + 9 + 16) / 2])
    assert not inputs.requires_grad


def test_rrr_counts_every_channel_and_nothing_outside_the_mask():
    inputs = torch.arange(1.0, 9.0).view(1, 2, 2, 2)
    value = rrr(curved, inputs, torch.tensor([[[False, True], [False, False]]]))
    assert value.item() == pytest.approx(36 * (2**2 + 6**2))
    assert rrr(curved, inputs, torch.zeros(1, 2, 2, dtype=torch.bool)).item() == 0.0


def test_gradcam_by_hand_and_its_gradients_pass_through_the_weights_of_the_maps():
    # One class: logit = v sum a_0^2 / 2 + sum a_1 over two places, so the weights are v mean a_0 and 1.
    v = leaf(torch.tensor(2.0))
    activations = leaf(torch.tensor([[[[1.0, 3.0]], [[5.0, -1.0]]]]))
    logits = (v * activations[:, 0].square().sum((1, 2)) / 2 + activations[:, 1].sum((1, 2)))[:, None]
    maps = gradcam(logits, torch.tensor([0]), activations)
    assert maps.tolist() == [[[4 * 1 + 5, 4 * 3 - 1]]]
    (slope,) = torch.autograd.grad(maps[0, 0, 0], v, retain_graph=True)
    assert slope.item() == pytest.approx(2 * 1)  # mean a_0 times a_0
    (slope,) = torch.autograd.grad(maps[0, 0, 0], activations)
    assert slope.tolist() == [[[[4 + 1, 1]], [[1, 0]]]]  # the activation itself, and both through their mean


MAPS = torch.tensor([[[3.0, -4.0]], [[-1.0, 1.0]]])


def test_rrr_gradcam_by_hand():
    maps = leaf(MAPS)
    value = rrr_gradcam(maps, MASKS)
    assert value.item() == pytest.approx((9 / 25 + 1) / 2)
    value.backward()
    # d/da of a^2 / (a^2 + b^2) is 2 a b^2 / (a^2 + b^2)^2, d/db is -2 a^2 b / (a^2 + b^2)^2.
    expected = torch.tensor([[[2 * 3 * 16 / 625, 2 * 9 * 4 / 625]], [[0.0, 0.0]]]) / 2
    assert torch.allclose(maps.grad, expected, atol=1e-6)


def test_energy_by_hand():
    maps = leaf(torch.tensor([[[3.0, -4.0, 1.0]], [[-1.0, -1.0, -2.0]], [[0.0, 2.0, 6.0]]]))
    masks = torch.tensor([[[True, True, False]], [[True, True, False]], [[False, True, False]]])
    value = energy(maps, masks)
    assert value.item() == pytest.approx((3 / 4 + 0 + 2 / 8) / 3)
    value.backward()
    # d/da of a / (a + b) is b / (a + b)^2, d/db is -a / (a + b)^2; what is not positive has none.
    expected = torch.tensor([[[1 / 16, 0, -3 / 16]], [[0, 0, 0]], [[0.0, 6 / 64, -2 / 64]]]) / 3
    assert torch.allclose(maps.grad, expected, atol=1e-6)


@pytest.mark.parametrize("penalty", [rrr_gradcam, energy])
@pytest.mark.parametrize("scale", [1e-15, 1e-3, 1e6])
def test_the_share_of_a_map_does_not_depend_on_its_scale(penalty, scale):
    # So that weaker activations are no way to make it smaller.
    assert float(penalty(MAPS * scale, MASKS)) == pytest.approx(float(penalty(MAPS, MASKS)), rel=1e-5)


@pytest.mark.parametrize("penalty", [rrr_gradcam, energy])
def test_a_map_of_nothing_has_no_share_and_a_finite_gradient(penalty):
    maps = leaf(torch.zeros(2, 1, 2))
    value = penalty(maps, MASKS)
    assert value.item() == 0.0
    value.backward()
    assert torch.isfinite(maps.grad).all()


def test_tap_by_hand():
    # At 1x2 places the mean |a| is 36 / 8; under the masks it is 4 / 2 and 26 / 4. At one place all is under the mask.
    small = leaf(torch.tensor([[[[2.0]]], [[[-4.0]]]]))
    activations = leaf(ACTIVATIONS)
    value = tap([activations, small], MASKS)
    assert value.item() == pytest.approx((((2 + 6.5) / 2) / (36 / 8) + 1) / 2)
    value.backward()
    unit = torch.tensor([2.0, 4.0]).view(2, 1, 1, 1) * 2 * (36 / 8) * 2  # places and filters, images, mean, layers
    assert torch.allclose(activations.grad, SIGNS / unit)
    assert small.grad.flatten().tolist() == pytest.approx([1 / (2 * 3 * 2), -1 / (2 * 3 * 2)])


def test_tap_weighs_layers_alike_whatever_their_scale():
    values = [float(tap([ACTIVATIONS * scale, ACTIVATIONS.abs()], MASKS)) for scale in (1e-3, 1.0, 1e3)]
    assert values == pytest.approx([values[0]] * 3)


# Methods ------------------------------------------------------------------------------------------------------------


def painted(inputs: torch.Tensor, masks: torch.Tensor, labels: list[int]) -> MaskedSet:
    keys = tuple(f"train/{n}" for n in range(len(inputs)))
    return MaskedSet(np.arange(len(inputs)), keys, inputs, masks, torch.tensor(labels))


# Three 2x3 images of the values 1, 2 and 3, with one, two and six masked pixels.
DONORS = painted(
    torch.stack([torch.full((1, 2, 3), value) for value in (1.0, 2.0, 3.0)]),
    torch.tensor(
        [
            [[True, False, False], [False, False, False]],
            [[False, True, False], [False, True, False]],
            [[True, True, True], [True, True, True]],
        ]
    ),
    [0, 1, 2],
)


def test_pasting_puts_exactly_the_donor_s_masked_pixels_where_they_were():
    images = torch.zeros(4, 1, 2, 3)
    pasted = DONORS.paste(images, torch.tensor([1, 0, 2, 1]))
    assert pasted[:, 0].tolist() == [
        [[0, 2, 0], [0, 2, 0]],
        [[1, 0, 0], [0, 0, 0]],
        [[3, 3, 3], [3, 3, 3]],
        [[0, 2, 0], [0, 2, 0]],
    ]
    assert not images.any()


def made(donors: MaskedSet = DONORS, **settings: object) -> list[Method]:
    config = RetuneConfig(**settings)
    return make_methods(config, Context(config, donors, Replacer(config, donors)))


def one(method: str, donors: MaskedSet = DONORS, **settings: object) -> Method:
    (method_made,) = made(donors, method=method, **settings)
    return method_made


def batch(count: int = 40) -> Batch:
    return Batch(torch.zeros(count, 1, 2, 3), torch.arange(count), DONORS)


def test_transplant_pastes_a_donor_s_patch_onto_every_image_and_keeps_labels_and_painted_images():
    given = batch()
    changed = one("transplant", transplant_share=1.0).change(given, torch.Generator().manual_seed(0))
    assert torch.equal(changed.labels, torch.arange(40))
    assert changed.painted is DONORS
    possible = DONORS.paste(torch.zeros(3, 1, 2, 3), torch.arange(3))
    donors = [[n for n in range(3) if torch.equal(image, possible[n])] for image in changed.inputs]
    assert all(len(found) == 1 for found in donors)
    assert {found[0] for found in donors} == {0, 1, 2}
    assert not given.inputs.any()


def test_transplant_first_clears_the_places_where_the_shortcut_sits():
    # Two corners of 6x6 images are painted; the images are 7 everywhere, with a 100 in one of the corners.
    masks = torch.zeros(2, 6, 6, dtype=torch.bool)
    masks[0, 0, 0] = masks[1, 5, 5] = True
    donors = painted(torch.stack([torch.full((1, 6, 6), value) for value in (1.0, 2.0)]), masks, [0, 1])
    images = torch.full((20, 1, 6, 6), 7.0)
    images[:, :, 0, 0] = 100.0
    method = one("transplant", donors, transplant_share=1.0)
    changed = method.change(Batch(images, torch.zeros(20), donors), torch.Generator().manual_seed(0)).inputs
    corners = {tuple(image[0, [0, 5], [0, 5]].tolist()) for image in changed}
    assert corners == {(1.0, 7.0), (7.0, 2.0)}  # one donor's patch, and the even surroundings in the other corner
    elsewhere = torch.ones(6, 6, dtype=torch.bool)
    elsewhere[[0, 5], [0, 5]] = False
    assert (changed[:, :, elsewhere] == 7).all()


def test_the_transplanted_share_is_that_of_the_settings():
    changed = one("transplant", transplant_share=0.25).change(batch(4000), torch.Generator().manual_seed(0))
    share = float(changed.inputs.flatten(1).any(1).float().mean())
    assert share == pytest.approx(0.25, abs=0.03)


def test_transplant_adds_no_penalty_and_no_images():
    method = one("transplant")
    assert method.extra_inputs(batch(), torch.Generator()) is None
    assert method.penalty(batch(), Outputs(torch.zeros(3, 3), torch.zeros(3, 1, 2, 3))) is None


def test_the_penalty_methods_leave_the_training_images_alone():
    for name in ("pas", "pasa", "actdiff", "tap", "rrr", "rrr-gradcam", "energy", "dropout"):
        given = batch()
        assert one(name).change(given, torch.Generator()) is given


def outputs(extra: torch.Tensor | None = None) -> Outputs:
    """Activations of one filter as large as the input, all 1, -2 and 4, and even logits."""
    activations = torch.stack([torch.full((1, 2, 3), value) for value in (1.0, -2.0, 4.0)])
    return Outputs(leaf(torch.zeros(3, 3)), leaf(activations), extra)


def test_the_methods_pas_and_pasa_look_under_the_masks_of_the_painted_images():
    # 1 place of 1, 2 places of 2, 6 places of 4.
    assert one("pas").penalty(batch(), outputs()).item() == pytest.approx((1 + 4 + 24) / 3)
    # Even logits: the true class has the probability 1/3.
    acts = (1 / 2, 4 / 3, 24 / 7)
    value = one("pasa", pasa_base=8.0, pasa_threshold=3.0).penalty(batch(), outputs())
    assert value.item() == pytest.approx(sum(acts) / 3 * 8 ** ((1 / 3) / 3))


def test_masks_are_brought_to_the_size_of_the_activations():
    activations = torch.stack([torch.full((1, 1, 3), value) for value in (1.0, -2.0, 4.0)])
    found = one("pas").penalty(batch(), Outputs(torch.zeros(3, 3), activations))
    assert float(found) == pytest.approx((1 + 2 + 12) / 3)  # 1, 1 and 3 columns


@pytest.mark.parametrize("detach", [False, True])
def test_pasa_can_leave_the_probability_of_the_true_class_alone(detach):
    given = outputs()
    value = one("pasa", pasa_detach=detach).penalty(batch(), given)
    value.backward()
    assert given.activations.grad.any()
    if detach:
        assert given.logits.grad is None
    else:
        # The penalty falls with the true class's probability, so its logit is pushed up.
        assert (given.logits.grad[torch.arange(3), DONORS.labels] < 0).all()


def test_the_method_actdiff_compares_pooled_features_with_those_of_the_refilled_images():
    method = one("actdiff", fill="mean")
    extra = method.extra_inputs(batch(), torch.Generator())
    # The images are even, so their refilled selves are the same.
    assert torch.equal(extra, DONORS.inputs)
    assert method.penalty(batch(), outputs(outputs().activations.detach())).item() == pytest.approx(0.0, abs=1e-5)
    # Means 1, -2, 4 against 1, 0, 1: distances 0, 2, 3.
    other = torch.stack([torch.full((1, 2, 3), value) for value in (1.0, 0.0, 1.0)])
    assert method.penalty(batch(), outputs(other)).item() == pytest.approx(5 / 3, abs=1e-5)


def test_methods_are_joined_by_plus():
    names = [m.name for m in made(method=" pas + transplant+pas")]
    assert names == ["pas", "transplant"]


def test_auto_stands_for_methods_that_there_are():
    assert tuple(m.name for m in made()) == AUTO
    assert RetuneConfig().method == "auto"
    contract = "auto continued misclassified augment inpaint crop dropout pas pasa actdiff transplant counterexample rrr"
    assert {*contract.split(), "rrr-gradcam", "energy", "tap", "head"} <= set(method_names())
    assert method_names()[0] == "auto"


@pytest.mark.parametrize("name", [*METHODS, "auto", "pas+transplant"])
def test_every_method_has_a_sentence(name):
    assert describe_method(name).endswith(".")


def test_an_unknown_method_gives_the_nearest_names():
    with pytest.raises(ConfigError, match=r"no retune method 'actdif'; did you mean actdiff"):
        made(method="transplant+actdif")
    with pytest.raises(ConfigError, match=r"no retune method 'xyzzy'; choose from auto, .*transplant"):
        describe_method("xyzzy")
    with pytest.raises(ConfigError, match=r"no retune method ''"):
        describe_method("pas+")


def test_auto_stands_alone():
    for name in ("transplant+auto", "auto+actdiff"):
        with pytest.raises(ConfigError) as caught:
            describe_method(name)
        assert str(caught.value) == "The method auto stands alone; choose auto, or join others, as actdiff+transplant."


@pytest.mark.parametrize("given", ["features", "[features]"])
def test_a_list_that_is_given_as_text_is_shown_how_to_write(given):
    with pytest.raises(ConfigError) as caught:
        make_config({"freeze": given})
    assert str(caught.value) == (
        f"The setting freeze takes a list, not '{given}'; write it as [\"features\"] (in a shell: freeze='[\"features\"]')."
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, None),
        ({"inpainter": "x.pt"}, "The method auto does not use inpainter."),
        ({"inpainter": "x.pt", "fill": "inpaint"}, None),
        ({"inpainter": "x.pt", "method": "inpaint"}, None),
        ({"method": "pasa", "pasa_base": 8.0}, None),
        (
            {"method": "actdiff+pasa", "transplant_share": 0.5, "pasa_base": 8.0, "mirror": True, "pasa_detach": True},
            "The method actdiff+pasa does not use transplant_share and mirror.",
        ),
        (
            {"method": "continued", "inpainter": "x.pt", "fill": "inpaint"},
            "The method continued does not use fill and inpainter.",
        ),
        ({"mirror": True, "augment": True, "freeze": ["features"], "iterations": 5}, None),
        # What is as by default says nothing, as in the file of a run.
        (RetuneConfig().model_dump(), None),
    ],
)
def test_settings_that_the_method_does_not_use_are_told(settings, said):
    assert unused_remark(make_config(settings)) == said


def test_settings_by_name():
    config = make_config({"method": "pasa", "pasa_base": "8", "iterations": 5})
    assert (config.method, config.pasa_base, config.iterations) == ("pasa", 8.0, 5)
    with pytest.raises(ConfigError, match=r"There is no setting 'iteration'; known are method, iterations, "):
        make_config({"iteration": 5})
    with pytest.raises(ConfigError, match=r"The setting iterations cannot be 0: input should be greater than or equal to 1"):
        make_config({"iterations": 0})
    with pytest.raises(ConfigError, match=r"The setting fill cannot be 'black'"):
        make_config({"fill": "black"})
