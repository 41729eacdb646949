"""Distillation from teachers: Whisper's encoder and one of semtok's families, on seconds of audio."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders import tiny_model
from helpers import DATA
from transformers import WavLMModel, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from semtok import load_audio
from semtok.errors import CheckpointError, ConfigError
from semtok.training.data.corpus import load_corpus
from semtok.training.encoder.config import (
    AttentionDecay,
    DisturbanceConfig,
    EncoderConfig,
    Regression,
    Teacher,
)
from semtok.training.encoder.teachers import open_teacher, teacher_features
from semtok.training.encoder.trainer import build_encoder, train_encoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    sizes = {"d_model": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = WhisperConfig(
            **sizes, encoder_layers=3, decoder_layers=1, decoder_ffn_dim=32, vocab_size=100, pad_token_id=0,
            bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, init_std=0.2,
        )  # fmt: skip
        WhisperForConditionalGeneration(config).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def wavlm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wavlm")
    tiny_model("wavlm-large").save_pretrained(folder)
    return folder


@pytest.fixture
def corpus(tmp_path):
    return load_corpus([DATA], tmp_path / "audio", sample_rate=16000)


@pytest.fixture
def config(whisper, wavlm, tmp_path):
    return EncoderConfig(
        folder=str(tmp_path / "runs" / "encoder"),
        data=[str(DATA)],
        model={
            "model_type": "wavlm",
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "conv_dim": [8, 8],
            "conv_stride": [160, 2],
            "conv_kernel": [400, 3],
            "feat_extract_norm": "layer",
            "do_stable_layer_norm": True,
            "num_conv_pos_embeddings": 3,
            "num_conv_pos_embedding_groups": 2,
            "layerdrop": 0.0,
        },
        attention_decay=AttentionDecay(before=[0.5, 0.1], after=[1.0, 0.2]),
        teachers=[Teacher(str(whisper), 2, at=2, components=8), Teacher(str(wavlm), 3, at=1, components=4, weight=0.5)],
        regressions=[Regression(1, "mel", 0.5)],
        disturbances=DisturbanceConfig(clips=0.5),
        steps=4,
        batch_seconds=4,
        crop_seconds=2,
        learning_rate=1e-3,
        warmup_steps=1,
        validation_clips=1,
        save_every=2,
        log_every=1,
    )


def features(teachers, corpus, folder, **rates):
    rates = {"sample_rate": 16000, "hop_length": 320} | rates
    return teacher_features(teachers, corpus, folder, device=CPU, **rates)


def test_smoke_run_learns_from_both_teachers(config):
    train_encoder(config)
    trained = WavLMModel.from_pretrained(Path(config.folder) / "encoder")
    assert all((layer.attention.gru_rel_pos_const == 1).all() for layer in trained.encoder.layers)
    log = [json.loads(line) for line in (Path(config.folder) / "log.jsonl").read_text().splitlines()]
    assert {"teacher_1", "teacher_2", "mel_1"} <= log[0].keys() and {"valid_teacher_2"} <= log[-1].keys()
    assert (Path(config.folder) / "encoder" / "model.safetensors").exists()


def test_targets_are_white_and_lie_where_the_student_looks(whisper, corpus, tmp_path):
    (found,) = features([Teacher(str(whisper), 2, at=1, components=8)], corpus, tmp_path / "teachers")
    clips = [torch.from_numpy(found.values[clip].astype(np.float32)) for clip in range(len(corpus))]
    torch.testing.assert_close(
        torch.cov(torch.cat(clips).T), torch.eye(8), atol=0.35, rtol=0
    )  # packed in another order than fitted
    # a student centred one hop and 40 samples later takes the teacher's next frame, and repeats the last one
    assert torch.equal(found.crop(np.array([1]), np.array([3]), 2, 360.0)[0], clips[1][4:6])
    end = len(clips[1])
    assert torch.equal(found.crop(np.array([1]), np.array([end - 1]), 3, 360.0)[0], clips[1][-1].expand(3, 8))


def test_whisper_hears_a_packed_clip_as_by_itself(whisper):
    teacher = open_teacher(Teacher(str(whisper), 1, at=1, components=1), 1, CPU)
    clips = [load_audio(path) for path in sorted(DATA.glob("*.flac"))]
    (together,), ((alone,),) = teacher.features(clips, [1]), teacher.features(clips[:1], [1])
    assert [len(frames) for frames in together] == [len(clip) // 320 for clip in clips]
    # the first clip lies in the same place of its window; what follows changes little through attention
    assert torch.nn.functional.cosine_similarity(together[0], alone).mean() > 0.97


def test_long_clips_are_cut_to_whispers_window(whisper):
    teacher = open_teacher(Teacher(str(whisper), 1, at=1, components=1), 1, CPU)
    ((frames,),) = teacher.features([torch.randn(16000 * 31) * 0.1], [1])
    assert len(frames) == 31 * 50


def test_another_teacher_or_other_audio_gets_other_targets(whisper, corpus, tmp_path):
    def targets(corpus=corpus, **changes):
        teacher = dataclasses.replace(Teacher(str(whisper), 2, at=1, components=8), **changes)
        (found,) = features([teacher], corpus, tmp_path / "teachers")
        return np.concatenate([found.values[clip] for clip in range(len(corpus))])

    first = targets()
    assert targets(components=7).shape[1] == 7
    assert not np.array_equal(targets(layer=1), first)
    (tmp_path / "one").mkdir()
    shutil.copy(DATA / "ljspeech_LJ001-0004.flac", tmp_path / "one")
    fewer = load_corpus([tmp_path / "one"], tmp_path / "fewer", sample_rate=16000)
    assert len(targets(corpus=fewer)) == fewer.lengths.sum() // 320
    other = Path(shutil.copytree(whisper, tmp_path / "other" / whisper.name))
    model = WhisperForConditionalGeneration.from_pretrained(other)
    with torch.no_grad():
        model.model.encoder.conv1.bias.add_(1)
    model.save_pretrained(other)
    assert not np.array_equal(targets(encoder=str(other)), first)
    assert np.array_equal(targets(), first)


def test_wrong_teachers_are_refused(whisper, wavlm, corpus, tmp_path):
    with pytest.raises(ConfigError, match="has layers 0 to 3, asked for layer 4"):
        features([Teacher(str(whisper), 4, at=1, components=8)], corpus, tmp_path)
    with pytest.raises(ConfigError, match="have 32 dimensions, 33 components"):
        features([Teacher(str(wavlm), 2, at=1, components=33)], corpus, tmp_path)
    with pytest.raises(ConfigError, match="16000 Hz with 50 frames a second, the student at 16000 Hz with 100"):
        features([Teacher(str(wavlm), 2, at=1, components=8)], corpus, tmp_path, hop_length=160)
    text = tmp_path / "bert"
    text.mkdir()
    (text / "config.json").write_text(json.dumps({"model_type": "bert", "num_hidden_layers": 2}))
    with pytest.raises(CheckpointError, match=r"type 'bert'"):
        features([Teacher(str(text), 1, at=1, components=8)], corpus, tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        features([Teacher("nowhere", 1, at=1, components=8)], corpus, tmp_path)


def test_a_student_that_has_no_such_layer_is_refused(config):
    with pytest.raises(ConfigError, match=r"has layers 0 to 2, but something is to be learnt at \[5\]"):
        train_encoder(dataclasses.replace(config, teachers=[], regressions=[Regression(5, "mel", 1.0)]))
    with pytest.raises(ConfigError, match="give at least one"):
        dataclasses.replace(config, teachers=[], regressions=[])


def test_attention_looks_near_first(config):
    model = build_encoder(config).eval()
    attention = model.encoder.layers[0].attention
    bias = attention.compute_bias(200, 200)  # [heads, queries, keys]
    query = bias[:, 100]
    assert (query[:, 100].abs() < 0.1).all()
    torch.testing.assert_close(1.75 * query[:, 110], torch.tensor([-10.0, -2.0]), rtol=0.1, atol=0)
    torch.testing.assert_close(1.75 * query[:, 90], torch.tensor([-5.0, -1.0]), rtol=0.1, atol=0)
    assert (query[:, 101:].diff() <= 0).all() and (query[:, :100].diff() >= 0).all()
    with pytest.raises(ConfigError, match="a number for each of its 2 heads"):
        build_encoder(dataclasses.replace(config, attention_decay=AttentionDecay([1.0], [1.0])))


def test_a_trained_encoder_can_be_made_to_look_near_again(config, tmp_path):
    build_encoder(config).save_pretrained(tmp_path / "trained")
    nearer = dataclasses.replace(
        config,
        model={"layerdrop": 0.0},
        start_from=str(tmp_path / "trained"),
        attention_decay=AttentionDecay([2.0, 1.0], [2.0, 1.0]),
    )
    bias = build_encoder(nearer).encoder.layers[0].attention.compute_bias(30, 30)
    torch.testing.assert_close(1.75 * bias[:, 10, 20], torch.tensor([-20.0, -10.0]), rtol=0.1, atol=0)


def test_splits_are_left_out(tmp_path):
    shutil.copy(DATA / "arctic_axb_a0004.flac", tmp_path / "a.flac")
    shutil.copy(DATA / "ljspeech_LJ001-0004.flac", tmp_path / "b.flac")
    (tmp_path / "manifest.csv").write_text("path,split\na.flac,train\nb.flac,test\n")
    corpus = load_corpus([tmp_path], tmp_path / "cache", sample_rate=16000, leave_out_splits=["test"])
    assert len(corpus) == 1
