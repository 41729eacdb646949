"""A folder of recordings -> tokens -> a language model -> a recording that it goes on from, to be heard.

python examples/language_model.py [FOLDER] [--out runs/language_model] [--steps 20] [--seconds 2]

By default on one recording and for a few steps, to show that it runs: what it says is noise. Hours of speech and
thousands of steps make sounds and pieces of words, see docs/language-models.md. Needs the extra semtok[train].
"""

from __future__ import annotations

import argparse
from pathlib import Path

from semtok import Tokenizer, load_audio, save_audio
from semtok.language.model import SpeechLanguageModel
from semtok.speech.reading import Speech
from semtok.training.language.config import LanguageConfig
from semtok.training.language.trainer import train_language

RECORDINGS = Path(__file__).parent / "data"
CHECKPOINT = "tiny"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=RECORDINGS)
    parser.add_argument("--out", type=Path, default=Path("runs/language_model"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()

    # `semtok encode FOLDER -o TOKENS` does this for many recordings. They are cut into seconds, so that one is enough.
    tokenizer = Tokenizer.from_pretrained(CHECKPOINT)
    deepest = max(tokenizer.layers)
    recordings = [clip.path for clip in Speech([arguments.folder]).clips]
    (arguments.out / "tokens").mkdir(parents=True, exist_ok=True)
    for path in recordings:
        tokens = tokenizer.encode(path, layers=[deepest])
        frames = tokens.codes.shape[2]
        for start in range(0, frames, 50):
            tokens.cut(start, min(start + 50, frames)).save(
                arguments.out / "tokens" / f"{Path(path).stem}_{start}.safetensors"
            )

    # `semtok train language CONFIG` does this from a YAML file.
    config = LanguageConfig(
        folder=str(arguments.out / "language"),
        data=[str(arguments.out / "tokens")],
        checkpoint=CHECKPOINT,
        model={"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128},
        length=128,
        batch_size=4,
        steps=arguments.steps,
        learning_rate=0.003,
        warmup_steps=5,
        validation_clips=1,
        test_clips=1,
        save_every=arguments.steps,
    )
    train_language(config)
    print((arguments.out / "language" / "test.json").read_text())

    # `semtok continue FILE --model MODEL` does this.
    model = SpeechLanguageModel.from_pretrained(arguments.out / "language" / "best")
    prompt = load_audio(recordings[0])[: 3 * tokenizer.sample_rate]
    waveform = model.continue_speech(prompt, arguments.seconds, temperature=0.8)[0]
    save_audio(arguments.out / "continued.wav", waveform, sample_rate=model.vocoder.sample_rate)
    print(f"{arguments.out / 'continued.wav'}: {len(waveform) / model.vocoder.sample_rate:.1f} s")


if __name__ == "__main__":
    main()
