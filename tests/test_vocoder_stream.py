"""Long tokens in windows, and tokens that arrive bit by bit: always the waveform of one pass over all of them."""

from __future__ import annotations

import copy
import dataclasses
import json
from itertools import pairwise

import pytest
import torch
from checkpoints import GENERATORS, draw_tokens
from helpers import CLIPS, changed_tokens, refuses
from hypothesis import given, settings
from hypothesis import strategies as st

from semtok import Tokenizer, Tokens, Vocoder, load_audio
from semtok.cli import tokens as commands
from semtok.errors import ConfigError, LayerError, TokensError
from semtok.networks.generators import GeneratorConfig, HiFiGANConfig, ISTFTConfig
from semtok.networks.scalable_vocoder import ScalableVocoder

WINDOW = 60


@pytest.fixture(scope="module", params=GENERATORS)
def vocoder(request):
    return Vocoder.from_pretrained(request.getfixturevalue(f"{request.param}_folder"))


@pytest.fixture(scope="module")
def tiny():
    return Vocoder.from_pretrained("tiny")


@pytest.fixture(scope="module")
def speech():
    """Tokens of a recording, by `tiny`."""
    return Tokenizer.from_pretrained("tiny").encode(CLIPS[0])


def push_all(stream, tokens, cuts):
    """The whole answer [samples] to pushes that end at these frames."""
    ends = [*cuts, int(tokens.lengths)]
    answers = [stream.push(tokens.cut(start, stop)) for start, stop in zip([0, *cuts], ends, strict=True)]
    return torch.cat([*answers, stream.flush()])


# --- receptive fields


