"""Noise, voices, rooms and channels: as loud as asked for, sample on sample, and no speech of the test among them."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from encoders import tiny_model
from helpers import CLIPS, ROOT, copy_clips, refuses, write_csv

from semtok import Tokenizer, load_audio
from semtok.audio.disturbances import (
    add_noise,
    babble,
    band_limit,
    clip_peaks,
    colored_noise,
    narrow_band,
    opus,
    reverberate,
    telephone,
)
from semtok.errors import AudioError, ConfigError
from semtok.training.config import load_config
from semtok.training.data.corpus import CorpusVoices, load_corpus
from semtok.training.data.disturbances import Disturbances, Disturber
from semtok.training.data.noises import Background, load_noises
from semtok.training.encoder.classes import Standardized, normalize
from semtok.training.encoder.config import Consistency, DisturbanceConfig, EncoderConfig, Regression
from semtok.training.encoder.consistency import ConsistencyLoss
from semtok.training.encoder.trainer import Student, build_encoder, train_encoder

RATE = 16000


@pytest.fixture
def generator():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def speech():
    return load_audio(CLIPS[0]).numpy()[:31337]


def decibels(numerator, denominator):
    return 10 * np.log10(np.mean(numerator**2) / np.mean(denominator**2))


@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
def test_noise_is_as_loud_as_asked_for(speech, generator, snr):
    for noise in (
        np.sin(np.arange(300)).astype(np.float32),
        colored_noise(len(speech), 0.5, generator),
        babble([load_audio(path).numpy() for path in CLIPS], len(speech), generator),
    ):
        mixed = add_noise(speech, noise, snr, generator)
        assert mixed.dtype == np.float32 and len(mixed) == len(speech)
        assert decibels(speech, mixed - speech) == pytest.approx(snr, abs=0.4)


@pytest.mark.parametrize(("slope", "fall"), [(0.0, 0.0), (0.5, 3.0), (1.0, 6.0)], ids=["white", "pink", "brown"])
def test_noise_has_its_colour(generator, slope, fall):
    power = np.abs(np.fft.rfft(colored_noise(2**17, slope, generator))) ** 2
    octaves = [power[first : 2 * first].mean() for first in (2**11, 2**12, 2**13, 2**14)]
    assert np.diff(10 * np.log10(octaves)) == pytest.approx([-fall] * 3, abs=0.3)


def test_voices_in_the_background_are_equally_loud(generator):
    loud, quiet = 10 * generator.standard_normal(RATE), 0.01 * generator.standard_normal(RATE)
    both = babble([loud.astype(np.float32), quiet.astype(np.float32)], RATE, np.random.default_rng(1))
    alone = babble([loud.astype(np.float32)], RATE, np.random.default_rng(1))
    assert np.std(alone) == pytest.approx(1, abs=0.01) and np.std(both) == pytest.approx(2**0.5, abs=0.05)


@pytest.mark.parametrize(
    "change",
    [
        partial(reverberate, seconds=0.35, direct_to_reverberant=3, sample_rate=RATE),
        partial(band_limit, lowest=100, highest=3500, sample_rate=RATE),
        partial(narrow_band, sample_rate=RATE),
        partial(telephone, sample_rate=RATE),
        partial(opus, kilobits=16, sample_rate=RATE),
        partial(clip_peaks, share=0.05),
    ],
    ids=["room", "band", "8 kHz", "telephone", "opus", "clipped"],
)
def test_speech_stays_where_it_was_to_the_sample(speech, change):
    if change.func is reverberate:
        change = partial(change, generator=np.random.default_rng(0))
    changed = change(speech)
    assert changed.dtype == np.float32 and changed.shape == speech.shape
    assert 0.05 < np.std(changed - speech) / np.std(speech) < 2
    size = 2 * len(speech)
    correlation = np.fft.irfft(np.fft.rfft(speech, size).conj() * np.fft.rfft(changed, size))
    assert np.argmax(correlation) == 0


def test_sound_of_a_room_falls_by_60_decibels_in_its_time(generator):
    click = np.zeros(RATE, np.float32)
    click[100] = 1
    heard = reverberate(click, 0.5, 6.0, RATE, generator)
    assert not heard[:100].round(5).any() and heard[100] == pytest.approx(1, abs=1e-4)
    tail = heard[101:]
    assert 10 * np.log10(np.sum(tail**2)) == pytest.approx(-6, abs=0.01)
    assert decibels(tail[:800], tail[4000:4800]) == pytest.approx(60 * 4000 / RATE / 0.5, abs=1.5)


def test_channels_are_as_narrow_as_asked_for(generator):
    noise = generator.standard_normal(RATE).astype(np.float32)

    def power(waveform, low, high):
        return np.mean(np.abs(np.fft.rfft(waveform))[low:high] ** 2)

    limited = band_limit(noise, 500, 2000, RATE)
    assert power(limited, 600, 1800) == pytest.approx(power(noise, 600, 1800))
    assert power(limited, 0, 450) + power(limited, 2200, 8000) < 1e-6 * power(noise, 0, 8000)
    for narrow in (narrow_band(noise, RATE), telephone(noise, RATE)):
        assert power(narrow, 4200, 8000) < 1e-4 * power(narrow, 1000, 3000)
    assert np.mean(np.isclose(np.abs(clip_peaks(noise, 0.1)), np.abs(clip_peaks(noise, 0.1)).max())) == pytest.approx(
        0.1, abs=0.01
    )


def test_fewer_bits_of_opus_are_further_from_the_speech(speech):
    errors = [np.std(opus(speech, kilobits, RATE) - speech) for kilobits in (8, 16, 64)]
    assert errors[0] > errors[1] > errors[2]


def test_silence_stays_silent(generator):
    silence = np.zeros(RATE, np.float32)
    noise = colored_noise(RATE, 0.0, generator)
    for quiet in (add_noise(silence, noise, 0.0, generator), telephone(silence, RATE), opus(silence, 16, RATE)):
        assert np.abs(quiet).max() < 1e-4


@pytest.fixture
def config(tmp_path):
    """A training of three steps on the three recordings, with a hiss as the only recording of noise."""
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "hiss.wav", np.random.default_rng(0).uniform(-0.1, 0.1, RATE), RATE)
    smoke = load_config(ROOT / "configs" / "smoke" / "encoder.yaml", EncoderConfig)
    centroids = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    tokenizer = Tokenizer.from_centroids(build_encoder(smoke), {1: centroids, 2: centroids}, normalize=True)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    return dataclasses.replace(
        smoke,
        folder=str(tmp_path / "runs" / "encoder"),
        data=[str(copy_clips(tmp_path / "clips"))],
        targets=[],
        regressions=[Regression(1, "mel", 1.0)],
        disturbances=DisturbanceConfig(clips=1.0, noise=[str(tmp_path / "noise")]),
        consistency=Consistency(str(tmp_path / "tokenizer"), [1, 2], [2]),
        steps=3,
    )


def disturber(config, tmp_path):
    corpus = load_corpus(config.data, tmp_path / "audio", sample_rate=RATE)
    noises = load_noises(config.disturbances.noise, data=config.data, sample_rate=RATE)
    return Disturber(config.disturbances, noises, CorpusVoices(corpus, np.array([0, 2])), RATE)


def test_every_crop_that_is_to_be_disturbed_is_and_stays_as_long(config, tmp_path, speech):
    subject = disturber(config, tmp_path)
    for seed in range(40):
        heard = subject.disturb(torch.from_numpy(speech), np.random.default_rng(seed))
        assert heard.shape == speech.shape and heard.isfinite().all()
        assert np.std(heard.numpy() - speech) > 1e-3 * np.std(speech)
        assert torch.equal(heard, subject.disturb(torch.from_numpy(speech), np.random.default_rng(seed)))


def test_voices_behind_the_clips_of_a_task_are_those_of_training(config, tmp_path, speech):
    rows = [{"path": str(clip), "split": split} for clip, split in zip(CLIPS, ("train", "test", "train"), strict=False)]
    manifest = str(write_csv(tmp_path / "clips.csv", rows))
    babble_alone = Disturbances(rooms=0, channels=0)
    background = Background(babble_alone, [manifest], ["test"], RATE)
    assert len(background.identity["voices"]) == 2
    assert background.identity != Background(babble_alone, [manifest], [], RATE).identity
    heard = background.load().disturb(torch.from_numpy(speech), np.random.default_rng(0))
    assert heard.shape == speech.shape and not torch.equal(heard, torch.from_numpy(speech))
    with pytest.raises(ConfigError, match="clips of data"):
        Background(Disturbances(noise=[str(CLIPS[0])]), [manifest], [], RATE).load()


def test_targets_come_from_clean_speech(config, monkeypatch):
    """A student that hears nothing but ones is still to tell how the clean clips sound."""
    asked = []
    original = Standardized.__call__

    def remember(self, waveform):
        asked.append(waveform)
        return original(self, waveform)

    monkeypatch.setattr(Standardized, "__call__", remember)
    monkeypatch.setattr(Disturber, "disturb", lambda self, speech, generator: torch.linspace(0, 1, len(speech)))
    train_encoder(config)
    assert asked and all(abs(waveform.diff()).max() > 0.01 for waveform in asked)


def test_a_run_tells_clean_and_disturbed_clips_apart(config):
    train_encoder(config)
    lines = (Path(config.folder) / "log.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert last["valid_loss"] == pytest.approx((last["valid_clean_loss"] + last["valid_disturbed_loss"]) / 2)
    assert last["valid_disturbed_distance"] > last["valid_distance"] and 0 < last["valid_disturbed_changed"] <= 1


def test_pairs_ask_for_the_students_own_features_of_clean_crops(config):
    """The gradient reaches the disturbed half alone, the weight counts, and a batch holds its crops twice."""
    paired = dataclasses.replace(config, consistency=dataclasses.replace(config.consistency, own_weight=0.5))
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(2, 4000, generator=generator)
    plain, with_pairs = (ConsistencyLoss(c.consistency, 32, 320, torch.device("cpu")) for c in (config, paired))
    frames = with_pairs._encoder.frame_count(4000)
    features = [torch.randn(4, frames, 32, generator=generator, requires_grad=True) for _ in range(2)]
    loss, numbers = with_pairs(features, clean)
    alone, _ = plain(features, clean)
    own = 4 * numbers["own_distance"] + numbers["own_codes"]
    assert torch.isclose(loss, alone + 0.5 * own) and 0 < numbers["own_changed"] <= 1
    (loss - alone).backward()
    for layer in features:
        assert layer.grad[:2].abs().max() < 1e-6 and layer.grad[2:].abs().max() > 1e-4
    train_encoder(paired)
    last = json.loads((Path(config.folder) / "log.jsonl").read_text().splitlines()[-1])
    assert 0 < last["valid_own_changed"] <= 1 and "valid_disturbed_loss" not in last


def test_targets_of_content_layers_are_steady_if_changes_cost(config, speech):
    """Fewer changes of code, each run of them with one feature; other layers as they are."""
    clean = torch.from_numpy(speech)[None]
    steady = dataclasses.replace(config.consistency, change_penalty=0.5)
    plain, penalized = (ConsistencyLoss(c, 32, 320, torch.device("cpu")) for c in (config.consistency, steady))
    (first, content), (same_first, means) = plain._targets(clean), penalized._targets(clean)
    assert torch.equal(first, same_first)
    changes = [int((layer.diff(dim=1).abs().amax(-1) > 0).sum()) for layer in (content, means)]
    codes = [torch.cdist(layer, plain._centroids[2]).argmin(-1)[0] for layer in (content, means)]
    assert changes[1] < changes[0] and changes[1] == int((codes[1].diff() != 0).sum()) < int(
        (codes[0].diff() != 0).sum()
    )


def test_training_on_keeps_attention_near(tmp_path):
    """The constants of the gates, which could undo it, are no longer trained."""
    config = load_config(ROOT / "configs" / "tiny" / "encoder_noise.yaml", EncoderConfig)
    start = ROOT / "semtok" / "checkpoints" / "tiny" / "encoder"
    model = build_encoder(dataclasses.replace(config, start_from=str(start)))
    gates = [layer.attention.gru_rel_pos_const for layer in model.encoder.layers]
    assert gates and not any(gate.requires_grad for gate in gates)


def test_noise_that_cannot_be_used_is_refused(tmp_path):
    def load(noise, **options):
        load_noises([str(noise)], data=[str(tmp_path / "clips")], sample_rate=RATE, **options)

    copy_clips(tmp_path / "clips")
    (tmp_path / "empty").mkdir()
    with refuses(AudioError, "no audio in", "empty"):
        load(tmp_path / "empty")
    with refuses(AudioError, "no folder", "nowhere"):
        load(tmp_path / "nowhere")
    soundfile.write(tmp_path / "empty" / "silent.wav", np.zeros(RATE), RATE)
    with refuses(AudioError, "silent.wav", "silent"):
        load(tmp_path / "empty")
    with refuses(AudioError, "missing.wav", "cannot be used"):
        load(tmp_path / "missing.wav")
    (tmp_path / "noise.csv").write_text("path,split\nempty/silent.wav,test\n")
    with refuses(AudioError, "noise.csv", "in the splits left out", "test"):
        load(tmp_path / "noise.csv", leave_out_splits=["test"])
    (tmp_path / "empty" / "silent.wav").write_bytes(b"RIFF")
    with refuses(AudioError, "silent.wav", "cannot be used"):
        load(tmp_path / "empty")


def test_speech_is_no_noise(tmp_path):
    """Neither that which is learnt nor, in a manifest of all clips, that which is tested."""
    clips = str(copy_clips(tmp_path / "clips"))
    with refuses(ConfigError, "3 recordings of noise are clips of data"):
        load_noises([clips], data=[clips], sample_rate=RATE)
    for name in ("a", "b"):
        (tmp_path / f"{name}.flac").write_bytes(CLIPS[0].read_bytes())
    (tmp_path / "clips.csv").write_text("path,split\na.flac,train\nb.flac,test\n")
    (tmp_path / "noise.csv").write_text("path\nb.flac\n")
    with refuses(ConfigError, "1 recordings of noise", "b.flac"):
        load_noises(
            [str(tmp_path / "noise.csv")],
            data=[str(tmp_path / "clips.csv")],
            sample_rate=RATE,
            leave_out_splits=["test"],
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"snr": (20.0, 5.0)}, r"snr .*\[20.0, 5.0\]"),
        ({"snr": (0.0, 500.0)}, "snr .*from -20 to 100"),
        ({"snr": (float("nan"), 5.0)}, "snr"),
        ({"clips": 1.5}, "clips is a share"),
        ({"rooms": float("nan")}, "rooms is a share"),
        ({"voices": (0, 3)}, "voices"),
        ({"room_seconds": (0.0, 1.0)}, "room_seconds"),
    ],
)
def test_disturbances_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        DisturbanceConfig(**changes)


def test_consistency_needs_disturbances_and_a_tokenizer_of_that_shape(config):
    with refuses(ConfigError, "it needs disturbances"):
        dataclasses.replace(config, disturbances=None)
    deeper = dataclasses.replace(config.consistency, layers=[7])
    model = config.model | {"num_hidden_layers": 8}
    with refuses(ConfigError, "layers [7]", "has 2 layers"):
        train_encoder(dataclasses.replace(config, model=model, consistency=deeper))
    with refuses(ConfigError, "codes of layers [0]", "codebooks of [1, 2]", "leave out [0]"):
        train_encoder(dataclasses.replace(config, consistency=dataclasses.replace(deeper, layers=[0], code_layers=[0])))
    with refuses(ConfigError, "with 64 dimensions", "32 dimensions"):
        train_encoder(dataclasses.replace(config, model=config.model | {"hidden_size": 64}))


@pytest.mark.parametrize("family", ["wavlm-base", "wavlm-large"])
def test_features_that_are_compared_are_those_that_become_codes(family, tmp_path):
    """Of encoders with a norm behind the last layer too: a student that is the tokenizer's encoder has no distance."""
    tiny_model(family).save_pretrained(tmp_path / "encoder")
    config = EncoderConfig(
        folder=str(tmp_path), data=[], model={}, start_from=str(tmp_path / "encoder"), disturbances=DisturbanceConfig(),
        consistency=Consistency(str(tmp_path / "tokenizer"), [1, 3], [1, 3], weight=1.0), batch_seconds=1,
        crop_seconds=1, steps=1, learning_rate=1e-3, warmup_steps=1, validation_clips=1, save_every=1,
    )  # fmt: skip
    student = Student(config).eval()
    dim = student.model.config.hidden_size
    centroids = torch.randn(50, dim, generator=torch.Generator().manual_seed(0))
    tokenizer = Tokenizer.from_centroids(tiny_model(family), {1: centroids, 3: centroids}, normalize=True)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    clean = normalize(load_audio(CLIPS[0])[None, :16000])
    with torch.no_grad():
        _, features = student(clean, torch.zeros(1, features_of(student, clean), dtype=torch.bool))
    loss = ConsistencyLoss(config.consistency, dim, tokenizer.hop_length, torch.device("cpu"))
    _, same = loss(features, clean)
    assert same["distance"] < 1e-4 and same["changed"] < 0.01
    heard = [layer.roll(1, 1).requires_grad_(True) for layer in features]
    total, other = loss(heard, clean)
    assert other["distance"] > 0.01 and other["changed"] > 0.1 and other["codes"] > same["codes"]
    assert torch.isclose(total, other["distance"] + other["codes"])
    total.backward()
    with torch.no_grad():
        nearer, _ = loss([layer - 1e-3 * layer.grad / layer.grad.norm() for layer in heard], clean)
    assert nearer < total


def features_of(student, waveforms):
    return int(student.model._get_feat_extract_output_lengths(waveforms.shape[1]))


def test_noises_of_training_are_in_no_recording_that_is_measured():
    config = yaml.safe_load((ROOT / "configs" / "tiny" / "encoder_noise.yaml").read_text())
    listed = config["disturbances"]["noise"]
    assert len(listed) == 9 and all(Path(path).name.startswith("room_bg_noise") for path in listed)
