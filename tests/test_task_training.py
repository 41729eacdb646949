"""Training of tasks on random clips: every task runs, and what is wrong with data is told."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import write_csv
from stores import store_of
from task_data import TEXTS, changed, make_room, run_task, task_config

from semtok import Tokenizer
from semtok.downstream import (
    TASKS,
    DownstreamModel,
    SpeechEnhancer,
    SpeechRecognizer,
    TextToSpeech,
    UtteranceClassifier,
)
from semtok.downstream.config import FrontConfig
from semtok.downstream.decoding import DecodingConfig
from semtok.errors import AudioError, CheckpointError, ConfigError, LayerError
from semtok.speech.clip import Clip
from semtok.training.downstream import objective_of
from semtok.training.downstream.classifier import ClassifierObjective
from semtok.training.downstream.clips import Clips
from semtok.training.downstream.config import AugmentationConfig, FrontTraining
from semtok.training.downstream.enhancer import EnhancerObjective
from semtok.training.downstream.objective import Crop
from semtok.training.downstream.recognizer import LanguageModelConfig
from semtok.training.downstream.synthesizer import character_frames
from semtok.training.downstream.trainer import TaskTrainer
from semtok.training.downstream.verifier import equal_error_rate


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    return make_room(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def trained(room) -> Path:
    """All tasks, trained one after the other."""
    for task in TASKS:
        run_task(objective_of(task), task_config(room, task))
    return room / "runs"


def read_log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_trains_and_is_measured_on_the_test_clips(trained, task):
    model = DownstreamModel.from_pretrained(trained / task / "model")
    assert model.task == task and model.layers == (1, 2, 3)
    assert sum(model.layer_importance.values()) == pytest.approx(1)
    last = read_log(trained / task)[-1]
    assert {"weight_1", "weight_2", "weight_3"} <= last.keys()
    assert sum(last[f"weight_{layer}"] for layer in (1, 2, 3)) == pytest.approx(1)
    tested = json.loads((trained / task / "test.json").read_text())
    assert tested["clips"] == 3 and tested["layers"] == [1, 2, 3] and tested["validation"]["clips"] == 3
    for name, (low, high) in tested["intervals"].items():
        assert low <= tested[name] + 1e-9 and tested[name] - 1e-9 <= high
    with (trained / task / "test_clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["test"] * 3 + ["valid"] * 3
    paths = {Path(row["path"]).name for row in rows}
    assert paths == {f"{number}.wav" for number in range(7, 13)}
    if task != "speaker":  # its errors are those of pairs
        name = next(iter(tested["intervals"])) if task != "classifier" else "error"
        errors, of = ([float(row[f"{name}_{part}"]) for row in rows[:3]] for part in ("errors", "of"))
        assert sum(errors) / sum(of) == pytest.approx(tested[name])


def test_texts_of_test_clips_are_not_learnt(tmp_path, capsys):
    room = make_room(tmp_path)
    with (room / "clips.csv").open() as file:
        rows = list(csv.DictReader(file))[:13]
    texts = ["one", "Two", "three", "four", "Five!", "two", "six", "FIVE", "seven", "eight", "two.", "nine", "EIGHT"]
    write_csv(room / "clips.csv", [row | {"text": text} for row, text in zip(rows, texts, strict=True)])
    config = changed(task_config(room, "asr"), data={"repeated_texts": False})
    objective = objective_of_run("asr", config)
    assert objective.test_clips == [10, 11, 12] and objective.validation_clips == [7, 8]
    assert objective.training_clips == [0, 2, 3, 6]
    printed = " ".join(capsys.readouterr().err.split())
    assert "skipped 1 clips: of validation, as their text is that of a test clip" in printed
    assert "skipped 2 clips: of training, as their text is that of a test clip" in printed
    assert "skipped 1 clips: of training, as their text is that of a validation clip" in printed
    everything = objective_of_run("asr", changed(config, data={"repeated_texts": True}))
    assert len(everything.training_clips) == 7 and len(everything.validation_clips) == 3
    words = objective_of_run("classifier", changed(task_config(room, "classifier", "words"), label="speaker"))
    assert len(words.training_clips) == 7, "a label is no text"


def test_tokens_are_made_once_for_all_tasks_with_the_same_copies(room, trained):
    tokens = trained / "tokens"
    assert len(list(tokens.glob("*/values"))) == 1
    # asr, speaker and tts have no copies, the classifier and the enhancer their own
    assert len(list(tokens.glob("copies/*/values"))) == 2
    assert [Path(path).name for path in json.loads((tokens / "left_out.json").read_text())] == [
        "broken.wav",
        "gone.wav",
    ]


def test_tokens_are_used_again_when_a_manifest_says_something_else(room, trained):
    with (room / "clips.csv").open() as file:
        rows = [row | {"speaker": "anna" if number % 3 else "bert"} for number, row in enumerate(csv.DictReader(file))]
    before = set((trained / "tokens").rglob("values"))
    data = {"sources": [str(write_csv(room / "renamed.csv", rows))], "augmentation": AugmentationConfig()}
    config = changed(task_config(room, "classifier", "renamed"), data=data)
    run_task(ClassifierObjective, config)
    assert UtteranceClassifier.from_pretrained(trained / "renamed" / "model").labels == ("anna", "bert")
    assert set((trained / "tokens").rglob("values")) == before


def objective_of_run(task, config):
    """The objective of a run, as it is before the first step."""
    objectives = []

    def stopping(trainer, number):
        objectives.append(trainer.unwrapped)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskTrainer, "step", stopping)
        with pytest.raises(KeyboardInterrupt):
            run_task(objective_of(task), config)
    return objectives[0]


def test_time_masks_lie_within_their_clip(room):
    config = changed(task_config(room, "asr", "masked"), batches={"time_masks": 2, "time_mask_share": 0.3})
    objective = objective_of_run("asr", config)
    crops = [objective.whole(clip) for clip in objective.training_clips]
    frames, most = torch.tensor([crop.frames for crop in crops]), 0.0
    for seed in range(50):
        hidden = objective.batch(crops, np.random.default_rng(seed))["hidden"]
        assert not hidden[torch.arange(hidden.shape[1]) >= frames[:, None]].any()
        assert (hidden.sum(dim=1) <= 2 * (0.3 * frames).int()).all()
        most = max(most, float((hidden.sum(dim=1) / frames).max()))
    assert most > 0.45


def test_copies_at_half_the_speed_last_twice_as_long(room, tmp_path):
    augmentation = AugmentationConfig(speeds=(0.5, 2.0))
    config = task_config(room, "classifier")
    config = changed(config, data={"augmentation": augmentation}, folder=str(tmp_path / "run"))
    objective = objective_of_run("classifier", config)
    for clip in objective.training_clips:
        frames, slow, fast = (objective.clips.frames_of(clip, copy) for copy in range(3))
        assert slow == pytest.approx(2 * frames, abs=2) and fast == pytest.approx(frames / 2, abs=2)
    assert all(objective.clips.copies(clip) == 1 for clip in objective.validation_clips)


def test_an_enhancer_hears_noisy_copies_alone(room):
    objective = objective_of_run("enhance", task_config(room, "enhance", "copies"))
    generator = np.random.default_rng(0)
    for clip in objective.training_clips:
        assert {objective.draw(clip, generator).copy for _ in range(30)} == {1, 2}
        crop = objective.draw(clip, generator)
        batch = objective.batch([crop])
        assert batch["clean"][0].T.equal(objective.clips.inputs(clip, 0, crop.start, crop.frames))
        assert batch["inputs"][0].equal(objective.clips.inputs(clip, crop.copy, crop.start, crop.frames))
    assert all(objective.whole(clip).copy == 1 for clip in objective.validation_clips)


def test_an_enhancer_hears_features_of_noisy_copies_and_learns_the_clean_codes(room, tmp_path):
    config = changed(task_config(room, "enhance"), folder=str(tmp_path / "run"), data={"features": True})
    objective = objective_of_run("enhance", config)
    tokenizer = Tokenizer.from_pretrained(config.tokenizer)
    clip = objective.training_clips[0]
    batch = objective.batch([Crop(clip, 1, 0, objective.clips.frames_of(clip, 1))])
    assert batch["inputs"].shape[:2] == (1, 3) and batch["inputs"].is_floating_point()
    assert batch["clean"][0].T.equal(tokenizer.encode(objective.clips.rows[clip]["path"]).codes[0])
    run_task(EnhancerObjective, config)
    model = SpeechEnhancer.from_pretrained(tmp_path / "run" / "best")
    assert model.enhance_tokens(room / "0.wav").codebooks == tokenizer.codebooks


@pytest.mark.parametrize("balanced", [False, True])
def test_a_balanced_error_counts_labels_alike(room, balanced):
    """Three of four clips are of label 0 and named right, the one of label 1 is named wrong."""
    config = task_config(room, "classifier", f"balanced-{balanced}")
    config = changed(config, balanced=balanced, data={"augmentation": AugmentationConfig()})
    objective = objective_of_run("classifier", config)
    measured = [(torch.tensor([0, 0]), torch.tensor([0, 1])), (torch.tensor([0, 0]), torch.tensor([0, 0]))]
    numbers = objective.summarize(measured)
    assert numbers == {"error": 1 / 4, "balanced_error": 1 / 2}
    assert next(iter(numbers)) == ("balanced_error" if balanced else "error"), "the first one decides"


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"features": True}},
        {"network": {"front": FrontConfig(dim=8, fusion="uniform")}},
        {"network": {"front": FrontConfig(dim=8, fusion="concatenate")}},
        {"network": {"front": FrontConfig(dim=8, fusion="concatenate", rank=3)}, "batches": {"layer_dropout": 0.5}},
        {"network": {"front": FrontConfig(dim=8, fusion="gates", attention_dim=4)}},
        {"network": {"front": FrontConfig(dim=8, fusion="attention", attention_dim=4, floor=0.2)}},
        {"data": {"layers": [2], "stages": 1}},
        {"network": {"freeze_tables": True, "tables_from_centroids": True}, "batches": {"layer_dropout": 0.5}},
    ],
    ids=["features", "uniform", "concatenate", "low rank", "gates", "floor", "one layer", "frozen"],
)
def test_baselines_train_by_the_same_code(room, changes, tmp_path):
    config = changed(
        task_config(room, "classifier"), data={"augmentation": AugmentationConfig()}, schedule={"steps": 2}
    )
    run_task(ClassifierObjective, changed(changed(config, **changes), folder=str(tmp_path / "run")))
    model = UtteranceClassifier.from_pretrained(tmp_path / "run" / "best")
    (answer,) = model.classify(torch.randn(9000) * 0.1)
    assert answer.label in model.labels and sum(answer.probabilities.values()) == pytest.approx(1)
    weights = model.layer_weights(torch.randn(9000) * 0.1)
    torch.testing.assert_close(weights.sum(1), torch.ones(1, weights.shape[2]))
    fusion = model.config.front.fusion
    assert sum(model.layer_importance.values()) == (0 if fusion == "uniform" else pytest.approx(1))


def test_frozen_tables_stay_the_centroids(room, tmp_path):
    network = FrontTraining(front=FrontConfig(dim=32), freeze_tables=True, tables_from_centroids=True)
    config = changed(task_config(room, "classifier"), folder=str(tmp_path / "run"), network=network)
    run_task(ClassifierObjective, config)
    tables = UtteranceClassifier.from_pretrained(tmp_path / "run" / "model").network.front.selector.embeddings
    centroids = Tokenizer.from_pretrained(room / "tokenizer").centroids(2)
    torch.testing.assert_close(tables[1].weight, (centroids - centroids.mean()) / centroids.std())


def planted(room: Path, folder: Path, seed: int, informative: int, others: str) -> dict[int, float]:
    """Layer importance of a classifier on tokens in which one layer's codes tell the label.

    The other layers' codes are random ("random"), or tell it as well, shuffled across utterances in layer 2 ("told").
    """
    generator = np.random.default_rng(seed)
    rows = [
        {
            "path": f"{room}/{n % 10}.wav",
            "label": str(n % 4),
            "split": "valid" if n >= 160 else "train",
            "number": str(n),
        }
        for n in range(200)
    ]
    manifest = str(write_csv(folder / f"{others}-{seed}.csv", rows))
    config = changed(
        task_config(room, "classifier"),
        folder=str(folder / f"{others}-{seed}"),
        label="label",
        data={"sources": [manifest], "augmentation": AugmentationConfig()},
        network={"front": FrontConfig(dim=16, fusion="attention", attention_dim=16)},
        batches={"batch_seconds": 20},
        schedule={"steps": 150, "save_every": 150},
    )

    def rewritten(*args, **kwargs):
        clips = load(*args, **kwargs)
        values = [generator.integers(0, 8, (frames, 3)).astype(np.uint16) for frames in clips.frames]
        shuffled = generator.permutation(len(clips))
        for clip, row in enumerate(clips.rows):
            for layer in range(3):
                told = layer == informative - 1 or others == "told"
                label = int(clips.rows[shuffled[clip] if others == "told" and layer == 1 else clip]["label"])
                if told:
                    values[clip][:, layer] = label * 2 + generator.integers(0, 2, len(values[clip]))
            assert row["label"] in "0123"
        store = store_of(folder / f"planted-{others}-{seed}", codes=values)
        store.clips = [Clip(str(number), row["path"], columns=row) for number, row in enumerate(clips.rows)]
        return Clips(
            store, store_of(folder / f"no-copies-{others}-{seed}", codes=[values[0][:0]]), {"codes": [0, 1, 2]}
        )

    from semtok.training.downstream import trainer

    load = trainer.load_clips
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "load_clips", rewritten)
        run_task(ClassifierObjective, config)
    return UtteranceClassifier.from_pretrained(folder / f"{others}-{seed}" / "model").layer_importance


def test_a_layer_with_the_label_in_its_codes_gets_the_weight(room, tmp_path):
    importance = planted(room, tmp_path, 0, informative=2, others="random")
    assert importance[2] > 0.9, importance


def test_a_layer_shuffled_across_utterances_loses_its_weight(room, tmp_path):
    importance = planted(room, tmp_path, 0, informative=1, others="told")
    assert importance[2] < 0.05, importance


def test_a_manifest_without_the_column_is_told(room, tmp_path):
    config = changed(task_config(room, "classifier"), label="accent", folder=str(tmp_path / "run"))
    with pytest.raises(AudioError, match=r"column 'accent'; the manifests have \['path', 'speaker', 'split', 'text'\]"):
        run_task(ClassifierObjective, config)


def test_labels_that_occur_once_and_labels_never_seen_are_counted(room, tmp_path, capsys):
    with (room / "clips.csv").open() as file:
        rows = list(csv.DictReader(file))[:13]
    rows[0]["speaker"], rows[8]["speaker"] = "once", "stranger"
    data = {"sources": [str(write_csv(room / "odd.csv", rows))], "augmentation": AugmentationConfig()}
    config = changed(task_config(room, "classifier"), folder=str(tmp_path / "run"), data=data)
    run_task(ClassifierObjective, config)
    assert UtteranceClassifier.from_pretrained(tmp_path / "run" / "model").labels == ("s0", "s1")
    errors = capsys.readouterr().err
    assert "skipped 1 clips: their label occurs once" in errors and "0.wav" in errors
    assert "skipped 1 clips: their label is not among those to train on" in errors and "8.wav" in errors


def test_configs_that_contradict_themselves(room):
    enhance = task_config(room, "enhance")
    with pytest.raises(ConfigError, match="noisy_copies"):
        changed(enhance, data={"augmentation": AugmentationConfig()})
    with pytest.raises(ConfigError, match="have no tables"):
        changed(task_config(room, "asr"), data={"features": True}, network={"freeze_tables": True})
    with pytest.raises(ConfigError, match="needs an attention_dim"):
        FrontConfig(dim=8, fusion="gates")


def test_an_aligner_of_another_tokenizer_is_refused(room, trained, tmp_path):
    config = changed(task_config(room, "tts"), folder=str(tmp_path / "run"), data={"layers": [1, 2]})
    with pytest.raises(CheckpointError, match=r"takes layers \[1, 2, 3\] .* this run has \[1, 2\]"):
        run_task(objective_of("tts"), config)


def test_an_aligner_that_hears_nothing_is_refused(room, trained, tmp_path):
    config = changed(task_config(room, "tts"), folder=str(tmp_path / "run"), most_aligner_errors=0.7)
    message = r"the aligner .*asr/model writes \d+\.\d% of the characters of these clips wrong.*`semtok train asr`"
    for _ in ("measured", "stored"):
        with pytest.raises(ConfigError, match=message):
            run_task(objective_of("tts"), config)
    error = json.loads((tmp_path / "run" / "durations.json").read_text())["error"]
    run_task(objective_of("tts"), changed(config, most_aligner_errors=error, schedule={"steps": 1}))


def test_characters_change_half_way_between_their_peaks():
    assert character_frames(np.array([10, 14, 15]), 40).tolist() == [6, 6, 3, 8, 17]
    assert character_frames(np.array([0]), 3).tolist() == [0, 3, 0]


def test_the_equal_error_rate_agrees_with_a_sweep():
    generator = np.random.default_rng(0)
    same = generator.random(400) < 0.3
    scores = generator.standard_normal(400) + 1.5 * same
    error, threshold = equal_error_rate(scores, same)
    rates = [(np.mean(scores[same] < t), np.mean(scores[~same] >= t)) for t in np.sort(scores)]
    refused, accepted = min(rates, key=lambda pair: abs(pair[0] - pair[1]))
    assert error == pytest.approx((refused + accepted) / 2, abs=0.01)
    assert np.mean(scores[~same] >= threshold) == pytest.approx(error, abs=0.02)
    assert equal_error_rate(np.array([1.0, 0.0]), np.array([True, False]))[0] == 0


def test_the_equal_error_rate_has_the_threshold_that_it_is_met_at():
    scores, same = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), np.array([1, 1, 0, 1, 0, 0], bool)
    assert equal_error_rate(scores, same) == (pytest.approx(1 / 3), 0.7)
    assert equal_error_rate(scores[::-1], same[::-1]) == (pytest.approx(1 / 3), 0.7)


def test_equal_scores_are_accepted_together():
    """At 0.8 one of three same pairs is refused, at 0.5 two of three others are accepted; there is nothing between."""
    scores, same = np.array([0.9, 0.8, 0.5, 0.5, 0.5, 0.1]), np.array([1, 1, 1, 0, 0, 0], bool)
    for order in ([0, 1, 2, 3, 4, 5], [0, 1, 3, 4, 2, 5]):
        assert equal_error_rate(scores[order], same[order]) == (pytest.approx((1 / 3 + 0) / 2), 0.8)


def test_named_voices_are_those_of_the_speakers(room, trained):
    model = TextToSpeech.from_pretrained(trained / "tts" / "model")
    assert set(model.speakers) == {"s0", "s1"}
    voices = model.network.head.voices
    assert not torch.allclose(voices[0], voices[1])
    frames = model.speak_tokens("one two", speaker="s0").lengths
    assert frames.tolist() == model.speak_tokens("One, two!", speaker="s0").lengths.tolist()


def test_speech_is_made_of_the_layers_chosen_and_the_voice_heard_in_all(room, trained):
    config = task_config(room, "tts", "tts-of-two")
    chosen = changed(config, synthesizer={"layers": (3, 1)})
    run_task(objective_of("tts"), chosen)
    model = TextToSpeech.from_pretrained(trained / "tts-of-two" / "model")
    assert model.layers == (1, 2, 3)
    assert model.speak_tokens("one two", speaker="s0").layers == (1, 3)
    with pytest.raises(LayerError, match="the tokenizer of this model"):
        run_task(
            objective_of("tts"),
            changed(chosen, folder=str(room / "none"), synthesizer={"layers": (9,)}),
        )


def test_a_recogniser_writes_the_characters_that_it_learnt(room, trained):
    model = SpeechRecognizer.from_pretrained(trained / "asr" / "model")
    assert set(model.codec.characters) == set(" ".join(TEXTS))


def test_a_recogniser_is_saved_with_a_language_model_of_the_texts_it_learnt(room, tmp_path):
    texts = LanguageModelConfig(2, words=True)
    config = changed(task_config(room, "asr"), folder=str(tmp_path / "run"), language_model=texts)
    run_task(objective_of("asr"), changed(config, recognizer={"decoding": DecodingConfig(4, 1.0, 2.0)}))
    model = SpeechRecognizer.from_pretrained(tmp_path / "run" / "model")
    assert model.language_model.units == {"<s>", "</s>", "<unk>", *" ".join(TEXTS).split()}
    words = model.transcribe(room / "0.wav")[0].split()
    assert model.transcribe(room / "0.wav", beam=4, lm_weight=1, insertion_bonus=2)[0].split() == words
