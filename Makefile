# `make demo` and `make test` do everything from a clean clone; a stamp in .venv says what is installed already.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: demo demo-page docs docs-demo test test-oldest wheel clean

demo: .venv/demo.stamp
	$(BIN)/python examples/demo.py

# the site, in build/docs/index.html; a warning is an error, and so is a link that leads nowhere
docs: .venv/docs.stamp
	rm -rf build/docs build/docs-cache
	$(BIN)/python -m sphinx -c docs -d build/docs-cache -W --keep-going -q . build/docs
	$(BIN)/python docs/check_links.py build/docs
	if command -v npm > /dev/null; then $(BIN)/semtok export web tiny -o build/docs/listen; \
	    else echo "without npm the site has no page to listen, build/docs/listen"; fi

# the web page at http://127.0.0.1:7860, until Ctrl-C
demo-page: .venv/demo-page.stamp
	$(BIN)/semtok demo

# the picture and the sounds of README and docs; after a new edition of `tiny`
docs-demo: demo
	rm -f docs/sounds/*_original.ogg docs/sounds/*_layers_*.ogg
	$(BIN)/python examples/sounds.py examples/data/speech.flac tests/data/ljspeech_LJ001-0004.flac \
	    --output docs/sounds --page docs/sounds.md
	for voice in ls27 ls26; do $(BIN)/semtok speak "The children are playing in the garden. \
	    We will meet again next week on Monday." --speaker $$voice -o docs/sounds/spoken_$$voice.ogg; done
	$(BIN)/python -c "from PIL import Image; image = Image.open('demo/demo.png').convert('RGB'); \
	    image.save('docs/demo/demo.jpg', quality=85)"

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

# the wheel, installed in an environment of its own, runs the README's Python
wheel: .venv/wheel.stamp
	rm -rf build/wheel dist
	$(BIN)/python -m build
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip install --quiet -c constraints.txt dist/*.whl
	build/wheel/bin/python tests/run_readme.py

clean:
	rm -rf .venv .venv-oldest build demo dist

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

.venv/docs.stamp: .venv/torch.stamp pyproject.toml
	$(INSTALL) -e '.[train,eval,corpus,onnx,docs]'
	@touch $@

.venv/wheel.stamp: .venv/torch.stamp constraints.txt
	$(INSTALL) build
	@touch $@

.venv/demo-page.stamp: .venv/torch.stamp pyproject.toml
	$(INSTALL) -e '.[demo]'
	@touch $@

.venv/test.stamp: .venv/torch.stamp pyproject.toml
	$(INSTALL) -e '.[train,eval,corpus,export,onnx,demo,dev]'
	@touch $@
