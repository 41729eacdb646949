"""What SpeechBrain's repositories hold, and the names under which they are published on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ENCODERS = {
    "hubert": ("facebook/hubert-large-ll60k",),
    # SpeechBrain's code names the first, the README of its vocoder recipe the second.
    "wav2vec2": ("facebook/wav2vec2-large", "facebook/wav2vec2-large-960h-lv60-self"),
    "wavlm": ("microsoft/wavlm-large",),
}
"""Encoders whose codebooks SpeechBrain publishes, by transformers' model type."""

CODEBOOKS = "speechbrain/SSL_Quantization"
"""The repository of k-means models alone, for several data sets, encoders and sizes."""

_LAYERS = (1, 3, 7, 12, 18, 23)


@dataclass(frozen=True)
class Layout:
    """What of a repository makes one tokenizer, its vocoder, or both.

    Args:
        layers: those with a codebook, ascending; in this order they stand in the vocoder's embedding table.
        codebook_size: of every layer.
        origin: what the codebooks are, as text. The fingerprint is made of it, so it is the same for a tokenizer and
            for the vocoder trained on its tokens, wherever they come from.
        encoders: hub ids of the encoder; more than one where the sources disagree, none where they do not say.
        codebooks: the k-means file of each layer; none in a repository of a vocoder alone.
        has_vocoder: whether there is a vocoder too.
    """

    layers: tuple[int, ...]
    codebook_size: int
    origin: str
    encoders: tuple[str, ...] = ()
    codebooks: Mapping[int, str] = field(default_factory=dict)
    has_vocoder: bool = True


@dataclass(frozen=True)
class Published:
    """One published repository: its layout, the speech it was made of (k-means; vocoder), and its size as seen."""

    layout: Layout
    data: str
    size: str | None = None


def codebooks_origin(owner: str, dataset: str, family: str, codebook_size: int) -> str:
    """The `origin` of the codebooks that a repository holds for a data set, an encoder and a size."""
    return f"{owner}: {dataset} {family} k{codebook_size}"


def _with_codebooks(family: str) -> tuple[str, Published]:
    name = f"speechbrain/hifigan-{family}-k1000-LibriTTS"
    files = {layer: f"kmeans/LibriSpeech_{family}_k1000_L{layer}.pt" for layer in _LAYERS}
    layout = Layout(_LAYERS, 1000, codebooks_origin(name, "LibriSpeech", family, 1000), ENCODERS[family], files)
    size = "91.1 MB the vocoder, 8.21 MB each layer's codebook"
    return name, Published(layout, "LibriSpeech; LibriTTS train-clean-100", size)


def _vocoder_alone(name: str, layers: tuple[int, ...], dataset: str, family: str, data: str) -> tuple[str, Published]:
    # That these were trained on tokens of CODEBOOKS is what their recipes say.
    layout = Layout(layers, 1000, codebooks_origin(CODEBOOKS, dataset, family, 1000), ENCODERS[family])
    return name, Published(layout, data)


def _older(family: str, spelling: str) -> tuple[str, Published]:
    name = f"speechbrain/hifigan-{spelling}-l1-3-7-12-18-23-k1000-LibriTTS"
    data = "LibriSpeech; LibriTTS train-clean-100"
    return _vocoder_alone(name, _LAYERS, "LibriSpeech-100-360-500", family, data)


_SINGLE_LAYER = "speechbrain/tts-hifigan-unit-hubert-l6-k100-ljspeech"

PUBLISHED: dict[str, Published] = dict(
    [
        *(_with_codebooks(family) for family in ENCODERS),
        _older("hubert", "hubert"),
        _older("wav2vec2", "wav2vec"),
        _older("wavlm", "wavlm"),
        _vocoder_alone(
            "chaanks/hifigan-unit-hubert-ll60k-l3-7-12-18-23-k1000-ljspeech-ljspeech",
            (3, 7, 12, 18, 23),
            "LJSpeech",
            "hubert",
            "LJSpeech; LJSpeech",
        ),
        (
            _SINGLE_LAYER,
            Published(
                Layout((6,), 100, f"{_SINGLE_LAYER}: kmeans.ckpt", ("facebook/hubert-base-ls960",), {6: "kmeans.ckpt"}),
                "LJSpeech; LJSpeech",
            ),
        ),
    ]
)
"""By hub id. `CODEBOOKS` is not among them: which of its many codebooks are meant has to be said."""
