"""semtok in the forms of others: ONNX graphs, a page in the browser, and the audio tokenizer of transformers.

The last is `export.audio_tokenizer`.
"""

from __future__ import annotations

from semtok.export.onnx import OnnxAgreement, compare_onnx, export_onnx
from semtok.export.web import export_web

__all__ = ["OnnxAgreement", "compare_onnx", "export_onnx", "export_web"]
