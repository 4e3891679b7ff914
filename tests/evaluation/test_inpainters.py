"""Inpainters from a file: what they are given, that only the masked pixels are used, and what is said when they fail."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from core_builders import plain
from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.errors import ConsentNeeded, ModelError
from napari_cam_feedback.evaluation import load_inpainter
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
RGB = Preprocessing(size=(8, 16), channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))


class Everywhere(nn.Module):
    """The masks, in red; the images, halved, in green and blue: what was given can be read from what comes back."""

    def forward(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return torch.cat([masks, images[:, 1:] * 0.5], 1)


class Mean(nn.Module):
    """Each image's mean colour outside the mask, for any number of channels."""

    def forward(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        outside = 1 - masks
        return ((images * outside).sum((2, 3), keepdim=True) / outside.sum()).expand_as(images)


class GrayOnly(nn.Module):
    """Takes one channel, as its first layer has it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([0.0, 0.25]).view(1, 2, 1, 1))
            self.conv.bias.fill_(0.5)

    def forward(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat([images, masks], 1))


class Halving(nn.Module):
    """As networks do that halve their images: only sides that are multiples of 8 come back as they were."""

    def forward(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        small = nn.functional.avg_pool2d(images, 8)
        return nn.functional.interpolate(small, scale_factor=8.0)


class Pair(nn.Module):
    def forward(self, images: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images, masks


class Small(nn.Module):
    def forward(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return images[:, :, ::2]


class NotNumbers(nn.Module):
    def forward(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return images / (1 - masks) - images / (1 - masks)


class OneInput(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


def save(folder: Path, module: nn.Module) -> Path:
    path = folder / "filler.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it will drop TorchScript one day
        torch.jit.save(torch.jit.script(module.eval()), str(path))
    return path


def fill(path: Path, inputs: torch.Tensor, masks: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    return load_inpainter(path, trust=True).fill(preprocessing)(inputs, masks, torch.Generator())


def half(count: int, height: int, width: int) -> torch.Tensor:
    masks = torch.zeros(count, height, width, dtype=torch.bool)
    masks[:, :, : width // 2] = True
    return masks


def test_it_is_given_images_from_0_to_1_and_masks_and_only_its_masked_pixels_are_used(tmp_path):
    pictures = torch.rand(2, 3, 8, 16, generator=torch.Generator().manual_seed(0))
    inputs, masks = RGB.normalised(pictures), half(2, 8, 16)
    found = RGB.unnormalised(fill(save(tmp_path, Everywhere()), inputs, masks, RGB))
    torch.testing.assert_close(found[:, :, :, 8:], pictures[:, :, :, 8:])
    torch.testing.assert_close(found[:, 0, :, :8], torch.ones(2, 8, 8))
    torch.testing.assert_close(found[:, 1:, :, :8], pictures[:, 1:, :, :8] * 0.5)


def test_networks_that_read_blue_first_are_filled_in_their_own_order(tmp_path):
    bgr = RGB.model_copy(update={"channel_order": "bgr"})
    pictures = torch.rand(1, 3, 8, 16, generator=torch.Generator().manual_seed(1))
    inputs = bgr.normalised(pictures)
    torch.testing.assert_close(bgr.unnormalised(inputs), pictures)
    found = bgr.unnormalised(fill(save(tmp_path, Everywhere()), inputs, half(1, 8, 16), bgr))
    torch.testing.assert_close(found[:, 0, :, :8], torch.ones(1, 8, 8))


@pytest.mark.parametrize("module", [Mean(), GrayOnly()], ids=["three", "one"])
def test_gray_images_are_filled_by_networks_for_three_channels_and_for_one(tmp_path, module):
    inputs = torch.full((1, 1, 8, 16), 0.75)
    inputs[:, :, :, :8] = 0.0
    found = fill(save(tmp_path, module), inputs, half(1, 8, 16), plain(8, 16))
    torch.testing.assert_close(found, torch.full((1, 1, 8, 16), 0.75))


def test_images_of_any_size_are_brought_to_multiples_of_8_and_back(tmp_path):
    inputs = torch.full((9, 1, 11, 13), 0.25)
    masks = half(9, 11, 13)
    torch.testing.assert_close(fill(save(tmp_path, Halving()), inputs, masks, plain(11, 13)), inputs)


def test_it_runs_only_if_the_user_agrees(tmp_path):
    path = save(tmp_path, Mean())
    with pytest.raises(ConsentNeeded, match=r"filler.pt is a program of TorchScript.*add --trust if you trust") as caught:
        load_inpainter(path)
    assert caught.value.kind == "trust"


def test_a_file_that_is_none_gives_a_sentence(tmp_path):
    with pytest.raises(ModelError, match=r"There is no inpainter file .*missing.pt; check the path"):
        load_inpainter(tmp_path / "missing.pt", trust=True)
    (tmp_path / "text.pt").write_text("no archive")
    with pytest.raises(ModelError, match=r"text.pt is no TorchScript archive or is cut short; copy it again"):
        load_inpainter(tmp_path / "text.pt", trust=True)


CONTRACT = r"it must take images \(N, 3, h, w\) from 0 to 1 and masks \(N, 1, h, w\) that are 1 inside, and return images"


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Pair(), "The inpainter filler.pt returned no tensor but a tuple; "),
        (Small(), r"The inpainter filler.pt returned the shape \(2, 3, 4, 16\) for 2 images of 8x16 pixels; "),
        (NotNumbers(), r"returned values that are no numbers \(NaN or infinite\) for 2 images of 8x16 pixels; "),
        (OneInput(), "The inpainter filler.pt failed on 2 images of 8x16 pixels .*; "),
    ],
    ids=["pair", "small", "nan", "one input"],
)
def test_what_does_not_fill_images_gives_a_sentence(tmp_path, module, said):
    inputs = torch.rand(2, 3, 8, 16)
    with pytest.raises(ModelError, match=said + CONTRACT):
        fill(save(tmp_path, module), inputs, half(2, 8, 16), RGB)


def test_values_that_are_no_numbers_outside_of_the_mask_do_not_matter(tmp_path):
    class Outside(nn.Module):
        def forward(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
            return images / masks

    inputs = RGB.normalised(torch.full((1, 3, 8, 16), 0.5))
    torch.testing.assert_close(fill(save(tmp_path, Outside()), inputs, half(1, 8, 16), RGB), inputs)


def test_what_it_makes_can_be_trained_on(tmp_path):
    found = fill(save(tmp_path, Mean()), torch.rand(1, 3, 8, 16), half(1, 8, 16), RGB)
    layer = nn.Conv2d(3, 1, 1)
    layer(found).sum().backward()
    assert layer.weight.grad is not None
