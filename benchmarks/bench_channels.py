"""What half of the channels gains on conv nets: dense, masked and compacted, in turns.

python benchmarks/bench_channels.py --json benchmarks/results/channels.json

In each layer, or group of layers that are added up, the channels of smallest weights go, with their biases and norms;
the head keeps its rows. Biases and norms are random, as if trained, so that a channel that is not wholly masked would
be there as a constant. ``inner`` prunes ResNet-20 as the literature on filters does: only the first convolution of each
block, whose channels nothing else adds to. ``off by`` is the largest difference of outputs from the masked network's on
fresh images, as a share of the largest output; ``by MACs`` what the multiply-accumulates alone would gain.
Seconds are the CPU's where one thread computes, else by the clock.
"""

from __future__ import annotations

from typing import Any

import torch
from common import as_trained, own_time, parser, report, take_turns
from torch import Tensor, nn

from graphprune import MaskSet, compact, models, prunable
from graphprune.compaction import coupled_channels
from graphprune.masks import magnitude
from graphprune.measure import count_macs, file_bytes, peak_bytes

CASES = {
    "LeNet-5": ("lenet-5", (1, 28, 28), ["head.*"]),
    "ResNet-20": ("resnet-20", (3, 32, 32), ["head.*"]),
    "ResNet-20, inner": ("resnet-20", (3, 32, 32), ["head.*", "stem.*", "*.second.*"]),
    "VGG-19": ("vgg-19", (3, 32, 32), ["head.*"]),
}


def case(name: str, density: float, batches: list[int], repeats: int, seed: int) -> dict[str, Any]:
    """One network in three forms."""
    key, shape, exclude = CASES[name]
    torch.manual_seed(seed)
    model = as_trained(models.MODELS[key](shape, 10)).eval()
    masked = models.MODELS[key](shape, 10).eval()
    masked.load_state_dict(model.state_dict())
    select, few = prunable(exclude=exclude), torch.randn(2, *shape)
    unit = coupled_channels(masked, few, select)
    masks = MaskSet.dense(masked, select, unit=unit)
    scores = magnitude(dict(masked.named_parameters()), {}, masks)
    masks.tighten(scores, density, scope="layer", unit=unit).apply_(masked)
    small = compact(masked, few)
    rows: dict[str, Any] = {
        "parameters, share of dense": _size(small) / _size(model),
        "file, share of dense": file_bytes(small) / file_bytes(model),
        "by MACs": count_macs(model, few).total / count_macs(small, few).total,
    }
    with torch.no_grad():
        fresh = torch.randn(64, *shape)
        expected = masked(fresh)
        rows["off by"] = float((small(fresh) - expected).abs().max() / expected.abs().max())
        for batch in batches:
            x = torch.randn(batch, *shape)
            seconds = take_turns(
                {"dense": lambda: model(x), "masked": lambda: masked(x), "compacted": lambda: small(x)},  # noqa: B023
                repeats,
                clock=own_time(),
            )
            peak = {kind: _peak(net, x) for kind, net in (("dense", model), ("compacted", small))}
            rows |= {f"batch {batch}: {kind}, ms": 1e3 * value for kind, value in seconds.items()}
            rows[f"batch {batch}: faster"] = seconds["dense"] / seconds["compacted"]
            rows[f"batch {batch}: masked, faster"] = seconds["dense"] / seconds["masked"]
            rows[f"batch {batch}: peak memory, share of dense"] = peak["compacted"] / peak["dense"]
    return rows


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _peak(model: nn.Module, x: Tensor) -> int:
    return peak_bytes(lambda: model(x), [*model.parameters(), *model.buffers(), x])


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=21)
    options.add_argument("--density", type=float, default=0.5, help="share of each layer's channels that is kept")
    options.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    options.add_argument("--all-threads", type=int, nargs="+", default=[1, 2])
    args = options.parse_args()
    rows: dict[str, Any] = {}
    for threads in args.all_threads:
        torch.set_num_threads(threads)
        for name in CASES:
            found = case(name, args.density, args.batches, args.repeats, args.seed)
            rows |= {f"{name}, {threads} threads: {key}": value for key, value in found.items()}
    report("channels", args, rows)


if __name__ == "__main__":
    main()
