"""Training on seconds of audio: every step runs and leaves a checkpoint that decodes."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from helpers import DATA, ROOT, copy_clips, refuses
from safetensors.torch import load_file

from semtok import Tokenizer, Vocoder
from semtok.errors import CheckpointError, ConfigError, LayerError
from semtok.networks.generators import GeneratorConfig, ISTFTConfig
from semtok.training.__main__ import main
from semtok.training.config import load_config
from semtok.training.config_yaml import parse_yaml
from semtok.training.encoder.config import EncoderConfig, Target
from semtok.training.encoder.targets import FEATURES
from semtok.training.encoder.trainer import draw_mask, train_encoder
from semtok.training.kmeans.config import KMeansConfig
from semtok.training.vocoder.config import VocoderTrainingConfig
from semtok.training.vocoder.discriminators import Discriminators, SpectrogramDiscriminator
from semtok.training.vocoder.losses import MelLoss, Spectra, StftLoss
from semtok.training.vocoder.token_corpus import loudness_gain
from semtok.training.vocoder.trainer import draw_present, train_vocoder

CONFIGS = ROOT / "configs"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    copy_clips(folder)
    (folder / "broken.wav").write_bytes(b"no audio")
    return folder


@pytest.fixture(scope="module")
def encoder_config(clips, tmp_path_factory):
    return EncoderConfig(
        folder=str(tmp_path_factory.mktemp("runs") / "encoder"),
        data=[str(clips)],
        model={
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "conv_dim": [8, 8, 16],
            "conv_stride": [80, 2, 2],
            "conv_kernel": [320, 2, 2],
            "conv_bias": True,
            "feat_extract_norm": "layer",
            "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2,
            "hidden_dropout": 0.1,
            "attention_dropout": 0.0,
            "activation_dropout": 0.0,
            "feat_proj_dropout": 0.0,
            "layerdrop": 0.0,
        },
        targets=[
            Target(1, "mel", 20, (2, 8), 0.3, 16),
            Target(1, "harmonics", 20, (2, 8), 0.3, 16),
            Target(2, "mfcc", 20, (0, 39), 1.0, 39, masked=True),
        ],
        steps=6,
        batch_seconds=4,
        crop_seconds=2,
        learning_rate=1e-3,
        warmup_steps=2,
        mask_probability=0.1,
        mask_length=5,
        visible_weight=0.5,
        second_round_step=3,
        second_round_layer=1,
        target_hours=0.01,
        validation_clips=1,
        save_every=2,
    )


@pytest.fixture(scope="module")
def trained_encoder(encoder_config):
    train_encoder(encoder_config)
    return Path(encoder_config.folder) / "encoder"


@pytest.fixture(scope="module")
def kmeans_config(clips, trained_encoder):
    return KMeansConfig(
        folder=str(trained_encoder.parent.parent / "kmeans"),
        data=[str(clips)],
        encoder=str(trained_encoder),
        layers=[1, 2],
        codebook_sizes=[20, 10],
        normalize=True,
        hours=1.0,
    )


@pytest.fixture(scope="module")
def tokenizer_folder(kmeans_config, tmp_path_factory):
    config = tmp_path_factory.mktemp("configs") / "kmeans.yaml"
    config.write_text(json.dumps(dataclasses.asdict(kmeans_config)))  # JSON is YAML
    main(["kmeans", str(config)])
    return Path(kmeans_config.folder) / "tokenizer"


@pytest.fixture(scope="module")
def vocoder_config(clips, tokenizer_folder):
    return VocoderTrainingConfig(
        folder=str(tokenizer_folder.parent.parent / "vocoder"),
        data=[str(clips)],
        tokenizer=str(tokenizer_folder),
        embedding_dim=8,
        attention_dim=4,
        embeddings_from_centroids=True,
        generator=GeneratorConfig(istft=ISTFTConfig(320, 8, 16, 1, 640, 160)),
        steps=4,
        batch_size=2,
        crop_frames=20,
        learning_rate=1e-3,
        warmup_steps=1,
        adversarial_step=2,
        adversarial_batch_size=1,
        adversarial_crop_frames=16,
        adversarial_learning_rate=1e-4,
        mel_weight=1.0,
        feature_matching_weight=1.0,
        periods=[2, 3],
        period_channels=[2, 2],
        windows=[256],
        spectrogram_channels=2,
        target_rms=0.06,
        validation_clips=1,
        save_every=2,
    )


def test_steps_end_in_a_checkpoint_that_encodes_and_decodes(vocoder_config):
    train_vocoder(vocoder_config)
    folder = Path(vocoder_config.folder) / "checkpoint"
    tokenizer, vocoder = Tokenizer.from_pretrained(folder), Vocoder.from_pretrained(folder)
    tokens = tokenizer.encode(DATA / "arctic_axb_a0004.flac")
    assert tokens.layers == (1, 2) and tokens.codebook_sizes == (20, 10)
    assert len(tokens.codes[0, 0].unique()) > 3
    assert vocoder.decode(tokens, layers=[2]).shape == (1, tokens.codes.shape[2] * 320)
    log = [json.loads(line) for line in (Path(vocoder_config.folder) / "log.jsonl").read_text().splitlines()]
    assert {"valid_mel_all", "valid_mel_1", "valid_mel_2"} <= log[-1].keys()


def test_a_published_vocoder_is_trained_on(vocoder_config, tmp_path):
    train_vocoder(dataclasses.replace(vocoder_config, folder=str(tmp_path / "first")))
    published = str(tmp_path / "first" / "checkpoint")
    tuned = dataclasses.replace(
        vocoder_config, folder=str(tmp_path / "second"), tokenizer=published, start_from=published, learning_rate=0.0,
        embedding_dim=None, generator=None, embeddings_from_centroids=False, steps=1,
    )  # fmt: skip
    train_vocoder(tuned)
    first, second = (load_file(tmp_path / name / "checkpoint/vocoder.safetensors") for name in ("first", "second"))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=0)
    with pytest.raises(ConfigError, match=r"embedding_dim of the vocoder .* is 8, the config asks for 9"):
        train_vocoder(dataclasses.replace(tuned, embedding_dim=9))
    with pytest.raises(CheckpointError, match="decodes codebooks"):
        train_vocoder(dataclasses.replace(tuned, tokenizer="tiny"))
    with pytest.raises(LayerError, match=r"the tokenizer has no layers \[9\], only \[1, 2\]"):
        train_vocoder(dataclasses.replace(tuned, single_layers=[2, 9]))


def test_layer_dropout_is_uniform_and_never_drops_all():
    present = draw_present(20000, 5, torch.Generator().manual_seed(0))
    kept = torch.bincount(present.sum(1), minlength=6) / 20000
    torch.testing.assert_close(kept, torch.tensor([0, 0.2, 0.2, 0.2, 0.2, 0.2]), atol=0.02, rtol=0)
    torch.testing.assert_close(present.float().mean(0), torch.full((5,), 0.6), atol=0.02, rtol=0)
    more = draw_present(20000, 5, torch.Generator().manual_seed(0), single=0.5)
    kept = torch.bincount(more.sum(1), minlength=6) / 20000
    torch.testing.assert_close(kept, torch.tensor([0, 0.6, 0.1, 0.1, 0.1, 0.1]), atol=0.02, rtol=0)
    some = draw_present(20000, 5, torch.Generator().manual_seed(0), single=1, singles=[1, 4]).float().mean(0)
    torch.testing.assert_close(some, torch.tensor([0, 0.5, 0, 0, 0.5]), atol=0.02, rtol=0)


def test_masks_are_spans():
    mask = draw_mask(50, 400, 0.02, 10, torch.Generator().manual_seed(0))
    assert 0.12 < mask.float().mean() < 0.24
    edges = torch.nn.functional.pad(mask.int(), (1, 1)).diff(dim=1)
    spans = (edges == -1).nonzero()[:, 1] - (edges == 1).nonzero()[:, 1]
    assert spans[(edges == -1).nonzero()[:, 1] < 400].min() >= 10


def test_target_features_have_one_row_a_frame():
    waveform = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    shapes = {name: tuple(feature(waveform).shape) for name, feature in FEATURES.items()}
    assert shapes == {"mel": (49, 160), "harmonics": (49, 128), "mfcc": (49, 39)}


@pytest.mark.parametrize("loss", [MelLoss(16000, [(512, 64), (1024, 80)]), StftLoss([512, 1024])])
def test_spectral_losses_are_zero_for_equal_and_ordered_by_noise(loss):
    clean = torch.sin(torch.arange(8000) / 10)[None] * 0.1
    noise = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    same, little, more = (loss(Spectra(clean + level * noise), Spectra(clean)) for level in (0, 0.001, 0.01))
    assert same == 0 < little < more


def test_the_stft_loss_tells_high_harmonics_that_mel_bands_merge():
    times = torch.arange(16000)[None] / 16000
    tones, others = (sum(torch.sin(6.2832 * (5000 + 120 * k + offset) * times) for k in range(9)) for offset in (0, 60))
    mel, stft = MelLoss(16000, [(2048, 80)]), StftLoss([2048])
    noise = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    tones, others, noise = Spectra(tones), Spectra(others), Spectra(noise)
    assert stft(tones, others) / stft(tones, noise) > 2 * mel(tones, others) / mel(tones, noise)


def test_loudness_gain_respects_rms_and_peak():
    even, peaky = torch.full((1000,), 0.5), torch.zeros(1000).index_fill(0, torch.tensor([3]), 0.9)
    assert loudness_gain(even, 0.06) == pytest.approx(0.12)
    assert loudness_gain(peaky, 0.06) * 0.9 == pytest.approx(0.95)


KINDS = {"encoder": EncoderConfig, "kmeans": KMeansConfig, "vocoder": VocoderTrainingConfig}
STEPS = [path for path in sorted(CONFIGS.glob("*/*.yaml")) if path.stem.partition("_")[0] in KINDS]  # others: tasks


@pytest.mark.parametrize("path", STEPS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_configs_are_valid(path):
    config = load_config(path, KINDS[path.stem.partition("_")[0]])
    assert config.folder.startswith(f"runs/{path.parent.name}/")


def test_config_errors_name_the_file_and_the_key(tmp_path):
    path = tmp_path / "kmeans.yaml"
    good = (CONFIGS / "tiny/kmeans.yaml").read_text()
    for text, message in [
        (good + "\nlayer: 3\n", r"kmeans.yaml: unknown keys \['layer'\]; known are"),
        (good.replace("hours: ", "hour: "), r"unknown keys \['hour'\]"),
        (good.replace("normalize: true\n", ""), r"missing keys \['normalize'\]"),
        (good.replace("normalize: true", "normalize: 1"), "normalize: expected bool, got 1"),
        ("a: [", "is not YAML"),
        ("3", "expected keys and values, got 3"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_config(path, KMeansConfig)
    with pytest.raises(ConfigError, match="there is no config file"):
        load_config(tmp_path / "none.yaml", KMeansConfig)


@pytest.mark.parametrize(
    "text, value",
    [
        *[("1e-3", 0.001), ("1E6", 1e6), ("-.5", -0.5), ("2.", 2.0), ("1_000.5", 1000.5), ("-.inf", -math.inf)],
        *[("010", 10), ("1_000", 1000), ("+3", 3), ("08", 8), ("1:30", "1:30"), ("0x10", "0x10")],
        *[("no", "no"), ("on", "on"), ("true", True), ("False", False), ("2024-01-02", "2024-01-02")],
        *[("~", None), ("null", None), ("", None), ("'1e-3'", "1e-3"), ("1e", "1e"), ("e5", "e5"), (".", ".")],
    ],
)
def test_numbers_of_a_config_are_numbers_and_words_are_words(text, value):
    parsed = parse_yaml(f"entry: [{text}]" if text else "entry: [~]", "it")["entry"][0]
    assert (parsed, type(parsed)) == (value, type(value))


def test_configs_of_other_editors(tmp_path):
    config = tmp_path / "config.yaml"
    text = (ROOT / "configs/smoke/kmeans.yaml").read_text()
    config.write_text(text + "\n# \u00fcber", encoding="utf-8-sig")
    assert load_config(config, KMeansConfig) == load_config(ROOT / "configs/smoke/kmeans.yaml", KMeansConfig)
    config.write_text(text + "\n# \u00fcber", encoding="latin-1")
    with refuses(ConfigError, config, "UTF-8"):
        load_config(config, KMeansConfig)
    config.write_text(text + "\nseed: 1\nseed: 2\n")
    with refuses(ConfigError, config, "['seed']", "more than once"):
        load_config(config, KMeansConfig)


def test_whole_numbers_may_be_written_as_floats():
    config = load_config(ROOT / "configs/smoke/vocoder.yaml", VocoderTrainingConfig, ["steps=1e4", "learning_rate=1"])
    assert (config.steps, type(config.steps)) == (10_000, int)
    assert (config.learning_rate, type(config.learning_rate)) == (1.0, float)
    with refuses(ConfigError, "steps", "expected int", "1.5"):
        load_config(ROOT / "configs/smoke/vocoder.yaml", VocoderTrainingConfig, ["steps=1.5"])


def test_entries_are_set_on_the_command_line():
    path = CONFIGS / "tiny" / "vocoder.yaml"
    changes = ["generator.istft.width=64", "learning_rate=1e-4", "data=[a, b]", "data.1=c", "precision=null"]
    config = load_config(path, VocoderTrainingConfig, changes)
    assert config.generator.istft.width == 64 and config.generator.istft.blocks == 6
    assert (config.learning_rate, config.data, config.precision) == (1e-4, ["a", "c"], None)
    for change, message in [
        ("stepz=3", r"--set stepz=3: unknown keys \['stepz'\]; known are .*'steps'"),
        ("generator.istft.widht=3", r"unknown keys \['widht'\]; known are .*'width'"),
        ("steps", "expected key=value"),
        ("steps.more=3", "steps.more cannot be set"),
        ("steps=[", "steps cannot be set"),
        ("steps=many", "steps: expected int, got 'many'"),
        ("stft_weight=0", "give both stft_windows and a positive stft_weight or neither"),
        ("precision=half", "precision must be one of float32, bfloat16, float16, got 'half'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load_config(path, VocoderTrainingConfig, [change])


def test_the_learning_rate_decays_an_epoch_at_a_time():
    config = load_config(CONFIGS / "libritts-wavlm-large" / "vocoder.yaml", VocoderTrainingConfig)
    rates = [config.learning_rate_at(step, 1000) for step in (1, 1000, 1001, 2001)]
    assert rates == pytest.approx([2e-4, 2e-4, 2e-4 * 0.9999, 2e-4 * 0.9999**2], rel=1e-9)


def test_discriminators_judge_periods_scales_and_spectrograms():
    discriminators = Discriminators([2, 3], [2, 2], 3, [256], 2)
    judged = discriminators(torch.randn(2, 8960))
    scores = [score for score, _ in judged]
    # A period's signals, one a phase, are judged as clips of their own.
    assert [len(score) for score in scores] == [2 * 2, 2 * 3, 2, 2, 2, 2]
    assert [score.shape[-1] for score in scores[2:5]] == [140, 71, 36]
    assert [len(inner) for _, inner in judged] == [2, 2, 7, 7, 7, 5]
    assert discriminators.names == ["period_2", "period_3", "scale_1", "scale_2", "scale_4", "window_256"]


def test_spectrogram_discriminators_see_what_is_quiet_and_have_a_slope_in_silence():
    torch.manual_seed(0)
    discriminator = SpectrogramDiscriminator(256, 2)
    waveform = torch.randn(1, 2000, requires_grad=True)

    def first_map(waveform):
        first, silence = (discriminator(x)[1][0] for x in (waveform, torch.zeros_like(waveform)))
        return (first - silence).abs().mean()

    assert first_map(0.01 * waveform) > 0.2 * first_map(waveform)
    silent = torch.zeros(1, 2000, requires_grad=True)
    discriminator(silent)[0].sum().backward()
    assert silent.grad.isfinite().all() and silent.grad.any()
