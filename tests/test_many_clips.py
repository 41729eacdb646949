"""Many clips at once: batched by length, read by worker threads ahead of the model, in bounded memory, in order."""

from __future__ import annotations

import re
import threading
import time
import weakref

import numpy as np
import pytest
import soundfile
import torch
from helpers import CLIPS
from hypothesis import given, settings
from hypothesis import strategies as st

from semtok import load_audio, save_audio
from semtok.audio.recordings import Recording
from semtok.encoder import batches
from semtok.encoder.encoder import Encoder
from semtok.errors import AudioError
from semtok.support import threads


@pytest.fixture(scope="module")
def speech():
    return torch.cat([load_audio(path) for path in CLIPS])


@pytest.fixture
def small_batches(monkeypatch):
    """So small that a few clips fill several of them."""
    monkeypatch.setattr(batches, "CPU", batches.Schedule(batch_seconds=0.5, workers=2, running=2))


def write_clips(folder, speech, lengths):
    paths = [folder / f"{number:03}.wav" for number in range(len(lengths))]
    for number, (path, length) in enumerate(zip(paths, lengths, strict=True)):
        start = 997 * number % (len(speech) - length)
        save_audio(path, speech[start : start + length])
    return paths


def semtok_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("semtok")]


# --- the same tokens


def test_a_list_of_files_gives_what_each_gives_alone(tokenizer, speech, tmp_path, small_batches):
    paths = write_clips(tmp_path, speech, [4000, 400, 16000, 1200, 3000, 3001, 24000, 800, 5000])
    tokens = tokenizer.encode(paths)
    assert tokens.codes.is_contiguous()
    for path, row in zip(paths, tokens, strict=True):
        alone = tokenizer.encode(path)
        assert torch.equal(row.lengths, alone.lengths)
        assert (row.codes == alone.codes).float().mean() > 0.99  # but for ties
    features = tokenizer.features(paths)
    assert features.is_contiguous()
    for number, path in enumerate(paths):
        alone = tokenizer.features(path)[0]
        torch.testing.assert_close(features[number, :, : alone.shape[1]], alone, atol=1e-4, rtol=1e-4)
        assert (features[number, :, alone.shape[1] :] == 0).all()


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(400, 12000), min_size=1, max_size=8),
    batch_seconds=st.sampled_from([0.01, 0.2, 1.0, 100.0]),
    workers=st.integers(1, 3),
    running=st.integers(1, 2),
)
def test_no_token_depends_on_the_batches(tokenizer, speech, lengths, batch_seconds, workers, running):
    clips = [speech[1009 * number :][:length] for number, length in enumerate(lengths)]
    together = tokenizer.encode(clips)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "CPU", batches.Schedule(batch_seconds, workers, running))
        other = tokenizer.encode(clips)
    assert torch.equal(other.lengths, together.lengths)
    assert (other.codes == together.codes).float().mean() > 0.99  # but for ties


def test_each_clip_as_it_is_done(tokenizer, speech, tmp_path, small_batches):
    paths = write_clips(tmp_path, speech, [4000, 2000, 9000, 1200])
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    save_audio(tmp_path / "short.wav", speech[:300])
    paths += [tmp_path / "broken.wav", tmp_path / "short.wav", tmp_path / "missing.wav", tmp_path, ""]
    found = dict(tokenizer.encode_each(paths, layers=[4, 1]))
    assert sorted(found) == list(range(9))
    for number, path in enumerate(paths[:4]):
        assert torch.equal(found[number].codes, tokenizer.encode(path, layers=[4, 1]).codes)
        assert found[number].layers == (4, 1)
    assert isinstance(found[4], AudioError) and "cannot read" in str(found[4])
    assert isinstance(found[5], AudioError) and "short.wav has 300 samples" in str(found[5])
    assert isinstance(found[6], AudioError) and "there is no audio file" in str(found[6])
    assert isinstance(found[7], AudioError) and "is a folder" in str(found[7])
    assert isinstance(found[8], AudioError) and "got an empty one" in str(found[8])


# --- headers that are wrong


def test_results_have_the_length_of_what_was_read(tokenizer, speech, tmp_path, small_batches, monkeypatch):
    paths = write_clips(tmp_path, speech, [8000, 1200, 5000, 3000])
    expected = tokenizer.encode(paths)
    wrong = dict(zip(map(str, paths), [900, 30000, 100, 3000], strict=True))
    monkeypatch.setattr("semtok.audio.recordings.read_header", lambda file, name: (wrong[name], 16000))
    assert torch.equal(tokenizer.encode(paths).lengths, expected.lengths)
    assert (tokenizer.encode(paths).codes == expected.codes).float().mean() > 0.99


