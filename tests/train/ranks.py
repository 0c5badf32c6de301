"""What test_ranks.py runs under torchrun in two gloo processes: ``ranks.py FOLDER``. Each writes what it got."""

import dataclasses
import json
import os
import sys
from pathlib import Path

import torch

import graphprune as gp
from graphprune.masks import MaskSet
from graphprune.methods import FitJob, FitResult
from graphprune.train import Fit
from tests.train.tiny import smooth, tiny


def plain(devices: int) -> FitResult:
    """Batches that do not divide evenly, missing labels, no batch norm: one process and two compute the same."""
    data = tiny("binary", train=23, dtype=torch.float64)
    model = smooth(data).double()
    masks = MaskSet.dense(model)
    masks = masks.tighten({name: model.get_parameter(name).abs() for name in masks}, 0.6)
    fit = Fit(epochs=4, lr=0.01, batch_size=6, devices=devices)
    return fit(FitJob(model, data, masks))


def icpg() -> list[gp.Ticket]:
    """Two rounds with batch norm and dropout, from initial weights that a careless user drew on each rank anew."""
    data = tiny(train=30)
    torch.manual_seed(int(os.environ["RANK"]))
    model = gp.models.GIN.for_data(data, hidden=8, layers=2, dropout=0.2)
    predictor = gp.EdgePredictor.for_data(data, hidden=8)
    method = gp.ICPG(rounds=2, edge_rate=0.2, weight_rate=0.4, predictor=predictor)
    return list(method.rounds(model, data, Fit(epochs=3, batch_size=9, devices=2)))


def work(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    result = plain(devices=2)
    found = {"rows": [dict(row) for row in result.history], "epoch": result.epoch, "test": result.test_metric}
    found["tickets"] = [
        [ticket.masks.digest(), ticket.prune(tiny(train=30).test).digest(), ticket.row["test_metric"]]
        for ticket in icpg()
    ]
    torch.save(result.last, folder / f"{rank}.pt")
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
