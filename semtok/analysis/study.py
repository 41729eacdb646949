"""`Study`: every measure of a tokenizer's layers on some speech, a table each, computed when asked for and kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from semtok.analysis.clips import PHONES, SPEAKER, WORDS, check_columns, read_excerpts, read_tiers
from semtok.analysis.frames import Frames, encode_frames
from semtok.analysis.labels import Labels, aligned_labels, column_labels
from semtok.analysis.layers import Remembered, Subset
from semtok.analysis.probes import Probe
from semtok.analysis.tables.abx import abx_table
from semtok.analysis.tables.codes import between_table, codes_table, similarity_table, stability_table
from semtok.analysis.tables.labels import information_table, probe_layers, probe_table, share_table
from semtok.analysis.tables.selection import resynthesis_table, selection_table
from semtok.analysis.tables.table import Table, TableCache
from semtok.analysis.tables.units import units_table
from semtok.audio.disturbances import Waveform
from semtok.codebooks.layers import Layer
from semtok.errors import SemtokError
from semtok.speech.reading import Speech
from semtok.tokenizer import Tokenizer
from semtok.vocoder import Vocoder

RESYNTHESIS, CONTENT = "resynthesis", "content"


class Study:
    """The layers of a tokenizer, measured on clips of speech.

    Each method gives a `Table`. Tables, and the codes of the clips, are kept in a folder: the same method on the same
    tokenizer, files and labels is read from there.

    Args:
        tokenizer: on the device it is on.
        audio: name of a source of speech, for `semtok.speech.sources.open_source`.
        folder: of the report; new, empty or of an earlier study.
        alignments: file of phones, and words, of the clips.
        columns: of the manifest whose labels are looked at, beside "speaker" where there is one.
        vocoder: of the tokenizer, for resynthesis; without it this purpose is left out.
        seed: of all that is drawn.

    Raises:
        AudioError: no audio, or a column that no clip has.
        SemtokError: alignments that cannot be read or are of no clip; a folder that holds something else.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        audio: str | os.PathLike[str],
        folder: str | os.PathLike[str],
        *,
        alignments: str | os.PathLike[str] | None = None,
        columns: Sequence[str] = (),
        vocoder: Vocoder | None = None,
        seed: int = 0,
    ) -> None:
        self.tokenizer, self.vocoder, self.seed = tokenizer, vocoder, seed
        self.speech = Speech([os.fspath(audio)])
        self.tiers = read_tiers(self.speech, audio, alignments)
        check_columns(self.speech.clips, columns)
        has_speakers = any(clip.label(SPEAKER) for clip in self.speech.clips)
        self.columns = tuple(dict.fromkeys([*([SPEAKER] if has_speakers else []), *columns]))
        self.folder = Path(folder)
        self._cache = TableCache(self.folder)
        self._probes: dict[tuple[str, Subset], Probe] = {}

    @cached_property
    def frames(self) -> Frames:
        """Codes of all clips."""
        return encode_frames(self.tokenizer, self.speech, self._cache.folder)

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.tokenizer.layers

    @cached_property
    def labels(self) -> Mapping[str, Labels | SemtokError]:
        """Phones, words and the labels of each column, or the error that says why a tier is missing."""

        def read(name: str) -> Labels | SemtokError:
            try:
                if name in (PHONES, WORDS):
                    return aligned_labels(self.frames, self.tiers, name, len(self.speech))
                return column_labels(self.frames, self.speech.clips, name)
            except SemtokError as error:
                return error

        words = [WORDS] if WORDS in self.tiers else []
        return {name: read(name) for name in (PHONES, *words, *self.columns)}

    @property
    def purposes(self) -> tuple[str, ...]:
        """What layers can be selected for: resynthesis, content, and each column."""
        return (RESYNTHESIS, CONTENT, *self.columns)

    def codes(self) -> Table:
        """Statistics of each row: use, runs, bits a second, quantization error."""
        return self._table("codes", lambda: codes_table(self.frames))

    def units(self) -> Table:
        """Runs of each row: how many a second, and how well they begin where phones and words do."""
        return self._table("units", lambda: units_table(self.frames, self.tiers))

    def stability(self) -> Table:
        """Unit edit distance of each row under each of `semtok.analysis.stability.CONDITIONS`."""
        return self._table("stability", lambda: stability_table(self.tokenizer, self.excerpts()))

    def information(self) -> Table:
        """What each row tells of each label, counted over frames."""
        return self._table("information", lambda: information_table(self.frames, self.labels))

    def probes(self) -> Table:
        """What a linear probe on all stages of each layer, and of all layers, tells of each label."""
        return self._table("probes", lambda: probe_table(self.frames, self.labels, self.seed))

    def between(self) -> Table:
        """Mutual information of the first stages of each two layers."""
        return self._table("between", lambda: between_table(self.frames))

    def shares(self) -> Table:
        """Each layer's part in what all layers tell of each label."""
        return self._table("shares", lambda: share_table(self.frames, self.labels, self._bits, self.seed))

    def similarity(self) -> Table:
        """PWCCA of the continuous features of each two layers, and of each layer with log-mel spectra."""
        return self._table("similarity", lambda: similarity_table(self.frames))

    def abx(self) -> Table:
        """ABX errors of phones, within and across speakers, on tokens and on features."""
        return self._table("abx", lambda: abx_table(self.tokenizer, self.speech, self.tiers, self.frames, self.seed))

    def selection(self, purpose: str) -> Table:
        """The best 1, 2, 3 ... layers for a purpose, and which of these sets is the knee.

        Raises:
            SemtokError: the purpose is unknown, or what it needs is missing.
        """
        if purpose not in self.purposes:
            raise SemtokError(f"no purpose {purpose!r}: there are {', '.join(self.purposes)}")
        if purpose == RESYNTHESIS:
            vocoder = self.vocoder
            if vocoder is None:
                raise SemtokError("no vocoder belongs to this tokenizer, so that nothing can be decoded")
            return self._table(
                f"selection-{purpose}",
                lambda: resynthesis_table(self.tokenizer, vocoder, self.excerpts()),
                _hash_weights(vocoder),
            )
        labels = self._label_of(purpose)
        return self._table(f"selection-{purpose}", lambda: self._select_for(labels))

    def _table(self, name: str, compute: Callable[[], Table], *origin: str) -> Table:
        return self._cache.get(name, [self._origin, *origin], compute)

    @cached_property
    def _origin(self) -> dict[str, Any]:
        """All that the tables depend on."""
        clips = hashlib.sha256(repr(self.speech.stamps).encode())
        for number, clip in enumerate(self.speech.clips):
            aligned = {name: of_tier[number] for name, of_tier in self.tiers.items() if number in of_tier}
            tiers = {name: (of.phones, of.starts.tolist(), of.ends.tolist()) for name, of in aligned.items()}
            clips.update(repr((clip.id, dict(clip.columns), tiers)).encode())
        return {
            "fingerprint": self.tokenizer.fingerprint,
            "codebooks": list(self.tokenizer.codebooks.items()),
            "dtype": str(self.tokenizer.dtype),
            "clips": clips.hexdigest(),
            "columns": self.columns,
            "seed": self.seed,
        }

    def excerpts(self) -> list[Waveform]:
        """The beginnings of some clips, float32 [samples] each, by which resynthesis and stability are judged."""
        return read_excerpts(self.speech, self.frames.clips, self.tokenizer.sample_rate)

    @cached_property
    def _bits(self) -> Mapping[str, Remembered]:
        """By label, the bits that a set of layers tells of it, all stages together."""
        return {
            name: Remembered(partial(self._bits_of, of)) for name, of in self.labels.items() if isinstance(of, Labels)
        }

    def _bits_of(self, labels: Labels, layers: Subset) -> float:
        return self._probe(labels, layers).bits

    def _probe(self, labels: Labels, layers: Subset) -> Probe:
        """Of all stages of a set of layers; each is trained once."""
        key = labels.name, layers
        if key not in self._probes:
            self._probes[key] = probe_layers(self.frames, labels, layers, self.seed)
        return self._probes[key]

    def _label_of(self, purpose: str) -> Labels:
        """The label that stands for a purpose: for content phones, or words where there are no phones."""
        names = (PHONES, WORDS) if purpose == CONTENT else (purpose,)
        known = [self.labels[name] for name in names if name in self.labels]
        for labels in known:
            if isinstance(labels, Labels):
                return labels
        raise next(error for error in known if isinstance(error, SemtokError))

    def _select_for(self, labels: Labels) -> Table:
        def interval(layers: Subset) -> tuple[float, float]:
            probe = self._probe(labels, layers)
            return probe.low, probe.high

        unit = f"bits of {labels.name} a frame"
        table = selection_table(self.tokenizer, self._bits[labels.name], unit, interval)
        return Table(table.rows, list(labels.notes))


def _hash_weights(vocoder: Vocoder) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(vocoder.network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()
