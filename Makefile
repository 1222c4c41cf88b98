# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: setup browser demo test test-integration test-all explore coverage lint format docs docs-check dist clean

setup: $(STAMP)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamp is newer than the two files that say what to install, or the install runs again.
$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Pages are tested in Chromium. It is installed where that may be done; elsewhere these tests are skipped.
browser:
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v $$name > /dev/null && exit 0; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	  timeout 300 sh -c 'apt-get update -qq && apt-get install -qq --yes --no-install-recommends chromium' \
	  || echo "chromium cannot be installed: tests in a browser are skipped" >&2; \
	fi

demo: setup
	$(BIN)/musclelora demo --output demo

test: setup
	$(PYTEST)

# Whole processes, clusters and the commands of the docs.
test-integration: setup browser
	$(PYTEST) -m 'integration and not slow'

# Everything: the two above, and what takes minutes.
test-all: setup browser
	$(PYTEST) -m ''

# Property tests on examples that no run had before; what it finds becomes a test.
explore: setup
	$(PYTEST) -m '' --hypothesis-profile explore

# Which lines the quick tests run in their own processes; those of commands that they start do not count.
coverage: setup
	$(PYTEST) --cov --cov-report=term:skip-covered

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The documentation as a site in site/: open site/index.html, or `python -m http.server --directory site`.
docs: setup
	rm -rf site
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env --quiet -d build/doctrees docs site

docs-check: setup
	$(BIN)/python -m pytest tests/test_docs.py tests/test_tutorials.py tests/test_site.py -m ''

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The wheel and the source archive, as docs/releasing.md has it.
dist: | $(BIN)/python
	rm -rf dist
	$(BIN)/python -m pip install --quiet --constraint constraints.txt build twine
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
