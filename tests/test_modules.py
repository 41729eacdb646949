"""The networks of a vocoder: selector and generators."""

from __future__ import annotations

import math

import pytest
import torch
from checkpoints import GENERATORS
from hypothesis import given, settings
from hypothesis import strategies as st

from semtok.codebooks.codebooks import Codebooks
from semtok.networks.config import VocoderConfig
from semtok.networks.generators import GeneratorConfig, HiFiGANConfig, ISTFTConfig
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.networks.selector import LayerSelector

SIZES = (7, 5, 9)
CODEBOOKS = Codebooks({1: [7], 2: [5], 3: [9]})


@pytest.fixture
def selector():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LayerSelector(CODEBOOKS, dim=6, attention_dim=4)


def draw_codes(*, batch=2, frames=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (batch, frames), generator=generator) for size in SIZES], dim=1)


# --- selector


@torch.no_grad()
def test_selector_computes_the_formula_of_the_paper(selector):
    codes = draw_codes()
    fused, weights = selector(codes)
    hidden, _, last = selector.score
    assert last.bias is None
    for utterance in range(2):
        for frame in range(5):
            vectors = [selector.embeddings[i].weight[codes[utterance, i, frame]] for i in range(3)]
            scores = [last.weight[0] @ (hidden.weight @ e + hidden.bias).clamp(min=0) for e in vectors]
            shares = [math.exp(float(z)) / sum(math.exp(float(s)) for s in scores) for z in scores]
            torch.testing.assert_close(weights[utterance, :, frame], torch.tensor(shares))
            expected = sum(share * vector for share, vector in zip(shares, vectors, strict=True))
            torch.testing.assert_close(fused[utterance, frame], expected)


@settings(max_examples=30, deadline=None)
@given(positions=st.permutations([0, 1, 2]), count=st.integers(1, 3), seed=st.integers(0, 99))
def test_layers_given_by_position_or_by_a_mask_are_the_same(positions, count, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        selector = LayerSelector(CODEBOOKS, dim=6, attention_dim=4)
    chosen, codes = positions[:count], draw_codes(seed=seed)
    present = torch.zeros(2, 3, dtype=torch.bool)
    present[:, chosen] = True
    masked, masked_weights = selector(codes, present=present)
    fused, weights = selector(codes[:, chosen], chosen)
    torch.testing.assert_close(masked, fused)
    torch.testing.assert_close(masked_weights[:, chosen], weights)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 5))
    assert (masked_weights[~present] == 0).all()


def test_an_absent_layer_gets_no_gradient(selector):
    present = torch.tensor([[True, False, True], [True, False, False]])
    fused, _ = selector(draw_codes(), present=present)
    fused.square().sum().backward()
    grads = [float(embedding.weight.grad.abs().sum()) for embedding in selector.embeddings]
    assert grads[1] == 0 < min(grads[0], grads[2])


def test_tables_start_from_centroids_at_one_scale(selector):
    generator = torch.Generator().manual_seed(0)
    centroids = [
        3 + scale * torch.randn(size, 6, generator=generator) for size, scale in zip(SIZES, (1, 20, 5), strict=True)
    ]
    selector.start_from(centroids)
    for embedding, points in zip(selector.embeddings, centroids, strict=True):
        torch.testing.assert_close(embedding.weight, (points - points.mean()) / points.std())
        assert embedding.weight.requires_grad


@pytest.mark.parametrize("dim", [4, 48])
def test_centroids_of_another_dimension_keep_their_distances(dim):
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(50, dim, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        selector = LayerSelector(Codebooks({1: [50]}), dim=24, attention_dim=4)
        selector.start_from([points])
    table = selector.embeddings[0].weight.detach()
    torch.testing.assert_close(table.std(), torch.tensor(1.0))
    pairs = torch.stack([torch.pdist(points), torch.pdist(table)])
    assert torch.corrcoef(pairs)[0, 1] > (0.999 if dim < 24 else 0.6)


# --- generators


def make_vocoder(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ScalableVocoder(
            VocoderConfig(CODEBOOKS, 6, 4, 16000, 320, "print", GeneratorConfig(**{name: GENERATORS[name]}))
        )


@pytest.mark.parametrize("name", GENERATORS)
def test_a_frame_makes_hop_length_samples(name):
    network = make_vocoder(name)
    assert network.hop_length == GENERATORS[name].hop_length == 320
    for frames in (1, 2, 3, 4, 7, 40):
        waveform = network(draw_codes(frames=frames))
        assert waveform.shape == (2, frames * 320)
        assert waveform.isfinite().all()


@pytest.mark.parametrize("name", GENERATORS)
def test_every_parameter_is_trained(name):
    network = make_vocoder(name)
    network(draw_codes(frames=30)).square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key


def test_hifigan_has_the_size_of_the_published_one():
    """speechbrain/hifigan-wavlm-k1000-LibriTTS has 22,745,858, with weight norm's lengths, which are merged here."""
    with torch.device("meta"):
        generator = HiFiGANConfig(
            channels=512,
            upsample_factors=(5, 4, 4, 2, 2),
            upsample_kernel_sizes=(11, 8, 8, 4, 4),
            resblock_kernel_sizes=(3, 7, 11),
            resblock_dilations=(1, 3, 5),
        ).build(1024)
        selector = LayerSelector(Codebooks({layer: [1000] for layer in range(6)}), dim=1024, attention_dim=128)
    lengths = 512 + (512 + 256 + 128 + 64 + 32) + 3 * 6 * (256 + 128 + 64 + 32 + 16) + 1
    absent_row = 1024
    count = sum(p.numel() for module in (generator, selector) for p in module.parameters())
    assert count + lengths + absent_row == 22_745_858


@pytest.mark.parametrize(("n_fft", "hop"), [(320, 160), (640, 160), (200, 80), (514, 160)])
def test_overlap_add_undoes_windowing(n_fft, hop):
    config = ISTFTConfig(2 * hop, width=4, hidden=4, blocks=1, n_fft=n_fft, stft_hop_length=hop)
    generator = config.build(4)
    count, edge = 9, (n_fft - hop) // 2
    signal = torch.randn(2, (count - 1) * hop + n_fft, generator=torch.Generator().manual_seed(0))
    windows = signal.unfold(1, n_fft, hop) * torch.hann_window(n_fft)
    assert windows.shape == (2, count, n_fft)
    whole = generator._overlap_add(windows)
    torch.testing.assert_close(whole, signal[:, edge : edge + count * hop], rtol=1e-4, atol=1e-4)


def test_istft_generator_makes_the_spectra_its_head_says():
    """Bin 0 alone at 64: each window holds 64 / 640; four Hann windows at a time add up to 2, their squares to 1.5."""
    generator = ISTFTConfig(320, width=4, hidden=4, blocks=1, n_fft=640, stft_hop_length=160).build(4)
    log_magnitude = torch.full((2, 321), -30.0)
    log_magnitude[:, 0] = math.log(64)
    with torch.no_grad():
        generator.head.weight.zero_()
        generator.head.bias.copy_(torch.cat([log_magnitude, torch.zeros(2, 321)], dim=1).flatten())
        waveform = generator(torch.randn(1, 12, 4, generator=torch.Generator().manual_seed(0)))[0]
    torch.testing.assert_close(waveform[640:-640], torch.full((12 * 320 - 1280,), 0.1 * 2 / 1.5))
