from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from semtok.codebooks import quantizer as quantizer_module
from semtok.codebooks.quantizer import Quantizer


def draw(seed: int, *shape: int, scale: float = 1.0, offset: float = 0.0) -> torch.Tensor:
    return offset + scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def brute_force(features: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Squared distances [frames, codebook_size] in float64, from the differences themselves."""
    return (features.double()[:, None] - centroids.double()).square().sum(dim=2)


@example(seed=0, frames=40, codebook_size=70, dim=1, scale=1.0, spread=1.0, offset=100.0)
@example(seed=7097361, frames=17, codebook_size=37, dim=1, scale=1.0, spread=1.408203125, offset=1.0)
@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(1, 40),
    codebook_size=st.integers(2, 70),
    dim=st.integers(1, 96),
    scale=st.floats(1e-3, 1e3),
    spread=st.floats(0.1, 10),
    offset=st.floats(-100, 100),
)
def test_codes_are_those_of_brute_force(seed, frames, codebook_size, dim, scale, spread, offset):
    """Also far from zero, where |c|^2 - 2 x.c alone would lose the differences to rounding."""
    centroids = draw(seed, codebook_size, dim, scale=scale, offset=scale * offset)
    features = draw(seed + 1, frames, dim, scale=scale * spread, offset=scale * offset)
    quantizer = Quantizer(centroids)
    distances = brute_force(features, centroids)
    first, second = distances.topk(2, dim=1, largest=False).values.unbind(dim=1)
    chosen = distances.gather(1, quantizer(features)[:, None])[:, 0]
    # Rounding of a product is relative to its factors and not to the distance, which may be far smaller.
    centre = centroids.double().mean(dim=0)
    size = (features - centre).norm(dim=1) + (centroids - centre).norm(dim=1).max()
    assert (chosen - first <= (dim + 2) * torch.finfo(torch.float32).eps * size.square()).all()
    torch.testing.assert_close(quantizer.margins(features), (second - first) / second, rtol=1e-6, atol=1e-9)


def test_shapes_and_dtypes():
    quantizer = Quantizer(draw(0, 7, 5))
    assert (quantizer.codebook_size, quantizer.dim) == (7, 5)
    for shape in [(5,), (3, 5), (2, 3, 5), (2, 0, 5)]:
        codes = quantizer(draw(1, *shape))
        assert codes.dtype == torch.int64
        assert codes.shape == quantizer.margins(draw(1, *shape)).shape == shape[:-1]


def test_a_tie_goes_to_the_lowest_number():
    centroids = draw(0, 30, 16).repeat(3, 1)
    codes = Quantizer(centroids)(centroids)
    assert codes.tolist() == list(range(30)) * 3
    assert (Quantizer(centroids).margins(centroids) == 0).all()


def test_chunks_do_not_show(monkeypatch):
    features, quantizer = draw(0, 3, 50, 16), Quantizer(draw(1, 20, 16))
    whole = quantizer(features), quantizer.margins(features)
    monkeypatch.setattr(quantizer_module, "_SCORES_AT_A_TIME", 7 * 20 + 3)
    assert torch.equal(quantizer(features), whole[0])
    torch.testing.assert_close(quantizer.margins(features), whole[1])


def test_centroids_stay_float32():
    centroids = draw(0, 20, 16)
    quantizer = Quantizer(centroids.double())
    for converted in (quantizer, quantizer.to(torch.bfloat16), quantizer.half(), quantizer.double()):
        assert torch.equal(converted.centroids, centroids)
    assert quantizer(draw(1, 4, 16).bfloat16()).shape == (4,)


def test_centroids_are_a_copy():
    centroids = draw(0, 20, 16)
    quantizer = Quantizer(centroids)
    centroids.zero_()
    assert quantizer.centroids.abs().min() > 0


def test_state_dict_holds_the_centroids_and_nothing_else():
    quantizer = Quantizer(draw(0, 20, 16))
    assert list(quantizer.state_dict()) == ["centroids"]
    other = Quantizer(draw(1, 20, 16))
    other.load_state_dict(quantizer.state_dict())
    features = draw(2, 100, 16)
    assert torch.equal(other(features), quantizer(features))


def test_wrong_shapes_are_told():
    with pytest.raises(ValueError, match=r"\[codebook_size >= 2, dim\], got shape \[3\]"):
        Quantizer(torch.zeros(3))
    with pytest.raises(ValueError, match=r"with dim 5, got shape \[2, 4\]"):
        Quantizer(torch.zeros(3, 5))(torch.zeros(2, 4))


@torch.no_grad()
def test_codes_follow_the_centroids():
    """What distances are computed from is kept, but only for as long as the centroids stay."""
    generator = torch.Generator().manual_seed(0)
    features, centroids = torch.randn(200, 6, generator=generator), torch.randn(2, 20, 6, generator=generator)
    quantizer = Quantizer(centroids[0])
    quantizer(features)
    quantizer.centroids.copy_(centroids[1])
    assert torch.equal(quantizer(features), Quantizer(centroids[1])(features))
    quantizer.load_state_dict({"centroids": centroids[0]})
    assert torch.equal(quantizer(features), Quantizer(centroids[0])(features))
    quantizer.centroids = centroids[1].clone()
    assert torch.equal(quantizer(features), Quantizer(centroids[1])(features))
