"""What `Vocoder` makes of tokens, with both generators; and what it refuses."""

from __future__ import annotations

import copy

import pytest
import torch
from checkpoints import CODEBOOK_SIZES, GENERATORS, draw_tokens
from helpers import CLIPS, changed_tokens, refuses
from hypothesis import given, settings
from hypothesis import strategies as st

from semtok import Tokenizer, Tokens, Vocoder, load_audio
from semtok.errors import CheckpointError, LayerError, TokensError

LAYERS = tuple(CODEBOOK_SIZES)


@pytest.fixture(scope="module", params=GENERATORS)
def folder(request):
    return request.getfixturevalue(f"{request.param}_folder")


@pytest.fixture(scope="module")
def vocoder(folder):
    return Vocoder.from_pretrained(folder)


@pytest.fixture(scope="module")
def speech(tokenizer):
    """Tokens of three recordings of different lengths."""
    return tokenizer.encode([load_audio(path)[: 9000 + 4000 * number] for number, path in enumerate(CLIPS)])


# --- what comes out


def test_what_a_vocoder_says_of_itself(vocoder, tokenizer, folder):
    assert (vocoder.layers, vocoder.fingerprint) == (LAYERS, tokenizer.fingerprint)
    assert (vocoder.sample_rate, vocoder.hop_length, vocoder.frame_rate) == (16000, 320, 50.0)
    assert (vocoder.device, vocoder.dtype) == (torch.device("cpu"), torch.float32)
    generator = vocoder.config.generator.name
    assert repr(vocoder) == (
        "Vocoder(layers=(1, 3, 4), codebook_sizes=(40, 30, 12), sample_rate=16000, hop_length=320, "
        f"fingerprint='{tokenizer.fingerprint}', generator={generator}, torch.float32 on cpu)"
    )


def test_waveforms_of_recordings(vocoder, speech):
    waveforms = vocoder.decode(speech)
    assert waveforms.shape == (3, speech.codes.shape[2] * 320)
    assert waveforms.dtype == torch.float32
    assert waveforms.isfinite().all()
    assert waveforms.abs().max() <= 1
    for waveform, length in zip(waveforms, speech.lengths * 320, strict=True):
        assert waveform[:length].std() > 1e-4
        assert (waveform[length:] == 0).all()


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5), seed=st.integers(0, 99), data=st.data())
def test_any_number_of_frames_alone_and_in_a_batch(vocoder, lengths, seed, data):
    layers = data.draw(st.permutations(LAYERS))[: data.draw(st.integers(1, 3))]
    tokens = draw_tokens(vocoder, lengths, seed=seed)
    waveforms = vocoder.decode(tokens, layers=layers)
    assert waveforms.shape == (len(lengths), max(lengths) * 320)
    for waveform, one, length in zip(waveforms, tokens, lengths, strict=True):
        alone = vocoder.decode(one, layers=layers)
        assert alone.shape == (1, length * 320)
        torch.testing.assert_close(waveform[: length * 320], alone[0], rtol=0, atol=2e-6)
        assert (waveform[length * 320 :] == 0).all()


def test_large_batches_are_decoded_in_parts(vocoder, monkeypatch):
    tokens = draw_tokens(vocoder, [7, 5, 7, 7, 5, 7])
    whole = vocoder.decode(tokens)
    monkeypatch.setattr("semtok.networks.decoding._BATCH_FRAMES", 15)
    torch.testing.assert_close(vocoder.decode(tokens), whole, rtol=0, atol=2e-6)


def test_loud_waveforms_are_clipped(vocoder):
    loud = copy.deepcopy(vocoder)
    for parameter in loud.network.parameters():
        parameter.mul_(3)
    waveform = loud.decode(draw_tokens(vocoder, [20]))
    assert waveform.abs().max() == 1
    assert waveform.isfinite().all()


def test_waveforms_can_be_trained_on(vocoder):
    gain = torch.ones((), requires_grad=True)
    (vocoder.decode(draw_tokens(vocoder, [3])) * gain).square().sum().backward()
    assert gain.grad is not None


def test_bfloat16(vocoder, folder, speech, tmp_path):
    coarse = Vocoder.from_pretrained(folder, device="cpu", dtype="bfloat16")
    assert coarse.dtype == torch.bfloat16
    waveforms, exact = coarse.decode(speech), vocoder.decode(speech)
    assert waveforms.dtype == torch.float32
    assert (waveforms - exact).norm() < 0.1 * exact.norm()
    with refuses(CheckpointError, "the weights are rounded to torch.bfloat16"):
        coarse.save_pretrained(tmp_path / "coarse")
    assert not (tmp_path / "coarse").exists()


