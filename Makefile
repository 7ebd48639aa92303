# Everything a person does here; `make help` lists it. GNU Make 3.81 (macOS) is enough.

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench kafka reference

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

# The first Python here that is new enough.
FIND_PYTHON = for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14; do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo "$$python"; break; fi; done

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/installed-dev ## Make the virtual environment .venv with everything to run and to develop (PYTHON= names another Python)

demo: $(VENV)/installed ## Run the order-processing demo with its own broker, collector and UI until Ctrl-C (ARGS="--for 30s" for options)
	@$(BIN)/flowtrail demo $(ARGS)

test: check ## Run every check and test: units, end to end, browser, Apache Kafka (ARGS="-k words" chooses tests)
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/installed-dev ## Lint, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/installed-dev ## Format the code and mend what the linter can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/installed-dev ## Run every benchmark in its short form
	@set -e; for file in $$(grep -l -e '"--quick"' benchmarks/*.py); do name=$$(basename $$file .py); \
		echo "── benchmarks.$$name --quick"; $(BIN)/python -m benchmarks.$$name --quick; done

kafka: $(VENV)/installed-dev ## Run Apache Kafka on a free port until Ctrl-C (needs Java 17 and Maven)
	@$(BIN)/python -m tests.kafka.broker

reference: $(VENV)/installed-dev ## Write the reference of options (deploy/flowtrail.env, deploy/flowtrail.toml, tables in docs/) anew
	@$(BIN)/python -m tests.flowtrail.reference

# The build warns of every editable installation; a person who types `make demo` need not read that.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet

# pip 25.1 is the first that knows dependency groups; a distribution's is often older.
$(BIN)/python:
	@python="$$($(FIND_PYTHON))"; \
	if [ -z "$$python" ]; then echo "Flowtrail needs Python 3.11 or newer; name one with PYTHON=/path/to/python3" >&2; exit 1; fi; \
	echo "Making $(VENV) with $$("$$python" --version) …"; \
	"$$python" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "No virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/installed: pyproject.toml | $(BIN)/python
	@echo "Installing Flowtrail into $(VENV) (some minutes the first time) …"
	@$(PIP) --upgrade 'pip>=25.1'
	@$(PIP) --editable '.[all]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/installed
	@echo "Installing what development and tests need …"
	@$(PIP) --editable '.[all]' --group dev
	@touch $@
