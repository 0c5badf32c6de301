"""What methods of one training promise beside the contract: which epoch is selected, and what is refused."""

import pytest
import torch

import graphprune as gp
from graphprune.methods import FitJob, FitResult, OneTraining
from graphprune.train import Fit
from tests.contract.methods import KINDS, instance, options
from tests.train.tiny import pictures, tiny

EPOCHS, BATCH = 4, 12
STEPS = 8  # 24 rings or images in batches of 12: 2 steps an epoch
NAMES = [name for name, kind in KINDS.items() if issubclass(kind, OneTraining)]
NETWORKS = {
    "gcn": lambda: (tiny(), gp.models.GCN, {"hidden": 8, "layers": 2}),
    "sage": lambda: (tiny(), gp.models.SAGE, {"hidden": 8, "layers": 2}),
    "gat": lambda: (tiny(), gp.models.GAT, {"hidden": 8, "layers": 2}),
    "mlp": lambda: (pictures(train=24), gp.models.LeNet300, {}),
}


def made(network, seed=0):
    data, kind, options = NETWORKS[network]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return data, kind.for_data(data, **options)


def method(name, **changes):
    values = {"density": 0.3, "stop": 5, "end": STEPS}
    return instance(KINDS[name], **{key: values[key] for key in values.keys() & options(KINDS[name])}, **changes)


def fit(**changes):
    return Fit(**{"epochs": EPOCHS, "batch_size": BATCH, "lr": 0.01, **changes})


@pytest.mark.parametrize(
    "network", ["gat", "mlp", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gcn", "sage"))]
)
@pytest.mark.parametrize("name", NAMES)
def test_the_best_epoch_of_the_final_density_is_selected(name, network):
    data, model = made(network)
    (ticket,) = method(name).rounds(model, data, fit())
    assert ticket.masks.kept == round(0.3 * ticket.masks.total)
    assert set(ticket.masks) == set(gp.prunable()(model).selected) - {"head.weight"}  # what gives the logits stays
    row = ticket.row
    assert row["epochs_trained"] == EPOCHS
    finished = [entry for entry in ticket.history if entry.get("density") == ticket.history[-1].get("density")]
    assert row["val_metric"] == max(entry["val_metric"] for entry in finished)
    assert row["epoch"] == next(entry["epoch"] for entry in finished if entry["val_metric"] == row["val_metric"])


@pytest.mark.parametrize("name", ["fggp", "granet", "rigl", "snip"])
def test_a_residual_network_over_images(name):
    data = pictures(train=24)
    wide = gp.data.ImageData(
        name="padded",
        num_classes=4,
        **{
            split: gp.data.Images(
                torch.nn.functional.interpolate(images.x.expand(-1, 3, -1, -1).float(), 32).byte(),
                images.y,
                mean=[0.3] * 3,
                std=[0.3] * 3,
            )
            for split, images in data.splits.items()
        },
    )
    model = gp.models.ResNet20.for_data(wide)
    shorter = {key: value for key, value in {"stop": 3, "end": 4}.items() if key in options(KINDS[name])}
    (ticket,) = instance(KINDS[name], density=0.1, protect="stem*", **shorter).rounds(model, wide, fit(epochs=2))
    assert ticket.masks.kept == round(0.1 * ticket.masks.total)
    assert not any(key.startswith("stem") for key in ticket.masks)


def test_no_epoch_is_selected_while_the_model_is_denser():
    """The first epoch would win: its validation metric is made the best."""
    data, model = made("mlp")
    seen = []

    def training(job: FitJob) -> FitResult:
        optimizer = torch.optim.SGD(job.model.parameters(), lr=0.05)
        track = job.track()
        with job.attach(optimizer, steps=STEPS) as run:
            for epoch in range(EPOCHS):
                for batch in job.data.train.loader(BATCH):
                    optimizer.zero_grad()
                    torch.nn.functional.cross_entropy(job.model(batch.x), batch.y).backward()
                    optimizer.step()
                seen.append((track.epoch(val=1.0 - epoch / 10), run.masks.density))
        return track.result()

    (ticket,) = method("gmp").rounds(model, data, training)
    assert [best for best, _ in seen] == [False, False, True, False]
    assert [density > 0.301 for _, density in seen] == [True, True, False, False]
    assert ticket.row["epoch"] == 3
    assert [entry["density"] for entry in ticket.history] == [density for _, density in seen]


def test_masks_are_those_of_the_selected_epoch_where_they_go_on_moving():
    data, model = made("mlp")
    masks = []

    def training(job: FitJob) -> FitResult:
        optimizer = torch.optim.SGD(job.model.parameters(), lr=0.5)
        with job.attach(optimizer) as run:
            track = job.track()
            for epoch in range(EPOCHS):
                for batch in job.data.train.loader(BATCH):
                    optimizer.zero_grad()
                    torch.nn.functional.cross_entropy(job.model(batch.x), batch.y).backward()
                    optimizer.step()
                track.epoch(val=1.0 - epoch / 10)
                masks.append(run.masks)
        return track.result()

    (ticket,) = method("granet").rounds(model, data, training)
    assert ticket.row["epoch"] == 3 and ticket.masks == masks[2] and masks[2] != masks[3]
    ticket.masks.verify(ticket.build(model))


def test_a_training_that_does_not_prune_is_refused():
    data, model = made("mlp")

    def forgetful(job: FitJob) -> FitResult:
        track = job.track()
        track.epoch(val=0.5)
        return track.result()

    with pytest.raises(RuntimeError, match=r"attach the optimizer with job\.attach"):
        list(method("fggp").rounds(model, data, forgetful))

    def own(job: FitJob) -> FitResult:
        state = job.model.state_dict()
        return FitResult(state, state, 1, 0.5)

    with pytest.raises(RuntimeError, match=r"job\.track"):
        list(method("fggp").rounds(model, data, own))


def test_a_stop_behind_the_training_is_refused_before_it():
    data, model = made("mlp")
    with pytest.raises(ValueError, match=f"stop=5 lies after the {STEPS // 4 * 2} steps"):
        list(method("fggp").rounds(model, data, fit(epochs=2)))
    with pytest.raises(ValueError, match="in none of the"):

        def too_short(job: FitJob) -> FitResult:
            optimizer = torch.optim.SGD(job.model.parameters(), lr=0.05)
            run, track = job.attach(optimizer), job.track()
            track.epoch(val=0.5)
            run.detach()
            return track.result()

        list(method("fggp").rounds(model, data, too_short))
