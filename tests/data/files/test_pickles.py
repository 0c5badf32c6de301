"""Pickles read as data: the real formats as Python reads them, and hostile, broken or foreign ones refused unharmed."""

import pickle
import pickletools
import struct

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.data.files import pickles
from tests.data.sets.planetoid_files import array, dtype, instructions, items, matrix, parts, python2

DEEP = 200_000  # pickle.loads ends the interpreter with such a key


def same(one, other):
    if isinstance(one, sp.csr_matrix):
        return one.dtype == other.dtype and (one != other).nnz == 0
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


@pytest.mark.filterwarnings("ignore")  # numpy and scipy warn of the names that Python 2's pickles have
@pytest.mark.parametrize("part", ["x", "ally", "graph"])
def test_python_2_pickles_give_what_unpickling_gives(part):
    value = parts()[part]
    content = python2(value)
    assert same(pickle.loads(content, encoding="latin1"), value)  # our own file: the test's writer is right
    assert same(pickles.read(content, "here"), value)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_number_type(order):
    value = {code: np.asarray(np.arange(6).reshape(2, 3), dtype=code, order=order) for code in ("i4", "i8", "f4", "f8")}
    value |= {"none": np.empty((0, 2)), "yes": np.array([True, False]), "bytes": np.array([1, 255], np.uint8)}
    found = pickles.read(python2(value), "here")
    assert found.keys() == value.keys()
    for name, expected in value.items():
        assert found[name].dtype == expected.dtype and found[name].shape == expected.shape
        assert np.array_equal(found[name], expected) and not found[name].flags.writeable


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    )
)
def test_plain_values(value):
    assert pickles.read(pickle.dumps(value, 2), "here") == value


# ---------------------------------------------------------------------------- hostile ones


def call(name, *arguments):
    module, function = name.rsplit(".", 1)
    return f"c{module}\n{function}\n".encode() + instructions(arguments) + b"R"


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "posix.system",
        "subprocess.Popen",
        "__builtin__.eval",
        "builtins.exec",
        "builtins.getattr",
        "numpy.load",
        "numpy.lib.npyio.DataSource",
        "numpy.core.multiarray.scalar",
        "numpy.testing._private.utils.runstring",
        "scipy.sparse.csr.coo_matrix",
        "collections.OrderedDict",
        "functools.partial",
        "copyreg._reconstructor",
        "torch.load",
        "_codecs.encode",
        "graphprune.data.files.pickles.CALLS",
    ],
)
def test_other_names_are_refused_and_nothing_is_run(name, tmp_path):
    content = b"\x80\x02" + call(name, f"touch {tmp_path}/owned") + b"."
    with pytest.raises(ValueError, match=f"here is refused: it names {name}; nothing of it was run"):
        pickles.read(content, "here")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("protocol", range(6))
def test_a_reduce_that_python_would_run(protocol, tmp_path):
    class Owned:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",)

    content = pickle.dumps({"edge": Owned()}, protocol)
    with pytest.raises(ValueError, match=r"here is refused: (it names|unexpected instruction)"):
        pickles.read(content, "here")
    assert not list(tmp_path.iterdir())


