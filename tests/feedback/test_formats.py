"""Masks in other programs' files: each kind is read as it is written there, finds its image by name, and comes back."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import ConfigError, DataError, MaskError
from napari_cam_feedback.feedback import MaskStore, export_masks, find_masks, import_masks
from napari_cam_feedback.feedback.exchange import rle
from napari_cam_feedback.feedback.exchange.formats import KINDS
from napari_cam_feedback.feedback.masks.matching import NameMatcher

SIZE = (6, 8)
KEYS = ["train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "test/cat/7.jpg"]


class Named(ArrayDataset):
    """Six by eight pixels, with keys as those of a folder."""

    def __init__(self, keys: list[str] = KEYS) -> None:
        images = {"train": np.zeros((len(keys) - 1, *SIZE), np.uint8), "test": np.zeros((1, *SIZE), np.uint8)}
        super().__init__(images, {"train": [0] * (len(keys) - 1), "test": [0]}, ("a", "b"))
        self.keys = type(self.keys)(keys)


@pytest.fixture
def dataset() -> Named:
    return Named()


def blob(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.random.default_rng(seed).random(size) < 0.4
    mask[0, 0] = True
    return mask


def picture(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)


# Run-length encoding ----------------------------------------------------------------------------------


def test_runs_are_counted_down_the_columns_beginning_with_zeros():
    # By hand: columns (0,0), (1,0), (1,1).
    mask = np.array([[0, 1, 1], [0, 0, 1]])
    assert rle.encode(mask) == [2, 1, 1, 2]
    assert rle.encode(1 - mask) == [0, 2, 1, 1, 2]
    assert rle.decode([2, 1, 1, 2], (2, 3)).tolist() == [[False, True, True], [False, False, True]]
    assert rle.encode(np.zeros((2, 3))) == [6]


def test_the_compressed_text_is_coco_s():
    # By hand: 2 -> "2"; from the fourth number on the difference to that two before: 2 - 1 = 1 -> "1".
    assert rle.compress([2, 1, 1, 2]) == "2111"
    # 100 = 3 * 32 + 4: the low five bits with the flag, 48 + 36 = "T", then 48 + 3 = "3".
    assert rle.compress([100]) == "T3"
    # 5 - 100 = -95 = -3 * 32 + 1: 48 + 33 = "Q", then -3 in five bits, 48 + 29 = "M".
    assert rle.compress([0, 100, 0, 5])[-2:] == "QM"
    # As pycocotools 2.0.11 writes them.
    assert rle.compress([14, 3, 3, 3, 3, 3, 7]) == ">330004"
    assert rle.decompress(">330004") == [14, 3, 3, 3, 3, 3, 7]


@pytest.mark.parametrize("seed", range(5))
def test_masks_of_any_kind_come_back(seed):
    size = (37 + seed, 300)
    mask = np.random.default_rng(seed).random(size) < (0.001, 0.2, 0.5, 0.99, 0)[seed]
    counts = rle.encode(mask)
    assert sum(counts) == mask.size
    assert rle.decompress(rle.compress(counts)) == counts
    assert np.array_equal(rle.decode(counts, size), mask)


def test_pycocotools_agrees_where_it_is_installed():
    theirs = pytest.importorskip("pycocotools.mask")
    for seed in range(20):
        size = (np.random.default_rng(seed).integers(1, 90), np.random.default_rng(seed + 99).integers(1, 90))
        mask = np.random.default_rng(seed).random(size) < 0.02 * seed
        packed = theirs.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert packed["counts"].decode() == rle.compress(rle.encode(mask))
        assert np.array_equal(theirs.decode(packed).astype(bool), mask)


@pytest.mark.parametrize("counts", [[1, 1], [5, 2], [-1, 7], [2, 1, 1, 2**63], [], [6, 0, 1]])
def test_runs_that_do_not_fill_the_mask_are_refused(counts):
    # pycocotools gives back memory that was never written for some of these.
    with pytest.raises(MaskError, match="its runs do not make 2x3 pixels"):
        rle.decode(counts, (2, 3))


@pytest.mark.parametrize("text", ["\0", "é", " ", "o" * 20, "T"])
def test_a_text_that_is_no_runs_is_refused(text):
    with pytest.raises(MaskError, match=r"its text is (no run-length encoding|cut short)"):
        rle.decompress(text)


# Reading ----------------------------------------------------------------------------------------------


def test_a_folder_of_pictures_is_read_whatever_their_kind(tmp_path, dataset):
    (tmp_path / "m/train/cat").mkdir(parents=True)
    (tmp_path / "m/train/dog").mkdir()
    picture(blob(1)).save(tmp_path / "m/train/cat/1.png")
    tifffile.imwrite(tmp_path / "m/train/cat/2.tif", blob(2).astype(np.uint16) * 900)
    picture(blob(3)).convert("RGB").save(tmp_path / "m/train/dog/1.png.png")
    (tmp_path / "m/masks.json").write_text("{}")
    found = find_masks(tmp_path / "m", dataset)
    assert {key: found.masks[key].tolist() for key in found.masks} == {
        KEYS[0]: blob(1).tolist(), KEYS[1]: blob(2).tolist(), KEYS[2]: blob(3).tolist()
    }  # fmt: skip
    assert (found.unmatched, found.refused, found.empty) == ({}, {}, [])


def test_an_npz_has_an_array_a_key_or_one_array_and_keys(tmp_path, dataset):
    np.savez(tmp_path / "a.npz", **{KEYS[0]: blob(1), KEYS[3]: blob(2).astype(np.float32)})
    np.savez(tmp_path / "b.npz", keys=[KEYS[0], KEYS[3]], masks=np.stack([blob(1), blob(2)]).astype(np.uint8))
    for name in ("a.npz", "b.npz"):
        found = find_masks(tmp_path / name, dataset)
        assert sorted(found.masks) == sorted([KEYS[0], KEYS[3]])
        assert np.array_equal(found.masks[KEYS[0]], blob(1))
        assert np.array_equal(found.masks[KEYS[3]], blob(2))
    np.savez(tmp_path / "c.npz", keys=[KEYS[0]], masks=np.zeros((2, *SIZE), bool))
    with pytest.raises(MaskError, match=r"c\.npz has not one mask \(N, H, W\) for each of its keys \(N,\)"):
        find_masks(tmp_path / "c.npz", dataset)


def coco(*drawn: object, size: tuple[int, int] = SIZE, name: str = "1.png") -> dict:
    return {
        "images": [{"id": 7, "file_name": f"train/cat/{name}", "height": size[0], "width": size[1]}],
        "annotations": [
            {"id": n, "image_id": 7, "category_id": 1 + n, "segmentation": each} for n, each in enumerate(drawn)
        ],
        "categories": [{"id": 1, "name": "tag"}, {"id": 2, "name": "ruler"}],
    }


def test_coco_s_runs_texts_and_polygons_of_one_image_are_joined(tmp_path, dataset):
    first, second = blob(1), blob(2)
    runs = {"size": list(SIZE), "counts": rle.encode(first)}
    text = {"size": list(SIZE), "counts": rle.compress(rle.encode(second))}
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(coco(runs, text)))
    assert np.array_equal(find_masks(path, dataset).masks[KEYS[0]], first | second)
    assert np.array_equal(find_masks(path, dataset, category="ruler").masks[KEYS[0]], second)
    with pytest.raises(MaskError, match="has no category 'cat', only tag, ruler"):
        find_masks(path, dataset, category="cat")
    # A rectangle from the corner (2, 1) to the corner (5, 4), in x and y: the nine pixels between.
    path.write_text(json.dumps(coco([[2, 1, 5, 1, 5, 4, 2, 4]])))
    expected = np.zeros(SIZE, bool)
    expected[1:4, 2:5] = True
    assert np.array_equal(find_masks(path, dataset).masks[KEYS[0]], expected)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"images": []}, "is not COCO's: it needs images, annotations and categories"),
        ([1, 2], "is not COCO's"),
        ({"images": [], "annotations": [{"image_id": 3}]}, "is not COCO's"),
    ],
)
def test_a_json_that_is_not_coco_s_is_refused(tmp_path, dataset, content, sentence):
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(MaskError, match=sentence):
        find_masks(tmp_path / "x.json", dataset)


@pytest.mark.parametrize(
    "drawn",
    [
        {"size": list(SIZE), "counts": [1, 2]},
        {"size": [6, 9], "counts": [54]},
        {"size": list(SIZE), "counts": "zz\n"},
        {"counts": 5},
        "text",
        None,
        [[1, 2, "x"]],
    ],
)
def test_one_broken_annotation_is_reported_and_harms_no_other(tmp_path, dataset, drawn):
    content = coco(drawn)
    content["images"].append({"id": 8, "file_name": KEYS[1], "height": SIZE[0], "width": SIZE[1]})
    good = {"size": list(SIZE), "counts": rle.encode(blob(1))}
    content["annotations"].append({"id": 9, "image_id": 8, "category_id": 1, "segmentation": good})
    (tmp_path / "x.json").write_text(json.dumps(content))
    found = find_masks(tmp_path / "x.json", dataset)
    assert list(found.refused) == [KEYS[0]]
    assert list(found.masks) == [KEYS[1]]


def test_a_gigantic_image_in_a_small_file_is_refused(tmp_path, dataset):
    drawn = {"size": [200_000, 300_000], "counts": [60_000_000_000]}
    (tmp_path / "x.json").write_text(json.dumps(coco(drawn, size=(200_000, 300_000))))
    assert find_masks(tmp_path / "x.json", dataset).refused == {KEYS[0]: "it says 200000x300000 pixels, which is no image"}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_thesis_s_dictionaries_are_read_by_path_by_number_and_by_class(tmp_path, dataset, protocol):
    path = tmp_path / "masks.pkl"
    for content in (
        {"/home/someone/data/train/cat/1.png": blob(1), "C:\\data\\train\\cat\\2.png": blob(2)},
        {"cat": {"1.png": blob(1), "2": blob(2).astype(float)}},
        {("cat", 1): blob(1), ("cat", 2): blob(2)},
    ):
        path.write_bytes(pickle.dumps(content, protocol))
        found = find_masks(path, dataset)
        assert (found.unmatched, found.refused) == ({}, {})
        assert np.array_equal(found.masks[KEYS[0]], blob(1))
        assert np.array_equal(found.masks[KEYS[1]], blob(2))
    for content in ({0: blob(1), np.int64(1): blob(2)}, [blob(1), blob(2)], np.stack([blob(1), blob(2)])):
        path.write_bytes(pickle.dumps(content, protocol))
        found = find_masks(path, dataset, split="train")
        assert np.array_equal(found.masks[KEYS[0]], blob(1))
        assert np.array_equal(found.masks[KEYS[1]], blob(2))
    assert find_masks(path, dataset).unmatched == {
        "0": "it is numbered; name it after its image, or say which split's images the numbers count",
        "1": "it is numbered; name it after its image, or say which split's images the numbers count",
    }


def test_what_is_no_file_of_masks_gives_a_sentence(tmp_path, dataset):
    with pytest.raises(DataError, match=r"There is no file or folder .*nowhere; check the path\."):
        find_masks(tmp_path / "nowhere", dataset)
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(MaskError, match=r"x\.txt is no file of masks that can be read; name a folder of PNG or TIFF"):
        find_masks(tmp_path / "x.txt", dataset)
    (tmp_path / "x.npz").write_text("x")
    with pytest.raises(MaskError, match=r"x\.npz is no \.npz of masks or is cut short; copy it again\."):
        find_masks(tmp_path / "x.npz", dataset)
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as file:
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.array([{}], object), allow_pickle=True)
        file.writestr("a.npy", buffer.getvalue())
        file.writestr("train/cat/1.png.npy", b"\x93NUMPY broken")
    found = find_masks(tmp_path / "y.npz", dataset)
    assert list(found.unmatched) == ["a"]
    assert "is no .npz of masks or is cut short" in found.refused[KEYS[0]]


# Names and sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("train/cat/1.png", KEYS[0]),
        ("train/cat/1.png.png", KEYS[0]),
        ("train/cat/1.tif", KEYS[0]),
        ("train/cat/1", KEYS[0]),
        ("cat/2.png", KEYS[1]),
        ("dog/1", KEYS[2]),
        ("/data/set/train/dog/1.png", KEYS[2]),
        ("D:\\set\\test\\cat\\7.JPG", KEYS[3]),
        ("D:\\set\\test\\cat\\7.jpg", KEYS[3]),
        ("2.png", KEYS[1]),
        ("other/place/2.png", KEYS[1]),
        ("7", KEYS[3]),
        ("7.png", KEYS[3]),
        ("1.png", "it may belong to 2 images (train/cat/1.png, train/dog/1.png)"),
        ("9.png", "no image is called so"),
        ("", "no image is called so"),
    ],
)
def test_a_name_finds_its_image_or_none(dataset, name, key):
    matcher = NameMatcher(dataset)
    if key in KEYS:
        assert dataset.keys[matcher.find(name)] == key
    else:
        with pytest.raises(DataError) as caught:
            matcher.find(name)
        assert str(caught.value) == key


def test_two_images_that_differ_in_their_ending_only_are_told_apart_by_it():
    dataset = Named(["a/1.png", "a/1.tif", "a/2.png"])
    matcher = NameMatcher(dataset)
    assert dataset.keys[matcher.find("a/1.tif")] == "a/1.tif"
    assert dataset.keys[matcher.find("a/1.tif.png")] == "a/1.tif"
    with pytest.raises(DataError, match="it may belong to 2 images"):
        matcher.find("a/1")


def test_a_split_narrows_what_a_name_may_mean(dataset):
    assert dataset.keys[NameMatcher(dataset, "test").find("7.png")] == KEYS[3]
    with pytest.raises(DataError, match="no image is called so"):
        NameMatcher(dataset, "train").find("7.png")
    assert dataset.keys[NameMatcher(dataset, "train").find(2)] == KEYS[2]
    with pytest.raises(DataError, match="the split train has the images 0 to 2 only"):
        NameMatcher(dataset, "train").find(3)


@pytest.mark.parametrize("name", ["test/cat/7.jpg", "test/cat/7", "test/cat/7.png", "test/cat/7.jpg.png"])
def test_the_key_of_an_image_of_another_split_is_told_from_names_of_nothing(dataset, name):
    with pytest.raises(DataError, match=r"^its image is of another split$"):
        NameMatcher(dataset, "train").find(name)


def test_the_key_of_an_image_of_another_split_never_means_one_of_this_split_that_is_called_alike():
    dataset = Named(["train/cat/1.png", "test/cat/1.png"])
    dataset.split_names, dataset.splits = ("train", "test"), np.array(["train", "test"])
    with pytest.raises(DataError, match=r"^its image is of another split$"):
        NameMatcher(dataset, "test").find("train/cat/1.png")
    assert NameMatcher(dataset, "test").find("elsewhere/1.png") == 1


def test_a_mask_of_another_size_is_refused_unless_it_may_be_resized(tmp_path, dataset):
    small = np.array([[1, 0], [0, 1], [0, 0]], bool)
    np.savez(tmp_path / "m.npz", **{KEYS[0]: small})
    found = find_masks(tmp_path / "m.npz", dataset)
    assert found.masks == {}
    assert found.refused == {
        KEYS[0]: "it is 3x2 pixels and its image 6x8; make it the same size, or ask for it to be resized"
    }
    resized = find_masks(tmp_path / "m.npz", dataset, resize=True).masks[KEYS[0]]
    # Each pixel twice down and four times across.
    assert np.array_equal(resized, small.repeat(2, axis=0).repeat(4, axis=1))


def test_inverted_masks_and_empty_ones(tmp_path, dataset):
    np.savez(tmp_path / "m.npz", **{KEYS[0]: ~blob(1), KEYS[1]: np.zeros(SIZE), KEYS[2]: np.ones(SIZE)})
    found = find_masks(tmp_path / "m.npz", dataset)
    assert found.empty == [KEYS[1]]
    assert sorted(found.masks) == [KEYS[0], KEYS[2]]
    found = find_masks(tmp_path / "m.npz", dataset, invert=True)
    assert np.array_equal(found.masks[KEYS[0]], blob(1))
    assert found.empty == [KEYS[2]]


def test_what_is_no_mask_is_refused_by_name(tmp_path, dataset):
    wrong = {KEYS[0]: np.array(["x"]), KEYS[1]: np.full(SIZE, np.nan), KEYS[2]: np.zeros((2, 3, 4, 5))}
    np.savez(tmp_path / "m.npz", **wrong)
    assert find_masks(tmp_path / "m.npz", dataset).refused == {
        KEYS[0]: "it is no array of numbers",
        KEYS[1]: "it has values that are no numbers",
        KEYS[2]: "it has 4 axes (2x3x4x5) instead of height and width",
    }


def test_an_import_never_writes_over_a_mask_and_says_what_it_did(tmp_path, dataset):
    store = MaskStore(tmp_path / "masks")
    store.put(KEYS[0], blob(1), author="Ana")
    store.put(KEYS[1], blob(2), author="Ana")
    np.savez(tmp_path / "m.npz", **{KEYS[0]: blob(1), KEYS[1]: blob(9), KEYS[2]: blob(3), "nobody.png": blob(4)})
    result = import_masks(find_masks(tmp_path / "m.npz", dataset), store, author="Ben")
    assert (result.written, result.same, result.kept) == ([KEYS[2]], [KEYS[0]], [KEYS[1]])
    assert np.array_equal(store[KEYS[1]], blob(2))
    assert [store.info(key)["author"] for key in KEYS[:3]] == ["Ana", "Ana", "Ben"]
    assert result.sentences == [
        "1 mask written.",
        "1 image had the same mask already.",
        f"1 image has another mask, which was kept: {KEYS[1]}; import into a new folder and merge the two (masks merge) "
        "to choose.",
        "nobody.png fits no image of the dataset: no image is called so.",
    ]


def test_reading_can_be_stopped(tmp_path, dataset):
    np.savez(tmp_path / "m.npz", **{key: blob() for key in KEYS})
    calls = []
    found = find_masks(
        tmp_path / "m.npz", dataset, stop=lambda: len(calls) == 2, progress=lambda done, total: calls.append(done)
    )
    assert len(found.masks) == 2


# Writing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, "coco lists"])
def test_masks_that_were_written_come_back(tmp_path, dataset, kind):
    store = MaskStore(tmp_path / "masks")
    for n, key in enumerate(KEYS):
        store.put(key, blob(n))
    target = tmp_path / {"npz": "out.npz", "coco": "out.json", "coco lists": "out.json"}.get(kind, "out")
    seen = []
    written = export_masks(
        store, target, kind.split()[0], compressed=kind != "coco lists", progress=lambda *n: seen.append(n)
    )
    assert sorted(written) == sorted(KEYS)
    assert seen[-1] == (4, 4)
    found = find_masks(target, dataset)
    assert all(np.array_equal(found.masks[key], store[key]) for key in KEYS)


def test_other_programs_read_what_was_written(tmp_path):
    masks = {KEYS[0]: blob(1), "file": blob(2)}
    export_masks(masks, tmp_path / "tiff", "tiff")
    assert np.array_equal(tifffile.imread(tmp_path / "tiff/train/cat/1.png.tif"), blob(1) * np.uint8(255))
    export_masks(masks, tmp_path / "out.npz", "npz")
    with np.load(tmp_path / "out.npz") as file:
        assert sorted(file.files) == ["file", KEYS[0]]
        assert file[KEYS[0]].dtype == bool
        assert np.array_equal(file["file"], blob(2))
    mask = np.zeros(SIZE, bool)
    mask[1:4, 2:7] = True
    export_masks({KEYS[0]: mask}, tmp_path / "out.json", "coco")
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": KEYS[0], "height": 6, "width": 8}]
    (only,) = content["annotations"]
    assert (only["area"], only["bbox"], only["image_id"], only["iscrowd"]) == (15, [2.0, 1.0, 5.0, 3.0], 1, 0)
    assert only["segmentation"]["size"] == [6, 8]
    assert content["categories"] == [{"id": 1, "name": "irrelevant"}]
    export_masks({KEYS[0]: mask}, tmp_path / "lists.json", "coco", compressed=False)
    (only,) = json.loads((tmp_path / "lists.json").read_text())["annotations"]
    # By hand: two columns and a row of nothing, then five columns of three in six.
    assert only["segmentation"]["counts"] == [13, 3, 3, 3, 3, 3, 3, 3, 3, 3, 8]


def test_writing_into_a_folder_with_something_in_it_or_in_no_kind_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/y").write_text("mine")
    with pytest.raises(ConfigError, match=r"x is not empty; choose a new folder for the masks\."):
        export_masks({"a": blob()}, tmp_path / "x", "png")
    with pytest.raises(ConfigError, match="Masks cannot be written as 'bmp'; choose one of png, tiff, npz, coco"):
        export_masks({"a": blob()}, tmp_path / "x", "bmp")


@pytest.mark.parametrize("kind", ["npz", "coco"])
def test_a_file_whose_writing_was_stopped_is_not_there(tmp_path, kind):
    calls = []
    masks = {key: blob() for key in KEYS}
    stop = lambda: len(calls) == 2  # noqa: E731
    assert export_masks(masks, tmp_path / "out", kind, stop=stop, progress=lambda *n: calls.append(n)) == []
    assert list(tmp_path.iterdir()) == []


def test_coco_of_several_categories_is_questioned_and_boxes_and_ids_that_stand_twice_are_refused(tmp_path, dataset):
    runs = {"size": list(SIZE), "counts": rle.encode(blob(1))}
    path = tmp_path / "coco.json"

    def doubts(content, **options):
        path.write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())  # as Windows writes it
        return list(find_masks(path, dataset, **options).doubts)

    assert doubts(coco(runs, runs)) == ["is from a file of the categories ruler, tag, all taken; name one to take only it"]
    assert doubts(coco(runs, runs), category="tag") == doubts(coco(runs)) == []
    path.write_text(json.dumps(coco([])))
    assert find_masks(path, dataset).refused[KEYS[0]].startswith("it is a box without an outline")
    twice = coco(runs)
    twice["images"].append({**twice["images"][0], "file_name": KEYS[1]})
    path.write_text(json.dumps(twice))
    with pytest.raises(MaskError, match="several images of one id"):
        find_masks(path, dataset)
