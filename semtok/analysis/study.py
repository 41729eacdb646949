"""`Study`: every measure of a tokenizer's layers on some speech, a table each, computed when asked for and kept."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from semtok.analysis.abx import Example, abx_error, angle, draw_triplets, find_examples
from semtok.analysis.cca import pwcca
from semtok.analysis.clips import PHONES, SPEAKER, WORDS, StudyClip, check_columns, read_clips
from semtok.analysis.codes import code_statistics
from semtok.analysis.frames import Frames, Piece, encode_frames, read_pieces
from semtok.analysis.information import conditional_information, information
from semtok.analysis.labels import Labels, aligned_labels, column_labels
from semtok.analysis.layers import Remembered, Value, information_matrix, layer_shares
from semtok.analysis.probes import probe
from semtok.analysis.resynthesis import ResynthesisQuality
from semtok.analysis.selection import knee, select_layers
from semtok.analysis.stability import PERTURBATIONS, Waveform, stability
from semtok.analysis.tables import Table, TableCache
from semtok.audio.io import load_audio
from semtok.errors import SemtokError
from semtok.support.progress import track
from semtok.tokenizer import Tokenizer
from semtok.vocoder import Vocoder

if TYPE_CHECKING:
    from semtok.downstream import DownstreamModel

RESYNTHESIS, CONTENT = "resynthesis", "content"

# Excerpts that are encoded again for stability and resynthesis: so many, of so many seconds at most.
_EXCERPTS, _EXCERPT_SECONDS = 16, 6
# Clips whose features are looked at again, for ABX.
_ABX_CLIPS = 60
_ABX_BYTES = 2**29  # of the features of all of them
_CLIPS_AT_A_TIME = 10
_MOST_SELECTED = 6
_FEW_FRAMES = 20
"""Frames a code, below which counts of codes say little."""


class Study:
    """The layers of a tokenizer, measured on clips of speech.

    Each method gives a `Table`. Tables, and the codes of the clips, are kept in a folder: the same method on the same
    tokenizer, files and labels is read from there.

    Args:
        tokenizer: on the device it is on.
        audio: folder or manifest, for `semtok.analysis.clips.read_clips`.
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
        self.clips: list[StudyClip] = read_clips(audio, alignments)
        check_columns(self.clips, list(columns))
        has_speakers = any(SPEAKER in clip.columns for clip in self.clips)
        self.columns = tuple(dict.fromkeys([*([SPEAKER] if has_speakers else []), *columns]))
        self.folder = Path(folder)
        self._cache = TableCache(self.folder)
        self._values: dict[str, Remembered] = {}

    @cached_property
    def frames(self) -> Frames:
        """Codes of all clips."""
        return encode_frames(self.tokenizer, self.clips, self._cache.folder)

    @property
    def layers(self) -> tuple[int, ...]:
        return self.tokenizer.layers

    @cached_property
    def labels(self) -> Mapping[str, Labels | SemtokError]:
        """Phones, words and the labels of each column; or why there are none."""
        labels: dict[str, Labels | SemtokError] = {}
        words = [WORDS] if any(WORDS in clip.tiers for clip in self.clips) else []
        for name in (PHONES, *words, *self.columns):
            read = aligned_labels if name in (PHONES, WORDS) else column_labels
            try:
                labels[name] = read(self.frames, self.clips, name)
            except SemtokError as error:
                labels[name] = error
        return labels

    @property
    def purposes(self) -> tuple[str, ...]:
        """What layers can be selected for: resynthesis, content, and each column."""
        return (RESYNTHESIS, CONTENT, *self.columns)

    def codes(self) -> Table:
        """Statistics of each row: use, runs, bits a second, quantization error."""
        return self._table("codes", self._codes)

    def stability(self) -> Table:
        """Edit distance of each row's codes under each of `PERTURBATIONS`."""
        return self._table("stability", self._stability)

    def information(self) -> Table:
        """What each row tells of each label, counted over frames."""
        return self._table("information", self._information)

    def probes(self) -> Table:
        """What a linear probe on all stages of each layer, and of all layers, tells of each label."""
        return self._table("probes", self._probes)

    def between(self) -> Table:
        """Mutual information of the first stages of each two layers."""
        return self._table("between", self._between)

    def shares(self) -> Table:
        """Each layer's part in what all layers tell of each label."""
        return self._table("shares", self._shares)

    def similarity(self) -> Table:
        """PWCCA of the continuous features of each two layers, and of each layer with log-mel spectra."""
        return self._table("similarity", self._similarity)

    def abx(self) -> Table:
        """ABX errors of phones, within and across speakers, on tokens and on features."""
        return self._table("abx", self._abx)

    def selection(self, purpose: str) -> Table:
        """The best 1, 2, 3 ... layers for a purpose, and which of these sets is the knee.

        Raises:
            SemtokError: the purpose is unknown, or what it needs is missing.
        """
        if purpose not in self.purposes:
            raise SemtokError(f"no purpose {purpose!r}: there are {', '.join(self.purposes)}")
        if purpose == RESYNTHESIS:
            if self.vocoder is None:
                raise SemtokError("no vocoder belongs to this tokenizer, so that nothing can be decoded")
            of_vocoder = _hash_weights(self.vocoder)
            return self._table(f"selection-{purpose}", lambda: self._select_for_resynthesis(), of_vocoder)
        label = self._label_of(purpose)
        return self._table(f"selection-{purpose}", lambda: self._select_for(label))

    def _table(self, name: str, compute: Callable[[], Table], *origin: str) -> Table:
        return self._cache.get(name, [self._origin, *origin], compute)

    @cached_property
    def _origin(self) -> dict[str, Any]:
        """All that the tables depend on."""
        clips = hashlib.sha256()
        for clip in self.clips:
            size = clip.path.stat() if clip.path.exists() else None
            stamp = (size.st_size, size.st_mtime_ns) if size else None
            tiers = {name: (of.phones, of.starts.tolist(), of.ends.tolist()) for name, of in clip.tiers.items()}
            clips.update(repr((str(clip.path.resolve()), stamp, dict(clip.columns), tiers)).encode())
        return {
            "fingerprint": self.tokenizer.fingerprint,
            "codebooks": list(self.tokenizer.codebooks.items()),
            "dtype": str(self.tokenizer.dtype),
            "clips": clips.hexdigest(),
            "columns": self.columns,
            "seed": self.seed,
        }

    def _codes(self) -> Table:
        frames = self.frames
        layer_of = {row: layer for layer, rows in frames.codebooks.rows.items() for row in range(rows.start, rows.stop)}
        rows = [
            {"row": name, "layer": layer_of[number]}
            | dataclasses.asdict(code_statistics(frames.codes[number], frames.lengths, size, frames.frame_rate))
            | {"unexplained": frames.unexplained[number]}
            for number, (name, size) in enumerate(zip(frames.codebooks.names, frames.codebooks.sizes, strict=True))
        ]
        count, largest = frames.codes.shape[1], max(frames.codebooks.sizes)
        notes = [f"Left out: {reason}" for reason in frames.left_out]
        if count < _FEW_FRAMES * largest:
            notes.append(
                f"{count} frames ({count / frames.frame_rate:.0f} s) are few for a codebook of {largest}: the use of "
                "codes, perplexity and entropy come out too low, and held-out information as well. "
                f"{_FEW_FRAMES} frames a code would be {_FEW_FRAMES * largest / frames.frame_rate:.0f} s."
            )
        return Table(rows, notes)

    def _excerpts(self) -> list[Waveform]:
        """The beginnings of some clips, spread over all of them; those shorter than half a second are skipped."""
        numbers = np.unique(self.frames.clips)
        chosen = numbers[np.linspace(0, len(numbers) - 1, min(_EXCERPTS, len(numbers))).astype(int)]
        rate = self.tokenizer.sample_rate
        waveforms = [load_audio(self.clips[number].path, sample_rate=rate) for number in chosen.tolist()]
        return [waveform[: _EXCERPT_SECONDS * rate].numpy() for waveform in waveforms if len(waveform) >= rate // 2]

    def _stability(self) -> Table:
        excerpts = self._excerpts()
        if not excerpts:
            return Table(notes=["No clip is longer than half a second."])
        distances = stability(self.tokenizer, list(track(excerpts, "perturbing", len(excerpts))))
        names = self.tokenizer.codebooks.names
        rows = [
            {"row": name} | {perturbation: distances[perturbation][number] for perturbation in PERTURBATIONS}
            for number, name in enumerate(names)
        ]
        return Table(rows)

    def _labelled(self) -> tuple[list[Labels], list[str]]:
        """Labels there are, and sentences about those that are missing."""
        present = [labels for labels in self.labels.values() if isinstance(labels, Labels)]
        notes = [f"Without {name}: {error}." for name, error in self.labels.items() if isinstance(error, SemtokError)]
        return present, notes + [note for labels in present for note in labels.notes]

    def _information(self) -> Table:
        present, notes = self._labelled()
        names, sizes = self.frames.codebooks.names, self.frames.codebooks.sizes
        rows = []
        for labels in present:
            for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
                codes = self.frames.codes[number, labels.frames]
                measured = information(labels.labels, codes, labels.groups)
                rows.append({"label": labels.name, "row": name, "codebook_size": size} | dataclasses.asdict(measured))
        phones, speakers = self.labels[PHONES], self.labels.get(SPEAKER)
        if isinstance(phones, Labels) and isinstance(speakers, Labels):
            rows += self._speakers_given_phones(phones, speakers)
        return Table(rows, notes)

    def _speakers_given_phones(self, phones: Labels, speakers: Labels) -> list[dict[str, Any]]:
        frames, of_phones, of_speakers = np.intersect1d(phones.frames, speakers.frames, return_indices=True)
        if len(frames) == 0:
            return []
        phone, speaker = phones.labels[of_phones], speakers.labels[of_speakers]
        speaker_bits, _ = conditional_information(speaker, speaker, phone)
        undefined = dict.fromkeys(("held_out", "purity", "cluster_purity"), float("nan"))
        rows = []
        for number, (name, size) in enumerate(
            zip(self.frames.codebooks.names, self.frames.codebooks.sizes, strict=True)
        ):
            bits, bias = conditional_information(speaker, self.frames.codes[number, frames], phone)
            normalized = bits / speaker_bits if speaker_bits else float("nan")
            rows.append(
                {"label": "speaker given phone", "row": name, "codebook_size": size, "entropy": speaker_bits}
                | {"bits": bits, "bias": bias, "normalized": normalized}
                | undefined
            )
        return rows

    def _probe(self, labels: Labels, layers: Sequence[int], **options: Any) -> dict[str, float]:
        rows = self.frames.rows_of(layers)
        sizes = [self.frames.codebooks.sizes[row] for row in rows]
        codes = self.frames.codes[rows][:, labels.frames]
        return dataclasses.asdict(probe(codes, labels.labels, labels.groups, sizes, seed=self.seed, **options))

    def _probes(self) -> Table:
        present, notes = self._labelled()
        sets = [*((layer,) for layer in self.layers), *([self.layers] if len(self.layers) > 1 else [])]
        jobs = [(labels, layers) for labels in present for layers in sets]
        rows = []
        for labels, layers in track(jobs, "probing", len(jobs)):
            chance = float(np.bincount(labels.labels).max()) / len(labels.labels)
            rows.append(
                {"label": labels.name, "layers": list(layers), "labels": len(labels.names), "chance": chance}
                | self._probe(labels, layers, linear=True)
            )
        return Table(rows, notes)

    def _between(self) -> Table:
        rows = self.frames.first_rows()
        matrix = information_matrix([self.frames.codes[row] for row in rows.values()], self.frames.groups)
        return Table(
            [
                {
                    "layer": one,
                    "other": other,
                    "bits": matrix[i, j],
                    "share": matrix[i, j] / max(min(matrix[i, i], matrix[j, j]), 1e-9),
                }
                for i, one in enumerate(rows)
                for j, other in enumerate(rows)
            ]
        )

    def _value(self, labels: Labels) -> Remembered:
        """Bits that a set of layers tells of a label, all stages together."""
        if labels.name not in self._values:
            self._values[labels.name] = Remembered(lambda layers: self._probe(labels, layers)["bits"])
        return self._values[labels.name]

    def _shares(self) -> Table:
        present, notes = self._labelled()
        if len(self.layers) < 2:
            return Table(notes=["There is one layer only."])
        rows = []
        for labels in track(present, "sharing out", len(present)):
            shares = layer_shares(self.layers, self._value(labels), seed=self.seed)
            rows += [
                {"label": labels.name, "layer": layer} | dataclasses.asdict(shares[layer]) for layer in self.layers
            ]
        return Table(rows, notes)

    def _similarity(self) -> Table:
        views = {str(layer): self.frames.features[number] for number, layer in enumerate(self.layers)}
        views["log-mel"] = self.frames.mels
        pairs = list(itertools.combinations_with_replacement(views, 2))
        rows = []
        try:
            for one, other in track(pairs, "correlating", len(pairs)):
                similarity = 1.0 if one == other else pwcca(views[one], views[other])
                rows.append({"view": one, "other": other, "similarity": similarity})
        except ValueError as error:
            return Table(notes=[f"{str(error)[0].upper()}{str(error)[1:]}."])
        return Table(rows)

    def _abx(self) -> Table:
        numbers = [number for number in np.unique(self.frames.clips).tolist() if PHONES in self.clips[number].tiers]
        if not numbers:
            return Table(notes=["No clip has phones: give them by --alignments, or as a column of the manifest."])
        frames = self.frames
        drawn = np.random.default_rng(self.seed).permutation(numbers)[:_ABX_CLIPS]
        sizes = np.array([frames.lengths[frames.clips == number].sum() for number in drawn])
        sizes *= 2 * len(self.layers) * self.tokenizer.encoder.dim
        chosen = np.sort(drawn[: max(1, int((np.cumsum(sizes) <= _ABX_BYTES).sum()))])
        inside = np.isin(frames.clip_of, chosen)
        examples = [example for example in find_examples(frames, self.clips) if inside[example.start]]
        rows, notes = [], []
        features = self._features_of(chosen.tolist(), examples)
        for across in (False, True):
            where = "across" if across else "within"
            triplets = draw_triplets(examples, across=across, seed=self.seed)
            context = len(triplets.examples) >= 100
            if not context:
                triplets = draw_triplets(examples, across=across, context=False, seed=self.seed)
            if len(triplets.examples) == 0:
                notes.append(f"Too few examples of phones {where} speakers.")
                continue
            if not context:
                notes.append(f"Too few phones in the same context {where} speakers: contexts are not compared there.")
            rows += [
                {"layer": layer, "speakers": where, "triplets": len(triplets.examples)}
                | {"tokens": abx_error(triplets, self._centroids_of(layer, examples), angle)}
                | {
                    "features": abx_error(
                        triplets, [features[of.start][place].astype(np.float32) for of in examples], angle
                    )
                }
                for place, layer in enumerate(self.layers)
            ]
        return Table(rows, notes)

    def _centroids_of(self, layer: int, examples: Sequence[Example]) -> list[npt.NDArray[np.float32]]:
        """What the tokens of examples stand for, all stages of a layer: [frames, dim] each."""
        codes = torch.from_numpy(self.frames.codes[self.frames.rows_of([layer])].T)
        quantizer = self.tokenizer.network.quantizer(layer)
        of_examples = (codes[example.start : example.stop].to(self.tokenizer.device) for example in examples)
        return [quantizer.embed(codes).cpu().numpy() for codes in of_examples]

    def _features_of(self, clips: Sequence[int], examples: Sequence[Example]) -> dict[int, npt.NDArray[np.float16]]:
        """Features [layers, frames, dim] of examples of some clips, by the frame that they start with."""
        first_frames = np.cumsum(self.frames.lengths) - self.frames.lengths
        starts = sorted(example.start for example in examples)
        stops = {example.start: example.stop for example in examples}
        features = {}
        for piece in track(self._pieces(clips), "features", None):
            (places,) = np.nonzero(self.frames.clips == piece.clip)
            seconds = self.frames.times[first_frames[places]]
            nearest = places[np.abs(seconds - piece.start / self.tokenizer.sample_rate).argmin()]
            begin = int(first_frames[nearest])
            for start in starts[bisect_left(starts, begin) : bisect_left(starts, begin + piece.features.shape[1])]:
                features[start] = piece.features[:, start - begin : stops[start] - begin].half().cpu().numpy()
        return features

    def _pieces(self, clips: Sequence[int]) -> Iterator[Piece]:
        """A few clips at a time, which bounds memory."""
        for start in range(0, len(clips), _CLIPS_AT_A_TIME):
            some = clips[start : start + _CLIPS_AT_A_TIME]
            for piece in read_pieces(self.tokenizer.encoder, [self.clips[clip].path for clip in some], self.layers):
                if not isinstance(piece, Piece):
                    raise piece[1]
                yield piece._replace(clip=some[piece.clip])

    def _label_of(self, purpose: str) -> Labels:
        """The label that stands for a purpose: for content phones, or words where there are no phones."""
        names = (PHONES, WORDS) if purpose == CONTENT else (purpose,)
        known = [self.labels[name] for name in names if name in self.labels]
        for labels in known:
            if isinstance(labels, Labels):
                return labels
        raise next(error for error in known if isinstance(error, SemtokError))

    def _select_for(self, labels: Labels) -> Table:
        return self._selected(self._value(labels), f"bits of {labels.name} a frame", list(labels.notes))

    def _select_for_resynthesis(self) -> Table:
        assert self.vocoder is not None
        excerpts = self._excerpts()
        if not excerpts:
            raise SemtokError("no clip is longer than half a second, so that resynthesis cannot be judged")
        quality = ResynthesisQuality(self.tokenizer, self.vocoder, excerpts)
        table = self._selected(lambda layers: quality(layers)[0], "STOI", [], self.vocoder.layers)
        for row in table.rows:
            row["log_mel_distance"] = quality(tuple(row["layers"]))[1]
        return table

    def _selected(self, quality: Value, unit: str, notes: list[str], layers: Sequence[int] | None = None) -> Table:
        codebooks, rate = self.tokenizer.codebooks, self.tokenizer.frame_rate
        choices = select_layers(
            layers or self.layers,
            quality,
            lambda subset: rate * codebooks.select(subset, owner="the tokenizer").bits,
            most=_MOST_SELECTED,
        )
        chosen = knee(choices)
        rows = [
            {"count": len(choice.layers)} | dataclasses.asdict(choice) | {"unit": unit, "knee": choice == chosen}
            for choice in choices
        ]
        return Table([row | {"layers": list(row["layers"])} for row in rows], notes)


def importance(models: Mapping[str, DownstreamModel]) -> Table:
    """Mean weight that trained models of tasks, by name, give each layer; see `DownstreamModel.layer_importance`."""
    rows, notes = [], []
    for name, model in models.items():
        weights = model.layer_importance
        rows += [{"model": name, "task": model.task, "layer": layer, "weight": of} for layer, of in weights.items()]
        if not weights:
            notes.append(f"{name} does not weight its layers by attention.")
    return Table(rows, notes)


def recommend(table: Table, purpose: str, *, count: int | None = None) -> str:
    """What a table of `Study.selection` recommends and why, in a sentence; of `count` layers, or the knee."""
    best = max(table.rows, key=lambda row: row["quality"])
    chosen = table.of(knee=True)[0] if count is None else table.of(count=count)[0]
    names = ", ".join(map(str, chosen["layers"]))
    text = (
        f"For {purpose}: layer{'s' if len(chosen['layers']) > 1 else ''} {names}, "
        f"{chosen['quality']:.3g} {chosen['unit']} at {chosen['bitrate'] / 1000:.2f} kbit/s"
    )
    if best["quality"] <= 0:
        return f"For {purpose}: no layer tells anything of it here."
    if chosen is best:
        return f"{text}. No other set that was tried does better."
    share = chosen["quality"] / best["quality"]
    return (
        f"{text}: {share:.0%} of the best (layers {', '.join(map(str, best['layers']))}) "
        f"at {chosen['bitrate'] / best['bitrate']:.0%} of its bitrate."
    )


def _hash_weights(vocoder: Vocoder) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(vocoder.network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()
