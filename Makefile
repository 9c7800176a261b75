# `make` lists the targets. STUDY, TARGET, MINUTES, TRIALS, MORE, WORKERS, CLUSTER, HOME_DIR, PORT, PAPER, HTML and SEED are passed on.
.DEFAULT_GOAL := help
.PHONY: help sweep cluster ui dashboard report test test-all chaos bench peers race scaling check format lock clean
.DELETE_ON_ERROR:

PYTHON ?= python3
STUDY ?=
TARGET ?=
MINUTES ?=
TRIALS ?=
MORE ?=
WORKERS ?=
CLUSTER ?=
HOME_DIR ?=
PORT ?=
PAPER ?=
HTML ?=
SEED ?=

# Values reach the program through the environment, so that the shell does not interpret them.
export STUDY TARGET MINUTES TRIALS MORE WORKERS CLUSTER PORT PAPER HTML SEED
export PYTHONSAFEPATH := 1
# If it is set, every start compiles every module again: 1.8 s of the 3.2 s in which `sweep run` imports them.
unexport PYTHONDONTWRITEBYTECODE
ifneq ($(HOME_DIR),)
export SWEEP_HOME := $(HOME_DIR)
endif
VENV := .venv
# The tests of a file share expensive fixtures. The longest files come first, so that both cores finish together.
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder tests/sweep/tracking tests/sweep/search tests
RUN := $(VENV)/bin/sweep

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  %-10s %s\n' "$$name" "$$text"; done
	@printf '\n  variables: STUDY=name, file.toml or data.csv  TARGET=column  MINUTES=10  TRIALS=total  MORE=added  WORKERS=processes  CLUSTER=tcp://host:8786  HOME_DIR=runs  PORT=5000  PAPER=letter  HTML=1  SEED=1\n'

# The locks are installed with their hashes checked, then the project itself: pip does not accept both in one command.
# Modules are compiled when they are first imported (--no-compile): most are never imported, so this halves the set-up time.
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@echo "Setting up $(VENV) (once, about a minute)"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed requirements-%.lock
	@$(PIP) --require-hashes -r requirements-$*.lock
	@touch $@

# A PostgreSQL address in the environment requires the driver.
DRIVER := $(if $(findstring postgres,$(SWEEP_STORAGE)$(SWEEP_TRACKING)),$(VENV)/.installed-postgres)

sweep: $(VENV)/.installed$(if $(CLUSTER),-cluster) $(DRIVER) ## Run or continue a study; without STUDY: mnist, or digits if MNIST is not available
	@$(RUN) run $${STUDY:+"$$STUDY"} $${TARGET:+--target "$$TARGET"} $${MINUTES:+--minutes "$$MINUTES"} $${TRIALS:+--trials "$$TRIALS"} $${MORE:+--more "$$MORE"} $${WORKERS:+--workers "$$WORKERS"} $${CLUSTER:+--cluster "$$CLUSTER"}

cluster: $(VENV)/.installed-cluster ## Set up a machine for a Dask cluster (docs/cluster.md)

ui: $(VENV)/.installed $(DRIVER) ## Open MLflow on the recorded sweeps
	@$(RUN) ui $${STUDY:+"$$STUDY"} $${PORT:+--port "$$PORT"}

dashboard: $(VENV)/.installed-dashboard $(DRIVER) ## Show a study in optuna-dashboard; read-only
	@$(RUN) dashboard $${STUDY:+"$$STUDY"} $${PORT:+--port "$$PORT"}

report: $(VENV)/.installed $(DRIVER) ## Write the report of STUDY, as a PDF or with HTML=1 as HTML
	@$(RUN) report $${STUDY:+"$$STUDY"} $${PAPER:+--paper "$$PAPER"} $${HTML:+--html}

test: $(VENV)/.installed-dev ## Run the fast tests
	@$(VENV)/bin/python -m pytest $(PARALLEL) -m "not mnist and not slow"

test-all: $(VENV)/.installed-dev ## Run every test; the MNIST ones need SWEEP_DATA
	@$(VENV)/bin/python -m pytest $(PARALLEL)

chaos: $(VENV)/.installed-dev ## Kill sweeps in every way, for some twenty minutes; SEED=n repeats the kills
	@$(VENV)/bin/python tests/chaos/chaos.py $${SEED:+--seed "$$SEED"}

# The benchmarks share files, which a script does not find with PYTHONSAFEPATH.
bench: export PYTHONPATH := tests/benchmarks
bench: $(VENV)/.installed ## Time training, coordination, MLflow, reports, whole sweeps: half an hour; PyTorch: .venv/bin/pip install torch==2.13.0
	@$(VENV)/bin/python tests/benchmarks/training.py
	@$(VENV)/bin/python tests/benchmarks/coordination.py
	@$(VENV)/bin/python tests/benchmarks/mirroring.py
	@$(VENV)/bin/python tests/benchmarks/reporting.py
	@$(VENV)/bin/python tests/benchmarks/scaling.py
	@$(VENV)/bin/python tests/benchmarks/sweeps.py

peers: export PYTHONPATH := tests/benchmarks
peers: $(VENV)/.installed ## Compare sweeps of tables with scikit-learn and FLAML, needs .venv/bin/pip install "flaml[automl]>=2.7,<3"
	@PYTHONWARNINGS=ignore $(VENV)/bin/python tests/benchmarks/peers.py

race: $(VENV)/.installed ## Race the search against Optuna, Ray Tune, scikit-learn and FLAML, for hours; needs .venv/bin/pip install -e ".[bench]"
	@$(VENV)/bin/python -W ignore tests/benchmarks/race/race.py $(RACE)

scaling: export PYTHONPATH := tests/benchmarks
scaling: $(VENV)/.installed ## Simulate up to 1,000 workers and 100,000 trials, for hours; rewrites docs/scaling.json and .png
	@$(VENV)/bin/python tests/benchmarks/scaling.py full docs/scaling.json docs/scaling.png

check: $(VENV)/.installed-dev ## Check format, lint and types
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy

format: $(VENV)/.installed-dev ## Format the code
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

lock: ## Resolve pyproject.toml into the lock files (needs uv)
	@echo 'setuptools>=80' | uv pip compile pyproject.toml - -o requirements.lock $(LOCK_FLAGS)
	@set -e; for extra in dev dashboard cluster notebook postgres; do uv pip compile pyproject.toml --extra $$extra -c requirements.lock -o requirements-$$extra.lock $(LOCK_FLAGS); done

LOCK_FLAGS := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

clean: ## Remove generated files, but not the recorded sweeps
	@rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
