"""Reading, writing and resampling audio, and every input that a tokenizer accepts or refuses."""

from __future__ import annotations

import io
import os
import shutil
import threading
import tracemalloc
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import helpers
import numpy as np
import pytest
import soundfile
import soxr
import torch
from helpers import CLIPS, DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from semtok.audio.io import load_audio, save_audio
from semtok.audio.recordings import open_recordings
from semtok.errors import AudioError, SemtokError

SPEECH = DATA / "arctic_axb_a0004.flac"


def waveforms(audio, sample_rate=None, lengths=None, target_sample_rate=16000):
    recordings = open_recordings(audio, sample_rate=sample_rate, target_sample_rate=target_sample_rate, lengths=lengths)
    return [recording.load() for recording in recordings]


refuses = partial(helpers.refuses, AudioError)


def sine(sample_rate, seconds=0.5, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * sample_rate)) / sample_rate)).astype(np.float32)


# --- reading


def test_reads_real_speech():
    assert len(CLIPS) == 3
    for path in CLIPS:
        waveform = load_audio(path)
        assert waveform.dtype == torch.float32
        assert waveform.shape == (soundfile.info(path).frames,)
        assert 0.05 < waveform.abs().max() <= 1


def test_path_may_be_a_string():
    assert torch.equal(load_audio(str(SPEECH)), load_audio(SPEECH))


