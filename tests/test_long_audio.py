from __future__ import annotations

import math

import pytest
import torch
from encoders import ENCODERS, tiny_model
from helpers import CLIPS
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semtok import load_audio, save_audio
from semtok.audio.lengths import Windows
from semtok.audio.recordings import Recording, open_recordings
from semtok.encoder.encoder import Encoder
from semtok.encoder.windows import run_windows
from semtok.errors import AudioError

LAYERS = (0, 1, 3)
every_encoder = pytest.mark.parametrize("name", ENCODERS)


def tiny_encoder(name: str, *, normalize: bool = True) -> Encoder:
    # Convolutions for the positions that reach 16 frames, so that a short clip has several windows.
    config = {} if name in ("data2vec-audio", "wav2vec2-bert") else {"num_conv_pos_embeddings": 32}
    return Encoder(tiny_model(name, **config), normalize=normalize)


def make_clip(seed: int, samples: int, *, loudness: float = 0.1, offset: float = 0.0) -> Tensor:
    """Noise that grows from silence, so that the statistics of its pieces differ."""
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.avg_pool1d(noise[None], 9, stride=1, padding=4)[0]
    return loudness * smooth * torch.linspace(0.1, 2, samples) + offset


def cut(clip: Tensor, lengths: list[int]) -> list[Tensor]:
    """Pieces of these lengths, and what is left."""
    ends = [min(sum(lengths[: number + 1]), len(clip)) for number in range(len(lengths))]
    return list(clip.tensor_split(ends))


def encode_piece(encoder: Encoder, waveform: Tensor, layers: tuple[int, ...] = LAYERS, **options) -> list[Tensor]:
    features, _ = encoder(waveform[None], torch.tensor([len(waveform)]), layers, **options)
    return list(features[0])


def encode_long(
    encoder: Encoder, recording: Recording, chunk: float, context: float, layers: tuple[int, ...] = LAYERS
) -> list[Tensor]:
    """Features of run_windows, joined."""
    windows = encoder.framing.windows(chunk, context)
    return list(torch.cat(list(run_windows(encoder, recording, layers, windows)), dim=1))


def as_recording(clip: Tensor) -> Recording:
    return open_recordings(clip, sample_rate=None, target_sample_rate=16000)[0]


@every_encoder
@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(0, 3000), max_size=8), normalize=st.booleans())
def test_statistics_do_not_depend_on_how_a_recording_arrives(name, lengths, normalize):
    encoder = tiny_encoder(name, normalize=normalize)
    clip = make_clip(0, 12345, offset=0.02)
    whole, pieces = encoder.statistics([clip]), encoder.statistics(cut(clip, lengths))
    for field in ("mean", "deviation", "channel_mean", "channel_variance"):
        first, second = getattr(whole, field), getattr(pieces, field)
        assert (first is None and second is None) or torch.equal(first, second)


def test_statistics_of_samples_and_channels():
    encoder = tiny_encoder("wav2vec2-base")
    clip = make_clip(0, 25 * 16000, offset=0.02)  # of three pieces, inside
    found = encoder.statistics([clip])
    torch.testing.assert_close(found.mean, clip.double().mean())
    torch.testing.assert_close(found.deviation, (clip.double().var(correction=0) + 1e-7).sqrt())
    convolution = encoder.model.feature_extractor.conv_layers[0].conv
    channels = convolution((clip - found.mean)[None] / found.deviation).double()
    torch.testing.assert_close(found.channel_mean, channels.mean(dim=1), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.channel_variance, channels.var(dim=1, correction=0), rtol=1e-5, atol=0)


def test_statistics_of_mel_bins():
    encoder = tiny_encoder("wav2vec2-bert")
    clip = make_clip(0, 25 * 16000)
    found = encoder.statistics([clip])
    from transformers import SeamlessM4TFeatureExtractor

    options = {"sampling_rate": 16000, "do_normalize_per_mel_bins": False, "return_attention_mask": False}
    bins = SeamlessM4TFeatureExtractor(stride=1)(clip.numpy(), pad_to_multiple_of=1, **options)["input_features"][0]
    assert len(bins) == 2498
    torch.testing.assert_close(found.mean, torch.from_numpy(bins).double().mean(dim=0))
    torch.testing.assert_close(found.deviation, (torch.from_numpy(bins).double().var(dim=0) + 1e-7).sqrt())


@every_encoder
def test_a_clip_and_its_own_statistics_are_a_clip(name):
    encoder, clip = tiny_encoder(name), make_clip(0, 20000, offset=-0.1)
    given_statistics = encode_piece(encoder, clip, statistics=[encoder.statistics(clip.split(777))])
    for found, wanted in zip(given_statistics, encode_piece(encoder, clip), strict=True):
        assert torch.equal(found, wanted)


def test_too_little_for_statistics_is_told():
    with pytest.raises(AudioError, match=r"399 samples at 16000 Hz has no statistics: it needs the 400 of one frame"):
        tiny_encoder("wav2vec2-base").statistics([torch.zeros(300), torch.zeros(99)])


@given(frames=st.integers(1, 500), chunk=st.integers(1, 100), context=st.integers(0, 100))
def test_windows_cover_every_frame_once(frames, chunk, context):
    windows = list(Windows(chunk, context, context).plan(frames))
    assert [frame for window in windows for frame in range(window.start, window.stop)] == list(range(frames))
    if frames <= chunk + 2 * context:
        assert windows == [(0, 0, frames, frames)]
    else:
        for first, start, stop, last in windows:
            assert (first, last) == (max(0, start - context), min(frames, stop + context))
            assert stop == min(start + chunk, frames)


