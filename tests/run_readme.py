"""Runs the README's Python with the semtok that is installed, in an empty folder beside a copy of examples/data.

`make wheel` calls it with the Python of an environment that has nothing but the wheel.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import semtok

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    installed = Path(semtok.__file__).resolve()
    if ROOT / "semtok" in installed.parents:
        raise SystemExit(f"semtok is imported from the clone, {installed}, and not from a wheel")
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    if not blocks:
        raise SystemExit("the README has no Python")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "examples" / "data", Path(folder) / "examples" / "data")
        os.chdir(folder)
        namespace: dict[str, object] = {}
        for block in blocks:
            exec(compile(block, "README.md", "exec"), namespace)
        size = Path("speech.wav").stat().st_size
        os.chdir(ROOT)
    print(f"semtok {semtok.__version__} from {installed.parent}: the README runs, {size} bytes of speech")


if __name__ == "__main__":
    main()
