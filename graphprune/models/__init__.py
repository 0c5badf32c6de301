"""Reference networks. Any other ``nn.Module`` with supported convolutions works as well."""

from torch import nn

from graphprune.models.gnn import GAT, GCN, GIN, SAGE, GraphClassifier
from graphprune.models.node import UGSGAT, UGSGIN, NodeClassifier, NodeGAT, NodeGCN, NodeGIN
from graphprune.models.paper import PaperGCN

# The names of the command line and of tickets.
MODELS: dict[str, type[nn.Module]] = {
    "gcn": GCN,
    "gin": GIN,
    "sage": SAGE,
    "gat": GAT,
    "paper-gcn": PaperGCN,
    "node-gcn": NodeGCN,
    "node-gin": NodeGIN,
    "node-gat": NodeGAT,
    "ugs-gin": UGSGIN,
    "ugs-gat": UGSGAT,
}

__all__ = [
    "GAT",
    "GCN",
    "GIN",
    "MODELS",
    "SAGE",
    "UGSGAT",
    "UGSGIN",
    "GraphClassifier",
    "NodeClassifier",
    "NodeGAT",
    "NodeGCN",
    "NodeGIN",
    "PaperGCN",
]
