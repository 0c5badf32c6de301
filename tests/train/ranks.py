"""What test_ranks.py runs under torchrun in two gloo processes: ``ranks.py FOLDER``. Each writes what it got."""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

import graphprune as gp
from graphprune.masks import MaskSet
from graphprune.methods import FitJob, FitResult
from graphprune.methods.core.fit import state_digest
from graphprune.train import Fit
from tests.train.tiny import Ends, smooth, tiny


def plain(devices: int) -> FitResult:
    """Batches that do not divide evenly, missing labels, no batch norm: one process and two compute the same."""
    data = tiny("binary", train=23, dtype=torch.float64)
    model = smooth(data).double()
    masks = MaskSet.dense(model)
    masks = masks.tighten({name: model.get_parameter(name).abs() for name in masks}, 0.6)
    fit = Fit(epochs=4, lr=0.01, batch_size=6, devices=devices)
    return fit(FitJob(model, data, masks))


OPTIONS = {"schedule": "cosine", "warmup": 0.2, "clip": 0.1, "ema": 0.7, "accumulate": 3}


def options(devices: int) -> FitResult:
    """The same with all options of a training, weighed labels and a last step of fewer batches."""
    data = tiny("binary", train=23, dtype=torch.float64)
    model = smooth(data).double()
    masks = MaskSet.dense(model)
    masks = masks.tighten({name: model.get_parameter(name).abs() for name in masks}, 0.6)
    fit = Fit(epochs=4, lr=0.05, batch_size=6, optimizer="sgd", pos_weight="balanced", devices=devices, **OPTIONS)
    return fit(FitJob(model, data, masks))


def masks(devices: int) -> dict[str, list[list[Any]]]:
    """Which weights and edges the rounds of some methods keep, on batches that do not divide evenly."""
    data = tiny(train=23, dtype=torch.float64)
    fit = Fit(epochs=3, lr=0.02, batch_size=6, weight_decay=1e-3, devices=devices)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        predictor = Ends().double()
    rates = {"rounds": 2, "edge_rate": 0.2, "weight_rate": 0.3}
    found = {}
    for method in (
        gp.ICPG(predictor=predictor, **rates),
        gp.UGS(unseen="random", edge_l1=1e-3, weight_l1=1e-3, noise=0.01, **rates),
        gp.IMP(rounds=2, weight_rate=0.3),
        gp.GICP(
            predictor=predictor, densities=(0.7, 0.5), train_densities="lowest", weight_density=0.4, stop=8, every=2
        ),
        gp.FGGP(density=0.3, stop=8, every=2),
        gp.GraNet(density=0.3, stop=8, every=2, start_density=0.5, end=12),
        gp.SET(density=0.3, stop=8, every=2),
    ):
        numbered = gp.graphs.number_units(data.train, "pair")
        found[method.name] = [
            [
                ticket.masks.digest(),
                ticket.edges.prune(numbered).edge_index.tolist(),
                ticket.prune(data.test).edge_index.tolist(),
            ]
            for ticket in method.rounds(smooth(data).double(), data, fit)
        ]
    return found


def gumbel() -> list[str]:
    """Masks of gates that each rank samples for itself."""
    data = tiny(train=23, dtype=torch.float64)
    fit = Fit(epochs=4, lr=0.02, batch_size=6, devices=2)
    return [t.masks.digest() for t in gp.Gumbel(density=0.3, stop=10).rounds(smooth(data).double(), data, fit)]


def gicp() -> list[str]:
    """Tickets of a training in which each rank draws densities of its own."""
    data = tiny(train=23)
    torch.manual_seed(int(os.environ["RANK"]))
    predictor = gp.EdgePredictor.for_data(data, hidden=8, score="bilinear", walks=4)
    method = gp.GICP(predictor=predictor, densities=(0.7, 0.4), weight_density=0.4, stop=8, every=2)
    fit = Fit(epochs=4, lr=0.02, batch_size=6, devices=2)
    tickets = method.rounds(gp.models.GIN.for_data(data, hidden=8, layers=2), data, fit)
    return [state_digest(ticket.trained) + ticket.masks.digest() for ticket in tickets]


def learned() -> list[str]:
    """Tickets of methods that add a loss for edges which each rank weighs by noise of its own."""
    data = tiny(train=23)
    torch.manual_seed(int(os.environ["RANK"]))
    model, predictor = gp.models.GIN.for_data(data, hidden=8, layers=2), gp.EdgePredictor.for_data(data, hidden=8)
    fit = Fit(epochs=3, lr=0.02, batch_size=6, devices=2)
    methods = [kind(rounds=2, edge_rate=0.2, predictor=predictor) for kind in (gp.GSAT, gp.PGExplainer)]
    tickets = [ticket for method in methods for ticket in method.rounds(model, data, fit)]
    return [state_digest(ticket.trained) + ticket.prune(data.test).digest() for ticket in tickets]


def icpg(**options: Any) -> list[gp.Ticket]:
    """Two rounds with batch norm and dropout, from initial weights that a careless user drew on each rank anew."""
    data = tiny(train=30)
    torch.manual_seed(int(os.environ["RANK"]))
    model = gp.models.GIN.for_data(data, hidden=8, layers=2, dropout=0.2)
    predictor = gp.EdgePredictor.for_data(data, hidden=8)
    method = gp.ICPG(rounds=2, edge_rate=0.2, weight_rate=0.4, predictor=predictor)
    return list(method.rounds(model, data, Fit(epochs=3, batch_size=9, devices=2, **options)))


def work(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    result = plain(devices=2)
    found = {"rows": [dict(row) for row in result.history], "epoch": result.epoch, "test": result.test_metric}
    found["masks"] = masks(devices=2)
    found["gumbel"] = gumbel()
    found["gicp"] = gicp()
    found["learned"] = learned()
    found["tickets"] = [
        [ticket.masks.digest(), ticket.prune(tiny(train=30).test).digest(), ticket.row["test_metric"]]
        for ticket in icpg()
    ]
    found["averaged"] = [[state_digest(ticket.trained), ticket.masks.digest()] for ticket in icpg(**OPTIONS)]
    torch.save(result.last, folder / f"{rank}.pt")
    torch.save(options(devices=2).last, folder / f"{rank}-options.pt")
    (folder / f"{rank}.json").write_text(json.dumps(found))
    refused = 0
    for wrong in ({"batch_size": 1}, {"devices": 1}):
        try:
            fit = dataclasses.replace(Fit(epochs=1, devices=2), **wrong)
            data = tiny()
            model = smooth(data)
            fit(FitJob(model, data, MaskSet.dense(model)))
        except ValueError:
            refused += 1
    if refused != 2:
        raise AssertionError("settings that do not suit two processes went unnoticed")


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(Path(sys.argv[1]))
    torch.distributed.destroy_process_group()
    # The wrapper's reference cycles keep gloo's threads alive, which has aborted an interpreter that was shutting down.
    os._exit(0)
