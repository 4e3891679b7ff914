"""Every page of a TIFF file can be read by itself, however the file is laid out, and nothing else of it is read."""

import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cam_feedback.data.pixels.images import count_pages, image_size, read_image, read_page
from napari_cam_feedback.errors import DataError

PAGES = np.arange(5 * 4 * 6, dtype=np.uint16).reshape(5, 4, 6) * 500
TWO_CHANNELS = np.stack([PAGES, PAGES + 7], axis=1)
RGB = np.stack([PAGES, PAGES // 2, PAGES // 3], axis=-1)


def assert_pages(path, expected):
    assert count_pages(path) == len(expected)
    for page in (len(expected) - 1, *range(len(expected))):
        read = read_page(path, page)
        assert read.dtype == expected[page].dtype
        np.testing.assert_array_equal(read, expected[page])
    np.testing.assert_array_equal(read_image(path), expected[0])
    assert image_size(path) == expected[0].shape[:2]


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_of_either_byte_order_and_size_of_file(tmp_path, byteorder, bigtiff):
    tifffile.imwrite(tmp_path / "a.tif", PAGES, photometric="minisblack", byteorder=byteorder, bigtiff=bigtiff)
    assert_pages(tmp_path / "a.tif", PAGES)


@pytest.mark.parametrize(
    "options",
    [
        {"metadata": None},
        {"compression": "zlib", "predictor": True},
        {"tile": (16, 16)},
        {"tile": (16, 16), "compression": "zlib"},
        {"truncate": True},
        {"volumetric": True},
        {"volumetric": True, "tile": (16, 16, 16), "compression": "zlib"},
        {"rowsperstrip": 1},
    ],
    ids=str,
)
def test_pages_however_their_pixels_are_stored(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", PAGES, photometric="minisblack", **options)
    assert_pages(tmp_path / "a.tif", PAGES)


def test_pages_written_one_after_the_other(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in PAGES:
            writer.write(page, contiguous=False, metadata=None)
    assert_pages(tmp_path / "a.tif", PAGES)


@pytest.mark.parametrize("truncate", [False, True], ids=["a directory each", "one directory for all"])
def test_an_imagej_hyperstack_has_a_page_for_each_plane(tmp_path, truncate):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, TWO_CHANNELS, imagej=True, metadata={"axes": "ZCYX"}, truncate=truncate)
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == (1 if truncate else 10)
    assert_pages(path, TWO_CHANNELS.reshape(-1, 4, 6))


def test_an_ome_tiff_has_a_page_for_each_plane(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", TWO_CHANNELS, metadata={"axes": "TCYX"})
    assert_pages(tmp_path / "a.ome.tif", TWO_CHANNELS.reshape(-1, 4, 6))


def test_an_ome_tiff_of_several_files_shows_its_own_planes_only(tmp_path):
    shape = "".join(f' Size{axis}="{n}"' for axis, n in zip("XYZCT", (6, 4, 1, 1, 2), strict=True))
    data = "".join(
        f'<TiffData FirstT="{t}" IFD="0" PlaneCount="1"><UUID FileName="{t}.ome.tif">urn:uuid:{t}</UUID></TiffData>'
        for t in range(2)
    )
    for t in range(2):
        text = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{t}"><Image ID="Image:0">'
            f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16"{shape}>{data}</Pixels></Image></OME>'
        )
        tifffile.imwrite(tmp_path / f"{t}.ome.tif", PAGES[t], description=text, metadata=None)
    for t in range(2):
        assert_pages(tmp_path / f"{t}.ome.tif", PAGES[t : t + 1])


@pytest.mark.parametrize("planar", [False, True])
def test_colour_is_one_page_and_not_three(tmp_path, planar):
    if planar:
        tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(RGB, -1, 1), photometric="rgb", planarconfig="separate")
    else:
        tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb")
    assert_pages(tmp_path / "a.tif", RGB)
    tifffile.imwrite(tmp_path / "one.tif", RGB[0], photometric="rgb")
    assert_pages(tmp_path / "one.tif", RGB[:1])


def test_pages_are_inverted_where_white_is_zero_and_turned_upright(tmp_path):
    tag = [(274, "H", 1, 6, False)]
    tifffile.imwrite(tmp_path / "a.tif", PAGES, photometric="miniswhite", metadata=None, extratags=tag)
    assert_pages(tmp_path / "a.tif", [np.rot90(65535 - page, -1) for page in PAGES])


def test_a_thumbnail_and_a_pyramid_are_no_pages(tmp_path):
    large = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(large, metadata=None, subifds=1)
        writer.write(large[::2, ::2], subfiletype=1, metadata=None)
        writer.write(large[::8, ::8], subfiletype=1, metadata=None)
    assert_pages(tmp_path / "a.tif", [large])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int32])
