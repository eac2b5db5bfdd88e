.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
GRAPHIQL := server/graphiql
COMPILE := $(UV) pip compile -q --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	--no-annotate --custom-compile-command 'make lock' pyproject.toml

.PHONY: help serve test check bench format graphiql lock clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

serve: $(VENV)/.runtime $(GRAPHIQL)/dist/manifest.json ## Run everything on this machine
	@exec $(BIN)/quartermaster serve

test: $(VENV)/.dev $(GRAPHIQL)/dist/manifest.json ## Run the test suite
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.dev ## Lint, types, layers, schema and migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy schema resolvers domain workers server migrations tests bench
	$(BIN)/lint-imports
	$(BIN)/quartermaster export-schema | diff -u schema/schema.graphql - || (echo 'Run: make format'; exit 1)
	$(BIN)/python -m migrations.check

bench: $(VENV)/.dev ## Measure, beside the bare limits
	$(BIN)/python -m bench

format: $(VENV)/.dev ## Format the code and write the schema's SDL
	$(BIN)/ruff check -q --fix . || true
	$(BIN)/ruff format -q .
	$(BIN)/quartermaster export-schema schema/schema.graphql

graphiql: ## Build GraphiQL again (needs Node 20 or newer)
	rm -rf $(GRAPHIQL)/dist
	cd $(GRAPHIQL) && npm ci --silent && npm run --silent build

lock: $(VENV)/.uv ## Pin the newest versions of all requirements
	$(COMPILE) --upgrade --extra embedded --extra build -o requirements.txt
	$(COMPILE) --upgrade --all-extras -o requirements-dev.txt -c requirements.txt

clean: ## Remove what was installed and built, but no data
	rm -rf $(VENV) $(GRAPHIQL)/dist $(GRAPHIQL)/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo 'Python 3.11 or newer is needed'; exit 1)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-uv.txt
	@touch $@

$(VENV)/.runtime: $(VENV)/.uv requirements.txt pyproject.toml
	$(UV) pip install -q --compile-bytecode --require-hashes -r requirements.txt
	$(UV) pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	$(UV) pip install -q --compile-bytecode --require-hashes -r requirements-dev.txt
	@touch $@

# Without Node the API works all the same, and its page says how to get GraphiQL.
$(GRAPHIQL)/dist/manifest.json: $(GRAPHIQL)/package.json $(wildcard $(GRAPHIQL)/src/*) $(GRAPHIQL)/build.mjs
	@if command -v npm >/dev/null; then \
		echo 'Building GraphiQL ...'; \
		(cd $(GRAPHIQL) && npm ci --silent && npm run --silent build && touch dist/manifest.json) \
			|| echo 'GraphiQL could not be built; the API works without it.'; \
	fi
