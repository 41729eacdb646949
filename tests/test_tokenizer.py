"""What `Tokenizer` makes of speech, the same in every company and from every kind of input; and what it refuses."""

from __future__ import annotations

import logging
import re
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import soxr
import torch
import transformers
from checkpoints import CODEBOOK_SIZES, ENCODER_LAYERS, make_tokenizer
from encoders import tiny_model
from helpers import CLIPS, changed_tokens, refuses

from semtok import SemtokError, Tokenizer, Tokens, Vocoder, load_audio
from semtok.encoder import batches
from semtok.errors import AudioError, CheckpointError, ConfigError, LayerError, TokensError

LAYERS = tuple(CODEBOOK_SIZES)
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def clips():
    return [load_audio(path) for path in CLIPS]


def near_ties(tokenizer, clip):
    """Codes of a clip alone that rounding may change: bool [layers, frames]."""
    ties = []
    for layer, features in zip(tokenizer.layers, tokenizer.features(clip)[0].double(), strict=True):
        distances = torch.cdist(features, tokenizer.centroids(layer).double()).square()
        first, second = distances.topk(2, dim=1, largest=False).values.unbind(dim=1)
        ties.append((second - first) / second < ROUNDING)
    return torch.stack(ties)


def assert_as_alone(tokenizer, clips, tokens):
    """Each row of `tokens` is what its clip gives alone, but where two centroids are equally near."""
    assert len(tokens) == len(clips)
    for clip, row in zip(clips, tokens, strict=True):
        alone = tokenizer.encode(clip)
        assert torch.equal(row.lengths, alone.lengths)
        assert not ((row.codes != alone.codes)[0] & ~near_ties(tokenizer, clip)).any()


# --- what comes out


def test_tokens_of_a_recording(tokenizer):
    samples = soundfile.info(CLIPS[0]).frames
    frames = (samples - 400) // 320 + 1
    tokens = tokenizer.encode(CLIPS[0])
    assert isinstance(tokens, Tokens)
    assert tokens.codes.shape == (1, 3, frames)
    assert tokens.codes.dtype == tokens.lengths.dtype == torch.int64
    assert tokens.lengths.tolist() == [frames]
    assert (tokens.layers, tokens.frame_rate) == (LAYERS, 50.0)
    assert tokens.codebook_sizes == tuple(CODEBOOK_SIZES.values())
    assert tokens.fingerprint == tokenizer.fingerprint
    assert all(len(codes.unique()) > 10 for codes in tokens.codes[0])


def test_what_a_tokenizer_says_of_itself(tokenizer):
    assert (tokenizer.layers, tokenizer.codebook_sizes) == (LAYERS, (40, 30, 12))
    assert (tokenizer.sample_rate, tokenizer.hop_length, tokenizer.frame_rate) == (16000, 320, 50.0)
    assert (tokenizer.device, tokenizer.dtype) == (torch.device("cpu"), torch.float32)
    assert re.fullmatch("[0-9a-f]{16}", tokenizer.fingerprint)
    assert repr(tokenizer) == (
        "Tokenizer(layers=(1, 3, 4), codebook_sizes=(40, 30, 12), sample_rate=16000, hop_length=320, "
        f"fingerprint='{tokenizer.fingerprint}', encoder=hubert of 4 layers of 32, torch.float32 on cpu)"
    )


def test_every_kind_of_input_gives_the_same_tokens(tokenizer, clips):
    short, long = sorted(clips, key=len)[:2]
    padded = torch.full((2, len(long)), torch.nan)
    padded[0, : len(short)], padded[1] = short, long
    one, both = tokenizer.encode(short), tokenizer.encode([short, long])
    path = CLIPS[[len(clip) for clip in clips].index(len(short))]
    for audio in (
        path,
        str(path),
        [path],
        short.numpy(),
        short.double().numpy(),
        short[None],
        [short],
        (short.numpy(),),
    ):
        assert torch.equal(tokenizer.encode(audio).codes, one.codes)
    for array in (padded, padded.numpy()):
        lengths = [len(short), len(long)]
        for kind in (lengths, torch.tensor(lengths), np.array(lengths)):
            assert torch.equal(tokenizer.encode(array, lengths=kind).codes, both.codes)
    assert torch.equal(tokenizer.encode(torch.stack([short] * 3)).codes, one.codes.repeat(3, 1, 1))


