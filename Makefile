# Everything runs in .venv, which the first target that needs it sets up from requirements.lock.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RESULTS := $(or $(ORCH_RESULTS),results)
# All modules are compiled at once by all cores, below; pip would do it with one.
PIP_INSTALL := $(BIN)/python -m pip install -qq --no-compile --no-input --disable-pip-version-check --root-user-action=ignore

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-gpu lint audit lock clean
.DELETE_ON_ERROR:

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## Set up .venv with the exact versions of requirements.lock

demo: $(READY)  ## Train experiments/depth_sweep.yaml and write its report (3 to 15 minutes on two cores)
	$(BIN)/orch run experiments/depth_sweep.yaml
	$(BIN)/orch report depth_sweep
	@echo "The report is $(RESULTS)/sweeps/depth_sweep/report/index.html"

test: $(READY)  ## Run the default tests
	$(BIN)/python -m pytest

test-all: $(READY)  ## Run every test, the slow ones too; those for a GPU are skipped where there is none
	$(BIN)/python -m pytest -m "" -rs

test-gpu: $(READY)  ## Run the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu -rs

lint: $(READY)  ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: $(READY)  ## Look for known holes in the locked versions, where the data for that can be reached
	$(BIN)/python .ci/audit.py

lock: $(READY)  ## Write requirements.lock from pyproject.toml; UPGRADE=1 takes the newest versions
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" \
	    $(if $(UPGRADE),--upgrade) --group dev --group lock pyproject.toml --output-file requirements.lock > /dev/null

clean:  ## Remove .venv, caches and build products; results stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find orchestrator tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Without its stamp an environment is half made, so it is made anew; with an old stamp it is brought up to date.
$(READY): requirements.lock pyproject.toml
	@version=$$("$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || version=; \
	case "$$version" in \
	    3.11|3.12|3.13|3.14) ;; \
	    "") echo "orch needs Python 3.11 to 3.14, but '$(PYTHON)' is not found or does not run: install it, or name another with make PYTHON=/path/to/python." >&2; exit 1 ;; \
	    *) echo "orch needs Python 3.11 to 3.14, but '$(PYTHON)' is Python $$version: install one of those, or name it with make PYTHON=/path/to/python." >&2; exit 1 ;; \
	esac
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' comes without the venv module: install it (on Debian and Ubuntu: apt install python3-venv), or name another with make PYTHON=/path/to/python." >&2; exit 1; }
	@command -v git >/dev/null 2>&1 || { \
	    echo "orch needs git, to note the commit of every result: install it (on Debian and Ubuntu: apt install git)." >&2; exit 1; }
	@test -e $@ || "$(PYTHON)" -m venv --clear $(VENV)
	@rm -f $@
	@echo "Setting up $(VENV) with the exact versions of requirements.lock; the first time takes about 4 minutes ..."
	@{ $(PIP_INSTALL) --require-hashes --only-binary :all: -r requirements.lock && \
	   $(PIP_INSTALL) --no-deps --no-build-isolation -e . ; } || { \
	    echo "The set-up of $(VENV) failed for the reason above: once that is mended, the same command starts over." >&2; exit 1; }
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # templates among the packages are no Python
	@touch $@
