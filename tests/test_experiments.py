"""The experiments on seconds of audio: every command runs, keeps its runs, and writes table, numbers and figure."""

from __future__ import annotations

import importlib
import json
import math
import re
import shutil
from pathlib import Path

import pytest
from checkpoints import make_tokenizer
from helpers import CLIPS, ROOT, write_csv

from semtok import Tokenizer, load_audio, save_audio
from semtok.evaluation import metrics

EXPERIMENTS = ROOT / "experiments"


@pytest.fixture(autouse=True)
def without_dnsmos(monkeypatch):
    """It would take most of the time; the tests of `semtok.evaluation` have it."""
    monkeypatch.setattr(metrics, "dnsmos", lambda output: 3.0)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Training and test folders, named as `domain.yaml` has them, and an output folder for all experiments."""
    folder = tmp_path_factory.mktemp("experiments")
    for part, domains in {
        "train": ("libri", "so762_adult", "emodb"),
        "test": ("libri_dev-clean", "so762", "emodb"),
    }.items():
        for domain, clip in zip(domains, CLIPS, strict=True):
            (folder / part / domain).mkdir(parents=True)
            shutil.copy(clip, folder / part / domain)
    return folder


@pytest.mark.parametrize(
    ("script", "table"),
    [
        (
            "scalable.py",
            {
                ("one scalable", "all"),
                ("one scalable, 4 steps", "all"),
                ("one a layer", "layer 1"),
                ("all layers, no dropout", "layer 3"),
            },
        ),
        ("embeddings.py", {("centroids", "layer 1"), ("random", "all")}),
        ("speaker.py", {("tokens alone", "layer 1"), ("tokens and speaker", "all")}),
        ("harmonic.py", {("phases alone", "layer 1"), ("phases of a pitch", "all")}),
        ("room.py", {("as common", "layer 1"), ("larger, as many steps", "all"), ("larger, as much time", "all")}),
        ("codebook_size.py", {("layer 1", "4"), ("all layers", "8")}),
        ("domain.py", {("LibriSpeech", "EmoDB"), ("EmoDB", "EmoDB"), ("speechocean762", "LibriSpeech")}),
    ],
)
def test_an_experiment_writes_table_numbers_and_figure(script, table, speech, run_script):
    output = speech / "output"
    arguments = ("--train", speech / "train", "--test", speech / "test", "--output", output)
    printed = run_script(f"experiments/{script}", "--quick", *arguments)
    runs = {path: path.stat().st_mtime_ns for path in (output / "runs").iterdir()}

    check_results(output, script, printed, table)
    # Started again it trains nothing.
    assert run_script(f"experiments/{script}", "--quick", *arguments) == printed
    assert {path: path.stat().st_mtime_ns for path in (output / "runs").iterdir()} == runs


def check_results(output, script, printed, expected):
    """Rows by series and point, once they stand in all three files."""
    name = Path(script).stem
    assert (output / f"{name}.md").read_text() in printed
    assert (output / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    rows = {tuple(row.values())[:2]: row for row in json.loads((output / f"{name}.json").read_text())["rows"]}
    assert rows.keys() >= expected
    for (series, point), row in rows.items():
        assert f"| {point} | {series} | " in printed
        assert 0 < row["stoi"]["mean"] < 1
        # resemblyzer hears no voice in a second of what two steps have learnt
        assert row["speaker_similarity"]["mean"] is None or -1 <= row["speaker_similarity"]["mean"] <= 1
    return rows


def test_what_was_kept_is_made_again_only_for_another_setting(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    kept = importlib.import_module("common").kept
    made = []

    def make():
        made.append(len(made))
        return made[-1]

    found = [kept(tmp_path / "run.json", {"seed": seed, "layers": (1, 2)}, make) for seed in (0, 0, 1, 1, 0)]
    assert found == [0, 0, 1, 1, 2]


def test_layers_of_a_student_stand_beside_those_of_its_teacher(istft_folder, tmp_path, run_script):
    """With the student's own encoder for a teacher, layer 3 of both is the same."""
    lines = []
    for number in range(6):
        name = f"{number}{CLIPS[number % 3].suffix}"
        shutil.copy(CLIPS[number % 3], tmp_path / name)
        phones = [[phone, 0.2 * place, 0.2] for place, phone in enumerate("ABCA" * 4)]
        lines.append(json.dumps({"path": name, "phones": phones}))
    (tmp_path / "phones.jsonl").write_text("\n".join(lines))
    arguments = ("--audio", tmp_path, "--alignments", tmp_path / "phones.jsonl", "--checkpoint", istft_folder)
    teacher = ("--teacher", istft_folder / "encoder", "--layers", 1, 3, "--codebook-size", 8)
    printed = run_script("experiments/teacher.py", *arguments, *teacher, "-o", tmp_path / "result")

    assert (tmp_path / "result" / "teacher.md").read_text() in printed
    rows = re.findall(r"^\| (\w+ \d) \| (.+) \|$", printed, re.M)
    names = [name for name, _ in rows]
    assert names == ["teacher 1", "teacher 3", "student 1", "student 3", "student 4", "teacher 1", "teacher 3"]
    assert all(0 < float(values.split(" | ")[0]) <= 1 for _, values in rows[:5])
    one, three = ([float(value) for value in values.split(" | ")] for _, values in rows[5:])
    assert one[0] > 0.95 and three[1] > 0.95 and one[2] < 0.9


