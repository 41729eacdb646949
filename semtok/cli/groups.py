"""How help is told: commands in groups with a summary each, and an example at the end of each command's own help."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Of the whole command line."""

TOKENS, LAYERS, TASKS, CORPORA, CHECKPOINTS = (
    "Speech and tokens",
    "Which layers",
    "Tasks on tokens",
    "Corpora and training",
    "Checkpoints",
)
"""The groups, which stand in the place of rich's panels."""

EXAMPLES = {
    "encode": "semtok encode examples/data -o tokens",
    "decode": "semtok decode tokens -o again --layers 1,3",
    "resynth": "semtok resynth examples/data/speech.flac -o resynth.wav --layers 7",
    "live": "semtok live --layers 7",
    "segment": "semtok segment tiny -o units --penalty 0.2",
    "demo": "semtok demo --port 7860",
    "study": "semtok study tiny --audio examples/data -o report",
    "select": "semtok select tiny --audio examples/data --for resynthesis",
    "importance": "semtok importance tiny-tts",
    "benchmark": "semtok benchmark tiny tiny:1,7 --audio examples/data -o report",
    "transcribe": "semtok transcribe recordings/ --model runs/tiny/asr/best",
    "classify": "semtok classify examples/data/speech.flac --model tiny-keywords",
    "verify": "semtok verify one.wav other.wav",
    "enhance": "semtok enhance noisy/ -o clean --model runs/tiny/enhance/best",
    "speak": 'semtok speak "The children are playing in the garden." -o spoken.wav',
    "continue": "semtok continue examples/data/speech.flac -o continued.wav --seconds 4",
    "encode-corpus": "semtok encode-corpus recordings/ corpus --layers 1,3,7",
    "corpus status": "semtok corpus status corpus",
    "corpus verify": "semtok corpus verify corpus",
    "corpus export": "semtok corpus export corpus webdataset exported",
    "train": "semtok train vocoder configs/tiny/vocoder.yaml --set steps=1000",
    "evaluate resynthesis": "semtok evaluate resynthesis --audio examples/data -o report",
    "evaluate language": "semtok evaluate language runs/language/best --suite sLM21/lexical -o report",
    "info": "semtok info tiny",
    "models": "semtok models --json",
    "import speechbrain": "semtok import speechbrain speechbrain/hifigan-wavlm-k1000-LibriTTS -o mine",
    "import kmeans": "semtok import kmeans km6.bin --layer 6 --encoder hubert/ -o mine",
    "import unit-vocoder": "semtok import unit-vocoder g_00500000 --tokenizer mine -o mine",
    "export onnx": "semtok export onnx tiny -o onnx",
    "export web": "semtok export web tiny -o page",
}
"""One of each command, by its name."""


def example(name: str) -> str:
    """The end of a command's help."""
    return f"Example: {EXAMPLES[name]}"


class Commands(TyperGroup):
    """Lists its commands by group, with summaries that are never cut."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                group = getattr(command, "rich_help_panel", None) or "Commands"
                groups.setdefault(group, []).append((name, command.get_short_help_str(1000)))
        width = max(len(name) for rows in groups.values() for name, _ in rows)
        for group, rows in groups.items():
            with formatter.section(group):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in rows])