def test_recordings_have_the_same_tokens_alone_and_in_a_batch(tokenizer, clips):
    company = [clips[2], clips[0][:1600], clips[1] * 0.02, clips[0] + 0.1, clips[2][5000:5400], clips[1]]
    tokens = tokenizer.encode(company)
    assert_as_alone(tokenizer, company, tokens)
    assert tokens.lengths.tolist() == [(len(clip) - 400) // 320 + 1 for clip in company]
    for codes, length in zip(tokens.codes, tokens.lengths, strict=True):
        assert (codes[:, length:] == -1).all()


def test_batches_of_bounded_size_keep_the_order(tokenizer, clips, monkeypatch):
    company = [clips[0][start : start + length] for start, length in [(0, 9000), (500, 400), (900, 30000), (0, 8000)]]
    monkeypatch.setattr(batches, "CPU", batches.Schedule(batch_seconds=1, workers=2, running=2))
    assert_as_alone(tokenizer, company, tokenizer.encode(company))


def test_audio_of_another_rate_is_resampled(tokenizer, clips, tmp_path):
    high = soxr.resample(clips[0].numpy(), 16000, 44100)
    soundfile.write(tmp_path / "high.wav", high, 44100, subtype="FLOAT")
    again = torch.from_numpy(soxr.resample(high, 44100, 16000, quality="HQ"))
    expected = tokenizer.encode(again).codes
    assert torch.equal(tokenizer.encode(high, sample_rate=44100).codes, expected)
    assert torch.equal(tokenizer.encode(tmp_path / "high.wav").codes, expected)
    assert tokenizer.encode(high).codes.shape[2] > 2 * expected.shape[2]  # without a rate: taken at 16 kHz


def test_the_same_for_layer_0_and_for_other_families(clips):
    for encoder in ("wavlm-large", "wav2vec2-bert"):
        model = tiny_model(encoder)
        centroids = {layer: torch.randn(7, 32, generator=torch.Generator().manual_seed(layer)) for layer in (2, 0)}
        tokenizer = Tokenizer.from_centroids(model, centroids, normalize=True)
        assert tokenizer.layers == (0, 2)
        company = [clips[0][:20000], clips[1][:5000]]
        assert_as_alone(tokenizer, company, tokenizer.encode(company))


# --- layers


@pytest.mark.parametrize("layers", [[4, 1], [3], (1, 3, 4), [4, 3, 1], range(3, 4), torch.tensor([3, 1])])
def test_layers_come_in_the_order_asked(tokenizer, istft_folder, clips, layers):
    everything = tokenizer.encode(clips[0])
    some = tokenizer.encode(clips[0], layers=layers)
    assert some.layers == tuple(map(int, layers))
    assert torch.equal(some.codes, everything.select(layers).codes)
    assert some.codebook_sizes == everything.select(layers).codebook_sizes

    loaded = Tokenizer.from_pretrained(istft_folder, layers=layers)
    assert loaded.layers == some.layers
    assert loaded.codebook_sizes == some.codebook_sizes
    assert loaded.fingerprint == tokenizer.fingerprint
    assert torch.equal(loaded.encode(clips[0]).codes, some.codes)
    assert torch.equal(loaded.features(clips[0]), tokenizer.features(clips[0], layers=layers))


@pytest.mark.parametrize("layers", [[1], [3, 1], [4]])
def test_only_the_encoder_layers_up_to_the_deepest_are_loaded(tokenizer, istft_folder, layers):
    model = Tokenizer.from_pretrained(istft_folder, layers=layers).encoder.model
    assert len(model.encoder.layers) == max(layers)
    per_layer = sum(p.numel() for p in tokenizer.encoder.model.encoder.layers[0].parameters())
    missing = sum(p.numel() for p in tokenizer.encoder.parameters()) - sum(p.numel() for p in model.parameters())
    assert missing == (max(LAYERS) - max(layers)) * per_layer


# --- features and centroids


def test_features_are_what_is_quantized(tokenizer, clips):
    company = [clips[0], clips[1][:9000]]
    tokens = tokenizer.encode(company, layers=[4, 1])
    features = tokenizer.features(company, layers=[4, 1])
    assert features.shape == (*tokens.codes.shape, 32)
    assert features.dtype == torch.float32
    assert (features[1, :, tokens.lengths[1] :] == 0).all()
    for row, layer in enumerate([4, 1]):
        nearest = torch.cdist(features[0, row], tokenizer.centroids(layer)).argmin(dim=1)
        assert (nearest == tokens.codes[0, row]).float().mean() > 0.99


def test_features_can_be_trained_on(tokenizer, clips):
    probe = torch.nn.Linear(32, 2)
    probe(tokenizer.features(clips[0])).sum().backward()
    assert probe.weight.grad is not None


def test_embed_gives_the_centroids(tokenizer, clips):
    tokens = tokenizer.encode([clips[0][:3000], clips[1][:2000]], layers=[4, 1])
    vectors = tokenizer.embed(tokens)
    assert vectors.shape == (*tokens.codes.shape, 32)
    assert vectors.dtype == torch.float32
    for utterance, position, frame in np.ndindex(*tokens.codes.shape):
        code = tokens.codes[utterance, position, frame]
        expected = tokenizer.centroids(tokens.layers[position])[code] if code >= 0 else torch.zeros(32)
        assert torch.equal(vectors[utterance, position, frame], expected)


def test_centroids_of_a_layer(tokenizer):
    for layer, size in CODEBOOK_SIZES.items():
        assert tokenizer.centroids(layer).shape == (size, 32)
        assert tokenizer.centroids(layer).dtype == torch.float32
    with refuses(LayerError, "this tokenizer has no layers [2], only [1, 3, 4]"):
        tokenizer.centroids(2)


# --- devices, precision and state


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_bfloat16(tokenizer, istft_folder, clips, tmp_path, dtype):
    coarse = Tokenizer.from_pretrained(istft_folder, device="cpu", dtype=dtype)
    assert coarse.dtype == torch.bfloat16
    assert "torch.bfloat16 on cpu" in repr(coarse)
    tokens, exact = coarse.encode(clips[0]), tokenizer.encode(clips[0])
    assert tokens.fingerprint == exact.fingerprint
    assert (tokens.codes == exact.codes).float().mean() > 0.8
    assert coarse.features(clips[0]).dtype == torch.bfloat16
    for layer in LAYERS:
        assert torch.equal(coarse.centroids(layer), tokenizer.centroids(layer))
    assert coarse.embed(tokens).dtype == torch.float32
    with refuses(CheckpointError, "the weights are rounded to torch.bfloat16", "load in float32 to save"):
        coarse.save_pretrained(tmp_path / "coarse")
    assert not (tmp_path / "coarse").exists()


@pytest.mark.parametrize("dtype", ["int8", "float31", torch.int64, "Tensor", 16])
@pytest.mark.parametrize("kind", [Tokenizer, Vocoder])
def test_other_dtypes_are_refused(istft_folder, kind, dtype):
    with refuses(CheckpointError, "dtype must be 'float32', 'bfloat16' or 'float16', got", repr(dtype)):
        kind.from_pretrained(istft_folder, dtype=dtype)


def test_nothing_global_changes_and_nothing_is_printed(istft_folder, clips, capfd, caplog, monkeypatch):
    # By default it keeps its records from all handlers but its own.
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)

    def state():
        return (
            torch.get_num_threads(),
            torch.get_num_interop_threads(),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.is_grad_enabled(),
            torch.get_rng_state().tolist(),
            repr(np.random.get_state()),  # noqa: NPY002
            list(warnings.filters),
            transformers.logging.get_verbosity(),
            transformers.logging.is_progress_bar_enabled(),
            transformers.logging.set_tqdm_hook(None),
        )

    before = state()
    tokenizer = Tokenizer.from_pretrained(istft_folder, layers=[1])
    vocoder = Vocoder.from_pretrained(istft_folder)
    vocoder.decode(tokenizer.encode(clips[0]))
    assert state() == before
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_threads_may_load_and_encode(tokenizer, istft_folder, clips):
    def encode(number):
        return Tokenizer.from_pretrained(istft_folder).encode(clips[number % 3][: 4000 + 500 * number])

    verbosity = transformers.logging.get_verbosity()
    with ThreadPoolExecutor(4) as pool:
        for number, tokens in enumerate(pool.map(encode, range(8))):
            assert_as_alone(tokenizer, [clips[number % 3][: 4000 + 500 * number]], tokens)
    assert transformers.logging.get_verbosity() == verbosity
    assert transformers.logging.set_tqdm_hook(None) is None


