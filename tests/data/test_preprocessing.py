"""Images, masks and maps go through one geometry, with numbers that can be worked out by hand."""

import numpy as np
import pytest
from pydantic import ValidationError

from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.errors import DataError, MaskError
from napari_cam_feedback.torch_loader import torch

functional = torch.nn.functional


def gray(height, width, **more):
    return Preprocessing(**{"size": (height, width), "channels": 1, "mean": (0,), "std": (1,), **more})


def rgb(height, width, **more):
    return Preprocessing(**{"size": (height, width), "mean": (0, 0, 0), "std": (1, 1, 1), **more})


def test_pixels_are_scaled_and_normalised_by_hand():
    p = gray(1, 3, mean=(0.5,), std=(0.25,))
    np.testing.assert_array_equal(p.input(np.array([[0, 51, 255]], np.uint8)), [[[-2, np.float32((0.2 - 0.5) / 0.25), 2]]])
    np.testing.assert_allclose(p.input(np.array([[0, 13107, 65535]], np.uint16)), [[[-2, -1.2, 2]]], rtol=1e-6)
    np.testing.assert_allclose(p.input(np.array([[0, 0.2, 1]], np.float32)), [[[-2, -1.2, 2]]], rtol=1e-6)


def test_each_channel_has_its_own_mean_and_std():
    p = rgb(1, 1, mean=(0, 0.5, 1), std=(1, 0.5, 0.25))
    np.testing.assert_allclose(p.input(np.array([[[255, 0, 51]]], np.uint8)).ravel(), [1, -1, -3.2], rtol=1e-6)


def test_gray_and_rgb_become_each_other():
    np.testing.assert_array_equal(rgb(1, 1).input(np.array([[255]], np.uint8)).ravel(), [1, 1, 1])
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(gray(1, 3).input(colours), [[[0.299, 0.587, 0.114]]], rtol=1e-6)


def test_a_value_range_windows_the_image():
    p = gray(1, 4, value_range=(-1000, 1000))
    np.testing.assert_array_equal(p.input(np.array([[-2000, -1000, 0, 4000]], np.float32)), [[[0, 0, 0.5, 1]]])


def test_an_image_of_the_right_size_is_not_resampled():
    image = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    for p in (gray(28, 28), gray(28, 28, crop=True), gray(28, 28, crop=True, resize_to=28)):
        np.testing.assert_array_equal(p.input(image)[0], image.astype(np.float32) / 255)
        maps = torch.rand(2, 28, 28)
        assert torch.equal(p.to_image(maps, (28, 28)), maps)
        mask = image > 200
        np.testing.assert_array_equal(p.mask(mask), mask)


def test_making_an_image_smaller_averages_over_its_pixels():
    # Twice as many pixels: the triangle of antialiasing weighs the four nearest 1, 3, 3, 1; at the border 3, 3, 1.
    image = np.array([[0, 70, 140, 210]], np.float32) / 255
    expected = np.array([(3 * 0 + 3 * 70 + 140) / 7, (70 + 3 * 140 + 3 * 210) / 7]) / 255
    np.testing.assert_allclose(gray(1, 2).input(image)[0, 0], expected, rtol=1e-5)
    checkerboard = (np.indices((64, 64)).sum(0) % 2).astype(np.float32)
    np.testing.assert_allclose(gray(8, 8).input(checkerboard), 0.5, atol=1e-3)


def test_making_an_image_larger_is_bilinear():
    image = np.array([[0, 1]], np.float32)
    np.testing.assert_allclose(gray(1, 4).input(image)[0, 0], [0, 0.25, 0.75, 1])


def test_crop_scales_the_shorter_side_and_cuts_the_centre_as_torchvision_does():
    from torchvision.transforms import v2

    rng = np.random.default_rng(0)
    for height, width in [(40, 61), (61, 40), (300, 200), (20, 33)]:
        image = rng.random((height, width)).astype(np.float32)
        theirs = v2.Compose([v2.Resize(36, antialias=True), v2.CenterCrop((28, 30))])(torch.from_numpy(image)[None])
        ours = gray(28, 30, crop=True, resize_to=36).input(image)
        torch.testing.assert_close(ours, theirs)


def test_crop_without_resize_to_covers_the_input_and_no_more():
    p = gray(4, 4, crop=True)
    image = np.tile(np.arange(8, dtype=np.float32) / 10, (4, 1))
    np.testing.assert_array_equal(p.input(image)[0, 0], image[0, 2:6])  # already 4 high: only cut
    assert gray(4, 8, crop=True).input(image[:, :4]).shape == (1, 4, 8)


