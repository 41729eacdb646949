"""Metrics of resynthesised speech, the loop over layer subsets, and the report of it."""

from __future__ import annotations

import importlib.util
import json
import math

import numpy as np
import pytest
import torch
from helpers import DATA
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from semtok.audio.io import load_audio
from semtok.codebooks.codebooks import Codebooks
from semtok.errors import LayerError, SemtokError
from semtok.evaluation import (
    METRICS,
    Judges,
    default_subsets,
    evaluate_resynthesis,
    metrics,
    report,
    write_report,
)
from semtok.evaluation.pitch import f0_correlation, track_pitch, voicing_error
from semtok.support.intervals import Interval
from semtok.tokens import Tokens

SPEECH = DATA / "arctic_axb_a0004.flac"
TEXT = "Lord, but I'm glad to see you again, Phil."


@pytest.fixture(scope="module")
def speech() -> metrics.Waveform:
    return load_audio(SPEECH).numpy()


def noisy(waveform: metrics.Waveform, level: float) -> metrics.Waveform:
    return waveform + level * np.random.default_rng(0).standard_normal(len(waveform)).astype(np.float32)


# --- metrics


@pytest.mark.parametrize(
    ("metric", "best", "sign"),
    [
        (metrics.stoi, 1.0, 1),
        (metrics.pesq, 4.644, 1),
        (metrics.log_mel_distance, 0.0, -1),
        (lambda _, output: metrics.dnsmos(output), None, 1),
    ],
    ids=["stoi", "pesq", "log_mel_distance", "dnsmos"],
)
def test_the_original_scores_best_and_noise_worsens_every_metric(metric, best, sign, speech):
    values = [sign * metric(speech, noisy(speech, level) if level else speech) for level in (0, 0.01, 0.1)]
    assert values == sorted(values, reverse=True) and values[0] > values[1] > values[2]
    if best is not None:
        assert values[0] == pytest.approx(sign * best, abs=1e-3)


def test_metrics_do_not_change_their_input(speech):
    reference, output = speech.copy(), noisy(speech, 0.1)
    kept = output.copy()
    metrics.dnsmos(output * 3)
    metrics.pesq(reference, output)
    assert np.array_equal(reference, speech) and np.array_equal(output, kept)


