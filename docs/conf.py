"""Sphinx settings of the documentation. `make docs` builds it into build/docs.

The source directory is the repository's root, so that a link from one file to another, wherever they are, leads to the
same place in the repository and on the site.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import typer.main
from docutils import nodes
from sphinx.addnodes import index, pending_xref
from sphinx.application import Sphinx
from typer.cli import get_docs_for_click

from semtok import __version__
from semtok.cli import app as cli

project = "semtok"
author = copyright = "The semtok authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "experiments/RESULTS.md",
    "examples/data/README.md",
    "semtok/checkpoints/*/README.md",
    "semtok/downstream/bundled/*/README.md",
    "tests/data/LICENSES.md",
]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3
# what a snippet shows may be a fragment, a shell's output or a config with comments
suppress_warnings = ["misc.highlighting_failure"]

# `name` in a docstring is code, and a link where it names something of the reference
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

SEARCHES = {
    "docs/study": ["which layer", "which layers to take"],
    "docs/train-vocoder": ["train vocoder", "train a vocoder"],
    "docs/training": ["train k-means", "train a k-means"],
    "docs/language-models": ["language model"],
    "docs/glossary": ["fingerprint", "PNMI", "STOI", "PESQ", "DNSMOS", "dWER", "PWCCA", "knee"],
}
"""What people search for that the title of the right page does not say: entries of the index, which come first."""

html_theme = "furo"
html_title = f"semtok {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_extra_path = ["../llms.txt"]
html_theme_options = {"navigation_with_keys": True}


def unlink_folders(app: Sphinx, page: nodes.document) -> None:
    """A link to a folder of the repository becomes its text: the site has no page for it."""
    folder = Path(app.env.doc2path(app.env.current_document.docname)).parent
    for link in list(page.findall(pending_xref)):
        if link["reftype"] == "myst" and (folder / link["reftarget"]).is_dir():
            link.replace_self(link.children)


def index_searches(app: Sphinx, page: nodes.document) -> None:
    section = next(iter(page.findall(nodes.section)), None)
    if section is not None:
        words = SEARCHES.get(app.env.current_document.docname, [])
        entries = [("single", entry, section["ids"][0], "main", None) for entry in words]
        page.insert(0, index(entries=entries))


def write_commands(app: Sphinx) -> None:
    """The page of the command line, from its help."""
    command = typer.main.get_command(cli)
    page = get_docs_for_click(
        obj=command, ctx=typer.Context(command, info_name="semtok"), name="semtok", title="Command line"
    )
    (Path(app.confdir) / "reference" / "commands.md").write_text(page, encoding="utf-8")


def add_front_door(app: Sphinx, error: Exception | None) -> None:
    """Adds sounds, a root that leads to docs/index.html, and each page as Markdown, which llms.txt names."""
    if error or app.builder.name != "html":
        return
    out = Path(app.outdir)
    shutil.copytree(Path(app.confdir) / "sounds", out / "docs" / "sounds", dirs_exist_ok=True)
    front = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={root_doc}.html">'
    (out / "index.html").write_text(f'{front}<a href="{root_doc}.html">{project}</a>\n', encoding="utf-8")
    for page in app.env.found_docs:
        shutil.copy(app.env.doc2path(page), out / f"{page}.md")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write_commands)
    app.connect("doctree-read", unlink_folders)
    app.connect("doctree-read", index_searches)
    app.connect("build-finished", add_front_door)
    return {"parallel_read_safe": True}