def test_channels_are_mixed_by_their_mean(tmp_path):
    left, right = sine(16000), sine(16000, hertz=300.0)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "stereo.wav").numpy(), (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("file_rate", [8000, 22050, 44100, 48000])
def test_resamples_to_the_rate_asked_for(tmp_path, file_rate):
    soundfile.write(tmp_path / "sine.wav", sine(file_rate), file_rate, subtype="FLOAT")
    waveform = load_audio(tmp_path / "sine.wav", sample_rate=16000)
    assert len(waveform) == 8000
    np.testing.assert_allclose(waveform.numpy()[500:-500], sine(16000)[500:-500], atol=1e-3)


def test_missing_file_is_named(tmp_path):
    with refuses("there is no audio file", tmp_path / "none.wav"):
        load_audio(tmp_path / "none.wav")
    assert issubclass(AudioError, SemtokError) and issubclass(AudioError, ValueError)


def test_folder_is_no_audio(tmp_path):
    with refuses(tmp_path, "is a folder: pass the audio files in it"):
        load_audio(tmp_path)


@pytest.mark.parametrize("name, content", [("text.wav", b"no audio at all" * 9), ("empty.flac", b""), ("a.raw", b"12")])
def test_other_files_are_no_audio(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with refuses("cannot read", tmp_path / name, f"({len(content)} bytes)", "corrupt or of an unknown format"):
        load_audio(tmp_path / name)


def test_truncated_file_gives_the_reason(tmp_path):
    (tmp_path / "cut.flac").write_bytes(SPEECH.read_bytes()[:20000])
    with refuses("cannot read", "cut.flac", "flac decoder lost sync"):
        load_audio(tmp_path / "cut.flac")


def test_stream_of_unknown_length_is_read_to_its_end(tmp_path):
    content = bytearray(SPEECH.read_bytes())
    content[21] &= 0xF0  # its samples in all, 36 bits, are not known
    content[22:26] = bytes(4)
    (tmp_path / "stream.flac").write_bytes(content)
    assert soundfile.info(tmp_path / "stream.flac").frames > 2**60
    assert torch.equal(load_audio(tmp_path / "stream.flac"), load_audio(SPEECH))


@pytest.mark.parametrize(
    "samples, message",
    [
        ([], "is empty (0 samples)"),
        ([0.0, 0.1, np.nan], "holds nan at sample 2"),
        ([0.0, -np.inf], "holds -inf at sample 1"),
        ([0.0, 3000.0], "has a peak of 3000, expected samples in [-1, 1]"),
    ],
)
def test_files_without_usable_samples(tmp_path, samples, message):
    soundfile.write(tmp_path / "bad.wav", np.array(samples, dtype=np.float32), 16000, subtype="FLOAT")
    with refuses("bad.wav", message):
        load_audio(tmp_path / "bad.wav")


@pytest.mark.parametrize("sample_rate", [16, 0, -16000, 16000.0, "16000", None])
def test_sample_rate_is_an_integer_in_hertz(sample_rate):
    with refuses("sample_rate must be an integer in Hz, 1000 to 768000, got", repr(sample_rate)):
        load_audio(SPEECH, sample_rate=sample_rate)


# --- writing


@pytest.mark.parametrize(
    "suffix, tolerance", [(".wav", 1e-4), (".flac", 1e-4), (".ogg", 0.1), (".opus", 0.1), (".mp3", 0.1)]
)
def test_written_audio_reads_back(tmp_path, suffix, tolerance):
    path = tmp_path / f"sine{suffix}"
    save_audio(path, torch.from_numpy(sine(16000))[None])
    np.testing.assert_allclose(load_audio(path).numpy()[1000:7000], sine(16000)[1000:7000], atol=tolerance)
    assert list(tmp_path.iterdir()) == [path]


def test_wav_is_16_bit_and_clipped(tmp_path):
    save_audio(tmp_path / "a.wav", np.array([2.0, -3.0, 0.25]), sample_rate=24000)
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.subtype, info.samplerate, info.channels) == ("PCM_16", 24000, 1)
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav", sample_rate=24000), [1.0, -1.0, 0.25], atol=1e-4)


def test_minutes_of_vorbis_are_written(tmp_path):
    save_audio(tmp_path / "long.ogg", torch.zeros(16000 * 600), sample_rate=16000)
    assert soundfile.info(tmp_path / "long.ogg").frames == 16000 * 600


@pytest.mark.parametrize("suffix", [".wav", ".ogg"])
def test_pieces_are_written_as_the_whole_is(tmp_path, suffix):
    whole = torch.from_numpy(sine(16000))
    save_audio(tmp_path / f"whole{suffix}", whole)
    save_audio(tmp_path / f"pieces{suffix}", iter([whole[:100], whole[100:101], whole[101:].numpy()]))
    assert torch.equal(load_audio(tmp_path / f"pieces{suffix}"), load_audio(tmp_path / f"whole{suffix}"))


@pytest.mark.parametrize(
    "pieces, part",
    [
        ([], "the waveform is empty"),
        ([torch.zeros(9), torch.zeros(0)], "the waveform is empty"),
        ([torch.zeros(9), torch.zeros(2, 9)], "shape [2, 9]"),
        ([torch.zeros(9), torch.tensor([torch.nan])], "the waveform holds nan"),
    ],
)
def test_a_bad_piece_leaves_the_old_file_and_nothing_else(tmp_path, pieces, part):
    old = tmp_path / "a.wav"
    old.write_bytes(b"old")
    with refuses(part):
        save_audio(old, iter(pieces))
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize(
    "name, waveform, sample_rate, parts",
    [
        ("a.txt", torch.zeros(9), 16000, ["the suffix must be one of .wav, .flac, .ogg, .opus, .mp3, got '.txt'"]),
        ("none/a.wav", torch.zeros(9), 16000, ["the folder", "none does not exist, create it first"]),
        ("a.wav", [0.0, 0.1], 16000, ["cannot write a list: expected a numpy array or a torch tensor"]),
        ("a.wav", torch.zeros(2, 9), 16000, ["shape [2, 9]: expected [samples] or [1, samples]", "one by one"]),
        ("a.wav", torch.zeros(9, dtype=torch.int16), 16000, ["is of type int16", "wav / 32768.0"]),
        ("a.wav", torch.zeros(0), 16000, ["the waveform is empty"]),
        ("a.wav", torch.tensor([0.0, torch.nan]), 16000, ["the waveform holds nan at sample 1"]),
        ("a.wav", torch.zeros(9), 16, ["sample_rate must be an integer in Hz"]),
        ("a.opus", torch.zeros(9), 22050, ["cannot write", "a.opus at 22050 Hz", "Opus only supports sample rates"]),
    ],
)
def test_refused_writes_leave_the_old_file_and_nothing_else(tmp_path, name, waveform, sample_rate, parts):
    old = tmp_path / Path(name).name
    old.write_bytes(b"old")
    with refuses(*parts):
        save_audio(tmp_path / name, waveform, sample_rate=sample_rate)
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


# --- every accepted input


@pytest.mark.parametrize("audio", [SPEECH, str(SPEECH), [SPEECH], (SPEECH,)])
def test_paths(audio):
    (waveform,) = waveforms(audio)
    assert torch.equal(waveform, load_audio(SPEECH))


def test_list_of_paths_keeps_its_order():
    lengths = [len(waveform) for waveform in waveforms(CLIPS[::-1])]
    assert lengths == [soundfile.info(path).frames for path in CLIPS[::-1]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, torch.float16, torch.bfloat16, torch.float64])
