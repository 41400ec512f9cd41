# Everything a reader of the course needs. `make help` lists the targets.
#
# The first target that runs creates .venv and installs the versions of constraints.txt into it;
# later ones install again only after pyproject.toml or constraints.txt has changed.

PYTHON ?= python3
WORKERS ?= 2

# What the caller says reaches the recipes as variables of the environment, character by character. In the
# text of a command, make and the shell would run what stands between backticks or in $(…).
override PYTHON := $(value PYTHON)
override WORKERS := $(value WORKERS)
override NAMES := $(value NAMES)
override URL := $(value URL)
override GOALS := $(or $(MAKECMDGOALS),book)
export PYTHON WORKERS NAMES URL GOALS

# Settings of the caller's own work that would change what is installed, which kernel runs, or what a figure is:
# with MPLBACKEND=Agg, notebooks have no figures at all.
unexport MPLBACKEND MATPLOTLIBRC JUPYTER_PATH PYTHONPATH PYTHONHOME PYTHONSTARTUP
unexport PIP_USER PIP_TARGET PIP_PREFIX

VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
INTEROP := .venv-interop
SCHEMA := $(VENV)/bin/check-jsonschema --builtin-schema
PYTEST := $(PY) -m pytest -n "$$WORKERS" --dist loadfile

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install book test test-package test-notebooks test-slow test-interop lab notebooks lint \
        lint-style lint-github lint-types bench clean set-url

help:  ## list these targets
	@echo "Usage: make TARGET [PYTHON=python3.12] [WORKERS=2]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## create .venv and install everything (the other targets do this when needed)

$(INSTALLED): pyproject.toml constraints.txt
	@if [ ! -x $(PY) ]; then \
	  $$PYTHON -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "This course needs Python 3.11 or newer, and '$$PYTHON' is not that:" \
	         "$$($$PYTHON --version 2>&1 | head -n 1)" >&2; \
	    echo "Name another one, for example: make $$GOALS PYTHON=python3.12" >&2; \
	    exit 1; }; \
	  echo "Creating $(VENV) with $$PYTHON"; \
	  $$PYTHON -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; \
	fi
	$(PY) -m pip install -e '.[dev]' -c constraints.txt
	@touch $@

book: $(INSTALLED)  ## execute every notebook and build the site; a failing cell or a warning stops it
	$(PY) tools/make_explorer.py _build/explorer
	$(VENV)/bin/jupyter-book build --all -W --keep-going .
	@echo
	@echo "The book is ready: open $$PWD/_build/html/index.html"

test: test-package test-notebooks  ## run all tests: the package, the site, every notebook

test-package: $(INSTALLED)  ## run the tests of the package and of the site, and the examples in docstrings
	$(PYTEST) --doctest-modules othello_edu tests

# One thread for each worker: two kernels that each ask for every core slow each other down.
test-notebooks: $(INSTALLED)  ## run every notebook and compare the outputs that cannot vary
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(PYTEST) --nbval-lax --nbval-current-env --nbval-cell-timeout=600 notebooks

test-slow: $(INSTALLED)  ## run the tests that `make test` leaves out because they take minutes
	$(PYTEST) -m slow tests

test-interop:  ## compare with the real TransformerLens and SAELens, in an environment of its own
	@test -x $(INTEROP)/bin/python || $$PYTHON -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install -e '.[interop]' -c constraints.txt
	$(INTEROP)/bin/python -m pytest -m interop tests/test_interop.py

lab: $(INSTALLED)  ## open the notebooks in JupyterLab
	$(VENV)/bin/jupyter trust notebooks/*.ipynb > /dev/null  # their boards are shown before they are run
	$(VENV)/bin/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks

notebooks: $(INSTALLED)  ## execute the notebooks, save outputs and timings (only some: NAMES="01_the_game")
	set -f; $(PY) tools/run_notebooks.py $$NAMES

lint: lint-style lint-types lint-github  ## check style, format and types, the JavaScript, and what is in .github

lint-style: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/oxlint othello_edu book

# The schemas come with the program; neither of the two asks a network.
lint-github: $(INSTALLED)
	$(SCHEMA) vendor.github-workflows .github/workflows/*.yml
	$(SCHEMA) custom.github-workflows-require-timeout .github/workflows/*.yml
	$(SCHEMA) vendor.github-issue-forms .github/ISSUE_TEMPLATE/[0-9]*.yml
	$(SCHEMA) vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(SCHEMA) vendor.citation-file-format CITATION.cff
	$(VENV)/bin/zizmor --offline --quiet --persona=pedantic .github

lint-types: $(INSTALLED)
	$(PY) -m mypy

bench: $(INSTALLED)  ## measure speed and memory, as ratios within one run
	$(PY) benchmarks/run.py

clean:  ## remove what was built, but not .venv
	rm -rf _build build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

set-url: $(INSTALLED)  ## write the repository's address everywhere: make set-url URL=https://github.com/…
	@test -n "$$URL" || { echo "Say which: make set-url URL=https://github.com/owner/name" >&2; exit 1; }
	$(PY) tools/set_url.py "$$URL"
