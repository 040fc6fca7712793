# The commands that newcomers and CI run. `make` alone lists them.
SHELL := /bin/sh
PIP := .venv/bin/python -m pip --disable-pip-version-check --quiet
LOCKED := --no-deps --require-hashes --no-compile  # a lock file names all there is to install: there is nothing to resolve
# In place of pip's own, which uses one core and compiles the packages' tests too. A file of another Python's syntax fails.
COMPILE := .venv/bin/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true
# The first Python that is new enough; `make PYTHON=...` chooses another.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
SOURCES := src tests bench
# Python keeps what it has compiled, whatever the shell says: otherwise each process compiles the sources anew.
export PYTHONDONTWRITEBYTECODE :=
# Four workers for two cores, as tests often wait for processes. Folders that share Spark or a browser run whole on one of
# them, other tests file by file (tests/conftest.py).
PYTEST := .venv/bin/pytest -n 4 --dist loadscope --no-loadscope-reorder

.PHONY: help install demo test test-fast test-nightly bench soak fuzz screenshots fixture lint format lock clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.run ## set up, so that .venv/bin/tidemill is there

demo: .venv/.run ## set up, and run the ready pipeline smart-home; ARGS="--exit-when-trained" ends by itself
	.venv/bin/tidemill up smart-home $(ARGS)

# Style, types and layers are checked beside the tests; their report comes last, where it is seen. The tests are collected
# once before, so that the workers find them compiled: otherwise each of them compiles them all.
test: .venv/.dev ## set up, and check style, types, layers and all tests but the nightly ones; ARGS go to pytest
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; $(MAKE) --no-print-directory lint > "$$log" 2>&1 & lint=$$!; \
	.venv/bin/pytest --collect-only -q $(ARGS) > /dev/null 2>&1; \
	$(PYTEST) $(ARGS); tests=$$?; wait $$lint || { cat "$$log"; exit 1; }; exit $$tests

test-fast: .venv/.dev ## the tests that start no Kafka, no Spark, no browser and no whole run; under two minutes
	$(PYTEST) -m "not nightly and not slow and not kafka and not spark and not browser and not console and not e2e" $(ARGS)

test-nightly: .venv/.dev ## the longer tests: the nightly ones, random examples of each property, a soak of three minutes
	$(PYTEST) -m nightly -o timeout=900 $(ARGS)
	$(MAKE) --no-print-directory fuzz MINUTES=5
	$(MAKE) --no-print-directory soak MINUTES=3

bench: .venv/.bench ## measure every line beside its peers into docs/benchmarks.md; QUICK=1: few rows; ONLY=predict,start; REWRITE=1
	@.venv/bin/python -m bench $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)") $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(REWRITE),--rewrite)

soak: .venv/.dev ## one hour of a steady stream with a random kill each minute; MINUTES=5 for less
	.venv/bin/python -m bench.soak --minutes $(or $(MINUTES),60)

fuzz: .venv/.dev ## search for random examples that fail a property, new ones each round, for MINUTES (10)
	@end=$$(($$(date +%s) + 60 * $(or $(MINUTES),10))); while [ $$(date +%s) -lt $$end ]; do \
	  $(PYTEST) -q -m hypothesis --hypothesis-profile random $(ARGS) || exit 1; done

screenshots: .venv/.dev ## take the console's pictures in docs/images again, with the tests of its pages
	TIDEMILL_SCREENSHOTS=docs/images .venv/bin/pytest -q tests/console/test_pages.py tests/pipelines/test_console_of_movies.py -k 'opens or titles or map' -m ''

fixture: .venv/.dev ## make a small run of this version, which the tests of later versions open
	.venv/bin/python -m tests.support.kept_run

lint: .venv/.dev ## check style, types and layers
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/.dev ## put the code in the common style
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

# Each lock file holds the exact versions of the one before it. No registry's address is written in them.
lock: ## choose the newest allowed versions of all dependencies, and write them down with their hashes
	@set -e; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	$(PYTHON) -m venv "$$scratch" && "$$scratch/bin/python" -m pip install --quiet uv; \
	compile() { "$$scratch/bin/uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header "$$@"; }; \
	compile pyproject.toml --group dev -c constraints.txt --upgrade -o requirements-dev.txt; \
	compile pyproject.toml -c requirements-dev.txt --upgrade -o requirements.txt; \
	compile --group bench -c requirements-dev.txt --upgrade -o requirements-bench.txt; \
	printf 'hatchling\neditables\n' > "$$scratch/build.in"; \
	compile "$$scratch/build.in" -c requirements-dev.txt --upgrade --no-annotate -o requirements-build.txt

clean: ## remove what was made here, but for runs
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# The virtual environment is filled again when a lock file has changed. `test` needs more than `demo`, in the same
# versions, so either can follow the other.
.venv/bin/python:
	@test -n "$(PYTHON)" || { echo 'Tidemill needs Python 3.11 or later; none was found. Install it, or say make PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo '$(PYTHON) lacks the module ensurepip; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Setting up .venv; the first time takes a few minutes.'
	$(PYTHON) -m venv .venv

.venv/.run: requirements.txt requirements-build.txt pyproject.toml | .venv/bin/python
	$(PIP) install $(LOCKED) -r requirements.txt -r requirements-build.txt
	@$(COMPILE)
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements-dev.txt pyproject.toml | .venv/bin/python
	$(PIP) install $(LOCKED) -r requirements-dev.txt
	@$(COMPILE)
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch .venv/.run $@

.venv/.bench: requirements-bench.txt .venv/.dev
	$(PIP) install $(LOCKED) -r requirements-bench.txt
	@touch $@
