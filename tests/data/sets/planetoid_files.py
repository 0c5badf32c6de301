"""Planetoid's raw files in their real format: pickles as Python 2's cPickle wrote them, with scipy's names of then."""

import struct

import numpy as np
import scipy.sparse as sp

NODES, FEATURES, CLASSES = 540, 6, 3
TRAIN, KNOWN = 9, 520


def python2(value):
    """A whole pickle of protocol 2."""
    return b"\x80\x02" + instructions(value) + b"."


def instructions(value):
    """What pushes a value: integers, texts, tuples, lists, dictionaries, arrays and CSR matrices."""
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        return b"U" + bytes([len(value)]) + value.encode()
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, tuple):
        return b"(" + b"".join(map(instructions, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(instructions, value)) + b"e"
    if isinstance(value, dict):
        return b"ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R" + items(value)
    if isinstance(value, np.ndarray):
        by_column = value.flags.f_contiguous and not value.flags.c_contiguous
        return array(value.shape, dtype(value.dtype.str[1:], value.dtype.str[0]), value.tobytes("A"), by_column)
    if isinstance(value, sp.csr_matrix):
        parts = {"format": "csr", "_shape": value.shape, "maxprint": 50}
        parts |= {name: getattr(value, name) for name in ("data", "indices", "indptr")}
        return matrix(parts)
    raise TypeError(type(value))


def items(value):
    return b"(" + b"".join(instructions(part) for item in value.items() for part in item) + b"u"


def dtype(code, order="<"):
    state = (3, order, None, None, None, -1, -1, 0)
    return b"cnumpy\ndtype\n" + instructions((code, 0, 1)) + b"R" + instructions(state) + b"b"


def array(shape, kind, content, by_column=False):
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + instructions((0,)) + instructions("b") + b"tR"
    state = instructions(shape) + kind + instructions(by_column) + instructions(content)
    return empty + b"(" + instructions(1) + state + b"tb"


def matrix(parts):
    return b"cscipy.sparse.csr\ncsr_matrix\n)\x81}" + items(parts) + b"b"


def parts():
    """The contents of a small set: 9 training, 500 validation, 11 other, 18 test nodes, and two only in the graph."""
    rng = np.random.default_rng(0)
    test = np.delete(np.arange(KNOWN, NODES), [4, 11])
    rng.shuffle(test)
    x = rng.integers(0, 3, (NODES, FEATURES)).astype(np.float32)
    x[7] = 0
    y = np.eye(CLASSES, dtype=np.int32)[rng.integers(0, CLASSES, NODES)]
    graph = {node: [] for node in range(NODES)}
    for one, other in [(0, 0), (0, 1), (0, 1), *rng.choice(np.delete(np.arange(NODES), [524, 531]), (800, 2)).tolist()]:
        graph[one].append(other)
        graph[other].append(one)
    described = {"x": slice(TRAIN), "allx": slice(KNOWN), "tx": test}
    return {
        **{part: sp.csr_matrix(x[rows]) for part, rows in described.items()},
        **{part.replace("x", "y"): y[rows] for part, rows in described.items()},
        "graph": graph,
        "test.index": test,
    }


def write(folder, name="cora", **changes):
    """The eight files; ``changes`` replace the content of a part, or leave it out (None). Returns the contents."""
    folder.mkdir(parents=True, exist_ok=True)
    content = parts() | {part.replace("_", "."): value for part, value in changes.items()}
    for part, value in content.items():
        if part == "test.index" and value is not None:
            value = "".join(f"{number}\n" for number in value).encode()
        if value is not None:
            (folder / f"ind.{name}.{part}").write_bytes(value if isinstance(value, bytes) else python2(value))
    return content
