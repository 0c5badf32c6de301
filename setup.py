"""Packages are found; only the data folder, which lives outside the package, has to be mapped by hand."""

from setuptools import find_packages, setup

EMBEDDED = "graphprune.data.embedded"

setup(
    packages=[*find_packages(include=["graphprune", "graphprune.*"]), EMBEDDED],
    package_dir={EMBEDDED: "datasets"},
    package_data={
        "graphprune": ["py.typed", "*.pyi", "*/*.pyi", "report/templates/*.j2", "grids/demo.yaml"],
        EMBEDDED: ["*.npz", "*.zip", "*.md", "*.txt", "LICENSE*"],
    },
    include_package_data=False,  # else everything that MANIFEST.in names, the scripts of datasets/ too
)
