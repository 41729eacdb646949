"""README and docs: their Python and their commands run, their links lead somewhere; so do examples and notebooks."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import typer.main
import yaml
from helpers import ROOT
from nbclient import NotebookClient
from task_models import make_model

from semtok import Tokenizer, __version__
from semtok.cli import app, main

DOCS = [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "commands.md"]  # which `make docs` makes
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *DOCS]
EXAMPLES = [
    script
    for script in sorted((ROOT / "examples").glob("*.py"))
    if script.name not in ("onnx_without_torch.py", "sounds.py")
]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))

RUN = {"README.md", "getting-started.md", "learnt-rows.md", "own-encoder.md"}
"""Pages whose commands run here. Those of corpora, language models, studies and training run in the tests of these."""


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Fenced blocks, each with its language."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(block: str) -> list[list[str]]:
    """Calls of semtok in a block, without the comments after them."""
    return [shlex.split(line) for line in re.findall(r"^semtok (.+?)(?: +#.*)?$", block.replace("\\\n", ""), re.M)]


def named(pages: list[Path]) -> dict[str, object]:
    return {"argvalues": pages, "ids": [str(page.relative_to(ROOT)) for page in pages]}


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder that looks, to a snippet, like the clone that the page speaks of."""
    shutil.copytree(ROOT / "examples" / "data", tmp_path / "examples" / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", **named([page for page in PAGES if "python" in dict(blocks(page))]))
def test_a_page_runs_from_top_to_bottom(page, clone):
    if page.name == "downstream.md":  # of the model that it speaks of, one with random weights
        make_model("lstm", Tokenizer.from_pretrained("tiny"), "tiny").save_pretrained(clone / "runs/tiny/asr/best")
    namespace = {}
    for language, block in blocks(page):
        if language == "python":
            exec(compile(block, page.name, "exec"), namespace)
        elif language == "yaml" and (name := re.match(r"# (\S+\.yaml)\n", block)):
            (clone / name[1]).write_text(block)
        elif language == "bash" and page.name in RUN:
            for arguments in commands(block):
                with pytest.raises(SystemExit) as finished:
                    main(arguments)
                assert finished.value.code == 0, arguments
    written = sorted({path.name for path in clone.iterdir() if path.suffix != ".yaml"} - {"examples", "runs"})
    if written and (ROOT / ".git").exists():
        ignored = subprocess.run(
            ["git", "check-ignore", "--no-index", *written], cwd=ROOT, capture_output=True, text=True
        )
        assert ignored.stdout.split() == written, "a clone where the page was run has files that git does not ignore"


def test_the_first_snippet_makes_what_it_says(clone):
    namespace = {}
    exec(dict(blocks(ROOT / "README.md"))["python"], namespace)
    tokens, wav, vocoder = namespace["tokens"], namespace["wav"], namespace["vocoder"]
    batch, rows, frames = tokens.codes.shape
    assert (batch, rows) == (1, len(tokens.names))
    assert wav.shape == (1, frames * vocoder.hop_length)
    assert wav.abs().max() <= 1
    assert (clone / "speech.wav").stat().st_size == 44 + 2 * wav.numel()


@pytest.mark.parametrize("page", **named(PAGES))
def test_what_is_only_shown_is_right_too(page):
    """Python for which a hub or hours are needed is Python; the commands and options of every block are there."""
    for language, block in blocks(page):
        if language == "py":
            compile(block, page.name, "exec")
        for words in commands(block):
            command = typer.main.get_command(app)
            while hasattr(command, "commands"):
                command = command.commands[words.pop(0)]
            options = {name for parameter in command.params for name in parameter.opts}
            assert {word for word in words if re.match("--?[a-z]", word)} <= options, words


@pytest.mark.parametrize("page", **named(PAGES))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert missing == []


def test_every_page_is_in_the_navigation_and_in_llms_txt():
    pages = {str(page.relative_to(ROOT / "docs").with_suffix("")) for page in DOCS} - {"index"}
    toctrees = "".join(re.findall(r"^```{toctree}\n(.*?)^```", (ROOT / "docs/index.md").read_text(), re.M | re.S))
    assert pages - set(toctrees.split()) == set()
    links = set(re.findall(r"\]\((\S+)\)", (ROOT / "llms.txt").read_text()))
    assert {f"docs/{page}.md" for page in pages} - links == set()
    assert {link for link in links if not (ROOT / link).exists()} == set()


def test_pip_has_one_form_that_works_for_a_stranger():
    """semtok is on no index: nothing but the page that says so may name it to pip."""
    files = [*PAGES, *(ROOT / "semtok").rglob("*.py"), *(ROOT / "examples").glob("*")]
    wrong = re.compile(r"pip install '?semtok")
    allowed = {ROOT / "docs" / name for name in ("install.md", "troubleshooting.md")} | {ROOT / "semtok" / "errors.py"}
    assert {path for path in files if path.is_file() and wrong.search(path.read_text("utf-8", "ignore"))} <= allowed


def test_every_extra_is_on_the_page_of_the_installation():
    section = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    extras = re.findall(r"^(\w+) = \[", section.partition("\n[")[0], re.M)
    assert {"train", "demo"} <= set(extras)
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert [extra for extra in extras if f"`{extra}`" not in page] == []


def test_messages_of_the_page_are_those_of_the_code():
    """The headings under which somebody looks for a message; those that are none stand here."""
    symptoms = {
        "the tokens are another way today",
        "the process hangs after a fork",
        "STOI, PESQ or word error rate are far from those here",
        "ABX is around 50 %",
    }
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "semtok").rglob("*.py"))
    code = re.sub(r'"\s*f?"', "", code)
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^### (.+)$", page, re.M))
    assert symptoms <= headings
    for message in headings - symptoms:
        assert [part for part in message.split("...") if part.strip() not in code] == [], message


