"""A half-transparent mark is separated from the photographs it lies on, and put on and taken off others truly."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from skimage import data
from sklearn.datasets import load_digits

from napari_cam_feedback.retuning import RetuneConfig
from napari_cam_feedback.retuning.images.masked_set import MaskedSet, separate
from napari_cam_feedback.retuning.images.overlay import Overlay, beneath, near, slopes
from napari_cam_feedback.retuning.images.refill import Replacer
from napari_cam_feedback.retuning.images.sampling import augment
from napari_cam_feedback.retuning.images.separation import separate_overlay
from napari_cam_feedback.retuning.methods import Batch

SIZE = 96
WHITE, RED = (1.0, 1.0, 1.0), (1.0, 0.0, 0.0)
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@cache
def photographs() -> torch.Tensor:
    """48 pieces of three photographs, (48, 3, 96, 96) between 0 and 1, in random order."""
    rng = np.random.default_rng(0)
    pieces = []
    for picture in (data.astronaut(), data.coffee(), data.chelsea()):
        for _ in range(16):
            top, left = (int(rng.integers(0, side - 2 * SIZE)) for side in picture.shape[:2])
            pieces.append(picture[top : top + 2 * SIZE : 2, left : left + 2 * SIZE : 2])
    found = torch.from_numpy(np.stack(pieces).transpose(0, 3, 1, 2) / 255).float()
    return found[torch.from_numpy(rng.permutation(len(found)))]


def text(words: str = "MARK", opacity: float = 0.5, at: tuple[int, int] = (12, 34), size: int = 26) -> torch.Tensor:
    """The opacity of a text at each pixel, (96, 96)."""
    layer = Image.new("L", (SIZE, SIZE), 0)
    ImageDraw.Draw(layer).text(at, words, fill=255, font=ImageFont.load_default(size))
    return torch.from_numpy(np.asarray(layer) / 255).float() * opacity


def marked(images: torch.Tensor, opacity: torch.Tensor, colour: tuple[float, ...] = WHITE) -> torch.Tensor:
    """Images with a mark, rounded to 8 bits as a file would be."""
    exact = images * (1 - opacity) + opacity * torch.tensor(colour)[:, None, None]
    return (exact * 255).round() / 255


def around(opacity: torch.Tensor, count: int, margin: int = 2) -> torch.Tensor:
    """The rectangle around a mark as the mask of each of so many images."""
    rows, columns = (torch.nonzero((opacity > 0).any(axis))[:, 0] for axis in (1, 0))
    masks = torch.zeros(count, SIZE, SIZE, dtype=torch.bool)
    top, left = max(0, int(rows[0]) - margin), max(0, int(columns[0]) - margin)
    masks[:, top : int(rows[-1]) + margin + 1, left : int(columns[-1]) + margin + 1] = True
    return masks


def found(images: torch.Tensor, masks: torch.Tensor) -> Overlay:
    overlay = separate_overlay(images, masks)
    assert overlay is not None
    return overlay


@cache
def white_mark() -> Overlay:
    return found(marked(photographs()[:20], text()), around(text(), 20))


@pytest.mark.parametrize(("colour", "opacity"), [(WHITE, 0.5), (RED, 0.5), (WHITE, 0.7)])
def test_a_mark_on_twenty_photographs_is_put_on_and_taken_off_others_truly(colour, opacity):
    alpha = text(opacity=opacity)
    masks = around(alpha, 20)
    overlay = found(marked(photographs()[:20], alpha, colour), masks)
    others = photographs()[20:]
    true = marked(others, alpha, colour)
    place = masks[0]
    unmarked = (true - others)[..., place].abs().mean()
    assert (overlay.b - (1 - alpha))[:, place].abs().mean() < 0.02
    assert (overlay.a - alpha * torch.tensor(colour)[:, None, None])[:, place].abs().mean() < 0.02
    assert (overlay.put_on(others) - true)[..., place].abs().mean() < min(0.01, unmarked / 8)
    assert (overlay.take_off(true) - others)[..., place].abs().mean() < 0.015
    assert overlay.opacity == pytest.approx(opacity, abs=0.04)
    # Beside the mark nothing is touched.
    assert torch.equal(overlay.take_off(true)[..., :20, :], others[..., :20, :])


def test_it_works_in_the_units_of_the_network_s_input():
    images = (marked(photographs()[:20], text()) - MEAN) / STD
    overlay = found(images, around(text(), 20))
    others = photographs()[20:]
    put = overlay.put_on((others - MEAN) / STD) * STD + MEAN
    assert (put - marked(others, text()))[..., around(text(), 1)[0]].abs().mean() < 0.01


def test_the_user_is_told():
    percent = f"{white_mark().opacity:.0%}"
    assert white_mark().sentence == (
        f"What is painted is a half-transparent mark at one place (opacity up to {percent}): it is separated from the "
        "photographs and put on truly."
    )


def test_which_images_carry_it_is_seen():
    others = photographs()[20:]
    assert not white_mark().carries(others).any()
    assert white_mark().carries(marked(others, text())).all()
    # Put elsewhere, it is no longer there; on white it cannot be seen.
    assert not white_mark().carries(marked(others, text(at=(12, 4)))).any()
    assert not white_mark().carries(torch.ones(1, 3, SIZE, SIZE)).any()


def test_it_is_taken_off_only_where_it_is():
    others = photographs()[20:24]
    mixed = torch.cat([others[:2], marked(others[2:], text())])
    cleared = white_mark().clear(mixed)
    assert torch.equal(cleared[:2], others[:2])
    assert (cleared[2:] - others[2:])[..., around(text(), 1)[0]].abs().mean() < 0.015


def test_what_is_taken_off_stays_within_what_images_have():
    assert white_mark().take_off(torch.zeros(1, 3, SIZE, SIZE)).min() >= photographs()[:20].min() - 1e-6


def test_masks_may_be_sloppy_and_the_mark_may_reach_the_edge_of_the_image():
    alpha = text(at=(14, 74))
    assert alpha[-1].any()
    masks = around(alpha, 20)
    for row in range(20):
        masks[row] = masks[row].roll((row % 5 - 2, row % 7 - 3), (0, 1))
    overlay = found(marked(photographs()[:20], alpha), masks)
    others = photographs()[20:]
    assert (overlay.put_on(others) - marked(others, alpha))[..., masks[0]].abs().mean() < 0.015


@cache
def not_one_mark() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Images and masks, by what is wrong with them."""
    images, alpha = photographs()[:20], text()
    masks = around(alpha, 20)
    tag = torch.zeros(SIZE, SIZE)
    tag[4:20, 4:24] = 1
    shades = torch.stack([marked(image[None], tag, (n / 20,) * 3)[0] for n, image in enumerate(images)])
    blue = (0.0, 0.0, 1.0)
    return {
        "no mark": (images, masks),
        "opaque text": (marked(images, text(opacity=1.0)), masks),
        "opaque tag": (marked(images, tag, (0.8, 0.7, 0.2)), around(tag, 20)),
        "opaque tag of many shades": (shades, around(tag, 20)),
        "moves a little": moving(images, 2),
        "moves": moving(images, 30),
        "two texts": (torch.cat([marked(images[:10], alpha), marked(images[10:], text("CROW"))]), masks),
        "two colours": (torch.cat([marked(images[:10], alpha, RED), marked(images[10:], alpha, blue)]), masks),
        "on half of them": (torch.cat([marked(images[:10], alpha), images[10:]]), masks),
        "on five images": (marked(images[:5], alpha), masks[:5]),
        "painted all over": (marked(images, alpha), torch.ones_like(masks)),
    }


