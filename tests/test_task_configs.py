"""Every config of a task, at its own sizes, runs for two steps on random clips."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml
from helpers import refuses, write_csv
from task_data import make_room

from semtok.downstream import TASKS, DownstreamModel
from semtok.errors import ConfigError
from semtok.training.config import load_config
from semtok.training.downstream import objective_of
from semtok.training.steps import train

CONFIGS = Path(__file__).parent.parent / "configs"
CONFIGS_OF = {
    "asr": ["published-tasks/asr.yaml", "tiny/asr.yaml"],
    "classifier": [
        *("published-tasks/emotion.yaml", "published-tasks/xvector.yaml"),
        *("tiny/emotion.yaml", "tiny/keywords.yaml", "tiny/speaker_identification.yaml"),
    ],
    "speaker": ["published-tasks/speaker.yaml", "tiny/speaker.yaml"],
    "enhance": ["published-tasks/enhance.yaml", "tiny/enhance.yaml"],
    "tts": ["published-tasks/tts.yaml", "tiny/tts.yaml"],
}


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    room = make_room(tmp_path_factory.mktemp("configs"))
    with (room / "clips.csv").open() as file:
        rows = [row | {"emotion": row["speaker"]} for row in csv.DictReader(file)]
    write_csv(room / "clips.csv", rows)
    return room


def run_config(room: Path, task: str, config: str, **changes: object) -> Path:
    """Two steps of a config on the clips of the room; the folder of the run."""
    folder = room / "runs" / config.removesuffix(".yaml").replace("/", "-")
    changes |= {
        "folder": folder,
        "tokenizer": room / "tokenizer",
        "data.sources": f"[{room / 'clips.csv'}]",
        "data.validation_splits": "[valid]",
        "data.repeated_texts": True,  # of four in all
        "data.validation_clips": 2,
        "batches.batch_seconds": 1.5,
        "schedule.steps": 2,
        "schedule.save_every": 2,
    }
    train(task, str(CONFIGS / config), [f"{name}={value}" for name, value in changes.items()])
    return folder


@pytest.fixture(scope="module")
def aligner(room) -> Path:
    return run_config(room, "asr", "tiny/asr.yaml") / "best"


@pytest.mark.parametrize("task, config", [(task, config) for task, paths in CONFIGS_OF.items() for config in paths])
def test_a_config_runs(room, task, config, request):
    changes = {}
    if task == "enhance":
        changes["data.augmentation.disturbances.noise"] = f"[{room / 'noise'}]"
    if task == "tts":
        changes["aligner"], changes["most_aligner_errors"] = request.getfixturevalue("aligner"), 2
        changes["synthesizer.layers"] = "[2, 3]"  # which the tokenizer here has
    folder = run_config(room, task, config, **changes)
    assert DownstreamModel.from_pretrained(folder / "best").task == task


def test_no_task_and_no_config_of_one_is_left_out():
    assert CONFIGS_OF.keys() == TASKS.keys()
    steps = ("encoder", "kmeans", "tokens", "vocoder", "language")
    found = {
        path.relative_to(CONFIGS).as_posix()
        for name in ("tiny", "published-tasks")
        for path in (CONFIGS / name).glob("*.yaml")
    }
    assert {path for path in found if not Path(path).stem.startswith(steps)} == {
        p for paths in CONFIGS_OF.values() for p in paths
    }


def test_sections_may_be_left_out(tmp_path):
    """So do configs of before there were sections."""
    sections = CONFIGS / "tiny" / "asr.yaml"
    flat, entries = tmp_path / "flat.yaml", yaml.safe_load(sections.read_text())
    data = entries.pop("data")
    for section in ("network", "batches", "schedule"):
        entries |= entries.pop(section)
    flat.write_text(yaml.safe_dump(entries | data | {"data": data.pop("sources")}))
    kind = objective_of("asr").Config
    assert load_config(flat, kind) == load_config(sections, kind)
    for change in ("steps=7", "schedule.steps=7"):
        assert load_config(flat, kind, [change]).schedule.steps == 7
        assert load_config(sections, kind, [change]).schedule.steps == 7
    flat.write_text(flat.read_text() + "step: 3\n")
    with refuses(ConfigError, "unknown keys ['step']"):
        load_config(flat, kind)