def test_a_broken_link_of_the_site_is_reported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from check_links import find_broken

    (tmp_path / "one.html").write_text(
        '<a href="two.html#here">1</a> <a href="https://elsewhere">2</a> <a href="#">3</a>'
    )
    (tmp_path / "two.html").write_text(
        '<h1 id="here">x</h1> <a href="one.html#gone">4</a> <audio src="gone.ogg"></audio>'
    )
    assert find_broken(tmp_path) == ["two.html: gone.ogg", "two.html: one.html#gone"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_run(example, clone, run_script):
    assert run_script(example)
    if example.name == "demo.py":
        wavs = sorted(path.name for path in (clone / "demo").glob("*.wav"))
        assert wavs == ["all_layers.wav", "layer_1.wav", "layer_7.wav", "original.wav"]
        assert (clone / "demo" / "demo.png").stat().st_size > 50_000


def test_the_table_of_sounds_on_a_page_is_replaced(clone, run_script):
    page = clone / "sounds.md"
    page.write_text("before\n<!-- begin: examples/sounds.py -->\nold\n<!-- end: examples/sounds.py -->\nafter\n")
    run_script("examples/sounds.py", "--output", clone / "oggs", "--page", page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    for link in re.findall(r'src="(.+?)"', text):
        assert (clone / link).stat().st_size > 5_000


def test_notebooks_run(clone):
    """In one kernel, emptied between them, as importing torch takes longer than all that they do."""
    assert len(NOTEBOOKS) == 4
    joined = nbformat.v4.new_notebook()
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        assert not any(cell.get("outputs") for cell in cells), f"{path.name}: save it without outputs"
        joined.cells += [nbformat.v4.new_code_cell("%reset -f"), *(cell for cell in cells if cell.cell_type == "code")]
    resources = {"metadata": {"path": str(clone / "examples")}}
    NotebookClient(
        joined, timeout=600, startup_timeout=600, iopub_timeout=600, kernel_name="python3", resources=resources
    ).execute()
    sounds = [output for cell in joined.cells for output in cell.outputs if "text/html" in output.get("data", {})]
    assert len(sounds) >= 3, "players of sounds"


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert "Mousavi" in json.dumps(citation["preferred-citation"])
