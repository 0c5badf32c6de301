"""Data sets by name: embedded, or from the network, or from a folder of raw files."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from graphprune.data import bundled, ogb_files, ogbg, ogbn, planetoid, ppi, spmotif, superpixels, tu
from graphprune.data.base import GraphData
from graphprune.data.splits import SEED

# The sets of https://chrsmrrs.github.io/datasets/docs/datasets, to tell a typing error from a download.
TU_NAMES = frozenset(
    """
    AIDS alchemy_full aspirin benzene BZR BZR_MD COIL-DEL COIL-RAG COLLAB COLORS-3 COX2 COX2_MD Cuneiform
    DBLP_v1 DD DHFR DHFR_MD ENZYMES ER_MD ethanol Fingerprint FIRSTMM_DB FRANKENSTEIN IMDB-BINARY IMDB-MULTI
    KKI Letter-high Letter-low Letter-med MCF-7 MCF-7H MOLT-4 MOLT-4H MSRC_21 MSRC_21C MSRC_9 MUTAG
    Mutagenicity NCI-H23 NCI-H23H NCI1 NCI109 OHSU OVCAR-8 OVCAR-8H P388 P388H PC-3 PC-3H PROTEINS
    PROTEINS_full PTC_FM PTC_FR PTC_MM PTC_MR Peking_1 QM9 REDDIT-BINARY REDDIT-MULTI-12K REDDIT-MULTI-5K
    SF-295 SF-295H SN12C SN12CH SW-620 SW-620H SYNTHETIC SYNTHETICnew Synthie TRIANGLES
    TWITTER-Real-Graph-Partial UACC257 UACC257H Yeast YeastH ZINC_full ZINC_test ZINC_train ZINC_val
    deezer_ego_nets facebook_ct1 facebook_ct2 github_stargazers highschool_ct1 highschool_ct2 infectious_ct1
    infectious_ct2 malonaldehyde mit_ct1 mit_ct2 naphthalene reddit_threads salicylic_acid toluene tumblr_ct1
    tumblr_ct2 twitch_egos uracil
    """.split()  # noqa: SIM905
)


def names() -> tuple[str, ...]:
    """The embedded data sets, which need no network."""
    return tuple(bundled.CARDS)


def cards() -> tuple[bundled.Card, ...]:
    """What is known of each embedded data set."""
    return tuple(bundled.CARDS.values())


@dataclass(frozen=True)
class Family:
    """Data sets that one function loads.

    Args:
        names: the names of its sets; given the name that is asked for, so that OGB's lists are read only for it.
        load: called with the name, with ``root`` if the family has files, and with its options.
        options: those of :func:`load`, beside ``root``, that its sets have.
        files: whether ``root`` can say where the files are.
    """

    names: Callable[[str], Collection[str]]
    load: Callable[..., GraphData]
    options: tuple[str, ...] = ()
    files: bool = True


def _embedded_mutag(name: str, **options: Any) -> GraphData:
    return tu.graph_data(name, bundled.mutag(), bundled.CARDS[name].provenance, **options)


_FOLDS = ("fold", "split_seed", "features")
_TU = Family(lambda _: TU_NAMES, tu.load, _FOLDS)

# The first family that has a name loads it.
FAMILIES: tuple[Family, ...] = (
    Family(lambda _: ("MUTAG",), _embedded_mutag, _FOLDS, files=False),
    Family(lambda _: bundled.CARDS, bundled.load, files=False),
    Family(partial(ogb_files.names, "graph"), ogbg.load),
    Family(partial(ogb_files.names, "node"), ogbn.load),
    Family(lambda _: planetoid.NAMES, planetoid.load, ("features",)),
    Family(lambda _: ppi.NAMES, ppi.load),
    Family(lambda _: superpixels.SETS, superpixels.load, ("features",)),
    Family(spmotif.names, spmotif.load, ("split_seed",), files=False),
    _TU,
)


def load(
    name: str,
    *,
    root: str | Path | None = None,
    fold: int = 0,
    split_seed: int = SEED,
    features: str | None = None,
) -> GraphData:
    """A data set by name.

    Args:
        name: an embedded set (:func:`names`), a set of OGB (``ogbg-...``, ``ogbn-arxiv``), a Planetoid set (``Cora``,
            ``CiteSeer``, ``PubMed``), ``PPI``, ``mnist-superpixels``, ``cifar10-superpixels``, ``spmotif-0.9`` (of any
            bias) or a TU set (``NCI1``, ...). Spurious motifs are generated, superpixels come from a file that has to
            be built (docs/datasets.md). What else is not embedded is downloaded once into ``$GRAPHPRUNE_DATA``, else
            ``~/.cache/graphprune``.
        root: a folder (or zip archive) that holds the set's raw files; nothing is downloaded then, and TU sets of any
            name can be read.
        fold: which of a TU set's ten folds is the test split, 0 to 9.
        split_seed: seed of the folds (12345 gives the ICPG authors' ones), or of generated graphs.
        features: of a TU set: ``"deg+odeg100"``, ``"deg+odeg10"`` or ``"raw"`` (None: the authors' choice for the set,
            see :func:`graphprune.data.tu.graph_data`); of a Planetoid set: ``"row-normalised"`` (and None) or
            ``"raw"``; of superpixels: ``"raw"`` (and None) or ``"weight"``, which has edge weights.

    Raises:
        ValueError: unknown name (the text has the nearest ones); fold, seed or features for a set with fixed
            ones; damaged or contradicting raw files.
        FileNotFoundError: ``root`` does not hold the set.
        ConnectionError: the download failed; the text names the file.
        ImportError: a set of OGB that is not embedded, without the ``ogb`` extra.
    """
    family = _family(name, root)
    given = {"fold": fold, "split_seed": split_seed, "features": features}
    for option, default in (("fold", 0), ("split_seed", SEED), ("features", None)):
        if option not in family.options and given.pop(option) != default:
            fixed = [other for other in _FOLDS if other not in family.options]
            what = "one fixed split" if "features" in family.options else "one fixed split and fixed features"
            raise ValueError(f"{name} has {what}: leave out {' and '.join(fixed)}")
    return family.load(name, **given, **({"root": root} if family.files else {}))


def _family(name: str, root: str | Path | None) -> Family:
    families = [family for family in FAMILIES if root is None or family.files]
    for family in families:
        if name in family.names(name):
            return family
    others = {other.lower() for family in families if family is not _TU for other in family.names(name)}
    if root is not None and name.lower() not in others and not name.startswith("ogb"):
        return _TU
    raise ValueError(_unknown(name))


def _unknown(name: str) -> str:
    if name in ogb_files.names("link", name):
        return f"{name} has links to predict, not labels of graphs or nodes: load_links({name!r})"
    by_lower = {other.lower(): other for family in FAMILIES for other in family.names(name)}
    near = [by_lower[low] for low in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"embedded are {', '.join(names())};"
    return f"unknown data set {name!r}: {hint} TU files of any name can be read from a folder with root=FOLDER"
