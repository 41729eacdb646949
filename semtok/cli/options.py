"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from semtok.codebooks.layers import Layer, is_layer

if TYPE_CHECKING:
    from semtok.evaluation import Judges
    from semtok.tokenizer import Tokenizer
    from semtok.vocoder import Vocoder


def _check_speech(source: str | None) -> str | None:
    if source is not None and "://" not in source and not source.startswith("hub:") and not Path(source).exists():
        raise typer.BadParameter(f"path {source!r} does not exist")
    return source


Inputs = Annotated[
    list[Path],
    typer.Argument(metavar="IN", help="Files, folders to search for them, or - for standard input."),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="OUT", help="A folder; for a single file also a file, or - for standard output."
    ),
]
Checkpoint = Annotated[
    str, typer.Option("--checkpoint", "-c", metavar="NAME", help="Bundled name, folder, or hub id owner/name.")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Bundled name, folder, or hub id owner/name; by default the one that comes with semtok.",
        show_default=False,
    ),
]
Layers = Annotated[
    str | None,
    typer.Option("--layers", "-l", metavar="1,3,7", help="Encoder layers, all by default.", show_default=False),
]
Device = Annotated[str, typer.Option(help="Where the networks run: cpu, cuda, cuda:1, mps ...")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.", show_default=False)]
LocalFilesOnly = Annotated[
    bool, typer.Option("--local-files-only", help="Use downloaded files alone; never ask the hub.")
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Keep outputs that are there: goes on after a stop.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead, for programs.")]
_SPEECH = typer.Option(
    metavar="IN",
    callback=_check_speech,
    help="Folder, manifest (csv, jsonl, parquet), tars, Lhotse's cuts or Shar, or hub:OWNER/NAME?split=...",
    show_default=False,
)
Speech = Annotated[str, _SPEECH]
OptionalSpeech = Annotated[str | None, _SPEECH]
Alignments = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help='JSON lines {"path", "phones": [[name, start, duration], ...]}, in seconds; "words" likewise.',
        show_default=False,
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change an entry of the config, steps=100 or generator.istft.width=64; may be repeated.",
        show_default=False,
    ),
]
Speaker = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Speech in whose voice to decode, if the vocoder can.", show_default=False),
]


@dataclass(frozen=True)
class JudgeOptions:
    """Who judges speech that comes back, and where networks run: options of `evaluate resynthesis` and `benchmark`."""

    recognizer: Annotated[
        str, typer.Option(metavar="ID_OR_FOLDER", help="Whisper or CTC model of transformers, for WER and dWER.")
    ] = "openai/whisper-base"
    recognizer_dtype: Annotated[
        str, typer.Option(help="Its floating-point type; bfloat16 is faster where the CPU has it.")
    ] = "float32"
    language: Annotated[str, typer.Option(help="Code of the language spoken, for the recognizer.")] = "en"
    speaker_model: Annotated[
        str | None,
        typer.Option(
            metavar="ID_OR_FOLDER",
            help="X-vector model of transformers, or resemblyzer. By default microsoft/wavlm-base-plus-sv, and "
            "resemblyzer where the hub cannot be asked.",
            show_default=False,
        ),
    ] = None
    utmos: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="utmos22_strong_step7459_v1.pt of github.com/tarepan/SpeechMOS, release v1.0.0 (MIT), for UTMOS.",
            show_default=False,
        ),
    ] = None
    device: Device = "cpu"
    local_files_only: LocalFilesOnly = False

    def load(self) -> Judges:
        """Those that there are; what is missing is told on stderr."""
        from semtok.evaluation import load_judges

        judges = load_judges(
            self.recognizer,
            self.speaker_model,
            utmos=self.utmos,
            language=self.language,
            device=self.device,
            dtype=self.recognizer_dtype,
            local_files_only=self.local_files_only,
        )
        for line in judges.missing:
            typer.echo(line, err=True)
        return judges


def parse_layers(text: str | None) -> tuple[Layer, ...] | None:
    """ "1,3,mix" -> (1, 3, "mix"); None stays None."""
    if text is None:
        return None
    try:
        return tuple(layer if is_layer(layer) else int(layer) for layer in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"expected numbers such as 1,3,7, or names, got {text!r}", param_hint="--layers"
        ) from None


def load_tokenizer(
    checkpoint: str,
    *,
    layers: tuple[Layer, ...] | None,
    device: str,
    revision: str | None,
    local_files_only: bool,
    dtype: str | None = None,
) -> Tokenizer:
    """`Tokenizer.from_pretrained`."""
    check_device(device)
    from semtok.tokenizer import Tokenizer

    return Tokenizer.from_pretrained(
        checkpoint, layers=layers, device=device, dtype=dtype, revision=revision, local_files_only=local_files_only
    )


def load_vocoder(checkpoint: str, *, device: str, revision: str | None, local_files_only: bool) -> Vocoder:
    """`Vocoder.from_pretrained`."""
    check_device(device)
    from semtok.vocoder import Vocoder

    return Vocoder.from_pretrained(checkpoint, device=device, revision=revision, local_files_only=local_files_only)


def check_device(device: str) -> None:
    """Refuses a device that torch cannot use here."""
    import torch

    try:
        torch.empty(1, device=device)
    # torch says "no such device" with either, in its own words
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n")[0]
        raise typer.BadParameter(f"torch cannot use {device!r} here: {reason}", param_hint="--device") from None


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is a dataclass -> one that takes the fields of it as options of its own."""
    (first, *others) = inspect.signature(command).parameters.values()
    hints = get_type_hints(command, include_extras=True)
    group: Any = hints[first.name]
    of_group = get_type_hints(group, include_extras=True)
    defaults = {field.name: field.default for field in dataclasses.fields(group)}

    @functools.wraps(command)
    def run(**values: Any) -> None:
        command(group(**{name: values.pop(name) for name in defaults}), **values)

    fields = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if default is dataclasses.MISSING else default,
            annotation=of_group[name],
        )
        for name, default in defaults.items()
    ]
    set_parameters(run, [*fields, *(other.replace(annotation=hints[other.name]) for other in others)])
    return run


def set_parameters(command: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> None:
    """Gives a command of any keyword arguments the annotated parameters that typer makes options of."""
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    command.__signature__ = inspect.Signature(keywords, return_annotation=None)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in keywords}
