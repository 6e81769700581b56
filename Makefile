# make run, test, check, bench: each makes its own virtual environment first.
#   make check PYTHON=python3.13 VENV=.venv313     with another Python, beside the first
#   make run ARGS='--jobs 500 --seed 7'

PYTHON ?= python3
VENV ?= .venv
FREE_VENV ?= .venv-free-threaded
ARGS ?=
SECONDS ?= 60
# Three processes for two cores, since many tests wait for a disk or for a process that starts. One
# that has run out of tests takes some of another's.
PROCESSES ?= $(shell $(PYTHON) -c 'import os; cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1; print(cores * 3 // 2)')
PARALLEL ?= -n $(PROCESSES) --dist worksteal

# Django 6 needs Python 3.12: with an older one nothing can run what is for it alone.
OMITTED = $(shell $(BIN)/python -c 'import sys; old = sys.version_info < (3, 12); print("--omit=*/contrib/django/backend.py,*/contrib/django/results.py" if old else "")')

BIN := $(VENV)/bin
READY := $(VENV)/ready
CODE := $(wildcard src tests lab examples benchmarks)

# An environment carries the version of the Python that made it; another one's is made anew.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3] + getattr(sys, "abiflags", ""))' 2>/dev/null)
MADE_BY := $(VENV)/python-$(or $(VERSION),missing)

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run run-cluster test test-free-threaded check check-all mutants torture bench bench-peers bench-engine bench-report lab docs docs-serve pictures lint types format clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' $(MAKEFILE_LIST)

run: $(READY) ## deliver webhooks, kill the sender half-way, lose nothing (ARGS=...)
	$(BIN)/python -m examples.webhooks $(ARGS)

run-cluster: $(READY) ## a PostgreSQL, two workers, one of them killed; lose nothing (ARGS=...)
	$(BIN)/python -m examples.cluster $(ARGS)

# Programs that tests start are twice as quick to import what was compiled before.
test: export PYTHONDONTWRITEBYTECODE =
test: $(READY) ## the tests, with branch coverage and its floor (ARGS=...); the lab's if it has changed
	$(BIN)/coverage erase
	$(BIN)/coverage run $(MEASURED) -m pytest $(PARALLEL) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report $(OMITTED)

# The environment is another one than that of `make test`: FREE_VENV, not VENV.
test-free-threaded: export PYTHON_GIL = 0
test-free-threaded: export TEST_ALL = 1
test-free-threaded: export PYTHONDONTWRITEBYTECODE =
test-free-threaded: ## all tests without the GIL (PYTHON=/path/to/python3.13t ARGS=...)
	@PYTHON_GIL= $(PYTHON) -c 'import sys, sysconfig as s; sys.exit(not s.get_config_var("Py_GIL_DISABLED"))' || { \
		echo '"$(PYTHON)" is no free-threaded Python; name one: make $@ PYTHON=python3.13t'; exit 1; }
	$(MAKE) VENV=$(FREE_VENV) $(FREE_VENV)/ready-free-threaded
	$(FREE_VENV)/bin/python -m pytest $(PARALLEL) $(ARGS)

check: lint types test ## everything that has to pass: lint, types, test

# What is written down as tested is what was there before the tests: it may change while they run.
check-all: export TEST_ALL = 1
check-all: lint types ## the same, once a day: all tests, and the lab counts for the coverage, too
	tested=$$($(BIN)/python -m tests.support.left_out) && \
	$(MAKE) test ARGS= MEASURED=--source=lab && \
	echo $$tested >lab/tested.sha256

mutants: $(READY) ## take each guard out of the code and see a test fail (ARGS='flock sealing')
	$(BIN)/python -m tests.mutants $(ARGS)

bench: $(READY) ## what each part of each tier costs (ARGS=...)
	$(BIN)/python -m pytest benchmarks --benchmark-enable -p no:randomly \
		-o timeout=0 -o faulthandler_timeout=0 $(ARGS)

bench-peers: $(VENV)/ready-bench ## side by side with other job queues, and all figures (ARGS=...)
	$(BIN)/python -m benchmarks $(ARGS)

bench-engine: $(VENV)/ready-bench-engine ## queues on one PostgreSQL side by side (ARGS='enqueue no-ops')
	$(BIN)/python -m benchmarks.engine $(ARGS)

bench-report: $(VENV)/ready-bench ## the same, written into docs/performance.md, with plots, and README.md
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m tests.support.readme
	$(BIN)/python -m tests.support.contents

lab: $(READY) ## all experiments: data, pictures and pages of docs/lab (ARGS='crash --quick')
	$(BIN)/python -m lab $(or $(ARGS),all)

torture: $(READY) ## crash images, kills and injected errors by seed (SECONDS=600)
	$(BIN)/python -m tests.torture --seconds $(SECONDS) $(ARGS)

# Otherwise each build begins with a note on what comes after the generator that the theme is for.
docs docs-serve: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/ready-docs ## the documentation as a site, site/index.html; a dead link is an error
	$(BIN)/python -m mkdocs build --clean

docs-serve: $(VENV)/ready-docs ## the same, on this machine's port 8000, made anew on each change
	$(BIN)/python -m mkdocs serve

pictures: $(READY) ## the diagrams and the dashboard in docs, with Chromium and npm; takes five minutes
	$(BIN)/python -m tests.support.diagrams
	$(BIN)/python -m tests.support.pictures

lint: $(READY) ## ruff (rules and format) and the rules on who may import whom
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports

types: $(READY) ## mypy --strict; and pyright over what type checkers are to know of tasks
	$(BIN)/mypy $(CODE)
	$(BIN)/pyright --project tests/types/pyrightconfig.json

format: $(READY) ## put the code into shape
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean: ## remove what make and the tests left
	rm -rf .coverage .coverage.* .benchmarks .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache build dist site
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +
	test ! -f $(VENV)/pyvenv.cfg || rm -rf $(VENV)
	test ! -f $(FREE_VENV)/pyvenv.cfg || rm -rf $(FREE_VENV)

$(READY): pyproject.toml $(MADE_BY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# msgspec cannot be had for every Python without the GIL, so nothing is installed that is not named.
$(VENV)/ready-free-threaded: pyproject.toml $(MADE_BY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --prefer-binary --group free-threaded
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

# What is measured against, and what plots are drawn with; neither is needed for anything else.
$(VENV)/ready-bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	touch $@

$(VENV)/ready-bench-engine: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench-engine]'
	touch $@

$(VENV)/ready-docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	touch $@

$(MADE_BY):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else 1)' || { \
		echo '"$(PYTHON)" is not a Python >= 3.11; name one: make PYTHON=python3.12'; exit 1; }
	@test ! -e $(VENV) || test -f $(VENV)/pyvenv.cfg || { \
		echo '$(VENV) is there and is no virtual environment'; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	touch $@