def test_floating_types_become_float32(dtype):
    samples = [0.0, 0.5, -0.25]
    array = torch.tensor(samples, dtype=dtype) if isinstance(dtype, torch.dtype) else np.array(samples, dtype=dtype)
    (waveform,) = waveforms(array)
    assert waveform.dtype == torch.float32
    assert waveform.tolist() == samples


@given(st.lists(st.integers(1, 50), min_size=3, max_size=6), st.booleans())
def test_a_batch_cut_to_its_lengths_equals_the_ragged_list(lengths, as_torch):
    generator = np.random.default_rng(0)
    ragged = [generator.uniform(-1, 1, length).astype(np.float32) for length in lengths]
    batch = np.full((len(lengths), max(lengths)), np.nan, dtype=np.float32)
    for row, clip in zip(batch, ragged, strict=True):
        row[: len(clip)] = clip
    cut = waveforms(torch.from_numpy(batch) if as_torch else batch, lengths=torch.tensor(lengths))
    for waveform, other, clip in zip(cut, waveforms(ragged), ragged, strict=True):
        assert torch.equal(waveform, other)
        assert waveform.tolist() == clip.tolist()


@pytest.mark.parametrize("shape, clips", [((40,), 1), ((1, 40), 1), ((3, 40), 3), ((9, 8), 9)])
def test_arrays_without_lengths(shape, clips):
    assert [len(waveform) for waveform in waveforms(np.zeros(shape))] == [shape[-1]] * clips


def test_two_clips_are_a_batch_when_said_so():
    stacked = torch.rand(2, 4000)
    assert [len(waveform) for waveform in waveforms(list(stacked))] == [4000, 4000]
    assert [len(waveform) for waveform in waveforms(stacked, lengths=[4000, 1000])] == [4000, 1000]


def test_arrays_of_another_rate_are_resampled():
    (waveform,) = waveforms(sine(48000), sample_rate=48000)
    np.testing.assert_allclose(waveform.numpy()[500:-500], sine(16000)[500:-500], atol=1e-3)
    batch = torch.from_numpy(sine(8000)).repeat(3, 1)
    assert [len(waveform) for waveform in waveforms(batch, sample_rate=8000, lengths=[4000, 2000, 10])] == [
        8000,
        4000,
        20,
    ]


def test_without_a_rate_arrays_are_taken_at_the_target_rate():
    audio = torch.rand(100)
    assert torch.equal(waveforms(audio)[0], audio)
    assert torch.equal(waveforms(audio, sample_rate=16000)[0], audio)


def test_files_say_their_own_rate(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(8000), 8000)
    assert [len(waveform) for waveform in waveforms([tmp_path / "a.wav", SPEECH])] == [8000, 44880]
    assert len(waveforms(tmp_path / "a.wav", sample_rate=8000)[0]) == 8000
    with refuses("a.wav is at 8000 Hz but sample_rate=16000 was given: leave sample_rate out for files"):
        waveforms(tmp_path / "a.wav", sample_rate=16000)


def test_the_callers_arrays_stay_as_they_are():
    read_only = sine(16000)[::-1]
    read_only.flags.writeable = False
    leaf = torch.from_numpy(sine(16000)).requires_grad_()
    for array in (read_only, leaf, leaf.detach().repeat(3, 1)):
        before = torch.tensor(array.tolist())
        for sample_rate in (None, 8000):
            assert not any(waveform.requires_grad for waveform in waveforms(array, sample_rate=sample_rate))
        assert torch.tensor(array.tolist()).equal(before)
    assert leaf.requires_grad


# --- in blocks


@pytest.mark.parametrize("suffix, file_rate", [(".wav", 16000), (".flac", 44100), (".ogg", 8000), (".mp3", 22050)])
@pytest.mark.parametrize("seconds", [0.001, 0.013, 0.7, 100.0])
def test_blocks_of_a_file_join_to_the_whole(tmp_path, suffix, file_rate, seconds):
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * file_rate)
    save_audio(path, noise, sample_rate=file_rate)
    (recording,) = open_recordings(path, sample_rate=None, target_sample_rate=16000)
    blocks = list(recording.blocks(seconds))
    assert all(block.dtype == torch.float32 and len(block) > 0 for block in blocks)
    assert torch.equal(torch.cat(blocks), recording.load())
    assert torch.equal(recording.load(), load_audio(path))
    whole = soundfile.read(path, dtype="float32")[0]
    np.testing.assert_allclose(recording.load(), soxr.resample(whole, file_rate, 16000, quality="HQ"), atol=1e-6)
    assert max(map(len, blocks)) <= seconds * 16000 + 2000  # what a resampler holds back
    assert recording.samples == len(recording.load())
    assert recording.name == str(path)


