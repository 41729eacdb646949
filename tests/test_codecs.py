"""Audio tokenizers of transformers that stand beside semtok's: same codes and sound as by their own methods."""

from __future__ import annotations

import json

import pytest
import torch
from codec_models import MODELS, save_codec
from helpers import CLIPS, refuses
from transformers import AutoModel

from semtok import load_audio
from semtok.errors import CheckpointError, LayerError, SpeakerError, TokensError
from semtok.evaluation.codecs import FAMILIES, load_codec


@pytest.fixture(scope="module", params=MODELS)
def folder(request, tmp_path_factory):
    return save_codec(request.param, tmp_path_factory.mktemp("codecs") / request.param)


@pytest.fixture(scope="module")
def speech():
    return load_audio(CLIPS[0])[:16000]


def test_every_family_is_tested():
    assert MODELS.keys() == FAMILIES.keys()


def test_codes_and_speech_are_those_of_the_model_itself(folder, speech):
    codec = load_codec(str(folder))
    model = AutoModel.from_pretrained(folder).eval()
    waveform = load_audio(CLIPS[0], sample_rate=codec.sample_rate)[: codec.sample_rate]
    tokens = codec.encode([waveform, waveform[: len(waveform) // 2]])
    widest = {"bandwidth": model.config.target_bandwidths[-1]} if hasattr(model.config, "target_bandwidths") else {}
    with torch.inference_mode():
        theirs = model(waveform[None, None], **widest)
    codes = theirs.audio_codes.reshape(codec.rows, -1)
    assert tokens[0].codes[0].equal(codes) and len(codes.unique()) > 4
    assert tokens.frame_rate == pytest.approx(tokens.lengths[0] / 1.0, abs=2)
    alone = codec.encode(waveform[: len(waveform) // 2])
    assert alone.codes.equal(tokens[1].codes), "padding takes part in nothing"
    audio = codec.decode(tokens)
    samples = theirs.audio_values.shape[-1]
    torch.testing.assert_close(audio[0, :samples], theirs.audio_values.reshape(-1).clamp(-1, 1)[: audio.shape[1]])
    assert codec.embed(tokens[0].codes[0]).shape[0] == tokens.lengths[0]


def test_fewer_codebooks_are_the_first_ones_at_a_lower_bitrate(folder, speech):
    codec, two = load_codec(str(folder)), load_codec(str(folder), rows=2)
    assert two.bitrate == codec.bitrate / 2 == 2 * 5 * codec.frame_rate
    all_codes = codec.encode(speech, sample_rate=16000).codes
    tokens = two.encode(speech, sample_rate=16000)
    assert tokens.codes.equal(all_codes[:, :2])
    assert not two.decode(tokens).equal(codec.decode(codec.encode(speech, sample_rate=16000)))
    assert codec.at_bitrate(two.bitrate).rows == 2
    assert (codec.at_bitrate(0).rows, codec.at_bitrate(1e9).rows) == (1, 4)
    with pytest.raises(TokensError):
        codec.decode(tokens)


def test_what_is_no_codec_is_refused(folder, speech, tmp_path):
    for rows in (0, 5):
        with refuses(LayerError, "has 4 codebooks", f"first {rows}"):
            load_codec(str(folder), rows=rows)
    with refuses(SpeakerError, "no speaker encoder"):
        load_codec(str(folder)).speaker(speech)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with refuses(CheckpointError, "type 'bert'", "dac, encodec, mimi, xcodec"):
        load_codec(str(tmp_path))
