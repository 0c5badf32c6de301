"""CLAD as a method: its trainings, its ticket, what it learns, and bad input."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import graphprune as gp
from graphprune.data import ImageData, Images
from graphprune.measure import count_macs
from graphprune.methods import FitResult
from graphprune.methods.clad import CLAD
from graphprune.methods.clad.attention import Distillation
from graphprune.methods.clad.gated import _steps
from graphprune.train import Fit, evaluate
from tests.methods.test_clad_parts import ResNet8
from tests.train.tiny import pictures, tiny


def fit(**changes):
    return Fit(**{"epochs": 2, "batch_size": 16, "lr": 0.01, **changes})


def method(**changes):
    return CLAD(**{"target": 0.5, "criterion_epochs": 2, "criterion_batch": 16, "seed": 3, **changes})


def residual(data, hidden=8):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ResNet8.for_data(data, hidden=hidden)


def graph_network(data, kind=gp.models.GCN, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind.for_data(data, hidden=16, layers=2, **options)


def best_of(data):
    return lambda metric: metric if data.higher_is_better else -metric


DATA = {
    "images": lambda: (data := pictures(train=48), residual(data)),
    "gcn": lambda: (data := tiny(), graph_network(data)),
    "gin-binary": lambda: (data := tiny("binary"), graph_network(data, gp.models.GIN)),
    "sage-regression": lambda: (data := tiny("regression"), graph_network(data, gp.models.SAGE)),
}


@pytest.mark.parametrize("kind", DATA)
def test_one_ticket_that_compacts_to_the_target(kind, tmp_path):
    data, model = DATA[kind]()
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    (ticket,) = method().rounds(model, data, fit())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state()) and model.training
    assert not any(module._forward_hooks for module in model.modules())

    built = ticket.build(model)
    example = data.val.batch(range(6))
    example = example.x if kind == "images" else example
    small = gp.compact(built, example)
    row = ticket.row
    assert row["macs_kept"] <= 0.5
    if kind == "images":  # each image costs the same
        share = count_macs(small, example).total / count_macs(model, example).total
        assert row["macs_kept"] == pytest.approx(share, abs=1e-12) and share > 0.49
    assert row["channels_kept"] < row["channels_total"] and row["method"] == "clad"
    assert evaluate(built, data.test, data) == pytest.approx(row["test_metric"])
    # Biases and norms go with their channels: in the places of what is gone there is nothing to move elsewhere.
    assert {name.rpartition(".")[2] for name in ticket.masks} >= {"weight", "bias"}

    phases = [entry["phase"] for entry in ticket.history]
    assert phases == ["dense"] * 2 + ["criterion"] * 2 + ["ticket"] * 2
    assert row["epochs_search"] == 4 and row["epochs_trained"] == 6
    assert math.isfinite(row["teacher_test_metric"])
    assert row["teacher_val_metric"] == max((entry["val_metric"] for entry in ticket.history[:2]), key=best_of(data))
    ticket.save(tmp_path / "ticket")
    again = gp.Ticket.load(tmp_path / "ticket")
    assert again.masks == ticket.masks and again.row == ticket.row
    assert list(method().rounds(model, data, fit(), after=again)) == []
    (twin,) = method().rounds(copy.deepcopy(model), data, fit())
    assert twin.masks == ticket.masks and all(torch.equal(twin.last[key], value) for key, value in ticket.last.items())


def test_fine_tuning_starts_from_the_teacher():
    data, model = DATA["images"]()
    phases = []

    def training(job):
        phases.append((job.phase, copy.deepcopy(job.model.state_dict()), job.masks))
        return fit(epochs=1)(job)

    (ticket,) = method(criterion="l2").rounds(model, data, training)
    (dense, fresh, _), (tuned, start, masks) = phases
    assert (dense, tuned) == ("dense", "ticket") and masks == ticket.masks
    assert all(torch.equal(value, fresh[name]) for name, value in model.state_dict().items())
    for name, value in ticket.rewind.items():
        assert torch.equal(start[name], value.masked_fill(~masks[name], 0) if name in masks else value)
    teacher = ticket.rewind
    (again,) = method(criterion="l2", teacher=teacher).rounds(model, data, training)
    assert len(phases) == 3 and again.masks == ticket.masks
    assert [entry["phase"] for entry in again.history] == ["ticket"] and "teacher_val_metric" not in again.row
    settings = again.provenance["settings"]
    assert settings["teacher"] != ticket.provenance["settings"]["teacher"] and len(settings["teacher"]) == 64
    with pytest.raises(ValueError, match="cannot continue"):
        list(method(criterion="l2").rounds(model, data, fit(), after=again))


@pytest.mark.parametrize("criterion", ["l1", "l2", "geometric-median", "mixture", "free", "learner"])
@pytest.mark.parametrize("distillation", [0.0, 100.0])
def test_every_ablation(criterion, distillation):
    data, model = DATA["images"]()
    (ticket,) = method(criterion=criterion, distillation=distillation).rounds(model, data, fit(epochs=1))
    assert 0.49 <= ticket.row["macs_kept"] <= 0.5
    learned = [entry for entry in ticket.history if entry["phase"] == "criterion"]
    assert len(learned) == (0 if criterion in ("l1", "l2", "geometric-median") else 2)


def test_without_distillation_nothing_is_compared(monkeypatch):
    data, model = DATA["images"]()
    monkeypatch.setattr(Distillation, "loss", None)
    (ticket,) = method(distillation=0).rounds(model, data, fit(epochs=1))
    assert ticket.row["macs_kept"] <= 0.5
    with pytest.raises(TypeError):
        list(method(distillation=1).rounds(model, data, fit(epochs=1)))


def test_a_loop_of_ones_own():
    data, model = DATA["images"]()

    def training(job):
        optimizer = torch.optim.SGD(job.model.parameters(), lr=0.05)
        track = job.track()
        with job.attach(optimizer):
            for batch in job.data.train.loader(16):
                optimizer.zero_grad()
                functional.cross_entropy(job.model(batch.x), batch.y).backward()
                optimizer.step()
            track.epoch(val=evaluate(job.model, job.data.val, job.data))
        return track.result()

    (ticket,) = method(teacher=None).rounds(model, data, training)
    assert math.isnan(ticket.row["test_metric"]) and ticket.row["macs_kept"] <= 0.5
    with pytest.raises(TypeError, match="FitResult"):
        list(method().rounds(model, data, lambda job: None))
    assert FitResult is not None


def test_distillation_reaches_the_fine_tuning():
    """With its weight above all else the network keeps looking where the teacher does."""
    data, model = DATA["images"]()
    apart = {}
    for weight in (0.0, 1e5):
        plan = method(criterion="l2", distillation=weight, stages="stages.*")
        (ticket,) = plan.rounds(model, data, fit(epochs=6, lr=0.003))
        teacher = copy.deepcopy(model)
        teacher.load_state_dict(ticket.rewind)
        student = ticket._loaded(model, ticket.last)
        loss = Distillation(student.eval(), teacher, ["stages.0", "stages.1", "stages.2"], 1.0)
        student(x := data.train.batch(range(48)).x)
        apart[weight] = float(loss.loss(x).detach())
    assert apart[1e5] < 0.7 * apart[0.0]


class Planted(nn.Module):
    """Half of the filters, those with a mark in their weights, go nowhere, though they are the largest."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 16, 4, stride=4, bias=False), nn.BatchNorm2d(16)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        return self.head(functional.relu(self.norm(self.first(x))).flatten(1))


