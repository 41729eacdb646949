"""The house stands: rooms import from those above them in the docs, no circles, `import semtok` is light."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from graphlib import TopologicalSorter
from pathlib import Path

from helpers import ROOT, run_python

import semtok

SEMTOK = Path(semtok.__file__).parent
# The front door imports the public names from the rooms; of it, the rooms take the version alone.
OUTSIDE = {"semtok", "semtok.__main__"}
VERSION = "semtok.__version__"


def imported_modules(source: str) -> list[str]:
    """What a source imports, anywhere in it: modules, or names in them; but for semtok's version."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name != VERSION]


def module_of(name: str, modules: Collection[str]) -> str:
    """The module that an imported name of semtok is, or is in."""
    while name not in modules:
        name = name.rpartition(".")[0]
    return name


def import_graph() -> dict[str, set[str]]:
    """Which modules of semtok each one imports, inside functions and for type checking included."""
    modules = {}
    for path in SEMTOK.rglob("*.py"):
        parts = path.relative_to(SEMTOK.parent).with_suffix("").parts
        modules[".".join(part for part in parts if part != "__init__")] = path.read_text(encoding="utf-8")
    assert len(modules) > 20
    return {
        name: {module_of(one, modules) for one in imported_modules(source) if one.startswith("semtok.")} - {name}
        for name, source in modules.items()
        if name not in OUTSIDE
    }


def room_of(module: str) -> str:
    """The file or folder right under semtok that a module is in; "" for semtok itself."""
    return module.removeprefix("semtok").removeprefix(".").split(".")[0]


def listed_floors() -> list[set[str]]:
    """The rooms of each row of the table in docs/architecture.md."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page[: page.index("\n## ")]
    return [set(re.findall("`([a-z_]+)(?:/|[.]py)`", row)) for row in re.findall(r"^\| (`.+?) \|", table, re.M)]


def test_the_docs_list_every_room_once():
    listed = [room for floor in listed_floors() for room in floor]
    assert sorted(listed) == sorted({room_of(module) for module in import_graph()})


def test_rooms_import_from_the_rows_above_them_only():
    floor = {room: number for number, rooms in enumerate(listed_floors()) for room in rooms}
    for module, others in import_graph().items():
        for other in others:
            above = floor.get(room_of(other), len(floor)) < floor[room_of(module)]
            assert above or room_of(other) == room_of(module), f"{module} must not import {other}"


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter(import_graph()).prepare()  # raises CycleError with the modules of a circle


def test_readers_of_untrusted_files_know_nothing_of_semtok():
    for path in (SEMTOK / "checkpoints" / "untrusted").glob("*.py"):
        for module in imported_modules(path.read_text(encoding="utf-8")):
            own = module.startswith(("semtok.checkpoints.untrusted", "semtok.errors"))
            assert own or not module.startswith("semtok"), f"{path} must not import {module}"


def test_the_walk_sees_every_kind_of_import():
    source = "import semtok.audio\nfrom semtok import hub, Tokens\ndef f():\n    from semtok.encoder import Encoder"
    names = imported_modules(source)
    assert names == ["semtok.audio", "semtok.hub", "semtok.Tokens", "semtok.encoder.Encoder"]
    modules = ["semtok", "semtok.audio", "semtok.encoder"]
    assert [module_of(name, modules) for name in names] == ["semtok.audio", "semtok", "semtok", "semtok.encoder"]


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


# What a name says is what the thing is to someone who knows speech, and not how it came about.
EMPTY_WORDS = {"found", "told", "said", "kept", "heard", "made", "taken"}


def names_bound(source: str) -> set[str]:
    """The names of functions, classes, parameters, variables and attributes that a source gives."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def test_names_say_what_things_are():
    assert names_bound("def f(told, *kept):\n    (found, x.said) = [made for made in told]") >= EMPTY_WORDS - {
        "heard",
        "taken",
    }
    for path in SEMTOK.rglob("*.py"):
        for name in names_bound(path.read_text(encoding="utf-8")):
            assert not EMPTY_WORDS & set(name.lower().split("_")), f"{path}: {name}"
