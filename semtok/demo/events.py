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

from semtok.audio.io import read_blocks
from semtok.errors import AudioError, SemtokError, TextError
from semtok.web import EXAMPLES

Answer = TypeVar("Answer")

MOST_CHARACTERS = 1000
_MOST_SECONDS, _COUNTED_RATE = 3600, 16000
_EXAMPLES = EXAMPLES[0].path.parent
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
    """What a `recording` holds.

    Raises:
        AudioError: there is none, it cannot be read, or it is longer than an hour, as a small file of silence may be.
    """
    if path is None:
        raise AudioError("there is no recording yet: record one, upload a file, or choose an example")
    if not Path(path).exists():
        raise AudioError(f"{path} is deleted, as it was here for long: upload or record it again")
    seconds = 0.0
    for block in read_blocks(path, path, sample_rate=_COUNTED_RATE, seconds=60):
        seconds += len(block) / _COUNTED_RATE
        if seconds > _MOST_SECONDS:
            raise AudioError(f"{path} is longer than an hour: cut it, or use the command line")
    return Path(path)


def check_text(text: str) -> str:
    """A text to be spoken; `TextError` if it is longer than the page takes."""
    if len(text) > MOST_CHARACTERS:
        raise TextError(f"the text has {len(text)} characters, the page takes {MOST_CHARACTERS}: speak it in parts")
    return text
