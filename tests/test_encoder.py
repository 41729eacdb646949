from __future__ import annotations

import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transformers
from encoders import ENCODERS, tiny_model
from helpers import CLIPS
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semtok import Tokenizer
from semtok.codebooks.quantizer import Quantizer
from semtok.encoder.config import CONFIGS
from semtok.encoder.encoder import Encoder
from semtok.encoder.positions import PositionConvolution
from semtok.errors import AudioError, CheckpointError, ConfigError, LayerError
from semtok.networks.precision import check_compiler

SPEECH = CLIPS
LAYERS = (0, 1, 2, 3)
ROUNDING = 1e-5
FOUR_CONVOLUTIONS = {"conv_dim": (8, 16, 16, 16), "conv_kernel": (20, 16, 4, 4), "conv_stride": (10, 8, 2, 2)}

every_encoder = pytest.mark.parametrize("name", ENCODERS)


def tiny_encoder(name: str, *, normalize: bool = True) -> Encoder:
    return Encoder(tiny_model(name), normalize=normalize)


def make_clip(seed: int, samples: int, *, loudness: float = 0.1, offset: float = 0.0) -> Tensor:
    """Noise whose loudness and colour wander, so that frames differ: [samples]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, generator=generator)
    smooth = torch.nn.functional.avg_pool1d(noise[None], 9, stride=1, padding=4)[0]
    time = torch.arange(samples) / 16000
    wander = torch.sin(2 * torch.pi * (3 * time + torch.rand(1, generator=generator)))
    return loudness * (noise * (1 + wander) + 4 * smooth * (1 - wander)) + offset


def make_batch(clips: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Waveforms padded with what must not matter, and lengths."""
    waveforms = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=torch.nan)
    return waveforms, torch.tensor([len(clip) for clip in clips])


def encode_alone(encoder: Encoder, clip: Tensor) -> list[Tensor]:
    """Features [frames, dim] of every layer of a clip by itself."""
    features, _ = encoder(*make_batch([clip]), LAYERS)
    return list(features[0])


def draw_quantizer(features: Tensor) -> Quantizer:
    """200 centroids, each half-way between two frames of features [frames, dim]."""
    pairs = torch.randint(len(features), (2, 200), generator=torch.Generator().manual_seed(0))
    return Quantizer(features[pairs].mean(dim=0))


def count_flips(alone: Tensor, batched: Tensor, quantizer: Quantizer) -> int:
    """Frames whose token differs; each must be a near tie, and the features must agree."""
    torch.testing.assert_close(batched, alone, rtol=0, atol=1e-4 * float(alone.abs().max()))
    flipped = quantizer(alone) != quantizer(batched)
    assert (quantizer.margins(alone)[flipped] < ROUNDING).all()
    return int(flipped.sum())


def check_batches(encoder: Encoder, clips: list[Tensor], orders: list[list[int]]) -> tuple[int, int]:
    """Compares the clips alone with batches of them in each order: tokens flipped, tokens compared."""
    alone = [encode_alone(encoder, clip) for clip in clips]
    pooled = [torch.cat(layer) for layer in zip(*alone, strict=True)]
    quantizers = [draw_quantizer(layer) for layer in pooled]
    flips = tokens = 0
    for order in orders:
        features, frames = encoder(*make_batch([clips[number] for number in order]), LAYERS)
        assert frames.tolist() == [len(alone[number][0]) for number in order]
        for layer, quantizer in enumerate(quantizers):
            for row, number in enumerate(order):
                batched = features[row, layer]
                flips += count_flips(alone[number][layer], batched[: frames[row]], quantizer)
                tokens += int(frames[row])
                assert (batched[frames[row] :] == 0).all()
    return flips, tokens


@every_encoder
@pytest.mark.parametrize("normalize", [True, False])
def test_a_single_clip_gives_the_hidden_states_of_transformers(name, normalize):
    model = tiny_model(name)
    # For w2v-BERT an odd number of filterbank frames, of which one is left over.
    clip = make_clip(0, 3 * 16000 + 170, offset=0.02)
    if name == "wav2vec2-bert":
        extract = transformers.SeamlessM4TFeatureExtractor()
        inputs = extract(clip.numpy(), sampling_rate=16000, do_normalize_per_mel_bins=normalize, return_tensors="pt")
    else:
        extract = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize)
        inputs = extract(clip.numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs, output_hidden_states=True).hidden_states
    assert len(expected) == len(LAYERS)
    valid = 149 if name == "wav2vec2-bert" else 150

    layers = [2, 0, 3, 1]
    features, frames = Encoder(model, normalize=normalize)(clip[None], torch.tensor([len(clip)]), layers)
    assert frames.tolist() == [features.shape[2]] == [valid]
    for layer, found in zip(layers, features[0], strict=True):
        wanted = expected[layer][0, :valid]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