@every_encoder
@settings(max_examples=4, deadline=None)
@given(samples=st.integers(24000, 40000), chunk=st.floats(0.1, 1), context=st.floats(0, 0.2))
def test_a_window_is_its_stretch_of_the_recording(name, samples, chunk, context):
    encoder, clip = tiny_encoder(name), make_clip(1, samples, offset=0.05)
    statistics = encoder.statistics([clip])
    found = encode_long(encoder, as_recording(clip), chunk, context)
    assert all(len(layer) == encoder.frame_count(samples) for layer in found)
    windows = encoder.framing.windows(chunk, context)
    for first, start, stop, last in list(windows.plan(encoder.frame_count(samples)))[::3]:
        stretch = clip[first * 320 : (last - 1) * 320 + encoder.minimum_samples]
        wanted = encode_piece(encoder, stretch, statistics=[statistics])
        for layer, expected in zip(found, wanted, strict=True):
            assert torch.equal(layer[start:stop], expected[start - first : stop - first])


@every_encoder
def test_what_looks_no_farther_than_the_context_is_exact(name):
    """Layer 0 knows its neighbours by convolutions alone, whose reach is 16 frames (45 in data2vec)."""
    encoder, clip = tiny_encoder(name), make_clip(2, 4 * 16000, offset=0.05)
    (whole,) = encode_piece(encoder, clip, (0,))
    for chunk, context in ((0.5, 0.92), (1.3, 1.1)):
        found = encode_long(encoder, as_recording(clip), chunk, context)[0]
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-5 * float(whole.abs().max()))
    cut_off = encode_long(encoder, as_recording(clip), 0.5, 0.0)[0]
    changed = (cut_off - whole).abs().amax(dim=1) > 1e-3 * float(whole.abs().max())
    assert changed.any() != (name == "wav2vec2-bert")  # it has no positions before layer 1


def test_a_recording_of_one_window_is_encoded_whole():
    encoder, clip = tiny_encoder("wavlm-large"), make_clip(3, 16000)
    recording = as_recording(clip)
    assert encoder.frame_count(len(clip)) == 49
    for chunk, context in ((0.98, 0), (0.5, 0.24), (math.inf, 0), (0.1, math.inf)):
        assert encoder.framing.windows(chunk, context).one_is_enough(49)
        for found, wanted in zip(
            encode_long(encoder, recording, chunk, context), encode_piece(encoder, clip), strict=True
        ):
            assert torch.equal(found, wanted)
    assert not encoder.framing.windows(0.5, 0.22).one_is_enough(49)


def test_a_recording_is_read_as_it_is_needed():
    class Counted:
        name, samples, read = "counted", 16000 * 1200, 0

        def blocks(self, seconds):
            self.read = 0
            for _ in range(0, self.samples, 16000 * seconds):
                self.read += 16000 * seconds
                yield torch.full((16000 * seconds,), 0.1)

    recording = Counted()
    encoder, frames = tiny_encoder("hubert-large"), 0
    for features in run_windows(encoder, recording, [0], encoder.framing.windows(20, 1)):
        assert recording.read <= (frames + 21 * 50) * 320 + 11 * 16000
        frames += features.shape[1]
    assert frames == encoder.frame_count(recording.samples)


def test_a_file_that_shrinks_meanwhile_is_told():
    class Shrinking:
        name, samples, seconds = "shrinking.wav", 32000, iter((2, 1))

        def blocks(self, seconds):
            yield make_clip(0, 16000 * next(self.seconds))

    with pytest.raises(AudioError, match=r"shrinking\.wav changed while it was read"):
        encode_long(tiny_encoder("hubert-base"), Shrinking(), 0.5, 0.1)


@pytest.mark.parametrize(("chunk", "context"), [(0, 1), (-1, 0), (math.nan, 1), (1, -0.1), (1, math.nan)])
def test_times_that_make_no_sense_are_told(chunk, context):
    with pytest.raises(AudioError, match="chunk_seconds must be above 0 and context_seconds 0 or more, got"):
        encode_long(tiny_encoder("hubert-base"), as_recording(make_clip(0, 9000)), chunk, context)


def test_long_files_are_encoded_in_windows(tokenizer, tmp_path):
    clip = torch.cat([load_audio(path) for path in CLIPS])
    save_audio(tmp_path / "long.flac", clip)
    clip = load_audio(tmp_path / "long.flac")
    windows = {"chunk_seconds": 3, "context_seconds": 0.5}
    long = tokenizer.encode(tmp_path / "long.flac", **windows)
    assert torch.equal(long.codes, tokenizer.encode(clip, **windows).codes)

    features = torch.stack(encode_long(tokenizer.encoder, as_recording(clip), 3, 0.5, layers=tokenizer.layers))
    assert torch.equal(tokenizer.features([clip], **windows)[0], features)
    assert long.lengths.tolist() == [features.shape[1]] == tokenizer.encode(clip).lengths.tolist()
    assert not torch.equal(long.codes, tokenizer.encode(clip).codes)
    beside = tokenizer.encode([clip[:9999], clip, clip[:50000]], **windows)
    assert torch.equal(beside[1].codes, long.codes)


def test_times_are_checked_by_encode(tokenizer):
    with pytest.raises(AudioError, match="chunk_seconds must be above 0"):
        tokenizer.encode(torch.zeros(16000), chunk_seconds=0)
