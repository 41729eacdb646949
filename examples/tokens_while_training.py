"""Tokens made in the training loop: workers read and pad recordings, the tokenizer encodes each batch where it lies.

Needs `pip install '.[train]'`. Run it as it is, or with `accelerate launch` on several GPUs: each process has a
tokenizer of its own. The model here is a small one that learns which code of layer 7 comes next.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from datasets import Audio, Dataset
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from semtok import Tokenizer, load_audio

RECORDING = Path(__file__).parent / "data" / "speech.flac"


class NextCode(nn.Module):
    """Codes [batch, frames] -> the mean loss of the code that follows each; -1 stands for no code."""

    def __init__(self, codebook_size: int, dim: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codebook_size, dim)
        self.rnn = nn.GRU(dim, dim, batch_first=True)
        self.head = nn.Linear(dim, codebook_size)

    def forward(self, codes: Tensor) -> Tensor:
        hidden, _ = self.rnn(self.embedding(codes[:, :-1].clamp(min=0)))
        return nn.functional.cross_entropy(self.head(hidden).transpose(1, 2), codes[:, 1:], ignore_index=-1)


def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """In a worker: files -> one padded batch. The lengths are a list, which accelerate leaves on the host."""
    clips = [load_audio(row["audio"]["path"]) for row in rows]  # checked for NaN and the like as it is read
    return {"audio": pad_sequence(clips, batch_first=True), "samples": [len(clip) for clip in clips]}


def main() -> None:
    accelerator = Accelerator()
    # A dataset of the hub would be load_dataset(...); of rows that hold bytes, load_audio(row["audio"]["bytes"]).
    dataset = Dataset.from_dict({"audio": [str(RECORDING)] * 8}).cast_column("audio", Audio(decode=False))
    loader = DataLoader(dataset, batch_size=4, shuffle=True, num_workers=2, collate_fn=collate, persistent_workers=True)
    tokenizer = Tokenizer.from_pretrained("tiny", layers=[7], device=accelerator.device)
    model = NextCode(tokenizer.codebook_sizes[0])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for epoch in range(3):
        for batch in loader:
            # finite: load_audio has looked at the samples already, so that nothing waits for the device here
            tokens = tokenizer.encode(batch["audio"], lengths=batch["samples"], finite=True)
            loss = model(tokens.codes[:, 0])
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        accelerator.print(f"epoch {epoch}: {loss.item():.3f} nats a code")


if __name__ == "__main__":
    main()
