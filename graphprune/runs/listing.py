"""What can be run, from the registries."""

from __future__ import annotations

from torch import nn

from graphprune import data
from graphprune.graphs import supports
from graphprune.graphs.soft.tables import PROVEN
from graphprune.graphs.sparsifiers import SCORERS
from graphprune.methods import METHODS
from graphprune.models import MODELS, ImageClassifier
from graphprune.runs.build import trial
from graphprune.runs.text import first_line, text_table


def listing() -> str:
    """Methods, models, data sets and convolutions, as text."""
    methods = [
        (name, "networks with soft edges" if method.soft_edges else "any network", first_line(method))
        for name, method in METHODS.working().items()
    ]
    models = [(name, *_reads(model), first_line(model)) for name, model in MODELS.working().items()]
    sets = [(card.name, card.about, card.licence) for card in data.cards()]
    convolutions = ", ".join(sorted(PROVEN))
    return "\n".join(
        [
            text_table(("method", "prunes", "about"), methods),
            "",
            text_table(("model", "reads", "soft edges", "about"), models),
            "",
            text_table(("data set", "about", "licence"), sets),
            "",
            "Also by name: every ogbg-* set and every TU set (NCI1, PROTEINS, ...), Cora, CiteSeer, PubMed, PPI, "
            "ogbn-arxiv, downloaded once or read from --data-root FOLDER; spmotif-BIAS, generated; "
            "mnist-superpixels and cifar10-superpixels, built by a script (docs/datasets.md); images: digits, mnist, "
            "fashion-mnist, cifar10. From Python: any set of torch_geometric, gp.data.from_pyg(OBJECT).",
            "Edge features (edge_attr): gin, gated-gcn and pna read OGB's bonds and other categories, as the edge "
            "labels of TU sets (--data-features deg+odeg100+edges), unless --bonds false, and real columns with "
            "--bonds true; "
            "gcn, sage and gat read any with --bonds true; an edge predictor reads all of them with "
            "--predictor.edges true.",
            f"Edge scorers of sparsifier (--edges) and hamp (--edge-score): {', '.join(SCORERS.working())}.",
            f"Convolutions of torch_geometric with soft edges: {convolutions} (aggregations, what is refused, and "
            "why: docs/convolutions.md).",
            "A layer of your own has them where it aggregates by torch_geometric, which a search checks before it "
            "begins, or where its forward takes edge_gate; others are taught with graphprune.register_soft_edges "
            "(docs/your-convolution.md).",
            *(
                fault
                for plugins in (METHODS, MODELS, SCORERS, data.LOADERS, data.METRICS)
                for fault in plugins.faults().values()
            ),
        ]
    )


def _reads(model: type[nn.Module]) -> tuple[str, str]:
    """What a model reads, and whether edges of it can be gated."""
    if issubclass(model, ImageClassifier):
        return "images", "-"
    try:
        supports(trial(model))
    except Exception as error:  # a model may be anybody's
        return "graphs", f"no: {str(error).partition(chr(10))[0]}"
    return "graphs", "yes"