def test_a_mask_covers_every_input_pixel_that_it_touches():
    mask = np.zeros((6, 6), bool)
    mask[2, 3] = True
    expected = np.zeros((3, 3), bool)
    expected[1, 1] = True
    np.testing.assert_array_equal(gray(3, 3).mask(mask), expected)
    # 6 pixels on 4: pixel 3 is the interval 3/6 … 4/6, that is 2 … 2.67 of 4; pixel 2 is 1.33 … 2 of 4.
    expected = np.zeros((4, 4), bool)
    expected[1, 2] = True
    np.testing.assert_array_equal(gray(4, 4).mask(mask), expected)
    # 6 pixels on 5: pixel 3 is 2.5 … 3.33 of 5, pixel 2 is 1.67 … 2.5.
    expected = np.zeros((5, 5), bool)
    expected[1:3, 2:4] = True
    np.testing.assert_array_equal(gray(5, 5).mask(mask), expected)
    # Larger: each image pixel is 2x2.
    np.testing.assert_array_equal(gray(12, 12).mask(mask), np.kron(mask, np.ones((2, 2), bool)))


def test_one_masked_pixel_of_a_large_image_is_not_lost():
    mask = np.zeros((1000, 1000), bool)
    mask[501, 7] = True
    assert gray(28, 28).mask(mask).sum() == 1


def test_the_mask_follows_the_images_crop():
    p = gray(4, 4, crop=True)
    mask = np.zeros((4, 8), bool)
    mask[1, 3] = mask[2, 0] = True  # the second lies outside the crop
    expected = np.zeros((4, 4), bool)
    expected[1, 1] = True
    np.testing.assert_array_equal(p.mask(mask), expected)


def test_masks_may_be_labels_and_must_be_flat():
    np.testing.assert_array_equal(gray(1, 3).mask(np.array([[0, 1, 255]], np.uint8)), [[False, True, True]])
    assert gray(1, 3).mask(torch.tensor([[False, True, False]])).dtype == torch.bool
    with pytest.raises(MaskError, match=r"must have the shape \(height, width\)"):
        gray(1, 3).mask(np.zeros((1, 3, 3)))


def test_maps_come_back_bilinearly():
    np.testing.assert_allclose(gray(8, 8).to_image(torch.tensor([[0.0, 1.0]]), (1, 4)), [[0, 0.25, 0.75, 1]])
    maps = torch.rand(3, 2, 7, 5)
    for size in [(14, 14), (28, 30), (61, 40), (7, 5)]:
        theirs = functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(gray(28, 28).to_image(maps, size), theirs)


def test_maps_larger_than_the_image_are_averaged():
    maps = torch.rand(1, 1, 64, 64)
    theirs = functional.interpolate(maps, size=(20, 31), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(gray(64, 64).to_image(maps, (20, 31)), theirs)


def test_maps_are_zero_where_the_crop_did_not_see():
    p = gray(4, 4, crop=True)
    back = p.to_image(torch.ones(4, 4), (4, 8))
    np.testing.assert_array_equal(back, [[0, 0, 1, 1, 1, 1, 0, 0]] * 4)
    # A layer of 2x2 covers the same crop; the image is twice as large as the input.
    back = p.to_image(torch.tensor([[0.0, 1.0]] * 2), (8, 16))
    np.testing.assert_allclose(back[0], [0] * 4 + [0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1] + [0] * 4)


def test_a_place_in_the_image_and_its_place_in_the_input_agree():
    for p in (gray(32, 32), gray(32, 32, crop=True), gray(32, 32, crop=True, resize_to=40)):
        image = np.zeros((90, 120), np.float32)
        image[48:54, 60:66] = 1
        seen = p.input(image)
        assert p.mask(image > 0)[seen[0] > 0.5].all()
        assert ((seen[0] > 0.5) & p.mask(image > 0)).any()
        back = p.to_image(seen[0], (90, 120)).numpy()
        y, x = (np.indices(back.shape) * back).reshape(2, -1).sum(1) / back.sum()
        assert (y, x) == pytest.approx((50.5, 62.5), abs=0.3)


def test_bounds_are_black_and_white_normalised():
    p = rgb(1, 1, mean=(0.5, 0.25, 0), std=(0.5, 0.25, 2))
    np.testing.assert_array_equal(p.low.ravel(), [-1, -1, 0])
    np.testing.assert_array_equal(p.high.ravel(), [1, 3, 0.5])
    assert p.low.shape == p.high.shape == (3, 1, 1)
    x = p.input(np.array([[[10, 20, 30]]], np.uint8))
    np.testing.assert_allclose(p.unnormalised(x[None]).ravel() * 255, [10, 20, 30], rtol=1e-5)


def test_the_summary_reads_well():
    assert gray(28, 28, mean=(0.5,), std=(0.5,)).summary == "28x28 gray, mean 0.5, std 0.5"
    p = rgb(224, 192, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), crop=True, resize_to=256)
    assert p.summary == "224x192 RGB, mean 0.485 0.456 0.406, std 0.229 0.224 0.225, centre crop from 256"


