"""One object out of a ticket: raw graphs in, predictions out."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv, global_mean_pool

import graphprune as gp
from graphprune.deployed import Deployed, deploy
from graphprune.sealed import seal
from graphprune.train import Fit


class Own(nn.Module):
    """A user's network."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.conv, self.head = GCNConv(features, 8), nn.Linear(8, outputs)

    def forward(self, batch: Any) -> Tensor:
        hidden = self.conv(batch.x, batch.edge_index).relu()
        out: Tensor = self.head(global_mean_pool(hidden, batch.batch, batch.num_graphs))
        return out


@pytest.fixture(scope="module")
def plain() -> gp.data.GraphData:
    return gp.data.load("MUTAG")


def fit() -> Fit:
    return Fit(epochs=3, batch_size=64, lr=0.01, seed=0)


def network(data: gp.data.GraphData, kind: str = "GIN") -> nn.Module:
    torch.manual_seed(0)
    return getattr(gp.models, kind).for_data(data, hidden=16, layers=2)  # type: ignore[no-any-return]


def gicp(data: gp.data.GraphData, model: nn.Module, **changes: Any) -> gp.Ticket:
    torch.manual_seed(1)
    predictor = gp.EdgePredictor.for_data(data, hidden=8, layers=1, score="bilinear", walks=4)
    options = {"densities": (0.6,), "stop": 6, "every": 3, "weight_density": 0.5, "unit": "coupled"} | changes
    (ticket,) = gp.GICP(predictor=predictor, **options).rounds(model, data, fit())
    return ticket


@pytest.fixture(scope="module")
def made(plain: gp.data.GraphData) -> tuple[nn.Module, gp.Ticket, Deployed]:
    model = network(plain)
    ticket = gicp(plain, model)
    return model, ticket, deploy(ticket, model, plain, edges=True)


def by_hand(ticket: gp.Ticket, model: nn.Module, graphs: Any) -> Tensor:
    """The masked network on graphs pruned one by one."""
    built = ticket.build(model).eval()
    with torch.no_grad():
        return torch.cat([built(Batch.from_data_list([ticket.prune_graph(graph)])) for graph in graphs])


def raw(data: gp.data.GraphData) -> list[Data]:
    """Graphs that know nothing of encodings."""
    graphs = []
    for number in range(len(data.test)):
        graph = data.test[number]
        graphs.append(Data(x=graph.x, edge_index=graph.edge_index))
    return graphs


def test_raw_graphs_in_any_form_give_what_the_ticket_says(
    plain: gp.data.GraphData, made: tuple[nn.Module, gp.Ticket, Deployed]
) -> None:
    model, ticket, deployed = made
    graphs = raw(plain)
    expected = by_hand(ticket, model, graphs)
    forms = {
        "a list": deployed(graphs),
        "small batches": deployed(graphs, batch_size=3),
        "one by one": torch.cat([deployed(graph) for graph in graphs]),
        "a batch": deployed(Batch.from_data_list(graphs)),
        "a packed split": deployed(plain.test),
        "a batch of the data set": deployed(plain.test.batch(range(len(graphs)))),
    }
    for name, found in forms.items():
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
        assert not found.requires_grad
    assert sum(p.numel() for p in deployed.network.parameters()) < sum(p.numel() for p in model.parameters())
    assert deployed.about["parameters"] == [
        sum(p.numel() for p in each.parameters()) for each in (model, deployed.network)
    ]
    metric = plain.evaluate(plain.labels(plain.test), forms["a list"], split="test")
    assert metric == pytest.approx(ticket.row["test_metric"])
    assert deployed.about["ways"]["edges pruned"]["val_metric"] == pytest.approx(ticket.row["val_metric"])


