"""ONNX for the operations of torch with which networks over graphs sum over arcs, and a check by ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any
from warnings import catch_warnings

import torch
from torch import Tensor
from torch.export import ExportedProgram

_LAST = (1 << 63) - 1  # where a slice goes on to the end


def write(program: ExportedProgram, names: Sequence[str], path: str | Path) -> None:
    """Write a program of torch as an ONNX file.

    Args:
        program: of any number of inputs.
        names: of these; empty: ``input_0``, ``input_1`` and so on.
        path: of the file.

    Raises:
        ImportError: the ``onnx`` extra is not installed.
        Exception: whatever torch's exporter raises of an operation that it cannot translate.
    """
    try:
        for needed in ("onnxscript", "onnxruntime"):
            import_module(needed)
    except ImportError as error:
        raise ImportError(f"ONNX files need {error.name}: pip install 'graphprune[onnx]'") from error
    inputs = list(names) or [f"input_{number}" for number in range(len(program.graph_signature.user_inputs))]
    # They count up optional packages that are not there, and what they make of empty lists.
    loud = {logger: logger.level for logger in map(logging.getLogger, ("torch.onnx", "onnx_ir"))}
    for logger in loud:
        logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()), catch_warnings(action="ignore"):  # the exporter's own
            made = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=inputs, custom_translation_table=_translations()
            )
    finally:
        for logger, level in loud.items():
            logger.setLevel(level)
    assert made is not None
    made.save(path)


def run(path: str | Path, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What ONNX Runtime makes of inputs, on one thread."""
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = zip(session.get_inputs(), inputs, strict=True)
    found = session.run(None, {each.name: value.detach().cpu().numpy() for each, value in given})
    return [torch.from_numpy(each) for each in found]


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """By operation of torch, as far as torch's exporter has none of its own; in the operators of opset 18."""
    op: Any = import_module("onnxscript").opset18

    def ints(*values: int) -> Any:
        return op.Constant(value_ints=list(values))

    def part(values: Any, start: int, stop: int) -> Any:
        return op.Slice(values, ints(start), ints(stop), ints(0))

    def sort(values: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
        return op.TopK(values, op.Shape(values), axis=0, largest=int(descending), sorted=1)  # equals keep their order

    def bincount(values: Any, weights: Any = None, minlength: Any = 0) -> Any:
        least = ints(minlength) if isinstance(minlength, int) else op.Reshape(minlength, ints(1))
        most = op.ReduceMax(op.Concat(values, ints(-1), axis=0), keepdims=1)
        zeros = op.Expand(ints(0), op.Max(least, op.Add(most, ints(1))))
        return op.ScatterElements(zeros, values, op.Expand(ints(1), op.Shape(values)), axis=0, reduction="add")

    def owner(ptr: Any, count: Any) -> Any:
        """The segment of each of ``count`` rows: how many segments have ended before it."""
        ends = part(ptr, 1, _LAST)
        marks = op.Expand(ints(0), op.Add(count, ints(1)))
        marks = op.ScatterElements(marks, ends, op.Expand(ints(1), op.Shape(ends)), axis=0, reduction="add")
        return op.Slice(op.CumSum(marks, op.Constant(value_int=0)), ints(0), count, ints(0))

    def reduced(rows: Any, ptr: Any, how: str, start: float) -> Any:
        """Each segment's rows ``(E, F)`` made one."""
        segments = op.Sub(op.Shape(ptr), ints(1))
        shape = op.Concat(segments, part(op.Shape(rows), 1, _LAST), axis=0)
        first = op.Expand(op.CastLike(op.Constant(value_float=start), rows), shape)
        place = op.Unsqueeze(owner(ptr, part(op.Shape(rows), 0, 1)), ints(1))
        return op.ScatterND(first, place, rows, reduction=how)

    def embedding_bag(
        table: Any,
        rows: Any,
        offsets: Any,
        scale_grad_by_freq: bool = False,
        mode: int = 0,
        sparse: bool = False,
        weight: Any = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> Any:
        if mode:
            raise NotImplementedError("embedding bags are translated where they are sums")
        found = op.Gather(table, rows, axis=0)
        if weight is not None:
            found = op.Mul(found, op.Unsqueeze(weight, ints(1)))
        ptr = offsets if include_last_offset else op.Concat(offsets, op.Shape(rows), axis=0)
        unread = part(offsets, 0, 0), op.Identity(offsets), part(offsets, 0, -1)
        return reduced(found, ptr, "add", 0.0), *unread

    def segment_reduce(
        values: Any,
        reduce: str,
        lengths: Any = None,
        indices: Any = None,
        offsets: Any = None,
        axis: int = 0,
        unsafe: bool = False,
        initial: Any = None,
    ) -> Any:
        return reduced(values, offsets, reduce, float("-inf") if reduce == "max" else float("inf"))

    aten = torch.ops.aten
    return {
        aten.sort.stable: sort,
        aten.bincount.default: bincount,
        aten.embedding_bag.padding_idx: embedding_bag,
        aten._embedding_bag_forward_only.default: embedding_bag,
        aten.segment_reduce.default: segment_reduce,
    }
