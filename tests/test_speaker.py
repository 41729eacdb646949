"""Speaker conditioning: embeddings of voices, decoding with and without them, and the training of both."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from checkpoints import GENERATORS, make_tokenizer, make_vocoder
from helpers import CLIPS, ROOT, refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from stores import corpus_of

from semtok import Tokenizer, Vocoder, load_audio
from semtok.checkpoints.card import checkpoint_card
from semtok.checkpoints.config import CheckpointConfig
from semtok.errors import AudioError, ConfigError, SpeakerError
from semtok.evaluation import resynthesis
from semtok.networks.config import SpeakerConfig
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.networks.speaker import SpeakerEncoder
from semtok.speech.reading import Speech
from semtok.speech.store import Values
from semtok.training.config import load_config
from semtok.training.vocoder.config import SpeakerTrainingConfig, VocoderTrainingConfig
from semtok.training.vocoder.networks import start_network
from semtok.training.vocoder.token_corpus import TokenCorpus
from semtok.training.vocoder.trainer import VocoderTrainer, train_vocoder

DIM = 6
SMOKE = ROOT / "configs" / "smoke" / "vocoder_speaker.yaml"
SPEECH = [load_audio(path)[: 9000 + 4000 * number] for number, path in enumerate(CLIPS)]


def conditioned(vocoder, speaker, *, seed=0):
    """A random vocoder like this one, that takes a speaker and hears it."""
    config = dataclasses.replace(vocoder.config, speaker=speaker)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ScalableVocoder(config)
        torch.nn.init.normal_(network.speaker.map.weight)
    return Vocoder(config, network)


@pytest.fixture(scope="module", params=GENERATORS)
def vocoder(request, tokenizer):
    return conditioned(make_vocoder(tokenizer, request.param), SpeakerConfig(DIM, channels=16))


@pytest.fixture(scope="module")
def tokens(tokenizer):
    return tokenizer.encode(SPEECH)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return SpeakerEncoder(DIM, channels=16, sample_rate=16000).eval()


# --- the encoder


def test_the_encoder_of_the_documented_size_is_small():
    parameters = sum(p.numel() for p in SpeakerEncoder(192, channels=128, sample_rate=16000).parameters())
    assert 400_000 < parameters < 600_000


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(512, 6000), min_size=1, max_size=4), padding=st.integers(0, 2000))
def test_padding_takes_part_in_nothing(encoder, lengths, padding):
    clips = [SPEECH[number % 3][2000 : 2000 + length] for number, length in enumerate(lengths)]
    batch = torch.full((len(clips), max(lengths) + padding), 7.0)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    with torch.no_grad():
        together = encoder(batch, torch.tensor(lengths))
        alone = torch.cat([encoder(clip[None]) for clip in clips])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(len(clips)))


def test_an_embedding_does_not_depend_on_loudness_but_on_the_voice(encoder):
    with torch.no_grad():
        quiet, loud, other, silence = (
            encoder(clip[None]) for clip in (0.1 * SPEECH[0], SPEECH[0], SPEECH[1], torch.zeros(4000))
        )
    torch.testing.assert_close(quiet, loud, rtol=1e-3, atol=1e-4)
    assert (loud - other).abs().max() > 1e-3
    assert not silence.any()


# --- what the vocoder makes of speakers


def test_embeddings_of_recordings(vocoder):
    voices = vocoder.speaker(SPEECH)
    assert voices.shape == (3, DIM) and voices.dtype == torch.float32
    assert torch.equal(voices[1:2], vocoder.speaker(SPEECH[1]))
    assert vocoder.speaker([str(path) for path in CLIPS[:2]]).shape == (2, DIM)
    at_8k = vocoder.speaker(SPEECH[0].repeat_interleave(2), sample_rate=32000)
    assert torch.cosine_similarity(at_8k, voices[:1]) > 0.9
    padded = torch.stack([SPEECH[0], SPEECH[1][:9000]])
    assert torch.equal(vocoder.speaker(padded, lengths=[9000, 9000])[0], voices[0])
    with refuses(AudioError, "clip 0 has 300 samples", "at least 512"):
        vocoder.speaker(SPEECH[0][:300])


def test_the_speaker_is_heard_and_is_each_utterances_own(vocoder, tokens):
    voices = vocoder.speaker(SPEECH)
    together = vocoder.decode(tokens, speaker=voices)
    plain = vocoder.decode(tokens)
    assert (together - plain).abs().amax(dim=1).min() > 1e-3
    for number in range(len(tokens)):
        end = int(tokens.lengths[number]) * vocoder.hop_length
        alone = vocoder.decode(tokens[number], speaker=voices[number])
        torch.testing.assert_close(together[number : number + 1, :end], alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(vocoder.decode(tokens, speaker=voices[0]), vocoder.decode(tokens, speaker=voices[[0, 0, 0]]))
    torch.testing.assert_close(vocoder.decode(tokens, speaker=10 * voices), together, rtol=1e-3, atol=1e-4)


def test_no_speaker_is_the_same_beside_others(vocoder, tokens):
    voices = vocoder.speaker(SPEECH)
    voices[1] = 0
    mixed, plain = vocoder.decode(tokens, speaker=voices), vocoder.decode(tokens)
    torch.testing.assert_close(mixed[1], plain[1], rtol=1e-4, atol=1e-5)
    assert (mixed[0] - plain[0]).abs().max() > 1e-3


@pytest.mark.parametrize("speaker", [False, True])
def test_evaluation_tells_the_voice_of_each_clip_if_asked(tokenizer, vocoder, speaker):
    (outputs,) = resynthesis._resynthesise(tokenizer, vocoder, Speech([CLIPS[0].parent]).parts(1)[0], [(1,)], speaker)
    voice = vocoder.speaker(CLIPS[0]) if speaker else None
    expected = vocoder.decode(tokenizer.encode(CLIPS[0]), layers=[1], speaker=voice)
    torch.testing.assert_close(torch.from_numpy(outputs[1,]), expected[0], rtol=1e-4, atol=1e-5)


def test_streams_have_a_speaker_too(vocoder, tokens):
    voice = vocoder.speaker(SPEECH[2])[0]
    with vocoder.stream(speaker=voice) as stream:
        pieces = [stream.push(tokens[2].cut(start, start + 9)) for start in range(0, int(tokens.lengths[2]), 9)]
        pieces.append(stream.flush())
    torch.testing.assert_close(torch.cat(pieces), vocoder.decode(tokens[2], speaker=voice)[0], rtol=1e-4, atol=1e-5)


def test_what_is_no_speaker_is_refused(vocoder, tokens, tokenizer):
    with refuses(SpeakerError, f"shape [{DIM}], for all, or [3, {DIM}], got [2, {DIM}]"):
        vocoder.decode(tokens, speaker=torch.zeros(2, DIM))
    with refuses(SpeakerError, f"[1, {DIM}], got [{DIM + 1}]"):
        vocoder.stream(speaker=torch.zeros(DIM + 1))
    with refuses(SpeakerError, "floating-point tensor", "got a str"):
        vocoder.decode(tokens, speaker="voice.wav")
    with refuses(SpeakerError, "got a torch.int64 tensor"):
        vocoder.decode(tokens, speaker=torch.zeros(DIM, dtype=torch.int64))
    with refuses(SpeakerError, "NaN"):
        vocoder.decode(tokens, speaker=torch.full((DIM,), torch.nan))
    plain = make_vocoder(tokenizer, "istft")
    with refuses(SpeakerError, "cannot be told whose voice: leave speaker out"):
        plain.decode(tokens, speaker=torch.zeros(DIM))
    with refuses(SpeakerError, "no speaker encoder: it cannot be told whose voice"):
        plain.speaker(SPEECH)
    with refuses(SpeakerError, "no speaker encoder: it takes embeddings that are made elsewhere"):
        conditioned(plain, SpeakerConfig(DIM)).speaker(SPEECH)


@pytest.mark.parametrize("speaker", [SpeakerConfig(DIM, 16), SpeakerConfig(DIM)], ids=["encoder", "given"])
def test_checkpoints_keep_it(speaker, tokenizer, tokens, tmp_path, run):
    vocoder = conditioned(make_vocoder(tokenizer, "istft"), speaker)
    tokenizer.save_pretrained(tmp_path)
    vocoder.save_pretrained(tmp_path)
    again = Vocoder.from_pretrained(tmp_path)
    voice = torch.randn(DIM)
    assert again.config == vocoder.config
    assert torch.equal(again.decode(tokens, speaker=voice), vocoder.decode(tokens, speaker=voice))
    assert "takes a speaker" in run("info", tmp_path)[1]
    whence = "vocoder.speaker(audio)" if speaker.channels else "made elsewhere"
    assert whence in checkpoint_card(CheckpointConfig(1, vocoder=again.config), "me/voc").details["Speaker"]
    if speaker.channels:
        half = Vocoder.from_pretrained(tmp_path, dtype="bfloat16")
        assert half.speaker(SPEECH).dtype == torch.float32
        assert half.decode(tokens, speaker=half.speaker(SPEECH)).isfinite().all()


def test_without_it_a_config_says_nothing_of_speakers(tokenizer, tmp_path):
    make_vocoder(tokenizer, "istft").save_pretrained(tmp_path)
    assert "speaker" not in json.loads((tmp_path / "config.json").read_text())["vocoder"]


def test_the_command_takes_a_recording_of_the_voice(tokenizer, tmp_path, run):
    vocoder = conditioned(make_vocoder(tokenizer, "istft"), SpeakerConfig(DIM, 16))
    for part in (tokenizer, vocoder):
        part.save_pretrained(tmp_path / "checkpoint")
    for arguments in (["-o", tmp_path / "a.wav"], ["-o", tmp_path / "b.wav", "--speaker", CLIPS[1]]):
        assert run("resynth", CLIPS[0], "-c", tmp_path / "checkpoint", *arguments)[0] == 0
    told = vocoder.decode(tokenizer.encode(CLIPS[0]), speaker=vocoder.speaker(CLIPS[1])[0])[0]
    assert (load_audio(tmp_path / "b.wav") - told).abs().max() < 1e-4
    assert (load_audio(tmp_path / "a.wav") - told).abs().max() > 1e-3


# --- training


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speakers") / "tokenizer"
    make_tokenizer().save_pretrained(folder)
    return folder


def training_config(tokenizer_folder, name, **changes):
    """The smoke config with a folder of its own and changes to it."""
    config = load_config(SMOKE, VocoderTrainingConfig)
    places = {"folder": str(tokenizer_folder.parent / name), "data": [str(CLIPS[0].parent)]}
    return dataclasses.replace(config, tokenizer=str(tokenizer_folder), **places, **changes)


def test_the_speaker_encoder_learns_along(tokenizer_folder, monkeypatch):
    config, gradients = training_config(tokenizer_folder, "along"), []

    def step(self, number, learn=VocoderTrainer._learn):
        def noted(*arguments):
            weight = self.network.speaker_encoder.conv_pre.weight
            weight.register_hook(lambda gradient: gradients.append(float(gradient.abs().max())))
            return learn(self, *arguments)

        self._learn = noted
        return original(self, number)

    original = VocoderTrainer.step
    monkeypatch.setattr(VocoderTrainer, "step", step)
    train_vocoder(config)
    assert gradients[0] == 0 and gradients[-1] > 0  # the map of embeddings starts at zero
    vocoder = Vocoder.from_pretrained(f"{config.folder}/checkpoint")
    tokens = Tokenizer.from_pretrained(f"{config.folder}/checkpoint").encode(SPEECH)
    assert (vocoder.decode(tokens, speaker=vocoder.speaker(SPEECH)) - vocoder.decode(tokens)).abs().max() > 0
    log = (tokenizer_folder.parent / "along" / "log.jsonl").read_text().splitlines()
    assert {"valid_mel_all", "valid_mel_speaker"} <= json.loads(log[-1]).keys()


def test_a_vocoder_without_goes_on_with_it(tokenizer_folder):
    tokenizer = Tokenizer.from_pretrained(tokenizer_folder)
    published = make_vocoder(tokenizer, "istft")
    folder = tokenizer_folder.parent / "published"
    published.save_pretrained(folder)
    new = {"embedding_dim": None, "attention_dim": None, "generator": None, "start_from": str(folder)}
    new["embeddings_from_centroids"] = False
    config = training_config(tokenizer_folder, "on", **new)
    network, description = start_network(config, tokenizer)
    assert description.speaker == SpeakerConfig(16, 16)
    tokens, vocoder = tokenizer.encode(SPEECH), Vocoder(description, network)
    plain = published.decode(tokens)
    assert torch.equal(vocoder.decode(tokens), plain)
    assert torch.equal(vocoder.decode(tokens, speaker=vocoder.speaker(SPEECH)), plain)
    vocoder.save_pretrained(folder)
    with refuses(ConfigError, "speaker of the vocoder", "channels=16", "asks for None"):
        start_network(dataclasses.replace(config, speaker=None), tokenizer)


def test_embeddings_may_be_given(tokenizer_folder):
    file = tokenizer_folder.parent / "given.safetensors"
    given_ = SpeakerTrainingConfig(dim=DIM, embeddings=str(file), drop_probability=0.0)
    config = training_config(tokenizer_folder, "given", speaker=given_, learning_rate=0.1)
    with refuses(ConfigError, "the embeddings", file, "cannot be read"):
        train_vocoder(config)
    save_file({str(path): torch.randn(DIM) for path in CLIPS[1:]}, file)
    with refuses(ConfigError, f"lacks embeddings [{DIM}] for 1 of 3 clips, such as '{CLIPS[0]}'"):
        train_vocoder(config)
    save_file({str(path): torch.randn(DIM) for path in CLIPS}, file)
    train_vocoder(config)
    vocoder = Vocoder.from_pretrained(f"{config.folder}/checkpoint")
    assert vocoder.config.speaker == SpeakerConfig(DIM)
    assert vocoder.network.speaker.map.weight.any()


@pytest.fixture
def tokens_of_counted_samples(tmp_path):
    """Clips of 100, 60 and 25 frames of 10 samples, whose samples count up from 1: each says where it is."""
    frames = np.array([100, 60, 25])
    corpus = corpus_of(tmp_path, [np.arange(1, 1 + 10 * count).astype(np.int16) for count in frames])
    codes = Values.of(np.zeros((frames.sum(), 2), np.uint16), frames)
    return TokenCorpus(corpus, codes, np.ones(3, np.float32), 10)


def test_references_are_other_parts_of_the_same_clip(tokenizer_folder, tokens_of_counted_samples):
    speaker = SpeakerTrainingConfig(dim=DIM, channels=8, reference_frames=40, drop_probability=0.3)
    config = training_config(tokenizer_folder, "drawn", speaker=speaker, batch_size=64)
    plain = dataclasses.replace(config, speaker=None)
    clips, corpus, without = np.arange(3), tokens_of_counted_samples, 0
    ends = torch.tensor([1000, 1600, 1850])
    for step in (1, 2):
        codes, waveforms, voices = corpus.batch(clips, config, step, 0)
        assert voices.shape == (64, 400)
        for waveform, voice in zip(waveforms, voices, strict=True):
            heard, decoded = (32768 * voice).unique().long(), (32768 * waveform).unique().long()
            without += not voice.any()
            assert not set(heard.tolist()) & set(decoded.tolist())
            if voice.any():
                assert len(torch.searchsorted(ends, torch.cat([heard, decoded])).unique()) == 1
        # what is decoded does not depend on it
        assert all(map(torch.equal, corpus.batch(clips, plain, step, 0), (codes, waveforms)))
    assert without + 15 > 0.3 * 128 and without < 0.6 * 128
    # a clip of 25 frames has 5 beside a crop of 20: too few
    assert not corpus.batch(clips[2:], config, 1, 0)[2].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": None}, "give either channels"),
        ({"embeddings": "a.safetensors"}, "give either channels"),
        ({"drop_probability": 1.5}, "drop_probability must be in 0 ... 1"),
        ({"reference_frames": 24}, "reference_frames at least 25"),
    ],
)
def test_settings_that_make_no_sense(changes, message):
    with refuses(ConfigError, message):
        SpeakerTrainingConfig(**{"dim": DIM, "channels": 8} | changes)