def test_saved_and_loaded_it_says_the_same(
    plain: gp.data.GraphData, made: tuple[nn.Module, gp.Ticket, Deployed], tmp_path: Path
) -> None:
    _, _, deployed = made
    deployed.save(tmp_path / "it")
    assert sorted(file.name for file in (tmp_path / "it").iterdir()) == ["deployed.json", "deployed.safetensors"]
    loaded = Deployed.load(tmp_path / "it")
    assert torch.equal(loaded(plain.test), deployed(plain.test))
    assert loaded.summary() == deployed.summary()
    assert f"and {sum(p.numel() for p in deployed.edges.rounds[0].scorer.parameters()):,} of edge scorers" in (  # type: ignore[union-attr]
        deployed.summary()
    )
    state = torch.get_rng_state()
    Deployed.load(tmp_path / "it")
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match=r"it: the model is .* it was made of"):
        Deployed.load(tmp_path / "it", gp.models.GIN.for_data(plain, hidden=16, layers=2, readout="sum"))
    assert "GIN" not in repr(type(loaded))
    assert not any(module.training for module in loaded.train().modules())
    with pytest.raises(FileExistsError, match="exists already and is not overwritten"):
        deployed.save(tmp_path / "it")


def test_a_network_of_the_users_is_loaded_into_a_model_of_its_class(plain: gp.data.GraphData, tmp_path: Path) -> None:
    model = Own(plain.num_features, 2)
    ticket = gicp(plain, model)
    deployed = deploy(ticket, model, plain, edges=True)
    torch.testing.assert_close(deployed(plain.test), by_hand(ticket, model, raw(plain)), atol=1e-5, rtol=1e-5)
    deployed.save(tmp_path / "own")
    with pytest.raises(ValueError, match=r"own: a network of .*Own, which is not one of the package's models.*load"):
        Deployed.load(tmp_path / "own")
    loaded = Deployed.load(tmp_path / "own", Own(plain.num_features, 2))
    assert torch.equal(loaded(plain.test), deployed(plain.test))
    with pytest.raises(ValueError, match="own: "):
        Deployed.load(tmp_path / "own", nn.Linear(2, 2))


def test_encodings_are_counted_on_the_raw_graph(plain: gp.data.GraphData, tmp_path: Path) -> None:
    data = plain.with_encodings(walks=4)
    model = network(data)
    ticket = gicp(data, model)
    for edges in (True, False):
        deployed = deploy(ticket, model, data, edges=edges)
        deployed.save(tmp_path / str(edges))
        loaded = Deployed.load(tmp_path / str(edges))
        graphs = raw(data)
        assert "encodings" not in graphs[0]
        torch.testing.assert_close(loaded(graphs), deployed(data.test), atol=1e-5, rtol=1e-5)
        assert "encodings" not in graphs[0]
        built = ticket.build(model).eval()
        left = ticket.prune(data.test) if edges else data.test
        with torch.no_grad():
            expected = built(left.batch(range(len(left))))
        torch.testing.assert_close(loaded(graphs), expected, atol=1e-5, rtol=1e-5)


def test_a_network_that_reads_no_edges_is_given_full_graphs(plain: gp.data.GraphData) -> None:
    model = Own(plain.num_features, 2)
    ticket = gicp(plain, model)
    for name, value in ticket.trained.items():
        if name.startswith("conv"):
            value.zero_()  # the same whatever the edges
    deployed = deploy(ticket, model, plain)
    assert deployed.about["chosen"] == "full graphs"
    assert deployed.edges.rounds == ()
    assert len(deployed.about["ways"]) == 2
    assert "full graphs: accuracy" in deployed.summary()
    assert deploy(ticket, model, plain, edges=True).about["chosen"] == "edges pruned"


def test_tickets_of_weights_alone_are_deployed_as_they_are(plain: gp.data.GraphData) -> None:
    model = network(plain)
    (ticket,) = gp.IMP(rounds=1, weight_rate=0.5).rounds(model, plain, fit())
    deployed = deploy(ticket, model, plain)
    assert deployed.about["chosen"] == "full graphs"
    assert "not compacted: nothing to remove" in deployed.summary()
    torch.testing.assert_close(deployed(plain.test), by_hand(ticket, model, raw(plain)), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="prunes no edges: leave out edges=True"):
        deploy(ticket, model, plain, edges=True)


