"""Speaker embeddings from a file, for a vocoder's training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from semtok.errors import ConfigError
from semtok.speech.clip import Clip


def load_embeddings(path: str | Path, clips: Sequence[Clip], dim: int) -> Tensor:
    """float32 [clips, dim] for some clips, from a .safetensors file with a tensor [dim] for each.

    Args:
        path: of the file; its names are the clips' paths.
        clips: in the order of the answer.
        dim: of an embedding.

    Raises:
        ConfigError: the file cannot be read, or lacks a clip, or has it in another size.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        embeddings = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"the embeddings {path} cannot be read as a .safetensors file: {error}") from error
    names = [clip.path for clip in clips]
    if wrong := [name for name in names if name not in embeddings or embeddings[name].shape != (dim,)]:
        raise ConfigError(
            f"{path} lacks embeddings [{dim}] for {len(wrong)} of {len(names)} clips, such as {wrong[0]!r}; "
            "they are named by the paths of the clips, a dataset's clips cannot have any"
        )
    return torch.stack([embeddings[name] for name in names]).float()
