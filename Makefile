# Everything a developer runs. The first target of a bare checkout installs the environment;
# nothing is needed but make and Python 3.11 or newer (PYTHON=python3.12 chooses another).

PYTHON ?= python3
ifeq ($(PYTHON),python3)
VENV ?= .venv
else
VENV ?= .venv-$(notdir $(PYTHON))
endif
BIN := $(VENV)/bin
READY := $(VENV)/.installed
LAYOUT := build/layout
SOURCES := rsmeta cli sample_data benchmarks tests setup.py
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-slow check format lint type layers layout bench docs gpu clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY)  ## create the environment (every target below does so by itself)

$(READY): pyproject.toml setup.py
	@command -v $(PYTHON) >/dev/null || \
	  { echo "$(PYTHON) not found; install Python 3.11 or newer, or: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "rsmeta needs Python 3.11 or newer, $(PYTHON) is" \
	         "$$($(PYTHON) -V 2>&1); try: make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	  { echo "cannot create $(VENV); is the venv module installed (Debian: python3-venv)?" >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[dev]'
	@touch $@

demo: $(READY)  ## sample data, training, a map: two minutes, then look in demo_output/
	$(BIN)/rsmeta demo --output demo_output

test: $(READY)  ## the tests, on all cores; PYTEST_ARGS="-k grid" chooses
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

test-slow: $(READY)  ## the slow tests too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "not gpu" $(PYTEST_ARGS)

check: lint type layers  ## format, lint, types, layers: what CI runs before the tests

format: $(READY)  ## put the code in shape
	$(BIN)/ruff check --fix-only --quiet $(wildcard $(SOURCES))
	$(BIN)/ruff format $(wildcard $(SOURCES))

lint: $(READY)  ## is the code in shape?
	$(BIN)/ruff format --check $(wildcard $(SOURCES))
	$(BIN)/ruff check $(wildcard $(SOURCES))

type: $(READY) layout  ## mypy, strict
	cd $(LAYOUT) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml \
	  --cache-dir $(CURDIR)/.mypy_cache --package rsmeta --package rsmeta_cli

layers: $(READY) layout  ## do imports point down only?
	cd $(LAYOUT) && $(abspath $(BIN))/lint-imports --config $(CURDIR)/pyproject.toml \
	  --cache-dir $(CURDIR)/.import_linter_cache

# The packages as they lie once installed, for the tools that follow folders instead of imports:
# links, made anew each time because that costs nothing.
layout:
	@rm -rf $(LAYOUT) && mkdir -p $(LAYOUT)/rsmeta
	@ln -s "$(CURDIR)"/rsmeta/* "$(CURDIR)"/configs "$(CURDIR)"/sample_data $(LAYOUT)/rsmeta/
	@ln -s "$(CURDIR)"/cli $(LAYOUT)/rsmeta_cli

bench: $(READY)  ## the benchmarks
	@for script in $(wildcard benchmarks/bench_*.py); do \
	  echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done

docs: $(READY)  ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "there: build/site/index.html"

gpu: $(READY)  ## collect what a machine with a GPU and no network lacks: build/gpu/wheels
	$(BIN)/python benchmarks/gpu/collect.py
	@echo "there: python3 benchmarks/gpu/run.py"

clean:  ## remove what was built and cached; the environment stays
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
	  .hypothesis demo_output
	find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +
