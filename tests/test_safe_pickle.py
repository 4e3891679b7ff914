"""Pickles of arrays are read without running anything; whatever else is in a pickle is refused in a sentence."""

from __future__ import annotations

import base64
import collections
import io
import os
import pickle
import struct
from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from napari_cam_feedback.errors import MaskError
from napari_cam_feedback.safe_pickle import read_pickle

MASK = np.zeros((3, 4), bool)
MASK[0, 1] = MASK[2, 3] = True
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def read_masks(path: Path) -> object:
    return read_pickle(path, MaskError, "is no pickle of masks", "save the masks as PNG files instead")


def read(tmp_path: Path, data: bytes) -> object:
    path = tmp_path / "masks.pkl"
    path.write_bytes(data)
    return read_masks(path)


def refusal(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(MaskError) as caught:
        read(tmp_path, data)
    return str(caught.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", ["?", "u1", "i8", "<u2", ">i4", "f4", ">f8"])
def test_arrays_of_every_kind_and_protocol_come_back_as_they_were(tmp_path, protocol, kind):
    masks = {"a": MASK.astype(kind), "b": np.asfortranarray(MASK).astype(kind, order="F"), "c": MASK.astype(kind)[:, ::2]}
    found = read(tmp_path, pickle.dumps(masks, protocol))
    assert list(found) == ["a", "b", "c"]
    for name, mask in masks.items():
        assert np.array_equal(found[name], mask)
        assert found[name].dtype == mask.dtype


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers_numbers_and_paths_come_back_as_plain_ones(tmp_path, protocol):
    content = {
        PurePosixPath("/data/cat/1.png"): MASK,
        np.int64(3): {"x": [MASK, None]},
        b"bytes": collections.OrderedDict([("y", MASK)]),
        "z": collections.defaultdict(dict, {4: np.float32(0.5)}),
    }
    found = read(tmp_path, pickle.dumps(content, protocol))
    assert list(found) == ["/data/cat/1.png", 3, "bytes", "z"]
    assert np.array_equal(found[3]["x"][0], MASK)
    assert np.array_equal(found["bytes"]["y"], MASK)
    assert found["z"] == {4: 0.5}
    assert type(found["z"]) is dict


# Written by NumPy 1.26.4 on Python 3.11: {"cat/1.png": bool, "cat/2.png": uint8 in columns, np.int64(3): float}.
NUMPY_1 = {
    2: (
        "fC7DS04P`q0001EVRSDsE^uyVaRFm)b!~8YE@N+UWiD-XY;<X1a&lpL3SV+%V{dMAbaHiLbP90-V{UbAaCr)DWMOi0VR;I114{sfaRg&uV{c?-"
        "V{-~+Zewp`WeRZxSOEY40Ag_lSOx$90Bm7&X>Kub2ZnJ7QgI1~aSBp#3n)tgO9M*;hH(sIZgp*Nc?x87d2nS4aSd1k0001DF>wxwh=*|xQgIL{"
        "O9NN|0001daS={VPD=m(|Nlz=|Ns9>0CaH@Vu@%4SPTFF0003100000000000dW&(2ZnJJQgIb@aTa1&2><{9V_|eJGA?j#XK@#30%!wE0EKZF"
        "XbFdL8B%c?C`$oL14{&kaT{n2SONe50Ch2O9EpgBaUD`|9w<u#Xc10MPD=m(|Nlz=|Ns9>0CaI5Vu)x3SPTFF000000RR91000000dXK`2ZnJW"
        "QgI@5aU)`5Zgp*Nc`jpba%C=Ub!>ELVRCX|c?xr5VQgV?3UMT84OjvI003z?aV3d}hjAuSaVIEC16Tn7002C3C{9jJO8@`=|4RS=|Nlz>ba5$S"
        "Xa!gZ00003000000001SDrg6WaVt`BEQWC{QgJS50%!wE0EKZcXbFdLFj8?bC`$oL14{&kaWZHPSONe50A@6CGl__YaWqnKH7H91XedrjPD=m("
        "|Nlz=|Ns9>0CaISVu@%4STX<r000000002OfIk2L000000000000000000000000000000000000000000000!hk<<H)scjaX3<OIdpM4Vs$P"
    ),
    3: (
        "fCGJT04P`q0001EVRSDsE^uyVaRFm)b!~8YE@N+UWiD-XY;<X1a&lpL3SV+%V{dMAbaHiLbP90-V{UbAaCr)DWMOi0VR;I114{sfaRfsFVsQnB"
        "aRyRx2PjJcO9M*;hH(gEZgp*Nc?x87d2nS4aS2!g0001DF>wlsh=*|tQgI9@O9NN|0001daScvRPD=m(|Nlz=|Ns9>0CaH<Vu?cx0096100000"
        "00001aSwEH5Mo#f0001EVRSDtE^uyVaS><&Xah?Cg>e#S1&47HQgIY0O94v*O9X~-6=(@q0ssI2bun=kiHL`B7gBK;C`$uq4Ngu@O8@`=|4RS="
        "|Nlz>ba5GCh(inj00031000000004T8gy|RVq<P~ZE$%mV{dY0E^T#ebZKF7a$$K2b7Ns_VR8y_9B2tx0ssI2X*h8miHL`B9#U~1C`$ua0RR91"
        "JaHgSPEJby|Ns9=|NsC0O8|6nA!0)a0{{R300000aUzCsBT{iBXaZ;hO8|v&C1?eQaVAo6Cn!q+O9M*;hH)rp30MLE003q*aVd$2hjA)WaVscG"
        "185*lPEJby|Ns9=|NsC0O8|6nEMkd6FaQ7m0001hKL7v#00000000000000000000000000000000000000000001hKXEN|aV}zYE&"
    ),
    4: (
        "fCQDa0RR910001elqie|V_|eJF)na!XOxT;Zgp*Nc`jpba%C=Ub!>ELVRCX|d6bL{Uvgz*Z*FsRa&=>Ll#`T<1#We1aCwxB2X16xa&lpLl#`T8"
        "0ELu80b-Pglv0!^O94v*O9Y0LXa$S~WOR9OWt5YYi~?dYl!=Iklv0!^O9PAne3VX3PD=m(|Nlz=|Ns9>0CbdMi9-wk0RR91000000004$bd+L@"
        "31eY&FETE0ZfBHe1ZW3K0ELuj35S$YlqgF9O9M*;hLmUyi~@Brl!=Iklv0!^O9N;UPEJlr|NsC0O8@`=|4RULlwycO3;+NC0RR91000000hDx<"
        "VrT-426JO!Y+-Vglay!<i~?yml!=Iklv0!^O9PAnJd{pOPD=m(|Nlz=|Ns9>0CbdMLkI%^00000005MRlv0#v1ZW3K0ELuj35S$YlqgF9O9M*;"
        "hLmUyi~?pfl!=Iklv0!^O9N;oPEJlr|NsC0O8@`=|4RULlwyfPFaQ7m0001hKL7v#00000000000000000000000000000000000000000001h"
        "Ka_NoVs$P"
    ),
    5: (
        "fCZJU0RR910001elqie|V_|eJF)na!XOxT*Zgp*Nc`jpba%C=Vb!}yGX=9X(3twh(Z*5|AW@cq_l#`SwmJ9#@000000003100000000000hEjd"
        "Zgp*Nd6bL=WOR9OWt5YYi~?dYl!=Iklv0!^O9PAne3VX3PD=m(|Nlz=|Ns9>0CbdMO9M*;hLnr}LzHxsQk0AdV_|eJGA?j#XOw6JD3%NW00000"
        "00000009610000000ER}2#f-CF_ejjhm=y3C`$uq3{Fl?O8@`=|4RS=|Nlz>bd+LC14{&kl#BsJlysC*l#CT_b!~8YE@N+UWiD-XY;<X1a&lpL"
        "l#B**V_|Gza+H&lXb6k~X*iULh=-I?lqgFBi~&59PEJlr|NsC0O8@`=|4RULlwv~&0{{R300000l!la2lxPGfmM{PS00000000000001hKL7v#"
        "00000000000000000000000000000000000000000001hKa^+)i~?pfl!=Iklv0!^O9N;kPEJlr|NsC0O8@`=|4RULlwwN*O9Y0LXb*IhQj~Qr"
    ),
}


@pytest.mark.parametrize("protocol", NUMPY_1)
def test_what_numpy_1_wrote_is_read(tmp_path, protocol):
    found = read(tmp_path, base64.b85decode(NUMPY_1[protocol]))
    assert list(found) == ["cat/1.png", "cat/2.png", 3]
    assert all(np.array_equal(mask, MASK) for mask in found.values())


def test_what_python_2_wrote_is_read(tmp_path):
    # As Python 2 writes texts and bytes: SHORT_BINSTRING; by hand.
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\x03K\x04tcnumpy\ndtype\n(U\x02b1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x0c" + MASK.tobytes() + b"tb"
    )
    found = read(tmp_path, b"\x80\x02}U\x09cat/1.png" + array + b"s.")
    assert np.array_equal(found["cat/1.png"], MASK)


# What is refused --------------------------------------------------------------------------------------


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def harm(mark: Path) -> list[Call]:
    write = f"open({str(mark)!r}, 'w')"
    return [
        Call(os.system, f"touch {mark}"),
        Call(eval, write),
        Call(exec, write),
        Call(open, str(mark), "w"),
        Call(getattr, "", "format"),
        Call(np.load, "x.npy"),
        Call(np.zeros, (10,)),
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("number", range(7))
def test_a_pickle_that_would_run_something_runs_nothing_and_is_refused_by_name(tmp_path, protocol, number):
    call = harm(tmp_path / "harmed")[number]
    function = call.call[0]
    name = f"{function.__module__}.{function.__qualname__}"
    # Old protocols have the names of Python 2.
    name = name.replace("builtins", "__builtin__") if protocol < 3 else name
    assert refusal(tmp_path, pickle.dumps({"cat/1.png": call}, protocol)) == (
        f'{tmp_path / "masks.pkl"} asks to run "{name}" when it is read, which is refused for safety; '
        "save the masks as PNG files instead."
    )
    assert not (tmp_path / "harmed").exists()


def test_names_of_numpy_s_inside_and_of_modules_alike_are_refused(tmp_path):
    for module, name in (
        ("numpy.core.multiarray", "fromfile"),
        ("numpy._core.multiarray", "empty"),
        ("numpy", "memmap"),
        ("numpy.evil", "_reconstruct"),
        ("numpy.core.multiarray.x", "_reconstruct"),
        ("collections", "namedtuple"),
        ("collections.OrderedDict", "fromkeys"),
        ("pathlib", "Path.write_text"),
        ("builtins", "list.append"),
    ):
        data = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, name)) + b"\x93)R."
        assert f'asks to run "{module}.{name}"' in refusal(tmp_path, data)


class Kept(pickle.Pickler):
    def persistent_id(self, value):
        return "x" if isinstance(value, np.ndarray) else None


class Own:
    def __init__(self) -> None:
        self.mask = 1


def test_objects_of_classes_and_what_lies_outside_of_the_file_are_refused(tmp_path):
    assert "holds Python objects (NEWOBJ)" in refusal(tmp_path, pickle.dumps({"a": Own()}, 2))
    kept = io.BytesIO()
    Kept(kept, 4).dump({"a": MASK})
    assert "holds Python objects (BINPERSID)" in refusal(tmp_path, kept.getvalue())
    outside = pickle.dumps({"a": MASK}, 5, buffer_callback=lambda _: None)
    assert "holds Python objects (NEXT_BUFFER)" in refusal(tmp_path, outside)
    assert "whose reading could run code" in refusal(tmp_path, b"(ios\nsystem\n.")
    assert "array of the type 'O8', which is no number" in refusal(tmp_path, pickle.dumps({"a": np.array([{}], object)}))


def array(shape: bytes, data: bytes, code: bytes = b"b1") -> bytes:
    """An array in protocol 3, with the shape as given."""
    return (
        b"\x80\x03}X\x01\x00\x00\x00acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
        b"(K\x01" + shape + b"cnumpy\ndtype\nX\x02\x00\x00\x00" + code + b"\x89\x88\x87R"
        b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89C" + bytes([len(data)]) + data + b"tbs."
    )


def test_the_array_made_by_hand_is_read_when_its_sizes_fit(tmp_path):
    found = read(tmp_path, array(b"K\x03K\x04\x86", MASK.tobytes()))
    assert np.array_equal(found["a"], MASK)


@pytest.mark.parametrize(
    "shape",
    [
        b"\x8a\x06\x00\x00\x00\x00\x00\x01\x8a\x06\x00\x00\x00\x00\x00\x01\x86",  # 2**40 by 2**40
        b"K\x03K\x05\x86",
        b"J\xfd\xff\xff\xffJ\xfc\xff\xff\xff\x86",  # -3 by -4
        b"K\x00K\x04\x86",
        b"K\x03N\x86",
        b"K\x0c",
        b"N",
    ],
    ids=["huge", "too many", "negative", "zero", "none in it", "no tuple", "none"],
)
def test_sizes_that_do_not_fit_the_bytes_are_refused(tmp_path, shape):
    assert "holds an array that says" in refusal(tmp_path, array(shape, MASK.tobytes()))


@pytest.mark.parametrize("code", [b"O8", b"V8", b"U1", b"M8", b"c8", b"x9"])
def test_types_that_are_no_numbers_are_refused(tmp_path, code):
    assert "which is no number" in refusal(tmp_path, array(b"K\x03K\x04\x86", MASK.tobytes(), code))


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04K\x01r" + struct.pack("<I", 2**31) + b".",  # a memo of two thousand million places
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",  # a million million bytes
        b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"K\x01.",
        b"I" + b"9" * 100_000 + b"\n.",
    ],
    ids=["memo", "bytes", "frame", "digits"],
)
def test_a_small_file_cannot_ask_for_much_memory(tmp_path, data):
    sentence = refusal(tmp_path, data)
    assert "broken on purpose" in sentence or "is no pickle of masks" in sentence


