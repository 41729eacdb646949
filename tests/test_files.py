"""A file appears whole or not at all, under any name, whoever else writes it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from semtok import Tokens
from semtok.support.atomic import atomic_write


def tokens(number: int) -> Tokens:
    codes = torch.full((1, 2, 500), number)
    return Tokens(codes, torch.tensor([500]), (1, 2), 50.0, (1000, 1000), "0" * 16)


def test_threads_that_save_the_same_tokens(tmp_path):
    path = tmp_path / "tokens.safetensors"

    def save_and_load(number):
        tokens(number).save(path)
        codes = Tokens.load(path).codes
        return bool((codes == codes[0, 0, 0]).all())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(save_and_load, range(300)))
    assert list(tmp_path.iterdir()) == [path]


# Containers that share a folder often have the same process ids.
PROCESS = """
import os, sys
from pathlib import Path
os.getpid = lambda: 7
from semtok.support.atomic import atomic_write
path, content = Path(sys.argv[1]), sys.argv[2].encode() * 200_000
for _ in range(200):
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    assert set(path.read_bytes()) in ({ord("a")}, {ord("b")})
    assert path.stat().st_size == 200_000
"""


def test_processes_of_the_same_number(tmp_path):
    path = tmp_path / "file"
    both = [subprocess.Popen([sys.executable, "-c", PROCESS, path, letter], stderr=subprocess.PIPE) for letter in "ab"]
    errors = [process.communicate(timeout=60)[1].decode() for process in both]
    assert errors == ["", ""]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "a"])
def test_any_name_that_the_file_system_allows(tmp_path, name):
    with atomic_write(tmp_path / name) as temporary:
        temporary.write_text("content")
        assert temporary.parent == tmp_path
    assert (tmp_path / name).read_text() == "content"


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of Unix")
def test_permissions_are_those_of_a_plain_open(tmp_path):
    before = os.umask(0o027)
    try:
        (tmp_path / "atomic.private").touch(mode=0o600)
        (tmp_path / "plain").write_text("x")
        for name in ("atomic", "atomic.private"):
            with atomic_write(tmp_path / name) as temporary:
                temporary.write_text("x")
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic", "atomic.private")}
    assert modes == {"plain": 0o640, "atomic": 0o640, "atomic.private": 0o600}


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")

    def fail():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]
