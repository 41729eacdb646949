"""Speaker embeddings from a file, for a vocoder's training."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from semtok.errors import ConfigError


def load_embeddings(path: str | Path, audio: Path, dim: int) -> Tensor:
    """float32 [clips, dim] for the clips of a corpus, from a .safetensors file with a tensor [dim] for each.

    Args:
        path: of the file; its names are the clips' paths as the corpus has them.
        audio: where `load_corpus` decoded the corpus.
        dim: of an embedding.

    Raises:
        ConfigError: the file cannot be read, or lacks a clip, or has it in another size.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    index = json.loads((audio / "index.json").read_text())
    try:
        embeddings = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"the embeddings {path} cannot be read as a .safetensors file: {error}") from error
    clips = [str(name) for name in index["wanted"]["clips"] if str(name) not in index["skipped"]]
    if wrong := [name for name in clips if name not in embeddings or embeddings[name].shape != (dim,)]:
        raise ConfigError(
            f"{path} lacks embeddings [{dim}] for {len(wrong)} of {len(clips)} clips, such as {wrong[0]!r}; "
            f"they are named by the paths in {audio / 'index.json'}, a dataset's clips cannot have any"
        )
    return torch.stack([embeddings[name] for name in clips]).float()
