"""Archives are read to their checksums, and no further than the limits; their word on sizes is not believed."""

import bz2
import gzip
import io
import lzma
import random
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.data.files import unpack
from tests.data.files.archives import FILES, READERS, from_zip, tarred, zipped

# ---------------------------------------------------------------------------- checksums


@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_is_refused_with_the_name_or_changes_nothing(tmp_path, name):
    make, read, expected = READERS[name]
    path = make(tmp_path / name)
    good, refused = path.read_bytes(), 0
    assert read(path) == expected
    for bit in random.Random(0).sample(range(8 * len(good)), 400):
        content = bytearray(good)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            assert read(path) == expected  # of a date, say
        except (ValueError, FileNotFoundError) as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 150


@pytest.mark.parametrize("name", READERS)
def test_every_truncation_is_refused_with_the_name(tmp_path, name):
    make, read, _ = READERS[name]
    path = make(tmp_path / name)
    good = path.read_bytes()
    for length in range(0, len(good), 7):
        path.write_bytes(good[:length])
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            read(path)


@given(st.binary(max_size=300))
def test_no_bytes_give_another_error_than_a_value_error(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    for name, (_, read, _) in READERS.items():
        for start in (b"", b"PK\3\4", b"\x1f\x8b\x08\0"):
            (folder / name).write_bytes(start + content)
            with pytest.raises(ValueError, match=str(folder)):
                read(folder / name)


def test_a_bit_behind_the_last_file_that_is_needed_is_seen(tmp_path):
    """An archive of CIFAR-10 is damaged wherever it is damaged."""
    path = tarred(tmp_path / "s.tar.gz", {"first": b"1" * 99, "later": random.Random(0).randbytes(40_000)})
    assert unpack.tar_members(path, {"first"}) == {"first": b"1" * 99}
    content = bytearray(path.read_bytes())
    content[-20_000] ^= 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"s\.tar\.gz is damaged or truncated .*; get it again"):
        unpack.tar_members(path, {"first"})


# ---------------------------------------------------------------------------- what Python can unpack, and what not


def patched(path, places):
    """A zip archive of one file whose heads say something else: offset in the file's head to a number."""
    zipped(path, {"S_A.txt": FILES["S_A.txt"]})
    content = bytearray(path.read_bytes())
    for start, shift in ((0, 0), (content.index(b"PK\1\2"), 2)):
        for place, value in places.items():
            struct.pack_into("<H", content, start + place + shift, value)
    path.write_bytes(content)
    return path


ODD = {
    "encrypted": {6: 1},
    "method 99": {8: 99},
    "Deflate64": {8: 9},
    "method 1": {8: 1},
    "version 9.9": {4: 99},
    "version 25.5": {4: 255},
    "strongly encrypted": {6: 65},
    "patched data": {6: 32},
}


@pytest.mark.parametrize("kind", ODD)
def test_what_python_cannot_unpack_is_named_with_the_way_out(tmp_path, kind):
    path = patched(tmp_path / "s.zip", ODD[kind])
    with pytest.raises(
        ValueError, match=r"s\.zip.* cannot be unpacked: .*; unpack it with another program and give the"
    ):
        from_zip(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_method_that_python_has_is_read_and_its_damage_named(tmp_path, method):
    path = zipped(tmp_path / "s.zip", method=method)
    assert from_zip(path) == FILES
    good = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("S/S_graph_labels.txt").header_offset + 30 + len("S/S_graph_labels.txt")
    for at in range(start, start + 30):
        content = bytearray(good)
        content[at] ^= 255
        path.write_bytes(content)
        try:
            assert from_zip(path) == FILES  # LZMA's own version, which nobody reads
        except ValueError as error:
            assert "s.zip/S_graph_labels.txt is damaged or truncated" in str(error)


@pytest.mark.parametrize("kind", [12, 14])
def test_a_file_that_is_packed_otherwise_than_it_says(tmp_path, kind):
    path = patched(tmp_path / "s.zip", {8: kind})
    with pytest.raises(ValueError, match=r"s\.zip"):
        from_zip(path)


@pytest.mark.parametrize("top", ["S\\", "a\\S\\", "a/S\\", "S//", "./S/", ""])
def test_backslashes_and_doubled_slashes_are_found(tmp_path, top):
    assert from_zip(zipped(tmp_path / "s.zip", top=top)) == FILES


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_a_gz_file_of_another_kind(tmp_path, pack):
    (tmp_path / "s.gz").write_bytes(pack(b"1\n"))
    with pytest.raises(ValueError, match=r"s\.gz is damaged or truncated"):
        unpack.read(tmp_path / "s.gz")


def test_parts_of_a_gz_file_are_one(tmp_path):
    (tmp_path / "s.gz").write_bytes(gzip.compress(b"1\n") + gzip.compress(b"2\n"))
    assert unpack.read(tmp_path / "s.gz") == b"1\n2\n"


# ---------------------------------------------------------------------------- arrays


def saved(values):
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


@pytest.mark.parametrize("values", [np.arange(6).reshape(2, 3), np.ones(0), np.array(3.5), np.array(["a", "bc"])])
def test_arrays(values):
    assert np.array_equal(unpack.array(saved(values), "here"), values)


HEAD = b"{'descr': '<f8', 'fortran_order': False, 'shape': (%s,), }"


def headed(text):
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        saved(np.arange(9))[:-1],
        saved(np.arange(9)) + b"x",
        saved(np.array([{}])),
        headed(HEAD % b"1000000000000"),
        headed(HEAD % b"-1"),
        headed(HEAD % b"10**12"),
        headed(HEAD % b"99999999999999999999999999"),
        headed(b"{'descr': 'O', 'fortran_order': False, 'shape': (0,)}"),
        headed(b"{" * 900),
        b"\x93NUMPY\3\0" + bytes(20),
        b"\x93NUMPY\x09\x09" + bytes(20),
    ],
)
def test_arrays_that_promise_more_than_there_is(content):
    with pytest.raises(ValueError, match=r"^here: damaged or truncated, or an array of objects"):
        unpack.array(content, "here")