@pytest.mark.parametrize(("criterion", "right"), [("learner", True), ("free", True), ("l1", False), ("l2", False)])
def test_it_learns_which_filters_are_needed(criterion, right):
    data = pictures(train=96)
    torch.manual_seed(0)
    model = Planted()
    marked = torch.arange(16) % 2 == 0
    with torch.no_grad():
        model.first.weight[marked, :, 0] += 1.5
        model.head.weight.view(4, 16, 4)[:, marked] = 0
    free = [parameter for parameter in model.parameters() if parameter is not model.first.weight]
    optimizer, useless = torch.optim.Adam(free, lr=0.02), marked.repeat_interleave(4)
    for _ in range(40):
        batch = data.train.batch(range(96))
        optimizer.zero_grad()
        functional.cross_entropy(model(batch.x), batch.y).backward()
        model.head.weight.grad[:, useless] = 0
        optimizer.step()
    plan = method(
        criterion=criterion,
        teacher=model.state_dict(),
        criterion_epochs=40,
        distillation=0,
        criterion_lr=0.01,
        layer_floor=0.0,
    )
    (ticket,) = plan.rounds(model, data, fit(epochs=1))
    kept = ticket.masks["first.weight"].flatten(1).any(1)
    assert int(kept.sum()) == 8
    assert (int(kept[marked].sum()) == 0) == right


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"target": 0.0}, "target must lie between 0 and 1, got 0.0"),
        ({"target": 1.0}, "target must lie between 0 and 1, got 1.0"),
        ({"target": math.nan}, "target must lie between 0 and 1, got nan"),
        ({"target": "0.5"}, "target must be a number, got '0.5'"),
        ({"target": None}, "target must be a number"),
        ({"criterion": "l3"}, "criterion must be one of learner, l1, l2, geometric-median, mixture, free, got 'l3'$"),
        ({"distillation": "a"}, "distillation must be a number"),
        ({"stages": 3}, "stages must be names of modules, got 3"),
        ({"stages": ["convs.0", 1]}, "stages must be names of modules"),
        ({"criterion_lr": "a"}, "criterion_lr must be a number, got 'a'"),
        ({"layer_floor": "a"}, "layer_floor must be a number"),
        ({"learner_norms": "no"}, "learner_norms must be True or False, got 'no'"),
        ({"seed": "a"}, "seed must be a whole number, got 'a'"),
        ({"teacher": nn.Linear(1, 1)}, r"teacher must be .* got Linear: pass model.state_dict\(\)"),
        ({"teacher": "teacher.pt"}, "teacher must be .* got str: pass model.state_dict"),
        ({"teacher": {"weight": 1.0}}, "teacher must be .* got dict: pass model.state_dict"),
        ({"distillation": -1}, "distillation must be 0 or more"),
        ({"distillation": math.inf}, "distillation must be 0 or more"),
        ({"criterion_epochs": 0}, "criterion_epochs"),
        ({"criterion_lr": 0.0}, "criterion_lr must be above 0"),
        ({"macs_weight": math.nan}, "macs_weight must be 0 or more"),
        ({"layer_floor": 1.0}, "layer_floor"),
        ({"learner_hidden": 0}, "learner_hidden"),
    ],
)
def test_options_out_of_range(changes, text):
    with pytest.raises(ValueError, match=text):
        method(**changes)


