"""`Tokens`: the codes of utterances, with the layers, codebook sizes, frame rate and tokenizer that they belong to."""

from __future__ import annotations

import json
import math
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from semtok.audio.lengths import frame_mask
from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.editions import with_edition
from semtok.codebooks.fingerprint import frames_fingerprint
from semtok.codebooks.layers import Layer
from semtok.errors import ConfigError, TokensError
from semtok.support.atomic import atomic_write
from semtok.support.json import parse_json

_FORMAT = "semtok-tokens"
_VERSION = "1"
_PADDING = -1


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Tokens:
    """Discrete speech tokens of a batch of utterances: one code for each layer and frame, or one for each residual
    stage of a layer.

    `len(tokens)` is the number of utterances. `tokens[i]`, a slice, and iteration give utterances as `Tokens` again,
    cut to the longest of them.

    Args:
        codes: int64 [batch, rows, frames]; in 0 ... codebook_size - 1, and -1 past an utterance's length. A row is a
            layer, or one of the residual stages of a layer; the rows of a layer stand together.
        lengths: int64 [batch], frames of each utterance, on the device of the codes.
        layers: encoder layer numbers, in the order of the codes.
        frame_rate: frames a second.
        codebook_sizes: codebook size of each row.
        fingerprint: of the tokenizer that made the codes; only a vocoder of the same tokenizer can decode them.
        stages: residual stages of each layer; one each by default.

    Attributes:
        codebooks: `layers`, `codebook_sizes` and `stages` in one value.

    Raises:
        TokensError: an argument of another type or shape, or arguments that contradict each other.
    """

    codes: Tensor
    lengths: Tensor
    codebooks: Codebooks
    frame_rate: float
    fingerprint: str

    def __init__(
        self,
        codes: Tensor,
        lengths: Tensor,
        layers: Sequence[Layer],
        frame_rate: float,
        codebook_sizes: Sequence[int],
        fingerprint: str,
        stages: Sequence[int] = (),
    ) -> None:
        try:
            codebooks = Codebooks.from_rows(layers, codebook_sizes, stages)
        except ConfigError as error:
            raise TokensError(str(error)) from None
        self._set(codes, lengths, codebooks, frame_rate, fingerprint)
        self._check_description()
        self._check_tensors()
        self._check_codes()

    @classmethod
    def of(cls, codes: Sequence[Tensor], codebooks: Codebooks, frame_rate: float, fingerprint: str) -> Tokens:
        """Tokens of utterances whose codes semtok itself made, which are not checked.

        Args:
            codes: int64 [rows, frames] of each utterance, all on one device, at least one.
            codebooks: of the rows.
            frame_rate: frames a second.
            fingerprint: of the tokenizer.
        """
        lengths = torch.tensor([utterance.shape[1] for utterance in codes], device=codes[0].device)
        padded = pad_sequence([utterance.T for utterance in codes], batch_first=True, padding_value=_PADDING)
        tokens = object.__new__(cls)
        tokens._set(padded.transpose(1, 2).contiguous(), lengths, codebooks, frame_rate, fingerprint)
        return tokens

    def _set(self, codes: Tensor, lengths: Tensor, codebooks: Codebooks, frame_rate: float, fingerprint: str) -> None:
        values = {"codes": codes, "lengths": lengths, "codebooks": codebooks}
        self.__dict__.update(values, frame_rate=frame_rate, fingerprint=fingerprint)

    def _with(self, codes: Tensor, lengths: Tensor, codebooks: Codebooks | None = None) -> Tokens:
        """Tokens of the same tokenizer, not checked."""
        tokens = object.__new__(Tokens)
        tokens._set(codes, lengths, codebooks or self.codebooks, self.frame_rate, self.fingerprint)
        return tokens

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Encoder layer numbers, in the order of the codes."""
        return self.codebooks.layers

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size of each row."""
        return self.codebooks.sizes

    @property
    def stages(self) -> tuple[int, ...]:
        """Residual stages, and so rows, of each layer."""
        return self.codebooks.stages

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
        """The name of each row of the codes: "3" for a layer, "1.1" and "1.2" for the stages of a layer with two."""
        return self.codebooks.names

    @property
    def durations(self) -> Tensor:
        """Seconds of each utterance, float32 [batch]."""
        return self.lengths / self.frame_rate

    @property
    def bitrate(self) -> float:
        """Bits a second of all layers together: the frame rate times the sum of the log2 of each codebook size."""
        return self.frame_rate * self.codebooks.bits

    def select(self, layers: Iterable[Layer]) -> Tokens:
        """The tokens of some layers, in the order asked for; `LayerError` if a layer is missing or asked for twice."""
        codebooks = self.codebooks.select(layers, owner="this Tokens")
        rows = self.codebooks.rows
        return self._with(
            torch.cat([self.codes[:, rows[layer]] for layer in codebooks], dim=1), self.lengths, codebooks
        )

    def cut(self, start: int, stop: int) -> Tokens:
        """Frames start ... stop - 1 of every utterance; an utterance that ends before `start` keeps no frame."""
        lengths = self.lengths.clamp(max=stop) - self.lengths.clamp(max=start)
        return self._with(self.codes[:, :, start : start + int(lengths.max())], lengths)

    def to(self, device: str | torch.device) -> Tokens:
        """The same tokens on another device."""
        return self._with(self.codes.to(device), self.lengths.to(device))

    @staticmethod
    def cat(batches: Sequence[Tokens]) -> Tokens:
        """Joins batches of one tokenizer, with the same layers, into one batch, padded to the most frames.

        Raises:
            TokensError: nothing to join, or batches of different tokenizers, codebooks or frame rates.
        """
        if not batches or not all(isinstance(batch, Tokens) for batch in batches):
            raise TokensError(f"cat joins a list of Tokens, got {[type(batch).__name__ for batch in batches]}")
        for name in ("fingerprint", "layers", "codebooks", "frame_rate"):
            values = list(dict.fromkeys(getattr(batch, name) for batch in batches))
            if len(values) > 1:
                raise TokensError(f"cannot join batches that differ in their {name}: {values[0]!r} and {values[1]!r}")
        frames = max(batch.codes.shape[2] for batch in batches)
        codes = [pad(batch.codes, (0, frames - batch.codes.shape[2]), value=_PADDING) for batch in batches]
        return batches[0]._with(torch.cat(codes), torch.cat([batch.lengths for batch in batches]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one safetensors file, whole or not at all; `TokensError` if the folder of `path` does not exist."""
        path = Path(path)
        if not path.parent.is_dir():
            raise TokensError(f"cannot write {path}: the folder {path.parent} does not exist, create it first")
        dtype = torch.int16 if max(self.codebook_sizes) <= 2**15 else torch.int32
        tensors = {"codes": self.codes.to("cpu", dtype).contiguous(), "lengths": self.lengths.cpu().contiguous()}
        metadata = {
            "format": _FORMAT,
            "version": _VERSION,
            "frame_rate": json.dumps(self.frame_rate),
            "fingerprint": self.fingerprint,
            **{name: json.dumps(values) for name, values in self.codebooks.entries.items()},
        }
        with atomic_write(path) as aside:
            aside.write_bytes(save(tensors, metadata))

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Tokens:
        """Reads a file that `save` wrote.

        Raises:
            TokensError: no such file, a truncated one, one that holds something else, or one of another version.
        """
        path = Path(path)
        if not path.is_file():
            raise TokensError(f"there is no file {path} (looked from {Path.cwd()})")
        try:
            content = path.read_bytes()  # not by safe_open, whose paths have to be UTF-8
            tensors = load(content)
            header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")], "its header", TokensError)
            metadata = header.get("__metadata__", {})
            kind = metadata.get("format"), metadata.get("version")
            if kind != (_FORMAT, _VERSION):
                raise TokensError(
                    f"its format and version are {kind}, expected {(_FORMAT, _VERSION)}: "
                    "it holds no tokens, or those of another version of semtok"
                )
            tokens = cls(
                codes=tensors["codes"].long(),
                lengths=tensors["lengths"],
                layers=parse_json(metadata["layers"], "layers", TokensError),
                frame_rate=parse_json(metadata["frame_rate"], "frame_rate", TokensError),
                codebook_sizes=parse_json(metadata["codebook_sizes"], "codebook_sizes", TokensError),
                fingerprint=metadata["fingerprint"],
                stages=parse_json(metadata.get("stages", "[]"), "stages", TokensError),
            )
        except KeyError as error:
            raise TokensError(f"cannot read tokens from {path}: it lacks {error}") from error
        except (SafetensorError, TypeError, ValueError) as error:
            raise TokensError(f"cannot read tokens from {path} ({path.stat().st_size} bytes): {error}") from error
        return tokens.to(device)

    def _check_description(self) -> None:
        if not isinstance(self.frame_rate, (int, float)) or not 0 < self.frame_rate < math.inf:
            raise TokensError(f"frame_rate must be a number above 0, got {self.frame_rate!r}")
        if not isinstance(self.fingerprint, str):
            raise TokensError(f"fingerprint must be a string, got {self.fingerprint!r}")

    def _check_tensors(self) -> None:
        for name, value in (("codes", self.codes), ("lengths", self.lengths)):
            if not isinstance(value, Tensor) or value.dtype != torch.int64:
                arrived = value.dtype if isinstance(value, Tensor) else type(value).__name__
                raise TokensError(f"{name} must be an int64 tensor, got {arrived}")
        rows = len(self.codebook_sizes)
        if self.codes.ndim != 3 or self.codes.shape[1] != rows or len(self.codes) == 0:
            raise TokensError(
                f"codes must be [batch >= 1, {rows} rows, frames], with a row a layer and stage, "
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
    tokens: Tokens, codebooks: Codebooks, fingerprint: str, *, owner: str, layers: Iterable[Layer] | None = None
) -> Tokens:
    """Some layers of tokens, or all, if the tokens are of the tokenizer with this fingerprint and these codebooks.

    Args:
        tokens: to be checked.
        codebooks: of `owner`, who takes the tokens.
        fingerprint: of the tokenizer whose tokens `owner` takes.
        owner: for the error messages, e.g. "this vocoder".
        layers: in the order asked for; all layers of the tokens by default.

    Raises:
        TokensError: no tokens, tokens of another tokenizer, or of codebooks of other sizes.
        LayerError: a layer that the tokens or `owner` lack, or a layer twice.
    """
    if not isinstance(tokens, Tokens):
        raise TokensError(f"expected Tokens as Tokenizer.encode gives them, got {type(tokens).__name__}")
    if tokens.fingerprint != fingerprint:
        if frames_fingerprint(tokens.fingerprint) == frames_fingerprint(fingerprint):
            kinds = [f"segments ({name})" if "/" in name else "frames" for name in (tokens.fingerprint, fingerprint)]
            raise TokensError(
                f"these are tokens of {kinds[0]}, {owner} takes those of {kinds[1]} of tokenizer {fingerprint}: "
                "encode with the tokenizer that it names"
            )
        raise TokensError(
            f"these tokens are of tokenizer {with_edition(tokens.fingerprint)}, {owner} takes those of "
            f"{with_edition(fingerprint)}: "
            "encode and decode with the same checkpoint"
        )
    if layers is not None:
        tokens = tokens.select(layers)
    expected = codebooks.select(tokens.layers, owner=owner)
    if tokens.codebooks != expected:
        raise TokensError(f"these tokens have {tokens.codebooks}, {owner} has {expected}")
    return tokens