NOT_ONE_MARK = (
    "no mark",
    "opaque text",
    "opaque tag",
    "opaque tag of many shades",
    "moves a little",
    "moves",
    "two texts",
    "two colours",
    "on half of them",
    "on five images",
    "painted all over",
)


def moving(images: torch.Tensor, reach: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images on which the mark lies up to so many pixels aside, and their masks."""
    rng = np.random.default_rng(0)
    places = [text(at=(12 + right, 34 + down)) for right, down in rng.integers(-reach, reach + 1, (len(images), 2)).tolist()]
    moved = torch.stack([marked(image[None], place)[0] for image, place in zip(images, places, strict=True)])
    return moved, torch.cat([around(place, 1) for place in places])


@pytest.mark.lengthy
@pytest.mark.parametrize("case", NOT_ONE_MARK)
def test_what_is_not_one_half_transparent_mark_at_one_place_is_not_separated(case):
    assert separate_overlay(*not_one_mark()[case]) is None


@pytest.mark.parametrize("digit", [0, 1, 5, 9])
def test_objects_that_lie_alike_on_all_images_are_no_mark(digit):
    digits = load_digits()
    images = torch.from_numpy(digits.images[digits.target == digit][:40, None] / 16).float()
    images = torch.nn.functional.interpolate(images, (48, 48), mode="bilinear")
    images = torch.nn.functional.pad(images, (24,) * 4)
    images = images + 0.03 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(len(images), 96, 96, dtype=torch.bool)
    masks[:, 24:72, 24:72] = True
    assert separate_overlay(images, masks) is None


def test_what_lies_beneath_is_the_mean_of_what_lies_around():
    images = torch.tensor([0.2, 0.7])[:, None, None, None].expand(2, 3, 40, 40).clone()
    strokes = torch.zeros(40, 40, dtype=torch.bool)
    strokes[5:35, 5:35] = True
    images[:, :, strokes] = 9.0
    assert torch.allclose(beneath(images, strokes)[:, :, strokes], images[:, :, 0, 0][..., None], atol=1e-5)
    assert torch.equal(beneath(images, strokes)[:, :, ~strokes], images[:, :, ~strokes])
    rim = near(strokes)
    assert rim[5, 5]
    assert not rim[20, 20]
    # By hand, one stroke in a row: both neighbours weigh alike.
    row = torch.tensor([0.0, 9.0, 1.0]).view(1, 1, 1, 3)
    hidden = torch.tensor([[False, True, False]])
    assert beneath(row, hidden)[0, 0, 0, 1] == pytest.approx(0.5)
    everything = torch.ones(1, 3, dtype=torch.bool)
    assert torch.equal(beneath(row, everything), row)


def test_a_robust_slope_through_the_origin_is_a_weighted_median():
    # Slopes 1, 2, 50 with weights 3, 2, 1: half of the weight is reached at the first.
    x, y = torch.tensor([[3.0, -2.0, 1.0, 0.0]]), torch.tensor([[3.0, -4.0, 50.0, 7.0]])
    assert slopes(x, y).tolist() == [1.0]
    # With weights 1, 2, 1 at the second.
    assert slopes(torch.tensor([[1.0, -2.0, 1.0]]), torch.tensor([[1.0, -4.0, 50.0]])).tolist() == [2.0]


@cache
def painted() -> MaskedSet:
    """Twenty marked photographs of two classes; the last of them is painted, but not marked."""
    images = torch.cat([marked(photographs()[:19], text()), photographs()[19:20]])
    keys = tuple(f"train/{n}" for n in range(20))
    made = MaskedSet(np.arange(20), keys, images, around(text(), 20), torch.arange(20) % 2)
    return replace(made, overlay=white_mark())


def test_painted_images_know_their_mark_and_keep_it():
    images = marked(photographs()[:20], text())
    plain = replace(painted(), inputs=images, overlay=None)
    separated = separate(plain)
    assert separated.overlay is not None
    assert separate(replace(plain, inputs=photographs()[:20])).overlay is None
    learnt, held_out = separated.hold_out(0)
    for part in (learnt, held_out, separated.take(np.array([3])), separated.to(torch.device("cpu"))):
        assert part.overlay is not None
        assert torch.equal(part.overlay.b, separated.overlay.b)


def test_pasting_puts_the_mark_on_and_no_piece_of_another_photograph():
    others = photographs()[20:24]
    pasted = painted().paste(others, torch.tensor([0, 1, 2, 3]))
    assert torch.equal(pasted, white_mark().put_on(others))
    assert (pasted - marked(others, text()))[..., around(text(), 1)[0]].abs().mean() < 0.01


def test_places_are_cleared_by_taking_the_mark_off_those_that_carry_it():
    generator = torch.Generator().manual_seed(0)
    others = photographs()[20:22]
    cleared = painted().clear_places(torch.cat([others, marked(others, text())]), generator)
    assert torch.equal(cleared[:2], others)
    assert (cleared[2:] - others).abs().mean() < 0.005


@pytest.mark.parametrize("fill", ["surround", "donor"])
def test_a_refilled_image_is_the_image_without_the_mark(fill):
    generator = torch.Generator().manual_seed(0)
    batch = Batch(photographs()[20:24], torch.zeros(4, dtype=torch.int64), painted())
    refilled = Replacer(RetuneConfig(fill=fill), painted())(batch, generator)
    place = around(text(), 1)[0]
    assert (refilled[:19] - photographs()[:19])[..., place].abs().mean() < 0.015
    # Where the mark is not, the mask is refilled as ever.
    assert (refilled[19] - photographs()[19])[..., place].abs().mean() > 0.02
    assert torch.equal(refilled[19][..., ~place], photographs()[19][..., ~place])


def test_images_that_augmentation_moved_have_the_mark_elsewhere_and_are_refilled():
    generator = torch.Generator().manual_seed(0)
    batch = augment(Batch(photographs()[20:24], torch.zeros(4, dtype=torch.int64), painted()), generator)
    assert batch.painted.overlay is None
