"""`Tokens`: what a tokenizer makes of speech and a vocoder takes, with all that is needed to read it."""

from __future__ import annotations

import json
import math
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.functional import pad

from semtok.audio.lengths import frame_mask
from semtok.codebooks.codebooks import Codebooks
from semtok.errors import ConfigError, TokensError
from semtok.support.atomic import atomic_write

_FORMAT = "semtok-tokens"
_VERSION = "1"
_PADDING = -1


@dataclass(frozen=True, eq=False, repr=False)
class Tokens:
    """Discrete speech tokens of a batch of utterances: one code a layer and frame, or one a residual stage of a layer.

    `len(tokens)` is the batch; `tokens[i]`, a slice, and iteration give utterances as `Tokens` again, cut to the
    longest of them.

    Args:
        codes: int64 [batch, rows, frames]; in 0 ... codebook_size - 1, and -1 past an utterance's length. A row is a
            layer, or where residual k-means has several stages one of them, those of a layer together.
        lengths: int64 [batch], frames of each utterance, on the device of the codes.
        layers: encoder layer numbers, in the order of the codes.
        frame_rate: frames a second.
        codebook_sizes: of each row.
        fingerprint: of the tokenizer that made them; only its vocoder can decode them.
        stages: of each layer; one each if none are given.

    Raises:
        TokensError: any of that does not hold.
    """

    codes: Tensor
    lengths: Tensor
    layers: tuple[int, ...]
    frame_rate: float
    codebook_sizes: tuple[int, ...]
    fingerprint: str
    stages: tuple[int, ...] = ()
    _codebooks: Codebooks = field(init=False)

    def __post_init__(self) -> None:
        if self.stages == ():
            object.__setattr__(self, "stages", (1,) * len(self.layers))
        self._check_description()
        self._check_tensors()
        self._check_codes()

    @classmethod
    def unchecked(
        cls, codes: Tensor, lengths: Tensor, codebooks: Codebooks, frame_rate: float, fingerprint: str
    ) -> Tokens:
        """Tokens that semtok itself made: what the constructor checks is taken to hold."""
        tokens = object.__new__(cls)
        tokens.__dict__.update(
            codes=codes,
            lengths=lengths,
            layers=codebooks.layers,
            frame_rate=frame_rate,
            codebook_sizes=codebooks.sizes,
            fingerprint=fingerprint,
            stages=codebooks.stages,
            _codebooks=codebooks,
        )
        return tokens

    @property
    def codebooks(self) -> Codebooks:
        """Layers, in the order of the codes, and the codebook sizes of their stages."""
        return self._codebooks

    def _with(self, codes: Tensor, lengths: Tensor, codebooks: Codebooks | None = None) -> Tokens:
        return Tokens.unchecked(codes, lengths, codebooks or self.codebooks, self.frame_rate, self.fingerprint)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int | slice) -> Tokens:
        if not isinstance(index, slice):
            try:
                position = operator.index(index)
            except TypeError:
                raise TypeError(
                    f"tokens are indexed by an int or a slice of utterances, got {index!r}; select() takes layers"
                ) from None
            if not -len(self) <= position < len(self):
                raise IndexError(f"there is no utterance {position} in a batch of {len(self)}")
            position %= len(self)
            index = slice(position, position + 1)
        lengths = self.lengths[index]
        if len(lengths) == 0:
            raise IndexError(f"{index} takes no utterance of a batch of {len(self)}")
        return self._with(self.codes[index, :, : int(lengths.max())], lengths)

    def __iter__(self) -> Iterator[Tokens]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return (
            f"Tokens(codes={list(self.codes.shape)} on {self.codes.device}, lengths={list(self.lengths.shape)}, "
            f"layers={self.layers}, frame_rate={self.frame_rate}, codebook_sizes={self.codebook_sizes}, "
            f"fingerprint={self.fingerprint!r})"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of each row of the codes: "3" for a layer, "1.1" and "1.2" for the stages of a layer that has two."""
        return self.codebooks.names

    @property
    def durations(self) -> Tensor:
        """Seconds of each utterance, float32 [batch]."""
        return self.lengths / self.frame_rate

    @property
    def bitrate(self) -> float:
        """Bits a second of all layers together: the frame rate times the log2 of each codebook size, summed."""
        return self.frame_rate * self.codebooks.bits

    def select(self, layers: Iterable[int]) -> Tokens:
        """The tokens of some layers, in the order asked; `LayerError` if one is not there or asked for twice."""
        codebooks = self.codebooks.select(layers, owner="this Tokens")
        rows = self.codebooks.rows
        return self._with(
            torch.cat([self.codes[:, rows[layer]] for layer in codebooks], dim=1), self.lengths, codebooks
        )

    def cut(self, start: int, stop: int) -> Tokens:
        """Frames start ... stop - 1 of every utterance, as far as it reaches; possibly none."""
        lengths = self.lengths.clamp(max=stop) - self.lengths.clamp(max=start)
        return self._with(self.codes[:, :, start : start + int(lengths.max())], lengths)

    def to(self, device: str | torch.device) -> Tokens:
        """The same tokens on another device."""
        return self._with(self.codes.to(device), self.lengths.to(device))

    @staticmethod
    def cat(batches: Sequence[Tokens]) -> Tokens:
        """Join batches of one tokenizer, with the same layers, into one batch, padded to the most frames.

        Raises:
            TokensError: nothing to join, or batches that differ in more than their utterances.
        """
        if not batches or not all(isinstance(batch, Tokens) for batch in batches):
            raise TokensError(f"cat joins a list of Tokens, got {[type(batch).__name__ for batch in batches]}")
        for name in ("fingerprint", "layers", "stages", "codebook_sizes", "frame_rate"):
            values = list(dict.fromkeys(getattr(batch, name) for batch in batches))
            if len(values) > 1:
                raise TokensError(f"cannot join batches that differ in their {name}: {values[0]!r} and {values[1]!r}")
        frames = max(batch.codes.shape[2] for batch in batches)
        codes = [pad(batch.codes, (0, frames - batch.codes.shape[2]), value=_PADDING) for batch in batches]
        return batches[0]._with(torch.cat(codes), torch.cat([batch.lengths for batch in batches]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, whole or not at all; `TokensError` if its folder does not exist."""
        path = Path(path)
        if not path.parent.is_dir():
            raise TokensError(f"cannot write {path}: the folder {path.parent} does not exist, create it first")
        dtype = torch.int16 if max(self.codebook_sizes) <= 2**15 else torch.int32
        tensors = {"codes": self.codes.to("cpu", dtype).contiguous(), "lengths": self.lengths.cpu().contiguous()}
        metadata = {
            "format": _FORMAT,
            "version": _VERSION,
            "layers": json.dumps(self.layers),
            "frame_rate": json.dumps(self.frame_rate),
            "codebook_sizes": json.dumps(self.codebook_sizes),
            "stages": json.dumps(self.stages),
            "fingerprint": self.fingerprint,
        }
        with atomic_write(path) as aside:
            aside.write_bytes(save(tensors, metadata))

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Tokens:
        """Read a file that `save` wrote.

        Raises:
            TokensError: no such file, a truncated one, one that holds something else, or one of another version.
        """
        path = Path(path)
        if not path.is_file():
            raise TokensError(f"there is no file {path} (looked from {Path.cwd()})")
        try:
            content = path.read_bytes()  # not by safe_open, whose paths have to be UTF-8
            tensors = load(content)
            metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
            kind = metadata.get("format"), metadata.get("version")
            if kind != (_FORMAT, _VERSION):
                raise TokensError(
                    f"its format and version are {kind}, expected {(_FORMAT, _VERSION)}: "
                    "it holds no tokens, or those of another version of semtok"
                )
            tokens = cls(
                codes=tensors["codes"].long(),
                lengths=tensors["lengths"],
                layers=tuple(json.loads(metadata["layers"])),
                frame_rate=json.loads(metadata["frame_rate"]),
                codebook_sizes=tuple(json.loads(metadata["codebook_sizes"])),
                fingerprint=metadata["fingerprint"],
                stages=tuple(json.loads(metadata.get("stages", "[]"))),
            )
        except KeyError as error:
            raise TokensError(f"cannot read tokens from {path}: it lacks {error}") from error
        except (SafetensorError, TypeError, ValueError) as error:
            raise TokensError(f"cannot read tokens from {path} ({path.stat().st_size} bytes): {error}") from error
        return tokens.to(device)

    def _check_description(self) -> None:
        numbers = (("layers", self.layers, 0), ("codebook_sizes", self.codebook_sizes, 1), ("stages", self.stages, 1))
        for name, values, lowest in numbers:
            if not isinstance(values, tuple) or not all(type(value) is int and value >= lowest for value in values):
                raise TokensError(f"{name} must be a tuple of integers of at least {lowest}, got {values!r}")
        try:
            codebooks = Codebooks.from_rows(self.layers, self.codebook_sizes, self.stages)
        except ConfigError as error:
            raise TokensError(str(error)) from None
        object.__setattr__(self, "_codebooks", codebooks)
        if not isinstance(self.frame_rate, (int, float)) or not 0 < self.frame_rate < math.inf:
            raise TokensError(f"frame_rate must be a number above 0, got {self.frame_rate!r}")
        if not isinstance(self.fingerprint, str):
            raise TokensError(f"fingerprint must be a string, got {self.fingerprint!r}")

    def _check_tensors(self) -> None:
        for name, value in (("codes", self.codes), ("lengths", self.lengths)):
            if not isinstance(value, Tensor) or value.dtype != torch.int64:
                arrived = value.dtype if isinstance(value, Tensor) else type(value).__name__
                raise TokensError(f"{name} must be an int64 tensor, got {arrived}")
        if self.codes.ndim != 3 or self.codes.shape[1] != sum(self.stages) or len(self.codes) == 0:
            raise TokensError(
                f"codes must be [batch >= 1, {sum(self.stages)} rows, frames], with a row a layer and stage, "
                f"got {list(self.codes.shape)}"
            )
        if self.lengths.shape != self.codes.shape[:1]:
            raise TokensError(f"lengths must be [batch] = [{len(self.codes)}], got {list(self.lengths.shape)}")
        if self.lengths.device != self.codes.device:
            raise TokensError(f"codes are on {self.codes.device}, lengths on {self.lengths.device}: move one of them")

    def _check_codes(self) -> None:
        frames = self.codes.shape[2]
        if self.lengths.min() < 0 or self.lengths.max() > frames:
            raise TokensError(
                f"lengths must lie in 0 ... {frames} frames, got {int(self.lengths.min())} to {int(self.lengths.max())}"
            )
        valid = frame_mask(self.lengths, frames)[:, None]
        sizes = torch.tensor(self.codebook_sizes, device=self.codes.device)[:, None]
        wrong = torch.where(valid, (self.codes < 0) | (self.codes >= sizes), self.codes != _PADDING)
        if wrong.any():
            utterance, row, frame = wrong.nonzero()[0].tolist()
            within = frame < self.lengths[utterance]
            allowed = f"0 ... {self.codebook_sizes[row] - 1}" if within else "-1 past the length"
            raise TokensError(
                f"code {int(self.codes[utterance, row, frame])} of layer {self.names[row]} "
                f"(utterance {utterance}, frame {frame}) is not allowed: expected {allowed}"
            )


def take_tokens(
    tokens: Tokens, codebooks: Codebooks, fingerprint: str, *, owner: str, layers: Iterable[int] | None = None
) -> Tokens:
    """The tokens of the layers asked for, or all, once they are known to be of a tokenizer and its codebooks.

    Raises:
        TokensError: no tokens, another tokenizer's, or of codebooks of other sizes.
        LayerError: a layer that the tokens or `owner` lack, or twice the same.
    """
    if not isinstance(tokens, Tokens):
        raise TokensError(f"expected Tokens as Tokenizer.encode gives them, got {type(tokens).__name__}")
    if tokens.fingerprint != fingerprint:
        raise TokensError(
            f"these tokens are of tokenizer {tokens.fingerprint}, {owner} takes those of {fingerprint}: "
            "encode and decode with the same checkpoint"
        )
    if layers is not None:
        tokens = tokens.select(layers)
    expected = codebooks.select(tokens.layers, owner=owner)
    if tokens.codebooks != expected:
        raise TokensError(
            f"these tokens of layers {tokens.layers} with stages {tokens.stages} have codebook_sizes "
            f"{tokens.codebook_sizes}, {owner} has {expected.sizes}"
        )
    return tokens
