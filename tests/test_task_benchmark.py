"""`semtok benchmark --tasks`: heads on several tokenizers, trained once, and the table of their errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml
from codec_models import save_codec
from helpers import refuses, write_csv
from task_data import make_room

from semtok.analysis.benchmark import Benchmark, open_subjects, tasks
from semtok.analysis.benchmark.codes import Figure
from semtok.analysis.benchmark.results import Entry, Measure
from semtok.analysis.benchmark.tasks import run_tasks
from semtok.cli import main
from semtok.errors import ConfigError, SemtokError, TrainingError
from semtok.support.intervals import Interval

COMMON = {
    "folder": "unused",
    "tokenizer": "unused",
    "network": {"front": {"dim": 8}},
    "batch_seconds": 2,
    "schedule": {"steps": 4, "learning_rate": 0.01, "warmup_steps": 1, "save_every": 2},
}
CLASSIFIER = {"label": "speaker", "classifier": {"pooling": {"statistics": {}}}}
RECOGNIZER = {"recognizer": {"lstm": {"hidden": 8, "layers": 1}}}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A tokenizer of layers 1, 2, 3, a codec, clips, and the configs of two tasks."""
    room = make_room(tmp_path_factory.mktemp("room"))
    save_codec("dac", room / "codec")
    write_config(room / "who.yaml", room, CLASSIFIER)
    write_config(room / "words.yaml", room, RECOGNIZER)
    return room


def write_config(path, room, entries, **data):
    data = {"sources": [str(room / "clips.csv")], "validation_clips": 2, "repeated_texts": True} | data
    path.write_text(yaml.safe_dump(COMMON | entries | {"data": data}))
    return path


def run_command(*arguments):
    with pytest.raises(SystemExit) as finished:
        main(["benchmark", *map(str, arguments)])
    return finished.value.code


@pytest.fixture(scope="module")
def report(room):
    names = [f"{room}/tokenizer", f"{room}/tokenizer:1,3", f"{room}/codec"]
    configs = ["--tasks", room / "who.yaml", "--tasks", room / "words.yaml"]
    assert run_command(*names, *configs, "--set", "steps=2", "-o", room / "report") == 0
    return room / "report"


