"""The page and its server. A visitor's state is in the browser's session; networks are shared and never changed."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import gradio as gr

from semtok.demo.listening_tab import listening_tab
from semtok.demo.models import Shelf
from semtok.demo.task_tabs import task_tabs
from semtok.errors import SemtokError

# Files that were uploaded or made are deleted once they are so old, looked for every minute; all of them at the end.
_KEEP_SECONDS = 1800
_WAITING = 32
_CSS, _SCRIPT = Path(__file__).with_name("page.css"), Path(__file__).with_name("page.js")
_TEMPORARY = "GRADIO_TEMP_DIR"


def build_page(
    checkpoints: Sequence[str] = ("tiny",), models: Sequence[str] = (), *, any_name: bool = False, device: str = "cpu"
) -> gr.Blocks:
    """The page, to be launched.

    Args:
        checkpoints: names that visitors choose from; the first is heard at first.
        models: of tasks, for the tabs of these; those that come with semtok, if they do, by default.
        any_name: whether visitors may name other checkpoints and models, among them folders of this machine.
        device: where networks run.

    Raises:
        SemtokError: a checkpoint or a model cannot be loaded.
    """
    shelf = Shelf(device)
    shelf.checkpoint(checkpoints[0])
    with gr.Blocks(title="semtok", analytics_enabled=False, delete_cache=(60, _KEEP_SECONDS)) as page:
        gr.Markdown(
            "# semtok\nSpeech as discrete tokens of several layers of an encoder, and speech again from any of them."
        )
        with gr.Tab("Listen"):
            listening_tab(shelf, checkpoints, any_name=any_name)
        task_tabs(shelf, models, any_name=any_name)
    page.queue(max_size=_WAITING)
    return page


def serve(
    checkpoints: Sequence[str] = ("tiny",),
    models: Sequence[str] = (),
    *,
    host: str | None = "127.0.0.1",
    port: int | None = None,
    share: bool = False,
    max_upload_mb: int = 100,
    device: str = "cpu",
) -> None:
    """Serves the page until Ctrl-C. Visitors may name any checkpoint where only this machine can reach the page.

    Args:
        checkpoints, models, device: as in `build_page`.
        host: address to listen at; None leaves it to gradio's environment variables, as a Space of the hub needs.
        port: None takes the first free one from 7860 on.
        share: have gradio make a public link.
        max_upload_mb: larger uploads are refused.

    Raises:
        SemtokError: as `build_page`; the port is taken.
    """
    with _temporary_files():
        page = build_page(checkpoints, models, any_name=not share and _is_loopback(host), device=device)
        try:
            page.launch(
                server_name=host,
                server_port=port,
                share=share,
                max_file_size=f"{max_upload_mb}mb",
                theme=gr.themes.Default(primary_hue="indigo", secondary_hue="indigo"),
                css_paths=[_CSS],
                js=_SCRIPT.read_text("utf-8"),
                footer_links=[],
                run_history=False,
                ssr_mode=False,
                pwa=False,
                enable_monitoring=False,
            )
        except OSError as error:
            raise SemtokError(f"cannot listen at {host}, port {port}: {error}") from error


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _temporary_files() -> Iterator[None]:
    """A folder for all that gradio stores, which is gone afterwards."""
    before = os.environ.get(_TEMPORARY)
    with tempfile.TemporaryDirectory(prefix="semtok-demo-") as folder:
        os.environ[_TEMPORARY] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[_TEMPORARY]
            else:
                os.environ[_TEMPORARY] = before
