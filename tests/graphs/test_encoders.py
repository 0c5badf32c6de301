import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Data

from graphprune.graphs.encoders import (
    ATOM_FEATURES,
    BOND_FEATURES,
    AtomEncoder,
    BondEncoder,
    FeatureEncoder,
    node_encoder,
    node_inputs,
)


@pytest.fixture(scope="module")
def ogb():
    before = sys.modules.get("outdated", ...)
    sys.modules["outdated"] = None  # its import would ask the network for updates
    try:
        molecules = pytest.importorskip("ogb.graphproppred.mol_encoder", reason="ogb is not installed")
    finally:
        del sys.modules["outdated"]
        if before is not ...:
            sys.modules["outdated"] = before
    return molecules


def rows(sizes):
    return st.lists(st.tuples(*(st.integers(0, size - 1) for size in sizes)), min_size=1, max_size=12)


@pytest.mark.parametrize(("name", "sizes"), [("Atom", ATOM_FEATURES), ("Bond", BOND_FEATURES)])
def test_encoders_are_those_of_ogb(ogb, name, sizes):
    ours = {"Atom": AtomEncoder, "Bond": BondEncoder}[name](6)
    theirs = getattr(ogb, f"{name}Encoder")(6)
    tables = list(theirs.parameters())
    assert [table.size(0) for table in tables] == list(sizes)
    ours.table.weight.data = torch.cat([table.detach() for table in tables])

    @given(rows(sizes))
    def compare(features):
        features = torch.tensor(features)
        ours.zero_grad(), theirs.zero_grad()
        mine, other = ours(features), theirs(features)
        torch.testing.assert_close(mine, other)
        probe = torch.arange(mine.numel()).view_as(mine).float()
        (mine * probe).sum().backward(), (other * probe).sum().backward()
        torch.testing.assert_close(ours.table.weight.grad, torch.cat([table.grad for table in tables]))

    compare()


@pytest.mark.parametrize("sizes", [ATOM_FEATURES, BOND_FEATURES])
def test_every_category_has_its_place(sizes):
    encoder = {9: AtomEncoder, 3: BondEncoder}[len(sizes)](2).double()
    first, last = torch.zeros(1, len(sizes), dtype=torch.int64), torch.tensor([sizes]) - 1
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    weight = encoder.table.weight
    torch.testing.assert_close(encoder(first)[0], weight[starts].sum(0))
    torch.testing.assert_close(encoder(last)[0], weight[torch.tensor(starts) + torch.tensor(sizes) - 1].sum(0))


def test_each_feature_starts_with_the_spread_of_its_own_table():
    weight = AtomEncoder(64).table.weight.detach()
    for part, size in zip(weight.split(list(ATOM_FEATURES)), ATOM_FEATURES, strict=True):
        assert part.abs().max() <= (6 / (size + 64)) ** 0.5
        assert part.abs().max() > 0.8 * (6 / (size + 64)) ** 0.5


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("value", ["below", "above"])
def test_features_out_of_range_are_refused(place, value):
    bad = torch.zeros(2, 3, dtype=torch.int64)
    bad[1, place] = -1 if value == "below" else BOND_FEATURES[place]
    with pytest.raises(ValueError, match="must lie below"):
        BondEncoder(4)(bad)


def test_other_kinds_of_features_are_refused():
    with pytest.raises(TypeError, match="integers"):
        BondEncoder(4)(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"3 categorical features a row, got shape \(2, 1\)"):
        BondEncoder(4)(torch.zeros(2, 1, dtype=torch.int64))
    for features in ("ogb", 0, 2.5, [], [3, 0], [True]):
        with pytest.raises(ValueError, match="features must be"):
            node_encoder(features, 4)
    with pytest.raises(ValueError, match="needs node features x"):
        node_inputs(Data(edge_index=torch.zeros(2, 0, dtype=torch.int64), num_nodes=1))


def test_no_rows_give_no_vectors():
    assert AtomEncoder(4)(torch.zeros(0, 9, dtype=torch.int64)).shape == (0, 4)
    assert FeatureEncoder(3, 4).eval()(torch.zeros(0, 3)).shape == (0, 4)


def test_small_integers_do_as_well():
    encoder, features = AtomEncoder(4), torch.tensor([[100, 4, 11, 11, 9, 5, 5, 1, 1]])
    assert torch.equal(encoder(features.to(torch.int16)), encoder(features))


def test_real_features_are_normalised_and_mapped():
    encoder = FeatureEncoder(3, 5)
    x = torch.randn(20, 3) * 7 + 2
    normal = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(encoder(x), normal @ encoder.lin.weight.t())
    assert encoder(torch.ones(4, 3, dtype=torch.int64)).dtype == torch.float32


def test_node_encoders_by_features():
    assert isinstance(node_encoder("ogb-mol", 4), AtomEncoder)
    assert node_encoder(7, 4).lin.in_features == 7
    assert node_encoder([3, 2], 4).sizes == (3, 2)
