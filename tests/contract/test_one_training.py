"""What every method of one training promises, on networks over graphs and over images, in the reference training."""

import copy
import math

import pytest
import torch

import graphprune as gp
from graphprune.methods import METHODS, FitJob, FitResult, OneTraining
from graphprune.train import Fit, evaluate
from tests.train.tiny import pictures, tiny

EPOCHS, BATCH = 4, 12
STEPS = 8  # 24 rings or images in batches of 12: 2 steps an epoch
PLAN = {"stop": 5, "every": 1}
CHOICES = {
    "fggp": {**PLAN, "candidate_ratio": 0.7},
    "gmp": PLAN,
    "annealed": PLAN,
    "granet": {**PLAN, "end": STEPS},
    "gumbel": {"stop": 5},
    "rigl": PLAN,
    "set": PLAN,
    "random-at-init": {},
    "magnitude-at-init": {},
    "snip": {},
    "grasp": {},
    "synflow": {"iterations": 10},
}
NETWORKS = {
    "gcn": lambda: (tiny(), gp.models.GCN, {"hidden": 8, "layers": 2}),
    "gin": lambda: (tiny(), gp.models.GIN, {"hidden": 8, "layers": 2}),
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
    return METHODS[name](**{"density": 0.3, "seed": 3, **CHOICES[name], **changes})


def fit(**changes):
    return Fit(**{"epochs": EPOCHS, "batch_size": BATCH, "lr": 0.01, **changes})


def test_the_choices_are_all_there_are():
    assert set(CHOICES) == {name for name, kind in METHODS.items() if issubclass(kind, OneTraining)}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", CHOICES)
def test_one_ticket_of_the_exact_count(name, network, tmp_path):
    data, model = made(network)
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    (ticket,) = method(name).rounds(model, data, fit())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())
    assert ticket.masks.kept == round(0.3 * ticket.masks.total)
    assert set(ticket.masks) == set(gp.prunable()(model).selected) - {"head.weight"}  # what gives the logits stays
    row = ticket.row
    assert row["weight_sparsity"] == 1 - ticket.masks.kept / ticket.masks.total
    assert row["epochs_trained"] == EPOCHS and row["edge_sparsity_test"] == 0
    assert all(torch.equal(value, before[key]) for key, value in ticket.rewind.items())
    # The masks are those of the weights that were measured.
    built = ticket.build(model)
    ticket.masks.verify(built)
    assert evaluate(built, data.test, data) == row["test_metric"]
    if row["epoch"] < EPOCHS:
        assert row["val_metric"] == max(
            entry["val_metric"]
            for entry in ticket.history
            if math.isclose(entry.get("density", ticket.masks.density), ticket.masks.density)
        )
    ticket.save(tmp_path / "ticket")
    again = gp.Ticket.load(tmp_path / "ticket")
    assert again.masks == ticket.masks and again.row == ticket.row
    (twin,) = method(name).rounds(copy.deepcopy(model), data, fit())
    assert twin.masks == ticket.masks and all(torch.equal(twin.last[key], value) for key, value in ticket.last.items())
    assert list(method(name).rounds(model, data, fit(), after=again)) == []


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
    shorter = {"snip": {}, "granet": {"stop": 3, "end": 4}}.get(name, {"stop": 3})
    (ticket,) = method(name, density=0.1, protect="stem*", **shorter).rounds(model, wide, fit(epochs=2))
    assert ticket.masks.kept == round(0.1 * ticket.masks.total)
    assert not any(key.startswith("stem") for key in ticket.masks)


@pytest.mark.parametrize("name", ["fggp", "granet", "rigl", "snip"])
def test_half_precision_in_the_reference_training(name):
    data, model = made("mlp")
    (ticket,) = method(name).rounds(model, data, fit(precision="bf16-mixed"))
    assert ticket.masks.kept == round(0.3 * ticket.masks.total)


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
    with pytest.raises(ValueError, match=f"stop=5 lies behind the {STEPS // 4 * 2} steps"):
        list(method("fggp").rounds(model, data, fit(epochs=2)))
    with pytest.raises(ValueError, match="in none of the"):

        def too_short(job: FitJob) -> FitResult:
            optimizer = torch.optim.SGD(job.model.parameters(), lr=0.05)
            run, track = job.attach(optimizer), job.track()
            track.epoch(val=0.5)
            run.detach()
            return track.result()

        list(method("fggp").rounds(model, data, too_short))


def test_iterative_methods_prune_networks_over_images_too():
    data, model = made("mlp")
    for name, extra in (("imp", {}), ("random", {"edge_rate": 0})):
        tickets = list(METHODS[name](rounds=2, weight_rate=0.5, **extra).rounds(model, data, fit()))
        assert tickets[-1].masks.kept == round(0.25 * tickets[-1].masks.total)
    (ugs,) = METHODS["ugs"](rounds=1, edge_rate=0, weight_rate=0.5, weight_l1=1e-3).rounds(model, data, fit())
    assert ugs.masks.kept == round(0.5 * ugs.masks.total)
    (dense,) = METHODS["dense"]().rounds(model, data, fit())
    assert dense.masks.density == 1
    with pytest.raises(ValueError, match="has no edges"):
        list(METHODS["no-edges"]().rounds(model, data, fit()))
    with pytest.raises(ValueError, match="has no edges"):
        list(METHODS["random"](rounds=1, edge_rate=0.1).rounds(model, data, fit()))
