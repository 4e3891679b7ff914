"""A CSV file lists a dataset: a million lines open in seconds, and each fault in one is named with its line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cam_feedback.data import CsvDataset, open_dataset
from napari_cam_feedback.errors import DataError


def write(folder, *names, value=0, size=(5, 4)):
    """Write a gray image of (height, width) `size` under each name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size, value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "train/cat/a.jpg", "train/cat/b.png", "train/dog/a.png", value=10)
    write(tmp_path, "test/dog/z.tif", value=20)
    write(tmp_path, "val/cat/c.png", value=30)
    return tmp_path


def write_csv(folder, text, name="labels.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def sentence_of(path, **options):
    with pytest.raises(DataError) as error:
        open_dataset(path, **options)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text.replace(str(path), "{csv}")


def test_a_csv_with_splits(folder):
    path = write_csv(
        folder, 'path,label,split\ntrain/dog/a.png,dog,train\n"val/cat/c.png",cat,val\n./train/../test/dog/z.tif,,test\n'
    )
    data = open_dataset(path)
    assert isinstance(data, CsvDataset)
    assert list(data.keys) == ["train/dog/a.png", "val/cat/c.png", "test/dog/z.tif"]
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [1, 0, -1]  # an empty label is unknown
    assert data.splits.tolist() == ["train", "val", "test"]
    assert not data.made_split
    assert data.pages is None
    assert data.read(1).max() == 30
    assert data.source == path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_from_a_spreadsheet(folder, delimiter):
    lines = [
        "\ufeffLabel, Path ,",
        "10,train\\cat\\a.jpg,",
        "9,train/cat/b.png,a note",
        "",
        ",,",
        "10," + str(folder / "val/cat/c.png") + ",,,",
    ]
    data = open_dataset(write_csv(folder, "\r\n".join(lines).replace(",", delimiter)))
    assert list(data.keys) == ["train/cat/a.jpg", "train/cat/b.png", "val/cat/c.png"]
    assert data.class_names == ("9", "10")  # by number
    assert data.labels.tolist() == [1, 0, 1]
    assert data.made_split


@pytest.mark.parametrize("path_column", ["path", "file", "Filename", "image"])
@pytest.mark.parametrize("label_column", ["label", "class", "Target", "category"])
def test_columns_may_have_other_usual_names(folder, path_column, label_column):
    data = open_dataset(write_csv(folder, f"{label_column},{path_column}\ncat,val/cat/c.png\n"))
    assert list(data.keys) == ["val/cat/c.png"]
    assert data.class_names == ("cat",)


def test_the_plainest_of_several_names_counts(folder):
    text = "image,path,class,label\nno.png,val/cat/c.png,mammal,cat\n"
    data = open_dataset(write_csv(folder, text))
    assert list(data.keys) == ["val/cat/c.png"]
    assert data.class_names == ("cat",)


def test_splits_may_have_any_names(folder):
    lines = ["path,label,split", "val/cat/c.png,a,fold 2", "train/cat/a.jpg,a,train", "train/cat/b.png,a,fold 1"]
    data = open_dataset(write_csv(folder, "\n".join(lines)))
    assert data.split_names == ("train", "fold 1", "fold 2")
    assert data.splits.tolist() == ["fold 2", "train", "fold 1"]


def test_a_column_of_splits_without_any_is_as_none(folder):
    lines = ["path,label,split", *(f"{i}.png,a," for i in range(20)), "val/cat/c.png,a,"]
    write(folder, "0.png")
    data = open_dataset(write_csv(folder, "\n".join(lines)))
    assert data.made_split
    assert data.split_names == ("train", "val", "test")


def test_numbers_are_indices_into_the_names_of_a_model(folder):
    path = write_csv(folder, "path,label\nval/cat/c.png,2\ntrain/cat/a.jpg,0\ntrain/cat/b.png,\n")
    data = open_dataset(path, class_names=("owl", "dog", "cat"))
    assert data.class_names == ("owl", "dog", "cat")
    assert data.labels.tolist() == [2, 0, -1]
    # Where the model's classes are numbers themselves, a label is a name.
    assert open_dataset(path, class_names=("2", "1", "0")).labels.tolist() == [0, 2, -1]
    assert sentence_of(path, class_names=("owl", "dog")) == (
        "{csv} has the class number 2, but the model is for 2 classes (owl, dog), numbered 0 to 1; choose the model "
        "that was trained for this dataset, or correct the data or the names."
    )
    path = write_csv(folder, "path,label\nval/cat/c.png,-1\n")
    assert sentence_of(path, class_names=("owl", "dog")) == (
        '{csv} has the class "-1", which is no class of the model (owl, dog); correct the data or the names.'
    )


def test_pages_of_a_tiff_are_items(folder):
    stack = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((3, 5, 4), np.uint8)
    tifffile.imwrite(folder / "stack.tif", stack, photometric="minisblack")
    text = "path,label,page\nstack.tif,a,2\nstack.tif,b,0\nval/cat/c.png,a,\nstack.tif,b,7\n"
    data = open_dataset(write_csv(folder, text))
    assert list(data.keys) == ["stack.tif/0002", "stack.tif/0000", "val/cat/c.png", "stack.tif/0007"]
    assert data.pages.tolist() == [2, 0, -1, 7]
    assert data.pages.dtype == np.int32
    assert [int(data.read(i).max()) for i in range(3)] == [2, 0, 30]
    assert data.image_size(0) == (5, 4)
    assert data.path(0) == data.path(1) == folder / "stack.tif"
    with pytest.raises(DataError, match=r"stack\.tif has no page 7 but 3 pages, numbered from 0; correct the number"):
        data.read(3)


def test_pages_of_one_file_stay_in_one_split_that_is_made(folder):
    lines = ["path,label,page", *(f"{i:02d}.tif,a,{page}" for i in range(20) for page in range(5))]
    write(folder, "00.tif")
    data = open_dataset(write_csv(folder, "\n".join(lines)))
    assert data.made_split
    assert all(len(set(data.splits[start : start + 5])) == 1 for start in range(0, 100, 5))
    assert {name: len(data.indices(name)) for name in data.split_names} == {"train": 70, "val": 15, "test": 15}


def test_known_masks_of_a_csv_lie_in_its_folder(folder):
    write(folder, "masks/val/cat/c.png", value=1)
    data = open_dataset(write_csv(folder, "path,label\nval/cat/c.png,cat\n"))
    assert data.known_mask(0).all()


_COLUMNS = "its first line must name the columns path, label and, if you like, split."
_LEAVES = "leaves the CSV's folder; put the images into that folder, or the CSV into one above them."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "{csv} has no first line; name the columns there: path, label and, if you like, split."),
        ("\n\n", "{csv} has no first line; name the columns there: path, label and, if you like, split."),
        ("path,label\n", "{csv} lists no images; add a line for each."),
        ("path,label\n\n,\n", "{csv} lists no images; add a line for each."),
        ("picture,label\na.png,1\n", '{csv} has no column "path" (or file, filename, image); ' + _COLUMNS),
        ("path,kind\na.png,1\n", '{csv} has no column "label" (or class, target, category); ' + _COLUMNS),
        ("path\na.png\n", '{csv} has no column "label" (or class, target, category); ' + _COLUMNS),
        ("path,label,label\na.png,1,2\n", '{csv} has two columns "label"; rename one of them.'),
        (
            "val/cat/c.png,cat,train\n",
            "{csv} begins with an image; put a line with the names of the columns above it: path, label and, if you "
            "like, split.",
        ),
        (
            "path|label\nval/cat/c.png|cat\n",
            'The first line of {csv} is "path|label"; name the columns path and label there, and separate them by commas, '
            "semicolons or tabs.",
        ),
        ("path,label\nval/cat/c.png;cat\n", "Line 2 of {csv} has too few columns, 1 and not 2; complete it."),
        ("path,label\n\nval/cat/c.png\n", "Line 3 of {csv} has too few columns, 1 and not 2; complete it."),
        (
            "path,label\nval/cat/c.png,cat, wild\n",
            "Line 2 of {csv} has too many columns, 3 and not 2; put what holds a separator into quotation marks, or name "
            "the further columns in the first line.",
        ),
        (
            'path,label\n\nval/cat/c.png,"cat\ntrain/cat/a.jpg,cat\n',
            "The quotation marks in line 3 of {csv} do not match; correct them or remove the line.",
        ),
        (
            'path,label\nval/cat/c.png,"big" cat\n',
            "The quotation marks in line 2 of {csv} do not match; correct them or remove the line.",
        ),
        ("path,label\n,cat\n", "The path in line 2 of {csv} is empty; fill it in or remove the line."),
        (
            "path,label\nval/cat/c.png,a\ntrain/cat/a.jpg,b\nval/cat/c.png,b\n",
            "val/cat/c.png in line 4 of {csv} is listed twice; keep one of the lines.",
        ),
        (
            "path,label\nval/cat/c.png,a\nval//cat/./c.png,b\n",
            "val/cat/c.png in line 3 of {csv} is listed twice; keep one of the lines.",
        ),
        ("path,label\n../c.png,a\n", "The path ../c.png in line 2 of {csv} " + _LEAVES),
        ("path,label\nval/../../c.png,a\n", "The path val/../../c.png in line 2 of {csv} " + _LEAVES),
        ("path,label\nval/..,a\n", "The path val/.. in line 2 of {csv} " + _LEAVES),
        ("path,label\n..\\c.png,a\n", "The path ..\\c.png in line 2 of {csv} " + _LEAVES),
        ("path,label\n\\\\host\\c.png,a\n", "The path \\\\host\\c.png in line 2 of {csv} " + _LEAVES),
        ("path,label\n/etc/passwd,a\n", "The path /etc/passwd in line 2 of {csv} " + _LEAVES),
        ("path,label\nC:\\c.png,a\n", "The path C:\\c.png in line 2 of {csv} " + _LEAVES),
        (
            "path,label\nval/cat\0c.png,a\n",
            "The path in line 2 of {csv} has a character that no file name has (NUL); correct it.",
        ),
        (
            "path,label,split\nval/cat/c.png,a,train\ntrain/cat/a.jpg,a,\n",
            "Some lines name a split and some do not, first line 3 of {csv}; complete the column.",
        ),
        (
            "path,label,split\nval/cat/c.png,a,\ntrain/cat/a.jpg,a,test\n",
            "Some lines name a split and some do not, first line 3 of {csv}; complete the column.",
        ),
        (
            f"path,label,split\nval/cat/c.png,a,{'x' * 101}\n",
            f'The split "{"x" * 40}…" in line 2 of {{csv}} is too long for a name; name the splits train, val and test, '
            "for instance.",
        ),
        (
            "path,label,split\n" + "".join(f"{i}.png,a,{i}\n" for i in range(1001)),
            "The column split of {csv} has more than 1000 names, see line 1002; name a few splits, such as train, val and "
            "test.",
        ),
        *(
            (
                f"path,label,page\na.tif,a,{page}\n",
                f'The page "{page}" in line 2 of {{csv}} is no page number; number the pages from 0.',
            )
            for page in ("-1", "1.0", "two", "99999999999")
        ),
        (
            "path,label\nno.png,a\n",
            "The image no.png listed in {csv} is not there; give paths relative to the folder that the CSV is in.",
        ),
        (
            "path,label\nval/cat/c.png,cat\nval/Füchse.png,cat\n".encode("latin-1"),
            "{csv} is not a CSV file in UTF-8, see line 3; save it as one.",
        ),
        (
            "path,label\nval/cat/c.png,cat\n".encode("utf-16"),
            "{csv} is not a CSV file in UTF-8, see line 1; save it as one.",
        ),
    ],
)
def test_a_bad_csv_names_its_fault(folder, text, sentence):
    assert sentence_of(write_csv(folder, text)) == sentence


