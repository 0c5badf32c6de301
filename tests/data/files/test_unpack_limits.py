"""Archives that unpack to more than the limits: refused before they take memory."""

import gzip
import random
import resource
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile

import pytest

from graphprune.data.files import unpack
from graphprune.data.files.raw import archive_files
from graphprune.limits import VARIABLE, LimitExceeded
from tests.data.files.archives import FILES, READERS, from_zip, gzipped, tarred, zipped


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
