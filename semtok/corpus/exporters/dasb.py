"""`tokens.ark`, `tokens.scp` and `embeddings.npy`, as the `TokensExtractor` of SpeechBrain's benchmark DASB writes them
(Mousavi et al., 2024)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from semtok.checkpoints.hub import resolve
from semtok.checkpoints.readers import find_reader
from semtok.corpus.exporters.archives import check_indexed, open_archive
from semtok.corpus.exporters.exporter import check_words, codes_of, new_folder
from semtok.corpus.reading import TokenCorpus
from semtok.errors import CorpusError

_FILES = ("tokens.ark", "tokens.scp", "embeddings.npy", "tokens.json")


def export_dasb(corpus: TokenCorpus, folder: Path, *, checkpoint: str | None = None) -> list[Path]:
    """Writes int64 [frames, rows] under the id of each clip, and centroids [rows x K, dim] to begin embeddings with.

    DASB counts K codes in every row. K is here the size of the largest codebook; rows of `embeddings.npy` that stand
    for no code of a smaller one are 0. `tokens.json` names the numbers that the benchmark's YAML asks for.

    Args:
        corpus: of the tokens.
        folder: a new one.
        checkpoint: of the tokenizer, by default that of the run.

    Returns:
        What was written.

    Raises:
        CorpusError: ids with spaces, which keys may not have; a checkpoint that is not known, or of another
            fingerprint; a folder that has something in it, or a line break in its name.
        CheckpointError: as `Tokenizer.from_pretrained`.
    """
    check_words(corpus)
    check_indexed(folder)
    table = _embeddings(corpus, checkpoint)
    facts = {
        "num_codebooks": len(corpus.codebooks.sizes),
        "vocab_size": max(corpus.codebooks.sizes),
        "sample_rate": corpus.run.sample_rate,
        "encoder_dim": table.shape[1],
        "rows": corpus.codebooks.columns,
        "fingerprint": corpus.run.fingerprint,
    }
    with new_folder(folder) as aside:
        with open_archive(aside / "tokens.ark", aside / "tokens.scp", folder.absolute(), as_numpy=True) as append:
            for clip in corpus:
                append(clip.id, np.ascontiguousarray(codes_of(clip).T))
        np.save(aside / "embeddings.npy", table)
        (aside / "tokens.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return [folder / name for name in _FILES]


def _embeddings(corpus: TokenCorpus, checkpoint: str | None) -> npt.NDArray[np.float32]:
    """The centroids of all rows, each padded with zeros to the size of the largest: [rows x K, dim]."""
    name, _, revision = (checkpoint or corpus.run.checkpoint or "").partition("@")
    if not name:
        raise CorpusError(f"{corpus.folder} does not say of which checkpoint it is: name it as the checkpoint")
    repository = resolve(name, revision=revision or None)
    layers = corpus.codebooks.layers
    parts = find_reader(repository).tokenizer_parts(repository, layers=layers, encoder=None)
    if parts.config.fingerprint != corpus.run.fingerprint:
        raise CorpusError(
            f"{corpus.folder} holds tokens of tokenizer {corpus.run.fingerprint}, but {name} is "
            f"{parts.config.fingerprint}: name the checkpoint that encoded it"
        )
    rows = [stage.numpy() for layer in layers for stage in parts.centroids[layer]]
    most = max(corpus.codebooks.sizes)
    return np.concatenate([np.pad(points, ((0, most - len(points)), (0, 0))) for points in rows])
