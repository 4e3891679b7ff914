"""Whatever a user names is opened in the right form, or one sentence says what can be opened instead."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cam_feedback.data import (
    ArrayDataset,
    BitmapDataset,
    CsvDataset,
    FolderDataset,
    StackDataset,
    open_dataset,
)
from napari_cam_feedback.errors import DataError, MaskError, StorageError
from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.files import read_json, signature

IMAGES = np.random.default_rng(0).integers(0, 255, (6, 5, 7)).astype(np.uint8)


def sentence_of(path, **options):
    with pytest.raises(DataError) as error:
        open_dataset(path, **options)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(IMAGES[0]).save(path)


def test_each_form_is_known_by_its_path(tmp_path):
    write(tmp_path / "folder/cat/a.png")
    write(tmp_path / "listed/a.png")
    (tmp_path / "listed/some.tsv").write_text("path\tlabel\na.png\tcat\n")
    np.savez(tmp_path / "a.NPZ", x_train=IMAGES, y_train=np.zeros(6, int))
    (tmp_path / "a.NPZ.npz").rename(tmp_path / "a.NPZ")
    tifffile.imwrite(tmp_path / "a.TIFF", IMAGES, photometric="minisblack")
    (tmp_path / "bitmaps").mkdir()
    np.save(tmp_path / "bitmaps/cat.npy", IMAGES)
    for name, kind in {
        "folder": FolderDataset,
        "listed/some.tsv": CsvDataset,
        "a.NPZ": ArrayDataset,
        "a.TIFF": StackDataset,
        "bitmaps": BitmapDataset,
    }.items():
        assert type(open_dataset(tmp_path / name)) is kind
        assert type(open_dataset(str(tmp_path / name))) is kind


def test_a_folder_with_a_list_of_its_images_opens_by_the_list(tmp_path):
    write(tmp_path / "cat/a.png")
    (tmp_path / "labels.csv").write_text("path,label\ncat/a.png,dog\n")
    assert open_dataset(tmp_path).class_names == ("dog",)
    for other in (b"name,age\nx,1\n", b"", b"\xff\xfe"):
        (tmp_path / "labels.csv").write_bytes(other)
        assert open_dataset(tmp_path).class_names == ("cat",)


def test_other_files_say_what_can_be_opened(tmp_path):
    forms = (
        "choose a folder, a .csv file or an .npz file, or a TIFF file with several pages; a folder has in it a folder of "
        "images for each class, or an .npy file for each class, or CIFAR's batches."
    )
    for name in ("a.docx", "a", "a.h5"):
        (tmp_path / name).write_text("x")
        assert sentence_of(tmp_path / name) == f"{tmp_path / name} is no dataset that can be opened; {forms}"


def test_a_single_image_and_an_archive_say_what_to_open_instead(tmp_path):
    write(tmp_path / "a.png")
    assert sentence_of(tmp_path / "a.png") == (
        f"{tmp_path / 'a.png'} is a single image; open the folder that has a folder of images for each class."
    )
    for name in ("cifar-10-python.tar.gz", "images.zip"):
        (tmp_path / name).write_bytes(b"x")
        assert sentence_of(tmp_path / name) == (
            f"{tmp_path / name} is an archive; unpack it and open the folder that comes out of it."
        )


def test_what_is_not_there_is_told_of(tmp_path):
    assert sentence_of(tmp_path / "none.npz") == f"{tmp_path / 'none.npz'} does not exist; check the path."


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="only POSIX systems have named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is no dataset that can be opened" in sentence_of(tmp_path / "pipe")


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)


ARRAYS = {"x_train.npy": npy(IMAGES), "y_train.npy": npy(np.array([0, 1] * 3))}
BROKEN = "is not an .npz file or is broken; save it again with numpy.savez."


def test_nothing_of_an_npz_is_ever_written_whatever_its_members_are_called(tmp_path):
    folder = tmp_path / "deep/er"
    folder.mkdir(parents=True)
    outside = tmp_path / "outside.npy"
    names = ("../../outside.npy", str(outside), "/abs.npy", "C:\\x.npy", "x_../../../outside.npy")
    path = folder / "a.npz"
    archive(path, ARRAYS | {name: npy(IMAGES) for name in names[:-1]})
    data = open_dataset(path)
    assert len(data) == 6
    assert data.split_names == ("train",)
    # A split's name is part of the paths under which masks are saved.
    archive(path, ARRAYS | {name: npy(IMAGES) for name in names})
    assert sentence_of(path) == (
        f'The array "x_../../../outside" in {path} names no split; call it x_train, x_val, x_test or the like.'
    )
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()] == ["deep/er/a.npz"]


def test_objects_in_an_npz_are_refused_and_not_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    path = tmp_path / "a.npz"
    archive(path, ARRAYS | {"classes.npy": npy(np.array([Trap()], dtype=object))})
    assert sentence_of(path) == (
        f'"classes" in {path} holds Python objects, which are not loaded for safety; '
        "save it as an array of numbers or of text."
    )
    archive(path, ARRAYS | {"notes.npy": npy(np.array([Trap()], dtype=object))})
    assert len(open_dataset(path)) == 6  # what is not needed is not looked at
    assert not (tmp_path / "ran").exists()


def test_a_member_that_is_no_array_is_named(tmp_path):
    path = tmp_path / "a.npz"
    archive(path, ARRAYS | {"y_train.npy": b"no array at all"})
    assert sentence_of(path) in (
        f'"y_train" in {path} is no array; save the file again with numpy.savez.',
        f"{path} {BROKEN}",
    )


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_npz_damaged_anywhere_never_ends_in_another_error(tmp_path, compression):
    path = tmp_path / "a.npz"
    archive(path, ARRAYS, compression)
    whole = path.read_bytes()
    sentences = []
    for at in range(0, len(whole), 7):
        damages = [whole[:at], whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :]]
        for damaged in damages:
            path.write_bytes(damaged)
            try:
                open_dataset(path)
            except DataError as error:
                sentences.append(str(error))
    assert len(sentences) > len(whole) / 7
    assert not any("\n" in sentence for sentence in sentences)
    for content in (b"", b"no zip at all", whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert sentence_of(path) == f"{path} {BROKEN}"


def test_an_encrypted_or_oddly_compressed_npz_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    archive(path, ARRAYS)
    whole = bytearray(path.read_bytes())
    at = whole.index(b"PK\x01\x02")
    for offset, value in ((8, 1), (10, 97)):  # flags: encrypted; a compression that nobody has
        damaged = whole.copy()
        damaged[at + offset : at + offset + 2] = struct.pack("<H", value)
        damaged[6 + offset - 8 : 8 + offset - 8] = struct.pack("<H", value)
        path.write_bytes(bytes(damaged))
        assert sentence_of(path) == f"{path} {BROKEN}"


def test_an_npz_that_claims_more_than_the_memory_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 10**4, 10**3)})
    archive(path, {"x_train.npy": header.getvalue() + b"\0" * 100})
    text = sentence_of(path)
    assert text.startswith(str(path))
    assert "does not fit into the memory" in text or BROKEN in text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
@pytest.mark.timeout(60)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    for name in ("labels.csv", "a.npz", "a.tif", "project.json", "masks.json", "masks.journal.jsonl", "a.png"):
        os.mkfifo(tmp_path / name)
    for name in ("labels.csv", "a.npz", "a.tif"):
        with pytest.raises(DataError, match="is neither a file nor a folder, so it is no dataset"):
            open_dataset(tmp_path / name)
    with pytest.raises(DataError, match="has no class folders"):
        open_dataset(tmp_path)
    with pytest.raises(StorageError, match="is no file that can be read"):
        read_json(tmp_path / "project.json")
    with pytest.raises(MaskError, match="cannot be read; restore it, or remove it and paint again"):
        MaskStore(tmp_path)["a"]
    assert signature(tmp_path / "project.json") is None


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (("train", "test", "unseen"), "The split unseen is none of train, val and test"),
        (("train", "fold1", "fold2"), "The splits fold1, fold2 are none of train, val and test"),
        (("Train", "VALID", "test-clean", "holdout"), None),
    ],
)
def test_splits_whose_names_do_not_tell_whether_they_are_for_testing_are_named(tmp_path, splits, said):
    for number in range(len(splits)):
        for label in "ab":
            Image.fromarray(np.full((4, 4), number, np.uint8)).save(tmp_path / f"{label}{number}.png")
    rows = [f"{label}{number}.png,{label},{split}" for number, split in enumerate(splits) for label in "ab"]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    notes = [note for note in open_dataset(tmp_path / "list.csv").notes if "none of train" in note]
    end = ", so that painted images there are learnt from; name it test if nothing of it may be."
    assert notes == ([] if said is None else [said + end])
