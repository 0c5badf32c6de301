"""Archives are read to their checksums, and no further than the limits; their word on sizes is not believed."""

import bz2
import gzip
import io
import lzma
import random
import resource
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.data.files import unpack
from graphprune.data.files.raw import archive_files
from graphprune.limits import VARIABLE, LimitExceeded

FILES = {"S_A.txt": b"1, 2\n2, 1\n" * 40, "S_graph_labels.txt": bytes(range(256)) * 3, "empty": b""}


def zipped(path, files=FILES, method=zipfile.ZIP_DEFLATED, top="S/"):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(top + name), content, method)
    return path


def tarred(path, files=FILES):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"S/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def gzipped(path, content=FILES["S_graph_labels.txt"]):
    path.write_bytes(gzip.compress(content, mtime=0))
    return path


def from_zip(path):
    files = archive_files(path, "S_A.txt")
    return {name: files.read(name) for name in FILES if name in files.members or name == "S_A.txt"}


READERS = {
    "s.zip": (zipped, from_zip, FILES),
    "s.tar.gz": (tarred, lambda path: unpack.tar_members(path, set(FILES)), FILES),
    "s.gz": (gzipped, unpack.read, FILES["S_graph_labels.txt"]),
}

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


# ---------------------------------------------------------------------------- limits


def nested(path, content):
    zipped(path, {"S_A.txt.gz": gzip.compress(content)}, zipfile.ZIP_STORED)


def lying(path, content):
    """An archive that says that its file has ten bytes."""
    zipped(path, {"S_A.txt": content})
    packed = bytearray(path.read_bytes())
    for start in (22, packed.index(b"PK\1\2") + 24):
        struct.pack_into("<I", packed, start, 10)
    path.write_bytes(packed)


def sparse(path, content):
    """A tar archive whose file is a hole."""
    head = tarfile.TarInfo("S/S_A.txt")
    head.type, head.size = tarfile.GNUTYPE_SPARSE, 0
    block = bytearray(head.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (len(content), 0)
    block[483:495] = b"%011o\0" % len(content)
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(gzip.compress(bytes(block) + bytes(1024)))


def long_name(path, content):
    head = tarfile.TarInfo("././@LongLink")
    head.type, head.size = tarfile.GNUTYPE_LONGNAME, len(content)
    path.write_bytes(gzip.compress(head.tobuf(tarfile.GNU_FORMAT) + content))


BOMBS = {
    "zip": ("s.zip", lambda path, content: zipped(path, {"S_A.txt": content}), from_zip),
    "zip of bzip2": ("s.zip", lambda path, content: zipped(path, {"S_A.txt": content}, zipfile.ZIP_BZIP2), from_zip),
    "gz in zip": ("s.zip", nested, lambda path: archive_files(path, "S_A.txt.gz").read("S_A.txt.gz")),
    "gz": ("s.gz", gzipped, unpack.read),
    "many parts": (
        "s.gz",
        lambda path, content: path.write_bytes(gzip.compress(content[: len(content) // 8]) * 8),
        unpack.read,
    ),
    "tar": ("s.tar.gz", lambda path, content: tarred(path, {"S_A.txt": content}), READERS["s.tar.gz"][1]),
    "another file of a tar": ("s.tar.gz", lambda path, content: tarred(path, {"x": content}), READERS["s.tar.gz"][1]),
    "hole": ("s.tar.gz", sparse, lambda path: unpack.tar_members(path, {"S_A.txt"})),
    "name": ("s.tar.gz", long_name, READERS["s.tar.gz"][1]),
    "plain": ("s.txt", lambda path, content: path.write_bytes(content), unpack.read),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_before_they_take_memory(tmp_path, monkeypatch, kind):
    name, make, read = BOMBS[kind]
    make(tmp_path / name, b"0" * 40_000_000)
    monkeypatch.setenv(VARIABLE, "unpacked=4e6")
    tracemalloc.start()
    try:
        with pytest.raises(
            LimitExceeded,
            match=rf"{name}.* has [\d,]+ bytes, unpacked.*, more than the 4,000,000 .*{VARIABLE}=unpacked=",
        ):
            read(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 14_000_000
    finally:
        tracemalloc.stop()


def test_a_size_that_is_a_lie_is_not_believed(tmp_path, monkeypatch):
    lying(tmp_path / "s.zip", b"0" * 40_000_000)
    monkeypatch.setenv(VARIABLE, "unpacked=4e6")
    with pytest.raises(ValueError, match=r"s\.zip/S_A\.txt is damaged or truncated \(Bad CRC-32"):
        from_zip(tmp_path / "s.zip")


@pytest.mark.parametrize("size", [0, 1, 999_999, 1_000_000, 1_048_576, 2_097_153])
def test_what_is_as_large_as_the_limit_is_read(tmp_path, monkeypatch, size):
    content = random.Random(size).randbytes(size)
    for name, make, read in list(BOMBS.values())[:5]:
        make(tmp_path / name, content)
        if make is not BOMBS["many parts"][1]:
            monkeypatch.setenv(VARIABLE, f"unpacked={size + 2000}")
            got = read(tmp_path / name)
            assert content in (got, got["S_A.txt"] if isinstance(got, dict) else got)
            if size:
                monkeypatch.setenv(VARIABLE, f"unpacked={size - 1}")
                with pytest.raises(LimitExceeded):
                    read(tmp_path / name)


@pytest.mark.parametrize("name", ["s.zip", "s.tar.gz"])
def test_too_many_files_in_an_archive(tmp_path, monkeypatch, name):
    make, read, _ = READERS[name]
    path = make(tmp_path / name, FILES | {f"more-{number}": b"" for number in range(20)})
    monkeypatch.setenv(VARIABLE, "members=22")
    with pytest.raises(LimitExceeded, match=rf"{name} has 23 files in it, more than the 22 that .*members=23"):
        read(path)
    monkeypatch.setenv(VARIABLE, "members=23")
    assert read(path) == FILES


@pytest.mark.slow
def test_a_real_bomb_stays_below_the_limit_of_the_process(tmp_path):
    """200 MB in 200 KB, in a process that may not grow by 100 MB."""
    gzipped(tmp_path / "s.gz", bytes(200_000_000))
    zipped(tmp_path / "s.zip", {"S_A.txt": bytes(200_000_000)})
    tarred(tmp_path / "s.tar.gz", {"S_A.txt": bytes(200_000_000)})
    program = (
        "import resource, sys; from pathlib import Path; from graphprune.data.files import unpack\n"
        "from graphprune.data.files.raw import archive_files\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000,) * 2)\n"
        "folder = Path(sys.argv[1])\n"
        "for read in (lambda: unpack.read(folder / 's.gz'),\n"
        "             lambda: unpack.tar_members(folder / 's.tar.gz', {'S_A.txt'}),\n"
        "             lambda: archive_files(folder / 's.zip', 'S_A.txt').read('S_A.txt')):\n"
        "    try: read()\n"
        "    except ValueError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        capture_output=True,
        text=True,
        timeout=200,
        env={"PATH": "", VARIABLE: "unpacked=2e7", "PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("more than the 20,000,000 that are allowed") == 3
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2_000_000


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
