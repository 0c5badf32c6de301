"""Damaged and hostile files: each is refused by name, and nothing in them runs."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from graphprune.ticket import Ticket
from tests.resealed import reseal
from tests.ticket.samples import facts, ticket

JSON, TENSORS = "ticket.json", "ticket.safetensors"


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "round-2"))


Change = Callable[[dict[str, Any]], object]


def put(*path: Any) -> Change:
    """Sets the value at the end of the path."""
    *way, key, value = path

    def change(document: Any) -> None:
        for step in way:
            document = document[step]
        document[key] = value

    return change


def drop(*path: Any) -> Change:
    *way, key = path

    def change(document: Any) -> None:
        for step in way:
            document = document[step]
        del document[key]

    return change


STAGE = ("ticket", "stages", 0)
CONFIG = (*STAGE, "config")

MUTATIONS: dict[str, tuple[Change, str]] = {
    "no format": (drop("format"), "format must be of type int, got None"),
    "bool format": (put("format", True), "format must be of type int, got True"),
    "newer": (
        lambda d: d.update(format=2, written_by={"graphprune": "9.8.7"}, new_field=1),
        r"format 2 was written by graphprune '9\.8\.7'",
    ),
    "newer, unsigned": (lambda d: (d.update(format=3), d.pop("written_by")), "format 3 was written by"),
    "no digest": (drop("sha256"), "document lacks 'sha256'"),
    "wrong digest": (put("sha256", "0" * 64), r"ticket\.safetensors: altered"),
    "digest of a type": (put("sha256", 7), "document.sha256 must be of type str, got 7"),
    "wrong size": (
        put("bytes", 12),
        r"ticket\.safetensors: truncated or altered: [\d,]+ bytes instead of 12",
    ),
    "extra in head": (put("file", "../../etc/passwd"), "document has an unknown 'file'"),
    "extra": (put("ticket", "class", "os.system"), "ticket has an unknown 'class'"),
    "list for a dict": (put("ticket", []), "document.ticket must be of type dict"),
    "no row": (drop("ticket", "row"), "ticket lacks 'row'"),
    "row of a type": (put("ticket", "row", 3), "ticket.row must be of type dict"),
    "metric of a type": (put("ticket", "row", "val_metric", "high"), "row.val_metric must be of type float"),
    "metric null": (put("ticket", "row", "val_metric", None), "row.val_metric must be of type float"),
    "epoch of a type": (put("ticket", "row", "epoch", 1.5), "row.epoch must be of type int"),
    "epoch bool": (put("ticket", "row", "epoch", True), "row.epoch must be of type int"),
    "collapsed of a type": (
        put("ticket", "row", "collapsed", [1]),
        r"row.collapsed must be of type list\[str\]",
    ),
    "history of a type": (put("ticket", "history", {}), "ticket.history must be"),
    "history entries": (put("ticket", "history", [1]), "ticket.history must be"),
    "round of a type": (put("ticket", "round", "2"), "ticket.round must be of type int"),
    "round too large": (put("ticket", "round", 10**30), "ticket.round must be of type int"),
    "round negative": (put("ticket", "round", -1), "ticket.round must not be negative"),
    "method of a type": (put("ticket", "method", None), "ticket.method must be of type str"),
    "rule word": (put("ticket", "rule", "unit", "node"), "ticket.rule: unit must be one of"),
    "rule field": (put("ticket", "rule", "other", "x"), "ticket.rule: .*other"),
    "rule of a type": (
        put("ticket", "rule", "unit", ["pair"]),
        r"ticket.rule must be of type dict\[str, str \| bool \| int\]",
    ),
    "rule connected": (put("ticket", "rule", "connected", 1), "ticket.rule: connected must be True or False, got 1"),
    "rule degree": (put("ticket", "rule", "min_degree", -1), "ticket.rule: min_degree must be a whole number"),
    "odd number": (put("ticket", "row", "val_metric", {"$float": "1e5"}), "stands for no number"),
    "odd number, list": (put("ticket", "row", "val_metric", {"$float": ["nan"]}), "stands for no number"),
    "rate NaN": (put(*STAGE, "rate", {"$float": "nan"}), r"stages\[0\]: rate must lie in \[0, 1\]"),
    "rate inf": (put(*STAGE, "rate", {"$float": "inf"}), "rate must lie"),
    "rate negative": (put(*STAGE, "rate", -0.1), "rate must lie"),
    "rate above one": (put(*STAGE, "rate", 1.01), "rate must lie"),
    "rate of a type": (put(*STAGE, "rate", "0.1"), r"stages\[0\].rate must be of type float"),
    "density above one": (put(*STAGE, "density", 1.5), "density in"),
    "density negative": (put(*STAGE, "density", -1e-9), "density in"),
    "threshold NaN": (put(*STAGE, "threshold", {"$float": "nan"}), "threshold must not be NaN"),
    "threshold of a type": (put(*STAGE, "threshold", "0"), "threshold must be of type float"),
    "stage of a type": (put("ticket", "stages", 0, "predictor"), r"stages\[0\] must be of type dict"),
    "stage too few": (drop("ticket", "stages", 1), "tensors that belong to nothing: 'edges/2/"),
    "stage too many": (lambda d: d["ticket"]["stages"].append(d["ticket"]["stages"][0]), r"stages\[2\]"),
    "kind unknown": (put(*STAGE, "kind", "os.system"), "unknown kind of edge scorer 'os.system'"),
    "kind of a type": (put(*STAGE, "kind", ["predictor"]), "kind must be of type str"),
    "kind other": (put(*STAGE, "kind", "random"), "RandomEdges takes other arguments"),
    "config missing": (drop(*CONFIG, "features"), "missing a required argument: 'features'"),
    "config extra": (put(*CONFIG, "device", "cuda"), "unexpected keyword argument 'device'"),
    "config of a type": (put(*CONFIG, "hidden", "64"), "config.hidden must be of type int"),
    "config float": (put(*CONFIG, "hidden", 8.0), "config.hidden must be of type int"),
    "config bool": (put(*CONFIG, "layers", True), "config.layers must be of type int"),
    "config NaN": (
        put(*CONFIG, "features", {"$float": "nan"}),
        r"config.features must be of type Union\[int, Literal",
    ),
    "config word": (put(*CONFIG, "score", "sum"), "config.score must be of type Literal"),
    "config word, unused": (put(*CONFIG, "degree", "both"), "config.degree must be of type Literal"),
    "config width": (put(*CONFIG, "hidden", 16), r"has shape \(8,\) instead of shape \(16,\)"),
    "config depth": (put(*CONFIG, "layers", 4), "is missing"),
    "config encoder": (put(*CONFIG, "encoder", "gat"), "the config asks for another EdgePredictor"),
    "config features": (put(*CONFIG, "features", "ogb-mol"), "the config asks for another EdgePredictor"),
    "huge width": (put(*CONFIG, "hidden", 10**9), "the config asks for another EdgePredictor"),
    "huger width": (put(*CONFIG, "hidden", 2**62), "cannot be built from the config"),
    "hugest width": (put(*CONFIG, "hidden", 10**40), "config.hidden must be of type int"),
    "huge features": (put(*CONFIG, "features", 10**12), "the config asks for another EdgePredictor"),
    "huge categories": (put(*CONFIG, "features", [10**12]), "the config asks for another EdgePredictor"),
    "categories of nothing": (put(*CONFIG, "features", []), "cannot be built from the config: features must be"),
    "categories of a type": (put(*CONFIG, "features", [4, "4"]), "config.features must be of type"),
    "huge depth": (put(*CONFIG, "layers", 10**9), "many more layers than there are tensors"),
    "endless walks": (put(*CONFIG, "walks", 100_000), "walks must be 0, or from 2"),
    "edges of nothing": (
        put(*CONFIG, "edges", True),
        "cannot be built from the config: edges=True reads edge features",
    ),
    "edge features unused": (put(*CONFIG, "edge_features", [10**12, {}]), "config.edge_features must be of type"),
    "negative width": (put(*CONFIG, "hidden", -8), "cannot be built from the config"),
    "names missing": (drop("ticket", "names", "last"), "ticket.names lacks 'last'"),
    "names extra": (put("ticket", "names", "../x", []), r"ticket.names has an unknown '\.\./x'"),
    "names of a type": (put("ticket", "names", "mask", [1]), r"names.mask must be of type list\[str\]"),
    "name unknown": (lambda d: d["ticket"]["names"]["mask"].append("../../x"), "mask/../../x is missing"),
    "name twice": (lambda d: d["ticket"]["names"]["mask"].append("head.weight"), "or named twice"),
    "name forgotten": (put("ticket", "names", "mask", []), "tensors that belong to nothing: 'mask/"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_hostile_document_is_refused(folder: Path, name: str) -> None:
    change, named = MUTATIONS[name]
    reseal(folder / JSON, change)
    with pytest.raises(ValueError, match=named) as error:
        Ticket.load(folder)
    assert str(folder) in str(error.value)
    assert len(str(error.value)) < 2000
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"", "Expecting value"),
        (b"[]", "the document must be of type dict"),
        (b"null", "the document must be of type dict"),
        (b'{"format": NaN}', "NaN is not standard JSON"),
        (b'{"format": -Infinity}', "-Infinity is not standard JSON"),
        (b"\xff\xfe\x00", "utf|codec|decode"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"format": ' + b"9" * 10_000 + b"}", "digits"),
        (pickle.dumps({"format": 1}), "."),
    ],
)
def test_a_file_that_is_no_document_is_refused(folder: Path, text: bytes, named: str) -> None:
    (folder / JSON).write_bytes(text)
    with pytest.raises(ValueError, match=named) as error:
        Ticket.load(folder)
    assert str(error.value).startswith(f"{folder / JSON}: ")


@pytest.mark.parametrize("name", [JSON, TENSORS])
@pytest.mark.parametrize(
    "replacement",
    [Path.unlink, lambda path: (path.unlink(), path.mkdir()), lambda path: (path.unlink(), os.mkfifo(path))],
)
def test_a_missing_file_is_named(folder: Path, name: str, replacement: Callable[[Path], Any]) -> None:
    replacement(folder / name)
    with pytest.raises(FileNotFoundError, match=f"round-2/{name} is missing: the folder has to hold ticket.json and"):
        Ticket.load(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere/ticket\.json is missing"):
        Ticket.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [JSON, TENSORS])
def test_a_truncated_file_is_refused(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    cuts = [0, 1, 7, 8, 9, len(whole) - 1, *random.Random(0).sample(range(len(whole)), 30)]
    for cut in cuts:
        (folder / name).write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=name):
            Ticket.load(folder)


def test_an_altered_byte_is_noticed_or_harmless(folder: Path) -> None:
    generator = random.Random(1)
    for name in (JSON, TENSORS):
        whole = (folder / name).read_bytes()
        for _ in range(60):
            altered = bytearray(whole)
            altered[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
            (folder / name).write_bytes(altered)
            try:
                again = Ticket.load(folder)
            except ValueError as error:
                assert str(folder) in str(error)
            else:  # white space, say
                assert name == JSON
                assert facts(again) == facts(ticket())
        (folder / name).write_bytes(whole)


def rewrite(folder: Path, blob: bytes) -> None:
    """Other tensors, with a digest that vouches for them."""
    (folder / TENSORS).write_bytes(blob)
    reseal(folder / JSON, lambda d: d.update(bytes=len(blob), sha256=hashlib.sha256(blob).hexdigest()))


def header(fields: dict[str, Any], content: bytes = b"") -> bytes:
    text = json.dumps(fields).encode()
    return len(text).to_bytes(8, "little") + text + content


class Bomb:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_a_pickle_is_not_opened(folder: Path) -> None:
    fuse = folder / "exploded"
    rewrite(folder, pickle.dumps(Bomb(fuse)))
    with pytest.raises(ValueError, match=r"ticket\.safetensors: not a valid safetensors file"):
        Ticket.load(folder)
    torch.save({"mask/x": Bomb(fuse)}, folder / "model.pt")
    rewrite(folder, (folder / "model.pt").read_bytes())
    with pytest.raises(ValueError, match=r"ticket\.safetensors: not a valid safetensors file"):
        Ticket.load(folder)
    assert not fuse.exists()


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\x00" * 8,
        b"\xff" * 8 + b"{}",
        (10**12).to_bytes(8, "little") + b"{}",
        header({"mask/x": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}),
        header({"mask/x": {"dtype": "F32", "shape": [2**63, 0], "data_offsets": [0, 0]}}),
        header({"mask/x": {"dtype": "F32", "shape": [2**64 - 1, 0], "data_offsets": [0, 0]}}),
        header({"mask/x": {"dtype": "F32", "shape": [2**33, 2**33], "data_offsets": [0, 0]}}),
        header({"mask/x": {"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 4]}}, b"abcd"),
        header({"mask/x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"abcd"),
        header({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "b": 3}, b"abcd"),
    ],
)
def test_a_lying_header_is_refused(folder: Path, blob: bytes) -> None:
    rewrite(folder, blob)
    with pytest.raises(ValueError, match="round-2"):
        Ticket.load(folder)


HEAD = "head.weight"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({f"mask/{HEAD}": torch.ones(2, 8)}, f"mask/{HEAD} must hold bools, got torch.float32"),
        ({f"mask/{HEAD}": torch.ones(2, 9, dtype=torch.bool)}, rf"mask/{HEAD} has shape \(2, 9\)"),
        (
            {f"rewind/{HEAD}": torch.ones(8, 2)},
            rf"mask/{HEAD} has shape \(2, 8\), rewind/{HEAD} has \(8, 2\)",
        ),
        ({f"last/{HEAD}": None}, f"last/{HEAD} is missing"),
        ({"last/../../x": torch.ones(1)}, r"belong to nothing: 'last/\.\./\.\./x'"),
        ({"other": torch.ones(1)}, "belong to nothing: 'other'"),
        ({"edges/9/x": torch.ones(1)}, "belong to nothing: 'edges/9/x'"),
        ({"edges/1/x": torch.ones(1)}, "'x' is unexpected"),
        ({"edges/1/head.bias": None}, "'head.bias' is missing"),
        ({"edges/1/head.bias": torch.ones(2)}, r"'head.bias' has shape \(2,\) instead of shape \(1,\)"),
        ({"edges/1/head.bias": torch.ones(1).long()}, "'head.bias' has shape .* of torch.int64"),
    ],
)
def test_tensors_that_do_not_fit_are_named(folder: Path, changes: dict[str, Any], named: str) -> None:
    tensors = safetensors.torch.load_file(folder / TENSORS) | changes
    rewrite(folder, safetensors.torch.save({n: t for n, t in tensors.items() if t is not None}))
    with pytest.raises(ValueError, match=named) as error:
        Ticket.load(folder)
    assert str(folder) in str(error.value)


def test_bytes_that_are_no_bools_are_refused(folder: Path) -> None:
    tensors = safetensors.torch.load_file(folder / TENSORS)
    tensors[f"mask/{HEAD}"].view(torch.uint8)[0, 0] = 255
    rewrite(folder, safetensors.torch.save(tensors))
    with pytest.raises(ValueError, match=f"mask/{HEAD} must hold bools.* bytes other than 0 and 1"):
        Ticket.load(folder)


def test_states_have_the_same_tensors(folder: Path) -> None:
    reseal(folder / JSON, lambda d: d["ticket"]["names"]["trained"].append("more"))
    tensors = safetensors.torch.load_file(folder / TENSORS) | {"trained/more": torch.ones(1)}
    rewrite(folder, safetensors.torch.save(tensors))
    with pytest.raises(ValueError, match="rewind and trained hold different tensors: more"):
        Ticket.load(folder)