def test_what_does_not_fit_is_named(plain: gp.data.GraphData, made: tuple[nn.Module, gp.Ticket, Deployed]) -> None:
    model, ticket, deployed = made
    with pytest.raises(TypeError, match="ticket must be a Ticket"):
        deploy("runs/icpg", model, plain)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="data must be a GraphData"):
        deploy(ticket, model, [plain.test[0]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the ticket was trained on other data \(fold is '0 of 10"):
        deploy(ticket, model, gp.data.load("MUTAG", fold=1))
    with pytest.raises(ValueError, match="node features x of shape"):
        deployed(Data(x=torch.ones(2, 3), edge_index=torch.tensor([[0, 1], [1, 0]])))
    for nothing in ("graphs", 3, None, [], plain.test.select(torch.arange(0))):
        with pytest.raises(TypeError):
            deployed(nothing)  # type: ignore[arg-type]
    one, other = raw(plain)[:2]
    both = Batch.from_data_list([one, other])
    with pytest.raises(ValueError, match="a Data with the attribute 'batch': collate graphs by Batch"):
        deployed(Data(x=both.x, edge_index=both.edge_index, batch=both.batch))
    for end in (int(one.num_nodes or 0), -1):
        astray = Batch.from_data_list([one, other])
        astray.edge_index = astray.edge_index.clone()
        astray.edge_index[1, 0] = end
        with pytest.raises(ValueError, match="edge_index points outside"):
            deployed(astray)
    with pytest.raises(TypeError, match="edges must be True, False or None, got 'no'"):
        deploy(ticket, model, plain, edges="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size must be a whole number"):
        deployed(raw(plain), batch_size=0)


@pytest.mark.parametrize("file", ["deployed.json", "deployed.safetensors"])
def test_damaged_files_are_refused(made: tuple[nn.Module, gp.Ticket, Deployed], tmp_path: Path, file: str) -> None:
    _, ticket, deployed = made
    deployed.save(tmp_path / "it")
    place = tmp_path / "it" / file
    content = place.read_bytes()
    for broken in (b"", content[: len(content) // 2], content + b"x"):
        place.write_bytes(broken)
        with pytest.raises(ValueError, match=file):
            Deployed.load(tmp_path / "it")
    place.unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing: the folder has to hold deployed.json and"):
        Deployed.load(tmp_path / "it")
    ticket.save(tmp_path / "ticket")
    with pytest.raises(FileNotFoundError, match=r"deployed.json is missing"):
        Deployed.load(tmp_path / "ticket")


def test_fields_that_lie_are_refused(made: tuple[nn.Module, gp.Ticket, Deployed], tmp_path: Path) -> None:
    _, _, deployed = made
    deployed.save(tmp_path / "it")
    place = tmp_path / "it" / "deployed.json"
    document = json.loads(place.read_text())
    inner = document["deployed"]
    changes = (
        {**inner, "model": {**inner["model"], "class": "os.system"}},
        {**inner, "model": {**inner["model"], "config": {"hidden": 16}}},
        {**inner, "model": {**inner["model"], "config": {**inner["model"]["config"], "hidden": 2_000_000}}},
        {**inner, "model": {**inner["model"], "config": {**inner["model"]["config"], "layers": 1_000_000}}},
        {**inner, "about": {}},
        {**inner, "stages": []},
        {**inner, "rule": {"unit": "nothing"}},
        {name: value for name, value in inner.items() if name != "about"},
    )
    for change in changes:
        place.write_text(json.dumps(seal({**document, "deployed": change})))
        with pytest.raises(ValueError, match="it: "):
            Deployed.load(tmp_path / "it")
