"""The dataset card of a corpus of tokens: the `README.md` that the hub shows, and how `datasets` reads the folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc

from semtok.checkpoints.card import CARD, GENERATED
from semtok.checkpoints.hub import public_name
from semtok.corpus.run import CorpusRun
from semtok.corpus.table import read_column, shard_is_done, shard_path
from semtok.corpus.worker import read_errors
from semtok.support.atomic import atomic_write

_CONFIG = "configs:\n- config_name: default\n  data_files: data/*.parquet\ntags:\n- speech\n- speech-tokens\n- semtok"


def write_card(folder: Path, run: CorpusRun) -> None:
    """Writes the card once all shards are there; one that somebody wrote or changed stays as it is."""
    path = folder / CARD
    if path.exists() and GENERATED not in path.read_text(encoding="utf-8"):
        return
    shards = range(run.num_shards)
    if all(shard_path(folder, shard).exists() for shard in shards) and all(
        shard_is_done(folder, run, shard) for shard in shards
    ):
        with atomic_write(path) as aside:
            aside.write_text(_card(folder, run), encoding="utf-8")


def _card(folder: Path, run: CorpusRun) -> str:
    seconds = read_column((shard_path(folder, shard) for shard in range(run.num_shards)), "duration")
    hours = (pc.sum(seconds).as_py() or 0) / 3600
    codebooks = run.codebooks
    failed = sum(len(read_errors(folder, shard)) for shard in range(run.num_shards))
    details = {
        "Clips": f"{len(seconds)}, {hours:.2f} h",
        "Not encoded": f"{failed}, listed in `errors/`" if failed else None,
        "Tokenizer": f"`{name}`" if (name := public_name(run.checkpoint)) else None,
        "Fingerprint": f"`{run.fingerprint}`",
        "Layers": ", ".join(map(str, run.codebooks)),
        "Codes": ", ".join(
            f"`{name}` of {size}" for name, size in zip(codebooks.columns, codebooks.sizes, strict=True)
        ),
        "Frame rate": f"{run.frame_rate:g} Hz, of speech at {run.sample_rate} Hz",
        "Bitrate": f"{run.frame_rate * codebooks.bits / 1000:.2f} kbit/s with all layers, before any entropy coding",
        "Computed in": run.dtype,
        "Made by": f"semtok {run.semtok}",
    }
    parts = [
        f"---\n{_CONFIG}\n---",
        GENERATED,
        "# Speech tokens",
        "Discrete tokens of layers of a self-supervised speech encoder: a row a clip, a column a row of codes.",
        "\n".join(f"- {title}: {value}" for title, value in details.items() if value),
        '```python\nimport datasets\n\ndataset = datasets.load_dataset("FOLDER_OR_ID", split="train")\n```',
        "Or, as tokens that a vocoder decodes:",
        '```python\nfrom semtok import corpus\n\nfor clip in corpus.read("FOLDER"):\n    clip.id, clip.tokens\n```',
    ]
    return "\n\n".join(parts) + "\n"
