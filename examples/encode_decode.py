"""A recording to tokens, into a file and back, and to speech again from some of the layers."""

from __future__ import annotations

from pathlib import Path

from semtok import Tokenizer, Tokens, Vocoder, save_audio

RECORDING = Path(__file__).parent / "data" / "speech.flac"

tokenizer = Tokenizer.from_pretrained("tiny")
tokens = tokenizer.encode(RECORDING)
print(tokens)

tokens.save("speech.safetensors")  # with all that is needed to decode it: layers, frame rate, codebooks' fingerprint
tokens = Tokens.load("speech.safetensors")

vocoder = Vocoder.from_pretrained("tiny")
for layers in ([1], [3, 7], [1, 3, 7]):
    waveform = vocoder.decode(tokens, layers=layers)  # [1, samples]
    save_audio(f"speech_{'-'.join(map(str, layers))}.wav", waveform, sample_rate=vocoder.sample_rate)
    print(f"layers {layers}: {tokens.select(layers).bitrate:.0f} bit/s, {list(waveform.shape)} samples")
