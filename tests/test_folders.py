"""Folders and manifests: which files are audio, links and loops, and what is told of the rest."""

from __future__ import annotations

import json
import os
from functools import partial

import helpers
import pytest
import soundfile
from helpers import CLIPS

from semtok import load_audio
from semtok.audio.files import AUDIO_SUFFIXES
from semtok.errors import AudioError
from semtok.speech.reading import Speech
from semtok.speech.sources import open_source

refuses = partial(helpers.refuses, AudioError)


def names(folder):
    return [clip.id for clip in open_source(folder).rows()]


def test_every_suffix_is_one_that_can_be_read(tmp_path):
    formats = {
        ".oga": "OGG",
        ".opus": "OGG",
        ".mp2": "MP3",
        ".aif": "AIFF",
        ".aifc": "AIFF",
        ".snd": "AU",
        ".sph": "NIST",
    }
    samples = soundfile.read(CLIPS[0])[0]
    for suffix in AUDIO_SUFFIXES:
        soundfile.write(tmp_path / f"a{suffix}", samples, 16000, format=formats.get(suffix, suffix[1:].upper()))
    paths = [clip.path for clip in Speech([tmp_path]).clips]
    assert len(paths) == len(AUDIO_SUFFIXES)
    assert all(len(load_audio(path)) == len(samples) for path in paths)


def test_what_is_left_out_is_counted_with_the_reason(tmp_path):
    for name in ("b.WAV", "a/c.flac", "a/notes.txt", "x.m4a", "y.M4A", "README", ".hidden.wav", ".cache/d.wav"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert names(tmp_path) == ["a/c.flac", "b.WAV"]
    left_out = open_source(tmp_path).left_out
    assert left_out == "2 .m4a, 1 .txt, 2 hidden, 1 without a suffix"


def test_links_are_followed_but_not_in_circles(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.wav").touch()
    data = tmp_path / "data"
    data.mkdir()
    (data / "train").symlink_to("../real")
    (data / "again").symlink_to("../real")
    (tmp_path / "real" / "back").symlink_to(data)
    (data / "self").symlink_to(".")
    (data / "gone.wav").symlink_to("nowhere")  # whoever reads it says so
    assert names(data) == ["again/a.wav", "gone.wav", "train/a.wav"]
    assert open_source(data).left_out == "3 link to a folder around it"


def test_closed_folders_are_told(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "a.wav").touch()
    if os.access(tmp_path / "closed", os.R_OK):  # root may read everything
        iterdir = type(tmp_path).iterdir

        def closed(path):
            if path.name == "closed":
                raise PermissionError(13, "Permission denied")
            return iterdir(path)

        monkeypatch.setattr(type(tmp_path), "iterdir", closed)
    assert names(tmp_path) == ["a.wav"]
    assert f"folder that may not be read ({tmp_path / 'closed'}: Permission denied)" in (open_source(tmp_path).left_out)


def test_a_manifest_lists_files_with_columns(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "manifest.csv").write_text("path,text\none.wav,hello\n")
    (tmp_path / "deep" / "manifest.jsonl").write_text(json.dumps({"path": "two.wav", "split": "test"}) + "\n\n")
    (tmp_path / "three.wav").touch()
    assert [(clip.path, dict(clip.columns)) for clip in Speech([tmp_path]).clips] == [
        (str(tmp_path / "deep" / "two.wav"), {"split": "test"}),
        (str(tmp_path / "one.wav"), {"text": "hello"}),
    ]
    assert open_source(tmp_path).left_out == "1 not in a manifest"


def test_folders_and_manifests_without_audio(tmp_path):
    (tmp_path / "a.m4a").touch()
    with refuses("there is no audio in", "expected a folder of .wav", "Left out: 1 .m4a"):
        Speech([tmp_path])
    with refuses("there is no folder", "none"):
        Speech([tmp_path / "none"])
    with refuses("cannot open", "none.csv"):
        Speech([tmp_path / "none.csv"])
    (tmp_path / "bad.csv").write_text("file\na.wav\n")
    with pytest.raises(AudioError, match=r"row 1 of .*bad\.csv names no audio: each row needs a `path`"):
        Speech([tmp_path / "bad.csv"])