@pytest.mark.parametrize(
    "config",
    [
        ISTFTConfig(hop_length=320, width=8, hidden=8, blocks=2, n_fft=640, stft_hop_length=160),
        ISTFTConfig(hop_length=320, width=8, hidden=8, blocks=1, n_fft=1280, stft_hop_length=320),
        ISTFTConfig(hop_length=80, width=8, hidden=8, blocks=1, n_fft=320, stft_hop_length=80),
        ISTFTConfig(hop_length=320, width=8, hidden=8, blocks=2, n_fft=640, stft_hop_length=160, look_ahead=5),
        ISTFTConfig(hop_length=320, width=8, hidden=8, blocks=2, n_fft=640, stft_hop_length=160, look_ahead=1),
        HiFiGANConfig(
            channels=32,
            upsample_factors=(5, 4, 4, 2, 2),
            upsample_kernel_sizes=(11, 8, 8, 4, 4),
            resblock_kernel_sizes=(3, 7, 11),
            resblock_dilations=(1, 3, 5),
        ),
        HiFiGANConfig(
            channels=8,
            upsample_factors=(2, 3),
            upsample_kernel_sizes=(8, 3),
            resblock_kernel_sizes=(1, 3),
            resblock_dilations=(2,),
            padding="zeros",
        ),
    ],
    ids=[
        "istft",
        "istft-wide-windows",
        "istft-short-frames",
        "istft-5-ahead",
        "istft-1-ahead",
        "hifigan",
        "hifigan-other-kernels",
    ],
)
def test_receptive_frames_are_those_that_matter(config):
    """Gradients of the samples of a frame, as they reach its receptive field however faintly, and nothing else."""
    generator = config.build(4).double()
    features = torch.randn(1, 80, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features.requires_grad_()
    generator(features).view(80, generator.hop_length)[40].sum().backward()
    reached = features.grad[0].abs().sum(1).nonzero()[:, 0]
    before, after = generator.receptive_frames
    assert (int(reached.min()), int(reached.max())) == (40 - before, 40 + after)


def test_a_look_ahead_is_that_of_streams_and_stands_in_the_config(istft_folder, tmp_path):
    assert "look_ahead" not in (istft_folder / "config.json").read_text()
    config = Vocoder.from_pretrained(istft_folder).config
    generator = dataclasses.replace(config.generator.istft, look_ahead=3)
    config = dataclasses.replace(config, generator=GeneratorConfig(istft=generator))
    Vocoder(config, ScalableVocoder(config)).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["vocoder"]["generator"]["istft"]["look_ahead"] == 3
    live = Vocoder.from_pretrained(tmp_path)
    tokens = draw_tokens(live, [70])
    with live.stream() as stream:
        assert stream.latency_seconds == pytest.approx(0.06)
        torch.testing.assert_close(push_all(stream, tokens, [1, 9, 30]), live.decode(tokens)[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("look_ahead", [0, -1, 12])
def test_a_look_ahead_that_cannot_be_is_refused(look_ahead):
    with refuses(ConfigError, "look_ahead must be 1 frames", f"to 10, got {look_ahead}"):
        ISTFTConfig(320, width=8, hidden=8, blocks=2, n_fft=640, stft_hop_length=160, look_ahead=look_ahead)


# --- long tokens, in windows


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(0, 5 * WINDOW), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_windows_make_the_waveform_of_one_pass(vocoder, lengths, seed):
    tokens = draw_tokens(vocoder, lengths, seed=seed)
    whole = vocoder.decode(tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semtok.networks.decoding._WINDOW_FRAMES", WINDOW)
        patch.setattr("semtok.networks.decoding._BATCH_FRAMES", 3 * WINDOW)
        torch.testing.assert_close(vocoder.decode(tokens), whole, rtol=0, atol=2e-6)


def test_windows_bound_what_the_network_takes(vocoder, monkeypatch):
    tokens = draw_tokens(vocoder, [1000, 30, 700, 200])
    whole, taken = vocoder.decode(tokens), []
    monkeypatch.setattr("semtok.networks.decoding._WINDOW_FRAMES", WINDOW)
    monkeypatch.setattr("semtok.networks.decoding._BATCH_FRAMES", 3 * WINDOW)
    vocoder = copy.deepcopy(vocoder)
    vocoder.network.register_forward_pre_hook(lambda module, arguments: taken.append(arguments[0].shape))
    torch.testing.assert_close(vocoder.decode(tokens), whole, rtol=0, atol=2e-6)
    assert all(batch * frames <= 3 * WINDOW and frames <= WINDOW for batch, _, frames in taken)
    assert [batch for batch, _, frames in taken if frames == WINDOW][:-1].count(3) > 5
    before, after = vocoder.network.generator.receptive_frames
    assert abs(sum(batch for batch, _, _ in taken) - 1 - 1900 / (WINDOW - before - after)) < 4


def test_joints_of_windows_cannot_be_heard(tiny, speech, monkeypatch):
    """A click is a jump between two samples that the recording does not have there."""
    tokens = changed_tokens(speech, codes=speech.codes.repeat(1, 1, 4), lengths=4 * speech.lengths)
    whole = tiny.decode(tokens)[0]
    monkeypatch.setattr("semtok.networks.decoding._WINDOW_FRAMES", WINDOW)
    windowed = tiny.decode(tokens)[0]
    assert not torch.equal(windowed, whole)
    torch.testing.assert_close(windowed.diff(), whole.diff(), rtol=0, atol=1e-5)
    # without the context that a window is shown they could
    monkeypatch.setattr(type(tiny.network.generator), "receptive_frames", (0, 0))
    cut = tiny.decode(tokens)[0]
    joints = torch.arange(WINDOW, int(tokens.lengths), WINDOW) * 320
    assert (cut.diff() - whole.diff())[joints - 1].abs().mean() > 10 * (cut.diff() - whole.diff()).abs().mean()


# --- tokens that arrive


@settings(max_examples=25, deadline=None)
@given(data=st.data(), length=st.integers(0, 100), seed=st.integers(0, 99))
def test_a_stream_makes_the_waveform_of_one_pass(vocoder, data, length, seed):
    tokens = draw_tokens(vocoder, [length], seed=seed)
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=12)))
    layers = data.draw(st.permutations(vocoder.layers))[: data.draw(st.integers(1, 3))]
    with vocoder.stream(layers=layers) as stream:
        streamed = push_all(stream, tokens, cuts)
    torch.testing.assert_close(streamed, vocoder.decode(tokens, layers=layers)[0], rtol=0, atol=2e-6)


def test_a_stream_of_speech_has_no_joints(tiny, speech):
    with tiny.stream(layers=[1, 7]) as stream:
        streamed = push_all(stream, speech, list(range(1, int(speech.lengths), 7)))
    whole = tiny.decode(speech, layers=[1, 7])[0]
    torch.testing.assert_close(streamed, whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(streamed.diff(), whole.diff(), rtol=0, atol=1e-5)


def test_a_frame_is_answered_once_what_it_depends_on_is_there(vocoder):
    tokens = draw_tokens(vocoder, [60])
    vocoder, decoded = copy.deepcopy(vocoder), []
    vocoder.network.register_forward_pre_hook(lambda module, arguments: decoded.append(arguments[0].shape[2]))
    before, after = vocoder.network.generator.receptive_frames
    stream = vocoder.stream()
    assert stream.latency_seconds == pytest.approx(after / 50)
    answers = [len(stream.push(tokens.cut(frame, frame + 1))) for frame in range(60)]
    assert answers == [0] * after + [320] * (60 - after)
    assert len(stream.flush()) == after * 320
    assert max(decoded) <= before + 1 + after, "a push costs the same however long the utterance"


def test_a_longer_look_ahead_is_closer_to_the_whole(tiny, speech):
    whole = tiny.decode(speech)[0]
    decibels = []
    for seconds, frames in [(0.0, 0), (0.08, 4), (0.16, 8), (0.24, 12), (9.0, 22)]:
        with tiny.stream(look_ahead_seconds=seconds) as stream:
            assert stream.latency_seconds == pytest.approx(frames / 50)
            assert len(stream.push(speech.cut(0, 30))) == (30 - frames) * 320
            assert len(stream.push(speech.cut(30, 32))) == 2 * 320
        with tiny.stream(look_ahead_seconds=seconds) as stream:
            error = push_all(stream, speech, range(8, int(speech.lengths), 8)) - whole
        decibels.append(float(10 * torch.log10(whole.square().sum() / error.square().sum())))
    assert all(longer > shorter + 3 for shorter, longer in pairwise(decibels))
    assert decibels[-2] > 50, "0.24 s, which the docs recommend, cannot be heard"
    assert decibels[-1] > 100


@pytest.mark.parametrize("seconds", [-0.1, float("nan"), float("inf")])
def test_a_look_ahead_that_makes_no_sense(vocoder, seconds):
    with refuses(TokensError, f"look_ahead_seconds must be 0 or more and finite, or None, got {seconds}"):
        vocoder.stream(look_ahead_seconds=seconds)


def test_several_streams_at_once(vocoder):
    utterances = list(draw_tokens(vocoder, [50, 50, 50]))
    streams = [vocoder.stream() for _ in utterances]
    answers = [
        [stream.push(tokens.cut(start, start + 10)) for stream, tokens in zip(streams, utterances, strict=True)]
        for start in range(0, 50, 10)
    ]
    answers.append([stream.flush() for stream in streams])
    for streamed, tokens in zip(map(torch.cat, zip(*answers, strict=True)), utterances, strict=True):
        torch.testing.assert_close(streamed, vocoder.decode(tokens)[0], rtol=0, atol=2e-6)


def test_nothing_pushed_is_nothing_heard(vocoder):
    with vocoder.stream() as stream:
        assert stream.push(draw_tokens(vocoder, [0])).shape == (0,)
        assert stream.flush().shape == (0,)
    with vocoder.stream() as stream:
        assert stream.flush().shape == (0,)


@pytest.mark.parametrize("end", [lambda stream: stream.flush(), lambda stream: stream.__exit__(None, None, None)])
def test_a_stream_that_has_ended(vocoder, end):
    stream = vocoder.stream()
    stream.push(draw_tokens(vocoder, [5]))
    end(stream)
    with refuses(TokensError, "this stream has ended: open another one"):
        stream.push(draw_tokens(vocoder, [5]))
    with refuses(TokensError, "this stream has ended: open another one"):
        stream.flush()


def test_what_a_stream_refuses_is_not_taken(vocoder):
    tokens = draw_tokens(vocoder, [70])
    with vocoder.stream() as stream:
        answers = [stream.push(tokens.cut(0, 40))]
        with refuses(TokensError, "these tokens are of tokenizer another"):
            stream.push(changed_tokens(tokens, fingerprint="another"))
        with refuses(TokensError, "a stream takes the tokens of one utterance, got a batch of 2"):
            stream.push(Tokens.cat([tokens, tokens]))
        with refuses(TokensError, "differ in their layers: (1, 3, 4) and (1, 3)"):
            stream.push(tokens.select([1, 3]))
        with refuses(TokensError, "expected Tokens as Tokenizer.encode gives them, got Tensor"):
            stream.push(tokens.codes)
        answers += [stream.push(tokens.cut(40, 70)), stream.flush()]
    torch.testing.assert_close(torch.cat(answers), vocoder.decode(tokens)[0], rtol=0, atol=2e-6)
    with vocoder.stream(layers=[9]) as stream, refuses(LayerError, "this Tokens has no layers [9], only [1, 3, 4]"):
        stream.push(tokens)


# --- from the command line


def test_long_tokens_are_written_piece_by_piece(run, istft_folder, tmp_path, monkeypatch):
    vocoder = Vocoder.from_pretrained(istft_folder)
    tokens, decoded = draw_tokens(vocoder, [333]), []
    tokens.save(tmp_path / "long.safetensors")
    whole, forward = vocoder.decode(tokens)[0], ScalableVocoder.forward
    monkeypatch.setattr(commands, "_PIECE_SECONDS", 1)
    monkeypatch.setattr(
        ScalableVocoder,
        "forward",
        lambda self, codes, *rest, **options: decoded.append(codes.shape[2]) or forward(self, codes, *rest, **options),
    )
    code, out, _ = run("decode", tmp_path / "long.safetensors", "-o", tmp_path / "long.wav", "-c", istft_folder)
    assert (code, out[:22]) == (0, "decoded 1 file, 6.7 s ")
    assert len(decoded) > 5
    assert max(decoded) <= 50 + sum(vocoder.network.generator.receptive_frames)
    written = load_audio(tmp_path / "long.wav")
    torch.testing.assert_close(written, whole, rtol=0, atol=1e-4)


def test_a_stop_while_writing_leaves_nothing(run, istft_folder, tmp_path, monkeypatch):
    draw_tokens(Vocoder.from_pretrained(istft_folder), [333]).save(tmp_path / "long.safetensors")
    monkeypatch.setattr(commands, "_PIECE_SECONDS", 1)
    pieces = commands._decode_pieces

    def stop_after_two(*arguments):
        for number, piece in enumerate(pieces(*arguments)):
            if number == 2:
                raise TokensError("enough")
            yield piece

    monkeypatch.setattr(commands, "_decode_pieces", stop_after_two)
    code, _, err = run("decode", tmp_path / "long.safetensors", "-o", tmp_path / "wavs", "-c", istft_folder)
    assert (code, err.strip()[-6:]) == (1, "enough")
    assert list((tmp_path / "wavs").iterdir()) == []
