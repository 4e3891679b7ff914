"""Refilling what is masked: the outside is untouched, the inside tells nothing any more, the same seed gives the same."""

from __future__ import annotations

import pytest

from core_builders import TAG
from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.evaluation import FILLS, MEASURING_FILLS, get_fill
from napari_cam_feedback.evaluation.perturbations.biharmonic import MAX_EXACT_PIXELS
from napari_cam_feedback.evaluation.perturbations.shifts import choose_shifts, shifted
from napari_cam_feedback.torch_loader import torch

RANDOM = [name for name in FILLS if name not in ("mean", "inpaint")]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def inputs() -> torch.Tensor:
    return torch.randn(3, 2, 10, 12, generator=seeded(9))


@pytest.fixture
def masks() -> torch.Tensor:
    """A corner, a spot in the middle, and two places."""
    masks = torch.zeros(3, 10, 12, dtype=torch.bool)
    masks[0, :TAG, :TAG] = True
    masks[1, 5, 6] = True
    masks[2, 0, 0] = masks[2, 7:9, 3:8] = True
    return masks


@pytest.mark.parametrize("name", FILLS)
def test_outside_of_the_mask_nothing_changes_and_inside_every_pixel_does(name, inputs, masks):
    original = inputs.clone()
    filled = get_fill(name)(inputs, masks, seeded())
    inside = masks[:, None].expand_as(inputs)
    assert torch.equal(filled[~inside], inputs[~inside])
    assert (filled[inside] != inputs[inside]).all()
    assert filled.dtype == inputs.dtype
    assert torch.equal(inputs, original)


@pytest.mark.parametrize("name", FILLS)
def test_the_same_seed_gives_the_same_fill(name, inputs, masks):
    once, again = (get_fill(name)(inputs, masks, seeded(4)) for _ in range(2))
    assert torch.equal(once, again)


@pytest.mark.parametrize("name", RANDOM)
def test_another_seed_and_a_second_draw_give_another_fill(name, inputs, masks):
    generator = seeded(4)
    first = get_fill(name)(inputs, masks, generator)
    assert not torch.equal(first, get_fill(name)(inputs, masks, generator))
    assert not torch.equal(first, get_fill(name)(inputs, masks, seeded(5)))


@pytest.mark.parametrize("name", sorted(set(MEASURING_FILLS)))
def test_what_was_under_the_mask_does_not_shine_through_where_it_is_measured(name, inputs, masks):
    other = torch.where(masks[:, None], inputs * 3 + 100, inputs)
    assert torch.equal(get_fill(name)(inputs, masks, seeded()), get_fill(name)(other, masks, seeded()))


@pytest.mark.parametrize("name", FILLS)
def test_a_mask_over_the_whole_image_and_an_empty_one_are_filled_too(name, inputs):
    nothing, everything = torch.zeros(3, 10, 12, dtype=torch.bool), torch.ones(3, 10, 12, dtype=torch.bool)
    assert torch.equal(get_fill(name)(inputs, nothing, seeded()), inputs)
    filled = get_fill(name)(inputs, everything, seeded())
    assert filled.isfinite().all()
    assert not torch.equal(filled, inputs)


def test_mean_by_hand():
    image = torch.tensor([[[[1.0, 2.0], [3.0, 90.0]], [[0.0, 0.0], [6.0, -50.0]]]])
    mask = torch.tensor([[[False, False], [False, True]]])
    filled = get_fill("mean")(image, mask, seeded())
    # (1 + 2 + 3) / 3 and (0 + 0 + 6) / 3, each channel by itself.
    assert torch.equal(filled, torch.tensor([[[[1.0, 2.0], [3.0, 2.0]], [[0.0, 0.0], [6.0, 2.0]]]]))


def test_mean_of_a_mask_over_the_whole_image_is_the_image_s_mean():
    image = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    filled = get_fill("mean")(image, torch.ones(1, 2, 2, dtype=torch.bool), seeded())
    assert torch.equal(filled, torch.full((1, 1, 2, 2), 3.0))


def test_shuffle_draws_whole_pixels_from_outside_the_mask_only():
    # Pixel p is (p, -p), so a pixel mixed of two, or one from inside, would show.
    numbers = torch.arange(64.0).view(1, 8, 8)
    image = torch.stack([numbers, -numbers], 1)
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, :4] = True
    filled = get_fill("shuffle")(image, mask, seeded())
    drawn = filled[0, :, :4].flatten(1)
    assert torch.equal(drawn[0], -drawn[1])
    assert set(drawn[0].tolist()) <= set(numbers[0, 4:].flatten().tolist())
    assert len(set(drawn[0].tolist())) > 8  # not one pixel over and over


def test_surround_has_the_mean_and_deviation_of_the_ring_of_three_pixels_around_the_mask():
    image = torch.full((1, 1, 60, 60), 500.0)  # far away from the mask
    mask = torch.zeros(1, 60, 60, dtype=torch.bool)
    mask[0, 10:50, 10:50] = True
    image[0, 0, 7:53, 7:53] = 4.0  # the ring, one half 4, the other 8: mean 6, deviation 2
    image[0, 0, 7:53, 30:53] = 8.0
    image[0, 0, 10:50, 10:50] = -100.0
    inside = get_fill("surround")(image, mask, seeded())[0, 0, 10:50, 10:50]
    assert float(inside.mean()) == pytest.approx(6.0, abs=0.2)  # deviation of the mean: 2 / 40
    assert float(inside.std()) == pytest.approx(2.0, abs=0.15)


