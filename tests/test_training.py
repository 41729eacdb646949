"""Training on seconds of audio: every step runs, resumes as if unbroken, and leaves a checkpoint that decodes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.cluster import KMeans as ReferenceKMeans

from semtok import Tokenizer, Vocoder
from semtok.config import GeneratorConfig, ISTFTConfig
from semtok.errors import AudioError, ConfigError
from semtok.training.__main__ import main
from semtok.training.config import EncoderConfig, KMeansConfig, Target, VocoderTrainingConfig, load_config
from semtok.training.data import Corpus, crop_batch, find_clips, length_batches, load_corpus
from semtok.training.encoder import draw_mask, train_encoder
from semtok.training.kmeans import KMeans
from semtok.training.losses import MelLoss
from semtok.training.targets import FEATURES
from semtok.training.vocoder import draw_present, loudness_gain, train_vocoder

DATA = Path(__file__).parent / "data"
CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for path in DATA.glob("*.flac"):
        shutil.copy(path, folder)
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
            "hidden_dropout": 0.0,
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
    main(["kmeans", "--config", str(config)])
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


def test_encoder_run_resumed_equals_an_unbroken_one(encoder_config, trained_encoder, tmp_path):
    broken = dataclasses.replace(encoder_config, folder=str(tmp_path / "encoder"))
    run = Stopping(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        run(train_encoder, broken)
    train_encoder(broken)
    resumed, unbroken = (load_file(f / "model.safetensors") for f in (tmp_path / "encoder/encoder", trained_encoder))
    for name, tensor in unbroken.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=0)


def test_vocoder_run_resumed_equals_an_unbroken_one(vocoder_config, tmp_path):
    unbroken, broken = (dataclasses.replace(vocoder_config, folder=str(tmp_path / n / "vocoder")) for n in "ab")
    train_vocoder(unbroken)
    with pytest.raises(KeyboardInterrupt):
        Stopping(stop_after=3)(train_vocoder, broken)
    train_vocoder(broken)
    first, second = (load_file(Path(c.folder) / "checkpoint/vocoder.safetensors") for c in (unbroken, broken))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=0)


class Stopping:
    """Runs a training function and interrupts it in its `stop_after + 1`-th step, as Ctrl-C would."""

    def __init__(self, stop_after: int) -> None:
        self.left = stop_after

    def __call__(self, train, config):
        from semtok.training import encoder, vocoder

        kind = encoder.Trainer if train is train_encoder else vocoder.VocoderTrainer
        original = kind.step

        def step(trainer, *arguments):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            return original(trainer, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "step", step)
            train(config)


def test_unreadable_clips_are_skipped_and_listed(clips, tmp_path):
    corpus = load_corpus([clips], tmp_path, sample_rate=16000)
    assert len(corpus) == 3
    skipped = json.loads((tmp_path / "index.json").read_text())["skipped"]
    assert [Path(name).name for name in skipped] == ["broken.wav"]
    with pytest.raises(AudioError, match=r"no audio below .*empty"):
        find_clips([tmp_path / "empty"])


def test_batches_hold_every_clip_once_an_epoch_on_the_frame_grid():
    lengths = np.array([9000, 20000, 31000, 8000, 50000])
    corpus = Corpus(np.arange(lengths.sum(), dtype=np.int64).astype(np.int16), np.concatenate([[0], lengths.cumsum()]))
    batches = length_batches(lengths, np.arange(5), 40000, 32000, np.random.default_rng(0))
    seen: list[int] = []
    while len(seen) < 5:
        clips = next(batches)
        seen += clips.tolist()
        crops, starts = crop_batch(corpus, clips, 32000, 320, np.random.default_rng(1))
        assert crops.numel() <= 40000 or len(clips) == 1
        for clip, start, crop in zip(clips, starts, crops, strict=True):
            assert torch.equal(crop, corpus.waveform(clip, start * 320, len(crop)))
    assert sorted(seen) == [0, 1, 2, 3, 4]


def test_kmeans_is_as_good_as_scikit_learns():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(30, 8, generator=generator) * 3
    points = centres[torch.randint(30, (3000,), generator=generator)] + torch.randn(3000, 8, generator=generator)
    ours = KMeans(40, iterations=50).fit(points)
    reference = ReferenceKMeans(40, n_init=1, random_state=0).fit(points.numpy())
    assert ours.inertia_ < 1.05 * reference.inertia_ / len(points)
    assert ours.inertia_ == pytest.approx(
        float((points - ours.centroids_[ours.predict(points)]).square().sum(1).mean()), rel=0.02
    )
    assert len(ours.predict(points).unique()) == 40


def test_kmeans_fills_every_cluster_and_refuses_too_few_points():
    points = torch.cat([torch.zeros(50, 2), torch.eye(2).repeat(3, 1) * torch.arange(1, 7)[:, None]])
    assert len(KMeans(6).fit(points).predict(points).unique()) == 6
    with pytest.raises(ValueError, match="3 points cannot make 4 clusters"):
        KMeans(4).fit(torch.zeros(3, 2))


def test_layer_dropout_is_uniform_and_never_drops_all():
    present = draw_present(20000, 5, torch.Generator().manual_seed(0))
    kept = torch.bincount(present.sum(1), minlength=6) / 20000
    torch.testing.assert_close(kept, torch.tensor([0, 0.2, 0.2, 0.2, 0.2, 0.2]), atol=0.02, rtol=0)
    torch.testing.assert_close(present.float().mean(0), torch.full((5,), 0.6), atol=0.02, rtol=0)


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


def test_mel_loss_is_zero_for_equal_and_ordered_by_noise():
    loss = MelLoss(16000)
    clean = torch.sin(torch.arange(8000) / 10)[None] * 0.1
    noise = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    assert loss(clean, clean) == 0
    assert 0 < loss(clean + 0.001 * noise, clean) < loss(clean + 0.01 * noise, clean)


def test_loudness_gain_respects_rms_and_peak():
    even, peaky = torch.full((1000,), 0.5), torch.zeros(1000).index_fill(0, torch.tensor([3]), 0.9)
    assert loudness_gain(even, 0.06) == pytest.approx(0.12)
    assert loudness_gain(peaky, 0.06) * 0.9 == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("name", "kind"), [("encoder", EncoderConfig), ("kmeans", KMeansConfig), ("vocoder", VocoderTrainingConfig)]
)
def test_configs_of_the_bundled_checkpoint_are_valid(name, kind):
    assert load_config(CONFIGS / "tiny" / f"{name}.yaml", kind).folder == f"runs/tiny/{name}"


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
