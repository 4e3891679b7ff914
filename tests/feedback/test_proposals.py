"""Masks proposed from painted ones: where they are found, that they count nowhere until accepted, and what is remembered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core_builders import hand_classifier, known, small_disk, small_gap, stop_after, stripes
from napari_cam_feedback.data import ArrayDataset, make_sample
from napari_cam_feedback.errors import ConfigError, MaskError, StorageError
from napari_cam_feedback.feedback import MaskStore, Proposal, ProposalStore, known_masks, propose_masks
from napari_cam_feedback.feedback.masks.size import resized
from napari_cam_feedback.feedback.proposals.content import PaintedContent
from napari_cam_feedback.feedback.proposals.exemplars import Donor, overlap, read_donors
from napari_cam_feedback.feedback.proposals.responses import discriminant
from napari_cam_feedback.feedback.proposals.templates import LONGEST, best_match, make_templates, prepared
from napari_cam_feedback.models import build_classifier, default_preprocessing
from napari_cam_feedback.torch_loader import torch

PATTERN = (255 * np.random.default_rng(7).integers(0, 2, (5, 5))).astype(np.uint8)


def marked(places: list[tuple[int, int] | None], size: int = 20) -> tuple[ArrayDataset, list[np.ndarray]]:
    """Noisy gray images with the pattern at a place, and where it is."""
    rng = np.random.default_rng(0)
    images = rng.integers(60, 120, (len(places), size, size)).astype(np.uint8)
    masks = [np.zeros((size, size), bool) for _ in places]
    for image, mask, place in zip(images, masks, places, strict=True):
        if place is not None:
            box = slice(place[0], place[0] + 5), slice(place[1], place[1] + 5)
            image[box], mask[box] = PATTERN, True
    return ArrayDataset({"train": images}, {"train": [n % 2 for n in range(len(places))]}, ("a", "b")), masks


def test_the_painted_patch_is_found_wherever_it_is_and_only_where_it_is():
    data, masks = marked([(2, 3), (14, 9), (7, 0), None])
    painted = {data.keys[0]: masks[0]}
    found = list(propose_masks(hand_classifier(20, 20), data, painted, kind="template"))
    assert [proposal.key for proposal in found] == [data.keys[1], data.keys[2]]
    for proposal in found:
        assert np.array_equal(proposal.mask, masks[proposal.index])
        assert proposal.score == pytest.approx(1.0, abs=1e-4)
        assert proposal.donor == data.keys[0]
        assert proposal.reason == f"The patch painted on {data.keys[0]} is found here with a correlation of 1.00."
    # Any correlation will do: the best place, however bad.
    assert len(list(propose_masks(hand_classifier(20, 20), data, painted, kind="template", least=0))) == 3


def test_of_several_painted_patches_the_best_match_is_proposed():
    data, _ = marked([(2, 3), (14, 9)])
    images = np.stack([data.read(0), data.read(1)])
    images[0, 10:15, 10:15] = 255 - PATTERN
    images[1, 0:5, 0:5] = 255 - PATTERN
    data = ArrayDataset({"train": images}, {"train": [0, 1]}, ("a", "b"))
    mask = np.zeros((20, 20), bool)
    mask[10:15, 10:15] = mask[2:7, 3:8] = True
    templates = make_templates(read_donors(hand_classifier(20, 20), data, {data.keys[0]: mask}, keys=[data.keys[0]]).donors)
    assert [template.patch.tolist() for template in templates] == [PATTERN.tolist(), (255 - PATTERN).tolist()]
    found = best_match(prepared(images[1]), templates[1:])
    assert found is not None
    assert np.argwhere(found[2]).min(0).tolist() == [0, 0]


def test_a_patch_that_is_the_same_everywhere_is_looked_for_with_its_surroundings():
    images = np.full((2, 12, 12), 100, np.uint8)
    images[0, 4:7, 4:7] = images[1, 7:10, 6:9] = 250
    data = ArrayDataset({"train": images}, {"train": [0, 1]}, ("a", "b"))
    mask = images[0] == 250
    (found,) = propose_masks(hand_classifier(12, 12), data, {data.keys[0]: mask}, kind="template")
    assert np.array_equal(found.mask, images[1] == 250)
    nothing = ArrayDataset({"train": np.full((2, 12, 12), 100, np.uint8)}, {"train": [0, 1]}, ("a", "b"))
    assert not list(propose_masks(hand_classifier(12, 12), nothing, {nothing.keys[0]: mask}, kind="template"))


def test_large_images_are_searched_small_and_the_mask_is_of_the_image_s_size():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (2, 8, 8)).astype(np.uint8)
    small[1, 1:4, 4:7] = small[0, 3:6, 2:5]
    large = np.kron(small, np.ones((1, 80, 80), np.uint8))
    data = ArrayDataset({"train": large}, {"train": [0, 1]}, ("a", "b"))
    mask = np.zeros((640, 640), bool)
    mask[240:480, 160:400] = True
    assert prepared(large[0]).shape == (LONGEST, LONGEST)
    (found,) = propose_masks(hand_classifier(640, 640), data, {data.keys[0]: mask}, kind="template")
    expected = np.zeros((640, 640), bool)
    expected[80:320, 320:560] = True
    assert overlap(found.mask, expected) > 0.97


def test_the_discriminant_worked_out_by_hand():
    # Filter 0 is 4 under the mask and 0 elsewhere, filter 1 the same everywhere, filter 2 quieter under it.
    activations = torch.tensor([[[[4.0, 0, 0, 0]], [[7.0, 7, 7, 7]], [[0.0, 1, 1, 1]]]])
    weights, offset, unit = discriminant(activations, torch.tensor([[[True, False, False, False]]]))
    assert weights.tolist() == pytest.approx([4 / 3, 0, 0])  # 4 over the variance 3
    assert (offset, unit) == pytest.approx((0.0, 16 / 3))


def corners() -> tuple[np.ndarray, list[np.ndarray]]:
    """Six noisy images with a bright square in one of four corners, and where it is."""
    rng = np.random.default_rng(3)
    images = rng.integers(10, 60, (6, 16, 16)).astype(np.uint8)
    masks = np.zeros(images.shape, bool)
    ends = [slice(0, 4), slice(12, 16)]
    for n in range(6):
        masks[n, ends[n % 2], ends[n // 2 % 2]] = True
    # Of many grays, so that no two squares are one patch.
    images[masks] = rng.integers(150, 250, int(masks.sum()))
    return images, list(masks)


def test_the_painted_place_that_looks_as_under_the_paint_is_proposed():
    images, masks = corners()
    data = ArrayDataset({"train": images}, {"train": [1] * 6}, ("a", "b"))
    painted = {data.keys[n]: masks[n] for n in range(4)}
    found = list(propose_masks(hand_classifier(16, 16), data, painted, kind="place"))
    assert [np.array_equal(p.mask, masks[p.index]) for p in found] == [True, True]
    assert all(p.score > 0.9 for p in found)
    assert found[0].reason.startswith("The same place as in 1 of the 4 painted images; ")
    assert found[0].reason.endswith(" % of it looks as it does under the paint.")
    dark = np.concatenate([images[:4], np.random.default_rng(4).integers(10, 60, (1, 16, 16)).astype(np.uint8)])
    dark = ArrayDataset({"train": dark}, {"train": [1] * 5}, ("a", "b"))
    assert not list(propose_masks(hand_classifier(16, 16), dark, painted, kind="place"))


def test_a_place_that_is_always_painted_is_likely_by_itself_unless_the_thing_is_seen_elsewhere_or_not_at_all():
    # As on symbols: a sign in the corner, or an even patch, which is painted too; the rest is noise.
    rng = np.random.default_rng(3)
    images = rng.integers(10, 60, (7, 16, 16)).astype(np.uint8)
    sign = rng.integers(150, 250, (4, 4)).astype(np.uint8)
    corner = (slice(0, 4), slice(0, 4))
    images[(slice(0, 4), *corner)] = 35
    images[0][corner] = images[1][corner] = sign
    images[4][corner] = 35
    images[5][12:, 12:] = sign
    mask = np.zeros((16, 16), bool)
    mask[corner] = True
    data = ArrayDataset({"train": images}, {"train": [1] * 7}, ("a", "b"))
    painted = {data.keys[n]: mask for n in range(4)}
    found = {p.index: p for p in propose_masks(hand_classifier(16, 16), data, painted, kind="place")}
    # Four of four lie there, which alone makes 4 of 5.
    assert found[4].score >= 0.8
    assert found[4].reason.startswith("The same place as in all 4 painted images; ")
    signs = {data.keys[n]: mask for n in range(2)} | {data.keys[4]: mask}
    images[4][corner] = sign
    # Three signs in one corner, maybe by chance: where there is none, or it is in another corner, none is proposed.
    assert not {5, 6} & {p.index for p in propose_masks(hand_classifier(16, 16), data, signs, kind="place")}


def test_a_network_that_no_longer_responds_changes_no_proposal_and_no_share_exceeds_a_hundred():
    images, masks = corners()
    data = ArrayDataset({"train": images}, {"train": [1] * 6}, ("a", "b"))
    painted = {data.keys[n]: masks[n] for n in range(4)}
    deaf = hand_classifier(16, 16)
    with torch.no_grad():
        deaf.module.features.weight.mul_(1e-3)
    for kind in ("auto", "place", "template"):
        one, other = (list(propose_masks(each, data, painted, kind=kind)) for each in (hand_classifier(16, 16), deaf))
        assert [(p.key, p.score, p.reason) for p in one] == [(p.key, p.score, p.reason) for p in other]
    images[4:] = np.where(images[4:] > 100, 255, images[4:])
    for found in propose_masks(deaf, data, painted, kind="filters", least=0):
        assert "reach 100 % of their usual strength" in found.reason


@pytest.mark.lengthy
def test_on_the_digits_the_proposals_are_right_also_with_a_network_that_has_unlearnt_the_tags():
    # Worse than any retune leaves it: the weights are random. Five painted images, so that patch and place both are asked.
    data = make_sample("tag-digits")
    unlearnt = build_classifier("small-gap", data.class_names, default_preprocessing(data), seed=5)
    chosen = np.random.default_rng(0).permutation(data.learnable())[:80]
    found = list(propose_masks(unlearnt, data, known_masks(data, 5, seed=0), indices=chosen))
    right = [overlap(proposal.mask, data.known_mask(proposal.index)) >= 0.5 for proposal in found]
    assert {proposal.kind for proposal in found} == {"template", "place"}
    assert np.mean(right) >= 0.95
    assert len(found) > 40


def test_what_is_painted_is_learnt_of_colours_and_nothing_of_a_mask_over_everything():
    image = np.full((12, 12, 3), 90, np.uint8)
    image[2:5, 2:5] = (200, 30, 30)
    red = (image == (200, 30, 30)).all(2)
    content = PaintedContent([Donor(0, "a", image, red, 0)])
    other = np.full((12, 12, 3), 90, np.uint8)
    other[7:10, 6:9] = (200, 30, 30)
    likely = content.probability(other)
    assert np.unravel_index(int(likely.argmax()), likely.shape)[0] in (7, 8, 9)
    # A gray image among coloured ones is one without colours.
    assert content.probability(other[..., 0]).shape == (12, 12)
    assert not PaintedContent([Donor(0, "a", image, np.ones((12, 12), bool), 0)]).probability(other).any()


def test_by_filters_the_painted_shape_lies_where_they_respond():
    images = np.full((2, 12, 12), 10, np.uint8)
    images[0, 2:5, 2:4] = images[1, 8:11, 6:8] = 200
    data = ArrayDataset({"train": images}, {"train": [0, 1]}, ("a", "b"))
    (found,) = propose_masks(hand_classifier(12, 12), data, {data.keys[0]: images[0] == 200}, kind="filters")
    assert np.array_equal(found.mask, images[1] == 200)
    assert found.score == pytest.approx(1.0)


def test_auto_takes_the_place_where_the_patch_is_not_found():
    data, masks = marked([(2, 3), (2, 3), (2, 3), None, (14, 9)])
    images = np.stack([data.read(n) for n in range(5)])
    # As black and white as the pattern, and another one.
    images[3, 2:7, 3:8] = 255 - PATTERN
    data = ArrayDataset({"train": images}, {"train": [0, 1, 0, 1, 0]}, ("a", "b"))
    painted = {data.keys[n]: masks[n] for n in range(3)}
    found = {p.key: p for p in propose_masks(hand_classifier(20, 20), data, painted)}
    assert found[data.keys[4]].kind == "template"
    assert found[data.keys[3]].kind == "place"
    assert np.array_equal(found[data.keys[3]].mask, masks[0])


def test_nothing_is_proposed_for_painted_and_test_images_or_for_those_left_out():
    data = stripes({"train": 8, "val": 4, "test": 4})
    painted = known(data, "train", 3)
    out = data.keys[5]
    found = list(propose_masks(small_gap(("across", "along")), data, painted, kind="place", least=0, without=[out]))
    expected = {data.keys[int(i)] for i in data.learnable()} - set(painted) - {out}
    assert {proposal.key for proposal in found} == expected
    chosen = propose_masks(
        small_gap(("across", "along")), data, painted, kind="place", least=0, indices=data.indices("test")
    )
    assert not list(chosen)


def test_what_cannot_be_gives_a_sentence_before_anything_is_done():
    data, classifier = stripes({"train": 4}), small_gap(("across", "along"))
    with pytest.raises(ConfigError, match=r"There is no kind of proposal 'magic'; choose auto, place, filters, template\."):
        propose_masks(classifier, data, known(data), kind="magic")
    with pytest.raises(ConfigError, match=r"The least score cannot be 2; choose one from 0 to 1\."):
        propose_masks(classifier, data, known(data), least=2)
    with pytest.raises(MaskError, match=r"No training or validation image is painted yet; paint what is irrelevant"):
        propose_masks(classifier, data, {})
    with pytest.raises(MaskError, match="paint it on its own image"):
        propose_masks(classifier, data, {data.keys[0]: np.ones((3, 3), bool)})


def test_it_reports_progress_stops_when_asked_and_draws_from_a_huge_set():
    data, classifier, seen = stripes({"train": 12}), small_gap(("across", "along")), []
    painted = known(data, "train", 2)
    options = {"kind": "place", "least": 0.0}
    list(propose_masks(classifier, data, painted, progress=lambda *state: seen.append(state), **options))
    assert seen == [(n, 10) for n in range(1, 11)]
    assert len(list(propose_masks(classifier, data, painted, stop=stop_after(2), **options))) == 3
    few = [p.key for p in propose_masks(classifier, data, painted, most=4, seed=1, **options)]
    assert len(few) == 4
    assert few == [p.key for p in propose_masks(classifier, data, painted, most=4, seed=1, **options)]


def test_masks_of_another_size_keep_their_place():
    mask = np.zeros((4, 4), bool)
    mask[0, 3] = True
    assert np.argwhere(resized(mask, (8, 8))).tolist() == [[0, 6], [0, 7], [1, 6], [1, 7]]
    assert np.array_equal(resized(resized(mask, (8, 8)), (4, 4)), mask)


# On disk --------------------------------------------------------------------------------------------


def proposal(key: str, score: float = 0.9, place: int = 0) -> Proposal:
    mask = np.zeros((4, 4), bool)
    mask[place, :2] = True
    return Proposal(0, key, mask, "template", score, "Because.", "train/b.png")


def index(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "proposals.json").read_text())


def test_a_proposal_counts_nowhere_before_it_is_accepted(tmp_path):
    store, masks = ProposalStore(tmp_path / "proposals"), MaskStore(tmp_path / "masks")
    assert store.add([proposal("train/a.png", 0.8), proposal("val/c.png", 0.95)], classifier="f00") == [
        "train/a.png",
        "val/c.png",
    ]
    assert store.keys() == ["val/c.png", "train/a.png"]
    assert len(MaskStore(tmp_path / "masks")) == 0
    again = ProposalStore(tmp_path / "proposals")
    assert np.array_equal(again.mask("train/a.png"), proposal("").mask)
    about = again.about("train/a.png")
    assert (about.kind, about.score, about.reason, about.donor, about.classifier) == (
        "template",
        0.8,
        "Because.",
        "train/b.png",
        "f00",
    )
    assert again.accept(["train/a.png"], masks) == ["train/a.png"]
    assert np.array_equal(MaskStore(tmp_path / "masks")["train/a.png"], proposal("").mask)
    assert masks.info("train/a.png")["author"] == "proposed by template (score 0.80, like train/b.png) and accepted"
    final = ProposalStore(tmp_path / "proposals")
    assert final.keys() == ["val/c.png"]
    assert list(index(tmp_path / "proposals")["accepted"]) == ["train/a.png"]
    assert not (tmp_path / "proposals" / "open" / "train" / "a.png.png").exists()


def test_an_image_painted_meanwhile_keeps_its_own_mask(tmp_path):
    store, masks = ProposalStore(tmp_path / "proposals"), MaskStore(tmp_path / "masks")
    own = np.ones((4, 4), bool)
    store.add([proposal("a.png"), proposal("b.png")], masks=["b.png"])
    assert store.keys() == ["a.png"]
    masks.put("a.png", own)
    assert store.accept(["a.png"], masks) == []
    assert np.array_equal(masks["a.png"], own)
    assert store.keys() == []


def test_what_was_rejected_is_not_proposed_again_but_another_place_may_be(tmp_path):
    store = ProposalStore(tmp_path)
    store.add([proposal("a.png")])
    assert store.reject(["a.png"]) == ["a.png"]
    again = ProposalStore(tmp_path)
    assert again.refused("a.png", proposal("a.png").mask)
    assert again.add([proposal("a.png"), proposal("b.png")]) == ["b.png"]
    assert again.add([proposal("a.png", place=2)]) == ["a.png"]
    # Both places are remembered.
    again.reject(["a.png"])
    assert again.refused("a.png", proposal("a.png", place=0).mask)
    assert again.refused("a.png", proposal("a.png", place=2).mask)
    assert list(index(tmp_path)["rejected"]) == ["a.png"]


def test_a_newer_proposal_takes_the_older_one_s_place_and_some_are_dropped_without_an_answer(tmp_path):
    store = ProposalStore(tmp_path)
    store.add([proposal("a.png", 0.5), proposal("a.png", 0.7, place=3), proposal("b.png")])
    assert store.about("a.png").score == 0.7
    assert store.mask("a.png")[3, 0]
    store.drop(["a.png", "unknown.png"])
    assert ProposalStore(tmp_path).keys() == ["b.png"]
    assert not store.refused("a.png", proposal("a.png").mask)


def test_answers_for_what_is_not_proposed_and_broken_folders_give_a_sentence(tmp_path):
    store = ProposalStore(tmp_path / "p")
    with pytest.raises(
        StorageError, match=r"No mask is proposed for a\.png; propose masks anew, or name one of those listed\."
    ):
        store.accept(["a.png"], None)
    with pytest.raises(MaskError, match=r"'\.\./a\.png' cannot be the key of an image"):
        store.add([proposal("../a.png")])
    assert not (tmp_path / "a.png.png").exists()
    (tmp_path / "p").mkdir(exist_ok=True)
    (tmp_path / "p" / "proposals.json").write_text("[1]")
    with pytest.raises(StorageError, match=r"is not an index of proposed masks; restore it or remove its folder\."):
        ProposalStore(tmp_path / "p")
    (tmp_path / "p" / "proposals.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(StorageError, match=r"A newer version of napari-cam-feedback wrote"):
        ProposalStore(tmp_path / "p")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "p" / "open").mkdir(parents=True)
    (tmp_path / "p" / "open" / "train").symlink_to(outside)
    with pytest.raises(StorageError, match="outside of"):
        ProposalStore(tmp_path / "p").add([proposal("train/a.png")])
    assert not list(outside.iterdir())


def test_a_mask_that_cannot_be_written_leaves_its_proposal(tmp_path):
    store = ProposalStore(tmp_path / "p")
    store.add([proposal("a.png")])
    with small_disk(0), pytest.raises(StorageError):
        store.accept(["a.png"], MaskStore(tmp_path / "masks"))
    assert ProposalStore(tmp_path / "p").keys() == ["a.png"]


def test_a_stop_leaves_the_others_as_they_are(tmp_path):
    store = ProposalStore(tmp_path)
    store.add([proposal("a.png"), proposal("b.png"), proposal("c.png")])
    assert store.reject(["a.png", "b.png", "c.png"], stop=stop_after(1)) == ["a.png"]
    assert store.keys() == ["b.png", "c.png"]
