"""`UnitVocabulary`: speech tokens <-> the ids of a language model."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from semtok.checkpoints.config import read_config, write_config
from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.layers import Layer
from semtok.errors import CheckpointError, ConfigError, TokensError
from semtok.language.durations import runs, split_long_runs
from semtok.language.embeddings import extend_embeddings
from semtok.language.layouts import BEGIN, END, FOREIGN, LAYOUTS, Layout, Reading
from semtok.support.json import read_json
from semtok.tokens import Tokens, take_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from semtok.tokenizer import Tokenizer

_MOST_IDS = 1 << 20
# Wider fields make names of any length out of a short template.
_FIELD = re.compile(r"0?\d?\d?d?")

logger = logging.getLogger(__name__)


class HasCodebooks(Protocol):
    """A `Tokenizer`, a `Vocoder` or `Tokens`."""

    @property
    def codebooks(self) -> Codebooks: ...

    @property
    def frame_rate(self) -> float: ...

    @property
    def fingerprint(self) -> str: ...


def check_template(template: str) -> None:
    """Raises `ConfigError` for a template of names whose fields are no plain numbers, with leading zeros or without."""
    try:
        fields = [(name, spec or "") for _, name, spec, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ConfigError(f"template {template[:200]!r} is malformed: {error}") from error
    if len(template) > 64 or not all(name.isidentifier() and _FIELD.fullmatch(spec) for name, spec in fields):
        raise ConfigError(
            f"template {template[:200]!r} must be at most 64 characters, with fields such as {{code}} or {{code:05d}}"
        )


@dataclass(frozen=True)
class UnitVocabulary:
    """Which id stands for which code, and how the codes of an utterance become a sequence of ids.

    Ids are contiguous from `first_id`: the codes of each row, row by row, then the durations, then begin and end.
    Made by `of`, placed after the tokens of a text model by `extend`.

    Args:
        codebooks: of the rows, in the order in which a model reads them; files have the lists of `Codebooks.entries`
            in its place.
        frame_rate: frames a second.
        fingerprint: of the tokenizer.
        template: name of a code's token, with `{code}` and for several rows `{row}`, "7" or "1.1"; or with `{index}`,
            which counts on from row to row. `<|s_{code}|>`, `<|speech_{code}|>`, `<|audio_{code}|>` and `<Un{code}>`
            are in use.
        begin, end: names of the tokens around an utterance.
        layout: one of `semtok.language.layouts.LAYOUTS`.
        max_duration: with at least 1, repeated frames are written once, and a token after each says how many frames it
            lasts, at most so many; by default every frame is written.
        duration_template: name of these tokens, with `{frames}`.
        first_id: where the ids start.

    Raises:
        ConfigError: rows that contradict each other, an unknown layout, or names that are not all different.
    """

    codebooks: Codebooks
    frame_rate: float
    fingerprint: str
    template: str = "<l{row}_{code}>"
    begin: str = "<|begin_of_speech|>"
    end: str = "<|end_of_speech|>"
    layout: str = "flattened"
    max_duration: int = 0
    duration_template: str = "<|dur_{frames}|>"
    first_id: int = 0

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ConfigError(f"layout must be one of {', '.join(LAYOUTS)}, got {self.layout!r}")
        if self.max_duration < 0 or self.first_id < 0:
            raise ConfigError(
                f"max_duration and first_id must be at least 0, got {self.max_duration} and {self.first_id}"
            )
        if (ids := sum(self.codebooks.sizes) + self.max_duration) > _MOST_IDS or self.first_id > _MOST_IDS:
            raise ConfigError(
                f"a vocabulary can have {_MOST_IDS} ids and begin at an id as large, got {ids} ids from {self.first_id}"
            )
        for template in (self.template, self.duration_template):
            check_template(template)
        seen: set[str] = set()
        for name in self.names:
            if name in seen:
                raise ConfigError(
                    f"two tokens would be named {name!r}: use {{code}}, with several rows also {{row}} (or {{index}} "
                    f"for both) in the template, {{frames}} in the duration_template; got {self.template!r} and "
                    f"{self.duration_template!r}"
                )
            seen.add(name)

    @classmethod
    def of(
        cls,
        source: HasCodebooks,
        *,
        layers: Iterable[Layer] | None = None,
        template: str = template,
        begin: str = begin,
        end: str = end,
        layout: str = layout,
        max_duration: int = max_duration,
    ) -> UnitVocabulary:
        """The vocabulary of a tokenizer, a vocoder or tokens: of these `layers`, in this order, all by default.

        Raises:
            LayerError: a layer that is not there.
            ConfigError: as the constructor.
        """
        codebooks = source.codebooks
        if layers is not None:
            codebooks = codebooks.select(layers, owner=f"this {type(source).__name__}")
        return cls(
            codebooks,
            source.frame_rate,
            source.fingerprint,
            template=template,
            begin=begin,
            end=end,
            layout=layout,
            max_duration=max_duration,
        )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Encoder layers, in the order in which a model reads them."""
        return self.codebooks.layers

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of all tokens, in the order of their ids."""
        names, index = [], 0
        try:
            for row, size in zip(self.codebooks.names, self.codebooks.sizes, strict=True):
                names += [self.template.format(row=row, code=code, index=index + code) for code in range(size)]
                index += size
            names += [self.duration_template.format(frames=frames + 1) for frames in range(self.max_duration)]
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigError(
                f"template {self.template!r} and duration_template {self.duration_template!r} may have {{row}}, "
                f"{{code}}, {{index}}, and {{frames}}: {error!r}"
            ) from error
        return (*names, self.begin, self.end)

    def __len__(self) -> int:
        """How many ids there are."""
        return len(self.names)

    @property
    def begin_id(self) -> int:
        return self.end_id - 1

    @property
    def end_id(self) -> int:
        return self.first_id + len(self) - 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many ids each row has; durations are a row of their own, the last one."""
        return (*self.codebooks.sizes, *((self.max_duration,) if self.max_duration else ()))

    @property
    def offsets(self) -> tuple[int, ...]:
        """The first id of each row."""
        return tuple(accumulate(self.sizes[:-1], initial=self.first_id))

    @property
    def _layout(self) -> Layout:
        return LAYOUTS[self.layout]

    def to_ids(self, tokens: Tokens) -> list[Tensor]:
        """The ids of each utterance, begin and end included.

        Args:
            tokens: of this vocabulary's tokenizer, with all of its layers, and perhaps others.

        Returns:
            int64 tensors on the device of the tokens, of the shape that the layout has.

        Raises:
            TokensError: tokens of another tokenizer or of codebooks of other sizes.
            LayerError: tokens that lack a layer.
        """
        tokens = take_tokens(tokens, self.codebooks, self.fingerprint, owner="this vocabulary", layers=self.layers)
        offsets = tokens.codes.new_tensor(self.offsets)[:, None]
        return [
            self._layout.write(self._with_durations(codes[:, :length]) + offsets, self.begin_id, self.end_id)
            for codes, length in zip(tokens.codes, tokens.lengths.tolist(), strict=True)
        ]

    def _with_durations(self, codes: Tensor) -> Tensor:
        if not self.max_duration:
            return codes
        codes, durations = split_long_runs(*runs(codes), self.max_duration)
        return torch.cat([codes, durations[None] - 1])

    def from_ids(self, sequences: Sequence[Tensor | Sequence[int]], *, repair: bool = False) -> Tokens:
        """The tokens of sequences of ids, one an utterance; the inverse of `to_ids`. Begin and end may be missing.

        Args:
            sequences: of the shape that the layout has.
            repair: leave out ids that do not fit, and the frames that they leave incomplete, instead of refusing them;
                which these were is logged as a warning.

        Raises:
            TokensError: no sequences, one of another shape, ids beyond the vocabulary, or ids out of order.
        """
        if len(sequences) == 0:
            raise TokensError("there are no sequences: from_ids takes a list of them, one an utterance")
        codes = [self._read(sequence, number, repair=repair) for number, sequence in enumerate(sequences)]
        return Tokens.of(codes, self.codebooks, self.frame_rate, self.fingerprint)

    def _read(self, sequence: Tensor | Sequence[int], number: int, *, repair: bool) -> Tensor:
        ids, rows = torch.as_tensor(sequence), len(self.sizes)
        if len(ids) == 0:
            ids = ids.long()
        if ids.dtype != torch.int64 or ids.ndim != self._layout.dimensions or (ids.ndim == 2 and len(ids) != rows):
            shape = "[length]" if self._layout.dimensions == 1 else f"[{rows} rows, steps]"
            raise TokensError(
                f"sequence {number} must be int64 {shape} in the layout {self.layout}, got {ids.dtype} "
                f"{list(ids.shape)}"
            )
        reading = self._layout.read(self.kinds(ids), rows)
        if len(reading.wrong):
            text = f"sequence {number}: {self._describe(ids, reading)}"
            if not repair:
                raise TokensError(f"{text}; repair=True leaves them out")
            logger.warning("left out of %s", text)
        codes = ids.flatten()[reading.positions] - ids.new_tensor(self.offsets)[:, None]
        if self.max_duration:
            codes = codes[:-1].repeat_interleave(codes[-1] + 1, dim=1)
        return codes

    def kinds(self, ids: Tensor) -> Tensor:
        """What each id is: the number of its row, durations being the last; else BEGIN, END or FOREIGN of `layouts`."""
        kinds = torch.bucketize(ids.contiguous(), ids.new_tensor(self.offsets), right=True) - 1
        kinds[(ids < self.first_id) | (ids > self.end_id)] = FOREIGN
        kinds[ids == self.begin_id] = BEGIN
        kinds[ids == self.end_id] = END
        return kinds

    def _describe(self, ids: Tensor, reading: Reading) -> str:
        places = []
        for position in reading.wrong[:5].tolist():
            value = int(ids.flatten()[position])
            known = self.first_id <= value <= self.end_id
            name = self.names[value - self.first_id] if known else f"beyond {self.first_id} ... {self.end_id}"
            row, step = divmod(position, ids.shape[-1])
            where = f"position {step}" if ids.ndim == 1 else f"row {row}, step {step}"
            places.append(f"id {value} ({name}) at {where}")
        if len(reading.wrong) > len(places):
            places.append(f"and {len(reading.wrong) - len(places)} more")
        rows = ", ".join(self.row_names)
        return (
            f"{', '.join(places)}: out of place, or of an unfinished frame, in the layout {self.layout} of rows {rows}"
        )

    @property
    def row_names(self) -> tuple[str, ...]:
        """Of each row, durations included."""
        return (*self.codebooks.names, *(("durations",) if self.max_duration else ()))

    def extend(
        self,
        hf_tokenizer: PreTrainedTokenizerBase,
        model: PreTrainedModel | None = None,
        *,
        centroids_of: Tokenizer | None = None,
    ) -> UnitVocabulary:
        """Adds all tokens to a tokenizer of transformers, and rows to the embeddings of its model.

        Args:
            hf_tokenizer: of text; changed in place.
            model: its embeddings, and those of its output, become as large as is needed; changed in place.
            centroids_of: semtok's tokenizer: the new rows of codes start from its centroids, mapped at random to the
                size of the embeddings and brought to their mean and variance. By default as transformers starts them.

        Returns:
            This vocabulary with the ids that its tokens have there.

        Raises:
            TokensError: the tokenizer has some of the tokens already, or does not give them contiguous ids; centroids
                of another tokenizer.
        """
        from tokenizers import AddedToken

        if centroids_of is not None and centroids_of.fingerprint != self.fingerprint:
            raise TokensError(
                f"centroids_of is tokenizer {centroids_of.fingerprint}, this vocabulary is of {self.fingerprint}"
            )
        known = hf_tokenizer.get_vocab()
        if there := [name for name in self.names if name in known]:
            raise TokensError(
                f"this tokenizer already has {len(there)} of {len(self)} tokens, {there[0]!r} with id "
                f"{known[there[0]]}: `located_in` finds them if they are of an earlier `extend`, another template "
                "avoids them if not"
            )
        hf_tokenizer.add_tokens([AddedToken(name, normalized=False) for name in self.names])
        vocabulary = self.located_in(hf_tokenizer)
        if model is not None:
            ids = range(vocabulary.first_id, vocabulary.end_id + 1)
            extend_embeddings(model, ids, vocabulary.codebooks, centroids_of)
        return vocabulary

    def located_in(self, hf_tokenizer: PreTrainedTokenizerBase) -> UnitVocabulary:
        """This vocabulary with the ids that its tokens have in a tokenizer of transformers that was extended before.

        Raises:
            TokensError: tokens are missing there, or their ids are not contiguous.
        """
        known = hf_tokenizer.get_vocab()
        if missing := [name for name in self.names if name not in known]:
            raise TokensError(f"this tokenizer lacks {len(missing)} of {len(self)} tokens, such as {missing[0]!r}")
        first = known[self.names[0]]
        for number, name in enumerate(self.names):
            if known[name] != first + number:
                raise TokensError(
                    f"the ids are not contiguous: {self.names[0]!r} has {first}, so {name!r} must have "
                    f"{first + number}, but has {known[name]}"
                )
        return dataclasses.replace(self, first_id=first)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a JSON file."""
        write_config(Path(path), self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> UnitVocabulary:
        """Reads a file that `save` wrote.

        Raises:
            CheckpointError: no such file, or no JSON.
            ConfigError: other entries than those of a vocabulary.
        """
        if not Path(path).exists():
            raise CheckpointError(f"there is no vocabulary {path} (looked from {Path.cwd()})")
        return read_config(read_json(Path(path), CheckpointError), cls, str(path))
