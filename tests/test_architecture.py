"""The house stands: files import from floors below their own, `import semtok` is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import semtok

ROOT = Path(semtok.__file__).parent
FLOORS = [
    {"errors", "files", "__version__"},
    {"audio"},
    {"codebooks"},
    {"networks"},
    {"encoder"},
    {"tokens"},
    {"checkpoints"},
    {"streaming"},
    {"encoding"},
    {"tokenizer", "vocoder"},
    {"downstream", "importing"},
    {"analysis", "corpus", "language"},
    {"training"},
    {"evaluation"},
    {"demo"},
    {"cli"},
    {"__init__", "__main__"},
]
FLOOR = {unit: number for number, floor in enumerate(FLOORS) for unit in floor}


def imported_units(source: str) -> set[str]:
    """The files and packages right under semtok that a source imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("semtok.")}


def test_files_import_from_lower_floors_only():
    files = sorted(ROOT.rglob("*.py"))
    assert len(files) > 20
    for path in files:
        unit = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for other in imported_units(path.read_text(encoding="utf-8")) - {unit}:
            assert FLOOR.get(other, len(FLOORS)) < FLOOR[unit], f"{path} must not import semtok.{other}"


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
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert run.stdout.strip() == "[]"


def test_the_public_names_do_not_load_transformers():
    code = "import sys; from semtok import *; print(Tokenizer, Vocoder, 'transformers' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert run.stdout.split()[-1] == "False"
