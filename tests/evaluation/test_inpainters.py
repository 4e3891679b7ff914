"""Inpainters: what they are given, that only the masked pixels are used, and what is said when they fail."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from core_builders import plain
from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.errors import ConsentNeeded, ModelError
from napari_cam_feedback.evaluation import Inpainter, load_inpainter
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


class OneInput(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


SIZES = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}


def save(folder: Path, module: nn.Module, channels: int = 3) -> Path:
    """The module as an archive of torch.export, for images of any size."""
    path = folder / "filler.pt2"
    given = torch.rand(2, channels, 16, 24), torch.zeros(2, 1, 16, 24)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module.eval(), given, dynamic_shapes=(SIZES, SIZES)), path)
    return path


def filled(filler: Inpainter, inputs: torch.Tensor, masks: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    return filler.fill(preprocessing)(inputs, masks, torch.Generator())


def fill(path: Path, inputs: torch.Tensor, masks: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    return filled(load_inpainter(path, trust=True), inputs, masks, preprocessing)


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


@pytest.mark.parametrize(("module", "channels"), [(Mean(), 3), (GrayOnly(), 1)], ids=["three", "one"])
def test_gray_images_are_filled_by_networks_for_three_channels_and_for_one(tmp_path, module, channels):
    inputs = torch.full((1, 1, 8, 16), 0.75)
    inputs[:, :, :, :8] = 0.0
    found = fill(save(tmp_path, module, channels), inputs, half(1, 8, 16), plain(8, 16))
    torch.testing.assert_close(found, torch.full((1, 1, 8, 16), 0.75))


def test_images_of_any_size_are_brought_to_multiples_of_8_and_back(tmp_path):
    inputs = torch.full((9, 1, 11, 13), 0.25)
    masks = half(9, 11, 13)
    torch.testing.assert_close(fill(save(tmp_path, Halving()), inputs, masks, plain(11, 13)), inputs)


FUNCTION = """
from beside import SHADE

def shade(images, masks):
    return images * 0 + SHADE

number = 3
"""


@pytest.fixture
def python_file(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nSHADE = 0.25\n")
    (tmp_path / "mine.py").write_text(FUNCTION)
    return tmp_path / "mine.py"


def test_a_function_of_a_python_file_fills_images(python_file):
    inputs = RGB.normalised(torch.rand(2, 3, 8, 16))
    found = RGB.unnormalised(filled(load_inpainter(f"{python_file}:shade", trust=True), inputs, half(2, 8, 16), RGB))
    torch.testing.assert_close(found[:, :, :, :8], torch.full((2, 3, 8, 8), 0.25))


def test_any_function_fills_images():
    inputs = RGB.normalised(torch.rand(2, 3, 8, 16))
    found = filled(Inpainter("mine", lambda images, masks: images.flip(1)), inputs, half(2, 8, 16), RGB)
    torch.testing.assert_close(RGB.unnormalised(found)[..., :8], RGB.unnormalised(inputs).flip(1)[..., :8])


def test_it_runs_only_if_the_user_agrees(tmp_path, python_file):
    path = save(tmp_path, Mean())
    said = {path: r"filler.pt2 is a program of torch.export.*", f"{python_file}:shade": "mine.py fills images by running .*"}
    for given, sentence in said.items():
        with pytest.raises(ConsentNeeded, match=f"^{sentence}agree to it if you trust") as caught:
            load_inpainter(given)
        assert caught.value.kind == "trust"
        assert str(given).removesuffix(":shade") in caught.value.question
    assert not (tmp_path / "ran").exists()


def script(folder: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Mean()), str(folder / "filler.pt"))
    return str(folder / "filler.pt")


def one_size(folder: Path) -> str:
    given = torch.rand(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    torch.export.save(torch.export.export(Mean().eval(), given), folder / "one.pt2")
    return str(folder / "one.pt2")


def one_input(folder: Path) -> str:
    torch.export.save(torch.export.export(OneInput().eval(), (torch.rand(2, 3, 8, 8),)), folder / "image.pt2")
    return str(folder / "image.pt2")


def text(folder: Path) -> str:
    (folder / "text.pt2").write_text("no archive")
    return str(folder / "text.pt2")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("missing.pt2", r"There is no inpainter file .*missing.pt2; check the path"),
        ("missing.py:fill", r"There is no Python file .*missing.py; check the path before the colon"),
        ("mine.py", r"mine.py names no function; write it as mine.py:FUNCTION"),
        ("mine.py:shad", r"mine.py has no function 'shad'; did you mean shade\?"),
        ("mine.py:number", r"number of mine.py is of type int; name a function"),
        (text, r"text.pt2 is no archive of torch.export or is cut short; copy it again"),
        (
            script,
            r"filler.pt is TorchScript, .*torch.export as a .pt2 file, or name a Python function as FILE.py:FUNCTION",
        ),
        (one_size, r"one.pt2 takes exactly 1 image at a time; export it anew .*\(images, masks\), dynamic_shapes="),
        (one_input, r"image.pt2 takes 1 input; export an inpainter that takes images and masks"),
    ],
    ids=lambda value: getattr(value, "__name__", "") or str(value)[:15],
)
def test_what_is_no_inpainter_gives_a_sentence(tmp_path, python_file, given, said):
    with pytest.raises(ModelError, match=said):
        load_inpainter(given(tmp_path) if callable(given) else tmp_path / given, trust=True)


CONTRACT = r"it must take images \(N, 3, h, w\) from 0 to 1 and masks \(N, 1, h, w\) that are 1 inside, and return images"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (lambda images, masks: (images, masks), "The inpainter mine returned no tensor but a tuple; "),
        (lambda images, masks: images[:, :, ::2], r"mine returned the shape \(2, 3, 4, 16\) for 2 images of 8x16 pixels; "),
        (
            lambda images, masks: images / (1 - masks) - images / (1 - masks),
            r"returned values that are no numbers \(NaN or infinite\) for 2 images of 8x16 pixels; ",
        ),
        (lambda images: images, "The inpainter mine failed on 2 images of 8x16 pixels .*; "),
        (lambda images, masks: {}["weights"], r"The inpainter mine failed on 2 images of 8x16 pixels \('weights'\); "),
    ],
    ids=["pair", "small", "nan", "one input", "key"],
)
def test_what_does_not_fill_images_gives_a_sentence(program, said):
    inputs = torch.rand(2, 3, 8, 16)
    with pytest.raises(ModelError, match=said + CONTRACT):
        filled(Inpainter("mine", program), inputs, half(2, 8, 16), RGB)


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
