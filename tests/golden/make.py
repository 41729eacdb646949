"""Writes the golden sounds of `tiny` and the golden tokens of `tiny-tts` beside it, for `tests/test_golden.py`.

    python tests/golden/make.py            # from the repository's root, after a new edition

The tokens of the recordings come from `semtok encode RECORDING -o tests/golden`.
"""

from __future__ import annotations

from pathlib import Path

import soundfile
import torch

from semtok import Tokens, Vocoder, load_audio
from semtok.downstream import TextToSpeech

HERE = Path(__file__).parent
FRAMES = 60
TEXT = "Hello world."


def save(name: str, waveform: torch.Tensor) -> None:
    """As FLAC of 16 bits, whose rounding is below 2e-5."""
    soundfile.write(HERE / f"{name}.flac", waveform.numpy(), 16000, subtype="PCM_16")


def main() -> None:
    vocoder = Vocoder.from_pretrained("tiny")
    tokens = Tokens.load(HERE / "speech.safetensors").cut(0, FRAMES)
    voice = vocoder.speaker(load_audio(HERE.parent / "data" / "arctic_axb_a0004.flac"))
    save("all_layers", vocoder.decode(tokens)[0])
    save("layers_7_3", vocoder.decode(tokens, layers=[7, 3])[0])
    save("other_voice", vocoder.decode(tokens, speaker=voice)[0])
    model = TextToSpeech.from_pretrained("tiny-tts")
    spoken = model.speak_tokens(TEXT)
    spoken.save(HERE / "tiny-tts.safetensors")
    save("tiny-tts", model.vocoder.decode(spoken)[0])


if __name__ == "__main__":
    main()