def test_the_table_has_what_the_heads_were_tested_with(report):
    with (report / "benchmark.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    rates = ["who: error", "who: balanced_error", "words: cer", "words: wer"]
    assert [line["measure"] for line in lines] == [rate for rate in rates for _ in range(3)]
    heads = [json.loads(path.read_text()) for path in report.glob("heads/*/test.json")]
    assert len(heads) == 4, "two tasks on two sets of layers"
    layers = {"tokenizer, layers 1, 2, 3": [1, 2, 3], "tokenizer, layers 1, 3": [1, 3]}
    for line in lines:
        if line["tokenizer"] not in layers:
            assert line["value"] == "" and "a codec of others" in line["missing"]
            continue
        _, rate = line["measure"].split(": ")
        (head,) = (head for head in heads if rate in head and head["layers"] == layers[line["tokenizer"]])
        assert float(line["value"]) == pytest.approx(head[rate], rel=1e-5)
        assert [float(line["low"]), float(line["high"])] == pytest.approx(head["intervals"][rate], rel=1e-5)
        assert line["clips"] == "3" and line["missing"] == ""
        # 50 frames a second, 3 bits a code
        assert line["of"] == f"{len(layers[line['tokenizer']]) * 0.15:.2f} kbit/s"
    page = (report / "benchmark.html").read_text(encoding="utf-8")
    assert "What models learn from the tokens" in page and "who: balanced error, % ↓" in page
    assert "0 clips" not in page and "What comes back</h2>" not in page


def test_heads_are_trained_once(room, report, monkeypatch):
    trained = []

    def train_task(kind, settings, tokenizer):
        trained.append((settings.data.layers, settings.schedule.steps))
        raise TrainingError("no time")

    monkeypatch.setattr(tasks, "train_task", train_task)
    subjects = open_subjects([f"{room}/tokenizer:1,3", f"{room}/tokenizer:2"])
    before, after = run_tasks(subjects, [room / "who.yaml"], report / "heads", changes=["steps=2"]).entries
    assert trained == [([2], 2)] and before.figures["who: error"].clips == 3 and not before.missing
    assert after.missing == {"who: error": "no time", "who: balanced_error": "no time"} and not after.figures
    # another schedule is another head
    entry, _ = run_tasks(subjects, [room / "who.yaml"], report / "heads").entries
    assert trained[1:] == [([1, 3], 4), ([2], 4)] and entry.missing == {"who": "no time"}


def test_stages_are_as_the_config_says(room, tmp_path, monkeypatch):
    """The bitrate is that of what the head takes; a rate without an interval is a figure, and no other number."""

    def train_task(kind, settings, tokenizer):
        Path(settings.folder).mkdir(parents=True)
        entries = {"clips": 1, "error": 0.5, "pairs": 3.0, "intervals": {"error": None}}
        (Path(settings.folder) / "test.json").write_text(json.dumps(entries))

    monkeypatch.setattr(tasks, "train_task", train_task)
    (subject,) = open_subjects(["tiny"])
    rates = []
    for stages in ("1", "null"):
        result = run_tasks([subject], [room / "who.yaml"], tmp_path / "heads", changes=[f"data.stages={stages}"])
        figure = result.entries[0].figures["who: error"]
        assert figure.value == 0.5 and [measure.name for measure in result.measures] == ["who: error"]
        rates.append(float(figure.of.split()[0]))
    # four layers of a thousand codes, 50 frames a second; two of them have more stages
    assert rates == [1.99, pytest.approx(subject.bitrate / 1000, abs=0.006)] and rates[1] > 4


@pytest.mark.parametrize(
    ("entries", "data", "message"),
    [
        (CLASSIFIER, {"test_splits": ["held-out"]}, "no test clips: expected a column `split` with 'held-out'"),
        (CLASSIFIER, {"features": True}, "learns from features"),
        ({"enhancer": {"conformer": {}}}, {}, "no config of a task that can be compared"),
        (CLASSIFIER | RECOGNIZER, {}, "expected one section of"),
    ],
)
def test_configs_that_cannot_be_compared_are_refused_before_training(room, tmp_path, entries, data, message):
    config = write_config(tmp_path / "task.yaml", room, entries, **data)
    subjects = open_subjects([f"{room}/tokenizer"])
    with refuses(ConfigError, message):
        run_tasks(subjects, [room / "who.yaml", config], tmp_path / "heads")
    assert not (tmp_path / "heads").exists()


def test_names_and_tokenizers_are_checked(room, tmp_path):
    with refuses(ConfigError, "tasks are called as their files"):
        run_tasks(open_subjects([f"{room}/tokenizer"]), [room / "who.yaml"] * 2, tmp_path)
    with refuses(SemtokError, "a codec of others"):
        run_tasks(open_subjects([f"{room}/codec"]), [room / "who.yaml"], tmp_path)


def test_test_clips_without_a_label_are_a_reason(room, tmp_path):
    with (room / "clips.csv").open(encoding="utf-8") as file:
        rows = [row | {"path": str(room / row["path"])} for row in csv.DictReader(file)]
    write_csv(
        tmp_path / "clips.csv", [row | {"speaker": "" if row["split"] == "test" else row["speaker"]} for row in rows]
    )
    config = write_config(tmp_path / "who.yaml", room, CLASSIFIER, sources=[str(tmp_path / "clips.csv")])
    result = run_tasks(open_subjects([f"{room}/tokenizer:2"]), [config], tmp_path / "heads")
    assert "none of the test clips" in result.entries[0].missing["who"]


def test_the_command_needs_something_to_measure(room, capsys):
    assert run_command(f"{room}/tokenizer", "-o", room / "nothing") == 2
    assert "--tasks" in capsys.readouterr().err
    options = ["--alignments", room / "clips.csv", "--tasks", room / "who.yaml"]
    assert run_command(f"{room}/tokenizer", *options, "-o", room / "nothing") == 2
    assert "--alignments" in capsys.readouterr().err and not (room / "nothing").exists()


def test_tasks_stand_below_what_was_measured_on_audio():
    def result(name, **reasons):
        measure = Measure(name, name, name, "lower")
        entry = Entry("t", "t", {}, {name: Figure(1.0, Interval(0.0, 2.0), 3)}, reasons)
        return Benchmark((measure,), (entry,), clips=3 if name == "audio" else 0, notes=(name,))

    joined = result("audio", wer="none").joined(result("task", who="no time"))
    assert [measure.name for measure in joined.measures] == ["audio", "task"] and joined.clips == 3
    assert joined.entries[0].figures.keys() == {"audio", "task"} and joined.notes == ("audio", "task")
    assert joined.entries[0].missing == {"wer": "none", "who": "no time"}
