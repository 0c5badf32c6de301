"""Every convolution of torch_geometric that is gated, in the settings that change what a gate has to do."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric import nn as pyg
from torch_geometric.data import Data
from torch_geometric.nn import aggr

from graphprune.graphs.soft.soft import SoftEdges

WIDTH = 4
KINDS = 3


class Net(nn.Module):
    """One convolution; ``given`` says which argument of it is which attribute of the graph."""

    def __init__(self, conv: nn.Module, **given: str) -> None:
        super().__init__()
        self.conv = conv
        self.given = {"x": "x", **given}

    def forward(self, data: Data) -> Any:
        return self.conv(edge_index=data.edge_index, **{name: data[key] for name, key in self.given.items()})


def mlp(width: int = WIDTH) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


BACK = {"flow": "target_to_source"}
WEIGHT = {"edge_weight": "edge_weight"}
ATTR = {"edge_attr": "edge_attr"}
TYPE = {"edge_type": "edge_type"}
CASES: dict[str, Callable[[], Net]] = {}


def case(
    name: str, conv: Callable[..., nn.Module], *args: Any, given: dict[str, str] | None = None, **options: Any
) -> None:
    assert name not in CASES
    # Aggregations are objects with a state: each network gets its own.
    CASES[name] = lambda: Net(
        conv(
            *(arg() if callable(arg) else arg for arg in args),
            **{key: value() if callable(value) else value for key, value in options.items()},
        ),
        **(given or {}),
    )


def own(cls: type[nn.Module], *args: Any, **options: Any) -> Callable[[], nn.Module]:
    return lambda: cls(*args, **options)


for _back, _flow in (("", {}), ("-back", BACK)):
    case(f"gcn{_back}", pyg.GCNConv, WIDTH, 3, **_flow)
    case(f"gcn-no-loops{_back}", pyg.GCNConv, WIDTH, 3, add_self_loops=False, **_flow)
    case(f"gcn-weight{_back}", pyg.GCNConv, WIDTH, 3, given=WEIGHT, **_flow)
    case(f"gin{_back}", pyg.GINConv, mlp, **_flow)
    case(f"sage{_back}", pyg.SAGEConv, WIDTH, 3, **_flow)
    case(f"sage-max{_back}", pyg.SAGEConv, WIDTH, 3, aggr="max", **_flow)
    case(f"gen{_back}", pyg.GENConv, WIDTH, 3, given=ATTR, edge_dim=WIDTH, **_flow)
    case(f"transformer{_back}", pyg.TransformerConv, WIDTH, 3, heads=2, given=ATTR, edge_dim=WIDTH, **_flow)
    case(f"general-attention{_back}", pyg.GeneralConv, WIDTH, 3, attention=True, heads=2, **_flow)
    case(f"point-transformer{_back}", pyg.PointTransformerConv, WIDTH, 3, given={"pos": "pos"}, **_flow)
    case(f"mf{_back}", pyg.MFConv, WIDTH, 3, max_degree=2, **_flow)
    case(f"tag{_back}", pyg.TAGConv, WIDTH, 3, K=2, **_flow)
    case(f"eg{_back}", pyg.EGConv, WIDTH, 4, ["symnorm", "mean", "max"], num_heads=2, num_bases=2, **_flow)

case("gcn-improved", pyg.GCNConv, WIDTH, 3, improved=True)
case("gcn-raw", pyg.GCNConv, WIDTH, 3, normalize=False, bias=False)
case("gcn-decomposed", pyg.GCNConv, WIDTH, 4, decomposed_layers=2)
case("gcn-weight-improved", pyg.GCNConv, WIDTH, 3, improved=True, given=WEIGHT)
case("gcn-weight-no-loops", pyg.GCNConv, WIDTH, 3, add_self_loops=False, given=WEIGHT)
case("gcn-weight-raw", pyg.GCNConv, WIDTH, 3, normalize=False, given=WEIGHT)
case("gcn-max", pyg.GCNConv, WIDTH, 3, aggr="max")
case("gin-eps", pyg.GINConv, mlp, eps=0.5, train_eps=True)
case("gin-mean", pyg.GINConv, mlp, aggr="mean")
case("gine", pyg.GINEConv, mlp, given=ATTR)
case("gine-edge-dim", pyg.GINEConv, mlp, edge_dim=WIDTH, eps=0.5, train_eps=True, given=ATTR)
case("gine-min", pyg.GINEConv, mlp, aggr="min", given=ATTR)
case("sage-mean-module", pyg.SAGEConv, WIDTH, 3, aggr=own(aggr.MeanAggregation))
case("sage-sum", pyg.SAGEConv, WIDTH, 3, aggr="sum")
case("sage-no-root", pyg.SAGEConv, WIDTH, 3, root_weight=False)
case("sage-project", pyg.SAGEConv, WIDTH, 3, project=True, normalize=True)
case("sage-two-widths", pyg.SAGEConv, (WIDTH, WIDTH), 3)

AGGREGATED: dict[str, Any] = {
    "min": "min",
    "mul": "mul",
    "var": "var",
    "std": "std",
    "softmax": own(aggr.SoftmaxAggregation, learn=True),
    "softmax-cold": own(aggr.SoftmaxAggregation, t=5.0),
    "powermean": own(aggr.PowerMeanAggregation, p=2.0, learn=True),
    "variance-preserving": own(aggr.VariancePreservingAggregation),
    "attentional": lambda: aggr.AttentionalAggregation(nn.Linear(WIDTH, 1), nn.Linear(WIDTH, WIDTH)),
    "deep-sets": lambda: aggr.DeepSetsAggregation(nn.Linear(WIDTH, 5), nn.Linear(5, WIDTH)),
    "several": ["mean", "max", "sum", "std"],
    "several-attended": lambda: aggr.MultiAggregation(
        ["mean", "min", "softmax"],
        mode="attn",
        mode_kwargs={"in_channels": WIDTH, "out_channels": WIDTH, "num_heads": 2},
    ),
    "scaled": lambda: aggr.DegreeScalerAggregation(
        ["mean", "min", "std"],
        ["identity", "amplification", "attenuation", "linear", "inverse_linear"],
        torch.tensor([0, 1, 3, 2, 1]),
        train_norm=True,
    ),
}
for _name, _aggr in AGGREGATED.items():
    case(f"simple-{_name}", pyg.SimpleConv, aggr=_aggr)

for _name, _conv in (("gat", pyg.GATConv), ("gatv2", pyg.GATv2Conv)):
    case(f"{_name}-heads", _conv, WIDTH, 3, heads=2)
    case(f"{_name}-heads-averaged", _conv, WIDTH, 3, heads=2, concat=False)
    case(f"{_name}-no-loops", _conv, WIDTH, 3, heads=2, add_self_loops=False)
    case(f"{_name}-residual", _conv, WIDTH, 3, residual=True, bias=False)
    case(f"{_name}-two-widths", _conv, (WIDTH, WIDTH), 3)
    case(f"{_name}-back", _conv, WIDTH, 3, **BACK)
    case(f"{_name}-mean", _conv, WIDTH, 3, aggr="mean")
    case(f"{_name}-edges", _conv, WIDTH, 3, edge_dim=WIDTH, heads=2, given=ATTR)
    case(f"{_name}-edges-sum", _conv, WIDTH, 3, edge_dim=WIDTH, fill_value="add", given=ATTR)
    case(f"{_name}-edges-max", _conv, WIDTH, 3, edge_dim=WIDTH, fill_value="max", given=ATTR)
    case(f"{_name}-edges-constant", _conv, WIDTH, 3, edge_dim=WIDTH, fill_value=0.7, given=ATTR)
    case(f"{_name}-edges-tensor", _conv, WIDTH, 3, edge_dim=WIDTH, fill_value=torch.arange(4.0), given=ATTR)
    case(f"{_name}-edges-no-loops", _conv, WIDTH, 3, edge_dim=WIDTH, add_self_loops=False, given=ATTR)
    case(f"{_name}-edges-back", _conv, WIDTH, 3, edge_dim=WIDTH, given=ATTR, **BACK)
    case(f"{_name}-edges-scalar", _conv, WIDTH, 3, edge_dim=1, given={"edge_attr": "edge_weight"})
    case(f"{_name}-edges-absent", _conv, WIDTH, 3, edge_dim=WIDTH)
case("gatv2-one-weight", pyg.GATv2Conv, WIDTH, 3, heads=2, share_weights=True)

case("agnn", pyg.AGNNConv)
case("agnn-no-loops", pyg.AGNNConv, add_self_loops=False)
case("appnp", pyg.APPNP, 2, 0.1, given=WEIGHT)
case("arma", pyg.ARMAConv, WIDTH, 3, num_stacks=2, num_layers=2)
case("cg", pyg.CGConv, WIDTH, WIDTH, given=ATTR)
case("cheb", pyg.ChebConv, WIDTH, 3, K=3)
case("cheb-walk", pyg.ChebConv, WIDTH, 3, K=3, normalization="rw", given=WEIGHT)
case("cheb-raw", pyg.ChebConv, WIDTH, 3, K=3, normalization=None, given={"lambda_max": "lambda_max"})
case("cluster-gcn", pyg.ClusterGCNConv, WIDTH, 3, diag_lambda=0.2)
case("dna", pyg.DNAConv, WIDTH, heads=2, given={"x": "history"})
case("edge", pyg.EdgeConv, own(nn.Linear, 2 * WIDTH, 3))
case("edge-mean", pyg.EdgeConv, own(nn.Linear, 2 * WIDTH, 3), aggr="mean")
case("eg-all", pyg.EGConv, WIDTH, 4, ["sum", "min", "var", "std"], num_heads=2, num_bases=2)
case("fa", pyg.FAConv, WIDTH, given={"x_0": "x_0"})
case("fast-rgcn", pyg.FastRGCNConv, WIDTH, 3, KINDS, given=TYPE)
case("fast-rgcn-blocks", pyg.FastRGCNConv, WIDTH, 4, KINDS, num_blocks=2, aggr="add", given=TYPE)
case("feast", pyg.FeaStConv, WIDTH, 3, heads=2)
case("film", pyg.FiLMConv, WIDTH, 3)
case("gate", lambda: pyg.models.attentive_fp.GATEConv(WIDTH, WIDTH, WIDTH), given=ATTR)
case("gated-graph", pyg.GatedGraphConv, WIDTH, 2, given=WEIGHT)
case("gcn2", pyg.GCN2Conv, WIDTH, 0.1, 0.5, 1, given={"x_0": "x_0"})
case("gen-powermean", pyg.GENConv, WIDTH, 3, aggr="powermean", learn_p=True, msg_norm=True)
case("gen-max", pyg.GENConv, WIDTH, 3, aggr="max")
case("general", pyg.GeneralConv, WIDTH, 3, in_edge_channels=WIDTH, given=ATTR)
case("general-products", pyg.GeneralConv, WIDTH, 3, attention=True, attention_type="dot_product", l2_normalize=True)
case("gmm", pyg.GMMConv, WIDTH, 3, dim=WIDTH, kernel_size=2, given=ATTR)
case("gmm-separate", pyg.GMMConv, WIDTH, 3, dim=WIDTH, kernel_size=2, separate_gaussians=True, given=ATTR)
case("graph", pyg.GraphConv, WIDTH, 3, given=WEIGHT)
case("graph-mean", pyg.GraphConv, WIDTH, 3, aggr="mean", given=WEIGHT)
case("heat", pyg.HEATConv, WIDTH, 3, 2, KINDS, 3, WIDTH, 5, heads=2, given={**ATTR, **TYPE, "node_type": "node_type"})
case("le", pyg.LEConv, WIDTH, 3, given=WEIGHT)
case("lg", pyg.LGConv, given=WEIGHT)
case("mixhop", pyg.MixHopConv, WIDTH, 3, powers=[0, 1, 2])
case("nn", pyg.NNConv, WIDTH, 3, own(nn.Linear, WIDTH, WIDTH * 3), given=ATTR)
case("nn-max", pyg.NNConv, WIDTH, 3, own(nn.Linear, WIDTH, WIDTH * 3), aggr="max", given=ATTR)
case("pdn", pyg.PDNConv, WIDTH, 3, WIDTH, 5, given=ATTR)
case(
    "pna",
    pyg.PNAConv,
    WIDTH,
    4,
    ["mean", "min", "max", "std", "var", "sum"],
    ["identity", "amplification", "attenuation"],
    torch.tensor([0, 1, 3, 2, 1]),
    edge_dim=WIDTH,
    towers=2,
    given=ATTR,
)
case(
    "point-gnn",
    pyg.PointGNNConv,
    own(nn.Linear, WIDTH, 3),
    own(nn.Linear, 3 + WIDTH, 5),
    own(nn.Linear, 5, WIDTH),
    given={"pos": "pos"},
)
case("point-net", pyg.PointNetConv, own(nn.Linear, WIDTH + 3, 5), own(nn.Linear, 5, 3), given={"pos": "pos"})
case("point-net-no-loops", pyg.PointNetConv, own(nn.Linear, WIDTH + 3, 3), add_self_loops=False, given={"pos": "pos"})
case("ppf", pyg.PPFConv, own(nn.Linear, WIDTH + 4, 3), given={"pos": "pos", "normal": "normal"})
case("res-gated", pyg.ResGatedGraphConv, WIDTH, 3, edge_dim=WIDTH, given=ATTR)
case("rgat", pyg.RGATConv, WIDTH, 3, KINDS, edge_dim=WIDTH, heads=2, given={**ATTR, **TYPE})
for _mod in ("additive", "scaled", "f-additive", "f-scaled"):
    case(
        f"rgat-{_mod}",
        pyg.RGATConv,
        WIDTH,
        3,
        KINDS,
        mod=_mod,
        attention_mode="multiplicative-self-attention",
        given=TYPE,
    )
case("rgcn", pyg.RGCNConv, WIDTH, 3, KINDS, given=TYPE)
case("rgcn-blocks", pyg.RGCNConv, WIDTH, 4, KINDS, num_blocks=2, aggr="max", given=TYPE)
case("sg", pyg.SGConv, WIDTH, 3, K=2)
case("sgc-spectral", pyg.SSGConv, WIDTH, 3, alpha=0.1, K=2)
case("simple-loops", pyg.SimpleConv, aggr="mean", combine_root="self_loop", given=WEIGHT)
case("super-gat", pyg.SuperGATConv, WIDTH, 3, heads=2)
case("super-gat-products", pyg.SuperGATConv, WIDTH, 3, attention_type="SD", is_undirected=True)
case("tag-raw", pyg.TAGConv, WIDTH, 3, K=2, normalize=False, given=WEIGHT)
case("transformer-beta", pyg.TransformerConv, WIDTH, 3, heads=2, beta=True, concat=False)
case("wl-continuous", pyg.WLConvContinuous, given=WEIGHT)

# Without an extension library, torch_geometric cannot run it.
if hasattr(torch.ops, "pyg") and hasattr(torch.ops.pyg, "spline_basis"):
    case("spline", pyg.SplineConv, WIDTH, 3, dim=WIDTH, kernel_size=2, given={"edge_attr": "edge_share"})


def build(name: str) -> Net:
    torch.manual_seed(0)
    net = CASES[name]()
    with torch.no_grad():  # biases start at zero, where some mistakes do not show
        for parameter in net.parameters():
            parameter.nan_to_num_().clamp_(-2, 2)  # RGATConv leaves some as memory has them
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def graph(nodes: int, arcs: list[tuple[int, int]], seed: int = 0) -> Data:
    draw = torch.Generator().manual_seed(seed)
    arrows = len(arcs)
    return Data(
        x=torch.randn(nodes, WIDTH, generator=draw),
        edge_index=torch.tensor(arcs, dtype=torch.long).reshape(-1, 2).t(),
        edge_attr=torch.randn(arrows, WIDTH, generator=draw),
        edge_weight=torch.rand(arrows, generator=draw) + 0.2,
        edge_share=torch.rand(arrows, WIDTH, generator=draw),
        edge_type=torch.randint(KINDS, (arrows,), generator=draw),
        lambda_max=torch.tensor(3.0),
        x_0=torch.randn(nodes, WIDTH, generator=draw),
        history=torch.randn(nodes, 2, WIDTH, generator=draw),
        pos=torch.randn(nodes, 3, generator=draw),
        normal=torch.nn.functional.normalize(torch.randn(nodes, 3, generator=draw)),
        node_type=torch.randint(2, (nodes,), generator=draw),
    )


def one_loop_a_node(arcs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [arc for i, arc in enumerate(arcs) if arc[0] != arc[1] or arc not in arcs[:i]]


@st.composite
def graphs(draw: st.DrawFn, name: str) -> Data:
    """Isolated nodes, self-loops, multi-edges, directed or undirected, or no edges at all."""
    nodes = draw(st.integers(2, 7))
    node = st.integers(0, nodes - 1)
    arcs = draw(st.lists(st.tuples(node, node), max_size=12))
    if draw(st.booleans()):
        arcs = [pair for u, v in arcs for pair in ((u, v), (v, u))]
    if keeps_any_loop(name):
        arcs = one_loop_a_node(arcs)
    return graph(nodes, arcs, draw(st.integers(0, 99)))


def keeps_any_loop(name: str) -> bool:
    """Whether the convolution keeps an arbitrary one of several weighted loops at a node, which is refused."""
    return name.startswith(("gcn-weight", "appnp", "pdn"))


def without(data: Data, keep: Tensor) -> Data:
    less = data.clone()
    for key in ("edge_index", "edge_attr", "edge_weight", "edge_share", "edge_type"):
        less[key] = data[key][..., keep] if key == "edge_index" else data[key][keep]
    return less


def double(data: Data) -> Data:
    return data.clone().apply(lambda value: value.double() if value.is_floating_point() else value)


def soft(net: nn.Module, gate: Tensor, data: Data) -> Any:
    with SoftEdges(net) as run:
        return run(gate, data)


def close(a: Any, b: Any, tolerance: float) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


RING = [(i, (i + 1) % 5) for i in range(5)]
CHORDS = [(0, 2), (2, 0), (0, 2), (3, 3), (1, 4), (4, 1), (1, 1)]
