"""A corpus and its tokens: what the vocoder learns from."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semtok.support.atomic import atomic_write
from semtok.support.progress import steps_with_progress
from semtok.tokenizer import Tokenizer
from semtok.training.data.corpus import Corpus
from semtok.training.run import Run
from semtok.training.vocoder.config import LEAST_REFERENCE_FRAMES, VocoderTrainingConfig

_CLIPS_AT_ONCE = 16


@dataclass(frozen=True)
class TokenCorpus:
    """A corpus with the codes of all its clips, int16 [frames, rows] in a memory-mapped file, from `frame_starts`.

    `gains` bring each clip to a common loudness; `embeddings` float32 [clips, dim] are those of the speakers, if given.
    """

    corpus: Corpus
    codes: np.ndarray
    frame_starts: np.ndarray
    gains: np.ndarray
    hop_length: int
    embeddings: Tensor | None = None

    @property
    def frames(self) -> np.ndarray:
        """Frames of each clip, [clips]."""
        return np.diff(self.frame_starts)

    def crop(self, clip: int, start: int, frames: int) -> tuple[Tensor, Tensor]:
        """Codes int64 [rows, frames] from frame `start` of a clip, and their samples at the common loudness."""
        first = self.frame_starts[clip] + start
        waveform = self.corpus.waveform(clip, start * self.hop_length, frames * self.hop_length)
        codes = torch.from_numpy(self.codes[first : first + frames].T.astype(np.int64))
        return codes, waveform * float(self.gains[clip])

    def batch(self, clips: np.ndarray, config: VocoderTrainingConfig, step: int, share: int) -> tuple[Tensor, ...]:
        """Codes [batch, rows, frames] and waveforms [batch, samples]: the same for a step and share each time.

        With speaker conditioning also the voices: embeddings [batch, dim] if they are given, else waveforms [batch,
        samples]; zeros for utterances that go without.
        """
        size, length = config.shape(step)
        generator = np.random.default_rng((config.seed, step, share))
        long_enough = clips[self.frames[clips] >= length]
        # By duration, so that every second of speech is as likely as any other.
        frames = self.frames[long_enough]
        chosen = generator.choice(len(long_enough), size, p=frames / frames.sum())
        starts = generator.integers(0, frames[chosen] - length + 1)
        crops = [self.crop(int(c), int(s), length) for c, s in zip(long_enough[chosen], starts, strict=True)]
        batch = torch.stack([codes for codes, _ in crops]), torch.stack([waveform for _, waveform in crops])
        if config.speaker is None:
            return batch
        if self.embeddings is None:
            others = zip(long_enough[chosen], starts, strict=True)
            wanted = config.speaker.reference_frames
            voices = torch.stack([self._reference(int(c), int(s), length, wanted, generator) for c, s in others])
        else:
            voices = self.embeddings[torch.from_numpy(long_enough[chosen])]
        dropped = torch.from_numpy(generator.random(size) < config.speaker.drop_probability)
        return *batch, voices.masked_fill(dropped[:, None], 0)

    def _reference(self, clip: int, start: int, frames: int, wanted: int, generator: np.random.Generator) -> Tensor:
        """So many frames of a clip beside those from `start`, which would tell more than the voice: [samples].

        What is before and after them is joined, and repeated where it is too short; zeros where hardly any is left.
        """
        waveform, samples = self.corpus.waveform(clip), wanted * self.hop_length
        rest = torch.cat([waveform[: start * self.hop_length], waveform[(start + frames) * self.hop_length :]])
        if len(rest) < LEAST_REFERENCE_FRAMES * self.hop_length:
            return torch.zeros(samples)
        offset = generator.integers(0, max(len(rest) - samples, 0) + 1)
        return rest.repeat(-(-samples // len(rest)))[offset : offset + samples]


def loudness_gain(waveform: Tensor, rms: float | None) -> float:
    """Brings a clip to a root mean square of `rms`, less where its peak would pass 0.95; 1 for None.

    The encoder normalises its input, so tokens do not say how loud a clip was; without a common loudness the vocoder
    would have to guess it.
    """
    if rms is None:
        return 1.0
    loudness = float(waveform.square().mean().sqrt())
    return min(rms / max(loudness, 1e-5), 0.95 / max(float(waveform.abs().max()), 1e-5))


def load_tokens(corpus: Corpus, tokenizer: Tokenizer, run: Run, *, rms: float | None) -> TokenCorpus:
    """Tokens and gains of every clip, written to `<folder>/tokens` the first time; each process encodes its share."""
    folder = run.folder / "tokens"
    index_file, files = folder / "index.json", [folder / "codes.int16", folder / "gains.float32"]
    samples = int(corpus.starts[-1])
    wanted = {"tokenizer": tokenizer.fingerprint, "clips": len(corpus), "samples": samples, "rms": rms}
    run.accelerator.wait_for_everyone()
    if not (index_file.exists() and json.loads(index_file.read_text()) == wanted):
        folder.mkdir(exist_ok=True)
        processes = run.accelerator.num_processes
        clips = np.array_split(np.arange(len(corpus)), processes)[run.accelerator.process_index]
        _encode(corpus, clips, tokenizer, rms, [_part(file, run.accelerator.process_index) for file in files], run)
        run.accelerator.wait_for_everyone()
        if run.is_main:
            index_file.unlink(missing_ok=True)
            for file in files:
                _join([_part(file, process) for process in range(processes)], file)
            with atomic_write(index_file) as aside:
                aside.write_text(json.dumps(wanted))
        run.accelerator.wait_for_everyone()
    frames = [tokenizer.encoder.frame_count(int(length)) for length in corpus.lengths]
    frame_starts = np.concatenate([[0], np.cumsum(frames)])
    codes = np.memmap(files[0], dtype=np.int16, mode="r").reshape(frame_starts[-1], -1)
    return TokenCorpus(corpus, codes, frame_starts, np.fromfile(files[1], np.float32), tokenizer.hop_length)


def _encode(
    corpus: Corpus, clips: np.ndarray, tokenizer: Tokenizer, rms: float | None, parts: list[Path], run: Run
) -> None:
    blocks = [clips[first : first + _CLIPS_AT_ONCE] for first in range(0, len(clips), _CLIPS_AT_ONCE)]
    with parts[0].open("wb") as codes_file, parts[1].open("wb") as gains_file:
        for step, _ in steps_with_progress(0, len(blocks), "tokens", visible=run.is_main):
            waveforms = [corpus.waveform(clip) for clip in blocks[step - 1]]
            tokens = tokenizer.encode([waveform.to(tokenizer.device) for waveform in waveforms])
            for codes, length in zip(tokens.codes.short().cpu(), tokens.lengths.tolist(), strict=True):
                codes_file.write(codes[:, :length].T.contiguous().numpy().tobytes())
            gains = [loudness_gain(waveform, rms) for waveform in waveforms]
            gains_file.write(np.array(gains, np.float32).tobytes())


def _part(file: Path, process: int) -> Path:
    return file.with_name(f".{file.name}.{process}")


def _join(parts: list[Path], target: Path) -> None:
    with atomic_write(target) as aside, aside.open("wb") as out:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, out)
            part.unlink()