ONE = array((1,), dtype("i4"), b"\1\0\0\0")
LIST = b"c__builtin__\nlist\n"
MATRIX = {"_shape": (2, 3), "data": np.ones(2), "indices": np.array([0, 2]), "indptr": np.array([0, 1, 2])}
HOSTILE = {
    # calls and states of the allowed names
    "array of a size": call("numpy.ndarray", (10**9,)),
    "list of something": call("__builtin__.list", [1]),
    "defaultdict of a call": b"ccollections\ndefaultdict\ncnumpy\ndtype\n\x85R",
    "objects": array((1,), dtype("O8"), b"12345678"),
    "records": array((1,), dtype("V9"), b"123456789"),
    "another order of bytes": array((1,), dtype("i4", ">"), b"\1\0\0\0"),
    "state of a name": LIST + instructions({"__call__": 1}) + b"b",
    "slots of a name": LIST + instructions((None, {"text": "os system"})) + b"b",
    "state of a list": instructions([1]) + instructions({"append": 1}) + b"b",
    "two states": ONE + instructions((1, (0,), None, False, b"")) + b"b",
    "state of a type": dtype("i4") + instructions(({"O": 1},)) + b"b",
    "no state": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
    + instructions((0,))
    + instructions("b")
    + b"tR",
    # sizes
    "array without content": array((2**30, 2**30), dtype("f8"), b""),
    "negative size": array((-1, -4), dtype("i4"), b"\0" * 16),
    "size that is a text": array(("4",), dtype("i4"), b"\0" * 16),
    "many dimensions": array((1, 1, 1), dtype("i4"), b"\0" * 4),
    "wide matrix": matrix(MATRIX | {"_shape": (2, 2**30)}),
    # what would overflow the interpreter's own stack
    "deep key": b"}" + b")" + b"\x85" * DEEP + b"Ns",
    "deep number type": b"cnumpy\ndtype\n)" + b"\x85" * DEEP + b"NN\x87R",
    "deep state": b"cscipy.sparse.csr\ncsr_matrix\n)\x81)" + b"\x85" * DEEP + b"b",
    # sparse matrices that do not hold together
    "no parts": matrix({"_shape": (2, 3)}),
    "column outside": matrix(MATRIX | {"indices": np.array([0, 3])}),
    "column below": matrix(MATRIX | {"indices": np.array([0, -1])}),
    "columns no integers": matrix(MATRIX | {"indices": np.ones(2)}),
    "falling rows": matrix(MATRIX | {"indptr": np.array([0, 3, 2])}),
    "rows beyond": matrix(MATRIX | {"indptr": np.array([0, 1, 9])}),
    "few rows": matrix(MATRIX | {"indptr": np.array([0, 2])}),
    "few data": matrix(MATRIX | {"data": np.ones(1)}),
    "flat parts": matrix(MATRIX | {"data": np.ones((2, 1))}),
    "three dimensions": matrix(MATRIX | {"_shape": (2, 3, 1)}),
    "list as part": matrix(MATRIX | {"data": [1, 2]}),
    # instructions that nothing needs
    "persistent id": b"Pos.system\n",
    "extension": b"\x82\1",
    "old instance": b"(ios\nsystem\n",
    "name from the stack": b"\x8c\2os\x8c\6system\x93",
    "buffer": b"\x97",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_contents_are_refused(kind):
    with pytest.raises(ValueError, match=r"^here is (refused: .*; nothing of it was run|damaged or truncated: .*)$"):
        pickles.read(b"\x80\x02" + HOSTILE[kind] + b".", "here")


def test_names_stay_as_they_were():
    before = dict(pickles.CALLS)
    for name in ("state of a name", "slots of a name", "state of a type", "two states"):
        with pytest.raises(ValueError, match="here"):
            pickles.read(b"\x80\x02" + HOSTILE[name] + b".", "here")
    assert before == pickles.CALLS and pickles.read(python2(np.arange(3, dtype=np.int32)), "here").tolist() == [0, 1, 2]


def test_a_deep_value_and_one_that_holds_itself_come_out_unharmed():
    assert isinstance(pickles.read(b"\x80\x02)" + b"\x85" * DEEP + b".", "here"), tuple)
    [itself] = pickles.read(b"\x80\x02]q\0h\0a.", "here")
    assert itself[0] is itself


def test_a_far_place_in_the_memo_takes_no_memory():
    assert pickles.read(b"\x80\x02Nr\xff\xff\xff\xffj\xff\xff\xff\xff.", "here") is None


def test_files_beyond_the_bounds_are_refused(monkeypatch):
    monkeypatch.setenv("GRAPHPRUNE_LIMITS", "steps=100,parsed=1000")
    with pytest.raises(
        ValueError, match="here is refused: a pickle has 101 instructions and goes on, more than the 100 that are"
    ):
        pickles.read(b"\x80\x02" + b"N" * 200 + b".", "here")
    with pytest.raises(ValueError, match="here has 1,001 bytes to parse, more than the 1,000 that are allowed"):
        pickles.read(b"N" * 1001, "here")


@pytest.mark.parametrize("content", [b"PK\3\4nonsense", b"", b"<html>"])
def test_what_no_pickle_is(content):
    with pytest.raises(ValueError, match=r"^here is "):
        pickles.read(content, "here")


# ---------------------------------------------------------------------------- broken ones

WHOLE = b"\x80\x02" + b"}" + items({"y": np.arange(4, dtype=np.int32), "x": sp.csr_matrix(np.eye(3, dtype=np.float32))})
WHOLE += instructions("graph") + instructions({0: [1, 2], 1: []}) + b"s."


def test_every_truncation_is_refused():
    assert pickles.read(WHOLE, "here")["graph"] == {0: [1, 2], 1: []}
    for end in range(len(WHOLE)):
        with pytest.raises(ValueError, match="here is damaged or truncated"):
            pickles.read(WHOLE[:end], "here")


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_broken_bytes_give_a_value_or_a_value_error(changes):
    content = bytearray(WHOLE)
    for place, byte in changes:
        content[place] = byte
    try:
        pickles.read(bytes(content), "here")
    except ValueError as error:
        assert str(error).startswith("here ")


CODES = sorted(code.code.encode("latin-1") for code in pickletools.opcodes)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=300)
@given(st.lists(st.sampled_from([*CODES, ONE, LIST, b"\n", b"\0", b"\1", struct.pack("<i", 2)]), max_size=20))
def test_any_instructions_give_a_value_or_a_value_error(pieces):
    try:
        pickles.read(b"".join(pieces) + b".", "here")
    except ValueError as error:
        assert str(error).startswith("here ")
