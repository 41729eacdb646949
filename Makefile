# `make demo` and `make test` do everything from a clean clone; a stamp in .venv says what is installed already.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: demo docs-demo test test-oldest clean

demo: .venv/demo.stamp
	$(BIN)/python examples/demo.py

# the picture and the recordings that the README shows; after a new edition of `tiny`
docs-demo: demo
	for layers in 1,3,7 7 1,3,5,7; do \
	    $(BIN)/semtok resynth examples/data/speech.flac -o docs/demo/layers_$$layers.ogg --layers $$layers || exit 1; done
	$(BIN)/python -c "from PIL import Image; image = Image.open('demo/demo.png').convert('RGB'); \
	    image.resize((1200, 600)).save('docs/demo/demo.jpg', quality=80)"

# two processes of one thread: on busy cores several threads wait on each other for longer than they save
test: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

# The oldest Python and the oldest versions that pyproject.toml allows, in an environment of their own. On Linux torch
# before 2.13 comes with CUDA, several GB; OLDEST_TORCH names another version, to test all other floors.
OLDEST_PYTHON ?= python3.10
OLDEST_TORCH ?= 2.6.0

test-oldest:
	$(OLDEST_PYTHON) -m venv .venv-oldest
	sed -nE 's/^    "([A-Za-z_-]+)>=([0-9.]+).*/\1==\2/p' pyproject.toml | sed 's/^torch==.*/torch==$(OLDEST_TORCH)/' \
	    > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --quiet -c .venv-oldest/constraints.txt torch
	.venv-oldest/bin/python -m pip install --quiet -c .venv-oldest/constraints.txt -e '.[train,eval,corpus,export,dev]'
	# old packages warn about newer ones beneath them; in torch 2.6 a transposed convolution of a new length costs
	# seconds (docs/performance.md), so that windows and streams of HiFi-GAN would take hours
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -q -o filterwarnings=default \
	    -k 'not (test_vocoder_stream and hifigan)'

clean:
	rm -rf .venv .venv-oldest demo

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
	$(INSTALL) -e '.[train,eval,corpus,export,dev]'
	@touch $@
