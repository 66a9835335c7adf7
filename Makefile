# What there is to do here; plain `make` prints it. Everything is installed into .venv, at the versions of requirements/
# and with their hashes.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$python" && break; done)
BIN := .venv/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
# Nothing is taken from elsewhere where it was not looked at: --no-deps and --no-build-isolation.
INSTALL_DOG := PYTHONWARNINGS=ignore $(PIP) install --no-deps --no-build-isolation
# D.O.G. was the package `dog` before, which is another project's name on PyPI. Both have our file names, so it goes first.
UNINSTALL_OLD = old=$$($(BIN)/pip --disable-pip-version-check list --format freeze 2>/dev/null | grep '^dog==') || exit 0; \
	echo "Uninstalling $$old from .venv, for D.O.G. is the package dog-camera ..."; \
	$(PIP) uninstall --yes dog && rm -rf dog.egg-info

# What setup.cfg's extras the service is installed with, and how versions and hashes are written down: for every system and
# every Python from 3.11 on.
EXTRAS := v4l2 stream tls
BUILT_WITH := $(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(ARGS)

# Where make install puts the service: LIB has it whole, SYSTEM what systemd reads. DESTDIR goes before each, for packagers.
PREFIX ?= /usr/local
LIB = $(PREFIX)/lib/dog
SYSTEM ?= $(if $(filter /usr /usr/local,$(PREFIX)),$(PREFIX)/lib,/etc)

# If Python was replaced or the checkout was moved, nothing in .venv works. It is made again.
ifneq ($(wildcard .venv/pyvenv.cfg),)
ifneq ($(shell .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>&1 && grep -F "$(realpath .venv)/bin/" .venv/bin/pip >/dev/null || echo broken),)
$(info Python or the place of this checkout has changed since .venv was made, or its Python is too old.)
$(shell rm -f .venv/bin/pip .venv/run .venv/develop)
endif
endif

.PHONY: help run test test-pythons check test-cameras test-power-cuts test-load soak bench screenshots wheel install uninstall lock sbom clean

help: ## Print what there is.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/run ## Serve the test card at http://127.0.0.1:8080 (ARGS="--camera v4l2:/dev/video0" for yours).
	@exec $(BIN)/dog serve $(ARGS)

# Each of a thousand processes would compile every module again; and the tests import little of what they install.
test: export PYTHONDONTWRITEBYTECODE =
test: export PIP_COMPILE = 0
# Tests often wait, so there are two workers for each core.
test: WORKERS ?= $(shell echo $$((2 * $$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN))))
test: .venv/develop ## Run the tests, with a real Chromium (ARGS="tests/push/test_hub.py" for some).
	@tests/install_chromium.sh
	@tests/install_promtool.sh
	@tests/install_gstreamer.sh
	@tests/install_exiftool.sh
	@tests/install_asyncapi.sh
	@tests/install_proxies.sh
	@tests/install_ntfs.sh
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal --durations 20 $(ARGS)

test-pythons: PYTHONS ?= python3.11 python3.12 python3.13 python3.14
test-pythons: ## Run a part of the tests with each of these versions of Python that is installed.
	@.ci/test_pythons.sh $(PYTHONS)

check: .venv/develop ## Look for mistakes with ruff, mypy --strict, tsc and eslint, and for known weaknesses of what is installed.
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@.ci/check_static.sh
	@$(BIN)/python .ci/audit.py requirements/service.txt requirements/develop.txt

test-cameras: .venv/develop ## Run the tests with a real camera driver, in a guest (needs qemu).
	@$(BIN)/python -m pytest -m cameras tests/rig $(ARGS)

test-power-cuts: .venv/develop ## Cut the power of a guest's disk at 200 writes (needs qemu; SEED=4 chooses the writes).
	@SEED=$(SEED) $(BIN)/python -m pytest -m power_cuts tests/rig $(ARGS)

test-load: .venv/develop ## Run the tests under load and after crashes in their long form (45 minutes).
	@$(BIN)/python -m pytest -m load tests/load $(ARGS)

soak: MINUTES ?= 60
soak: .venv/develop ## Have viewers come and go for an hour, and see that nothing piles up (MINUTES=5 for less).
	@MINUTES=$(MINUTES) $(BIN)/python -m pytest -m soak tests/load/test_soak.py tests/load/test_wall.py $(ARGS)

bench: .venv/develop ## Measure the figures of docs/benchmarks.md, in ten minutes (ARGS="push memory" for some; ARGS=--help says more).
	@$(BIN)/python -m benchmarks $(ARGS)

screenshots: .venv/develop ## Take the screenshots in docs/images again.
	@tests/install_chromium.sh
	@$(BIN)/python -m tests.browser.take_screenshots

wheel: .venv/develop ## Build the wheel into dist/.
	@$(BIN)/python -m build --wheel --no-isolation

install: .venv/run ## Install the service with its unit for systemd (PREFIX=/usr/local, DESTDIR= for packagers).
	@deploy/install.sh "$(PYTHON)" "$(PREFIX)" "$(SYSTEM)"

uninstall: ## Take it away again; its settings and its photos stay.
	@rm -rf "$(DESTDIR)$(LIB)" "$(DESTDIR)$(PREFIX)/bin/dog" "$(DESTDIR)$(PREFIX)/bin/dog-camera" \
		"$(DESTDIR)$(SYSTEM)/systemd/system/dog.service" \
		"$(DESTDIR)$(SYSTEM)/sysusers.d/dog.conf" "$(DESTDIR)$(SYSTEM)/tmpfiles.d/dog.conf"

lock: .venv/develop ## Write versions and hashes down after setup.cfg was changed (ARGS=--upgrade for newer ones).
	@$(BUILT_WITH) | $(COMPILE) --output-file requirements/build.txt -
	@$(COMPILE) $(addprefix --extra ,$(EXTRAS)) --output-file requirements/service.txt setup.cfg
	@$(BUILT_WITH) | $(COMPILE) --all-extras --constraint requirements/build.txt --constraint requirements/service.txt \
		--output-file requirements/develop.txt setup.cfg -

sbom: .venv/develop ## List what the service is made of in dist/dog.cdx.json (CycloneDX).
	@DESTDIR="$(CURDIR)/build/installed" deploy/install.sh "$(PYTHON)" /usr/local /etc >/dev/null
	@$(BIN)/python .ci/sbom.py build/installed/usr/local/lib/dog dist/dog.cdx.json

clean: ## Remove what these made; photos stay.
	rm -rf .venv node_modules build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "D.O.G. needs Python 3.11 or later, and found none; install one, or say which: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "D.O.G. needs Python 3.11 or later, which $(PYTHON) is not. Install one, or say which: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks its venv module; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "Making the virtual environment .venv ..."
	@"$(PYTHON)" -m venv --clear .venv

.venv/run: .venv/bin/pip setup.cfg requirements/build.txt requirements/service.txt
	@echo "Installing what the service needs ..."
	@$(PIP) install --require-hashes --requirement requirements/build.txt --requirement requirements/service.txt
	@$(UNINSTALL_OLD)
	@$(INSTALL_DOG) --editable .
	@touch $@

# It holds what the other does, so that a fresh checkout installs once.
.venv/develop: .venv/bin/pip setup.cfg requirements/develop.txt
	@echo "Installing what the tests, the checks and the benchmarks need ..."
	@$(PIP) install --require-hashes --requirement requirements/develop.txt
	@$(UNINSTALL_OLD)
	@$(INSTALL_DOG) --editable .
	@touch .venv/run $@