def broken(model, value):
    """A teacher with one value that is no number."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["head.weight"][0, 0] = value
    return state


class Rows(nn.Module):
    """A network over the rows of an image, one behind the other."""

    def __init__(self, core) -> None:
        super().__init__()
        self.first, self.core, self.head = nn.Linear(8, 5), core, nn.Linear(6, 4)

    def forward(self, x):
        out = self.core(self.first(x.flatten(1).view(-1, 8, 8)).relu())
        return self.head((out[0] if isinstance(out, tuple) else out).mean(1))


class Attention(nn.Module):
    """Of plain tensors: dead channels of queries and keys are constants, which products with each other read."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = nn.Linear(5, 8), nn.Linear(5, 8), nn.Linear(5, 8), nn.Linear(8, 6)

    def forward(self, x):
        query, key = self.query(x).sigmoid(), self.key(x).sigmoid()
        return self.out((query @ key.transpose(1, 2)).softmax(-1) @ self.value(x))


class Checked(nn.Module):
    """Counts its inputs, which no operation shows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 6)

    def forward(self, x):
        assert len(self.inner.weight.t()) == 5, "five inputs"
        return self.inner(x)


class Shuffled(nn.Module):
    """Its forward has the number of its channels written down."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.first(x).relu().view(-1, 2, 4, 8, 8).transpose(1, 2).reshape(-1, 8, 8, 8)
        return self.head(self.second(x).relu().mean((2, 3)))


