"""What several tests share: paths, errors by their message, folders of clips, python in a process of its own."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from semtok import Tokens

TESTS = Path(__file__).parent
ROOT = TESTS.parent
DATA = TESTS / "data"
CLIPS = sorted(DATA.glob("*.flac"))
"""Three recordings of speech at 16 kHz, 2 to 4 s each."""


def changed_tokens(tokens: Tokens, **changes: Any) -> Tokens:
    """Tokens with other values of some arguments of the constructor, which checks them all."""
    facts = {"frame_rate": tokens.frame_rate, "fingerprint": tokens.fingerprint, **tokens.codebooks.entries}
    return Tokens(**{"codes": tokens.codes, "lengths": tokens.lengths, **facts, **changes})


def refuses(kind: type[Exception], *parts: object) -> Any:
    """Expects an error of this kind whose message holds all these parts, in this order."""
    return pytest.raises(kind, match="(?s)" + ".*".join(re.escape(str(part)) for part in parts))


def run_python(*arguments: object, **environment: str) -> str:
    """Runs python in a process of its own, one thread, from the repository's root; what it prints."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return result.stdout


def copy_clips(folder: Path) -> Path:
    """Puts the three recordings into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in CLIPS:
        shutil.copy(path, folder)
    return folder


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes a manifest with the columns of the first row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def files_in(folder: Path) -> list[str]:
    """Paths of all files below a folder, relative to it, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def is_installed(*packages: str) -> bool:
    """Whether all of these packages can be imported."""
    return all(find_spec(name) is not None for name in packages)
