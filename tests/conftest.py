"""Checkpoints that several tests read, made once a session; a test that changes one takes `copy`."""

from __future__ import annotations

import runpy
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save_checkpoint
from helpers import ROOT
from hub_server import HubServer
from huggingface_hub import close_session, constants
from language_data import make_text_tokenizer
from speechbrain_reference import Reference

from semtok import Tokenizer
from semtok.cli import main


@pytest.fixture(scope="session")
def istft_folder(tmp_path_factory) -> Path:
    """A checkpoint whose vocoder has an inverse-STFT generator."""
    return save_checkpoint(tmp_path_factory.mktemp("istft"), "istft")


@pytest.fixture(scope="session")
def hifigan_folder(tmp_path_factory) -> Path:
    """A checkpoint whose vocoder has a HiFi-GAN generator, of the same tokenizer."""
    return save_checkpoint(tmp_path_factory.mktemp("hifigan"), "hifigan")


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory) -> Path:
    """A checkpoint of the same shape and another tokenizer."""
    return save_checkpoint(tmp_path_factory.mktemp("other"), "istft", seed=1)


@pytest.fixture(scope="session")
def tokenizer(istft_folder) -> Tokenizer:
    return Tokenizer.from_pretrained(istft_folder)


@pytest.fixture(scope="session")
def wavlm(tmp_path_factory) -> Reference:
    """A WavLM and its vocoder in the layout of SpeechBrain, with what SpeechBrain makes of them."""
    return Reference("wavlm", tmp_path_factory.mktemp("wavlm"))


@pytest.fixture
def text_tokenizer() -> Any:
    """Of a text model; tests add tokens to it."""
    return make_text_tokenizer()


@pytest.fixture
def copy(istft_folder, tmp_path) -> Path:
    """A checkpoint of one's own."""
    return Path(shutil.copytree(istft_folder, tmp_path / "checkpoint"))


@pytest.fixture
def cache(tmp_path) -> Path:
    """Where what a hub sends is kept, empty at first."""
    return tmp_path / "cache"


@pytest.fixture
def reach(cache, monkeypatch):
    """Makes another address the hub's, with an empty cache and no waiting between attempts."""

    def reach(endpoint):
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)

    close_session()
    yield reach
    close_session()


@pytest.fixture
def hub_server(reach) -> Iterator[HubServer]:
    """A hub on this machine, without repositories at first."""
    server = HubServer()
    reach(server.endpoint)
    yield server
    server.stop()


@pytest.fixture
def run_script(monkeypatch, capsys):
    """Runs a script of benchmarks/ or experiments/ as `python` would; what it prints."""

    def run_script(name, *arguments):
        path = ROOT / name
        monkeypatch.setattr(sys, "argv", [path.name, *map(str, arguments)])
        monkeypatch.syspath_prepend(str(path.parent))
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    return run_script


@pytest.fixture
def datasets_cache(tmp_path, monkeypatch):
    """`datasets` keeps what it reads in a temporary folder, and asks no hub."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def run(capsys):
    """Runs the command as the shell would: exit code, stdout, stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        return exit_.value.code, *capsys.readouterr()

    return run