# --- bad input


@pytest.mark.parametrize("method", ["encode", "features"])
@pytest.mark.parametrize(
    ("audio", "options", "parts"),
    [
        (torch.zeros(0), {}, ["clip 0 is empty (0 samples)"]),
        ([], {}, ["expected a path, a list of paths, an array", "got an empty list"]),
        (torch.zeros(399), {}, ["clip 0 has 399 samples at 16000 Hz, fewer than the 400 of one frame", "leave it out"]),
        ([torch.zeros(400), torch.zeros(9)], {}, ["clip 1 has 9 samples at 16000 Hz, fewer than the 400 of one frame"]),
        (torch.zeros(797), {"sample_rate": 32000}, ["clip 0 has 399 samples at 16000 Hz"]),
        (torch.zeros(3, 900), {"lengths": [900, 900, 30]}, ["clip 2 has 30 samples at 16000 Hz"]),
        (torch.tensor([0.0, torch.nan, 0.0]), {}, ["clip 0 holds nan at sample 1: every sample must be finite"]),
        (np.array([0.0, 0.0, -np.inf]), {}, ["clip 0 holds -inf at sample 2: every sample must be finite"]),
        (np.zeros(900, dtype=np.int16), {}, ["clip 0 is of type int16", "converted with, e.g., wav / 32768.0"]),
        (torch.zeros(900, dtype=torch.int32), {}, ["clip 0 is of type int32", "wav / 2147483648.0"]),
        (torch.zeros(2, 900), {}, ["audio of shape [2, 900] could be stereo", "wav.mean(0)", "list(wav)", "lengths="]),
        (torch.zeros(900, 2), {}, ["audio of shape [900, 2] looks like [samples, channels]", "wav.mean(1)"]),
        (torch.zeros(1, 2, 900), {}, ["clip 0 has shape [1, 2, 900]"]),
        (torch.zeros(900), {"sample_rate": 44.1}, ["sample_rate must be an integer in Hz, 1000 to 768000, got 44.1"]),
        ("none.wav", {}, ["there is no audio file none.wav (looked from"]),
        (CLIPS[0].parent, {}, ["data is a folder: pass the audio files in it"]),
        (CLIPS[0].parent / "LICENSES.md", {}, ["cannot read", "LICENSES.md", "corrupt or of an unknown format"]),
        (CLIPS[0], {"sample_rate": 8000}, ["is at 16000 Hz but sample_rate=8000 was given", "leave sample_rate out"]),
    ],
)
def test_audio_that_is_refused(tokenizer, method, audio, options, parts):
    with refuses(AudioError, *parts):
        getattr(tokenizer, method)(audio, **options)


