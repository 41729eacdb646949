"""semtok in the forms of others: ONNX graphs, and the audio tokenizer of transformers (`export.audio_tokenizer`)."""

from __future__ import annotations

from semtok.export.onnx import OnnxAgreement, compare_onnx, export_onnx

__all__ = ["OnnxAgreement", "compare_onnx", "export_onnx"]
