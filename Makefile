PYTHON ?= python3
BIN := .venv/bin
CORE := .venv/.core
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt

.PHONY: install demo test check docs format clean

install: $(STAMP)

# What a user needs. The last step compiles and caches kernels, so that the demo need not.
$(CORE): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) --editable .
	$(BIN)/python -m partwise.warm
	touch $@

# What a developer needs besides. All bytecode is made here: the tests import more than half of
# it, and no warning about other people's sources should fall into a test.
$(STAMP): $(CORE)
	$(PIP) --editable '.[dev]'
	$(BIN)/python -m compileall -qq -j 2 .venv/lib || true  # some are templates
	$(BIN)/python -m partwise.cuttree.warm
	touch $@

demo: $(CORE)
	$(BIN)/partwise demo --out runs/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# NO_MKDOCS_2_WARNING: Material says at each build which generator comes after it.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m benchmarks.cli_page
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist site src/*.egg-info