@pytest.mark.parametrize(
    ("layers", "parts"),
    [
        ([1, 2, 9], ["has no layers [2, 9], only [1, 3, 4]"]),
        ([3, 1, 3], ["each layer can be asked for once, got [3, 1, 3]"]),
        ([], ["no layers asked for", "has [1, 3, 4]"]),
        (3, ["layers must be a list of integers such as [1], got 3"]),
        ("13", ["layers must be a list of integers such as [1], got '13'"]),
        ([1.0], ["layers must be a list of integers such as [1], got [1.0]"]),
    ],
)
def test_layers_that_are_refused(tokenizer, istft_folder, layers, parts):
    with refuses(LayerError, *parts):
        tokenizer.encode(CLIPS[0], layers=layers)
    with refuses(LayerError, *parts):
        tokenizer.features(CLIPS[0], layers=layers)
    with refuses(LayerError, *parts):
        Tokenizer.from_pretrained(istft_folder, layers=layers)


def test_layers_that_were_not_loaded(istft_folder):
    loaded = Tokenizer.from_pretrained(istft_folder, layers=[3, 1])
    with refuses(LayerError, "this tokenizer has no layers [4], only [3, 1]"):
        loaded.encode(CLIPS[0], layers=[4])


def test_tokens_that_embed_refuses(tokenizer, other_folder, istft_folder):
    tokens = tokenizer.encode(CLIPS[0])
    other = Tokenizer.from_pretrained(other_folder)
    with refuses(
        TokensError, f"are of tokenizer {tokens.fingerprint}, this tokenizer takes those of {other.fingerprint}"
    ):
        other.embed(tokens)
    with refuses(LayerError, "this tokenizer has no layers [3, 4], only [1]"):
        Tokenizer.from_pretrained(istft_folder, layers=[1]).embed(tokens)
    with refuses(TokensError, "have Codebooks({1: (50,)", "this tokenizer has Codebooks({1: (40,)"):
        tokenizer.embed(changed_tokens(tokens, codebook_sizes=(50, 30, 12)))
    with refuses(TokensError, "expected Tokens as Tokenizer.encode gives them, got Tensor"):
        tokenizer.embed(tokens.codes)


