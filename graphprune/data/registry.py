"""Data sets by name: embedded, from the network, a folder of raw files or a stored set, or a plug-in's."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from graphprune.data.base import GraphData
from graphprune.data.disk.open import DOCUMENT, open_stored
from graphprune.data.files import image_files, ogb_files
from graphprune.data.images import ImageData
from graphprune.data.pyg import KNOWN
from graphprune.data.sets import bundled, ogbg, ogbn, planetoid, ppi, spmotif, superpixels, tu
from graphprune.data.sets import images as image_sets
from graphprune.data.sets.shared import Card
from graphprune.data.splits import SEED, check_seed
from graphprune.graphs.encodings import Encodings
from graphprune.registry import Registry

# Functions that other packages register, called with their set's name and those options of load() that they name.
LOADERS: Registry[Callable[..., GraphData | ImageData]] = Registry(
    "graphprune.data",
    {},
    lambda name, thing: callable(thing) and not any(name in family.names(name) for family in FAMILIES),
    "a function that loads a set under a free name",
)

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
    """The embedded data sets, which need no network, and those of plug-ins."""
    return tuple(dict.fromkeys((*bundled.CARDS, *LOADERS)))


def cards() -> tuple[Card, ...]:
    """What is known of each embedded data set, and of those of plug-ins that can be imported."""
    plugins = (
        Card(name, (inspect.getdoc(load) or "").partition("\n")[0], f"plug-in {load.__module__}", "?", "?")
        for name, load in LOADERS.working().items()
        if name not in bundled.CARDS
    )
    return (*bundled.CARDS.values(), *plugins)


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
    load: Callable[..., GraphData | ImageData]
    options: tuple[str, ...] = ()
    files: bool = True


def _embedded_mutag(name: str, **options: Any) -> GraphData:
    return tu.graph_data(name, bundled.mutag(), bundled.CARDS[name].provenance, **options)


def _stored(name: str, root: str | Path) -> GraphData:
    data = open_stored(Path(root).expanduser())
    if data.name != name:
        raise ValueError(f"{root} holds the stored set {data.name!r}, not {name!r}")
    return data


def _is_stored(place: str | Path) -> bool:
    return os.path.isfile(os.path.join(os.path.expanduser(place), DOCUMENT))  # which takes any name


def _plugin(name: str, **options: Any) -> GraphData | ImageData:
    data = LOADERS[name](name=name, **options)
    if not isinstance(data, GraphData | ImageData):
        raise TypeError(f"plug-in {name!r} gives a {type(data).__name__}, not a GraphData or ImageData")
    return data


# Options of load() and their defaults; families take some of them.
_DEFAULTS: dict[str, Any] = {"fold": 0, "split_seed": SEED, "features": None, "limit": None, "augment": None}
_FOLDS = ("fold", "split_seed", "features")
_IMAGES = ("split_seed", "limit", "augment")
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
    Family(lambda _: ("digits",), image_sets.load_digits, _IMAGES, files=False),
    Family(lambda _: image_files.FILES, image_sets.load, _IMAGES),
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
    limit: int | None = None,
    augment: bool | None = None,
    encodings: Encodings | None = None,
) -> GraphData | ImageData:
    """A data set by name.

    Args:
        name: an embedded set (:func:`names`), a set of OGB (``ogbg-...``, ``ogbn-arxiv``), a Planetoid set (``Cora``,
            ``CiteSeer``, ``PubMed``), ``PPI``, ``mnist-superpixels``, ``cifar10-superpixels``, ``spmotif-0.9`` (of any
            bias), a TU set (``NCI1``, ...), a set of images (``digits``, ``mnist``, ``fashion-mnist``, ``cifar10``), or
            one of the entry-point group ``graphprune.data``. Spurious motifs are generated, superpixels come from a
            file that has to be built (docs/datasets.md), digits from scikit-learn. What else is not embedded is
            downloaded once into ``$GRAPHPRUNE_DATA``, else ``~/.cache/graphprune``.
        root: a folder (or zip archive) that holds the set's raw files; nothing is downloaded then, and TU sets of any
            name can be read. Or the folder of a stored set of that name (:func:`open_stored`).
        fold: which of a TU set's ten folds is the test split, 0 to 9.
        split_seed: seed of the folds (12345 gives the ICPG authors' ones), of generated graphs, or of the images that
            validate.
        features: of a TU set: ``"deg+odeg100"``, ``"deg+odeg10"`` or ``"raw"`` (None: the authors' choice for the set),
            or one of these with ``"+edges"``, as ``"deg+odeg100+edges"``: with edge labels, see
            :func:`graphprune.data.sets.tu.graph_data`; of a Planetoid set: ``"row-normalised"`` (and None) or
            ``"raw"``; of superpixels: ``"raw"`` (and None) or ``"weight"``, which has edge weights.
        limit: of images: how many train, classes in proportion; those of a smaller limit are among those of a larger
            one. None: all.
        augment: of images: whether those that train are cropped and reflected at random, see
            :class:`graphprune.data.Augment`. None: for ``cifar10`` only.
        encodings: of each node's place in its graph, for all networks and predictors to read beside ``x``, as
            ``{walks: 16}``; see :class:`graphprune.Encodings`. None: those that a stored set has, else none.

    Returns:
        Graphs, or an :class:`~graphprune.data.ImageData`.

    Raises:
        ValueError: unknown name (the text has the nearest ones); an option that the set does not have; damaged or
            contradicting raw files; encodings that cannot be counted.
        FileNotFoundError: ``root`` does not hold the set.
        ConnectionError: the download failed; the text names the file.
        ImportError: a set of OGB that is not embedded, without the ``ogb`` extra; digits without scikit-learn; a
            plug-in that fails to import.
    """
    family = _family(name, root)
    given = {"fold": fold, "split_seed": split_seed, "features": features, "limit": limit, "augment": augment}
    foreign = [key for key, value in given.items() if value != _DEFAULTS[key] and key not in family.options]
    if foreign:
        raise ValueError(_foreign(name, family, foreign))
    options = {option: given[option] for option in family.options}
    if "split_seed" in options:
        check_seed(split_seed, name)
    spec = None if encodings is None else Encodings.of(encodings)
    data = family.load(name=name, **options, **({"root": root} if family.files else {}))
    if spec is None:
        return data
    if not isinstance(data, GraphData):
        raise ValueError(f"{name} has images, no graphs: leave out encodings")
    return data.with_encodings(**spec.config())


def _foreign(name: str, family: Family, given: Sequence[str]) -> str:
    """What to say of options that a set does not have: which others it lacks too, and why."""
    if family.load is _plugin:
        return f"plug-in {name} takes no {' and no '.join(given)}: leave it out"
    group = _FOLDS if given[0] in _FOLDS else _IMAGES
    if group == _IMAGES or family.options == _IMAGES:
        what = "graphs, no images" if group == _IMAGES else "images, no graphs"
    else:
        what = "one fixed split" if "features" in family.options else "one fixed split and fixed features"
    return f"{name} has {what}: leave out {' and '.join(key for key in group if key not in family.options)}"


def _family(name: str, root: str | Path | None) -> Family:
    if root is not None and _is_stored(root):
        return Family(lambda _: (name,), _stored)
    families = [family for family in FAMILIES if root is None or family.files]
    for family in families:
        if name in family.names(name):
            return family
    if name in LOADERS:
        taken = inspect.signature(LOADERS[name]).parameters
        if root is not None and "root" not in taken:
            raise ValueError(f"plug-in {name} reads no files: leave out root")
        return Family(lambda _: (name,), _plugin, tuple(key for key in _DEFAULTS if key in taken), "root" in taken)
    others = {other.lower() for family in families if family is not _TU for other in family.names(name)}
    if root is not None and name.lower() not in others and not name.startswith("ogb"):
        return _TU
    raise ValueError(_unknown(name))


def _unknown(name: str) -> str:
    if _is_stored(name):
        return f"{name} is the folder of a stored set: load its name with root={name!r}, or open_stored({name!r})"
    by_lower = {other.lower(): other for family in FAMILIES for other in family.names(name)}
    objects = {key.split()[-1].lower(): key.split()[0] for key in KNOWN}
    if name.lower() in objects and name.lower() not in by_lower:
        return (
            f"{name} is a data set of torch_geometric, whose files are pickles, which are never loaded by name: hand "
            f"it in as an object, gp.data.from_pyg(...) of three {objects[name.lower()]}, or of one and split="
        )
    by_lower |= {other.lower(): other for other in LOADERS}
    near = [by_lower[low] for low in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"embedded are {', '.join(names())};"
    return f"unknown data set {name!r}: {hint} TU files of any name can be read from a folder with root=FOLDER"
