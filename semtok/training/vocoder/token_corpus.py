"""A corpus and its tokens: what the vocoder learns from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semtok.errors import AudioError
from semtok.networks.config import VocoderConfig
from semtok.speech.store import Copies, Form, Values, open_store
from semtok.tokenizer import Tokenizer
from semtok.training.data.corpus import Corpus, load_corpus
from semtok.training.data.encoded import Codes
from semtok.training.run import Run
from semtok.training.vocoder.config import LEAST_REFERENCE_FRAMES, VocoderTrainingConfig

logger = logging.getLogger(__name__)

# Clips whose spectra are looked at, and the share of their energy that is nothing.
_LOOKED_AT, _NOTHING = 50, 1e-7


@dataclass(frozen=True)
class TokenCorpus:
    """A corpus with the codes of all its clips, [frames, rows] each.

    The waveforms are at the vocoder's rate, of which a frame has `hop_length` samples. `gains` bring each clip to a
    common loudness; `embeddings` float32 [clips, dim] are those of the speakers, if given.
    """

    corpus: Corpus
    codes: Values
    gains: np.ndarray
    hop_length: int
    embeddings: Tensor | None = None

    @property
    def frames(self) -> np.ndarray:
        """Frames of each clip, [clips]."""
        return self.codes.lengths

    def crop(self, clip: int, start: int, frames: int) -> tuple[Tensor, Tensor]:
        """Codes int64 [rows, frames] from frame `start` of a clip, and their samples at the common loudness."""
        waveform = self.corpus.waveform(clip, start * self.hop_length, frames * self.hop_length)
        codes = torch.from_numpy(self.codes[clip, 0, start : start + frames].T.astype(np.int64))
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


@dataclass(frozen=True)
class CodesAndGain:
    """Makes the codes of waveforms, as `Codes`, and the gain [1] that brings each to a common loudness."""

    codes: Codes
    rms: float | None

    @property
    def identity(self) -> Any:
        return {**self.codes.identity, "rms": self.rms}

    @property
    def forms(self) -> Mapping[str, Form]:
        return {**self.codes.forms, "gain": Form(np.dtype(np.float32))}

    def make(self, waveforms: Sequence[Tensor]) -> Iterator[tuple[int, Copies | AudioError]]:
        for number, copies in self.codes.make(waveforms):
            if isinstance(copies, AudioError):
                yield number, copies
            else:
                gain = np.array([loudness_gain(waveforms[number], self.rms)], np.float32)
                yield number, [{**copies[0], "gain": gain}]


def load_tokens(
    config: VocoderTrainingConfig, tokenizer: Tokenizer, run: Run, description: VocoderConfig
) -> TokenCorpus:
    """The clips at the vocoder's rate, and their tokens and gains, made in `<folder>/tokens` the first time.

    Each process makes its share. The tokenizer hears the recordings at its own rate.

    Raises:
        AudioError: no audio; a clip without tokens, as it is shorter than a frame.
    """

    def read(sample_rate: int) -> Corpus:
        cache, left_out = run.folder.parent / "audio", config.leave_out_splits
        return load_corpus(
            config.data, cache, sample_rate=sample_rate, leave_out_splits=left_out, processes=run.processes
        )

    encoded = corpus = read(tokenizer.sample_rate)
    if description.sample_rate != tokenizer.sample_rate:
        corpus = read(description.sample_rate)
        if corpus.clips != encoded.clips:
            differ = next(
                clip for clip in corpus.clips + encoded.clips if (clip in corpus.clips) != (clip in encoded.clips)
            )
            raise AudioError(
                f"{differ.id} is half a second at one of {tokenizer.sample_rate} and {description.sample_rate} Hz and "
                "less at the other: leave it out of the data"
            )
        _warn_of_narrow_bands(corpus, description.sample_rate, tokenizer.sample_rate)
    maker = CodesAndGain(Codes(tokenizer), config.target_rms)
    store = open_store(encoded.parts(), maker, run.folder / "tokens", processes=run.processes, description="tokens")
    if store.left_out:
        clip, reason = next(iter(store.left_out.items()))
        raise AudioError(f"{len(store.left_out)} clips have no tokens, such as {clip}: {reason}")
    gains = np.concatenate([store["gain"][clip] for clip in range(len(store))])
    return TokenCorpus(corpus, store["codes"], gains, description.hop_length)


def _warn_of_narrow_bands(corpus: Corpus, sample_rate: int, narrow_rate: int) -> None:
    """Says how many of some clips have nothing that the lower rate would not have, whatever rate their files say."""
    numbers = np.unique(np.linspace(0, len(corpus) - 1, _LOOKED_AT).astype(int))
    narrow = 0
    for number in numbers.tolist():
        spectrum = torch.fft.rfft(corpus.waveform(number)).abs().square().double()
        # a little above, as no filter ends at once
        above = spectrum[int(1.05 * narrow_rate / sample_rate * len(spectrum)) :].sum()
        narrow += bool(above <= _NOTHING * spectrum.sum())
    if narrow:
        logger.warning(
            "%d of %d clips looked at have nothing above %d Hz: from such clips a vocoder at %d Hz learns that there "
            "is nothing. Train it on recordings of that rate.",
            narrow, len(numbers), narrow_rate // 2, sample_rate,
        )  # fmt: skip
