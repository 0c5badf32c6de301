"""Lightning's Trainer as the training function of methods: the recipe of docs/your-loop.md, with what it promises."""

from contextlib import ExitStack
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch_geometric.loader import DataLoader

import graphprune as gp
from graphprune.data import GraphData
from graphprune.methods.core.fit import state_digest
from tests.train.tiny import smooth, tiny


class Task(pl.LightningModule):
    """A user's module, around the network of a job."""

    def __init__(self, job: gp.FitJob, stack: ExitStack) -> None:
        super().__init__()
        self.net, self.job, self.stack, self.track = job.model, job, stack, job.track()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.job.param_groups(lr=0.02))
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs)]

    def on_train_start(self) -> None:
        steps = int(self.trainer.estimated_stepping_batches)
        self.stack.enter_context(self.job.attach(self.optimizers(use_pl_optimizer=False), steps=steps))

    def training_step(self, batch: Any, _number: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.net(batch), batch.y)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.y))
        return loss

    def validation_step(self, batch: Any, _number: int) -> None:
        right = (self.net(batch).argmax(1) == batch.y).float().mean()
        self.log("accuracy", right, batch_size=len(batch.y))

    test_step = validation_step

    def on_train_epoch_end(self) -> None:
        seen = self.trainer.callback_metrics
        self.track.epoch(float(seen["accuracy"]), loss=float(seen["loss"]))


def fit(job: gp.FitJob) -> gp.FitResult:
    torch.manual_seed(job.seed(0))
    loaders = [DataLoader(job.data.splits[name], 8, shuffle=name == "train") for name in ("train", "val", "test")]
    trainer = pl.Trainer(
        max_epochs=4,
        accelerator="cpu",
        devices=1,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with ExitStack() as stack:
        task = Task(job, stack)
        trainer.fit(task, *loaders[:2])
    return task.track.result(test=lambda: trainer.test(task, loaders[2], verbose=False)[0]["accuracy"])


def network(data: GraphData) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return gp.models.GIN.for_data(data, hidden=8, layers=2)


def test_icpg_runs_on_lightnings_trainer_and_repeats_itself() -> None:
    data = tiny(train=40)
    predictor = gp.EdgePredictor.for_data(data, hidden=8)
    icpg = gp.ICPG(rounds=2, edge_rate=0.2, weight_rate=0.4, predictor=predictor)
    model = network(data)
    tickets = list(icpg.rounds(model, data, fit))
    for ticket in tickets:
        ticket.masks.verify(ticket.build(model))
        pruned = ticket.prune(data.test)
        assert ticket.row["test_metric"] == pytest.approx(gp.train.evaluate(ticket.build(model), pruned, data))
        assert ticket.row["epochs_trained"] == 8
    assert tickets[-1].row["edge_sparsity_test"] > tickets[0].row["edge_sparsity_test"] > 0.1
    again = list(icpg.rounds(model, data, fit, after=tickets[0]))
    assert [state_digest(ticket.trained) for ticket in tickets[1:]] == [
        state_digest(ticket.trained) for ticket in again
    ]


def test_weights_go_while_lightning_trains() -> None:
    data = tiny(train=40)
    model = smooth(data)
    (ticket,) = gp.FGGP(density=0.3, stop=16, every=4).rounds(model, data, fit)  # Lightning passes a closure
    assert ticket.masks.kept == round(0.3 * ticket.masks.total)
    ticket.masks.verify(ticket.build(model))
    with pytest.raises(ValueError, match="lies after the 20 steps"):
        list(gp.FGGP(density=0.3, stop=21, every=4).rounds(model, data, fit))
