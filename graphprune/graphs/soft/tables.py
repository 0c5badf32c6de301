"""Which convolutions and aggregations of torch_geometric are gated, and why the others are not."""

from __future__ import annotations

from torch import nn

_CONVOLUTIONS = """
    AGNNConv APPNP ARMAConv CGConv ChebConv ClusterGCNConv DNAConv EGConv EdgeConv FAConv FastRGCNConv
    FeaStConv FiLMConv GATConv GATv2Conv GATEConv GCN2Conv GCNConv GENConv GINConv GINEConv GMMConv
    GatedGraphConv GeneralConv GraphConv HEATConv LEConv LGConv MFConv MixHopConv NNConv PDNConv PNAConv
    PPFConv PointGNNConv PointNetConv PointTransformerConv RGATConv RGCNConv ResGatedGraphConv SAGEConv
    SGConv SSGConv SimpleConv SplineConv SuperGATConv TAGConv TransformerConv WLConvContinuous
"""
PROVEN = frozenset(_CONVOLUTIONS.split())
"""Convolutions whose gates of 0 are proven to be removal, by tests/graphs/soft/test_gates.py."""

_AGGREGATIONS = """
    AttentionalAggregation DeepSetsAggregation DegreeScalerAggregation MaxAggregation MeanAggregation
    MinAggregation MulAggregation MultiAggregation FusedAggregation PowerMeanAggregation
    SoftmaxAggregation StdAggregation SumAggregation VarAggregation VariancePreservingAggregation
"""
AGGREGATIONS = frozenset(_AGGREGATIONS.split())
"""Aggregations of which the same is proven."""

_OWN_EDGES = "builds its own edges from features or positions"
_DENSE = "lays the neighbours of a node in a row, from which no gate can take one out"
_ORDER = "takes values by their rank, which a gate between 0 and 1 does not have"
_DICTIONARIES = "takes dictionaries of node and edge types; one type is served by HeteroConv around another convolution"

NO_CONVOLUTIONS = {
    "CuGraphGATConv": "computes in cuGraph, outside of torch",
    "CuGraphRGCNConv": "computes in cuGraph, outside of torch",
    "CuGraphSAGEConv": "computes in cuGraph, outside of torch",
    "DynamicEdgeConv": _OWN_EDGES,
    "FusedGATConv": "computes in one CUDA kernel, on sorted copies of the edges",
    "GravNetConv": _OWN_EDGES,
    "HANConv": _DICTIONARIES,
    "HGTConv": _DICTIONARIES,
    "HypergraphConv": "takes the incidences of hyperedges, not edges between nodes",
    "MeshCNNConv": "knows each edge's four neighbours by their places, so that none may be missing",
    "PANConv": "raises the adjacency to powers as a SparseTensor, and returns it",
    "SignedConv": "takes two lists of edges, of positive and of negative ones",
    "WLConv": "hashes neighbourhoods: its outputs have no derivative",
    "XConv": _OWN_EDGES,
}

NO_AGGREGATIONS = {
    "EquilibriumAggregation": "solves an optimisation of its own over the neighbours",
    "GRUAggregation": _DENSE,
    "GraphMultisetTransformer": _DENSE,
    "LCMAggregation": _DENSE,
    "LSTMAggregation": _DENSE,
    "MLPAggregation": _DENSE,
    "MedianAggregation": _ORDER,
    "PatchTransformerAggregation": _DENSE,
    "QuantileAggregation": _ORDER,
    "Set2Set": "reads the neighbours several times over in an order of its own",
    "SetTransformerAggregation": _DENSE,
    "SortAggregation": _ORDER,
}


ARITHMETIC = frozenset({"forward", "message", "message_and_aggregate", "aggregate", "update", "edge_update"})
"""The methods of message passing that say what it computes."""


def of_torch_geometric(module: nn.Module | type[nn.Module]) -> bool:
    """Whether this is a class of torch_geometric itself."""
    cls = module if isinstance(module, type) else type(module)
    return cls.__module__.startswith("torch_geometric.")