def test_a_class_that_the_model_does_not_know_is_named(folder):
    path = write_csv(folder, "path,label\nval/cat/c.png,cat\n")
    assert sentence_of(path, class_names=("dog", "owl")) == (
        '{csv} has the class "cat", which is no class of the model (dog, owl); correct the data or the names.'
    )


def test_one_missing_image_does_not_keep_a_csv_from_opening(folder):
    data = open_dataset(write_csv(folder, "path,label\nno.png,a\nval/cat/c.png,b\n"))
    with pytest.raises(DataError, match=r"no\.png is missing; put the image back or remove it from the dataset\."):
        data.read(0)
    assert data.read(1).shape == (5, 4)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux's account of a process's memory")
def test_a_large_index_is_kept_compactly(folder):
    # What a million items cost is measured in benchmarks/dataset_index.py; here that cost grows by little for each.
    n = 100_000
    with (folder / "labels.csv").open("w") as file:
        file.write("path,label,split\n")
        file.writelines(
            f"images/class_{i % 100:03d}/photograph_number_{i:07d}.jpeg,class {i % 100},train\n" for i in range(n)
        )
    write(folder, "images/class_000/photograph_number_0000000.jpeg")
    # Not by getrusage: that would count the memory of the process that runs the tests.
    code = (
        "import sys; from pathlib import Path; from napari_cam_feedback.data import open_dataset; import numpy as np;"
        "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) * 1024;"
        f"before = peak(); data = open_dataset({str(folder / 'labels.csv')!r});"
        "print(len(data), peak() - before, 'torch' in sys.modules, 'pandas' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found[0] == str(n)
    assert int(found[1]) < n * 450  # bytes: the text twice, and some numbers
    assert found[2:] == ["False", "False"]


def test_a_column_of_groups_names_what_an_image_belongs_to_beside_its_class(folder):
    lines = "train/cat/a.jpg,cat,train,north\ntrain/dog/a.png,dog,train,\nval/cat/c.png,cat,val,south\n"
    data = open_dataset(write_csv(folder, f"path,label,split,group\n{lines}"))
    assert data.group_names == ("north", "south")
    assert data.groups.tolist() == [0, -1, 1]
    # A column of as many names as images is none of groups, and nothing to stop at.
    names = [f"many/{number}.png" for number in range(1002)]
    write(folder, *names, size=(1, 1))
    many = "".join(f"{name},cat,train,{name}\n" for name in names)
    data = open_dataset(write_csv(folder, f"path,label,split,group\n{many}", "many.csv"))
    assert data.group_names == ()
    assert (data.groups == -1).all()
    assert data.notes == ("The column group of many.csv has more than 1,000 names, so it is left out.",)


def test_a_cell_that_is_far_too_long_is_named_as_such(folder):
    with pytest.raises(DataError, match=r"A cell in line 3 of .* is far too long"):
        open_dataset(write_csv(folder, f"path,label\ntrain/cat/a.jpg,cat\n{'x' * 200_000}.png,cat\n"))
