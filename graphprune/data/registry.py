"""Data sets by name: embedded, or from the network, or from a folder of raw files."""

from __future__ import annotations

import difflib
from pathlib import Path

from graphprune.data import bundled, ogbg, tu
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
        name: an embedded set (:func:`names`), an OGB graph property set (``ogbg-...``) or a TU set (``NCI1``,
            ...). What is not embedded is downloaded once into ``$GRAPHPRUNE_DATA``, else
            ``~/.cache/graphprune``.
        root: a folder (or zip archive) that holds the set's raw files, TU's or OGB's; nothing is downloaded
            then, and TU sets of any name can be read.
        fold: which of a TU set's ten folds is the test split, 0 to 9.
        split_seed: seed of the folds; 12345 gives the ICPG authors' ones.
        features: of a TU set: ``"deg+odeg100"``, ``"deg+odeg10"`` or ``"raw"``; None: the authors' choice for
            the set (see :func:`graphprune.data.tu.graph_data`).

    Raises:
        ValueError: unknown name (the text has the nearest ones); fold, seed or features for a set with fixed
            ones; damaged or contradicting raw files.
        FileNotFoundError: ``root`` does not hold the set.
        ConnectionError: the download failed; the text names the file.
        ImportError: a set of OGB that is not embedded, without the ``ogb`` extra.
    """
    if name == "MUTAG" and root is None:
        card = bundled.CARDS[name]
        return tu.graph_data(
            name, bundled.mutag(), card.provenance, fold=fold, split_seed=split_seed, features=features
        )
    fixed = name.startswith("ogbg-") or (name in bundled.CARDS and root is None)
    if not fixed and (root is not None or name in TU_NAMES):
        return tu.load(name, root=root, fold=fold, split_seed=split_seed, features=features)
    if fixed and (fold, split_seed, features) != (0, SEED, None):
        raise ValueError(f"{name} has one fixed split and fixed features: leave out fold, split_seed and features")
    if name in bundled.CARDS and root is None:
        return bundled.load(name)
    if name.startswith("ogbg-") and name in ogbg.catalogue():
        return ogbg.load(name, root=root)
    raise ValueError(_unknown(name))


def _unknown(name: str) -> str:
    known = {*bundled.CARDS, *TU_NAMES}
    if name.startswith("ogbg"):
        known |= ogbg.catalogue().keys()
    by_lower = {other.lower(): other for other in known}
    near = [by_lower[low] for low in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"embedded are {', '.join(names())};"
    return f"unknown data set {name!r}: {hint} TU files of any name can be read from a folder with root=FOLDER"
