"""What a benchmark measures: tokenizers by name, semtok's with their layers, and codecs of others at a like bitrate."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from semtok.checkpoints.config import CONFIG
from semtok.checkpoints.hub import resolve
from semtok.codebooks.layers import Layer
from semtok.errors import CheckpointError, LayerError, SemtokError
from semtok.evaluation.alignments import Seconds, frame_times
from semtok.evaluation.codecs import FAMILIES, Codec, load_codec
from semtok.evaluation.tokenizers import SpeechDecoder, SpeechTokenizer
from semtok.support.arrays import Integers
from semtok.tokenizer import Tokenizer
from semtok.vocoder import Vocoder


@dataclass(frozen=True, eq=False)
class Subject:
    """A tokenizer that is measured.

    Args:
        name: as it was asked for.
        title: with what is used of it: layers, or how many codebooks.
        tokenizer: of the layers used.
        vocoder: that decodes them, if there is one.
        no_vocoder: why there is none.
        times: of so many frames, the centre of each, in seconds.
        embed: a layer and codes [stages, frames] of it -> what they stand for, [frames, dim].
        checkpoint: of semtok, as `Tokenizer.from_pretrained` has it; None of a codec of others.
        load: the tokenizer of that with all of its layers, whichever are measured.
    """

    name: str
    title: str
    tokenizer: SpeechTokenizer
    vocoder: SpeechDecoder | None
    no_vocoder: str
    times: Callable[[int], Seconds]
    embed: Callable[[Layer, Integers], npt.NDArray[np.float32]]
    checkpoint: str | None = None
    load: Callable[[], Tokenizer] | None = None

    @property
    def bitrate(self) -> float:
        """Bit/s of plain codes."""
        return self.tokenizer.frame_rate * self.tokenizer.codebooks.bits

    @property
    def facts(self) -> dict[str, str]:
        """What the head of a page says of it."""
        tokenizer, sizes = self.tokenizer, self.tokenizer.codebooks.sizes
        rows = len(sizes)
        return {
            "frames a second": f"{tokenizer.frame_rate:g}",
            "tokens a second": f"{tokenizer.frame_rate * rows:g}",
            "codebooks": f"{rows} of {sizes[0]}" if len(set(sizes)) == 1 else ", ".join(map(str, sizes)),
            "sample rate": f"{tokenizer.sample_rate} Hz",
            "fingerprint": tokenizer.fingerprint,
        }


def open_subjects(names: Sequence[str], *, device: str = "cpu", local_files_only: bool = False) -> list[Subject]:
    """The tokenizers of these names, in order.

    Args:
        names: each a bundled name, a folder or a hub id (`owner/name`, or `owner/name@commit`), of a checkpoint of
            semtok or of an audio tokenizer of transformers. After a colon stand the layers to use, as in `tiny:1,7`,
            or how many codebooks of a codec, as in `kyutai/mimi:8`; without, a checkpoint has all its layers, and a
            codec as many codebooks as come nearest to the bitrate of the first name.
        device: where they run.
        local_files_only: never ask the hub.

    Raises:
        CheckpointError: one of them cannot be loaded.
        LayerError: layers, or a number of codebooks, that it lacks.
        SemtokError: a name twice.
    """
    if len(set(names)) < len(names):
        raise SemtokError(f"each tokenizer is measured once, got {', '.join(names)}")
    subjects: list[Subject] = []
    for name in names:
        checkpoint, layers = _split(name)
        if _is_codec(checkpoint, local_files_only):
            codec = _open_codec(checkpoint, layers, subjects[0].bitrate if subjects else None, device, local_files_only)
            subjects.append(_of_codec(name, checkpoint, codec))
        else:
            subjects.append(_of_layers(name, checkpoint, layers, device, local_files_only))
    return subjects


def _split(name: str) -> tuple[str, tuple[int, ...] | None]:
    """ "tiny:1,7" -> "tiny" and (1, 7); None without layers."""
    match = re.fullmatch(r"(.+):(\d+(?:,\d+)*)", name)
    return (match[1], tuple(map(int, match[2].split(",")))) if match else (name, None)


def _is_codec(checkpoint: str, local_files_only: bool) -> bool:
    name, _, revision = checkpoint.partition("@")
    repository = resolve(name, revision=revision or None, local_files_only=local_files_only)
    has_config = repository.find(CONFIG) is not None
    return has_config and repository.read_json(CONFIG).get("model_type") in FAMILIES


def _open_codec(
    checkpoint: str, rows: tuple[int, ...] | None, bitrate: float | None, device: str, local_files_only: bool
) -> Codec:
    if rows is not None and len(rows) > 1:
        raise LayerError(
            f"{checkpoint} is a codec, whose first codebooks can be used: expected their number, as in "
            f"{checkpoint}:{len(rows)}, got {','.join(map(str, rows))}"
        )
    codec = load_codec(
        checkpoint, rows=None if rows is None else rows[0], device=device, local_files_only=local_files_only
    )
    return codec if bitrate is None or rows is not None else codec.at_bitrate(bitrate)


def _of_codec(name: str, checkpoint: str, codec: Codec) -> Subject:
    def embed(layer: Layer, codes: Integers) -> npt.NDArray[np.float32]:
        points: npt.NDArray[np.float32] = codec.embed(torch.from_numpy(codes)).cpu().numpy()
        return points

    plural = "codebook" if codec.rows == 1 else "codebooks"
    return Subject(name, f"{_short(checkpoint)}, {codec.rows} {plural}", codec, codec, "", codec.times, embed)


def _of_layers(
    name: str, checkpoint: str, layers: tuple[Layer, ...] | None, device: str, local_files_only: bool
) -> Subject:
    source, _, revision = checkpoint.partition("@")
    where: dict[str, Any] = {
        "device": device,
        "revision": revision or None,
        "local_files_only": local_files_only,
    }
    tokenizer = Tokenizer.from_pretrained(source, layers=layers, **where)
    vocoder, no_vocoder = None, ""
    try:
        vocoder = Vocoder.from_pretrained(source, **where)
    except CheckpointError as error:
        no_vocoder = f"there is no vocoder: {error}"
    if vocoder is not None and (lacking := set(tokenizer.layers) - set(vocoder.layers)):
        vocoder, no_vocoder = None, f"its vocoder does not decode layers {sorted(lacking)}"

    def times(frames: int) -> Seconds:
        return frame_times(tokenizer.encoder.framing, frames)

    def embed(layer: Layer, codes: Integers) -> npt.NDArray[np.float32]:
        on_device = torch.from_numpy(codes.T).to(tokenizer.device)
        points: npt.NDArray[np.float32] = tokenizer.network.quantizer(layer).embed(on_device).cpu().numpy()
        return points

    title = f"{_short(checkpoint)}, layer{'s' * (len(tokenizer.layers) > 1)} {', '.join(map(str, tokenizer.layers))}"
    load = partial(Tokenizer.from_pretrained, source, **where)
    return Subject(name, title, tokenizer, vocoder, no_vocoder, times, embed, source, load)


def _short(checkpoint: str) -> str:
    return checkpoint.rstrip("/").rpartition("/")[2] or checkpoint
