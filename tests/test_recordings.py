"""The script that checks the folder behind the figures, and makes what it lacks of the original corpora."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import soundfile
from helpers import DATA, ROOT

LIBRI = "libri_dev-clean/84-121123-0001.flac"
SPOKEN = DATA / "libri_84-121123-0001.flac"


@pytest.fixture
def recordings(run_script):
    def run(*arguments):
        with pytest.raises(SystemExit) as finished:
            run_script("experiments/recordings.py", *arguments)
        return finished.value.code

    return run


def counts(printed, folder, origin):
    line = next(line for line in printed.splitlines() if line.startswith(f"| {folder} | {origin}"))
    return [int(number) for number in line.split("|")[3:6]]


def test_what_is_missing_is_counted_and_the_lists_are_written(recordings, tmp_path, capsys):
    folder = tmp_path / "data"
    assert recordings(folder) == 1
    assert counts(capsys.readouterr().out, "heldout/libri_dev-clean", "lucadellalib") == [0, 0, 8]
    assert len((folder / "phones.jsonl").read_text(encoding="utf-8").splitlines()) == 1396
    assert (folder / "core" / "libri" / "speakers.csv").exists()
    for listed in (ROOT / "experiments" / "recordings").rglob("*.csv"):
        written = folder / listed.relative_to(ROOT / "experiments" / "recordings")
        assert written.read_bytes() == listed.read_bytes()


def test_a_clip_is_as_listed_by_its_bytes(recordings, tmp_path, capsys):
    clip = tmp_path / "heldout" / LIBRI
    clip.parent.mkdir(parents=True)
    shutil.copy(SPOKEN, clip)
    recordings(tmp_path)
    assert counts(capsys.readouterr().out, "heldout/libri_dev-clean", "lucadellalib") == [1, 0, 7]
    clip.write_bytes(clip.read_bytes()[:-1])
    recordings(tmp_path)
    assert counts(capsys.readouterr().out, "heldout/libri_dev-clean", "lucadellalib") == [0, 1, 7]


def test_the_speech_of_an_original_is_cut_out_of_its_silence(recordings, tmp_path, capsys):
    spoken, rate = soundfile.read(SPOKEN)
    original = tmp_path / "LibriSpeech" / "dev-clean" / "84" / "84-121123-0001.wav"
    original.parent.mkdir(parents=True)
    silence = np.zeros(rate // 2)
    soundfile.write(original, np.concatenate([silence, spoken, silence]), rate, subtype="PCM_16")
    folder = tmp_path / "data"
    recordings(folder, "--originals", tmp_path / "LibriSpeech")
    assert counts(capsys.readouterr().out, "heldout/libri_dev-clean", "lucadellalib")[2] == 7
    assert np.array_equal(soundfile.read(folder / "heldout" / LIBRI)[0], spoken)


def test_an_original_that_cannot_be_read_is_named_and_stays_missing(recordings, tmp_path, capsys):
    originals = tmp_path / "originals"
    originals.mkdir()
    (originals / "84-121123-0001.flac").write_bytes(b"no audio")
    assert recordings(tmp_path / "data", "--originals", originals) == 1
    printed = capsys.readouterr()
    assert "84-121123-0001.flac" in printed.err
    assert counts(printed.out, "heldout/libri_dev-clean", "lucadellalib") == [0, 0, 8]
    assert not list((tmp_path / "data").rglob("*.flac"))


def test_a_file_and_a_folder_that_is_not_there_are_refused(recordings, tmp_path, capsys):
    (tmp_path / "data").write_text("")
    assert recordings(tmp_path / "data") == 1
    assert "is a file: name the folder" in capsys.readouterr().err
    assert recordings(tmp_path / "new", "--originals", tmp_path / "nowhere") == 1
    assert "there is no folder" in capsys.readouterr().err
