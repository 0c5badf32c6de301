"""Reference networks, and plug-ins of the entry-point group ``graphprune.models``; any other ``nn.Module`` works."""

from torch import nn

from graphprune.models.classifier import GraphClassifier
from graphprune.models.gnn import GAT, GCN, GIN, PNA, SAGE, GatedGCN
from graphprune.models.image import ImageClassifier
from graphprune.models.lenet import LeNet5, LeNet300
from graphprune.models.node import UGSGAT, UGSGCN, UGSGIN, NodeClassifier, NodeGAT, NodeGCN, NodeGIN
from graphprune.models.paper import PaperGCN
from graphprune.models.resnet import ResNet, ResNet20, ResNet32, ResNet50, ResNet110
from graphprune.models.vgg import VGG19
from graphprune.registry import Registry

_OWN: dict[str, type[nn.Module]] = {
    "gcn": GCN,
    "gin": GIN,
    "sage": SAGE,
    "gat": GAT,
    "gated-gcn": GatedGCN,
    "pna": PNA,
    "paper-gcn": PaperGCN,
    "node-gcn": NodeGCN,
    "node-gin": NodeGIN,
    "node-gat": NodeGAT,
    "ugs-gcn": UGSGCN,
    "ugs-gin": UGSGIN,
    "ugs-gat": UGSGAT,
    "lenet-300-100": LeNet300,
    "lenet-5": LeNet5,
    "vgg-19": VGG19,
    "resnet-20": ResNet20,
    "resnet-32": ResNet32,
    "resnet-50": ResNet50,
    "resnet-110": ResNet110,
}


def _is_model(_name: str, thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, nn.Module) and hasattr(thing, "for_data")


# The names of the command line and of tickets.
MODELS = Registry("graphprune.models", _OWN, _is_model, "a module class with a for_data(data, **options)")

__all__ = [
    "GAT",
    "GCN",
    "GIN",
    "MODELS",
    "PNA",
    "SAGE",
    "UGSGAT",
    "UGSGCN",
    "UGSGIN",
    "VGG19",
    "GatedGCN",
    "GraphClassifier",
    "ImageClassifier",
    "LeNet5",
    "LeNet300",
    "NodeClassifier",
    "NodeGAT",
    "NodeGCN",
    "NodeGIN",
    "PaperGCN",
    "ResNet",
    "ResNet20",
    "ResNet32",
    "ResNet50",
    "ResNet110",
]