def test_what_it_cannot_prune_is_refused_before_anything_is_trained():
    data, model = DATA["images"]()
    other = residual(data, hidden=4).state_dict()
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    other_channels = "compaction removes other channels of this .*protect the weights.* half of them masked"
    for plan, network, text in (
        (method(teacher=other), model, r"the teacher is of another architecture than this ResNet8, in which .*shape"),
        (method(teacher={"weight": torch.ones(1)}), model, "teacher is of another architecture"),
        (method(stages="blocks.*"), model, "matches no module of ResNet8"),
        (method(stages="head"), model, "no maps over pixels"),
        (method(distillation=0), flat, r"nothing to prune in Sequential(.|\n)*head: it gives what leaves the model"),
        (method(target=0.05, layer_floor=0.5), model, "target=0.05 cannot be reached"),
        (method(protect="stages.*"), model, "no channel of ResNet8 can be removed"),
        (method(device="nowhere"), model, "device='nowhere' is not there"),
        (method(teacher=broken(model, math.nan)), model, "teacher has values that are not finite in 'head.weight'"),
        (method(teacher=broken(model, math.inf)), model, "teacher has values that are not finite in 'head.weight'"),
        (method(distillation=0), Rows(Attention()), other_channels + r": \d+.\d% of .* are left, and not \d+.\d%"),
        (
            method(distillation=0),
            Rows(Checked()),
            f"{other_channels}: the compacted model does not run: five inputs",
        ),
        (method(distillation=0), Shuffled(), other_channels),
    ):
        with pytest.raises(ValueError, match=text):
            next(plan.rounds(network, data, lambda job: pytest.fail("it trains")))


def test_a_criterion_that_diverges_says_so():
    data, model = DATA["images"]()
    with pytest.raises(gp.methods.TrainingDiverged, match=r"criterion, epoch 1: loss is \w+; lower criterion_lr"):
        next(method(macs_weight=1e39, distillation=0).rounds(model, data, fit(epochs=1)))


def test_what_is_zero_at_first_counts_as_alive():
    """As a norm that begins with 0, behind which compaction would find nothing at all."""
    data, model = DATA["images"]()
    nn.init.zeros_(model.stages[0][0].second.norm.weight)
    method().supports(model, data)


def test_a_last_step_of_one_example_joins_the_one_before():
    data = pictures(train=33)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    (ticket,) = method(distillation=0).rounds(network, data, fit(epochs=1, batch_size=11))
    assert ticket.row["macs_kept"] <= 0.5
    for count, size, sizes in ((33, 16, [16, 17]), (34, 16, [16, 16, 2]), (32, 16, [16, 16]), (3, 1, [1, 1, 1])):
        order = torch.Generator().manual_seed(0)
        steps = _steps(count, size, order)
        assert [len(step) for step in steps] == sizes
        assert torch.equal(torch.cat(steps), torch.randperm(count, generator=order.manual_seed(0)))


def test_a_target_that_overlapping_floors_reach():
    """Shortcuts that pad with zeros share channels: by which scores, decides what the floors of all layers take."""
    data, model = DATA["images"]()
    plan = method(target=0.32, layer_floor=0.5, criterion="free", distillation=0)
    plan.supports(model, data)
    with pytest.raises(ValueError, match=r"target=0.2 cannot be reached: \d+.\d% of"):
        plan.replace(target=0.2).supports(model, data)


def test_images_with_a_mean_of_their_own():
    """Maps are of the network's inputs as they come, normalised: nothing else is assumed of images."""
    x = torch.randint(256, (24, 2, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(x, torch.arange(24) % 3, mean=[0.1, 0.2], std=[0.3, 0.4])
    data = ImageData(name="noise", train=images, val=images, test=images, num_classes=3)
    (ticket,) = method(criterion="l1").rounds(residual(data), data, fit(epochs=1))
    assert ticket.row["macs_kept"] <= 0.5
