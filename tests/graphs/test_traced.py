"""What an exported program prunes: the very arcs that a ticket's rounds do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from graphprune.graphs import EdgePredictor, EdgeRound, EdgeRule, PruneEdges
from graphprune.graphs.scorers import RandomEdges
from graphprune.graphs.traced import TracedEdges


class Levels(nn.Module):
    """A score of few values, so that many are equal; weights turn it in the next round."""

    follows_dtype = True

    def __init__(self, turn: float = 1.0) -> None:
        super().__init__()
        self.turn = nn.Parameter(torch.tensor(turn))

    def forward(self, data: Data) -> Tensor:
        return self.turn * data.edge_attr[:, 0]


@st.composite
def graphs(draw: st.DrawFn) -> Data:
    """Arcs in one direction, several between the same nodes, loops, nodes without any."""
    nodes = draw(st.integers(1, 6))
    ends = st.integers(0, nodes - 1)
    arcs = draw(st.lists(st.tuples(ends, ends), max_size=14))
    both = draw(st.lists(st.booleans(), min_size=len(arcs), max_size=len(arcs)))
    arcs += [(target, source) for (source, target), back in zip(arcs, both, strict=True) if back]
    order = draw(st.permutations(range(len(arcs))))
    index = torch.tensor([arcs[number] for number in order], dtype=torch.int64).reshape(-1, 2).T.contiguous()
    levels = draw(st.lists(st.integers(0, 2), min_size=len(arcs), max_size=len(arcs)))
    return Data(x=torch.ones(nodes, 1), edge_index=index, edge_attr=torch.tensor(levels).float().reshape(-1, 1))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(graphs(), min_size=1, max_size=4),
    st.sampled_from(["pair", "arc"]),
    st.sampled_from(["cumulative", "floor"]),
    st.sampled_from([None, 1.0]),
    st.sampled_from([(0.5,), (0.75, 0.4), (1.0, 0.0)]),
)
def test_it_keeps_what_rounds_keep(
    several: list[Data], unit: str, count: str, threshold: float | None, densities: tuple[float, ...]
) -> None:
    rule = EdgeRule(unit=unit, count=count, budget="graph" if threshold is None else "global")  # type: ignore[arg-type]
    rounds = [
        EdgeRound(Levels((-1.0) ** number), 1 - density, density, threshold) for number, density in enumerate(densities)
    ]
    edges, batch = PruneEdges(rounds, rule), Batch.from_data_list(several)
    with torch.no_grad():
        left, kept = TracedEdges(edges)(batch)
    expected = edges.left(batch)
    assert torch.equal(left.edge_index, expected.edge_index)
    assert torch.equal(left.edge_attr, expected.edge_attr)
    assert torch.equal(left.batch, batch.batch)
    assert torch.equal(batch.edge_index[:, kept], expected.edge_index)


def test_without_rounds_all_stays() -> None:
    graph = Data(x=torch.ones(3, 1), edge_index=torch.tensor([[0, 1], [1, 2]]))
    left, kept = TracedEdges(PruneEdges())(graph)
    assert torch.equal(left.edge_index, graph.edge_index)
    assert kept.all()
    # Masks of known graphs say nothing of others.
    unseen = EdgeRound(None, 0.5, 0.5, known=torch.ones(2, dtype=torch.bool), graphs="of others")
    assert TracedEdges(PruneEdges([unseen]))(graph)[1].all()


def test_what_no_program_can_hold_is_named() -> None:
    walking, plain = EdgePredictor(1, 8, walks=4), EdgePredictor(1, 8)
    own = nn.Linear(1, 1)
    for scorer, rule, words in (
        (walking, EdgeRule(), "its scorer counts random walks"),
        (plain, EdgeRule(connected=True), "its rule has constraints"),
        (plain, EdgeRule(min_degree=1), "its rule has constraints"),
        (plain, EdgeRule(scoring="batch"), "its rule scores by batch statistics"),
        (RandomEdges(), EdgeRule(), "its scorer does not say follows_dtype = True"),
        (own, EdgeRule(), "its scorer does not say follows_dtype = True"),
    ):
        with pytest.raises(ValueError, match=f"cannot be part of a program: {words}"):
            TracedEdges(PruneEdges([EdgeRound(scorer, 0.5, 0.5)], rule))
