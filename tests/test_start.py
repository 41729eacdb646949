"""What a command imports before it begins: torch, and little beside it."""

from __future__ import annotations

import json

import pytest
from helpers import CLIPS, run_python

COMMANDS = """
import json, sys
import torch
before = set(sys.modules)
from semtok.cli import main
loaded = []
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as end:
        assert not end.code
    loaded.append(sorted(set(sys.modules) - before))
print("\\n" + json.dumps(loaded))
"""
HEAVY = {"huggingface_hub", "librosa", "numba", "scipy", "sympy", "torch._dynamo", "transformers"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> dict[str, list[str]]:
    """The modules that each command has imported beside those of torch, itself and those before it."""
    folder = tmp_path_factory.mktemp("start")
    tokens = str(folder / "a.safetensors")
    commands = [
        ["encode", str(CLIPS[0]), "-o", tokens],
        ["decode", tokens, "-o", str(folder / "a.wav")],
        ["speak", "Good morning.", "-o", str(folder / "b.wav")],
    ]
    found = json.loads(run_python("-c", COMMANDS, json.dumps(commands)).splitlines()[-1])
    return {command[0]: modules for command, modules in zip(commands, found, strict=True)}


def test_encode_imports_few_modules(loaded):
    assert len(loaded["encode"]) < 330, loaded["encode"]


def test_no_command_imports_what_it_does_not_use(loaded):
    assert HEAVY.isdisjoint(loaded["speak"])  # the last