def test_it_survives_json_and_cannot_be_changed():
    p = rgb(20, 30, crop=True, resize_to=40, value_range=(0, 4095))
    assert Preprocessing.model_validate_json(p.model_dump_json()) == p
    with pytest.raises(ValidationError):
        p.crop = False


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mean": (0.5,)}, "mean has 1 values for 3 channels"),
        ({"std": (1, 0, 1)}, "std must be above 0"),
        ({"mean": (float("nan"),) * 3}, "finite"),
        ({"size": (0, 10)}, "greater than or equal to 1"),
        ({"resize_to": 300}, "resize_to is for crop"),
        ({"crop": True, "resize_to": 5}, "must not be smaller than size"),
        ({"value_range": (1, 1)}, "must rise"),
        ({"colour": 1}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(change, sentence):
    with pytest.raises(ValidationError, match=sentence):
        rgb(10, 10, **change)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.array([[0.0, 255.0]]), "run from 0 to 255, not from 0 to 1; set the value range"),
        (np.array([[0.0, np.nan]]), "not numbers"),
        (np.zeros((4, 4, 2), np.uint8), r"not \(4, 4, 2\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"must have the shape"),
        (np.zeros((0, 4), np.uint8), r"must have the shape"),
    ],
)
def test_images_that_cannot_be_used_are_refused(image, sentence):
    with pytest.raises(DataError, match=sentence):
        gray(1, 2).input(image)


@pytest.mark.parametrize("name", ["ResNet18_Weights", "EfficientNet_B0_Weights"])
def test_the_input_is_the_one_of_torchvision_s_own_presets(name):
    from PIL import Image
    from torchvision import models

    theirs = getattr(models, name).DEFAULT.transforms()
    ours = rgb(
        224, 224, crop=True, resize_to=theirs.resize_size[0], interpolation=theirs.interpolation.value,
        mean=tuple(theirs.mean), std=tuple(theirs.std),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for height, width in [(211, 307), (500, 333), (64, 97)]:
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        difference = ours.input(image) - theirs(Image.fromarray(image))
        # They round to whole gray values after each of the two axes.
        assert (difference.abs() * torch.tensor(ours.std)[:, None, None]).max() < 2 / 255


def test_bicubic_overshoots_are_clipped():
    image = np.zeros((4, 8), np.uint8)
    image[:, 4:] = 255
    cubic, linear = gray(16, 32, interpolation="bicubic").input(image), gray(16, 32).input(image)
    assert (float(cubic.min()), float(cubic.max())) == (0, 1)
    assert not torch.equal(cubic, linear)


def test_bgr_puts_blue_first_and_mean_and_std_are_in_that_order():
    p = rgb(1, 1, channel_order="bgr", mean=(0.1, 0.2, 0.3), std=(1, 0.5, 0.25))
    image = np.array([[[255, 51, 0]]], np.uint8)
    np.testing.assert_allclose(p.input(image).ravel(), [-0.1, 0, 2.8], atol=1e-6)
    np.testing.assert_allclose(p.unnormalised(p.input(image)[None]).ravel(), [1, 0.2, 0], atol=1e-6)
    np.testing.assert_allclose(p.low.ravel(), [-0.1, -0.4, -1.2], rtol=1e-6)
    np.testing.assert_allclose(p.high.ravel(), [0.9, 1.6, 2.8], rtol=1e-6)
    np.testing.assert_array_equal(p.input(np.array([[51]], np.uint8)), p.input(np.array([[[51, 51, 51]]], np.uint8)))


def test_the_order_of_channels_does_not_matter_to_gray_inputs():
    image = np.array([[[255, 51, 0]]], np.uint8)
    p = gray(1, 1, channel_order="bgr")
    np.testing.assert_array_equal(p.input(image), gray(1, 1).input(image))
    np.testing.assert_array_equal(p.unnormalised(p.input(image)), p.input(image))


def test_the_summary_names_what_is_not_usual():
    p = rgb(28, 28, channel_order="bgr", interpolation="bicubic", crop=True)
    assert p.summary == "28x28 BGR, mean 0 0 0, std 1 1 1, centre crop, bicubic"


@pytest.mark.parametrize("resize_to", [None, 256])
@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1, 3)])
def test_an_image_too_narrow_to_be_cropped_is_refused_before_memory_is_taken(shape, resize_to):
    narrow = np.zeros(shape, np.uint8)
    options = {"size": (224, 224), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    with pytest.raises(DataError, match="too narrow to be cut out at its centre"):
        Preprocessing(**options, crop=True, resize_to=resize_to).input(narrow)
    assert Preprocessing(**options).input(narrow).shape == (3, 224, 224)
    assert Preprocessing(**options, crop=True).input(np.zeros((30, 3000), np.uint8)).shape == (3, 224, 224)