@settings(deadline=None)
@given(st.integers(1, 3000), st.sampled_from([8000, 11025, 16000, 22050, 44100]), st.floats(1e-5, 0.1))
def test_blocks_of_an_array_join_to_the_whole(samples, sample_rate, seconds):
    array = np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)
    if samples * 16000 < sample_rate / 2:
        samples = 2 * samples
        array = np.tile(array, 2)
    (recording,) = open_recordings(array, sample_rate=sample_rate, target_sample_rate=16000)
    whole = recording.load()
    assert recording.samples == len(whole)
    assert torch.equal(torch.cat(list(recording.blocks(seconds))), whole)
    if sample_rate != 16000:
        np.testing.assert_array_equal(whole, soxr.resample(array, sample_rate, 16000, quality="HQ"))


def test_errors_count_samples_from_the_start_of_the_file(tmp_path):
    samples = np.zeros(16000 * 35, np.float32)
    samples[16000 * 33] = np.nan
    soundfile.write(tmp_path / "bad.wav", samples, 16000, subtype="FLOAT")
    with refuses("bad.wav holds nan at sample 528000"):
        load_audio(tmp_path / "bad.wav")
    (recording,) = open_recordings(tmp_path / "bad.wav", sample_rate=None, target_sample_rate=16000)
    blocks = recording.blocks(30)
    assert len(next(blocks)) == 480000
    with refuses("bad.wav holds nan at sample 528000"):
        next(blocks)


def test_a_file_is_never_held_whole(tmp_path):
    path = tmp_path / "long.wav"
    save_audio(path, torch.zeros(44100 * 120), sample_rate=44100)
    (recording,) = open_recordings(path, sample_rate=None, target_sample_rate=16000)
    next(recording.blocks(1))
    tracemalloc.start()
    assert sum(map(len, recording.blocks(1))) == 16000 * 120
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # 8 bytes for each of 44100 samples, a few times over; the whole has 21 MB


def test_content_is_read_when_asked_for(tmp_path):
    (tmp_path / "text.wav").write_bytes(b"no audio at all")
    (recording,) = open_recordings(tmp_path / "text.wav", sample_rate=None, target_sample_rate=16000)
    for read in (recording.load, lambda: next(recording.blocks(1)), lambda: recording.samples):
        with refuses("cannot read", "text.wav", "corrupt or of an unknown format"):
            read()


# --- what is no plain named file


def rows(rate=16000):
    samples = soundfile.read(SPEECH, dtype="float32")[0]
    return [
        {"array": samples.astype(np.float64), "sampling_rate": rate, "path": None},
        {"array": samples.tolist(), "sampling_rate": rate},
        {"bytes": SPEECH.read_bytes(), "path": "speech.flac"},
        {"bytes": None, "path": str(SPEECH)},
    ]


@pytest.mark.parametrize("number", range(4))
def test_rows_of_datasets(number):
    row, expected = rows()[number], load_audio(SPEECH)
    torch.testing.assert_close(waveforms(row)[0], expected, atol=1e-6, rtol=0)
    assert torch.equal(waveforms([row, SPEECH] if number > 1 else [row, row])[0], waveforms(row)[0])
    (recording,) = open_recordings(row, sample_rate=None, target_sample_rate=16000)
    assert recording.samples == len(expected)


def test_rows_of_datasets_say_their_own_rate():
    assert [len(waveform) for waveform in waveforms(rows(8000)[:1])] == [2 * len(load_audio(SPEECH))]
    for row in rows(8000)[:3]:
        with refuses("clip 0", "Hz but sample_rate=44100 was given", "leave sample_rate out"):
            waveforms(row, sample_rate=44100)


class Decoder:
    """As torchcodec's, which `datasets` makes of a column of audio; stereo at 8 kHz."""

    def get_all_samples(self):
        wave = torch.from_numpy(sine(8000))
        return SimpleNamespace(data=torch.stack([wave, 0 * wave]), sample_rate=8000)


def test_decoders_of_datasets_are_mixed_and_resampled():
    (waveform,) = waveforms([Decoder()])
    assert torch.equal(waveform, waveforms(sine(8000) / 2, sample_rate=8000)[0])
    assert torch.equal(waveforms(Decoder())[0], waveform)


