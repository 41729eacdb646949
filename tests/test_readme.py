from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from helpers import ROOT
from task_models import make_model

from semtok import Tokenizer
from semtok.cli import main

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def blocks(page: Path, language: str) -> list[str]:
    """Fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder that looks, to a snippet, like the clone that the page speaks of."""
    shutil.copytree(ROOT / "examples" / "data", tmp_path / "examples" / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_snippets_run_from_top_to_bottom(page, clone):
    if page.name == "downstream.md":  # of the model that it speaks of, one with random weights
        make_model("lstm", Tokenizer.from_pretrained("tiny"), "tiny").save_pretrained(clone / "runs/tiny/asr/best")
    namespace = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), namespace)


def test_the_first_snippet_makes_what_it_says(clone):
    namespace = {}
    exec(blocks(ROOT / "README.md", "python")[0], namespace)
    tokens, wav, vocoder = namespace["tokens"], namespace["wav"], namespace["vocoder"]
    batch, rows, frames = tokens.codes.shape
    assert (batch, rows) == (1, len(tokens.names))
    assert wav.shape == (1, frames * vocoder.hop_length)
    assert wav.abs().max() <= 1
    assert (clone / "speech.wav").stat().st_size == 44 + 2 * wav.numel()


def test_commands_of_the_readme_run(clone):
    commands = re.findall(r"^semtok (.+?)(?: +#.*)?$", "".join(blocks(ROOT / "README.md", "bash")), re.M)
    offline = [shlex.split(command) for command in commands if not command.startswith(("train", "evaluate", "study"))]
    assert {arguments[0] for arguments in offline} == {"encode", "decode", "resynth", "info", "models", "select"}
    for arguments in offline:
        with pytest.raises(SystemExit) as finished:
            main(arguments)
        assert finished.value.code == 0, arguments


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_run(example, clone, run_script):
    assert run_script(example)
    if example.name == "demo.py":
        wavs = sorted(path.name for path in (clone / "demo").glob("*.wav"))
        assert wavs == ["all_layers.wav", "layer_1.wav", "layer_7.wav", "layers_1-3-7.wav", "original.wav"]
        assert (clone / "demo" / "demo.png").stat().st_size > 50_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert missing == []
