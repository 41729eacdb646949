"""A folder of static files: the page to listen, whose models run in the browser."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import semtok
from semtok.codebooks.layers import Layer
from semtok.errors import SemtokError
from semtok.export.halving import halve_weights
from semtok.export.onnx import DESCRIPTION, TOKENIZER, VOCODER, export_onnx
from semtok.export.runtime import RUNTIME_VERSION, copy_runtime
from semtok.support.atomic import atomic_folder
from semtok.support.json import read_json
from semtok.tokenizer import Tokenizer
from semtok.vocoder import Vocoder
from semtok.web import EXAMPLES, script, style, versions_of

_PAGE = Path(__file__).with_name("page")
_DOCS, _PAPER = "../", "https://arxiv.org/abs/2406.10735"
# The waves of the inverse transform, 1.6 MB of float32.
_ROUNDED = ("generator.waves",)
_MIT = """\
Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def export_web(
    folder: str | os.PathLike[str],
    tokenizer: Tokenizer,
    vocoder: Vocoder,
    *,
    layers: Sequence[Layer] | None = None,
    runtime: str | os.PathLike[str] | None = None,
) -> list[Path]:
    """Writes a page that encodes and decodes in the browser; any web server of static files can hold it.

    `index.html`, its script `semtok.js`, what describes the checkpoint (`semtok.json`), tokenizer and vocoder as ONNX
    with weights in half precision where that loses nothing, onnxruntime for browsers, examples, and licences.

    Args:
        folder: new, or empty.
        tokenizer, vocoder: of one checkpoint, in float32.
        layers: that can be decoded; by default all that both have.
        runtime: onnxruntime-web of npm, as the file that `npm pack` writes or as a folder; None has npm fetch it.

    Raises:
        SemtokError: as `export_onnx`; onnxruntime for browsers cannot be fetched, or is of another version.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SemtokError(f"{folder} is not empty: give a new folder")
    with atomic_folder(folder) as aside:
        copy_runtime(aside, runtime)
        models = aside / "models"
        export_onnx(models, tokenizer, vocoder, layers=layers, choose_rows=True)
        for name in (TOKENIZER, VOCODER):
            halve_weights(models / name, rounded=_ROUNDED)
            os.replace(models / name, aside / name)
        description = read_json(models / DESCRIPTION, SemtokError)
        shutil.rmtree(models)
        (aside / "examples").mkdir()
        for example in EXAMPLES:
            shutil.copy(example.path, aside / "examples")
        about = description | _versions(tokenizer, description)
        (aside / DESCRIPTION).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        _write_page(aside, description)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _versions(tokenizer: Tokenizer, description: Mapping[str, Any]) -> dict[str, Any]:
    codebooks = tokenizer.codebooks.select(description["layers"], owner="the tokenizer")
    rates = {"input_rate": tokenizer.sample_rate, "sample_rate": description["output_sample_rate"]}
    examples = [example.entry(f"examples/{example.path.name}") for example in EXAMPLES]
    return versions_of(codebooks, frame_rate=tokenizer.frame_rate, **rates) | {"examples": examples}


def _write_page(folder: Path, description: Mapping[str, Any]) -> None:
    values = {
        "style": style(),
        "version": semtok.__version__,
        "checkpoint": f"{Path(str(description['checkpoint'])).name} ({description['fingerprint']})",
        "docs": _DOCS,
        "paper": _PAPER,
    }
    page = (_PAGE / "index.html").read_text(encoding="utf-8")
    for name, value in values.items():
        page = page.replace("{{" + name + "}}", value)
    (folder / "index.html").write_text(page, encoding="utf-8")
    engine = (_PAGE / "engine.js").read_text(encoding="utf-8")
    (folder / "semtok.js").write_text(f"{script()}\n{engine}", encoding="utf-8")
    licences = (
        f"onnxruntime-web {RUNTIME_VERSION} (ort*): MIT License\n\n{_MIT}\n\n"
        f"Recordings\n\n{EXAMPLES[0].path.with_name('README.md').read_text(encoding='utf-8')}"
    )
    (folder / "LICENSES.txt").write_text(licences, encoding="utf-8")
