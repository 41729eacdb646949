from __future__ import annotations

import pytest
import soxr
import torch
from checkpoints import make_tokenizer
from encoders import tiny_model
from helpers import CLIPS
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semtok import Tokenizer, Tokens, load_audio
from semtok.errors import AudioError, TokensError
from semtok.streaming import join_tokens
from semtok.streaming.tokenizer import TokenizerStream

ENCODERS = ("hubert-base", "wavlm-large", "wav2vec2-bert")
"""Group norm over the waveform; neither that nor a statistic of channels; mel bins with statistics."""

every_encoder = pytest.mark.parametrize("name", ENCODERS)
CLIP = load_audio(CLIPS[0])
TOKENIZERS = {}


def tokenizer_of(name: str) -> Tokenizer:
    if name not in TOKENIZERS:
        TOKENIZERS[name] = make_tokenizer(encoder=name)
    return TOKENIZERS[name]


def run(stream: TokenizerStream, samples: Tensor, lengths: list[int]) -> Tokens:
    """Pushes samples in pieces of these lengths, and then the rest."""
    ends = [min(sum(lengths[: number + 1]), len(samples)) for number in range(len(lengths))]
    with stream:
        return join_tokens([*map(stream.push, samples.tensor_split(ends)), stream.flush()])


@every_encoder
@settings(max_examples=8, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9000), max_size=12),
    sample_rate=st.sampled_from([8000, 16000, 44100]),
    times=st.fixed_dictionaries(
        {
            "block_seconds": st.floats(0.1, 1),
            "look_ahead_seconds": st.floats(0, 0.5),
            "context_seconds": st.floats(0, 1),
        }
    ),
)
def test_any_cut_into_pushes_gives_the_same_tokens(name, lengths, sample_rate, times):
    tokenizer = tokenizer_of(name)
    samples = CLIP[: sample_rate + 1234]
    whole = run(tokenizer.stream(sample_rate=sample_rate, **times), samples, [])
    pieces = run(tokenizer.stream(sample_rate=sample_rate, **times), samples, lengths)
    assert torch.equal(pieces.codes, whole.codes)
    assert torch.equal(pieces.lengths, tokenizer.encode(samples, sample_rate=sample_rate).lengths)


@every_encoder
@pytest.mark.parametrize("samples", [0, 1, 399, 400, 559, 560, 719, 720, 5519, 5520, 5521, 11000])
def test_a_stream_has_the_frames_of_the_whole(name, samples):
    tokenizer = tokenizer_of(name)
    tokens = run(tokenizer.stream(block_seconds=0.1, look_ahead_seconds=0.06), CLIP[:samples], [samples // 3])
    assert tokens.lengths.tolist() == [tokens.codes.shape[2]] == [tokenizer.encoder.frame_count(samples)]
    assert (tokens.layers, tokens.fingerprint) == (tokenizer.layers, tokenizer.fingerprint)


@every_encoder
def test_a_stream_of_one_block_is_encode(name):
    tokenizer = tokenizer_of(name)
    stream = tokenizer.stream(block_seconds=60, layers=[4, 1])
    assert torch.equal(run(stream, CLIP, [5000, 1]).codes, tokenizer.encode(CLIP, layers=[4, 1]).codes)


@every_encoder
def test_the_end_is_normalised_by_all_samples_those_after_the_last_frame_too(name):
    tokenizer = tokenizer_of(name)
    clip = torch.cat([CLIP[: 560 + 50 * 320], torch.linspace(-20, 20, 319)])
    assert torch.equal(run(tokenizer.stream(block_seconds=60), clip, []).codes, tokenizer.encode(clip).codes)


@pytest.mark.parametrize("name", ["hubert-base", "wavlm-large"])
def test_what_looks_no_farther_than_the_look_ahead_is_exact(name):
    """Layer 0 knows its neighbours by one convolution alone, whose reach is 16 frames."""
    model = tiny_model(name, num_conv_pos_embeddings=32)
    blank = Tokenizer.from_centroids(model, {0: torch.eye(32)}, normalize=True)
    frames = blank.features(CLIP)[0, 0]
    tokenizer = Tokenizer.from_centroids(model, {0: frames[::3]}, normalize=True)
    times = {"look_ahead_seconds": 0.32, "context_seconds": 0.32}
    known = run(tokenizer.stream(**times, statistics=tokenizer.encoder.statistics([CLIP])), CLIP, [1000] * 9)
    assert torch.equal(known.codes, tokenizer.encode(CLIP).codes)
    running = run(tokenizer.stream(**times), CLIP, [])
    assert not torch.equal(running.codes, tokenizer.encode(CLIP).codes)


def test_the_first_token_after_a_change_of_level_knows_it_only_from_then_on():
    """Running statistics are those of what has arrived: what comes later changes nothing before."""
    tokenizer = tokenizer_of("hubert-base")
    times = {"block_seconds": 0.2, "look_ahead_seconds": 0.1}
    quiet = run(tokenizer.stream(**times), CLIP[:32000], [])
    louder = run(tokenizer.stream(**times), torch.cat([CLIP[:20000], 5 * CLIP[20000:32000]]), [])
    answered = (20000 // 320 - 1 - 5) // 10 * 10
    assert torch.equal(quiet.codes[..., :answered], louder.codes[..., :answered])
    assert not torch.equal(quiet.codes, louder.codes)


def test_streams_do_not_disturb_each_other():
    tokenizer = tokenizer_of("hubert-base")
    clips = [CLIP[:30000], 0.1 * CLIP[8000:38000], load_audio(CLIPS[1])[:30000]]
    alone = [run(tokenizer.stream(), clip, []) for clip in clips]
    streams = [tokenizer.stream() for _ in clips]
    pieces = [
        [stream.push(clip[start : start + 3000]) for stream, clip in zip(streams, clips, strict=True)]
        for start in range(0, 30000, 3000)
    ]
    pieces.append([stream.flush() for stream in streams])
    for answers, wanted in zip(zip(*pieces, strict=True), alone, strict=True):
        assert torch.equal(join_tokens(answers).codes, wanted.codes)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100, 48000])
def test_tokens_come_within_the_latency(sample_rate):
    tokenizer = tokenizer_of("hubert-base")
    samples = torch.from_numpy(soxr.resample(CLIP.numpy(), 16000, sample_rate))
    with tokenizer.stream(sample_rate=sample_rate, block_seconds=0.2, look_ahead_seconds=0.1) as stream:
        assert 0.305 <= stream.latency_seconds <= (0.305 if sample_rate == 16000 else 0.5)
        late, answered, step = 0.0, 0, sample_rate // 200
        for now in range(step, len(samples), step):
            # When the next frame was heard first: its hop begins there.
            late = max(late, now / sample_rate - answered * 0.02)
            answered += stream.push(samples[now - step : now]).codes.shape[2]
        assert late <= stream.latency_seconds + 0.005
        assert late >= stream.latency_seconds - 0.015


def test_a_block_costs_the_same_however_long_the_stream_is():
    tokenizer = tokenizer_of("wavlm-large")
    seen = []
    hook = tokenizer.encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].shape))
    run(tokenizer.stream(block_seconds=0.2, look_ahead_seconds=0.1, context_seconds=0.5), CLIP.repeat(4), [1000] * 99)
    hook.remove()
    assert seen[0] == (1, 14 * 320 + 400)
    assert set(seen[3:-1]) == {(1, 39 * 320 + 400)}


