"""Speech through tokens while it is spoken: the delay, pipes, devices that misbehave."""

from __future__ import annotations

import gc
import io
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import CLIPS, refuses

from semtok import Tokenizer, Vocoder, load_audio
from semtok.audio import devices
from semtok.errors import AudioError
from semtok.streaming.live import LiveSpeech

RATE = 16000


@pytest.fixture(scope="module")
def vocoder(istft_folder):
    return Vocoder.from_pretrained(istft_folder)


@pytest.fixture(scope="module")
def speech():
    return load_audio(CLIPS[0])[: 2 * RATE]


def open_line(tokenizer, vocoder, rate=RATE):
    tokens = tokenizer.stream(sample_rate=rate, block_seconds=0.16, look_ahead_seconds=0.32)
    return LiveSpeech(tokens, vocoder.stream(), rate_in=rate, rate_out=vocoder.sample_rate)


@pytest.mark.parametrize("rate", [RATE, 44100])
def test_each_push_is_answered_by_as_much_speech_whatever_its_size(tokenizer, vocoder, speech, rate):
    samples, answers = speech.repeat(2)[:rate], []
    for size in (rate // 50, rate // 3, rate):
        with open_line(tokenizer, vocoder, rate) as line:
            parts, arrived = [], 0
            for piece in samples.split(size):
                parts.append(line.push(piece))
                arrived += len(piece)
                assert sum(map(len, parts)) == arrived * RATE // rate
            answers.append(torch.cat([*parts, line.flush()]))
    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0], atol=1e-5, rtol=0)


def test_the_answer_is_that_of_the_streams_after_silence(tokenizer, vocoder, speech):
    with open_line(tokenizer, vocoder) as line:
        assert line.delay_seconds == pytest.approx(0.16 + 0.32 + 0.005 + vocoder.stream().latency_seconds, abs=1e-4)
        answer = torch.cat([line.push(speech[:5000]), line.push(speech[:0]), line.push(speech[5000:]), line.flush()])
        with refuses(AudioError, "has ended"):
            line.push(speech)
    with tokenizer.stream(block_seconds=0.16, look_ahead_seconds=0.32) as tokens, vocoder.stream() as decoding:
        wanted = [decoding.push(tokens.push(speech)), decoding.push(tokens.flush()), decoding.flush()]
    delay = round(line.delay_seconds * RATE)
    assert not answer[:delay].any()
    torch.testing.assert_close(answer[delay:], torch.cat(wanted), atol=1e-5, rtol=0)


def test_a_line_that_hears_nothing_gives_its_silence_alone(tokenizer, vocoder):
    line = open_line(tokenizer, vocoder)
    assert len(line.push(torch.zeros(0))) == 0
    assert not line.flush().any()


def live_bytes():
    """Of all tensors that are alive."""
    gc.collect()
    storages = [thing.untyped_storage() for thing in gc.get_objects() if type(thing) is torch.Tensor]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def test_a_line_holds_no_more_after_many_pushes(tokenizer, vocoder, speech):
    tokens = tokenizer.stream(block_seconds=0.16, look_ahead_seconds=0.08, context_seconds=0.4)
    held = []
    with LiveSpeech(tokens, vocoder.stream(), rate_in=RATE, rate_out=RATE) as line:
        for number in range(1, 1201):
            line.push(speech[(number % 80) * 320 :][:320])
            if number % 400 == 0:
                held.append(live_bytes())
    assert held[1:] == [held[0]] * 2
    assert live_bytes() < held[0]


# --- the command, by pipes


class Pipe:
    """Stands for standard input or output."""

    def __init__(self, content: bytes = b"") -> None:
        self.buffer = io.BytesIO(content)

    def isatty(self) -> bool:
        return False


@pytest.fixture
def live(run, istft_folder, monkeypatch):
    """Runs the command on raw samples: exit code, float32 samples, stderr."""

    def live(content, *arguments):
        monkeypatch.setattr(sys, "stdin", Pipe(content))
        monkeypatch.setattr(sys, "stdout", stdout := Pipe())
        code, _, err = run("live", *arguments, "-c", istft_folder)
        return code, np.frombuffer(stdout.buffer.getvalue(), "<i2") / 32767, err

    return live


def raw(samples):
    return (np.asarray(samples) * 32767).round().astype("<i2").tobytes()


def test_a_recording_through_a_pipe(live, istft_folder, vocoder, speech):
    code, answer, err = live(raw(speech), "-", "-o", "-", "--layers", "3", "--vocoder-look-ahead", "1")
    assert code == 0
    tokenizer = Tokenizer.from_pretrained(istft_folder, layers=[3])
    with (
        tokenizer.stream(block_seconds=0.16, look_ahead_seconds=0.32) as tokens,
        vocoder.stream(layers=[3]) as decoding,
    ):
        pushed = torch.from_numpy(np.frombuffer(raw(speech), "<i2").astype(np.float32) / 32768)
        wanted = [decoding.push(tokens.push(pushed)), decoding.push(tokens.flush()), decoding.flush()]
    delay = len(answer) - len(torch.cat(wanted))
    assert f"{delay / RATE:.3f} to wait for speech" in err
    assert not answer[:delay].any()
    np.testing.assert_allclose(answer[delay:], torch.cat(wanted), atol=1e-4)


