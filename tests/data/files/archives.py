"""Small archives of every kind, and what reads them."""

import gzip
import io
import tarfile
import zipfile

from graphprune.data.files import unpack
from graphprune.data.files.raw import archive_files

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
