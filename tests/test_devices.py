"""Devices: no float64 reaches one, and an accelerator gives what the CPU gives."""

from __future__ import annotations

import copy

import pytest
import torch
from checkpoints import CLIPS
from encoders import ENCODERS, tiny_model
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from semtok import Tokenizer, Vocoder, load_audio
from semtok.encoder.code_encoder import CodeEncoder
from semtok.encoder.encoder import Encoder
from semtok.networks.decoding import decode

CLIP = load_audio(CLIPS[0])[:24000]


class Float64(TorchDispatchMode):
    """Refuses float64 on the device `meta`, which stands in for an accelerator without it. What leaves it is ones."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        source = arguments[0] if arguments else None
        if str(options.get("device")) == "cpu" and isinstance(source, torch.Tensor) and source.is_meta:
            return torch.ones(source.shape, dtype=options.get("dtype", source.dtype))
        result = function(*arguments, **options)
        for tensor in torch.utils._pytree.tree_leaves((arguments, options, result)):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
                assert tensor.dtype != torch.float64, f"{function} of {list(tensor.shape)}"
        return result


@pytest.mark.parametrize("name", ENCODERS)
def test_no_float64_reaches_the_device_in_encoding(name):
    encoder = Encoder(tiny_model(name), normalize=True)
    statistics = [encoder.statistics([CLIP]), encoder.statistics([CLIP[:9000]])]
    network = CodeEncoder(encoder, {1: [torch.randn(20, 32), torch.randn(10, 32)], 3: [torch.randn(30, 32)]})
    expected, _ = network(torch.stack([CLIP, CLIP]), torch.tensor([24000, 9000]), [3, 1], statistics)
    network.to("meta")
    with Float64():
        waveforms = torch.empty(2, 24000, device="meta")
        codes, frames = network(waveforms, torch.tensor([24000, 9000]), [3, 1], statistics)
    assert codes.device.type == frames.device.type == "meta"
    assert (codes.shape, codes.dtype) == (expected.shape, torch.int64)


class HostCopies(TorchFunctionMode):
    """Refuses what brings values of a tensor to the host, or waits for them."""

    NAMES = ("cpu", "item", "numpy", "__bool__", "__float__", "__int__", "__index__", "__array__", "nonzero")

    def __torch_function__(self, function, types, arguments=(), options=None):
        assert getattr(function, "__name__", "") not in self.NAMES, f"{function} copies to the host"
        return function(*arguments, **(options or {}))


class HostScalars(TorchDispatchMode):
    """Refuses the operations under `item`, `bool` and masks whose shape depends on values."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        refused = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")
        assert function.overloadpacket.__name__ not in refused, function
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "wav2vec2-bert"])
def test_a_batch_on_a_device_is_encoded_without_a_copy_to_the_host(name):
    centroids = {1: [torch.randn(20, 32), torch.randn(10, 32)], 3: torch.randn(30, 32)}
    tokenizer = Tokenizer.from_centroids(tiny_model(name), centroids, normalize=True)
    batch, lengths = torch.stack([CLIP, CLIP.flip(0), CLIP]), [24000, 20000, 9000]
    expected = tokenizer.encode(batch, lengths=lengths)
    with HostCopies(), HostScalars():
        found = tokenizer.encode(batch, lengths=lengths, finite=True)
    assert found.codes.equal(expected.codes) and found.lengths.equal(expected.lengths)
    with HostCopies(), pytest.raises(AssertionError, match="copies to the host"):
        tokenizer.encode(batch, lengths=lengths)
    # a meta tensor has no values that could be copied
    tokenizer.network.to("meta")
    there = tokenizer.encode(batch.to("meta"), lengths=lengths, finite=True)
    assert there.codes.device.type == "meta" and there.codes.shape == expected.codes.shape


@pytest.mark.parametrize("folder", ["istft_folder", "hifigan_folder"])
def test_no_float64_reaches_the_device_in_decoding(folder, request, tokenizer):
    network = copy.deepcopy(Vocoder.from_pretrained(request.getfixturevalue(folder)).network).to("meta")
    tokens = tokenizer.encode([CLIP, CLIP[:9000]])
    with Float64():
        waveforms = decode(network, tokens.codes.to("meta"), tokens.lengths, tokens.layers)
    assert waveforms.device.type == "meta" and waveforms.dtype == torch.float32


@pytest.fixture(scope="module")
def device():
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None:
        pytest.skip("there is no accelerator here")
    return accelerator


@pytest.mark.gpu
def test_an_accelerator_gives_the_tokens_of_the_cpu(device):
    torch.backends.cudnn.allow_tf32 = True
    clips = [load_audio(path) for path in CLIPS]
    there, here = Tokenizer.from_pretrained("tiny", device=device), Tokenizer.from_pretrained("tiny")
    expected = here.encode(clips)
    found = there.encode(clips).to("cpu")
    assert torch.equal(found.lengths, expected.lengths)
    differs = found.codes != expected.codes
    assert differs.float().mean() < 1e-3
    # Near ties alone may fall to the other side, in residual stages also what follows such a one.
    first = [rows.start for rows in here.codebooks.rows.values()]
    margins = torch.nn.utils.rnn.pad_sequence(
        [here.margins(here.features(clip))[0].T for clip in clips], batch_first=True
    ).transpose(1, 2)
    assert (margins[:, first][differs[:, first]] < 1e-4).all()


@pytest.mark.gpu
def test_a_batch_stays_on_an_accelerator(device):
    there, here = Tokenizer.from_pretrained("tiny", device=device), Tokenizer.from_pretrained("tiny")
    batch, lengths = torch.stack([CLIP, CLIP.flip(0), CLIP]), [24000, 20000, 9000]
    lying = batch.to(device)
    with HostCopies(), HostScalars():
        found = there.encode(lying, lengths=lengths, finite=True)
    assert found.codes.device.type == device.type
    assert (found.codes.cpu() != here.encode(batch, lengths=lengths).codes).float().mean() < 1e-3


@pytest.mark.gpu
def test_an_accelerator_gives_the_speech_of_the_cpu(device):
    here, there = Vocoder.from_pretrained("tiny"), Vocoder.from_pretrained("tiny", device=device)
    tokens = Tokenizer.from_pretrained("tiny").encode([load_audio(path) for path in CLIPS])
    difference = (there.decode(tokens).cpu() - here.decode(tokens)).abs().max()
    assert difference < 1e-3