def test_what_changes_a_stand_in_or_leaves_one_is_refused(tmp_path):
    changed = b"\x80\x02cnumpy\ndtype\n}X\x05\x00\x00\x00_makeNsb."  # BUILD on the name itself
    assert "it changes what it should only call" in refusal(tmp_path, changed)
    assert "holds the name of a function instead of a value" in refusal(
        tmp_path, b"\x80\x02}X\x01\x00\x00\x00acnumpy\ndtype\ns."
    )
    assert "an array without its pixels" in refusal(
        tmp_path, b"\x80\x03}X\x01\x00\x00\x00acnumpy.core.multiarray\n_reconstruct\n)Rs."
    )


def test_a_dictionary_in_itself_and_lists_of_lists_of_lists_end(tmp_path):
    circle: dict = {}
    circle["a"] = circle
    assert "more than 4 deep" in refusal(tmp_path, pickle.dumps(circle))
    wide: list = [0]
    for _ in range(60):
        wide = [wide, wide]  # 2**60 lists if somebody went through them
    assert "more than 4 deep" in refusal(tmp_path, pickle.dumps({"a": wide}))


def test_broken_files_give_a_sentence(tmp_path):
    whole = pickle.dumps({"cat/1.png": MASK}, 4)
    for data in (b"", b"text", whole[: len(whole) // 2], whole[:-1], b"\x80\x09.", os.urandom(200), b"\x80\x04."):
        assert refusal(tmp_path, data).startswith(f"{tmp_path / 'masks.pkl'} ")
    with pytest.raises(MaskError, match=r"Could not read .*nowhere\.pkl: .*there is no such file"):
        read_masks(tmp_path / "nowhere.pkl")


def test_any_change_of_a_byte_is_read_or_refused_and_never_anything_else(tmp_path):
    whole = bytearray(pickle.dumps({"cat/1.png": MASK, "cat/2.png": MASK.astype(float)}, 4))
    random = np.random.default_rng(0)
    for _ in range(1500):
        spoilt = bytearray(whole)
        spoilt[random.integers(len(spoilt))] = random.integers(256)
        path = tmp_path / "masks.pkl"
        path.write_bytes(spoilt)
        with suppress(MaskError):
            read_masks(path)
