# Thin names for the program and its checks. Only python3 (3.11 or newer), make and pip are needed.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SPECS := $(wildcard examples/*.yaml)
PYTEST := $(BIN)/python -m pytest
JOBS ?= 2
RELEASES ?= 0.11.0 0.23.0

# --without-pip: a Debian machine has pip and venv but not always ensurepip; pip then fills the venv from outside.
define new-venv
	$(PYTHON) -m venv --without-pip $(1)
	$(PYTHON) -m pip --python $(1)/bin/python install --quiet --disable-pip-version-check 'pip>=25.1'
endef

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(VENV)/.apply ## the program with what reaches nodes, in .venv

$(VENV)/.compiler: pyproject.toml compiler/__init__.py
	$(call new-venv,$(VENV))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@# for users whose environment keeps Python from doing it by the way
	@$(BIN)/python -m compileall -q compiler schema templates
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c 'from compiler.jinja import compile_all; compile_all()'
	@touch $@

$(VENV)/.apply: $(VENV)/.compiler
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[apply]'
	@touch $@

$(VENV)/.tests: $(VENV)/.apply pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group test --group lint
	@touch $@

.PHONY: render
render: $(VENV)/.compiler ## compile every spec of examples/ into generated/
	@for spec in $(SPECS); do $(BIN)/compiler render --output generated "$$spec" || exit; done

.PHONY: test
test: $(VENV)/.tests .venv-compose-v1/.done ## lint, types, and all tests but those that need real parts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -m 'not rig and not soak' --numprocesses $(JOBS)

.PHONY: check
check: $(VENV)/.tests ## the quick half of `make test`: lint, types, and whether generated/ is fresh
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@for spec in $(SPECS); do $(BIN)/compiler render --check --quiet --output generated "$$spec" || exit; done

.PHONY: fix
fix: $(VENV)/.tests ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: snapshots
snapshots: $(VENV)/.tests schema render ## rewrite every golden file; read the diff as carefully as code
	-$(PYTEST) tests/test_cases.py tests/test_standing.py --snapshot-update --allow-snapshot-deletion --quiet
	UPDATE_DOCS=1 $(PYTEST) tests/test_docs.py tests/test_parallelism.py tests/test_explain.py tests/test_triage.py --quiet
	$(PYTEST) tests/test_cases.py tests/test_standing.py tests/test_docs.py tests/test_parallelism.py tests/test_explain.py tests/test_triage.py --quiet

.PHONY: schema
schema: $(VENV)/.compiler ## rewrite schema/cluster.schema.json
	$(BIN)/compiler schema > $(VENV)/schema.json && cp $(VENV)/schema.json schema/cluster.schema.json

.PHONY: flags
flags: $(VENV)/.tests ## ask vLLM's own parsers for schema/vllm_flags.json: RELEASES='0.11.0 0.23.0'
	$(BIN)/python tests/rig/vllm_table.py $(RELEASES)

.PHONY: bench
bench: $(VENV)/.bench ## measure what compiling costs; rewrites docs/performance.md and its plot
	$(BIN)/python tests/bench/bench.py

.PHONY: bench-check
bench-check: $(VENV)/.tests ## fail when a ratio is well above the one in docs/performance.md
	$(BIN)/python tests/bench/bench.py --check

$(VENV)/.bench: $(VENV)/.tests
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	@touch $@

.PHONY: wheel
wheel: $(VENV)/.compiler ## build dist/*.whl
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .

.PHONY: rig
rig: $(VENV)/.tests .venv-compose-v1/.done ## the suite with real parts: Docker, Ray, network namespaces (Debian, root)
	tests/rig/packages
	$(PYTEST) -m rig

.PHONY: soak
soak: $(VENV)/.tests .venv-compose-v1/.done ## every crash point, 10,000 kills, 10,000 hostile specs: an hour or more
	SOAK=1 SOAK_KILLS=10000 $(PYTEST) -m 'not rig' --timeout 7200 --numprocesses $(JOBS)

# Compose 1.29.2 and the Compose 2 wheel are both a package called `compose`: they cannot share a venv. Its
# pins are from 2021; what it needs for `config` works with the releases of today.
.venv-compose-v1/.done: Makefile
	$(call new-venv,.venv-compose-v1)
	.venv-compose-v1/bin/python -m pip install --quiet --disable-pip-version-check \
	  'docker<7' 'jsonschema<4' 'python-dotenv<1' 'requests<2.32' 'setuptools<80' 'urllib3<2' \
	  'websocket-client<1' distro docopt dockerpty pyyaml texttable
	.venv-compose-v1/bin/python -m pip install --quiet --disable-pip-version-check --no-deps docker-compose==1.29.2
	@touch $@

.PHONY: clean
clean: ## remove what make made here, but not generated/
	rm -rf $(VENV) .venv-compose-v1 .venv-ray .venv-vllm .cache-rig dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