@every_encoder
def test_each_layer_is_that_of_transformers(name):
    """With the same input, and with an end of the batch that no key is to see."""
    model, hidden = tiny_model(name), torch.randn(2, 70, 32)
    own = Encoder(model, normalize=True).model
    masked = torch.zeros(2, 1, 1, 70).masked_fill(torch.arange(70) > 60, -torch.inf)
    with torch.no_grad():
        for mask in (None, None if name.startswith("wavlm") else masked):  # theirs takes another kind of mask
            terms = own.attention_terms(70, mask)
            bias = {"position_bias": terms[0].repeat(2, 1, 1)} if name.startswith("wavlm") else {}
            for mine, theirs in zip(own.encoder.layers, model.encoder.layers, strict=True):
                wanted = theirs(hidden, attention_mask=mask, **bias)
                wanted = wanted[0] if isinstance(wanted, tuple) else wanted
                torch.testing.assert_close(mine(hidden, *terms), wanted, rtol=0, atol=2e-6)


def test_entries_that_a_config_leaves_out_are_those_of_transformers():
    for kind, config in CONFIGS.items():
        theirs = transformers.CONFIG_MAPPING[kind]().to_dict()
        for name, value in dataclasses.asdict(config(kind)).items():
            if name in theirs:
                assert value == (tuple(theirs[name]) if isinstance(value, tuple) else theirs[name]), (kind, name)


def test_an_adapter_of_a_language_is_run():
    model, clip = tiny_model("wav2vec2-large", adapter_attn_dim=8), make_clip(0, 8000)
    with torch.no_grad():
        wanted = model(clip[None], output_hidden_states=True).hidden_states
    features, _ = Encoder(model, normalize=False)(*make_batch([clip]), [2])
    torch.testing.assert_close(features[0, 0], wanted[2][0], rtol=0, atol=1e-5 * float(wanted[2].abs().max()))


@every_encoder
def test_a_clip_has_the_same_tokens_alone_and_in_any_batch(name):
    clips = [
        make_clip(1, 1600, loudness=0.3, offset=0.05),
        make_clip(2, 8000, loudness=0.01, offset=-0.1),
        make_clip(3, 48000, loudness=0.1),
        make_clip(4, 320000, loudness=0.03, offset=0.2),
    ]
    rotations = [[(row + shift) % 4 for row in range(4)] for shift in range(4)]
    flips, tokens = check_batches(tiny_encoder(name), clips, rotations)
    assert flips <= 1e-4 * tokens, f"{flips} of {tokens} tokens flipped, all near ties"


