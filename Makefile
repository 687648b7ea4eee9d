# `make setup` first looks whether anything is missing; every other target begins with it.
# All of it works as root, or as a user who may use sudo.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SUDO   := $(if $(filter 0,$(shell id -u)),,sudo)
# What mounts or starts containers runs as root and leaves no root-owned files beside the sources.
ROOTLY := $(SUDO) env PYTHONDONTWRITEBYTECODE=1

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SHIM_SOURCES := $(wildcard runner/containers/shim/*) $(wildcard tools/build_shim.py)

.PHONY: help setup demo test check format bench crash soak clients lock clean

help:
	@echo "make setup    install what is missing; leaves .venv/bin/pfs"
	@echo "make demo     run the fruit stand from cp to totals, in real containers"
	@echo "make test     the whole test suite; says what it skipped and why"
	@echo "make check    format, lint, types, layers and the fast tests (under a minute)"
	@echo "make crash    200 kills and 200 power cuts at bad moments, each followed by a look for damage"
	@echo "make soak     the mount against a plain folder for PFS_SOAK_MINUTES (30), memory flat"
	@echo "make clients  other people's programs on the mount; CLIENTS=\"git sqlite\" selects"
	@echo "make bench    measure, each figure beside its reference"
	@echo "make lock     compute requirements/*.txt anew from pyproject.toml"
	@echo "make clean    remove all of it, also the demo's image"

# --- setup: three stamps, so that the second time costs nothing -----------------------------------

setup: $(VENV)/.shim

$(VENV)/.debian: requirements/debian.txt
	@missing=""; \
	for package in $$(sed 's/#.*//' requirements/debian.txt); do \
	    dpkg-query --show --showformat='$${Status}' "$$package" 2>/dev/null | grep -q 'ok installed' \
	        || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	    echo "installing Debian packages:$$missing"; \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get update --quiet --quiet && \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	        apt-get install --quiet --quiet --yes --no-install-recommends $$missing; \
	fi
	@mkdir -p $(VENV)
	@touch $@

# pyfuse3 comes as source. What builds it is pinned by hash too, so it is installed first and the
# build uses it instead of fetching something of its own (docs/decisions/0001).
$(VENV)/.python: $(VENV)/.debian requirements/build.txt requirements/lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "pfs needs Python 3.11 or newer; say which: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "installing the Python packages of requirements/lock.txt"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) --require-hashes --only-binary :all: -r requirements/build.txt
	@$(PIP_INSTALL) --require-hashes --no-build-isolation -r requirements/lock.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.shim: $(VENV)/.python $(SHIM_SOURCES)
	@$(BIN)/python -m tools.build_shim
	@touch $@

# --- using it ---------------------------------------------------------------------------------------

demo: setup
	@$(ROOTLY) $(BIN)/python -m tools.demo

# --- tests ------------------------------------------------------------------------------------------

test: setup
	$(ROOTLY) $(BIN)/python -m pytest -rs -p no:cacheprovider

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit tests/properties

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

crash: setup
	$(ROOTLY) PFS_CRASH_KILLS=$${PFS_CRASH_KILLS:-200} PFS_CRASH_CUTS=$${PFS_CRASH_CUTS:-200} \
	    $(BIN)/python -m pytest -rA -p no:cacheprovider tests/crash

soak: setup
	$(ROOTLY) PFS_SOAK_MINUTES=$${PFS_SOAK_MINUTES:-30} \
	    PFS_SOAK_CYCLES=$${PFS_SOAK_CYCLES:-100000} $(BIN)/python -m pytest -s -p no:cacheprovider tests/soak

clients: setup
	$(ROOTLY) $(BIN)/python -m tools.clients $(CLIENTS)

bench: setup
	$(ROOTLY) $(BIN)/python -m tools.bench

# --- upkeep -----------------------------------------------------------------------------------------

COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links

lock:
	$(COMPILE) pyproject.toml --group dev --output-file requirements/lock.txt
	$(COMPILE) --group build --constraint requirements/lock.txt --output-file requirements/build.txt
	! grep -n '://' requirements/*.txt

clean:
	@$(SUDO) $(PYTHON) tools/demo.py --clean
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
