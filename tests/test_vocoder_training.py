"""The vocoder's training: its adversary, the stage of the discriminators alone, and vocoders of other tokenizers."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import save_checkpoint
from helpers import copy_clips
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from semtok import Tokenizer, Vocoder
from semtok.errors import CheckpointError, ConfigError
from semtok.networks.generators import GeneratorConfig
from semtok.training.run import Run
from semtok.training.vocoder.adversary import Adversary, Shares, frozen_features
from semtok.training.vocoder.config import SpeakerTrainingConfig, VocoderTrainingConfig
from semtok.training.vocoder.losses import (
    balanced_loss,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
    rotate_phases,
)
from semtok.training.vocoder.trainer import train_vocoder


@pytest.fixture(scope="module")
def config(istft_folder, tmp_path_factory) -> VocoderTrainingConfig:
    """One spectral step, two of the discriminators alone, then both, from a published vocoder."""
    room = tmp_path_factory.mktemp("vocoder")
    copy_clips(room / "speech")
    return VocoderTrainingConfig(
        folder=str(room / "runs" / "unbroken"),
        data=[str(room / "speech")],
        tokenizer=str(istft_folder),
        start_from=str(istft_folder),
        speaker=SpeakerTrainingConfig(dim=6, channels=8, reference_frames=50),
        steps=6,
        batch_size=2,
        crop_frames=20,
        learning_rate=1e-3,
        warmup_steps=1,
        adversarial_step=1,
        adversarial_batch_size=2,
        adversarial_crop_frames=16,
        adversarial_learning_rate=1e-3,
        discriminator_steps=2,
        discriminator_learning_rate_factor=4.0,
        relativistic=True,
        balanced=True,
        rotate_phases=True,
        matching_share=0.5,
        mel_weight=1.0,
        adversarial_weight=0.3,
        feature_matching_weight=0.3,
        periods=(),
        windows=(512,),
        spectrogram_channels=2,
        spectrogram_stride=4,
        feature_layers=(1, 3),
        feature_channels=4,
        target_rms=0.06,
        validation_clips=1,
        save_every=1,
        log_every=1,
        keep=9,
    )


@pytest.fixture(scope="module")
def unbroken(config) -> Path:
    train_vocoder(config)
    return Path(config.folder)


def states(folder: Path, step: int, name: str = "model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(folder / "states" / f"step-{step:09d}" / name)


def test_the_discriminators_alone_leave_the_generator_and_its_average_to_the_bit(unbroken):
    before, after, later = (states(unbroken, step) for step in (1, 3, 4))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(not torch.equal(after[name], later[name]) for name in before)
    average = [
        torch.load(unbroken / "states" / f"step-{step:09d}" / "custom_checkpoint_1.pkl", weights_only=True)
        for step in (1, 3, 4)
    ]
    assert all(torch.equal(average[0][name], average[1][name]) for name in average[0])
    assert any(not torch.equal(average[1][name], average[2][name]) for name in average[0])
    first, second = (states(unbroken, step, "model_1.safetensors") for step in (1, 3))
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_the_average_is_the_running_mean_of_the_weights(unbroken, config):
    """By hand from the states: each step moves it by 1 - decay, the decay smaller in the first steps."""
    for step in (4, 5, 6):
        folders = [
            unbroken / "states" / f"step-{number:09d}" / "custom_checkpoint_1.pkl" for number in (step - 1, step)
        ]
        slow, now = (torch.load(path, weights_only=True) for path in folders)
        decay = min(config.average_decay, step / (step + 100))
        for name, fast in states(unbroken, step).items():
            if name in slow and slow[name].is_floating_point():
                torch.testing.assert_close(now[name], decay * slow[name] + (1 - decay) * fast, rtol=1e-5, atol=1e-7)


def test_what_is_saved_is_the_average(unbroken):
    average = torch.load(unbroken / "states" / "step-000000006" / "custom_checkpoint_1.pkl", weights_only=True)
    saved = Vocoder.from_pretrained(unbroken / "checkpoint").network.state_dict()
    assert all(torch.equal(saved[name], average[name]) for name in saved)


def test_the_log_has_the_share_of_crops_that_each_discriminator_tells_apart(unbroken):
    lines = [json.loads(line) for line in (unbroken / "log.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "steps_per_second" in line]
    names = {"apart_window_512", "apart_layer_1", "apart_layer_3"}
    assert [names <= line.keys() for line in lines] == [False, *[True] * 5]
    assert all(0 <= line[name] <= 1 for line in lines[1:] for name in names)
    # alone, they have nothing to say to the generator
    assert ["adversarial" in line for line in lines] == [False, False, False, True, True, True]


@pytest.mark.parametrize("last", [2, 5])
def test_a_run_stopped_in_any_stage_and_resumed_equals_an_unbroken_one(unbroken, config, last, tmp_path):
    resumed = dataclasses.replace(config, folder=str(tmp_path / "resumed"))
    train_vocoder(dataclasses.replace(resumed, steps=last))
    train_vocoder(resumed)
    for name in ("model.safetensors", "model_1.safetensors"):
        one, other = states(unbroken, 6, name), states(Path(resumed.folder), 6, name)
        assert all(torch.equal(one[key], other[key]) for key in one)
    for name in ("custom_checkpoint_0.pkl", "custom_checkpoint_1.pkl", "optimizer.bin", "optimizer_1.bin"):
        one, other = (
            torch.load(folder / "states" / "step-000000006" / name, weights_only=True)
            for folder in (unbroken, Path(resumed.folder))
        )
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(("share", "steps", "words"), [(1.0, 120, "it has won"), (0.5, 1000, "does not learn")])
def test_the_log_says_who_has_won_and_who_does_not_learn(config, istft_folder, tmp_path, caplog, share, steps, words):
    config = dataclasses.replace(config, discriminator_steps=20)
    adversary = Adversary(config, Run(tmp_path), Tokenizer.from_pretrained(istft_folder).encoder)
    with caplog.at_level(logging.WARNING):
        for step in range(config.adversarial_step + steps - 90, config.adversarial_step + steps + 3):
            adversary.shares.add(torch.tensor([share, 0.8, 0.8]), config.matching_share)
            adversary._warn(step - config.adversarial_step)
    (message,) = caplog.messages
    assert words in message and "window_512" in message


def test_more_steps_go_on_at_the_same_rate(config):
    longer = dataclasses.replace(config, steps=60)
    assert [config.learning_rate_at(step, 100) for step in range(1, 7)] == [
        longer.learning_rate_at(step, 100) for step in range(1, 7)
    ]


def test_a_vocoder_of_another_tokenizer_of_the_same_shape_is_trained_on_with_a_word(
    config, istft_folder, tmp_path, caplog
):
    other = save_checkpoint(tmp_path / "other", "istft", seed=1)
    tuned = dataclasses.replace(
        config, folder=str(tmp_path / "tuned"), tokenizer=str(other), steps=1, learning_rate=0.0
    )
    with caplog.at_level(logging.WARNING):
        train_vocoder(tuned)
    fingerprints = [Tokenizer.from_pretrained(folder).fingerprint for folder in (istft_folder, other)]
    assert any("ANOTHER TOKENIZER" in text and all(f in text for f in fingerprints) for text in caplog.messages)
    trained, published = (
        Vocoder.from_pretrained(tmp_path / "tuned" / "checkpoint"),
        Vocoder.from_pretrained(istft_folder),
    )
    assert trained.fingerprint == fingerprints[1]
    for name, tensor in published.network.selector.state_dict().items():
        assert torch.equal(trained.network.selector.state_dict()[name], tensor)
    tokens = Tokenizer.from_pretrained(other).encode(np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32))
    assert trained.decode(tokens).shape == (1, tokens.codes.shape[2] * 320)
    with pytest.raises(CheckpointError, match=r"decodes codebooks .* train a new one"):
        train_vocoder(dataclasses.replace(tuned, folder=str(tmp_path / "no"), tokenizer="tiny"))


def test_a_published_vocoder_goes_on_with_a_shorter_look_ahead(config, istft_folder, tmp_path):
    published = Vocoder.from_pretrained(istft_folder)
    sizes = published.config.generator.istft
    assert published.network.generator.receptive_frames == (10, 10)

    def tune(**changes):
        generator = GeneratorConfig(istft=dataclasses.replace(sizes, **changes))
        return dataclasses.replace(
            config, folder=str(tmp_path / "tuned"), steps=1, learning_rate=0.0, generator=generator
        )

    train_vocoder(tune(look_ahead=5))
    trained = Vocoder.from_pretrained(tmp_path / "tuned" / "checkpoint")
    assert trained.network.generator.receptive_frames == (15, 5)
    # Each weight still acts on the frame it did: with the weights of unseen frames 0, both are the same network.
    generator, blind = trained.network.generator, published.network.generator
    with torch.no_grad():
        blind.blocks[0].depthwise.weight[:, :, 5:] = 0
        blind.blocks[1].depthwise.weight[:, :, 4:] = 0
        features = torch.randn(1, 60, 8, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(generator(features), blind(features), rtol=0, atol=2e-6)
    with pytest.raises(ConfigError, match=r"generator of the vocoder .* leave it out"):
        train_vocoder(tune(width=8))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"embeddings_from_centroids": True}, "embeddings are taken over"),
        ({"matching_share": 1.5}, "matching_share must be"),
        ({"precision": "float16"}, "too small for float16"),
        ({"windows": (), "feature_layers": ()}, "there are none"),
    ],
)
def test_configs_that_make_no_sense_are_refused(config, changes, words):
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(config, **changes)


def test_discriminators_of_features_need_layers_that_the_encoder_has(config, tokenizer, tmp_path):
    with pytest.raises(ConfigError, match=r"feature_layers must be in 1 \.\.\. 4, as the encoder has them, got \[9\]"):
        train_vocoder(dataclasses.replace(config, folder=str(tmp_path / "no"), feature_layers=(3, 9)))


def test_frozen_features_are_those_of_the_encoder_and_pass_the_gradient(tokenizer):
    waveforms = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    waveforms.requires_grad_()
    features = frozen_features(tokenizer.encoder, [1, 3])(waveforms)
    expected, _ = tokenizer.encoder(waveforms.detach(), torch.tensor([8000, 8000]), [1, 3])
    torch.testing.assert_close(torch.stack(features, 1).detach(), expected, rtol=1e-3, atol=1e-4)
    features[1].square().sum().backward()
    assert waveforms.grad.isfinite().all() and waveforms.grad.abs().sum() > 0


# --- losses


def test_pairs_count_the_difference_of_scores_alone():
    real, generated = [torch.randn(3, 1, 9)], [torch.randn(3, 1, 9)]
    loss = discriminator_loss(real, generated, relativistic=True)
    shifted = discriminator_loss([real[0] + 5], [generated[0] + 5], relativistic=True)
    torch.testing.assert_close(loss, shifted)
    torch.testing.assert_close(
        generator_loss(real, generated, relativistic=True), discriminator_loss(generated, real, relativistic=True)
    )
    assert discriminator_loss([real[0] + 9], generated, relativistic=True) < loss


def test_feature_matching_leaves_out_discriminators_that_do_not_count():
    real, generated = ([[torch.randn(2, 3, 5), torch.randn(2, 3, 4)], [torch.randn(2, 6)]] for _ in range(2))
    whole = feature_matching_loss(real, generated, [True, True], relative=True)
    parts = [feature_matching_loss(real, generated, counts, relative=True) for counts in ([True, False], [False, True])]
    torch.testing.assert_close(sum(parts), whole)
    assert feature_matching_loss(real, generated, [False, False], relative=True) == 0


def test_balanced_losses_have_gradients_of_the_norms_asked_for():
    waveforms = torch.randn(2, 50, requires_grad=True)
    first, steep, flat = waveforms.square().sum(), 1e5 * waveforms[:, :9].sum(), 1e-5 * waveforms[:, 30:].sum()
    nothing = torch.zeros(())
    loss = balanced_loss(waveforms, first, [(steep, 0.5), (flat, 2.0), (nothing, 1.0)])
    loss.backward()
    rest = waveforms.grad - 2 * waveforms.detach()
    norm = 2 * waveforms.detach().norm()
    torch.testing.assert_close(rest[:, :9].norm(), 0.5 * norm)
    torch.testing.assert_close(rest[:, 30:].norm(), 2 * norm)
    assert not rest[:, 9:30].any()


def test_shares_remember_who_reached_enough():
    shares = Shares(2)
    for _ in range(30):
        shares.add(torch.tensor([1.0, 0.5]), 0.7)
    assert shares.reached.tolist() == [True, False] and shares.running[0] > 0.85
    for _ in range(90):
        shares.add(torch.tensor([0.5, 0.5]), 0.7)
    assert shares.reached.tolist() == [True, False] and shares.running[0] < 0.55


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), samples=st.integers(900, 3000))
def test_rotated_phases_keep_all_magnitudes_and_nearly_the_place(seed, samples):
    generator = torch.Generator().manual_seed(seed)
    waveforms = torch.randn(2, samples, generator=generator)
    rotate = rotate_phases(waveforms, generator)
    rotated = rotate(waveforms)
    assert rotated.shape == waveforms.shape and not torch.allclose(rotated, waveforms, atol=0.1)
    before, after = (torch.fft.rfft(x).abs()[:, 1:-1] for x in (waveforms, rotated))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(rotate(2 * waveforms), 2 * rotated)
    click = torch.zeros(2, samples)
    click[:, samples // 2] = 1
    power = rotate(click).square()
    near = power[:, samples // 2 - 150 : samples // 2 + 150].sum(1)
    assert (near > 0.9 * power.sum(1)).all()
