# Two commands for a new user: `make demo` and `make test`. Both build .venv on their first run and then reuse it.

VENV := .venv
PY := $(VENV)/bin/python
# Hashes are checked for everything in the lock; uv itself only brings the packages here, any version of these does.
UV := uv>=0.8,<1
LOCK_COMMAND := $(VENV)/bin/uv pip compile pyproject.toml --extra local --group dev --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --no-emit-index-url

# What needs tools besides Python is no part of `make test`; these packages are of `make deploy-check` alone.
DEPLOY_LOCK_COMMAND := $(VENV)/bin/uv pip compile pyproject.toml --extra local --group dev --group deploy --universal \
	--python-version 3.11 --constraint requirements.lock --generate-hashes --no-header --no-annotate --no-emit-index-url

# What goes into the image: the versions that are tested, without what only tests need; and what builds its wheel.
IMAGE_LOCK_COMMAND := $(VENV)/bin/uv pip compile --universal --python-version 3.11 --constraint requirements.lock \
	--generate-hashes --no-header --no-annotate --no-emit-index-url --quiet
BUILD_REQUIREMENTS := $(PY) -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'], sep='\n')"

# .venv is built again when the lock, the project file or the place of the checkout is another one.
STAMP := $(VENV)/.ready-$(shell { pwd; cat requirements.lock pyproject.toml; } | cksum | tr ' ' '-')

# Nothing that is started from here can cost money or reach into another project's store.
unexport $(filter OPENAI_% ANTHROPIC_% AZURE_OPENAI_% GEMINI_% GOOGLE_% BATCHLINE_%,$(.VARIABLES))
# What a developer's shell may carry and would change what runs here.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTEST_ADDOPTS

.DEFAULT_GOAL := help
.PHONY: demo test kill-matrix mutants soak deploy-check image generate lint types contracts lock setup deploy-setup clean help

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' Makefile

demo: setup  ## run the main job on this machine: no Redis, no API key needed
	@$(PY) -m batchline.cli demo

test: setup  ## run the tests
	@$(PY) -m pytest -n 2 --ignore=tests/deploy

SECONDS ?= 120
soak: setup  ## lose nothing, pay for nothing twice: SECONDS of trouble (120; 900 is the long one), then an audit
	@$(PY) bench/soak.py --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# SHARD=1/3 runs a third, SEED=n draws the same order and choices again, LOGS=dir keeps the logs of what failed,
# ONLY=text runs only cases whose name has it, JOBS=n so many at a time.
kill-matrix: setup  ## let workers die at every point at which they can, in every way, and audit what came of it
	@$(PY) -m tests.crash.matrix $(if $(SHARD),--shard $(SHARD)) $(if $(SEED),--seed $(SEED)) $(if $(LOGS),--logs $(LOGS)) \
		$(if $(ONLY),--only "$(ONLY)") $(if $(JOBS),--jobs $(JOBS))

# ONLY=text runs only patches whose name or fault has it, SHARD=1/3 (with SEED=n) a part of them, JOBS=n so many at a time.
mutants: setup  ## take the handling of each fault out (tests/mutations) and see a test fail
	@$(PY) -m tests.mutations.run $(if $(SHARD),--shard $(SHARD)) $(if $(SEED),--seed $(SEED)) \
		$(if $(ONLY),--only "$(ONLY)") $(if $(JOBS),--jobs $(JOBS))

# TOOLS=required: a tool that is missing fails the check in place of skipping what needs it. TESTS=path runs only those.
deploy-check: deploy-setup  ## check chart, dashboards, alerts and image with their own tools
	@DEPLOY_TOOLS=$(or $(TOOLS),optional) $(PY) -m pytest --timeout=600 $(or $(TESTS),tests/deploy)

# docker, podman, or buildah build: ENGINE=... Targets: production, and demo with the emulator and a store inside.
ENGINE ?= docker
image:  ## build the image batchline, and batchline:demo, with ENGINE (docker)
	@$(ENGINE) build --target production --build-arg REVISION="$$(git rev-parse HEAD)" --tag batchline .
	@$(ENGINE) build --target demo --build-arg REVISION="$$(git rev-parse HEAD)" --tag batchline:demo .

generate: deploy-setup  ## write the dashboards, and the chart's copies of dashboards and alerts, from their sources
	@$(PY) -m grafana.source

lint: setup  ## check style and format
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

# The generators of the dashboards and the deploy checks are typed against their libraries.
types: deploy-setup  ## check types
	@$(PY) -m mypy

contracts: setup  ## check which module may import which
	@$(VENV)/bin/lint-imports

lock: setup  ## write all locks anew from pyproject.toml
	@$(LOCK_COMMAND) --upgrade --quiet -o requirements.lock
	@$(DEPLOY_LOCK_COMMAND) --upgrade --quiet -o requirements-deploy.lock
	@$(IMAGE_LOCK_COMMAND) --upgrade pyproject.toml -o image/runtime.lock
	@$(IMAGE_LOCK_COMMAND) --upgrade pyproject.toml --extra local -o image/demo.lock
	@$(BUILD_REQUIREMENTS) | $(IMAGE_LOCK_COMMAND) --upgrade - -o image/build.lock

clean:  ## remove .venv and what tools leave behind
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
	find worker tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(STAMP)  ## build .venv

DEPLOY_STAMP := $(VENV)/.deploy-$(shell cat requirements-deploy.lock 2>/dev/null | cksum | tr ' ' '-')

deploy-setup: setup $(DEPLOY_STAMP)  ## add to .venv what the deploy checks need

$(DEPLOY_STAMP): $(STAMP)
	@UV_LINK_MODE=copy $(PY) -m uv pip install --quiet --python $(PY) --require-hashes -r requirements-deploy.lock
	@rm -f $(VENV)/.deploy-*; touch $@

# One shell, so that a failing step stops the rest. The last line of a failing search for Python says what to do.
$(STAMP):
	@set -eu; \
	good='import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'; \
	if ! $(PY) -c "$$good" 2>/dev/null; then \
		python=; \
		for each in python3 python3.13 python3.12 python3.11; do \
			if $$each -c "$$good" 2>/dev/null; then python=$$each; break; fi; \
		done; \
		if [ -z "$$python" ]; then \
			echo "batchline needs Python 3.11 or newer with its venv module; python3 here is: $$(python3 --version 2>&1 || true)" >&2; \
			echo "On Debian or Ubuntu: apt-get install python3 python3-venv" >&2; \
			exit 1; \
		fi; \
		echo "Building $(VENV) with $$($$python --version)"; \
		$$python -m venv --clear $(VENV); \
	fi; \
	$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null; \
	export UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never PIP_DISABLE_PIP_VERSION_CHECK=1; \
	with_uv() { \
		{ $(PY) -m uv --version >/dev/null 2>&1 || $(PY) -m pip install --quiet '$(UV)'; } && \
		$(PY) -m uv pip install --quiet --python $(PY) --require-hashes -r requirements.lock && \
		$(PY) -m uv pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .; \
	}; \
	with_pip() { \
		echo "uv cannot be used here; pip takes about a minute"; \
		$(PY) -m pip install --quiet --require-hashes -r requirements.lock && \
		$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .; \
	}; \
	with_uv || UV_SYSTEM_CERTS=1 with_uv || with_pip; \
	rm -f $(VENV)/.ready-*; \
	touch $@
