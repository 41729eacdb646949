# `make demo` and `make test` do everything from a clean clone; a stamp in .venv says what is installed already.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: demo test clean

demo: .venv/demo.stamp
	$(BIN)/python examples/demo.py

# one thread: on busy cores several threads wait on each other for longer than they save
test: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q

clean:
	rm -rf .venv demo

# torch alone and first: whatever is installed later finds the pinned build there
.venv/torch.stamp: constraints.txt
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 10) or sys.exit('semtok needs Python 3.10 or newer, $(PYTHON) is ' \
	    + sys.version.split()[0] + ': name another one with make PYTHON=python3.11')"
	$(PYTHON) -m venv .venv
	$(INSTALL) torch
	@touch $@

.venv/demo.stamp: .venv/torch.stamp pyproject.toml
	$(INSTALL) -e . matplotlib
	@touch $@

.venv/test.stamp: .venv/torch.stamp pyproject.toml
	$(INSTALL) -e '.[train,eval,dev]'
	@touch $@
