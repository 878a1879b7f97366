# Two commands: `make app` opens the app, `make test` checks everything. Both install what they need, once.

PYTHON ?= python3
# How many processes run the tests.
WORKERS ?= 2
# Options for the app, as in `make app OPTIONS="--port 9000"`.
OPTIONS ?=

RUN := .venv/bin/python -m
PIP := $(RUN) pip --disable-pip-version-check install --constraint constraints.txt
NEEDS := pyproject.toml constraints.txt

.PHONY: help app test bench ledger clean

help:
	@echo "make app     open the app on http://127.0.0.1:8501"
	@echo "make test    lint, types and tests"
	@echo "make bench   measure how fast knobs and engines answer"
	@echo "make ledger  train the bundled recipes, and write how small they get into the README"
	@echo "make clean   remove .venv and all that was built"

app: .venv/app-installed
	@$(RUN) explorer.cli $(OPTIONS)

test: .venv/tests-installed
	@$(RUN) tests.browser --install
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	OMP_NUM_THREADS=1 $(RUN) pytest --numprocesses $(WORKERS) --dist loadgroup -m "not timing"
	$(RUN) pytest -m timing

bench: .venv/tests-installed
	@$(RUN) tests.bench

ledger: .venv/tests-installed
	@$(RUN) tests.ledger
	@$(RUN) tests.cliff

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The stamps are newer than what they were made from, so nothing is installed twice.
.venv/app-installed: $(NEEDS) | .venv/made
	@echo "Installing the app into .venv (once; PyTorch is large)."
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation --editable .
	@touch $@

.venv/tests-installed: $(NEEDS) | .venv/made
	@echo "Installing what the tests need into .venv (once)."
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation --editable ".[test]"
	@touch $@ .venv/app-installed

.venv/made:
	@command -v $(PYTHON) >/dev/null || \
		{ echo "Python 3.11 or newer is needed: install it (on Debian or Ubuntu: apt-get install python3 python3-venv)." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) -V 2>&1): name a newer one with make PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing $$package with apt-get."; \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends $$package >/dev/null; \
		else \
			echo "Python's venv module is missing: install the package $$package." >&2; exit 2; \
		fi; }
	@$(PYTHON) -m venv .venv
	@touch $@
