"""The page and its server. A visitor's state is in the browser's session; networks are shared and never changed."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from semtok.demo.guard import Guard
from semtok.demo.listening_tab import listening_tab
from semtok.demo.models import Shelf
from semtok.demo.task_tabs import task_tabs
from semtok.errors import SemtokError

# Files that were uploaded or made are deleted once they are so old, looked for every minute; all of them at the end.
_KEEP_SECONDS = 1800
_WAITING = 32
_CSS, _SCRIPT = Path(__file__).with_name("page.css"), Path(__file__).with_name("page.js")
# So many uploads of the largest size may be stored at a time.
_UPLOADS = 10


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
    """Serves the page until Ctrl-C or SIGTERM.

    Where only this machine can reach the page, visitors may name any checkpoint, and requests to another host's name
    are refused.

    Args:
        checkpoints, models, device: as in `build_page`.
        host: address to listen at; None leaves it to gradio's environment variables, as a Space of the hub needs.
        port: None takes the first free one from 7860 on.
        share: have gradio make a public link.
        max_upload_mb: larger uploads are refused, and any while the files of all visitors take ten times as much.

    Raises:
        SemtokError: as `build_page`; the address cannot be listened at, or the port is taken.
    """
    alone = not share and _is_loopback(host)
    with _files_and_environment() as folder, _stopped_by_sigterm():
        page = build_page(checkpoints, models, any_name=alone, device=device)
        hosts = {"localhost", "127.0.0.1", "::1", (host or "").strip("[]")} if alone else None
        guard = Middleware(Guard, hosts=hosts, folder=folder, max_bytes=_UPLOADS * max_upload_mb * 10**6)
        try:
            page.launch(
                server_name=_bracketed(host),
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
                app_kwargs={"middleware": [guard]},
            )
        except OSError as error:
            where = f"{host}, port {port}" if port is not None else f"{host}, any port from 7860 to 7959"
            raise SemtokError(
                f"cannot listen at {where}: the port is taken, or the address is none of this machine's. Give another "
                "--port or --host"
            ) from error
        finally:
            page.close(verbose=False)


def _address(host: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Of a host that is given as an address, an IPv6 one with brackets or without."""
    try:
        return ipaddress.ip_address((host or "").removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _is_loopback(host: str | None) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _bracketed(host: str | None) -> str | None:
    """As gradio takes it: an IPv6 address as it stands in a URL."""
    address = _address(host)
    return f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else host


@contextlib.contextmanager
def _files_and_environment() -> Iterator[Path]:
    """A folder for all that gradio stores, which is gone afterwards; gradio is told of it by the environment.

    gradio asks its own server whether it has started, which must not go by a proxy.
    """
    with tempfile.TemporaryDirectory(prefix="semtok-demo-") as folder:
        direct = ",".join(filter(None, [os.environ.get("no_proxy"), "localhost,127.0.0.1,::1"]))
        changes = {"GRADIO_TEMP_DIR": folder, "no_proxy": direct, "NO_PROXY": direct}
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM, which would end the process at once, unwinds it as Ctrl-C does."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
