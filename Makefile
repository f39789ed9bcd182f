# The same targets at a desk, in a hook and in CI. Options: make serve ARGS="--model DIR", EXTRA=cuda, PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
EXTRA ?= $(shell nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu)
PIP_ARGS ?=
PORT ?= 8000
ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed-$(EXTRA)

.DEFAULT_GOAL := help
.PHONY: help install serve test check format bench clean

help:
	@echo "make install   create $(VENV) with everything for EXTRA=$(EXTRA) (cpu or cuda)"
	@echo "make serve     install, then serve on port $(PORT); ARGS are passed to qwenvl serve"
	@echo "make test      install, then run the tests; ARGS are passed to pytest"
	@echo "make check     install, then format, lint and type checks"
	@echo "make format    rewrite the code in the house style"
	@echo "make bench     load a running server on port $(PORT); ARGS are passed to the load generator"
	@echo "make clean     remove caches and build outputs; $(VENV) stays"

install: $(INSTALLED)

serve: $(INSTALLED)
	exec $(BIN)/qwenvl serve --port $(PORT) $(ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest $(ARGS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.serving --base-url http://127.0.0.1:$(PORT) $(ARGS)

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find qwenvl tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "qwenvl needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
		echo "Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)

# A second run finds the stamp and does nothing.
$(INSTALLED): pyproject.toml scripts/install.py | $(BIN)/python
	$(BIN)/python scripts/install.py --extra $(EXTRA) -- $(PIP_ARGS)
	@touch $@