def test_content_and_open_files_are_read_as_the_file_is(tmp_path):
    expected, content = load_audio(SPEECH), SPEECH.read_bytes()
    with SPEECH.open("rb") as file:
        for source in (content, bytearray(content), memoryview(content), io.BytesIO(content), file):
            assert torch.equal(load_audio(source), expected)
    behind = io.BytesIO(b"header" + content)
    behind.seek(6)  # read from where it stands
    sources = [content, behind, SPEECH, io.BytesIO(content)]
    recordings = open_recordings(sources, sample_rate=None, target_sample_rate=16000)
    for recording in recordings:
        assert recording.samples == len(expected)
        assert torch.equal(torch.cat(list(recording.blocks(1))), recording.load())
        assert torch.equal(recording.load(), expected)
    with refuses("is closed: pass it while it is open"):
        load_audio(file)
    with refuses("expected a path, bytes or an open file, got list"):
        load_audio([SPEECH])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_opened_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (lambda recording: recording.load(), lambda recording: torch.cat(list(recording.blocks(1)))):
        writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[SPEECH.read_bytes()])
        writer.start()
        (recording,) = open_recordings(tmp_path / "pipe", sample_rate=None, target_sample_rate=16000)
        assert recording.samples == len(load_audio(SPEECH))
        writer.join()
        assert torch.equal(read(recording), load_audio(SPEECH))
        assert torch.equal(read(recording), load_audio(SPEECH))


