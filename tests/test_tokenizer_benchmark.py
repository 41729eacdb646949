"""`semtok benchmark`: figures as by the measures themselves, intervals, why some are missing, and the page."""

from __future__ import annotations

import csv
import json
import math
import os
from html.parser import HTMLParser

import numpy as np
import pytest
from codec_models import save_codec
from helpers import CLIPS, refuses, write_csv
from judge_models import save_ctc, save_x_vector

from semtok import load_audio, save_audio
from semtok.analysis import information, stability
from semtok.analysis.abx import abx_error, angle, draw_triplets, find_examples
from semtok.analysis.benchmark import open_subjects, run_benchmark, write_benchmark
from semtok.analysis.benchmark.codes import (
    UED,
    bitrates,
    decoding_speed,
    edit_distances,
    encode_clips,
    phone_errors,
    phone_information,
)
from semtok.analysis.benchmark.run import MEASURES
from semtok.analysis.clips import read_tiers
from semtok.analysis.codes import code_statistics
from semtok.analysis.labels import aligned_labels
from semtok.errors import CheckpointError, LayerError, SemtokError
from semtok.evaluation import METRICS
from semtok.evaluation.alignments import frame_times
from semtok.evaluation.published import read_published
from semtok.speech.reading import Speech


@pytest.fixture(scope="module")
def audio(tmp_path_factory, tokenizer):
    """Six clips of two speakers, whose phones are the codes of layer 4."""
    folder = tmp_path_factory.mktemp("audio")
    rows, lines = [], []
    for number in range(6):
        name = f"{number}.wav"
        save_audio(folder / name, load_audio(CLIPS[number % 3])[number // 3 * 8000 :][:12000])
        codes = tokenizer.encode(folder / name, layers=[4]).codes[0, 0].tolist()
        times = frame_times(tokenizer.encoder.framing, len(codes))
        lines.append({"path": name, "phones": [[f"P{c}", t - 0.01, 0.02] for c, t in zip(codes, times, strict=True)]})
        rows.append({"path": name, "speaker": f"s{number % 2}"})
    write_csv(folder / "manifest.csv", rows)
    (folder / "phones.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return save_codec("dac", tmp_path_factory.mktemp("codec") / "dac")


@pytest.fixture(scope="module")
def subject(istft_folder):
    (subject,) = open_subjects([str(istft_folder)])
    return subject


@pytest.fixture(scope="module")
def speech(audio):
    return Speech([str(audio)])


@pytest.fixture(scope="module")
def encoded(subject, speech):
    return encode_clips(subject, speech)


# --- names


def test_names_are_checkpoints_with_layers_and_codecs_at_a_like_bitrate(istft_folder, codec, tokenizer):
    layer = tokenizer.layers[-1]
    names = [f"{istft_folder}:{layer}", str(istft_folder), str(codec), f"{codec}:1"]
    one, all_layers, matched, fixed = open_subjects(names)
    assert one.tokenizer.codebooks.layers == (layer,) and all_layers.tokenizer.codebooks == tokenizer.codebooks
    assert one.title.endswith(f", layer {layer}") and "layers" in all_layers.title
    # five bits a codebook and 50 frames a second, as the tokenizer has
    nearest = min(4, max(1, round(one.bitrate / 250)))
    assert len(matched.tokenizer.codebooks.sizes) == nearest and matched.title.startswith("dac, ")
    assert len(fixed.tokenizer.codebooks.sizes) == 1 and fixed.title == "dac, 1 codebook"
    (alone,) = open_subjects([str(codec)])
    assert len(alone.tokenizer.codebooks.sizes) == 4, "there is no bitrate to come near to"


def test_names_that_cannot_be_measured_are_refused(istft_folder, codec):
    with refuses(SemtokError, "measured once"):
        open_subjects(["tiny", "tiny"])
    with refuses(LayerError, "99"):
        open_subjects([f"{istft_folder}:99"])
    with refuses(LayerError, "is a codec", ":2, got 1,3"):
        open_subjects([f"{codec}:1,3"])
    with refuses(LayerError, "has 4 codebooks", "first 9"):
        open_subjects([f"{codec}:9"])
    with refuses(CheckpointError, "nowhere"):
        open_subjects(["nowhere"])


# --- figures


def test_codes_cost_what_a_study_says(encoded):
    frames, speed = encoded
    figures = bitrates(frames)
    rows = [
        code_statistics(codes, frames.lengths, size, frames.frame_rate)
        for codes, size in zip(frames.codes, frames.codebooks.sizes, strict=True)
    ]
    assert figures["bitrate"].value == pytest.approx(sum(row.bitrate for row in rows))
    assert figures["entropy_bitrate"].value == pytest.approx(sum(row.entropy_bitrate for row in rows))
    low, high = figures["entropy_bitrate"].interval
    assert low < figures["entropy_bitrate"].value < high
    assert speed.value > 0 and speed.clips == 6


def test_pnmi_is_that_of_a_study_and_its_interval_is_around_it(encoded, speech, audio):
    frames, _ = encoded
    tiers = read_tiers(speech, audio, audio / "phones.jsonl")
    figures = phone_information(frames, tiers, len(speech))
    labels = aligned_labels(frames, tiers, "phones", len(speech))
    for name, codes in zip(frames.codebooks.names, frames.codes, strict=True):
        expected = information(labels.labels, codes[labels.frames], labels.groups).normalized
        assert figures[name].value == pytest.approx(expected)
        low, high = figures[name].interval
        assert low - 1e-9 <= expected <= high + 1e-9
    assert figures["4"].value == pytest.approx(1), "the phones are its codes"


def test_abx_is_that_of_a_study(encoded, subject, speech, audio):
    frames, _ = encoded
    tiers = read_tiers(speech, audio, audio / "phones.jsonl")
    figures = phone_errors(subject, frames, speech, tiers)
    examples = find_examples(frames, speech.clips, tiers["phones"])
    triplets = draw_triplets(examples, across=False)
    rows = frames.codebooks.rows[4]
    points = [subject.embed(4, frames.codes[rows, example.start : example.stop]) for example in examples]
    within = figures["within"][4]
    assert within.value == abx_error(triplets, points, angle) and within.of == "layer 4"
    assert within.interval.low <= within.value <= within.interval.high


def test_edits_are_those_of_stability(subject):
    waveforms = [load_audio(clip)[:16000].numpy() for clip in CLIPS]
    figures = edit_distances(subject, waveforms)
    expected = stability(subject.tokenizer, waveforms)
    sizes = len(subject.tokenizer.codebooks.sizes)
    for name, of_rows in expected.items():
        figure = figures[f"{UED}: {name}"]
        # of all rows together: a mean of theirs by units
        assert min(of_rows) - 1e-9 <= figure.value <= max(of_rows) + 1e-9 and len(of_rows) == sizes
        assert figure.interval.low <= figure.value <= figure.interval.high and figure.clips == 3
    assert figures[UED].value == pytest.approx(np.mean([figures[f"{UED}: {name}"].value for name in expected]))


# --- the page


class Cells(HTMLParser):
    """The texts of each row of tables."""

    def __init__(self, text):
        super().__init__()
        self.rows, self._cell = [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._cell:
            self.rows[-1][-1] += data + " "


@pytest.fixture(scope="module")
def without_vocoder(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("tokenizer") / "alone"
    tokenizer.save_pretrained(folder, include_encoder=True)
    return folder


@pytest.fixture(scope="module")
def report(audio, istft_folder, codec, without_vocoder, tmp_path_factory):
    """The report of the command on a checkpoint, one without a vocoder, and a codec."""
    from semtok.cli import main

    folder = tmp_path_factory.mktemp("report")
    judges = ["--recognizer", save_ctc(folder / "ctc"), "--speaker-model", save_x_vector(folder / "voice")]
    names = [istft_folder, without_vocoder, f"{codec}:2"]
    options = ["--audio", audio, "--alignments", audio / "phones.jsonl", *judges, "-o", folder / "R"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1)  # starting processes would take most of the time
        with pytest.raises(SystemExit) as finished:
            main(list(map(str, ["benchmark", *names, *options])))
    assert finished.value.code == 0
    return folder / "R"


def test_the_page_has_every_figure_with_its_interval(report):
    numbers = json.loads((report / "benchmark.json").read_text(encoding="utf-8"))
    entries = numbers["entries"]
    assert [len(entry["figures"]) > 20 for entry in entries] == [True] * 3
    names = {measure.name for measure in MEASURES}
    for entry in entries:
        assert entry["figures"].keys() | entry["missing"].keys() == names
        assert not entry["figures"].keys() & entry["missing"].keys()
        assert all(reason for reason in entry["missing"].values())
    rows = Cells((report / "benchmark.html").read_text(encoding="utf-8")).rows
    heads = [row[0].strip() for row in rows]
    stoi = rows[heads.index("STOI ↑")]
    figure = entries[0]["figures"]["stoi"]
    low, high = figure["interval"]
    assert stoi[1].split()[0] == f"{figure['value']:.3f}" and f"{low:.3f} – {high:.3f}" in stoi[1]
    assert stoi[2].strip() == "–", "there is no vocoder"
    with (report / "benchmark.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * len(MEASURES)
    of_stoi = next(line for line in lines if line["measure"] == "stoi")
    assert float(of_stoi["value"]) == pytest.approx(figure["value"], rel=1e-5)
    assert numbers["recordings"].keys() == {"dnsmos"}


def test_what_was_not_measured_says_why(report):
    entries = json.loads((report / "benchmark.json").read_text(encoding="utf-8"))["entries"]
    with_vocoder, without, codec = (entry["missing"] for entry in entries)
    assert all("there is no vocoder" in without[metric.name] for metric in METRICS)
    assert "there is no vocoder" in without["decoding_speed"] and "pnmi" not in without
    assert with_vocoder["wer"] == codec["wer"] == "the clips have no text, or in another language than the recognizer's"
    page = (report / "benchmark.html").read_text(encoding="utf-8")
    assert "Not measured, and why" in page and "there is no vocoder" in page


def test_published_figures_stand_apart_with_their_source(report):
    page = (report / "benchmark.html").read_text(encoding="utf-8")
    published = read_published()
    assert len(published) > 50 and all(row.source and row.data and float(row.value) for row in published)
    apart = page.index("Published figures of others")
    assert all(page.index(row.system, apart) > apart for row in published)


def test_one_clip_alone_has_figures_without_intervals(subject, tmp_path, speech):
    save_audio(tmp_path / "one.wav", load_audio(CLIPS[0])[:12000])
    result = run_benchmark([subject], tmp_path, workers=1)
    (entry,) = result.entries
    assert math.isnan(entry.figures[UED].interval.low) and entry.figures[UED].value > 0
    assert "one clip alone" in entry.missing[f"{UED}: babble 5 dB"]
    assert "no clip has phones" in entry.missing["pnmi"] and "no clip has phones" in entry.missing["abx_within"]
    assert entry.missing["dwer"] == entry.missing["wer"] == "there is no recognizer"
    assert any("One clip alone" in note for note in result.notes)
    page, *_ = write_benchmark(result, tmp_path / "report", command="semtok benchmark")
    assert "One clip alone" in page.read_text(encoding="utf-8")


def test_without_a_vocoder_there_is_no_speed_of_decoding(without_vocoder):
    (subject,) = open_subjects([str(without_vocoder)])
    with refuses(SemtokError, "there is no vocoder"):
        decoding_speed(subject, [np.ones(16000, np.float32)])
