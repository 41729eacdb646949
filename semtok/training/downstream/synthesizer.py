"""Training of text to speech: characters -> tokens of several layers, with the timing of a recogniser's alignment."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from semtok.audio.lengths import frame_mask
from semtok.checkpoints.config import config_entries
from semtok.downstream.ctc import align, best_path
from semtok.downstream.model import TaskNetwork
from semtok.downstream.recognizer import SpeechRecognizer
from semtok.downstream.synthesizer import SynthesizerConfig, SynthesizerHead, TextToSpeech
from semtok.downstream.text import TextCodec, edit_distance, normalize
from semtok.errors import CheckpointError, ConfigError, TextError
from semtok.support.atomic import atomic_write
from semtok.support.progress import steps_with_progress
from semtok.tokens import Tokens
from semtok.training.downstream.config import AugmentationConfig, TaskConfig
from semtok.training.downstream.enhancer import code_loss
from semtok.training.downstream.objective import Batch, ClipErrors, Crop, Objective

# Frames of a reference in training: some seconds of a voice, not what it says.
_REFERENCE_FRAMES = 150
# What a first character begins before its peak in the recogniser, and a last one ends after it, at most.
_ATTACK_FRAMES, _RELEASE_FRAMES = 4, 8
# Clips from which the voice of a speaker is kept.
_VOICE_CLIPS = 8


@dataclass(frozen=True, kw_only=True)
class SynthesizerTrainingConfig(TaskConfig):
    """Learns to read the column `text` aloud, in the voices of the column `speaker`.

    `aligner` is a recogniser by characters on tokens of the same tokenizer: a folder, a bundled name or a hub id. Its
    alignment says how long each character lasts, which is learnt with `duration_weight`. An aligner that writes more
    than `most_aligner_errors` of the characters of the clips wrong (by edit distance) is refused.
    """

    synthesizer: SynthesizerConfig
    aligner: str
    text: str = "text"
    speaker: str = "speaker"
    upper: bool = True
    duration_weight: float = 1.0
    most_aligner_errors: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.features or self.data.augmentation != AugmentationConfig() or self.data.stages is not None:
            raise ConfigError(
                "text to speech learns tokens of all stages of clean speech: "
                "leave out features, stages and augmentation"
            )


class SynthesizerObjective(Objective[SynthesizerTrainingConfig]):
    model = TextToSpeech
    Config = SynthesizerTrainingConfig

    def usable(self, clips: Sequence[int]) -> list[int]:
        return self._with_column(clips, self.config.text)

    def text_of(self, clip: int) -> str | None:
        return normalize(self.clips.rows[clip][self.config.text], upper=True) or None

    def prepare(self) -> dict[str, Any]:
        config = self.config
        aligner = SpeechRecognizer.from_pretrained(config.aligner)
        if aligner.fingerprint != self.description.fingerprint or not set(aligner.layers) <= set(
            self.description.codebooks
        ):
            raise CheckpointError(
                f"the aligner {config.aligner} takes layers {list(aligner.layers)} of tokenizer {aligner.fingerprint}, "
                f"this run has {list(self.description.codebooks)} of {self.description.fingerprint}: train one on these"
            )
        if aligner.head_config.text is None or aligner.head_config.text.characters is None:
            raise ConfigError(f"the aligner {config.aligner} writes subwords: train one by characters")
        texts = [self.clips.rows[clip][config.text] for clip in self.training_clips]
        self.codec = TextCodec.fit(texts, upper=config.upper)
        clips = sorted([*self.training_clips, *self.validation_clips, *self.test_clips])
        durations, error = self._durations(aligner, clips)
        if error > config.most_aligner_errors:
            raise ConfigError(
                f"the aligner {config.aligner} writes {error:.1%} of the characters of these clips wrong, so that its "
                "alignment says little of how long they last: train it longer, or on such speech (`semtok train asr`), "
                f"or allow it by most_aligner_errors, {config.most_aligner_errors} now"
            )
        self.durations = {clip: torch.tensor(frames) for clip, frames in durations.items()}
        self._drop([clip for clip in clips if clip not in self.durations], "their text cannot be aligned")
        # Whom a clip's voice can be learnt from: its speaker's clips, or itself where that is unknown.
        self.by_speaker: dict[str, list[int]] = defaultdict(list)
        for clip in self.training_clips:
            if speaker := self.clips.rows[clip].get(config.speaker, "").strip():
                self.by_speaker[speaker].append(clip)
        names = sorted(self.by_speaker, key=lambda name: (-len(self.by_speaker[name]), name))
        speakers = tuple(name for name in names if len(self.by_speaker[name]) > 1)
        if (default := config.synthesizer.default_speaker) not in (None, *speakers):
            raise ConfigError(f"default_speaker {default!r} has not two clips to train on; {len(speakers)} have")
        return config_entries(dataclasses.replace(config.synthesizer, text=self.codec.config, speakers=speakers))

    def _durations(self, aligner: SpeechRecognizer, clips: Sequence[int]) -> tuple[dict[int, list[int]], float]:
        """What the aligner says of the clips that can be aligned; stored in the run's folder.

        Returns:
            Frames of each unit of a clip, a space on either side; and the character error rate of the aligner.
        """
        path = Path(self.config.folder) / "durations.json"
        about = {
            "aligner": aligner.source,
            "clips": [[self.clips.rows[clip]["path"], self.clips.rows[clip][self.config.text]] for clip in clips],
        }
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if stored.get("about") == about and "error" in stored:
            return {int(clip): frames for clip, frames in stored["durations"].items()}, stored["error"]
        durations, errors, characters = {}, 0, 0
        for step, _ in steps_with_progress(0, len(clips), "alignment"):
            clip = clips[step - 1]
            text = self.clips.rows[clip][self.config.text]
            try:
                self.codec.encode(text)  # validation clips may have characters that the others lack
                labels = aligner.codec.encode(text)
                steps = aligner.log_probabilities(self._tokens(clip, aligner))[0]
                firsts = align(steps, labels) * aligner.head_config.frames_per_step
            except TextError:
                continue
            durations[clip] = character_frames(firsts, self.clips.frames_of(clip)).tolist()
            errors += edit_distance(labels, best_path(steps))
            characters += len(labels)
        error = errors / max(1, characters)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as aside:
            aside.write_text(json.dumps({"about": about, "durations": durations, "error": error}), encoding="utf-8")
        return durations, error

    def _tokens(self, clip: int, aligner: SpeechRecognizer) -> Tokens:
        description = self.description
        frame_rate = description.sample_rate / description.hop_length
        tokens = Tokens.of([self.clips.inputs(clip)], description.codebooks, frame_rate, description.fingerprint)
        return tokens.select(aligner.layers)

    def draw(self, clip: int, generator: np.random.Generator) -> Crop:
        return self.whole(clip)

    def batch(self, crops: Sequence[Crop], generator: np.random.Generator | None = None) -> Batch:
        """The inputs are references, in whose voices the crops are to be spoken."""
        references = [self._reference(crop.clip, generator) for crop in crops]
        return super().batch(references, generator) | self._wanted(crops)

    def targets(self, crops: Sequence[Crop]) -> Batch:
        return {}

    def _reference(self, clip: int, generator: np.random.Generator | None) -> Crop:
        """Some frames of another clip of the speaker, or else of the clip. The same without generator."""
        others = [c for c in self.by_speaker.get(self.clips.rows[clip].get(self.config.speaker, ""), []) if c != clip]
        chosen = clip if not others else others[0] if generator is None else int(generator.choice(others))
        length = min(self.clips.frames_of(chosen), _REFERENCE_FRAMES)
        latest = self.clips.frames_of(chosen) - length
        return Crop(chosen, 0, 0 if generator is None else int(generator.integers(latest + 1)), length)

    def _wanted(self, crops: Sequence[Crop]) -> Batch:
        space = self.codec.space
        units = [
            torch.tensor([space, *self.codec.encode(self.clips.rows[crop.clip][self.config.text]), space])
            for crop in crops
        ]
        books, predicted = self.description.codebooks, self._head.predict.codebooks
        rows = [row for layer in predicted for row in range(books.rows[layer].start, books.rows[layer].stop)]
        codes = [self.clips.inputs(crop.clip)[rows].T for crop in crops]
        return {
            "units": pad_sequence(units, batch_first=True),
            "unit_lengths": torch.tensor([len(one) for one in units]),
            "durations": pad_sequence([self.durations[crop.clip] for crop in crops], batch_first=True),
            "codes": pad_sequence(codes, batch_first=True, padding_value=-1),
        }

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        vectors, duration_error = self._speak(batch)
        codes = code_loss(self._head.predict, vectors, batch["codes"])
        return {
            "loss": codes + self.config.duration_weight * duration_error,
            "codes": codes,
            "duration": duration_error,
        }

    @property
    def _head(self) -> SynthesizerHead:
        head = self.network.head
        assert isinstance(head, SynthesizerHead)
        return head

    def _speak(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """As `SynthesizerHead.decode`, and the mean absolute error of log(1 + frames) of the units."""
        encoded, log_durations = self._head.encode(batch["units"], batch["unit_lengths"], self.run(batch))
        vectors = self._head.decode(encoded, batch["durations"])
        valid = frame_mask(batch["unit_lengths"], log_durations.shape[1])
        return vectors, (log_durations.float() - batch["durations"].log1p()).abs()[valid].mean()

    def measure(self, batch: Batch) -> tuple[Tensor, Tensor, float]:
        """Wrong codes and all codes of each clip, [clips], and the error of the durations."""
        vectors, duration_error = self._speak(batch)
        valid = batch["codes"] >= 0
        wrong = (self._head.predict(vectors)[1] != batch["codes"]) & valid
        return wrong.flatten(1).sum(dim=1).cpu(), valid.flatten(1).sum(dim=1).cpu(), float(duration_error)

    def summarize(self, measured: Sequence[tuple[Tensor, Tensor, float]]) -> dict[str, float]:
        """Share of wrong codes, with the durations of the recordings; and the error of the durations."""
        wrong, total = self.clip_errors(measured)["error"]
        return {"error": float(wrong.sum() / total.sum()), "duration": float(np.mean([part[2] for part in measured]))}

    def clip_errors(self, measured: Sequence[tuple[Tensor, Tensor, float]]) -> ClipErrors:
        wrong, total, _ = zip(*measured, strict=True)
        return {"error": (torch.cat(wrong).double().numpy(), torch.cat(total).double().numpy())}

    @torch.no_grad()
    def finish(self, network: TaskNetwork) -> None:
        """Keeps the mean voice of some clips of each speaker."""
        network.eval()
        head = network.head
        assert isinstance(head, SynthesizerHead)
        config: SynthesizerConfig = self.model.read_head_config(self.description)
        for number, name in enumerate(config.speakers):
            crops = [self.whole(clip) for clip in self.by_speaker[name][:_VOICE_CLIPS]]
            batch = Objective.batch(self, crops)
            inputs, lengths = (batch[part].to(head.voices.device) for part in ("inputs", "lengths"))
            head.voices[number] = network(inputs, lengths).mean(dim=0)


def character_frames(peaks: np.ndarray, frames: int) -> np.ndarray:
    """Where a recogniser hears each character -> frames of the silence before, of each character, and after.

    Characters change half-way between their peaks.

    Args:
        peaks: int64 [characters], ascending.
        frames: of the clip.
    """
    start = max(0, int(peaks[0]) - _ATTACK_FRAMES)
    end = min(frames, int(peaks[-1]) + _RELEASE_FRAMES)
    edges = np.concatenate([[0, start], (peaks[:-1] + peaks[1:] + 1) // 2, [end, frames]])
    return np.diff(edges)
