# `make demo` and `make test` do everything on a fresh machine: each prepares .venv first if there is none.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help venv demo docs lint structure test test-slow campaigns anchors
.DEFAULT_GOAL := help

help:
	@echo 'make venv       create .venv with the exact versions of constraints.txt, all extras included'
	@echo 'make demo       compare ICPG, GICP and UGS on two embedded sets and write a report'
	@echo 'make docs       the documentation site, in site/; warnings are errors, and the network is not needed'
	@echo 'make lint       ruff, mypy --strict, import-linter'
	@echo 'make anchors    train the dense networks that all comparisons start from (hours; goes on where it was stopped)'
	@echo 'make structure  files, lines, floors and arrows of the code'
	@echo 'make test       lint, then every test that is not marked slow'
	@echo 'make test-slow  the tests marked slow'
	@echo 'make campaigns  kills over all commands, mutated tickets and files: up to two hours; CAMPAIGN=... chooses one'
	@echo 'PYTHON=... chooses the interpreter of .venv (3.11 or newer; now: $(PYTHON))'

venv: $(INSTALLED)

# setuptools comes first, pinned like the rest: the project is then built with it and not with whatever is newest.
$(INSTALLED): constraints.txt pyproject.toml setup.py
	@command -v '$(PYTHON)' >/dev/null || \
	  { echo "graphprune: no '$(PYTHON)' here; install Python 3.11 or newer, or say make PYTHON=/path/to/python" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "graphprune needs Python 3.11 or newer, '$(PYTHON)' is $$('$(PYTHON)' -V 2>&1); say make PYTHON=/path/to/python" >&2; exit 1; }
	'$(PYTHON)' -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt setuptools
	$(BIN)/python -m pip install --constraint constraints.txt --no-build-isolation --editable '.[all]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/graphprune demo

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo 'read it in site/index.html, or with a search: $(BIN)/python -m http.server --directory site'

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

structure: $(INSTALLED)
	$(BIN)/python benchmarks/structure.py

test: lint
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

# Each for a limited time; a small version of each is in `make test`.
CAMPAIGN ?= kills tickets inputs
campaigns: $(INSTALLED)
	for name in $(CAMPAIGN); do OMP_NUM_THREADS=1 $(BIN)/python -m "tests.campaigns.$$name" || exit 1; done

# One grid after the other, each resumable; ANCHORS=name chooses one.
ANCHORS ?= *
anchors: $(INSTALLED)
	for grid in benchmarks/anchors/$(ANCHORS).yaml; do \
	  $(BIN)/graphprune bench "$$grid" --out "runs/anchors/$$(basename "$$grid" .yaml)" || exit 1; done
	$(BIN)/python benchmarks/anchors.py runs/anchors benchmarks/results/anchors