@every_encoder
@settings(max_examples=8, deadline=None)
@given(
    clips=st.lists(
        st.builds(
            make_clip,
            st.integers(0, 2**32 - 1),
            st.integers(560, 9000),
            loudness=st.floats(1e-3, 1),
            offset=st.floats(-0.5, 0.5),
        ),
        min_size=2,
        max_size=5,
    ),
    normalize=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_any_short_clips_in_any_order(name, clips, normalize, order):
    numbers = list(range(len(clips)))
    order.shuffle(numbers)
    check_batches(tiny_encoder(name, normalize=normalize), clips, [numbers])


def test_other_front_ends():
    encoder = Encoder(tiny_model("hubert-base", **FOUR_CONVOLUTIONS, num_feat_extract_layers=4), normalize=True)
    assert (encoder.hop_length, encoder.minimum_samples) == (320, 20 + 10 * (15 + 8 * (3 + 2 * 3)))
    clips = [make_clip(seed, samples) for seed, samples in enumerate([encoder.minimum_samples, 5000, 20000])]
    check_batches(encoder, clips, [[2, 0, 1]])


@every_encoder
def test_properties(name):
    encoder = tiny_encoder(name)
    assert (encoder.sample_rate, encoder.hop_length, encoder.dim, encoder.num_layers) == (16000, 320, 32, 3)
    assert encoder.minimum_samples == (560 if name == "wav2vec2-bert" else 400)
    assert encoder.frame_count(encoder.minimum_samples) == 1
    assert encode_alone(encoder, make_clip(0, encoder.minimum_samples))[3].shape == (1, 32)


@every_encoder
def test_only_the_layers_needed_are_run_and_need_to_be_there(name):
    encoder, clip = tiny_encoder(name), make_clip(0, 4000)
    ran = []
    for number, layer in enumerate(encoder.model.encoder.layers, start=1):
        layer.final_layer_norm.register_forward_hook(lambda *_, number=number: ran.append(number))
    full, _ = encoder(*make_batch([clip]), [2, 1])
    assert ran == [1, 2]

    model = tiny_model(name)
    del model.encoder.layers[2:]
    truncated, _ = Encoder(model, normalize=True)(*make_batch([clip]), [2, 1])
    assert torch.equal(truncated, full)


@every_encoder
def test_stays_in_eval_mode_and_frozen(name):
    encoder, clip = tiny_encoder(name), make_clip(0, 4000)
    before = encode_alone(encoder, clip)
    parent = torch.nn.Sequential(encoder).train()
    assert parent.training
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    for first, second in zip(before, encode_alone(encoder, clip), strict=True):
        assert torch.equal(first, second)


def test_features_can_be_trained_on():
    features, _ = tiny_encoder("hubert-base")(*make_batch([make_clip(0, 4000)]), [1])
    probe = torch.nn.Linear(32, 2)
    probe(features[0]).sum().backward()
    assert probe.weight.grad is not None


def test_waveforms_are_left_as_they_are():
    waveforms, lengths = make_batch([make_clip(0, 4000), make_clip(1, 3000)])
    before = waveforms.clone()
    tiny_encoder("wavlm-base")(waveforms, lengths, [1])
    torch.testing.assert_close(waveforms, before, rtol=0, atol=0, equal_nan=True)


def test_threads_share_an_encoder():
    encoder = tiny_encoder("wavlm-large")
    clips = [make_clip(seed, 2000 + 700 * seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        for clip, found in zip(clips, pool.map(lambda clip: encode_alone(encoder, clip), clips), strict=True):
            torch.testing.assert_close(found, encode_alone(encoder, clip))


@pytest.mark.parametrize(
    ("samples", "lengths", "message"),
    [
        ((2, 4000), [4000, 399], r"clip 1 has 399 samples; a clip needs at least 400 \(0.025 s\)"),
        ((1, 4000), [4001], "clip 0 has 4001 samples; .* these waveforms hold 4000"),
        ((1, 0), [0], "clip 0 has 0 samples"),
        ((4000,), [4000], r"expected waveforms \[batch >= 1, samples\] .* got shapes \[4000\] and \[1\]"),
        ((2, 4000), [4000], r"got shapes \[2, 4000\] and \[1\]"),
        ((0, 4000), [], r"got shapes \[0, 4000\] and \[0\]"),
    ],
)
def test_bad_audio_is_told(samples, lengths, message):
    with pytest.raises(AudioError, match=message):
        tiny_encoder("hubert-base")(torch.zeros(samples), torch.tensor(lengths, dtype=torch.int64), [1])


@pytest.mark.parametrize("layers", [[4], [1, -1], []])
def test_layers_that_are_not_there_are_told(layers):
    with pytest.raises(LayerError, match=r"the encoder has layers 0, 1, 2, 3$"):
        tiny_encoder("hubert-base")(*make_batch([make_clip(0, 4000)]), layers)


def test_other_families_are_told():
    config = transformers.UniSpeechConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    model = transformers.UniSpeechModel(config)
    with pytest.raises(CheckpointError, match="'unispeech' is not supported; those that are: data2vec-audio, hubert, "):
        Encoder(model, normalize=True)
    model = tiny_model("wav2vec2-bert", position_embeddings_type="rotary")
    with pytest.raises(ConfigError, match="position_embeddings_type must be one of 'relative_key', None, got 'rotary'"):
        Encoder(model, normalize=True)


@every_encoder
def test_the_model_keeps_its_weights_and_its_answers(name):
    model, clip = tiny_model(name), make_clip(0, 6000)
    before = copy.deepcopy(model.state_dict())
    encoder = Encoder(model, normalize=True)
    encode_alone(encoder, clip)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    if name != "wav2vec2-bert":
        with torch.no_grad():
            found, wanted = model(clip[None]).last_hidden_state, tiny_model(name)(clip[None]).last_hidden_state
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["hubert-base", "wavlm-large", "data2vec-audio"])
def test_convolutions_in_blocks_are_those_of_whole_batches(name, monkeypatch):
    encoder = tiny_encoder(name)
    clips = torch.stack([make_clip(1, 9000), make_clip(2, 9000, loudness=0.01)])
    statistics = [encoder.statistics([clip]) for clip in clips]
    with torch.inference_mode():
        front_end = encoder.model.feature_extractor
        monkeypatch.setattr("semtok.encoder.front_end._BLOCK_FRAMES", 5)
        found = front_end(clips, [9000, 9000], statistics)
        normalised = torch.stack([(c - s.mean) / s.deviation for c, s in zip(clips, statistics, strict=True)])
        whole = front_end._convolve(normalised.float(), statistics)  # as on a GPU
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-5 * float(whole.abs().max()))


@settings(max_examples=30, deadline=None)
@given(kernel=st.integers(1, 40), groups=st.sampled_from([1, 2, 4]), frames=st.integers(1, 200), norm=st.booleans())
def test_positions_by_spectra_are_those_of_the_convolution(kernel, groups, frames, norm):
    convolution = torch.nn.Conv1d(8, 8, kernel, padding=kernel // 2, groups=groups)
    if norm:
        convolution = torch.nn.utils.parametrizations.weight_norm(convolution, dim=2)
    own = PositionConvolution(8, kernel, groups, weight_norm=norm)
    own.load_state_dict(convolution.state_dict())
    own.prepare()
    hidden = torch.randn(2, 8, frames)
    with torch.inference_mode():
        wanted = convolution(hidden)
        torch.testing.assert_close(own(hidden), wanted, rtol=0, atol=1e-5)
        torch.testing.assert_close(own.plain()(hidden), wanted, rtol=0, atol=1e-6)


@every_encoder
def test_half_precision_is_near(name):
    clips = [make_clip(1, 1600, loudness=0.3, offset=0.05), make_clip(2, 24000, loudness=0.01)]
    exact, rounded = tiny_encoder(name), tiny_encoder(name).to(torch.bfloat16)
    for wanted, found in zip(exact(*make_batch(clips), LAYERS)[0], rounded(*make_batch(clips), LAYERS)[0], strict=True):
        assert found.dtype == torch.bfloat16
        assert float((found.float() - wanted).square().mean().sqrt()) < 0.03 * float(wanted.square().mean().sqrt())


def test_most_tokens_of_speech_stay_in_half_precision():
    exact = Tokenizer.from_pretrained("tiny").encode(SPEECH)
    rounded = Tokenizer.from_pretrained("tiny", dtype="bfloat16").encode(SPEECH)
    valid = exact.codes >= 0
    equal = (exact.codes == rounded.codes)[valid].float().mean()
    assert equal > 0.9, f"{equal:.3f} of the tokens are those of float32"


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own, on importing its compiler
def test_compiled_layers_give_the_same_tokens_for_all_lengths():
    encoder, compiled = tiny_encoder("wavlm-large"), tiny_encoder("wavlm-large")
    compiled.compile_layers()
    encode_alone(compiled, make_clip(0, 4000))
    for samples in (9000, 2500):
        clip = make_clip(samples, samples)
        with torch.compiler.set_stance("fail_on_recompile"):
            features = encode_alone(compiled, clip)
        for alone, found in zip(encode_alone(encoder, clip), features, strict=True):
            assert count_flips(alone, found, draw_quantizer(alone)) == 0


def test_a_missing_compiler_is_told(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\n\nand much more")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(
        CheckpointError, match=r"needs a C\+\+ compiler .* \(torch.compile failed with: InvalidCxxC.* found\)$"
    ):
        check_compiler("cpu")
    with pytest.raises(CheckpointError, match=r"needs Triton \(pip install triton\) and a C\+\+ compiler"):
        check_compiler("cuda")
    with pytest.raises(CheckpointError, match="load without compile"):
        Tokenizer.from_pretrained("tiny", compile=True)
