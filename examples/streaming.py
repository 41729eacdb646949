"""Speech that is encoded and decoded while it arrives, as from a microphone: here a file, played at its own pace.

python examples/streaming.py [AUDIO] [--output streamed.wav] [--fast]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import soundfile
import torch

from semtok import Tokenizer, Vocoder, load_audio, save_audio

RECORDING = Path(__file__).parent / "data" / "speech.flac"
PIECE_SECONDS = 0.02  # what a sound card hands over at a time


def microphone(path: Path, *, fast: bool) -> Iterator[torch.Tensor]:
    """A file piece by piece, each when its last sample has been played; with `fast` without waiting for that."""
    start = time.perf_counter()
    with soundfile.SoundFile(path) as file:
        for block in file.blocks(round(PIECE_SECONDS * file.samplerate), dtype="float32", always_2d=True):
            if not fast:
                time.sleep(max(0.0, start + file.tell() / file.samplerate - time.perf_counter()))
            yield torch.from_numpy(block.mean(axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", nargs="?", type=Path, default=RECORDING)
    parser.add_argument("--output", type=Path, default=Path("streamed.wav"))
    parser.add_argument("--fast", action="store_true", help="do not wait for the time that the sound takes")
    options = parser.parse_args()
    tokenizer, vocoder = Tokenizer.from_pretrained("tiny"), Vocoder.from_pretrained("tiny")

    # The level of the speaker, from earlier speech: without it the first second or so is normalised by little.
    known = tokenizer.encoder.statistics([load_audio(RECORDING)])
    sample_rate = soundfile.info(options.audio).samplerate
    speech, computing = [], []
    with tokenizer.stream(sample_rate=sample_rate, statistics=known) as encoding, vocoder.stream() as decoding:
        for samples in microphone(options.audio, fast=options.fast):
            start = time.perf_counter()
            tokens = encoding.push(samples)
            if tokens.codes.shape[2] > 0:
                speech.append(decoding.push(tokens))  # what a loudspeaker would be handed
                computing.append(time.perf_counter() - start)
        speech += [decoding.push(encoding.flush()), decoding.flush()]
    save_audio(options.output, torch.cat(speech), sample_rate=vocoder.sample_rate)

    latency = encoding.latency_seconds + decoding.latency_seconds
    print(f"{sum(map(len, speech)) / vocoder.sample_rate:.2f} s of speech in {options.output}")
    print(f"latency: {encoding.latency_seconds:.3f} s to tokens, {decoding.latency_seconds:.3f} s more to speech, and")
    print(
        f"{max(computing, default=0.0):.3f} s at most to compute a block: {latency + max(computing, default=0.0):.3f} s"
    )


if __name__ == "__main__":
    main()
