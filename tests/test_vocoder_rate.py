"""Vocoders that make speech at another rate than their tokenizer hears."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from checkpoints import make_tokenizer
from helpers import CLIPS, ROOT

from semtok import Tokenizer, Vocoder, load_audio, save_audio
from semtok.checkpoints.native import card_of_folder
from semtok.errors import CheckpointError, ConfigError, TokensError
from semtok.networks.config import VocoderConfig
from semtok.networks.generators import GeneratorConfig, ISTFTConfig
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.training.config import load_config
from semtok.training.vocoder.config import SpeakerTrainingConfig, VocoderTrainingConfig
from semtok.training.vocoder.networks import speech_rate
from semtok.training.vocoder.trainer import train_vocoder

RATE, HOP = 24000, 480


def generator(hop: int) -> GeneratorConfig:
    return GeneratorConfig(istft=ISTFTConfig(hop, width=16, hidden=32, blocks=2, n_fft=hop, stft_hop_length=hop // 2))


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> VocoderTrainingConfig:
    room = tmp_path_factory.mktemp("rate")
    make_tokenizer().save_pretrained(room / "tokenizer")
    (room / "speech").mkdir()
    noise = np.random.default_rng(0)
    for clip in CLIPS:
        # there is no recorded speech of this rate here: noise fills the band above
        waveform = load_audio(clip, sample_rate=RATE).numpy()
        waveform += 0.01 * noise.standard_normal(len(waveform))
        save_audio(room / "speech" / f"{clip.stem}.wav", waveform, sample_rate=RATE)
    return VocoderTrainingConfig(
        folder=str(room / "runs" / "vocoder"),
        data=[str(room / "speech")],
        tokenizer=str(room / "tokenizer"),
        sample_rate=RATE,
        embedding_dim=8,
        attention_dim=8,
        generator=generator(HOP),
        speaker=SpeakerTrainingConfig(dim=6, channels=8, reference_frames=50),
        steps=3,
        batch_size=2,
        crop_frames=20,
        learning_rate=1e-3,
        warmup_steps=1,
        adversarial_step=1,
        adversarial_batch_size=2,
        adversarial_crop_frames=16,
        adversarial_learning_rate=1e-3,
        mel_weight=1.0,
        feature_matching_weight=0.3,
        periods=(2,),
        period_channels=(4, 8),
        windows=(512,),
        spectrogram_channels=2,
        target_rms=0.06,
        validation_clips=1,
        save_every=3,
        log_every=1,
    )


@pytest.fixture(scope="module")
def folder(config) -> Path:
    train_vocoder(config)
    return Path(config.folder) / "checkpoint"


def test_speech_has_the_rate_and_the_length_of_the_recording(folder):
    tokenizer, vocoder = Tokenizer.from_pretrained(folder), Vocoder.from_pretrained(folder)
    assert (tokenizer.sample_rate, tokenizer.hop_length) == (16000, 320)
    assert (vocoder.sample_rate, vocoder.hop_length, vocoder.frame_rate) == (RATE, HOP, tokenizer.frame_rate)
    tokens = tokenizer.encode(CLIPS[0])
    assert vocoder.decode(tokens).shape == (1, int(tokens.lengths) * HOP)


def test_the_training_saw_the_band_that_the_tokenizer_does_not_hear(config, folder):
    log = [json.loads(line) for line in (Path(config.folder) / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(value) for line in log for value in line.values() if isinstance(value, float))
    config = json.loads((folder / "config.json").read_text())
    assert config["vocoder"]["sample_rate"] == RATE and config["tokenizer"]["sample_rate"] == 16000


def test_a_crop_of_speech_is_that_of_its_codes(config):
    """At 24 kHz and at 16 kHz a frame of the corpus is the same moment."""
    from semtok.training.run import Run
    from semtok.training.vocoder.networks import start_network
    from semtok.training.vocoder.token_corpus import load_tokens

    tokenizer = Tokenizer.from_pretrained(config.tokenizer)
    run = Run(config.folder + "_crops")
    high, low = (
        load_tokens(one, tokenizer, run, start_network(one, tokenizer)[1])
        for one in (config, dataclasses.replace(config, sample_rate=None, generator=generator(320)))
    )
    for clip in range(3):
        (codes, fast), (same, slow) = (corpus.crop(clip, 30, 40) for corpus in (high, low))
        assert torch.equal(codes, same) and len(fast) / RATE == len(slow) / 16000
        loudness = [part.unflatten(0, (40, -1)).square().mean(1).sqrt() for part in (fast, slow)]
        assert torch.corrcoef(torch.stack(loudness))[0, 1] > 0.95


def test_streams_give_the_same_speech_at_that_rate(folder):
    tokenizer, vocoder = Tokenizer.from_pretrained(folder), Vocoder.from_pretrained(folder)
    tokens = tokenizer.encode(CLIPS[0])
    whole, stream = vocoder.decode(tokens)[0], vocoder.stream()
    frames = int(tokens.lengths)
    parts = [stream.push(tokens.cut(start, min(start + 16, frames))) for start in range(0, frames, 16)]
    torch.testing.assert_close(torch.cat([*parts, stream.flush()]), whole, atol=1e-5, rtol=0)


def test_the_command_line_writes_files_of_that_rate(folder, run, tmp_path):
    code, _, error = run("resynth", CLIPS[0], "-c", folder, "-o", tmp_path / "again.wav")
    assert code == 0, error
    about = soundfile.info(tmp_path / "again.wav")
    assert about.samplerate == RATE
    assert about.duration == pytest.approx(soundfile.info(CLIPS[0]).duration, abs=0.03)
    code, out, _ = run("info", folder)
    assert code == 0 and "24000 Hz" in out


def test_a_reference_is_heard_at_that_rate(folder):
    vocoder = Vocoder.from_pretrained(folder)
    waveform = load_audio(CLIPS[0])
    torch.testing.assert_close(
        vocoder.speaker(waveform, sample_rate=16000),
        vocoder.speaker(load_audio(CLIPS[0], sample_rate=RATE)),
        atol=1e-3,
        rtol=0,
    )


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
def test_common_rates_fit_fifty_frames_a_second(config, rate):
    tokenizer = Tokenizer.from_pretrained(config.tokenizer)
    sample_rate, hop_length = speech_rate(dataclasses.replace(config, sample_rate=rate), tokenizer)
    assert (sample_rate, hop_length * 50) == (rate, rate)


def test_rates_that_do_not_divide_are_refused_with_those_that_fit(config):
    tokenizer = Tokenizer.from_pretrained(config.tokenizer)
    with pytest.raises(
        ConfigError, match=r"sample_rate 22025: 50 frames a second.*multiples of 50 Hz fit, such as 220"
    ):
        speech_rate(dataclasses.replace(config, sample_rate=22025), tokenizer)
    with pytest.raises(ConfigError, match="multiples of 50 Hz fit, such as 50"):
        speech_rate(dataclasses.replace(config, sample_rate=20), tokenizer)


def test_what_does_not_fit_that_rate_is_refused(config, folder):
    tokenizer = Tokenizer.from_pretrained(config.tokenizer)
    with pytest.raises(ConfigError, match="feature_layers judge by an encoder that hears 16000 Hz"):
        speech_rate(dataclasses.replace(config, feature_layers=(1,)), tokenizer)
    with pytest.raises(ConfigError, match="the generator makes 320 samples a frame, expected 480"):
        train_vocoder(dataclasses.replace(config, folder=config.folder + "_other", generator=generator(320)))
    own = dataclasses.replace(
        config, folder=config.folder + "_go_on", start_from=str(folder), sample_rate=None, generator=None,
        embedding_dim=None, attention_dim=None,
    )  # fmt: skip
    with pytest.raises(CheckpointError, match=r"24000 Hz, 480 samples a frame.*sample_rate ask for.*16000 Hz"):
        train_vocoder(own)


def test_recordings_without_the_upper_band_are_told(config, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        train_vocoder(
            dataclasses.replace(
                config, folder=str(tmp_path / "runs" / "narrow"), data=[str(ROOT / "tests" / "data")], steps=1
            )
        )
    assert "3 of 3 clips looked at have nothing above 8000 Hz" in caplog.text


def test_onnx_says_both_rates(folder, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from semtok.export.onnx import compare_onnx, export_onnx

    tokenizer, vocoder = Tokenizer.from_pretrained(folder), Vocoder.from_pretrained(folder)
    export_onnx(tmp_path / "onnx", tokenizer, vocoder)
    (description,) = (json.loads(path.read_text()) for path in (tmp_path / "onnx").glob("*.json"))
    assert (description["sample_rate"], description["hop_length"]) == (16000, 320)
    assert (description["output_sample_rate"], description["output_hop_length"]) == (RATE, HOP)
    assert compare_onnx(tmp_path / "onnx", tokenizer, vocoder, CLIPS[:1]).waveform_difference < 1e-3


def test_transformers_knows_one_rate_alone(folder):
    from semtok.export.audio_tokenizer import SemtokAudioTokenizer

    with pytest.raises(TokensError, match="hears 16000 Hz and this vocoder speaks at 24000 Hz"):
        SemtokAudioTokenizer.from_pretrained(folder)


def test_the_card_says_both_rates(folder):
    details = card_of_folder(folder, "me/voc").details
    assert "16000 Hz" in details["Frame rate"] and details["Decoded speech"] == "24000 Hz"


def test_a_vocoder_of_any_network_may_have_that_rate():
    tokenizer = make_tokenizer()
    config = VocoderConfig(tokenizer.codebooks, 8, 8, 48000, 960, tokenizer.fingerprint, generator(960))
    tokens = tokenizer.encode(CLIPS[0])
    assert Vocoder(config, ScalableVocoder(config)).decode(tokens).shape[1] == int(tokens.lengths) * 960


def test_the_published_config_at_24_khz_is_that_at_16_khz():
    folder = ROOT / "configs" / "libritts-wavlm-large"
    low, high = (load_config(folder / name, VocoderTrainingConfig) for name in ("vocoder.yaml", "vocoder_24khz.yaml"))
    assert high.generator.hop_length == HOP and high.sample_rate == RATE
    same = {"sample_rate": None, "generator": low.generator, "folder": low.folder}
    assert dataclasses.replace(high, **same) == low
