"""Rows that are learnt: `semtok train tokens`, from a config to an ordinary tokenizer."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
from checkpoints import make_tokenizer
from helpers import CLIPS, ROOT, copy_clips, refuses, write_csv

from semtok import Tokenizer
from semtok.errors import AudioError, ConfigError, TrainingError
from semtok.training.config import load_config
from semtok.training.tokens.config import RowConfig, TokensConfig
from semtok.training.tokens.rows import LearntRow, mean_distance, start_weights
from semtok.training.tokens.trainer import train_tokens

CONTENT = RowConfig("content", 16, texts=1.0, labels={"speaker": -0.1}, start_layer=3)
SOUND = RowConfig("sound", 12, mels=1.0, features=0.5, labels={"speaker": 1.0})


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """An encoder, and clips with texts and speakers."""
    folder = tmp_path_factory.mktemp("room")
    make_tokenizer().save_pretrained(folder / "tokenizer")
    copy_clips(folder / "speech")
    rows = [
        {"path": clip.name, "text": f"WORDS {'AB'[number % 2]}", "speaker": "ab"[number % 2]}
        for number, clip in enumerate(CLIPS)
    ]
    write_csv(folder / "speech" / "manifest.csv", rows)
    return folder


@pytest.fixture(scope="module")
def config(room):
    return TokensConfig(
        folder=str(room / "runs" / "both"),
        data=[str(room / "speech" / "manifest.csv")],
        encoder=str(room / "tokenizer" / "encoder"),
        normalize=True,
        layers=[1, 3, 4],
        rows=[CONTENT, SOUND],
        longest_seconds=60,
        batch_seconds=20,
        steps=4,
        learning_rate=0.01,
        warmup_steps=1,
        save_every=2,
        log_every=1,
        validation_clips=1,
        revive_every=2,
        hidden=8,
    )


@pytest.fixture(scope="module")
def learnt(config, room):
    train_tokens(config)
    return room / "runs" / "both"


def lines_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_it_ends_as_an_ordinary_tokenizer(learnt):
    tokenizer = Tokenizer.from_pretrained(learnt / "tokenizer")
    assert tokenizer.layers == ("content", "sound") and tokenizer.codebook_sizes == (16, 12)
    for weights in tokenizer.layer_weights.values():
        assert sum(weights.values()) == pytest.approx(1) and set(weights) == {1, 3, 4}
    assert tokenizer.layer_weights["content"][3] > 0.6 > tokenizer.layer_weights["sound"][3]
    batch, alone = tokenizer.encode(CLIPS[:2]), tokenizer.encode(CLIPS[0])
    assert torch.equal(batch.codes[0, :, : alone.codes.shape[2]], alone.codes[0])
    assert sorted(path.name for path in (learnt / "tokenizer").iterdir()) == [
        "centroids.safetensors",
        "config.json",
        "encoder",
    ]


def test_the_log_has_each_loss_and_what_was_revived(learnt):
    first, *others = lines_of(learnt)
    names = {"content_texts", "content_label_speaker", "content_use", "sound_mels", "sound_features"}
    assert names | {"content_used", "content_revived", "loss"} <= first.keys()
    assert any("valid_loss" in line and "sound_weight_4" in line for line in others)


def test_the_encoder_stays_but_for_the_layers_that_learn(config, room):
    before = Tokenizer.from_pretrained(room / "tokenizer").encoder.model.state_dict()

    def changed(**changes):
        folder = room / "runs" / "-".join(changes)
        train_tokens(dataclasses.replace(config, folder=str(folder), steps=2, **changes))
        after = Tokenizer.from_pretrained(folder / "tokenizer").encoder.model.state_dict()
        return {name.split(".")[2] for name in before if not torch.equal(before[name], after[name])}

    assert changed(assignment="gumbel") == set()
    assert changed(trained_layers=1, encoder_learning_rate=0.01) == {"3"}


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(config, room, learnt):
    folder = room / "runs" / "stopped"
    shutil.copytree(learnt, folder)
    shutil.rmtree(folder / "states" / "step-000000004")
    shutil.rmtree(folder / "tokenizer")
    train_tokens(dataclasses.replace(config, folder=str(folder)))
    assert Tokenizer.from_pretrained(folder / "best").layers == ("content", "sound")
    whole = Tokenizer.from_pretrained(learnt / "tokenizer")
    assert Tokenizer.from_pretrained(folder / "tokenizer").fingerprint == whole.fingerprint


def test_codes_follow_gradients_and_dead_ones_are_revived():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 300, 8, generator=generator)
    points = features[1, :20]
    row = LearntRow(start_weights([1, 2], 2), points, mean_distance(features[1], points), gumbel=False)
    optimizer = torch.optim.Adam(row.parameters(), 0.05)
    target = features[0]
    losses = []
    for _ in range(60):
        loss = (row(row.mix(features), 0.3).vectors - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0] and row.weights[0] > 0.2
    codes = row(row.mix(features), 0.3).codes
    mixed = row.mix(features)
    assert torch.equal(codes, torch.cdist(mixed, row.centroids).argmin(1))
    row.centroids.data[3] = 100.0
    row.counts.zero_()
    row(row.mix(features), 0.3)
    dead = row.counts == 0
    row.revive(row.counts, features[0, :20])
    assert bool(dead[3]) and int(row.revived) == int(dead.sum()) and torch.equal(row.centroids[3], features[0, 3])


def test_a_label_can_be_hidden(config):
    from semtok.training.tokens.losses import _Reversed

    x = torch.ones(3, requires_grad=True)
    _Reversed.apply(x).sum().backward()
    assert torch.equal(x.grad, -torch.ones(3))


def test_what_a_loss_lacks_is_an_error(config, room):
    elsewhere = dataclasses.replace(config, folder=str(room / "runs" / "refused"))
    with refuses(ConfigError, "labels.emotion", "'emotion'", "'speaker'", "'text'"):
        train_tokens(dataclasses.replace(elsewhere, rows=[dataclasses.replace(SOUND, labels={"emotion": 1.0})]))
    with refuses(ConfigError, "texts", "'text'"):
        train_tokens(dataclasses.replace(elsewhere, data=[str(CLIPS[0].parent)]))
    with refuses(TrainingError, "cannot start the 5000 codes of row 'sound'"):
        train_tokens(dataclasses.replace(elsewhere, rows=[dataclasses.replace(SOUND, codebook_size=5000)]))
    with refuses(AudioError, "at most 0.1 s"):
        train_tokens(dataclasses.replace(elsewhere, longest_seconds=0.1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": []}, "there must be one"),
        ({"rows": [SOUND, SOUND]}, "names of their own"),
        ({"layers": [1, 1]}, "none twice"),
        ({"layers": [1, 4]}, "start_layer must be one of layers [1, 4], got [3]"),
        ({"assignment": "soft"}, "straight_through, gumbel, got 'soft'"),
        ({"last_temperature": 2.0}, "the temperature must fall"),
        ({"trained_layers": 5}, "from 0 to 4"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(config, changes, words):
    with refuses(ConfigError, words):
        dataclasses.replace(config, **changes)


def test_a_row_that_learns_from_nothing_is_refused():
    with refuses(ConfigError, "has no loss"):
        RowConfig("mix", 10)
    with refuses(ConfigError, "only weights of labels"):
        RowConfig("mix", 10, texts=-1.0)


def test_the_config_of_the_published_size_runs(config, room):
    published = load_config(ROOT / "configs" / "librispeech-wavlm-large" / "tokens.yaml", TokensConfig)
    assert published.rows[0].codebook_size == 2000 and len(published.layers) == 24
    here = ("data", "encoder", "encoder_revision", "layers", "validation_clips", "longest_seconds")
    small = dataclasses.replace(
        published,
        folder=str(room / "runs" / "published"),
        steps=2,
        rows=[dataclasses.replace(published.rows[0], codebook_size=50)],
        **{name: getattr(config, name) for name in here},
    )
    train_tokens(small)
    assert Tokenizer.from_pretrained(room / "runs" / "published" / "tokenizer").codebook_sizes == (50,)
