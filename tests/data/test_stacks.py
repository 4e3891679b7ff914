"""A TIFF with several pages opens as a dataset, its labels from the CSV beside it; wrong ones are named in one sentence."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cam_feedback.data import CsvDataset, StackDataset, open_dataset
from napari_cam_feedback.errors import DataError, MaskError

PAGES = np.random.default_rng(0).integers(0, 60_000, (6, 5, 7)).astype(np.uint16)


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, PAGES, photometric="minisblack")
    return path


def label(stack, *lines, header="page,label,split"):
    stack.with_suffix(".csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return stack.with_suffix(".csv")


def sentence_of(path, **options):
    with pytest.raises(DataError) as error:
        open_dataset(path, **options)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_pages_are_items_with_labels_and_splits(stack):
    label(stack, "0,cat,train", "2,dog,train", "1,,train", "5,cat,test", "4,dog,val", "3,dog,test")
    data = open_dataset(stack)
    assert isinstance(data, StackDataset)
    assert list(data.keys) == [f"stack.tif/000{i}" for i in range(6)]
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [0, -1, 1, 1, 1, 0]
    assert data.splits.tolist() == ["train", "train", "train", "test", "val", "test"]
    assert not data.made_split
    assert data.source == data.path(3) == stack
    for i, page in enumerate(PAGES):
        np.testing.assert_array_equal(data.read(i), page)
        assert data.image_size(i) == (5, 7)


@pytest.mark.parametrize("imagej", [False, True])
def test_an_imagej_hyperstack_and_an_ome_tiff_open_too(tmp_path, imagej):
    path = tmp_path / ("a.tif" if imagej else "a.ome.tiff")
    tifffile.imwrite(path, PAGES.reshape(3, 2, 5, 7), imagej=imagej, metadata={"axes": "ZCYX"}, ome=not imagej)
    (tmp_path / "a.csv").write_text("page,label\n0,cat\n")
    for name in (path, tmp_path / "a.csv"):
        data = open_dataset(name)
        assert len(data) == 6
        assert data.class_names == ("cat",)
        np.testing.assert_array_equal(data.read(3), PAGES[3])


def test_colour_pages(tmp_path):
    pages = np.random.default_rng(1).integers(0, 255, (4, 5, 7, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="rgb")
    data = open_dataset(tmp_path / "a.tif")
    np.testing.assert_array_equal(data.read(2), pages[2])


def test_without_labels_all_pages_can_be_looked_at_and_none_learnt_from(stack):
    data = open_dataset(stack)
    assert data.labels.tolist() == [-1] * 6
    assert data.class_names == ()
    assert data.split_names == ("test",)
    assert not data.made_split
    assert open_dataset(stack, class_names=("cat", "dog")).class_names == ("cat", "dog")


def test_pages_that_are_not_listed_have_no_label_and_are_in_test(stack):
    label(stack, "0,cat,train", "1,dog,train")
    data = open_dataset(stack)
    assert data.labels.tolist() == [0, 1, -1, -1, -1, -1]
    assert data.splits.tolist() == ["train", "train", "test", "test", "test", "test"]


@pytest.mark.parametrize("header", ["page,label,split", "page,label,notes", "Page , Label,notes", "\ufeffpage,label,notes"])
def test_a_split_is_made_by_the_seed_where_none_is_named(stack, header):
    label(stack, *(f"{i},{'cat' if i % 2 else 'dog'}," for i in range(6)), header=header)
    data = open_dataset(stack, seed=2)
    assert data.made_split
    assert data.split_seed == 2
    assert {name: len(data.indices(name)) for name in data.split_names} == {"train": 2, "val": 2, "test": 2}
    assert open_dataset(stack, seed=2).splits.tolist() == data.splits.tolist()


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_columns_are_understood(stack, delimiter):
    lines = ["x,cat,0,train,9".replace(",", delimiter), "", "y,dog,01,test,9".replace(",", delimiter)]
    label(stack, *lines, header="who,label,page,split,age".replace(",", delimiter))
    data = open_dataset(stack)
    assert data.labels.tolist()[:2] == [0, 1]
    assert data.splits.tolist()[:2] == ["train", "test"]


def test_classes_called_by_numbers_are_sorted_by_number_or_index_the_names_given(stack):
    label(stack, "0,10,train", "1,2,train")
    assert open_dataset(stack).class_names == ("2", "10")
    names = tuple("abcdefghijk")
    data = open_dataset(stack, class_names=names)
    assert data.class_names == names
    assert data.labels.tolist()[:2] == [10, 2]


def test_the_csv_beside_it_opens_it_too_and_a_list_of_images_stays_one(stack):
    table = label(stack, "0,cat,train")
    assert open_dataset(table).source == stack
    label(stack, "stack.tif,1,cat,train", header="path,page,label,split")
    assert isinstance(open_dataset(table), CsvDataset)


def test_masks_known_beforehand(stack):
    masks = np.zeros(PAGES.shape, bool)
    masks[3, 1, 2] = True
    folder = stack.parent / "masks"
    folder.mkdir()
    tifffile.imwrite(folder / "stack.tif", masks.astype(np.uint8) * 255, photometric="minisblack")
    data = open_dataset(stack)
    assert data.has_known_masks
    np.testing.assert_array_equal(data.known_mask(3), masks[3])
    assert data.known_mask(2) is None
    (folder / "stack.tif").unlink()
    (folder / "stack.tif").mkdir()
    Image.fromarray(masks[3]).save(folder / "stack.tif/0003.png")
    data = open_dataset(stack)
    np.testing.assert_array_equal(data.known_mask(3), masks[3])
    assert data.known_mask(2) is None


def test_a_mask_with_another_number_of_pages_is_refused(stack):
    (stack.parent / "masks").mkdir()
    tifffile.imwrite(stack.parent / "masks/stack.tif", np.ones((2, 5, 7), np.uint8), photometric="minisblack")
    with pytest.raises(MaskError, match=r"stack\.tif has 2 pages but its image 6"):
        open_dataset(stack).known_mask(0)


def test_a_link_named_by_the_user_is_followed(stack, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "b.tif").symlink_to(stack)
    data = open_dataset(folder / "b.tif")
    assert data.keys[1] == "b.tif/0001"
    np.testing.assert_array_equal(data.read(1), PAGES[1])


def test_a_file_of_one_page_is_no_stack(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PAGES[0])
    assert sentence_of(path) == (
        f"{path} is a single image, not a stack of pages of one size; open the folder that it is in, with a folder for "
        "each class."
    )


def test_lines_that_are_wrong_are_named(stack):
    table = stack.with_suffix(".csv")
    label(stack, "0,cat,train", "6,dog,train")
    assert sentence_of(stack) == f"Page 6 in line 3 of {table} is not in {stack}, whose pages are 0 to 5; correct the line."
    label(stack, f"{'9' * 50},dog,train")
    assert "is not in" in sentence_of(stack)
    label(stack, "0,cat,train", "1,dog,train", "00,dog,train")
    assert sentence_of(stack) == f"Page 0 in line 4 of {table} is listed twice; keep one of the lines."
    for text in ("-1", "1.5", "first", "²", ""):
        label(stack, f"{text},cat,train")
        assert sentence_of(stack) == f'The page "{text}" in line 2 of {table} is not a whole number from 0; correct it.'
    label(stack, "0,cat")
    assert sentence_of(stack) == f"Line 2 of {table} has too few columns; complete it."
    label(stack, "0,cat,train", "1,cat,")
    assert sentence_of(stack) == (f"Some lines name a split and some do not, first line 3 of {table}; complete the column.")


@pytest.mark.parametrize(("header", "missing"), [("label,split", "page"), ("page,split", "label")])
def test_a_csv_without_a_needed_column_is_named(stack, header, missing):
    table = label(stack, "0,cat", header=header)
    assert sentence_of(stack) == (
        f'{table} has no column "{missing}"; its first line must name the columns page, label and, if you like, split.'
    )


def test_a_csv_that_is_none_is_named(stack):
    table = stack.with_suffix(".csv")
    table.write_bytes(b"page,label\n0,\xff\xfe\n")
    assert sentence_of(stack) == f"{table} is not a CSV file in UTF-8; save it as one."
    table.write_bytes(b"")
    assert 'has no column "page"' in sentence_of(stack)


def test_a_class_that_the_model_does_not_have_is_named(stack):
    label(stack, "0,cat,train")
    assert 'stack.csv has the class "cat", which is no class of the model (dog)' in sentence_of(stack, class_names=("dog",))


def test_a_broken_stack_is_named(stack):
    stack.write_bytes(b"no image at all")
    assert f"{stack} is broken or not an image" in sentence_of(stack)
