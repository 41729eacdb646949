"""The house stands: files import from floors below their own, `import semtok` is light."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from helpers import ROOT, run_python

import semtok

SEMTOK = Path(semtok.__file__).parent
FLOORS = [
    {"errors", "support", "__version__"},
    {"audio"},
    {"speech"},
    {"codebooks"},
    {"networks"},
    {"encoder"},
    {"tokens"},
    {"checkpoints"},
    {"streaming"},
    {"tokenizer", "vocoder"},
    {"importing", "interop"},
    {"downstream"},
    {"corpus", "language"},
    {"training"},
    {"evaluation"},
    {"analysis"},
    {"export"},
    {"demo"},
    {"cli"},
    {"__init__", "__main__"},
]
FLOOR = {unit: number for number, floor in enumerate(FLOORS) for unit in floor}


def imported_modules(source: str) -> list[str]:
    """What a source imports, anywhere in it: modules, or names in them."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def imported_units(source: str) -> set[str]:
    """The files and packages right under semtok that a source imports."""
    names = imported_modules(source)
    return {name.split(".")[1] for name in names if name.startswith("semtok.")}


def test_files_import_from_lower_floors_only():
    files = sorted(SEMTOK.rglob("*.py"))
    assert len(files) > 20
    for path in files:
        unit = path.relative_to(SEMTOK).parts[0].removesuffix(".py")
        for other in imported_units(path.read_text(encoding="utf-8")) - {unit}:
            assert FLOOR.get(other, len(FLOORS)) < FLOOR[unit], f"{path} must not import semtok.{other}"


def test_the_docs_list_the_rooms_floor_by_floor():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page[: page.index("\n## ")]
    listed = [set(re.findall("`([a-z_]+)(?:/|[.]py)`", row)) for row in re.findall(r"^\| (`.+?) \|", table, re.M)]
    rooms = {path.stem for path in SEMTOK.iterdir() if not path.name.startswith("_") and path.name != "py.typed"}
    assert listed == [floor & rooms for floor in FLOORS if floor & rooms]


def test_readers_of_untrusted_files_know_nothing_of_semtok():
    for path in (SEMTOK / "checkpoints" / "untrusted").glob("*.py"):
        for module in imported_modules(path.read_text(encoding="utf-8")):
            own = module.startswith(("semtok.checkpoints.untrusted", "semtok.errors"))
            assert own or not module.startswith("semtok"), f"{path} must not import {module}"


def test_the_walk_sees_every_kind_of_import():
    source = "import semtok.audio\nfrom semtok import hub, Tokens\ndef f():\n    from semtok.encoder import Encoder"
    assert imported_units(source) == {"audio", "hub", "Tokens", "encoder"}


def test_the_public_names():
    assert semtok.__all__ == ["SemtokError", "Tokenizer", "Tokens", "Vocoder", "load_audio", "save_audio"]
    assert set(semtok.__all__) < set(dir(semtok))
    for name in semtok.__all__:
        assert getattr(semtok, name).__module__.startswith("semtok.")
        assert getattr(semtok, name).__doc__


def test_importing_semtok_is_light():
    heavy = ["torch", "transformers", "numpy", "soundfile", "huggingface_hub"]
    code = f"import semtok, sys; print([name for name in {heavy} if name in sys.modules])"
    assert run_python("-c", code) == "[]\n"


def test_the_public_names_do_not_load_transformers():
    code = "import sys; from semtok import *; print(Tokenizer, Vocoder, 'transformers' in sys.modules)"
    assert run_python("-c", code).split()[-1] == "False"
