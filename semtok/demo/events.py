"""What the tabs share: how many handlers run at a time, how an error reaches the visitor, recordings, files."""

from __future__ import annotations

import functools
import html
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from gradio.utils import get_upload_folder

from semtok.errors import AudioError, SemtokError

Answer = TypeVar("Answer")

_EXAMPLES = Path(__file__).with_name("examples")
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# At most two run at a time, whatever they are: more would only wait for each other.
HEAVY: dict[str, Any] = {"concurrency_id": "networks", "concurrency_limit": 2, "api_visibility": "private"}


def report_errors(handler: Callable[..., Answer]) -> Callable[..., Answer]:
    """A handler whose `SemtokError`s the visitor reads; any other error stays one, for the log."""

    @functools.wraps(handler)
    def reporting(*values: Any) -> Answer:
        try:
            return handler(*values)
        except SemtokError as error:
            message = str(error)
            for value in values:
                if isinstance(value, str) and value.startswith(get_upload_folder()):
                    message = message.replace(value, Path(value).name)
            # gradio takes it for HTML; it stays until it is dismissed, as it may be long
            raise gr.Error(html.escape(message), duration=None, print_exception=False) from error

    return reporting


def new_folder() -> Path:
    """A folder of its own among the files that gradio serves and deletes."""
    return Path(tempfile.mkdtemp(dir=get_upload_folder()))


def recording(label: str, examples: str) -> gr.Audio:
    """An input of speech, above those of the package's recordings that match a pattern."""
    audio = gr.Audio(
        label=label, sources=["upload", "microphone"], type="filepath", editable=False, buttons=["download"]
    )
    paths = sorted(_EXAMPLES.glob(examples))
    gr.Examples([[str(path)] for path in paths], audio, api_visibility="private")
    return audio


def check_recording(path: str | None) -> Path:
    """What a `recording` holds; `AudioError` if that is nothing."""
    if path is None:
        raise AudioError("there is no recording yet: record one, upload a file, or choose an example")
    if not Path(path).exists():
        raise AudioError(f"{path} is deleted, as it was here for long: upload or record it again")
    return Path(path)
