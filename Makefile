# `make` prints the targets. Needed on the machine: Python 3.11 or newer, Node 20 or newer, git, make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JS := tests/js
SEEDS ?= 1000
ARGS ?=

PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
LOCKED := $(PIP_INSTALL) --require-hashes
EDITABLE := $(PIP_INSTALL) --no-deps --no-build-isolation --editable .

# Stamps say what is installed; each depends on the files that decide it, so `setup` may run any number of times.
VENV_STAMP := $(VENV)/.stamp-venv
RUNTIME_STAMP := $(VENV)/.stamp-runtime
DEV_STAMP := $(VENV)/.stamp-dev
JS_STAMP := $(JS)/node_modules/.stamp

LINTED := $(wildcard src tests bench examples)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup serve test check format nightly bench chromium lock clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(DEV_STAMP) $(JS_STAMP) ## Install everything for development: .venv and tests/js/node_modules

serve: $(RUNTIME_STAMP) ## Run a server (needs no Node); ARGS="--port 8000" are passed on
	$(BIN)/starlings serve $(ARGS)

test: check chromium $(JS_STAMP) ## Check, then run the whole suite, official clients included; ARGS="-k maps"
	$(BIN)/pytest -n 2 $(ARGS)

check: $(DEV_STAMP) ## Lint, formatting and types
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy

format: $(DEV_STAMP) ## Format the code and mend what the linter can mend
	$(BIN)/ruff check --fix --exit-zero $(LINTED)
	$(BIN)/ruff format $(LINTED)

nightly: setup chromium ## The whole suite and the long tests, the simulation with SEEDS=1000 seeds
	STARLINGS_SEEDS=$(SEEDS) $(BIN)/pytest -n 2 -m "nightly or not nightly" --timeout 7200 \
		--hypothesis-profile nightly $(ARGS)

bench: setup ## Measure the store and REST beside raw SQLite and a bare server; below two minutes
	-$(BIN)/python bench/store.py
	-$(BIN)/python bench/rest.py

chromium: ## Install the browser for the browser tests (Debian; as root or with sudo)
	@.ci/install-chromium

lock: ## Renew the lock files from pyproject.toml and tests/js/package.json; ARGS="--upgrade"
	test -x .make/uv/bin/uv || { $(PYTHON) -m venv .make/uv && .make/uv/bin/pip install --quiet uv; }
	$(UV_COMPILE) --group dev --output-file requirements-dev.lock pyproject.toml
	$(UV_COMPILE) --constraints requirements-dev.lock --output-file requirements.lock pyproject.toml
	$(UV_COMPILE) --constraints requirements-dev.lock --group build \
		--output-file requirements-build.lock
	cd $(JS) && npm install --package-lock-only

clean: ## Remove what setup and the tools made
	rm -rf $(VENV) $(JS)/node_modules .make .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Hashes for every platform and for each Python that we support, and no address of a package index.
UV_COMPILE = .make/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)

$(VENV_STAMP):
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(RUNTIME_STAMP): $(VENV_STAMP) requirements.lock requirements-build.lock pyproject.toml
	$(LOCKED) --requirement requirements.lock --requirement requirements-build.lock
	$(EDITABLE)
	touch $@

$(DEV_STAMP): $(VENV_STAMP) requirements-dev.lock pyproject.toml
	$(LOCKED) --requirement requirements-dev.lock
	$(EDITABLE)
	touch $@ $(RUNTIME_STAMP)

$(JS_STAMP): $(JS)/package-lock.json $(JS)/package.json $(JS)/.npmrc
	cd $(JS) && npm ci --no-update-notifier
	touch $@