def test_residual_stages():
    generator = torch.Generator().manual_seed(0)
    centroids = [torch.randn(20, 32, generator=generator), torch.randn(10, 32, generator=generator)]
    tokenizer = Tokenizer.from_centroids(tiny_model("hubert-base"), {1: centroids, 2: centroids[:1]}, normalize=True)
    tokens = run(tokenizer.stream(block_seconds=60), CLIP, [])
    assert (tokens.stages, tokens.codebook_sizes) == ((2, 1), (20, 10, 20))
    assert torch.equal(tokens.codes, tokenizer.encode(CLIP).codes)


def test_a_bad_push_is_told_and_nothing_of_it_taken():
    tokenizer = tokenizer_of("hubert-base")
    bad = CLIP[:5000].clone()
    bad[4321] = torch.nan
    with tokenizer.stream() as stream:
        pieces = [stream.push(CLIP[:8000])]
        with pytest.raises(AudioError, match="holds nan at sample 4321"):
            stream.push(bad)
        with pytest.raises(AudioError, match=r"takes samples \[samples\] of one channel, got shape \[1, 5000\]"):
            stream.push(CLIP[None, :5000])
        with pytest.raises(AudioError, match="int16"):
            stream.push((1000 * CLIP[:5000]).to(torch.int16).numpy())
        pieces += [stream.push(CLIP[8000:].numpy()), stream.flush()]
    assert torch.equal(join_tokens(pieces).codes, run(tokenizer.stream(), CLIP, []).codes)


def test_a_stream_ends_once():
    tokenizer = tokenizer_of("hubert-base")
    stream = tokenizer.stream()
    stream.flush()
    for call in (stream.flush, lambda: stream.push(CLIP)):
        with pytest.raises(AudioError, match="this stream has ended: open another one"):
            call()
    with tokenizer.stream() as left:
        left.push(CLIP)
    with pytest.raises(AudioError, match="this stream has ended"):
        left.flush()


@pytest.mark.parametrize(
    "times",
    [{"block_seconds": 0}, {"look_ahead_seconds": -0.1}, {"context_seconds": float("inf")}, {"sample_rate": 10}],
)
def test_settings_that_make_no_sense_are_told(times):
    with pytest.raises(AudioError, match=r"block_seconds must be above 0, .* all finite|sample_rate must be"):
        tokenizer_of("hubert-base").stream(**times)


def test_pieces_that_do_not_belong_together_are_told():
    tokens = tokenizer_of("hubert-base").encode(CLIP)
    with pytest.raises(TokensError, match="differ in their layers"):
        join_tokens([tokens, tokens.select([1])])
    with pytest.raises(TokensError, match=r"pieces of one utterance each, got \[1, 2\]"):
        join_tokens([tokens, Tokens.cat([tokens, tokens])])