# --- layers


@pytest.mark.parametrize("layers", [[4, 1, 3], [3, 1], [4]])
def test_the_order_of_layers_does_not_matter(vocoder, speech, layers):
    expected = vocoder.decode(speech, layers=sorted(layers))
    assert torch.equal(vocoder.decode(speech, layers=layers), expected)
    assert torch.equal(vocoder.decode(speech.select(layers)), expected)
    assert torch.equal(vocoder.decode(speech.select([3, 4, 1]), layers=layers), expected)


def test_every_subset_sounds_different(vocoder, speech):
    subsets = [[1], [3], [4], [1, 3], [1, 4], [3, 4], [1, 3, 4]]
    waveforms = [vocoder.decode(speech, layers=subset) for subset in subsets]
    for number, waveform in enumerate(waveforms):
        assert not any(torch.allclose(waveform, other, atol=1e-4) for other in waveforms[:number])


def test_an_absent_layer_takes_no_part(vocoder, speech):
    expected = vocoder.decode(speech, layers=[4, 1])
    changed = speech.codes.clone()
    changed[:, 1] = torch.where(changed[:, 1] >= 0, (changed[:, 1] + 7) % 30, -1)
    assert torch.equal(vocoder.decode(changed_tokens(speech, codes=changed), layers=[4, 1]), expected)

    other = copy.deepcopy(vocoder)
    other.network.selector.embeddings[1].weight.fill_(torch.nan)
    assert torch.equal(other.decode(speech, layers=[4, 1]), expected)
    assert torch.equal(other.decode(speech.select([1, 4])), expected)
    assert not torch.equal(vocoder.decode(speech), expected)


# --- from a file, and what is refused


def test_tokens_from_a_file(vocoder, speech, tmp_path):
    speech.save(tmp_path / "speech.safetensors")
    assert torch.equal(vocoder.decode(Tokens.load(tmp_path / "speech.safetensors")), vocoder.decode(speech))


def test_tokens_of_another_tokenizer(vocoder, other_folder):
    tokens = Tokenizer.from_pretrained(other_folder).encode(CLIPS[0])
    ours, theirs = vocoder.fingerprint, tokens.fingerprint
    assert ours != theirs
    with refuses(
        TokensError,
        f"these tokens are of tokenizer {theirs}, this vocoder takes those of {ours}",
        "the same checkpoint",
    ):
        vocoder.decode(tokens)


def test_codes_out_of_range(vocoder, speech):
    with refuses(TokensError, "code 12 of layer 4 (utterance 0, frame 0) is not allowed: expected 0 ... 11"):
        changed_tokens(speech, codes=speech.codes.clone().index_fill_(1, torch.tensor([2]), 12))
    with refuses(
        TokensError, "these tokens have Codebooks({", "4: (13,)}), this vocoder has Codebooks({", "4: (12,)})"
    ):
        vocoder.decode(changed_tokens(speech, codebook_sizes=(40, 30, 13)))


def test_no_tokens(vocoder, speech):
    with refuses(TokensError, "expected Tokens as Tokenizer.encode gives them, got Tensor"):
        vocoder.decode(speech.codes)


@pytest.mark.parametrize(
    ("layers", "parts"),
    [
        ([1, 2, 9], ["this Tokens has no layers [2, 9], only [1, 3, 4]"]),
        ([3, 1, 3], ["each layer can be asked for once, got [3, 1, 3]"]),
        ([], ["no layers asked for: this Tokens has [1, 3, 4]"]),
        (3, ["layers must be a list of integers such as [1], got 3"]),
        ([None, 1], ["layers must be a list of integers such as [1], got [None, 1]"]),
    ],
)
def test_layers_that_are_refused(vocoder, speech, layers, parts):
    with refuses(LayerError, *parts):
        vocoder.decode(speech, layers=layers)


def test_layers_that_only_the_tokens_have(vocoder, speech):
    more = changed_tokens(
        speech,
        codes=torch.cat([speech.codes, speech.codes[:, :1]], dim=1),
        layers=(*LAYERS, 9),
        codebook_sizes=(*CODEBOOK_SIZES.values(), 40),
        stages=(1, 1, 1, 1),
    )
    with refuses(LayerError, "this vocoder has no layers [9], only [1, 3, 4]"):
        vocoder.decode(more)
    assert torch.equal(vocoder.decode(more, layers=LAYERS), vocoder.decode(speech))
