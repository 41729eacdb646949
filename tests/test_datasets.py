"""The tokenizer in `map` of Hugging Face's `datasets`, on columns of audio."""

from __future__ import annotations

import warnings

import datasets
import pytest
from helpers import CLIPS

from semtok import load_audio


@pytest.mark.parametrize("columns", ["paths", "bytes", "arrays"])
def test_map_gives_the_tokens_of_each_row(tokenizer, columns):
    rows = {
        "paths": [str(path) for path in CLIPS],
        "bytes": [{"bytes": path.read_bytes(), "path": path.name} for path in CLIPS],
        "arrays": [{"array": load_audio(path).tolist(), "sampling_rate": 16000} for path in CLIPS],
    }
    dataset = datasets.Dataset.from_dict({"audio": rows[columns]})
    if columns != "arrays":
        dataset = dataset.cast_column("audio", datasets.Audio(decode=False))

    def encode(batch):
        return {"codes": [utterance.codes[0].tolist() for utterance in tokenizer.encode(batch["audio"])]}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of datasets, on what it cannot hash
        dataset = dataset.map(encode, batched=True, batch_size=2, remove_columns="audio")
    for row, path in zip(dataset, CLIPS, strict=True):
        assert row["codes"] == tokenizer.encode(path).codes[0].tolist()


def test_a_column_is_a_list_of_clips(tokenizer):
    dataset = datasets.Dataset.from_dict({"audio": [str(path) for path in CLIPS]})
    dataset = dataset.cast_column("audio", datasets.Audio(decode=False))
    assert tokenizer.encode(dataset["audio"]).codes.equal(tokenizer.encode(CLIPS).codes)
