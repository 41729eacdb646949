"""The web page of `semtok demo`: hear what the tokens of each layer keep, and the models of tasks. Extra `demo`.

`build_page` makes the page, `serve` answers to it. What a visitor hears is worked out in `listening.py` and drawn in
`pictures.py`; neither knows of the page.
"""

from __future__ import annotations

import warnings

from semtok.errors import needs_extra

with needs_extra("demo"), warnings.catch_warnings():
    # pydub, under gradio, misses ffmpeg, which the page does without
    warnings.filterwarnings("ignore", message="Couldn't find ff", category=RuntimeWarning)
    import gradio  # noqa: F401
    import matplotlib  # noqa: F401

    from semtok.demo.app import build_page, serve

__all__ = ["build_page", "serve"]