def test_parts_that_do_not_make_a_tokenizer():
    model = tiny_model("hubert-base")
    points = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    with refuses(LayerError, "the encoder has no layers [4], only [0, 1, 2, 3]"):
        Tokenizer.from_centroids(model, {1: points, 4: points}, normalize=True)
    with refuses(CheckpointError, "centroids of layer 2 must have shapes [[5, 32]], got [[5, 31]]"):
        Tokenizer.from_centroids(model, {1: points, 2: points[:, 1:]}, normalize=True)
    with refuses(ConfigError, "encoder 'me/encoder' with encoder_revision None: expected a hub id with the commit"):
        Tokenizer.from_centroids(model, {1: points}, normalize=True, encoder="me/encoder")
    assert issubclass(ConfigError, SemtokError)


def test_the_fingerprint_tells_tokenizers_apart():
    points = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))

    def fingerprint(centroids, seed=0, **options):
        return Tokenizer.from_centroids(
            tiny_model("hubert-base", seed=seed), centroids, normalize=True, **options
        ).fingerprint

    hub = {"encoder": "me/encoder", "encoder_revision": "0" * 40}
    prints = [
        fingerprint({1: points}),
        fingerprint({2: points}),
        fingerprint({1: points + 1e-6}),
        fingerprint({1: points, 2: points}),
        fingerprint({1: points}, seed=1),
        fingerprint({1: points}, **hub),
        fingerprint({1: points}, **hub | {"encoder_revision": "1" * 40}),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint({2: points, 1: points}) == fingerprint({1: points, 2: points})


def test_a_tokenizer_is_the_same_however_often_it_is_made(tokenizer):
    again = make_tokenizer()
    assert again.fingerprint == tokenizer.fingerprint
    assert len(again.encoder.model.encoder.layers) == ENCODER_LAYERS


# --- what a tokenizer hands out, and takes


def test_centroids_are_a_copy(tokenizer):
    tokens = tokenizer.encode(CLIPS[0])
    tokenizer.centroids(3).zero_()
    assert torch.equal(tokenizer.encode(CLIPS[0]).codes, tokens.codes)
    assert tokenizer.centroids(3).abs().max() > 0


def test_layers_have_one_order(istft_folder, tmp_path):
    tokenizer = Tokenizer.from_pretrained(istft_folder, layers=[4, 1])
    assert tokenizer.layers == tokenizer.config.layers == tokenizer.codebooks.layers == (4, 1)
    tokenizer.save_pretrained(tmp_path)
    again = Tokenizer.from_pretrained(tmp_path)
    assert again.layers == (1, 4)  # of all that a folder holds: ascending
    assert torch.equal(again.encode(CLIPS[0]).codes, tokenizer.encode(CLIPS[0], layers=[1, 4]).codes)


@pytest.mark.parametrize("times", [{"chunk_seconds": -1}, {"context_seconds": float("nan")}])
def test_times_are_refused_at_the_call(tokenizer, times):
    with refuses(AudioError, "chunk_seconds must be above 0 and context_seconds 0 or more, got"):
        tokenizer.encode_each([CLIPS[0]], **times)


@pytest.mark.parametrize("samples", [[0.0], "speech.wav", None, 0.5, b"x"])
def test_a_stream_refuses_what_is_no_array(tokenizer, samples):
    with tokenizer.stream() as stream, refuses(AudioError, "a stream takes samples as a numpy array or a torch tensor"):
        stream.push(samples)


def test_tokens_are_checked_once(tokenizer, istft_folder, monkeypatch):
    """By the constructor: what is made of them is not looked at again."""
    vocoder, tokens = Vocoder.from_pretrained(istft_folder), tokenizer.encode(CLIPS[0])
    checked = []
    check = Tokens._check_codes
    monkeypatch.setattr(Tokens, "_check_codes", lambda self: checked.append(1) or check(self))
    again = changed_tokens(tokens, codes=tokens.codes.clone())
    vocoder.decode(again.select([3, 1]).cut(0, 20).to("cpu"))
    with vocoder.stream() as stream:
        stream.push(again[0])
        stream.flush()
    assert len(checked) == 1