def test_a_look_ahead_that_the_vocoder_was_not_trained_for_is_named(live, speech):
    _, _, err = live(raw(speech), "-", "-o", "-", "--vocoder-look-ahead", "0.04")
    assert "was trained to see" in err
    assert "--vocoder-look-ahead 0.04" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [(CLIPS[0].read_bytes(), "this is a FLAC file, expected raw samples"), (b"\0" * 641, "ends within a sample")],
)
def test_what_is_no_raw_speech_is_refused(live, content, message):
    code, _, err = live(content, "-", "-o", "-")
    assert code == 1
    assert message in err


@pytest.mark.parametrize("arguments", [["--block", "0"], ["--look-ahead", "-1"], ["--vocoder-look-ahead", "-1"]])
def test_times_that_cannot_be_are_refused(live, arguments):
    code, answer, err = live(b"", "-", "-o", "-", *arguments)
    assert (code, len(answer)) == (1, 0)
    assert "0 or more" in err


# --- devices, which files stand for


class Microphone:
    """A stream of sounddevice that hands over a recording, block by block, in a thread, and then falls silent."""

    def __init__(self, speech, *, pause=0.0, overflow=False):
        self.speech, self.pause, self.overflow = speech, pause, overflow

    def __call__(self, *, samplerate, blocksize, device, channels, dtype, callback):
        self.blocks = self.speech.split(blocksize)
        self.callback = callback
        return self

    def __enter__(self):
        self.thread = threading.Thread(target=self.play)
        self.thread.start()

    def __exit__(self, *_):
        self.thread.join()

    def play(self):
        for block in self.blocks:
            time.sleep(self.pause)
            self.callback(block[:, None].numpy(), len(block), None, SimpleNamespace(input_overflow=self.overflow))


class Loudspeaker:
    """One that plays into a list, and breaks once it has that many samples."""

    def __init__(self, most=1 << 40):
        self.samples, self.most = [], most

    def __call__(self, *, samplerate, device, channels, dtype):
        if device == "nowhere":
            raise ValueError("No output device matching 'nowhere'")
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def write(self, samples):
        if sum(map(len, self.samples)) > self.most:
            raise OSError("Device unavailable")
        self.samples.append(samples[:, 0].copy())
        return False


@pytest.fixture
def plug(monkeypatch):
    """Puts a microphone and a loudspeaker in place of those of the system."""

    def plug(microphone, loudspeaker):
        fake = SimpleNamespace(InputStream=microphone, OutputStream=loudspeaker, PortAudioError=OSError)
        monkeypatch.setitem(sys.modules, "sounddevice", fake)
        monkeypatch.setattr(devices, "_SILENT_SECONDS", 0.3)

    return plug


def test_a_microphone_that_falls_silent_is_an_error_after_what_it_gave(live, plug, speech):
    plug(Microphone(speech), loudspeaker := Loudspeaker())
    code, _, err = live(b"")
    assert code == 1
    assert "the microphone gave nothing for" in err
    _, piped, _ = live(raw(speech), "-", "-o", "-")
    played = np.concatenate(loudspeaker.samples)
    np.testing.assert_allclose(played, piped[: len(played)], atol=2e-3)


@pytest.mark.parametrize(
    ("microphone", "message"),
    [
        ({"overflow": True}, "lost samples"),
        ({"pause": 0.04}, "samples a second, expected 16000: its rate has changed"),
    ],
)
def test_a_microphone_that_loses_samples_or_changes_its_rate(live, plug, speech, monkeypatch, microphone, message):
    monkeypatch.setattr(devices, "_CLOCK_SECONDS", 0.5)
    plug(Microphone(speech, **microphone), Loudspeaker())
    code, _, err = live(b"")
    assert code == 1
    assert message in err


def test_what_cannot_be_computed_in_time_is_an_error(plug, speech, monkeypatch):
    monkeypatch.setattr(devices, "_BEHIND_SECONDS", 0.5)
    plug(Microphone(speech), Loudspeaker())
    with devices.open_microphone(None, RATE, 320) as blocks:
        time.sleep(0.2)
        with refuses(AudioError, "wait to be computed", "--block"):
            next(blocks)


def test_a_loudspeaker_that_goes_or_is_not_there(live, plug, speech):
    plug(Microphone(speech), Loudspeaker(most=8000))
    code, _, err = live(b"")
    assert code == 1
    assert "loudspeaker of the system at 16000 Hz: Device unavailable" in err
    code, _, err = live(b"", "-", "-o", "nowhere")
    assert code == 1
    assert "loudspeaker nowhere at 16000 Hz: No output device" in err


def test_without_the_library_of_devices(live, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, _, err = live(b"")
    assert code == 1
    assert "'.[live]'" in err