def test_a_name_that_is_not_utf8_is_read(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.flac")
    shutil.copy(SPEECH, path)
    assert torch.equal(load_audio(path), load_audio(SPEECH))


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    path = tmp_path / "closed.wav"
    path.touch(mode=0)
    if os.access(path, os.R_OK):  # root may read everything
        monkeypatch.setattr(Path, "open", create_autospec(Path.open, side_effect=PermissionError(13, "denied")))
    with refuses("closed.wav may not be read: you lack the permission"):
        load_audio(path)


def test_a_path_that_no_file_can_have():
    with refuses("cannot open", "File name too long"):
        load_audio("a" * 300)


# --- every refused input

ACCEPTED = "expected a path, a list of paths, an array [samples] or [batch, samples] (numpy or torch), or a list of 1-D"


@pytest.mark.parametrize(
    "audio, parts",
    [
        (None, [ACCEPTED, "got NoneType"]),
        (3.0, [ACCEPTED, "got float"]),
        ({"array": []}, ["sampling_rate of clip 0 must be an integer in Hz, 1000 to 768000, got None"]),
        ({"array": [0.1, 0.2], "sampling_rate": 8000.5}, ["sampling_rate of clip 0 must be an integer", "8000.5"]),
        ({"array": np.zeros((2, 9)), "sampling_rate": 8000}, ["the array of clip 0 has shape [2, 9]", "[samples]"]),
        ({"array": "a.wav", "sampling_rate": 8000}, ["the array of clip 0 is a str, expected 1-D floating point"]),
        ([{"bytes": None, "path": None}], ["clip 0 is a row with ['bytes', 'path']: expected array and sampling_rate"]),
        ({"audio": b""}, ["clip 0 is a row with ['audio']", "bytes, or a path"]),
        ({SPEECH}, [ACCEPTED, "got set"]),
        (iter([SPEECH]), [ACCEPTED, "got list_iterator"]),
        ("", ["expected the path of an audio file, got an empty one"]),
        ("a\0b", ["cannot open 'a", "null byte"]),
        (b"x", ["cannot read clip 0 <1 bytes>", "corrupt or of an unknown format"]),
        (io.StringIO("text"), ["clip 0 <StringIO>", "does not give bytes", "mode 'rb'"]),
        (io.BytesIO(), ["nothing to read in", "empty, or stands at its end"]),
        ([], [ACCEPTED, "got an empty list"]),
        ([0.1, 0.2], [ACCEPTED, "got float as clip 0 of a list"]),
        (np.float32(0.5) * np.ones(()), [ACCEPTED, "got float"]),
        (torch.tensor(0.5), [ACCEPTED, "clip 0 has shape []"]),
        (torch.zeros(3, 2, 100), [ACCEPTED, "clip 0 has shape [3, 2, 100]"]),
        ([torch.zeros(9), torch.zeros(1, 9)], [ACCEPTED, "clip 1 has shape [1, 9]"]),
        ([SPEECH, torch.zeros(9)], ["either paths or arrays, got both", "load_audio"]),
        (torch.zeros(0, 9), ["audio of shape [0, 9] is empty"]),
        (torch.zeros(9, 0), ["audio of shape [9, 0] is empty"]),
        ([torch.zeros(9), torch.zeros(0)], ["clip 1 is empty (0 samples)"]),
        (torch.zeros(2, 900), ["shape [2, 900] could be stereo", "wav.mean(0)", "list(wav)", "lengths="]),
        (torch.zeros(6, 900), ["shape [6, 900] could be six channels", "wav.mean(0)", "batch of 6 clips", "lengths="]),
        (torch.zeros(900, 2), ["shape [900, 2] looks like [samples, channels]", "wav.mean(1)", "transpose"]),
        (np.zeros((900, 1)), ["shape [900, 1] looks like [samples, channels]"]),
        (np.zeros(9, dtype=np.int16), ["clip 0 is of type int16, expected floating point in [-1, 1]", "wav / 32768.0"]),
        (torch.zeros(9, dtype=torch.int32), ["clip 0 is of type int32", "wav / 2147483648.0"]),
        (np.zeros(9, dtype=np.uint8), ["clip 0 is of type uint8", "(wav - 128.0) / 128"]),
        (torch.zeros(9, dtype=torch.bool), ["clip 0 is of type bool, expected floating point"]),
        (np.array(["a", "b"]), ["got an array of type <U1: pass paths as a list, paths.tolist()"]),
        ([torch.zeros(9), torch.tensor([0.0, 0.0, torch.nan])], ["clip 1 holds nan at sample 2", "must be finite"]),
        (np.array([0.0, np.inf]), ["clip 0 holds inf at sample 1"]),
        (np.array([0.0, -20000.0]), ["clip 0 has a peak of 20000, expected samples in [-1, 1]", "by 32768"]),
    ],
)
def test_refused_inputs(audio, parts):
    with refuses(*parts):
        waveforms(audio)


@pytest.mark.parametrize(
    "lengths, parts",
    [
        ([9, 9], ["lengths must be integers, the samples of each of 3 clips, got int64 of shape [2]"]),
        (9, ["each of 3 clips, got int64 of shape []"]),
        (torch.tensor([1.0, 0.5, 0.5]), ["lengths must be integers", "got float32 of shape [3]"]),
        ([True, True, False], ["lengths must be integers", "got bool"]),
        (np.array([9, 0, 9]), ["lengths[1] is 0, expected 1 to 9 samples"]),
        ([9, 9, 10], ["lengths[2] is 10, expected 1 to 9 samples"]),
        ([-1, 9, 9], ["lengths[0] is -1, expected 1 to 9 samples"]),
    ],
)
def test_refused_lengths(lengths, parts):
    with refuses(*parts):
        waveforms(torch.zeros(3, 9), lengths=lengths)


@pytest.mark.parametrize("audio", [SPEECH, torch.zeros(9), [torch.zeros(9)]])
def test_lengths_go_with_a_batch_only(audio):
    with refuses("lengths go with an array [batch, samples]; cut the clips of any other input yourself"):
        waveforms(audio, lengths=[5])


def test_too_few_samples_to_resample():
    with refuses("clip 0 is too short: 1 samples at 48000 Hz leave none at 16000 Hz"):
        waveforms(torch.zeros(1), sample_rate=48000)


@pytest.mark.parametrize("rates", [{"sample_rate": 16}, {"sample_rate": 44.1}, {"target_sample_rate": 0}])
def test_rates_are_integers_in_hertz(rates):
    (name, value), *_ = rates.items()
    with refuses(f"{name} must be an integer in Hz, 1000 to 768000, got {value}"):
        waveforms(torch.zeros(9), **rates)


@pytest.mark.parametrize("rate, refused", [(1, True), (999, True), (1000, False), (768_000, False), (768_001, True)])
def test_rates_at_which_no_speech_is_recorded_are_refused(tmp_path, rate, refused):
    """A file that says 1 Hz would grow 16,000-fold where it is resampled."""
    path = tmp_path / "file.wav"
    soundfile.write(path, np.zeros(4000, dtype=np.int16), rate)
    if refused:
        with refuses("file.wav", "1000 to 768000", f"got {rate}"):
            load_audio(path)
    else:
        assert len(load_audio(path)) == round(4000 * 16000 / rate)


def test_more_than_a_day_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(25 * 3600 * 1000, dtype=np.int16), 1000)
    with refuses("long.flac", "more than 24 hours"):
        load_audio(path, sample_rate=1000)
    (recording,) = open_recordings([path], sample_rate=None, target_sample_rate=1000)
    with refuses("more than 24 hours"):
        recording.load()
