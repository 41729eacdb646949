"""Tokens for all rows of a dataset of Hugging Face's `datasets`: a column of audio gives a column of codes.

Needs `pip install datasets`. The tokenizer uses all cores itself, so leave num_proc out of `map`: torch hangs in
processes that are forked after it has computed. On several machines, encode a shard (`dataset.shard`) on each.
"""

from __future__ import annotations

from pathlib import Path

from datasets import Audio, Dataset

from semtok import Tokenizer

RECORDING = Path(__file__).parent / "data" / "speech.flac"

tokenizer = Tokenizer.from_pretrained("tiny", layers=[1, 7])

# A dataset of the hub would be load_dataset(...). decode=False hands over the files themselves, which semtok reads.
dataset = Dataset.from_dict({"audio": [str(RECORDING)] * 3}).cast_column("audio", Audio(decode=False))
dataset = dataset.map(tokenizer.encode_batch, batched=True, batch_size=16, remove_columns="audio")
print(dataset)
print(f"{len(dataset[0]['l7'])} codes of layer 7")
