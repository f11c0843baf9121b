# All commands for users and developers. Each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AZURITE := .work/azurite
JAVASCRIPT := .work/javascript
SUPPLY := .work/supply
FUZZ := .work/fuzz
COVERAGE := .work/coverage
SECONDS ?= 60
# The tests of `make coverage`.
TESTS ?= tests
# More processes than cores are useful, because the tests mostly wait.
WORKERS ?= 6

.DEFAULT_GOAL := help
.PHONY: bench help setup demo test test-fast test-versions coverage test-package fuzz soak azurite javascript check binary image image-root sbom audit lock format clean check-deploy

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(VENV)/.installed: build/requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "aks-audit-log needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r build/requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

setup: $(VENV)/.installed ## create .venv with the locked requirements

demo: setup ## the whole path on the embedded emulator: no Azure, no configuration
	$(BIN)/python -m demo

test: setup azurite javascript ## all tests; says at the end how long they took, and which were the slowest
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=10 --durations-min=1

test-fast: setup ## unit and property tests
	$(BIN)/python -m pytest -n $(WORKERS) tests/unit tests/property

test-versions: ## the fast tests on each Python from 3.11 to 3.14 that is on this machine
	$(PYTHON) build/versions.py -- -n $(WORKERS)

# The report is also printed when a test fails; then the target fails.
coverage: setup azurite javascript ## lines and branches of aks_audit/ that no test in TESTS=tests runs
	rm -rf $(COVERAGE)
	@status=0; $(BIN)/coverage run -m pytest -p tests.measured -n $(WORKERS) --dist worksteal $(TESTS) || status=$$?; \
	  $(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$status

soak: setup azurite ## all faults at random for MINUTES=5, from SEED=, on STORE=blob or sqlite; nothing may be lost
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED)) $(if $(STORE),--store $(STORE))

fuzz: $(FUZZ)/.installed ## fuzz the unpacking with atheris, for SECONDS=60
	PYTHONPATH=.:$(FUZZ) $(BIN)/python tests/fuzz_unpack.py $(FUZZ)/corpus \
	  -max_total_time=$(SECONDS) -artifact_prefix=$(FUZZ)/ -print_final_stats=1

# atheris is not in the lock: only this target needs it, and it has wheels for some Pythons only.
$(FUZZ)/.installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --upgrade --target $(FUZZ) 'atheris>=2.3'
	@touch $@

azurite: ## install Azurite, the Blob Storage of the tests, if npm is there
	@if command -v npm >/dev/null && command -v node >/dev/null; then \
	  $(MAKE) -s $(AZURITE)/.installed; \
	elif [ -n "$$REQUIRE_AZURITE" ]; then \
	  echo "make azurite: npm (Node.js) is missing, and REQUIRE_AZURITE is set" >&2; exit 1; \
	else \
	  echo "make azurite: no npm (Node.js) here, so the tests on Blob Storage will be skipped"; \
	fi

$(AZURITE)/.installed: tests/azurite/package.json tests/azurite/package-lock.json tests/azurite/.npmrc
	@echo "installing Azurite into $(AZURITE)"
	@rm -rf $(AZURITE) && mkdir -p $(AZURITE) && cp $^ $(AZURITE)
	@cd $(AZURITE) && npm ci --ignore-scripts --omit=optional --loglevel=error
	@touch $@

javascript: ## install Azure's JavaScript SDK, which the emulator is tested with, if npm is there
	@if command -v npm >/dev/null && command -v node >/dev/null; then \
	  $(MAKE) -s $(JAVASCRIPT)/.installed; \
	elif [ -n "$$REQUIRE_JAVASCRIPT" ]; then \
	  echo "make javascript: npm (Node.js) is missing, and REQUIRE_JAVASCRIPT is set" >&2; exit 1; \
	else \
	  echo "make javascript: no npm (Node.js) here, so the tests with that SDK will be skipped"; \
	fi

$(JAVASCRIPT)/.installed: $(addprefix tests/emulator/javascript/, package.json package-lock.json .npmrc)
	@echo "installing the JavaScript SDK into $(JAVASCRIPT)"
	@rm -rf $(JAVASCRIPT) && mkdir -p $(JAVASCRIPT) && cp $^ $(JAVASCRIPT)
	@cd $(JAVASCRIPT) && npm ci --ignore-scripts --omit=optional --loglevel=error
	@touch $@

check: setup ## ruff, mypy strict, contracts of imports, whether the lock is up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python build/lock.py --check

binary: ## dist/aks-audit-log, one executable file
	sh build/binary.sh

image: ## the distroless image, with docker, podman or buildah
	sh build/image.sh

image-root: image ## the image's root file system in dist/image, for the tests that run it
	sh build/image_root.sh

test-package: setup binary ## the tests of the executable, and of the image if it is unpacked
	REQUIRE_BINARY=1 $(BIN)/python -m pytest tests/package

$(SUPPLY)/.installed: build/requirements-supply.txt
	$(PYTHON) -m venv $(SUPPLY)
	$(SUPPLY)/bin/python -m pip install --quiet --require-hashes -r build/requirements-supply.txt
	@touch $@

sbom: $(SUPPLY)/.installed ## dist/sbom.cdx.json, the list of what the executable holds (CycloneDX)
	@mkdir -p dist
	$(SUPPLY)/bin/cyclonedx-py requirements build/requirements.txt --pyproject pyproject.toml \
	  --output-reproducible --of JSON -o dist/sbom.cdx.json

audit: $(SUPPLY)/.installed ## look for known vulnerabilities of the locked requirements (needs network)
	sh build/audit.sh $(SUPPLY)/bin/pip-audit

check-deploy: setup .work/deploy-venv/.installed ## check deploy/: chart, manifests, alerts, scripts, Dockerfile
	@build/deploy_tools.sh
	@build/check_deploy.sh

.work/deploy-venv/.installed: build/requirements-deploy.txt
	$(PYTHON) -m venv .work/deploy-venv
	.work/deploy-venv/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

bench: setup binary ## throughput, latency, CPU and memory, against goals (10 minutes; QUICK=1 for less)
	$(BIN)/python -m bench $(if $(QUICK),--quick) --binary dist/aks-audit-log

lock: setup ## write the locked requirements again
	$(BIN)/python build/lock.py

format: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove everything that was built or installed here
	rm -rf $(VENV) dist .work .mypy_cache .ruff_cache .pytest_cache .hypothesis .grimp_cache .import_linter_cache