def test_information_of_tokens_is_told_in_three_tables(speech, run_script):
    printed = run_script(
        "experiments/information.py", "--quick", "--fit", speech / "train", "--test", speech / "test", "--hours", 0.001
    )

    tokenizer = Tokenizer.from_pretrained("tiny")
    for name, size in zip(tokenizer.codebooks.names, tokenizer.codebook_sizes, strict=True):
        found = re.search(rf"^\| {re.escape(name)} \| {math.log2(size):.2f} \| ([\d.]+) \| ([\d.]+) \|$", printed, re.M)
        assert found
        assert 0 < float(found[2]) <= float(found[1])
    decoded = re.findall(r"^\| (.+) \| ([\d.]*) \| -?[\d.]+% \| [\d.]+ \|$", printed, re.M)
    bits = dict(decoded)
    assert bits["continuous features of all layers"] == ""
    assert float(bits["all layers, 4 x K = 8"]) == 12 * len(tokenizer.layers)


def test_voice_conversion_is_compared_with_the_target_and_the_source(tmp_path, run_script):
    names = [f"{number}{CLIPS[number % 3].suffix}" for number in range(4)]
    for number, name in enumerate(names):
        shutil.copy(CLIPS[number % 3], tmp_path / name)
    speakers = {names[0]: "ann", names[3]: "ann", names[1]: "bob", names[2]: "bob"}
    rows = [f"{name},{speaker}" for name, speaker in speakers.items()]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,speaker", *rows[:3]]))
    arguments = ("experiments/voice_conversion.py", "--clips", tmp_path)
    with pytest.raises(SystemExit, match="nobody to convert between"):
        run_script(*arguments)

    (tmp_path / "manifest.csv").write_text("\n".join(["path,speaker", *rows]))
    printed = run_script(*arguments, "--output", tmp_path / "converted")
    layers = ", ".join(map(str, Tokenizer.from_pretrained("tiny").layers))
    found = dict(re.findall(r"^\| (.+?) \| (.+) \|$", printed, re.M))
    to_source = {name: values.split(" | ")[1] for name, values in found.items()}
    assert float(to_source["source"]) == 1
    assert float(to_source[f"layers {layers}, the target's voice"]) > float(to_source["layer 7, the target's voice"])
    assert found["the recording whose voice was told"].endswith("| - | - | -")
    assert {f"layers {layers}, the target's voice", "layer 7, no voice", "layer 7, the target's voice"} < set(found)
    assert "4 recordings" in printed and "0 left out" in printed and "2 targets" in printed
    assert len(list((tmp_path / "converted").iterdir())) == 4


def test_learnt_rows_stand_beside_a_layer(tmp_path, run_script):
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(tmp_path / "beside")
    weights = {"mix": {1: 0.5, 3: 0.5}}
    frames = {"mix": tokenizer.features(CLIPS[0])[0, 1, :20]}
    learnt = Tokenizer.from_centroids(tokenizer.encoder.model, frames, normalize=True, mixtures=weights)
    learnt.save_pretrained(tmp_path / "learnt")
    waveform, rows, lines = load_audio(CLIPS[0]), [], []
    for number in range(12):
        name, split = f"{number}.wav", ("train", "valid", "test")[number % 3]
        save_audio(tmp_path / name, waveform[number * 1000 :][:24000], sample_rate=16000)
        labels = {"speaker": "ab"[number % 2], "emotion": "cd"[number % 2]}
        rows.append({"path": name, "text": f"A {'BCDEFGHIJKLM'[number]}", "split": split, **labels})
        phones = [[phone, 0.2 * place, 0.2] for place, phone in enumerate("ABCABC")]
        lines.append(json.dumps({"path": name, "phones": phones}))
    (tmp_path / "phones.jsonl").write_text("\n".join(lines))
    manifest = write_csv(tmp_path / "manifest.csv", rows)
    arguments = ["--learnt", tmp_path / "learnt", "--beside", tmp_path / "beside", "--layer", 3, "--speech", manifest]
    arguments += ["--alignments", tmp_path / "phones.jsonl", "--emotions", manifest, "--output", tmp_path / "output"]
    steps = ["--recognizers", "--vocoders", "--seeds", 0, "--steps", 1]
    printed = run_script("experiments/learnt_rows.py", *arguments, *steps)
    assert "| row | PNMI | speaker, % of frames | emotion, % of frames | UED, % | CER, % | STOI | log-mel" in printed
    assert re.search(r"^\| 3 \| [\d.]+ \|", printed, re.M) and re.search(r"^\| mix \| [\d.]+ \|", printed, re.M)
    assert "mix: layer 1 0.50, layer 3 0.50" in printed