def test_surround_of_an_even_neighbourhood_is_that_colour_exactly():
    image = torch.full((1, 2, 12, 12), 0.25)
    mask = torch.zeros(1, 12, 12, dtype=torch.bool)
    mask[0, :3, :3] = True
    image[0, :, :3, :3] = 1.0
    assert torch.equal(get_fill("surround")(image, mask, seeded()), torch.full((1, 2, 12, 12), 0.25))


def test_noise_stays_within_the_image_s_values():
    image = torch.rand(2, 3, 8, 8, generator=seeded(1)) * torch.tensor([1.0, 5.0, 0.1]).view(1, 3, 1, 1)
    filled = get_fill("noise")(image, torch.ones(2, 8, 8, dtype=torch.bool), seeded())
    assert (filled >= image.amin((2, 3), keepdim=True)).all()
    assert (filled <= image.amax((2, 3), keepdim=True)).all()


def test_inpaint_continues_a_slope_and_is_what_scikit_image_gives():
    from skimage.restoration import inpaint_biharmonic

    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij")
    image = torch.stack([rows + 2 * columns, 50 - rows])[None]
    mask = torch.zeros(1, 20, 24, dtype=torch.bool)
    mask[0, 6:13, 8:15] = True
    broken = torch.where(mask[:, None], -99.0, image)
    filled = get_fill("inpaint")(broken, mask, seeded())
    # A plane is biharmonic, so it is restored.
    torch.testing.assert_close(filled, image, rtol=0, atol=1e-3)
    peer = inpaint_biharmonic(broken[0].double().numpy(), mask[0].numpy(), channel_axis=0)
    torch.testing.assert_close(filled[0], torch.from_numpy(peer).float())


def test_a_large_mask_is_inpainted_at_a_reduced_size_to_nearly_the_same():
    from skimage.restoration import inpaint_biharmonic

    rows, columns = torch.meshgrid(torch.arange(140) / 140, torch.arange(130) / 130, indexing="ij")
    image = (torch.sin(5 * rows) + torch.cos(4 * columns))[None, None].float()
    mask = torch.zeros(1, 140, 130, dtype=torch.bool)
    mask[0, 10:100, 0:90] = True
    assert int(mask.sum()) > MAX_EXACT_PIXELS
    filled = get_fill("inpaint")(torch.where(mask[:, None], 9.0, image), mask, seeded())
    peer = inpaint_biharmonic(torch.where(mask[:, None], 9.0, image)[0].double().numpy(), mask[0].numpy(), channel_axis=0)
    spread = float(image.max() - image.min())
    assert float((filled[0] - torch.from_numpy(peer)).abs().max()) < 0.05 * spread
    # No seam at the mask's edge: neighbours differ there as little as in the image.
    steps = (filled[0, 0, 100, :90] - filled[0, 0, 99, :90]).abs()
    assert float(steps.max()) < 2 * float((image[0, 0, 1:] - image[0, 0, :-1]).abs().max())


def test_many_specks_all_over_a_large_image_are_inpainted_too():
    image = torch.linspace(0, 1, 160)[:, None].expand(160, 160)[None, None].contiguous()
    mask = torch.rand(1, 160, 160, generator=seeded(3)) < 0.4
    assert int(mask.sum()) > MAX_EXACT_PIXELS
    filled = get_fill("inpaint")(torch.where(mask[:, None], 5.0, image), mask, seeded())
    assert float((filled - image).abs().max()) < 0.05


def test_images_are_shifted_each_by_its_own_as_torch_rolls_them():
    images = torch.rand(3, 2, 5, 7, generator=seeded())
    shifts = torch.tensor([[0, 0], [2, 6], [-1, 9]])
    expected = torch.stack([image.roll(tuple(s), (1, 2)) for image, s in zip(images, shifts.tolist(), strict=True)])
    assert torch.equal(shifted(images, shifts), expected)
    assert torch.equal(shifted(images[:, 0], shifts), expected[:, 0])


def test_a_random_place_lies_off_the_mask_where_there_is_room():
    masks = torch.zeros(6, 20, 20, dtype=torch.bool)
    masks[:, 4:9, 4:9] = True
    shifts = choose_shifts(masks, masks, seeded())
    assert len({tuple(shift) for shift in shifts.tolist()}) > 1
    places = shifted(masks, shifts)
    assert (places.flatten(1).sum(1) == 25).all()
    assert not (places & masks).any()


def test_five_fills_measure():
    assert len(MEASURING_FILLS) == 5
    assert set(MEASURING_FILLS) <= set(FILLS)


def test_an_unknown_fill_gives_the_nearest_names():
    with pytest.raises(ConfigError, match=r"no fill 'suround'; did you mean surround"):
        get_fill("suround")
    with pytest.raises(ConfigError, match=r"no fill 'xyzzy'; choose one of mean, surround, shuffle, noise, inpaint"):
        get_fill("xyzzy")