def test_log_mel_is_that_of_the_vocoder_loss(speech):
    """Against torch's transform and the filters of transformers, a different implementation of both."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(513, 80, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    window = torch.hann_window(1024)
    spectrum = torch.stft(torch.from_numpy(speech), 1024, 256, window=window, return_complex=True).abs()
    expected = torch.log((torch.from_numpy(filters.T).float() @ spectrum).clamp(min=1e-5))
    np.testing.assert_allclose(metrics.log_mel(speech), expected.numpy(), atol=1e-3)


def test_log_mel_distance_is_the_same_at_any_loudness_but_not_for_another_spectrum(speech):
    half = speech.copy()
    half[: len(half) // 2] /= 2  # the levels of both halves now differ by log(2), whatever the overall gain
    assert metrics.log_mel_distance(speech, speech / 4) == pytest.approx(0, abs=1e-3)
    assert metrics.log_mel_distance(speech, half / 4) == pytest.approx(metrics.log_mel_distance(speech, half), rel=1e-3)
    assert metrics.log_mel_distance(speech, half) > 0.3 * math.log(2)


@pytest.mark.parametrize("lag", [-40, -3, 0, 7, 40])
def test_delay_finds_a_shift_in_milliseconds(lag, speech):
    shifted = noisy(np.roll(speech, lag * 16), 0.005)
    assert metrics.delay(speech, shifted) == lag


def test_what_is_not_defined_is_nan(speech):
    silence, short = np.zeros_like(speech), speech[8000:10400]
    assert math.isnan(metrics.pesq(speech, silence))
    assert math.isnan(metrics.delay(speech, silence))
    assert math.isfinite(metrics.dnsmos(silence))
    assert math.isnan(metrics.stoi(short, short))
    assert math.isnan(metrics.pesq(short, short))
    assert math.isnan(metrics.delay(short, short))


def test_a_missing_package_says_the_pip_command(monkeypatch, tmp_path):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("pesq", "pystoi") else find_spec(name)
    )
    with pytest.raises(SemtokError, match=r"needs pesq, pystoi, not installed.*pip install '\.\[eval\]'"):
        evaluate_resynthesis(FakeTokenizer(), FakeVocoder(), tmp_path)


def test_every_metric_has_its_own_name_and_can_be_had():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    evidence = {
        **{name: np.ones(16000, np.float32) for name in ("reference", "output")},
        **{name: np.linspace(100, 200, 50) for name in ("reference_pitch", "pitch")},
        "rating": 3.5,
        **{name: ["a"] for name in ("text", "words", "reference_words")},
        **{name: np.ones(1, np.float32) for name in ("voice", "reference_voice")},
    }
    assert list(metrics.measure(evidence)) == names
    assert list(metrics.measure({"words": ["a"], "text": ["b"]})) == ["wer"]


def test_pitch_of_a_glide_is_the_glide_and_another_melody_is_noticed():
    times = np.arange(32000) / 16000
    rising = np.sin(2 * np.pi * (100 * times + 25 * times**2)).astype(np.float32)
    pitch = track_pitch(rising)
    inside = pitch[10:-10]
    np.testing.assert_allclose(inside, 100 + 50 * np.arange(10, 10 + len(inside)) / 100, rtol=0.02)
    assert f0_correlation(pitch, track_pitch(rising[::-1].copy())) < -0.9
    half = rising.copy()
    half[16000:] = np.random.default_rng(0).standard_normal(16000) / 10
    assert voicing_error(pitch, track_pitch(half)) == pytest.approx(0.5, abs=0.05)
    assert np.isnan(track_pitch(np.zeros(500, np.float32))).all()
    assert len(track_pitch(rising[:100])) == 1, "shorter than a frame of it"


def test_f0_correlation_of_too_little_is_nan():
    rising = np.linspace(100, 200, 50)
    assert f0_correlation(rising, 2 * rising) == pytest.approx(1)
    assert math.isnan(f0_correlation(rising[:9], rising[:9]))
    assert math.isnan(f0_correlation(rising, np.full(50, 120.0)))
    assert math.isnan(f0_correlation(rising, np.full(50, np.nan)))


# --- words


@pytest.mark.parametrize(
    ("expected", "words", "errors"),
    [("a b c", "a b c", 0), ("a b c", "", 3), ("", "a", 1), ("a b c", "a x c d", 2), ("a b c d", "b c d", 1)],
)
def test_word_errors_of_known_pairs(expected, words, errors):
    assert metrics.word_errors(expected.split(), words.split()) == (errors, len(expected.split()))


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_word_errors_are_a_distance(first, second):
    errors = metrics.word_errors(first, second).errors
    assert errors == metrics.word_errors(second, first).errors
    assert abs(len(first) - len(second)) <= errors <= max(len(first), len(second))
    assert (errors == 0) == (first == second)


def test_averages_leave_out_what_is_not_defined_and_pool_words():
    assert metrics.average([1.0, math.nan, 2.0]) == (1.5, 2)
    assert metrics.average([metrics.WordErrors(1, 2), metrics.WordErrors(0, 8)]) == (0.1, 2)
    for nothing in ([math.nan], [metrics.WordErrors(0, 0)]):
        assert math.isnan(metrics.average(nothing)[0])


def test_intervals_are_over_clips_with_a_value():
    values = [1.0, math.nan, 2.0, 1.5, 1.2]
    low, high = metrics.interval(values)
    assert 1.0 <= low < metrics.average(values)[0] < high <= 2.0
    errors = [metrics.WordErrors(1, 2), metrics.WordErrors(0, 8), metrics.WordErrors(3, 9)]
    low, high = metrics.interval(errors)
    assert 0 <= low < 4 / 19 < high <= 0.5
    for nothing in ([], [1.0], [metrics.WordErrors(0, 0)] * 3):
        assert all(map(math.isnan, metrics.interval(nothing)))


# --- subsets


def test_default_subsets():
    assert default_subsets([1, 3, 5, 7, 8]) == (
        [(1,), (3,), (5,), (7,), (8,), (1, 5), (1, 8), (1, 3, 5), (1, 3, 5, 7, 8)]
    )
    assert default_subsets([7, 1]) == [(1,), (7,), (1, 7)]
    assert default_subsets([6]) == [(6,)]


# --- the loop and the report


class FakeTokenizer:
    """Keeps the waveform that it was given, for a fake vocoder to spoil."""

    layers = (1, 3, 7)
    codebooks = Codebooks({1: [1024], 3: [256], 7: [256]})
    sample_rate = 16000
    hop_length = 320
    frame_rate = 50.0
    fingerprint = "0123456789abcdef"
    waveform = torch.zeros(0)

    def encode(self, audio, *, sample_rate, layers):
        assert sample_rate == self.sample_rate
        FakeTokenizer.waveform = torch.as_tensor(audio)
        frames = (len(audio) - 400) // self.hop_length + 1
        codes = torch.zeros(len(layers), frames, dtype=torch.int64)
        codebooks = self.codebooks.select(layers, owner="the tokenizer")
        return Tokens.of([codes], codebooks, self.frame_rate, self.fingerprint)


class FakeVocoder:
    """The original in noise, less of it with more layers."""

    layers = FakeTokenizer.layers
    sample_rate = 16000
    hop_length = 320
    fingerprint = FakeTokenizer.fingerprint

    def decode(self, tokens, *, layers, speaker):
        samples = int(tokens.lengths[0]) * self.hop_length
        level = {2: 0.02, 3: 0.005}[len(layers)]
        return torch.from_numpy(noisy(FakeTokenizer.waveform[:samples].numpy(), level))[None].clamp(-1, 1)


class FakeRecognizer:
    """Hears the text without error in the original, less of it in more noise; and which clip is German."""

    name = "fake recognizer"
    language = "en"

    def __init__(self, german: float = 0.0):
        self._german = german

    def words(self, text):
        return text.lower().split()

    def transcribe(self, waveforms):
        noise = [float(np.abs(waveform - waveforms[0][: len(waveform)]).mean()) for waveform in waveforms]
        return [" ".join(TEXT.split()[: 9 - (level > 0.001) - (level > 0.01)]) for level in noise]

    def other_language(self, waveform):
        return "de" if len(waveform) / 16000 == self._german else None


class FakeSpeakerModel:
    name = "fake speaker model"

    def embed(self, waveform):
        angle = 100 * float(waveform.std())
        return np.array([np.cos(angle), np.sin(angle)])


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    (folder / SPEECH.name).symlink_to(SPEECH)
    (folder / "manifest.csv").write_text(f'path,text\n{SPEECH.name},"{TEXT}"\n', encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def result(clips):
    judges = Judges(FakeRecognizer(), FakeSpeakerModel())
    subsets = [[1, 7], [1, 3, 7]]
    return evaluate_resynthesis(FakeTokenizer(), FakeVocoder(), clips, subsets=subsets, judges=judges, workers=1)


def test_resynthesis_measures_the_original_and_every_subset(result, speech):
    assert [row.layers for row in result.rows] == [(), (1, 7), (1, 3, 7)]
    assert [row.bitrate for row in result.rows] == [None, 900.0, 1300.0]
    assert (result.clips, result.fingerprint) == (1, FakeTokenizer.fingerprint)
    assert result.seconds == len(speech) / 16000
    original, two, three = (row.scores for row in result.rows)
    assert original["stoi"] == pytest.approx(1) and original["speaker_similarity"] == pytest.approx(1)
    assert [row.scores["wer"] for row in result.rows] == [0, 2 / 9, 1 / 9]
    assert [row.scores["dwer"] for row in result.rows] == [0, 2 / 9, 1 / 9]
    assert two["speaker_similarity"] < three["speaker_similarity"] < 1
    assert two["stoi"] < three["stoi"] < 1
    assert two["log_mel_distance"] > three["log_mel_distance"] > 0
    assert [row.delay for row in result.rows] == [0, 0, 0]
    assert result.judges == {"recognizer": "fake recognizer", "speaker model": "fake speaker model"}
    assert result.notes == ()
    assert all(set(row.clips.values()) == {1} for row in result.rows)


def test_without_judges_their_columns_are_left_out(clips, tmp_path):
    judges = Judges(missing=("No WER and dWER: get it there",))
    result = evaluate_resynthesis(FakeTokenizer(), FakeVocoder(), clips, subsets=[[1, 7]], judges=judges, workers=1)
    without = ["stoi", "pesq", "log_mel_distance", "f0_correlation", "voicing_error", "dnsmos"]
    assert list(result.rows[1].scores) == without
    markdown, data, _ = write_report(result, tmp_path, checkpoint="fake", command="semtok")
    text = markdown.read_text(encoding="utf-8")
    assert "\n- No WER and dWER: get it there\n" in text and "WER ↓" not in text
    assert json.loads(data.read_text(encoding="utf-8"))["notes"] == ["No WER and dWER: get it there"]


def test_a_clip_in_another_language_is_not_in_the_word_error_rates(clips, speech):
    judges = Judges(FakeRecognizer(german=len(speech) / 16000), None)
    result = evaluate_resynthesis(FakeTokenizer(), FakeVocoder(), clips, subsets=[[1, 7]], judges=judges, workers=1)
    assert not {"wer", "dwer"} & result.rows[1].scores.keys()
    (note,) = result.notes
    assert note.startswith("Not in WER and dWER: 1 clips that are not spoken in 'en' but") and "(1 de)" in note
    assert SPEECH.name in note and "--language" in note


def test_without_a_text_there_is_dwer_alone(clips, tmp_path):
    (tmp_path / SPEECH.name).symlink_to(SPEECH)
    judges = Judges(FakeRecognizer(), None)
    result = evaluate_resynthesis(FakeTokenizer(), FakeVocoder(), tmp_path, subsets=[[1, 7]], judges=judges, workers=1)
    assert "wer" not in result.rows[1].scores and result.rows[1].scores["dwer"] == 2 / 9


def test_layers_that_the_vocoder_lacks_are_an_error(tmp_path):
    with pytest.raises(LayerError, match=r"the vocoder has no layers \[4\], only \[1, 3, 7\]"):
        evaluate_resynthesis(FakeTokenizer(), FakeVocoder(), tmp_path, subsets=[[1, 4]])


def test_report_holds_every_row_and_what_made_it(result, tmp_path):
    command = "semtok evaluate resynthesis --checkpoint fake"
    markdown, data, plot = write_report(result, tmp_path / "new", checkpoint="fake", command=command)
    facts = json.loads(data.read_text(encoding="utf-8"))
    assert [row["layers"] for row in facts["rows"]] == [[], [1, 7], [1, 3, 7]]
    assert facts["rows"][1]["scores"] == result.rows[1].scores
    assert facts["command"] == command and facts["fingerprint"] == result.fingerprint
    assert {"semtok", "torch"} < set(facts["versions"]) and facts["machine"]["cores"] >= 1

    text = markdown.read_text(encoding="utf-8")
    table = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    assert {len(row) for row in table} == {11}
    assert [row[0].strip() for row in table[2:]] == ["original", "1, 7", "1, 3, 7"]
    assert table[3][2].strip() == f"{result.rows[1].scores['stoi']:.3f}"
    assert [cell.strip() for cell in table[2]][-2:] == ["0.0", "0.0"]
    assert "- Recognizer: fake recognizer.\n- Speaker model: fake speaker model.\n" in text
    assert facts["judges"] == result.judges
    assert command in text and "resynthesis.png" in text and "late" not in text

    assert METRICS[0].cell(0.5, Interval(0.25, 0.75)) == "0.500 (0.250 to 0.750)" and "intervals of 95 %" in text

    height, width, _ = imread(plot).shape
    assert width > height > 500
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(p.name for p in (markdown, data, plot))


def test_a_report_that_fails_leaves_the_old_one(result, tmp_path, monkeypatch):
    old = write_report(result, tmp_path, checkpoint="fake", command="old")[0].read_text(encoding="utf-8")
    monkeypatch.setattr(report, "_plot", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(result, tmp_path, checkpoint="fake", command="new")
    assert (tmp_path / "resynthesis.md").read_text(encoding="utf-8") == old
    assert len(list(tmp_path.iterdir())) == 3


def test_a_report_tells_what_was_not_defined_and_what_is_late(result, tmp_path):
    from dataclasses import replace

    original, row, *_ = result.rows
    odd = replace(
        row,
        scores=row.scores | {"pesq": math.nan, "wer": math.nan},
        clips=row.clips | {"pesq": 0, "wer": 0},
        delay=20.0,
    )
    markdown, data, _ = write_report(
        replace(result, rows=(original, odd)), tmp_path, checkpoint="fake", command="semtok"
    )
    text = markdown.read_text(encoding="utf-8")
    assert "- PESQ: on 0 of 1 clips of 1, 7, not defined on others." in text
    assert "- 1, 7: output +20 ms late (median), not corrected." in text
    scores = json.loads(data.read_text(encoding="utf-8"))["rows"][1]["scores"]
    assert scores["pesq"] is None and scores["wer"] is None
