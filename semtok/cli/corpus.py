"""`semtok encode-corpus` and `semtok corpus`: a corpus of speech to files of tokens, and what can be done with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semtok.cli.groups import Commands, example
from semtok.cli.options import Checkpoint, Device, Layers, LocalFilesOnly, Revision, load_tokenizer, parse_layers
from semtok.errors import CorpusError
from semtok.support.progress import counted

corpus = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Check, read and export a corpus of tokens. Needs the extra semtok[corpus].",
)

Folder = Annotated[Path, typer.Argument(metavar="OUT", help="The folder of encode-corpus.")]
# Below this share of equal codes something else than ties between centroids must be the reason.
_AGREEMENT = {"float32": 0.995}
_ROUNDED_AGREEMENT = 0.9

AllowUrls = Annotated[bool, typer.Option("--allow-urls", help="Fetch URLs that a manifest or dataset names.")]


def encode_corpus(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="A folder, a manifest (csv, jsonl, parquet), tars, the URL of one, or hub:OWNER/NAME?split=...",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the tokens.")],
    checkpoint: Checkpoint = "tiny",
    layers: Layers = None,
    device: Device = "cpu",
    dtype: Annotated[str, typer.Option(help="Of the encoder; tokens are exact in float32 only.")] = "float32",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
    num_shards: Annotated[
        int | None,
        typer.Option(help="Into how many files. By default one for 2,000 clips.", show_default=False),
    ] = None,
    shard_index: Annotated[
        str | None,
        typer.Option(
            metavar="3,17,40-44",
            help="Which of them to encode. By default those of this Slurm array task or torchrun process, or all.",
            show_default=False,
        ),
    ] = None,
    allow_urls: AllowUrls = False,
    max_failed: Annotated[
        float,
        typer.Option(min=0, max=1, help="The share of clips that may fail, such as 0.01, before the exit code is 1."),
    ] = 0.0,
    engine: Annotated[
        str, typer.Option(help="local: this process; ray: workers of a cluster of Ray (extra semtok[ray]).")
    ] = "local",
    workers: Annotated[int, typer.Option(help="Of Ray, each with a tokenizer of its own.")] = 1,
    num_gpus: Annotated[float, typer.Option(help="Of each worker of Ray.")] = 0,
    address: Annotated[
        str | None, typer.Option(help="Of a cluster of Ray; a local one is started by default.", show_default=False)
    ] = None,
) -> None:
    """A corpus of speech to Parquet files of tokens. Needs the extra semtok[corpus].

    A run that was stopped goes on where it was; several may run at a time. Clips that cannot be encoded are listed in
    OUT/errors, with the reason; the exit code is 1 if there are more of them than --max-failed allows.
    """
    shards = None if shard_index is None else _parse_shards(shard_index)
    if engine not in ("local", "ray"):
        raise typer.BadParameter(f"expected local or ray, got {engine!r}", param_hint="--engine")
    if engine == "ray" and (shards is not None or device != "cpu"):
        raise typer.BadParameter("Ray hands out the shards and devices itself", param_hint="--shard-index, --device")
    chosen = parse_layers(layers)
    from semtok import corpus

    tokenizer = load_tokenizer(
        checkpoint, layers=chosen, device=device, dtype=dtype, revision=revision, local_files_only=local_files_only
    )
    if engine == "ray":
        done = corpus.encode_corpus_with_ray(
            tokenizer,
            source,
            folder,
            num_shards=num_shards,
            allow_urls=allow_urls,
            workers=workers,
            num_gpus=num_gpus,
            address=address,
            progress=None,
        )
    else:
        done = corpus.encode_corpus(
            tokenizer, source, folder, num_shards=num_shards, shards=shards, allow_urls=allow_urls, progress=None
        )
    state = corpus.status(folder)
    speed = f"{done.seconds:.1f} s of audio in {done.took:.1f} s ({done.seconds / done.took:.1f} x real time)"
    typer.echo(f"encoded {counted(done.clips, 'clip')}, {speed}, {done.failed} failed")
    _print_status(folder, state)
    if done.failed > max_failed * (done.clips + done.failed):
        raise typer.Exit(1)


@corpus.command(epilog=example("corpus status"))
def status(folder: Folder) -> None:
    """How far a corpus is, and which shards are missing, as sbatch --array= takes them. Exit code 1 if any are."""
    from semtok import corpus

    state = corpus.status(folder)
    _print_status(folder, state)
    if state.missing:
        raise typer.Exit(1)


@corpus.command(epilog=example("corpus verify"))
def verify(
    folder: Folder,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", "-c", metavar="NAME", help="By default that of the run.", show_default=False),
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="IN", help="Where the audio is now, if it was moved.", show_default=False)
    ] = None,
    allow_urls: AllowUrls = False,
    clips: Annotated[int, typer.Option(help="How many to encode again.")] = 20,
    all_bytes: Annotated[
        bool, typer.Option("--bytes", help="Instead, read all files whole and compare them with their checksums.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the choice.")] = 0,
    device: Device = "cpu",
    local_files_only: LocalFilesOnly = False,
) -> None:
    """Check that every clip is there once, and encode a sample again. Exit code 1 if it gives other tokens."""
    from semtok import corpus
    from semtok.corpus.run import read_run

    if all_bytes:
        whole = corpus.verify_bytes(folder)
        typer.echo(f"{counted(whole.files, 'file')}, {whole.bytes} bytes: all are as they were written")
        if whole.without_checksums:
            typer.echo(f"{whole.without_checksums} of them have no checksums, so that changes may go unnoticed")
        return
    run = read_run(folder)
    name, _, revision = (checkpoint or run.checkpoint or "").partition("@")
    if not name:
        raise CorpusError(f"{folder} does not say of which checkpoint it is: give --checkpoint")
    tokenizer = load_tokenizer(
        name,
        layers=run.codebooks.layers,
        device=device,
        dtype=run.dtype,
        revision=revision or None,
        local_files_only=local_files_only,
    )
    result = corpus.verify(folder, tokenizer, clips=clips, seed=seed, source=source, allow_urls=allow_urls)
    typer.echo(f"{counted(result.clips, 'clip')} encoded again: {result.equal} of {result.codes} codes are the same")
    if result.agreement < _AGREEMENT.get(run.dtype, _ROUNDED_AGREEMENT):
        raise CorpusError(f"{folder} holds other tokens than {name} makes of {source or run.source} now")


@corpus.command(epilog=example("corpus export"))
def export(
    folder: Annotated[
        list[Path], typer.Argument(metavar="OUT...", help="The folder of encode-corpus; several become one.")
    ],
    form: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="dasb, espnet-text, espnet-speechlm, chat, nemo, megatron, km, lhotse, slamkit, webdataset or kaldi.",
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new folder.")],
    layers: Layers = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint", "-c", metavar="NAME", help="dasb: by default that of the run.", show_default=False
        ),
    ] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="chat, megatron: a vocabulary.json; by default of all rows."),
    ] = None,
    instruction: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEMPLATE",
            help="chat: the user's turn, with {text} or another column, {speech} or {audio}; may be repeated.",
        ),
    ] = None,
    answer: Annotated[
        str | None, typer.Option(metavar="TEMPLATE", help="chat: the assistant's turn; by default {speech}.")
    ] = None,
    text_tokenizer: Annotated[
        str | None, typer.Option(metavar="NAME", help="megatron: of transformers; writes the texts too.")
    ] = None,
    words: Annotated[
        Path | None, typer.Option(metavar="FILE", help="megatron: words and their times, for text between speech.")
    ] = None,
) -> None:
    """Write a finished corpus in the format of others. Most need the extra semtok[export]."""
    from semtok import corpus

    written = corpus.export(
        folder,
        form,
        target,
        layers=parse_layers(layers),
        checkpoint=checkpoint,
        vocabulary=vocabulary,
        instructions=instruction or None,
        answer=answer,
        text_tokenizer=text_tokenizer,
        words=words,
    )
    typer.echo(f"written: {', '.join(map(str, written[:4]))}{' ...' if len(written) > 4 else ''}")


def _print_status(folder: Path, state: object) -> None:
    from semtok.corpus import CorpusStatus

    assert isinstance(state, CorpusStatus)
    typer.echo(
        f"{folder}: {state.shards - len(state.missing)} of {counted(state.shards, 'shard')}, "
        f"{counted(state.clips, 'clip')}, "
        f"{state.seconds / 3600:.2f} h, {state.failed} failed"
    )
    if state.missing:
        typer.echo(f"missing: {state.array}")


def _parse_shards(text: str) -> list[int]:
    """ "3,17,40-44" -> [3, 17, 40, 41, 42, 43, 44]."""
    shards: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            shards += range(int(first), int(last or first) + 1)
    except ValueError:
        shards = []
    if not shards:
        raise typer.BadParameter(f"expected numbers such as 3,17,40-44, got {text!r}", param_hint="--shard-index")
    return shards