def test_compressed_pages_that_tifffile_cannot_read_are_read_all_the_same(tmp_path, dtype):
    expected = [page.astype(dtype) for page in PAGES // 500]
    first, *others = [Image.fromarray(page) for page in expected]
    first.save(tmp_path / "a.tif", save_all=True, append_images=others, compression="tiff_lzw")
    assert_pages(tmp_path / "a.tif", [page if dtype != np.int32 else page.astype(np.float32) for page in expected])


def test_compression_without_a_decoder_says_which_package_to_install(tmp_path):
    # Nothing that is always installed reads 16 bits in colour compressed by LZW; Pillow would give 8 bits.
    tifffile.imwrite(tmp_path / "a.tif", RGB[0], photometric="rgb")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages.first.tags["Compression"].overwrite(5)
    with pytest.raises(DataError) as error:
        read_image(tmp_path / "a.tif")
    assert str(error.value) == (
        f"{tmp_path / 'a.tif'} is compressed by LZW, for which the package imagecodecs is needed; install it with "
        '"pip install imagecodecs", or save the image uncompressed.'
    )


def test_an_image_of_five_channels_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 9, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    with pytest.raises(DataError) as error:
        read_image(tmp_path / "a.tif")
    assert str(error.value) == f"{tmp_path / 'a.tif'} has 5 channels; save it as gray or as RGB."


def test_other_files_have_one_page(tmp_path):
    image = PAGES[0].astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert_pages(tmp_path / "a.png", [image])


def test_a_page_that_is_not_there_is_named(tmp_path):
    stack, single = tmp_path / "a.tif", tmp_path / "a.png"
    tifffile.imwrite(stack, PAGES, photometric="minisblack")
    Image.fromarray(PAGES[0]).save(single)
    for page in (5, -1):
        with pytest.raises(DataError) as error:
            read_page(stack, page)
        assert str(error.value) == (
            f"{stack} has no page {page} but 5 pages, numbered from 0; correct the number or restore the file."
        )
    with pytest.raises(DataError) as error:
        read_page(single, 1)
    assert str(error.value) == f"{single} has no page 1 but only one page, number 0; correct the number or restore the file."


def test_broken_missing_and_empty_files_are_named_when_counted(tmp_path):
    (tmp_path / "notes.tif").write_text("no image at all")
    (tmp_path / "empty.tif").touch()
    for name, what in {"none.tif": "is missing", "notes.tif": "is broken or not an image", "empty.tif": "is empty"}.items():
        for count in (count_pages, lambda path: read_page(path, 1)):
            with pytest.raises(DataError, match=rf"{name} {what}"):
                count(tmp_path / name)


def test_a_stack_cut_short_gives_the_pages_it_has(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PAGES, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        end = tiff.pages[3].dataoffsets[0] + PAGES[3].nbytes
    path.write_bytes(path.read_bytes()[:end])
    np.testing.assert_array_equal(read_page(path, 0), PAGES[0])
    with pytest.raises(DataError, match=r"a\.tif (is broken|has no page 4)"):
        read_page(path, 4)


def test_a_file_written_anew_is_looked_at_anew(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PAGES, photometric="minisblack")
    assert count_pages(path) == 5
    tifffile.imwrite(path, PAGES[:2] + 1, photometric="minisblack")
    assert_pages(path, PAGES[:2] + 1)


@pytest.mark.parametrize("contiguous", [False, True])
def test_one_page_of_a_long_stack_takes_the_memory_and_bytes_of_one(tmp_path, contiguous, monkeypatch):
    path = tmp_path / "a.tif"
    pages = np.random.default_rng(0).integers(0, 255, (200, 64, 64)).astype(np.uint8)
    options = {} if contiguous else {"compression": "zlib"}
    tifffile.imwrite(path, pages, photometric="minisblack", **options)
    count_pages(path)
    taken = []
    for name in ("read", "read_array"):
        method = getattr(tifffile.FileHandle, name)

        def counting(self, *args, _method=method, **kwargs):
            result = _method(self, *args, **kwargs)
            taken.append(len(result) if isinstance(result, bytes) else result.nbytes)
            return result

        monkeypatch.setattr(tifffile.FileHandle, name, counting)
    np.testing.assert_array_equal(read_page(path, 150), pages[150])
    assert sum(taken) < 3 * pages[0].nbytes


@pytest.mark.parametrize("count", [1, 3, 300])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("back_to", [0, -1])
def test_pages_that_lead_in_a_circle_are_refused(tmp_path, count, bigtiff, back_to):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as writer:
        for _ in range(count):
            writer.write(PAGES[0], photometric="minisblack", contiguous=False, metadata=None)
    with tifffile.TiffFile(path) as tiff:
        offsets = [page.offset for page in tiff.pages]
        place, form = tiff.pages.next_page_offset, tiff.tiff.offsetformat
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, place, offsets[back_to])
    path.write_bytes(data)
    with pytest.raises(DataError, match="its pages lead in a circle"):
        count_pages(path)
    assert np.array_equal(read_image(path), PAGES[0])
