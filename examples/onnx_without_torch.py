"""A recording to tokens and back to speech by onnxruntime alone: neither torch nor semtok is imported.

semtok export onnx tiny -o onnx                      # once, where semtok[onnx] is installed
python onnx_without_torch.py onnx speech.flac out.wav
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr


def main(folder: Path, recording: str, output: str) -> None:
    about = json.loads((folder / "semtok.json").read_text())
    tokenizer = onnxruntime.InferenceSession(folder / "tokenizer.onnx", providers=["CPUExecutionProvider"])
    vocoder = onnxruntime.InferenceSession(folder / "vocoder.onnx", providers=["CPUExecutionProvider"])

    samples, sample_rate = soundfile.read(recording, dtype="float32", always_2d=True)
    waveform = soxr.resample(samples.mean(axis=1), sample_rate, about["sample_rate"])
    (codes,) = tokenizer.run(None, {"waveform": waveform[None]})
    print(f"rows {', '.join(about['rows'])}: {codes.shape[2]} frames")

    inputs = {"codes": codes}
    if about["speaker_dim"]:
        inputs["speaker"] = np.zeros((1, about["speaker_dim"]), np.float32)  # no speaker in particular
    (decoded,) = vocoder.run(None, inputs)
    soundfile.write(output, decoded[0], about["output_sample_rate"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
