"""Where tokens for training come from: corpora and folders of files of tokens."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semtok.errors import TokensError
from semtok.language.vocabulary import UnitVocabulary
from semtok.speech.sources import Dataset
from semtok.tokens import Tokens, take_tokens
from semtok.training.language.config import LanguageConfig


@dataclass(frozen=True)
class Utterance:
    """Tokens of one clip, with the layers of the vocabulary.

    Args:
        name: of the clip: its path below what was encoded, without suffix.
        split: what the manifest says, None if nothing.
    """

    name: str
    split: str | None
    tokens: Tokens


@dataclass(frozen=True)
class Utterances:
    """What a model learns from, is validated on, and is tested on once."""

    training: list[Utterance]
    validation: list[Utterance]
    test: list[Utterance]


def load_utterances(config: LanguageConfig, vocabulary: UnitVocabulary) -> Utterances:
    """All utterances with at least one frame of the `data` of a config, by their split or at random.

    Raises:
        TokensError: a folder is missing, has no tokens, or has some of another tokenizer; none left to train on.
        LayerError: tokens that lack a layer.
        CorpusError: a corpus that is not whole.
    """
    utterances = [
        utterance
        for entry in config.data
        for utterance in _read(entry, vocabulary)
        if utterance.split not in config.leave_out_splits and int(utterance.tokens.lengths[0])
    ]
    generator = np.random.default_rng(config.seed)
    utterances, test = _take(utterances, config.test_splits, config.test_clips, generator)
    training, validation = _take(utterances, config.validation_splits, config.validation_clips, generator)
    if not training:
        raise TokensError(
            f"{len(test) + len(validation)} utterances, {len(validation)} of them for validation and {len(test)} for "
            "test: none left to train on"
        )
    return Utterances(training, validation, test)


def _take(
    utterances: list[Utterance], splits: Collection[str], clips: int, generator: np.random.Generator
) -> tuple[list[Utterance], list[Utterance]]:
    """The rest, and those of these splits; where none is, `clips` drawn at random."""
    chosen = {number for number, utterance in enumerate(utterances) if utterance.split in splits}
    chosen = chosen or set(generator.permutation(len(utterances))[:clips].tolist())
    rest = [utterance for number, utterance in enumerate(utterances) if number not in chosen]
    return rest, [utterances[number] for number in sorted(chosen)]


def _read(entry: str | Dataset, vocabulary: UnitVocabulary) -> Iterator[Utterance]:
    folder = Path(entry if isinstance(entry, str) else entry.dataset)
    for name, split, tokens in _read_corpus(folder) if (folder / "run.json").exists() else _read_files(folder):
        owner = f"the checkpoint, for {name} of {folder},"
        yield Utterance(
            name,
            split,
            take_tokens(tokens, vocabulary.codebooks, vocabulary.fingerprint, owner=owner, layers=vocabulary.layers),
        )


def _read_corpus(folder: Path) -> Iterator[tuple[str, str | None, Tokens]]:
    from semtok import corpus

    for clip in corpus.read(folder):
        yield clip.id.removesuffix(Path(clip.path).suffix), clip.columns.get("split"), clip.tokens


def _read_files(folder: Path) -> Iterator[tuple[str, str | None, Tokens]]:
    paths = sorted(folder.rglob("*.safetensors")) if folder.is_dir() else []
    if not paths:
        raise TokensError(
            f"there are no tokens in {folder} (looked from {Path.cwd()}): make some by `semtok encode-corpus FOLDER "
            f"{folder}`, and name that folder"
        )
    for path in paths:
        batch = Tokens.load(path)
        name = str(path.relative_to(folder).with_suffix(""))
        for number, utterance in enumerate(batch):
            yield name if len(batch) == 1 else f"{name}#{number}", None, utterance
