"""Reads one ticket of a feed-forward image network: what is left of it, which pixels it looks at, and pictures of both.

python benchmarks/read_masks.py runs/lenet/CELL/round-1 --out benchmarks/results/lenet/NAME

The ticket may be of any method; model and data are those that it names. Dead ends (weights on no path from a pixel to a
class) are removed first, which changes no output but by rounding; numbers are given before and behind that. Weights are
counted without biases, which no method prunes here; how many biases there are, and how many still act, is said beside.
Pixels can be told apart where the first layer is fully connected: only such networks get maps and their symmetry. The
command is recorded as it was typed: name tickets relative to the working directory.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import asdict
from io import BytesIO
from math import isnan, prod
from pathlib import Path
from typing import Any

import torch
from common import environment
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from graphprune import Ticket, data
from graphprune.models.image import ImageClassifier, Shape
from graphprune.reading import Chain, draw_class_maps, draw_importance, draw_pathways, symmetry, trace, trim_
from graphprune.reading.pictures import MOST
from graphprune.ticket.models import model_of
from graphprune.train import evaluate

ORIGIN = ("method", "data", "model", "protocol", "seed", "round", "epoch", "epochs_trained", "val_metric")


def built(ticket: Ticket) -> ImageClassifier:
    """The ticket's network.

    Raises:
        ValueError: a ticket of another model than the package's networks for images.
    """
    model = model_of(ticket.provenance["model"])
    if not isinstance(model, ImageClassifier):
        raise ValueError(f"a ticket of {type(model).__name__}: only the package's networks for images can be read")
    return ticket.build(model)


def numbers(chain: Chain, biases: tuple[int, int]) -> dict[str, Any]:
    """What is left, layer by layer and in all; ``biases`` are all and those that still act."""
    rows, pathways = chain.ledger, chain.pathways()
    total, kept, live = (sum(getattr(row, column) for row in rows) for column in ("total", "kept", "live"))
    return {
        "weights": total,
        "kept_weights": kept,
        "kept_share": kept / total,
        "live_weights": live,
        "live_share": live / total,
        "biases_counted": False,
        "biases": biases[0],
        "acting_biases": biases[1],
        "inputs": len(chain.alive[0]),
        "live_inputs": int(chain.alive[0].sum()),
        "layers": [asdict(row) for row in rows],
        "pathways": [
            {"inputs": len(one.inputs), "outputs": list(one.outputs), "weights": one.weights} for one in pathways
        ],
    }


def acting(model: nn.Module) -> tuple[int, int]:
    """Biases of a network, and those that are not 0."""
    biases = [value for name, value in model.named_parameters() if name.endswith("bias")]
    return sum(bias.numel() for bias in biases), sum(int(bias.count_nonzero()) for bias in biases)


def mirrored(importance: Tensor, shape: Shape) -> dict[str, float | None]:
    """Correlation of a map with its mirror images; None where it is not defined."""
    found = asdict(symmetry(importance.view(shape).sum(0)))
    return {name: None if isnan(value) else value for name, value in found.items()}


def read(ticket: Ticket, root: Path | None) -> tuple[dict[str, Any], dict[str, Figure]]:
    """The ticket's numbers and pictures.

    Args:
        ticket: of a network for images.
        root: where the raw files of its data are; None: the folder of downloads.
    """
    model = built(ticket).eval()
    images = data.load(ticket.provenance["data"]["name"], root=root)
    assert isinstance(images, data.ImageData)  # as the network is one for images
    accuracy = evaluate(model, images.test, images)
    example = images.test.batch(range(256)).x
    chain, outputs = trace(model, ticket.masks, example), model(example).detach()
    trim_(model, ticket.masks, example)
    found = {name: ticket.row[name] for name in ORIGIN} | {"masks": ticket.masks.digest()}
    found |= {"settings": ticket.provenance["settings"], "data_digest": ticket.provenance["data"]["digest"]}
    found |= {"test_accuracy": accuracy, "test_accuracy_trimmed": evaluate(model, images.test, images)}
    found |= {"output_change_by_trimming": float((model(example).detach() - outputs).abs().max())}
    found |= numbers(chain, acting(model))
    figures: dict[str, Figure] = {}
    shape, weights = model.shape, model.state_dict()
    pixels = found["inputs"] == prod(shape)
    if pixels and found["live_weights"]:
        counts, strengths = chain.path_counts().sum(0), chain.path_strengths(weights).sum(0)
        found |= {"paths": int(counts.sum())}
        found |= {"symmetry_of_path_counts": mirrored(counts, shape)}
        found |= {"symmetry_of_path_strengths": mirrored(strengths, shape)}
        figures["paths"] = draw_importance(counts, shape)
        figures["strengths"] = draw_importance(strengths, shape, label="live paths, weighted by |w|")
        figures["classes"] = draw_class_maps(chain.path_products(weights), shape)
    if 1 <= found["live_weights"] <= MOST:
        figures["pathways"] = draw_pathways(chain, weights, shape=shape if pixels else None)
    return found, figures


def save(figure: Figure, file: Path) -> None:
    """As a PNG of 256 colours, a fifth of the bytes of one with all shades."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=120)
    # Rare colours stay: those of single pixels tell which strand is whose.
    method = Image.Quantize.MAXCOVERAGE
    Image.open(drawn).convert("RGB").quantize(256, method, dither=Image.Dither.NONE).save(file, optimize=True)


def main() -> None:
    """Read, draw and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("ticket", type=Path, help="folder of a round")
    options.add_argument("--out", type=Path, required=True, help="folder for numbers.json and the pictures")
    options.add_argument("--root", type=Path, help="folder of the data set's files, unless they were downloaded")
    args = options.parse_args()
    torch.set_num_threads(1)
    found, figures = read(Ticket.load(args.ticket), args.root)
    for key, value in found.items():
        print(f"{key:28s} {value}")
    args.out.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "benchmarks/read_masks.py", *sys.argv[1:]])
    text = {"benchmark": "read_masks", "command": command, "result": found, "environment": environment()}
    (args.out / "numbers.json").write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")
    for name, figure in figures.items():
        save(figure, args.out / f"{name}.png")


if __name__ == "__main__":
    main()
