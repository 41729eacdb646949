"""Files that libsndfile alone would read in part: all their samples come, or an error that says how many do."""

from __future__ import annotations

import io
import re
import struct
from functools import cache, partial

import helpers
import numpy as np
import pytest
import soundfile
import torch
from helpers import DATA

from semtok import load_audio
from semtok.audio.io import read_header
from semtok.errors import AudioError

SPEECH = soundfile.read(DATA / "arctic_axb_a0004.flac", dtype="float32")[0]
RATE = 16000
FRAME = 576  # samples of an MP3 frame at 16 kHz
DELAY = 1105  # samples that LAME and the decoder put in front, left in where no header counts them


@cache
def encoded(kind: str, subtype: str | None = None, start: int = 0, rate: int = RATE, **options: object) -> bytes:
    """The speech from `start` on as a file of this kind."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, 1, subtype, format=kind, **options) as file:
        file.write(SPEECH[start:])
    return buffer.getvalue()


def mp3(start: int = 0, mode: str = "VARIABLE", rate: int = RATE) -> bytes:
    return encoded("MP3", "MPEG_LAYER_III", start, rate, bitrate_mode=mode, compression_level=0.5)


def second_frame(content: bytes) -> int:
    """Where the first frame of audio begins, after the one that counts them."""
    return content.index(content[:2], 4)


def patched(content: bytes, position: int, value: bytes) -> bytes:
    return content[:position] + value + content[position + len(value) :]


def read_all(content: bytes) -> torch.Tensor:
    waveform = load_audio(content)
    assert read_header(content, "x") == (len(waveform), RATE)
    return waveform


refuses = partial(helpers.refuses, AudioError)


# --- Ogg


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_all_links_of_a_chain_are_read(subtype):
    links = [encoded("OGG", subtype, start) for start in (0, 20000, 30000)]
    expected = torch.cat([load_audio(link) for link in links])
    assert len(expected) == 3 * len(SPEECH) - 50000
    assert torch.equal(read_all(b"".join(links)), expected)
    assert torch.equal(read_all(links[1] + links[1]), torch.cat([load_audio(links[1])] * 2))


def test_links_of_several_rates_are_refused():
    chain = encoded("OGG", "VORBIS") + encoded("OGG", "VORBIS", rate=8000)
    with refuses("holds streams of several rates, [8000, 16000] Hz", "ffmpeg -i"):
        load_audio(chain)


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_an_ogg_file_that_was_cut_says_so(subtype, tmp_path):
    content = encoded("OGG", subtype)
    (tmp_path / "cut.ogg").write_bytes(content[:-100])
    with refuses("cut.ogg was cut: it ends within a page", "ffmpeg -i", "cut.ogg converted.wav"):
        load_audio(tmp_path / "cut.ogg")


def test_a_page_that_is_lost_shows():
    content = encoded("OGG", "VORBIS")
    pages = [match.start() for match in re.finditer(b"OggS", content)]
    assert len(pages) > 4
    with refuses("ends early", f"{len(SPEECH)} samples of a channel at 16000 Hz were expected", "can be read"):
        load_audio(content[: pages[-3]] + content[pages[-2] :])


# --- MP3


@pytest.mark.parametrize("mode", ["VARIABLE", "AVERAGE", "CONSTANT"])
def test_an_mp3_without_a_header_is_read_to_its_end(mode):
    content = mp3(mode=mode)
    whole = load_audio(content)
    assert len(whole) == len(SPEECH)
    bare = read_all(content[second_frame(content) :])
    assert len(bare) % FRAME == 0
    assert len(SPEECH) + DELAY <= len(bare) < len(SPEECH) + DELAY + 3 * FRAME
    torch.testing.assert_close(bare[DELAY:][: len(whole)], whole, atol=1e-4, rtol=0)


def test_an_mp3_that_was_cut_at_the_front_is_read_from_its_first_whole_frame():
    content = mp3()
    bare = load_audio(content[second_frame(content) :])
    cut = read_all(content[len(content) // 3 :])
    assert len(cut) % FRAME == 0
    assert 0.5 * len(bare) < len(cut) < 0.8 * len(bare)
    torch.testing.assert_close(cut[3 * FRAME :], bare[-len(cut) + 3 * FRAME :], atol=1e-3, rtol=0)


def test_an_mp3_that_was_cut_at_the_end_says_how_much_is_there():
    content = mp3()
    with refuses(
        "ends early", f"{len(SPEECH)} samples of a channel at 16000 Hz were expected", "can be read", "ffmpeg"
    ):
        load_audio(content[: len(content) // 2])


def test_mp3s_that_were_joined_are_read_to_the_end():
    first, second = mp3(), mp3(20000)
    tag = b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128)
    for between in (b"", tag, b"TAG" + bytes(125), b"TAG" + bytes(125) + tag):
        assert len(read_all(first + between + second)) == 2 * len(SPEECH) - 20000
    bare = [content[second_frame(content) :] for content in (first, second)]
    assert len(read_all(b"".join(bare))) == sum(len(load_audio(content)) for content in bare)


def test_tags_around_an_mp3_change_nothing():
    content = mp3()
    tagged = b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128) + content + b"TAG" + b"\xff" * 125
    assert torch.equal(read_all(tagged), load_audio(content))


# --- WAV and its kin

WAV = encoded("WAV", "PCM_16")
DATA = WAV.index(b"data") + 4


@pytest.mark.parametrize("riff, data", [(0, 0), (36, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF024, 0x7FFFF000)])
def test_a_wav_that_does_not_know_its_size_is_read_to_its_end(riff, data):
    content = patched(patched(WAV, 4, struct.pack("<I", riff)), DATA, struct.pack("<I", data))
    assert torch.equal(load_audio(content), load_audio(WAV))
    assert read_header(content, "x") == (len(SPEECH), RATE)


def test_an_rf64_and_an_au_that_do_not_know_their_size_are_read_to_their_end():
    content = encoded("RF64", "PCM_16")
    assert content.startswith(b"RF64")
    assert torch.equal(read_all(patched(content, content.index(b"ds64") + 8, bytes(16))), load_audio(WAV))
    assert torch.equal(read_all(patched(encoded("AU", "PCM_16"), 8, bytes(4))), load_audio(WAV))


def test_an_empty_wav_with_a_chunk_after_its_data_is_empty():
    content = WAV[:DATA] + bytes(4) + b"LIST" + struct.pack("<I", 4) + b"INFO"
    with refuses("is empty (0 samples)"):
        load_audio(patched(content, 4, struct.pack("<I", len(content) - 8)))


@pytest.mark.parametrize("kind", ["WAV", "RF64", "AIFF", "AU", "W64", "NIST", "FLAC", "CAF"])
def test_a_file_that_was_cut_is_refused(kind):
    content = encoded(kind, "PCM_16")
    assert torch.equal(load_audio(content), load_audio(WAV))
    with refuses("was cut" if kind not in ("FLAC", "CAF") else "cannot read", "ffmpeg -i"):
        load_audio(content[: len(content) // 2])


def test_what_follows_the_audio_of_a_wav_is_no_audio_or_refused():
    for rest in (b"LIST" + struct.pack("<I", 6000) + bytes(6000), bytes(9000), b"TAG" + bytes(5000), b"\x01" * 99):
        assert torch.equal(load_audio(WAV + rest), load_audio(WAV))
    for rest in (WAV, WAV[DATA + 4 :]):
        with refuses(f"holds {len(rest)} bytes after its audio", "sox --ignore-length"):
            load_audio(WAV + rest)


def test_flacs_that_were_joined_are_refused():
    content = encoded("FLAC", "PCM_16")
    for second in (content, encoded("FLAC", "PCM_16", 40000)):
        with pytest.raises(AudioError, match=rf"another FLAC stream after {len(SPEECH)} samples|cannot read"):
            load_audio(content + second)
    assert torch.equal(load_audio(content + b"TAG" + bytes(125)), load_audio(WAV))


# --- what libsndfile does not read


@pytest.mark.parametrize(
    "head, kind",
    [
        (b"\0\0\0\x1cftypM4A ", "MP4 (M4A, AAC)"),
        (b"\xff\xf1\x50\x80", "AAC"),
        (b"\x1aE\xdf\xa3", "WebM or Matroska"),
        (b"#!AMR\n", "AMR"),
    ],
)
def test_another_format_is_named_with_what_converts_it(tmp_path, head, kind):
    (tmp_path / "my phone.m4a").write_bytes(head + bytes(5000))
    with refuses(f"my phone.m4a is {kind}, not a format that libsndfile reads: convert it with ffmpeg -i '"):
        load_audio(tmp_path / "my phone.m4a")


# --- channels


def test_of_channels_that_cancel_the_first_is_taken(tmp_path):
    inverted = np.concatenate([np.zeros((50000, 2)), np.stack([SPEECH, -SPEECH], axis=1)]).astype(np.float32)
    soundfile.write(tmp_path / "inverted.wav", inverted, RATE, subtype="FLOAT")
    with pytest.warns(UserWarning, match=r"the channels of .*inverted.wav cancel each other.* 'pan=mono\|c0=c1"):
        assert torch.equal(load_audio(tmp_path / "inverted.wav"), torch.from_numpy(inverted[:, 0]))
    with pytest.warns(UserWarning, match="cancel"):
        waveform = load_audio(io.BytesIO((tmp_path / "inverted.wav").read_bytes()))
    assert torch.equal(waveform[50000:], torch.from_numpy(SPEECH))


def test_other_channels_are_mixed(tmp_path):
    soundfile.write(tmp_path / "one.wav", np.stack([SPEECH, 0 * SPEECH], axis=1), RATE, subtype="FLOAT")
    assert torch.equal(load_audio(tmp_path / "one.wav"), torch.from_numpy(SPEECH / 2))
    soundfile.write(tmp_path / "silent.wav", np.zeros((4000, 2)), RATE)
    assert not load_audio(tmp_path / "silent.wav").any()
