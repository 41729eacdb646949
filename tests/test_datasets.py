"""The tokenizer in `map` of Hugging Face's `datasets`, on columns of audio."""

from __future__ import annotations

import warnings

import datasets
import pytest
from helpers import CLIPS

from semtok import Tokenizer, load_audio
from semtok.errors import AudioError


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


def test_encode_batch_gives_a_column_a_row_of_codes_and_is_cached(istft_folder, tmp_path):
    dataset = datasets.Dataset.from_dict({"speech": [str(path) for path in CLIPS], "text": ["a", "b", "c"]})
    dataset.cast_column("speech", datasets.Audio(decode=False)).to_parquet(tmp_path / "data.parquet")
    dataset = datasets.load_dataset("parquet", data_files=str(tmp_path / "data.parquet"), cache_dir=str(tmp_path))[
        "train"
    ]
    tokenizer = Tokenizer.from_pretrained(istft_folder)
    options = {"batched": True, "batch_size": 2, "fn_kwargs": {"audio": "speech"}, "remove_columns": "speech"}
    encoded = dataset.map(tokenizer.encode_batch, **options)
    assert encoded.column_names == ["text", "l1", "l3", "l4"]
    assert encoded.features["l3"] == datasets.List(datasets.Value("uint16"))
    for row, path in zip(encoded, CLIPS, strict=True):
        assert [row[name] for name in ("l1", "l3", "l4")] == tokenizer.encode(path).codes[0].tolist()
    again = dataset.map(Tokenizer.from_pretrained(istft_folder).encode_batch, **options)
    assert again.cache_files == encoded.cache_files  # of a tokenizer loaded anew the hash is the same
    fewer = dataset.map(Tokenizer.from_pretrained(istft_folder, layers=[1]).encode_batch, **options)
    assert fewer.column_names == ["text", "l1"]
    with pytest.raises(AudioError, match="no column 'audio' among"):
        tokenizer.encode_batch({"speech": CLIPS})


def test_a_column_is_a_list_of_clips(tokenizer):
    dataset = datasets.Dataset.from_dict({"audio": [str(path) for path in CLIPS]})
    dataset = dataset.cast_column("audio", datasets.Audio(decode=False))
    assert tokenizer.encode(dataset["audio"]).codes.equal(tokenizer.encode(CLIPS).codes)
