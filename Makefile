# Two commands matter: `make demo` and `make test`. Both do all set-up on a fresh machine
# (Python 3.11+, make and a package index); `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
T      ?= tests
export PIP_DISABLE_PIP_VERSION_CHECK := 1
.DEFAULT_GOAL := help

.PHONY: help demo serve test check fix bench long mutants lock clean
help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(UV): requirements/uv.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.demo: $(UV) requirements/demo.txt pyproject.toml
	@echo "installing the gateway and the demo data into $(VENV) (hash-locked)"
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/demo.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(UV) requirements/dev.txt pyproject.toml
	@echo "installing the development set into $(VENV) (hash-locked)"
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo ## the main job on real input: raw customers to a consented, audited audience
	@$(BIN)/consent-gateway demo

serve: $(VENV)/.demo ## run the gateway on the demo's store, API docs at /docs
	@$(BIN)/consent-gateway serve --store var/demo/store

test: $(VENV)/.dev check ## everything: format, lint, types, architecture, tests on SQLite and PostgreSQL
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(T)

check: $(VENV)/.dev ## format, lint, types and import contracts, without the tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

long: $(VENV)/.dev ## the tests that take minutes: fuzzing at length
	@$(BIN)/python -m pytest -n 2 -m long $(T)

fix: $(VENV)/.dev ## format and repair what the linter can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(VENV)/.dev ## measure this machine: every figure next to its raw limit
	@$(BIN)/consent-gateway bench

MUTANTS ?= *7
mutants: $(VENV)/.dev requirements/mutants.txt ## change the code of the law, the vault and the log in many small ways: a test must see each; MUTANTS="*" for all
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/mutants.txt
	@$(BIN)/python -m mutmut run --max-children 2 "$(MUTANTS)" ; $(BIN)/python -m mutmut results

lock: $(UV) ## renew the hash-locked lists
	@$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate requirements/uv.in -o requirements/uv.txt
	@$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml -o requirements/runtime.txt
	@$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml --extra demo --group dev -c requirements/runtime.txt -o requirements/dev.txt
	@$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml requirements/build.in --extra demo -c requirements/dev.txt -o requirements/demo.txt
	@$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate requirements/mutants.in -c requirements/dev.txt -o requirements/mutants.txt

clean: ## remove the environment and everything the demo made
	rm -rf $(VENV) var mutants
