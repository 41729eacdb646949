"""semtok behind the audio tokenizers of transformers: what generic code written for DAC does with one."""

from __future__ import annotations

import pytest
import torch
from helpers import CLIPS, refuses
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioTokenization
from transformers.modeling_utils import PreTrainedAudioTokenizerBase

from semtok import Tokenizer, Vocoder, load_audio
from semtok.errors import AudioError, TokensError
from semtok.export.audio_tokenizer import SemtokAudioTokenizer


@pytest.fixture(scope="module")
def folder(istft_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    SemtokAudioTokenizer.from_pretrained(istft_folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForAudioTokenization.from_pretrained(folder)


@pytest.fixture(scope="module")
def waveforms():
    return [load_audio(clip)[:20000] for clip in CLIPS[:2]]


def test_the_common_door_opens_it(model, folder, tokenizer):
    assert isinstance(model, PreTrainedAudioTokenizerBase) and isinstance(model, SemtokAudioTokenizer)
    assert not model.training and model.dtype == torch.float32 and model.device == tokenizer.device
    config = AutoConfig.from_pretrained(folder)
    for described in (config, model.config):
        assert described.model_type == "semtok"
        assert (described.sampling_rate, described.hop_length, described.frame_rate) == (16000, 320, 50)
        assert (described.num_quantizers, described.layers) == (3, list(tokenizer.layers))
        assert described.codebook_sizes == list(tokenizer.codebook_sizes)
    assert Tokenizer.from_pretrained(folder).fingerprint == tokenizer.fingerprint, "and semtok's own"


def test_codes_and_audio_are_those_of_semtok(model, tokenizer, istft_folder, waveforms):
    inputs = torch.stack(waveforms)[:, None]
    encoded = model.encode(inputs)
    tokens = tokenizer.encode(waveforms)
    assert encoded.audio_codes.equal(tokens.codes) and encoded.audio_codes_mask.all()
    audio = model.decode(encoded.audio_codes).audio_values
    assert audio.equal(Vocoder.from_pretrained(istft_folder).decode(tokens))
    both = model(inputs)
    assert both.audio_codes.equal(tokens.codes) and both.audio_values.equal(audio[:, : inputs.shape[-1]])
    codes, values = model(inputs, return_dict=False)
    assert codes.equal(tokens.codes) and values.equal(both.audio_values)
    assert model.decode(audio_codes=codes, return_dict=False)[0].equal(audio)


def test_padding_takes_part_in_nothing(model, tokenizer, waveforms):
    clips = [waveforms[0], waveforms[1][:9000]]
    mask = pad_sequence([torch.ones(len(clip)) for clip in clips], batch_first=True)
    padded = pad_sequence(clips, batch_first=True)
    padded[1, 9000:] = 0.5
    encoded = model.encode(padded, mask)
    tokens = tokenizer.encode(clips)
    assert encoded.audio_codes.equal(tokens.codes)
    assert encoded.audio_codes_mask.sum(dim=1).equal(tokens.lengths)
    audio = model.decode(encoded.audio_codes, mask).audio_values
    assert audio.shape[1] <= mask.shape[1] and (audio[1, tokens.lengths[1] * 320 :] == 0).all()


@pytest.mark.parametrize("kind", [torch.float32, torch.int64, torch.bool])
def test_padding_may_be_on_either_side(model, tokenizer, waveforms, kind):
    clips = [waveforms[0], waveforms[1][:9000]]
    inputs, mask = torch.full((2, 20000), 0.5), torch.zeros(2, 20000, dtype=kind)
    for row, start in enumerate((0, 7000)):
        inputs[row, start : start + len(clips[row])] = clips[row]
        mask[row, start : start + len(clips[row])] = 1
    tokens = tokenizer.encode(clips)
    encoded = model.encode(inputs[:, None], mask[:, None])
    assert encoded.audio_codes.equal(tokens.codes)
    assert encoded.audio_codes_mask.sum(dim=1).equal(tokens.lengths)


def test_the_feature_extractor_pads_for_it(folder, model, tokenizer, waveforms):
    clips = [waveforms[0], waveforms[1][:9000]]
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    for side in ("right", "left"):
        extractor.padding_side = side
        inputs = extractor([clip.numpy() for clip in clips], sampling_rate=16000, return_tensors="pt")
        assert model.encode(**inputs).audio_codes.equal(tokenizer.encode(clips).codes)


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_a_dtype_by_either_name(folder, name):
    model = AutoModelForAudioTokenization.from_pretrained(folder, **{name: torch.bfloat16})
    assert (model.tokenizer.dtype, model.vocoder.dtype) == (torch.bfloat16, torch.bfloat16)
    assert SemtokAudioTokenizer.from_pretrained(folder, **{name: "auto"}).tokenizer.dtype == torch.float32


def test_fewer_quantizers_are_fewer_layers(model, tokenizer, waveforms):
    codes = model.encode(waveforms[0][None], num_quantizers=2).audio_codes
    assert codes.equal(tokenizer.encode(waveforms[0], layers=tokenizer.layers[:2]).codes)
    assert model.decode(codes).audio_values.shape == (1, 320 * codes.shape[2])


def test_bad_input(model, waveforms, other_folder, tokenizer):
    with refuses(AudioError, "[1, 2, 20000]"):
        model.encode(torch.stack(waveforms)[None])
    mask = torch.ones(1, 20000)
    mask[0, 5000:6000] = 0
    with refuses(AudioError, "clip 0", "padding inside"):
        model.encode(waveforms[0][None], mask)
    with refuses(AudioError, "[1, 9]", "[1, 20000]"):
        model.encode(waveforms[0][None], mask[:, :9])
    with refuses(AudioError, "lengths[0] is 0"):
        model.encode(waveforms[0][None], torch.zeros(1, 20000))
    with refuses(TokensError, "5 rows", "after 1, 2, 3"):
        model.decode(torch.zeros(1, 5, 9, dtype=torch.int64))
    with refuses(TokensError, "do not belong together"):
        SemtokAudioTokenizer(tokenizer, Vocoder.from_pretrained(other_folder))
