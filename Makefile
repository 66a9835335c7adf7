# What there is to do here; plain `make` prints it. Everything is installed into .venv, at the versions of constraints.txt.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$python" && break; done)
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: help run test check test-cameras test-load soak bench screenshots wheel clean

help: ## Print what there is.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/run ## Serve the test card at http://127.0.0.1:8080 (ARGS="--camera v4l2:/dev/video0" for yours).
	@exec $(BIN)/dog serve $(ARGS)

test: .venv/test ## Run the tests, with a real Chromium (ARGS="tests/test_hub.py" for some).
	@tests/install_chromium.sh
	@tests/install_promtool.sh
	@tests/install_gstreamer.sh
	@tests/install_exiftool.sh
	@tests/install_asyncapi.sh
	@$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

check: .venv/check ## Look for mistakes with ruff and mypy --strict.
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

test-cameras: .venv/test ## Run the tests with a real camera driver, in a guest (needs qemu).
	@$(BIN)/python -m pytest -m cameras tests/rig $(ARGS)

test-load: .venv/test ## Run the tests under load and after crashes in their long form (half an hour).
	@$(BIN)/python -m pytest -m load tests/load $(ARGS)

soak: MINUTES ?= 60
soak: .venv/test ## Have viewers come and go for an hour, and see that nothing piles up (MINUTES=5 for less).
	@MINUTES=$(MINUTES) $(BIN)/python -m pytest -m soak tests/load/test_soak.py $(ARGS)

bench: .venv/bench ## Measure the figures of docs/benchmarks.md, in ten minutes (ARGS="push memory" for some; ARGS=--help says more).
	@$(BIN)/python -m benchmarks $(ARGS)

screenshots: .venv/test ## Take the pictures in docs/images anew.
	@tests/install_chromium.sh
	@$(BIN)/python -m tests.browser.take_screenshots

wheel: .venv/test ## Build the wheel into dist/.
	@$(BIN)/python -m build --wheel

clean: ## Remove what these made; photos stay.
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "D.O.G. needs Python 3.11 or later, and found none; install one, or say which: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks its venv module; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "Making the virtual environment .venv ..."
	@"$(PYTHON)" -m venv .venv

# Each holds what the one before it does, so that a fresh checkout installs once.
.venv/run: .venv/bin/pip setup.cfg constraints.txt
	@echo "Installing what the service needs ..."
	@$(INSTALL) '.[v4l2,stream]'
	@touch $@

.venv/test: .venv/bin/pip setup.cfg constraints.txt
	@echo "Installing what the tests need ..."
	@$(INSTALL) '.[test]'
	@touch .venv/run $@

.venv/check: .venv/bin/pip setup.cfg constraints.txt
	@echo "Installing what the checks need ..."
	@$(INSTALL) '.[test,check]'
	@touch .venv/run .venv/test $@

# Beside them, for nobody else needs it.
.venv/bench: .venv/bin/pip setup.cfg constraints.txt
	@echo "Installing what the benchmarks need ..."
	@$(INSTALL) '.[bench]'
	@touch .venv/run $@