# --- errors


@pytest.mark.parametrize("bad", ["broken.wav", "nan.wav", "short.wav", "silent.wav", "cut.flac"])
def test_a_bad_file_among_many_ends_it_at_once(tokenizer, speech, tmp_path, small_batches, bad, monkeypatch):
    paths = write_clips(tmp_path, speech, [8000] * 40)
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0] * 9000 + [np.nan], np.float32), 16000, subtype="FLOAT")
    save_audio(tmp_path / "short.wav", speech[:300])
    soundfile.write(tmp_path / "silent.wav", np.zeros(0, np.float32), 16000)
    (tmp_path / "cut.flac").write_bytes(CLIPS[0].read_bytes()[:20000])
    with pytest.raises(AudioError) as alone:
        tokenizer.encode(tmp_path / bad)
    runs = []
    forward = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", lambda self, *args: runs.append(1) or forward(self, *args))
    with pytest.raises(AudioError, match=re.escape(str(alone.value))):
        tokenizer.encode([*paths[:20], tmp_path / bad, *paths[20:]])
    assert bad in str(alone.value)
    assert len(runs) <= 5
    assert semtok_threads() == []


@pytest.mark.parametrize("audio", ["none.wav", "."])
def test_missing_files_and_folders_are_told_before_anything_is_read(tokenizer, tmp_path, audio, monkeypatch):
    monkeypatch.setattr(Recording, "load", None)
    with pytest.raises(AudioError, match=re.escape(str(tmp_path / audio))):
        tokenizer.encode([*CLIPS, tmp_path / audio])


def test_an_error_that_is_not_the_audios_passes_and_leaves_no_thread(tokenizer, speech, small_batches, monkeypatch):
    def fail(self, *args):
        raise MemoryError("no more")

    monkeypatch.setattr(Encoder, "forward", fail)
    with pytest.raises(MemoryError, match="no more"):
        tokenizer.encode([speech[:6000]] * 5)
    assert semtok_threads() == []


def test_stopping_early_leaves_no_thread(tokenizer, speech, small_batches):
    for _, tokens in tokenizer.encode_each([speech[:6000]] * 9):
        assert tokens.lengths.tolist() == [18]
        break
    assert semtok_threads() == []


# --- memory, threads and the bar


def test_few_clips_are_in_memory_at_a_time(tokenizer, speech, tmp_path, monkeypatch):
    paths = write_clips(tmp_path, speech, [4000] * 60)
    monkeypatch.setattr(batches, "CPU", batches.Schedule(batch_seconds=1, workers=2, running=2))  # four clips a batch
    alive, most = set(), [0]
    load, lock = batches._load, threading.Lock()

    def counting(recording, encoder):
        waveform = load(recording, encoder)
        with lock:
            alive.add(key := object())
            most[0] = max(most[0], len(alive))
        weakref.finalize(waveform, alive.discard, key)
        return waveform

    monkeypatch.setattr(batches, "_load", counting)
    for number, _ in enumerate(tokenizer.encode_each(paths)):
        if number == 0:
            time.sleep(0.2)  # a caller who is slow does not let them pile up
            assert len(alive) <= 8
    assert number == 59
    assert 4 <= most[0] <= 8


def test_the_results_wait_for_a_slow_caller(tokenizer, speech, monkeypatch, small_batches):
    done = []
    forward = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", lambda self, *args: done.append(1) or forward(self, *args))
    outcomes = iter(tokenizer.encode_each([speech[:8000]] * 30))
    next(outcomes)
    time.sleep(0.3)
    assert len(done) <= 5


def test_one_clip_starts_no_thread(tokenizer, speech, monkeypatch):
    monkeypatch.setattr(threads, "ThreadPoolExecutor", None)
    assert tokenizer.encode(speech[:8000]).lengths.tolist() == [24]


def test_the_bar_is_shown_when_asked_for(tokenizer, speech, capsys, small_batches):
    tokenizer.encode([speech[:8000]] * 3)
    assert capsys.readouterr() == ("", "")
    tokenizer.encode([speech[:8000]] * 3, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "encoding" in err and "3/3" in err
