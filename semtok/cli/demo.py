"""`semtok demo`: the web page."""

from __future__ import annotations

from typing import Annotated

import typer

from semtok.cli.options import Device, check_device
from semtok.errors import needs_extra


def demo(
    checkpoints: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CHECKPOINT", help="Names to choose from: bundled, folders, or hub ids; tiny by default."
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="A model of a task, for its tab: folder or hub id; may be repeated.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines reach the page.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="By default the first free one from 7860 on.", show_default=False),
    ] = None,
    share: Annotated[bool, typer.Option("--share", help="Have gradio make a public link.")] = False,
    max_upload_mb: Annotated[int, typer.Option(min=1, help="Larger uploads are refused.")] = 100,
    device: Device = "cpu",
) -> None:
    """A web page to hear what layers keep: record, upload or take an example, tick layers, listen.

    It needs no network. As long as this machine alone can reach the page, visitors may name any checkpoint there; else
    they choose from those named here. Needs the extra semtok[demo]. Ctrl-C ends it.
    """
    check_device(device)
    with needs_extra("demo"):
        from semtok.demo import serve
    serve(
        checkpoints or ("tiny",),
        models or (),
        host=host,
        port=port,
        share=share,
        max_upload_mb=max_upload_mb,
        device=device,
    )
