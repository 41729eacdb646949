"""Speech for training: folders, manifests and datasets become one corpus; batches of it are the same in any run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from helpers import CLIPS, ROOT, copy_clips
from stores import corpus_of

from semtok import load_audio
from semtok.errors import AudioError, ConfigError
from semtok.speech.reading import Speech
from semtok.speech.sources import Dataset
from semtok.training.config import load_config
from semtok.training.data.corpus import crop_batch, length_batches, load_corpus
from semtok.training.kmeans.config import KMeansConfig

CONFIGS = ROOT / "configs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three clips, a file that is no audio and one that is too short."""
    folder = tmp_path_factory.mktemp("clips")
    copy_clips(folder)
    (folder / "broken.wav").write_bytes(b"no audio")
    return folder


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """A folder as datasets of the hub are: recordings inside a parquet file, one of them broken."""
    import datasets

    folder = tmp_path_factory.mktemp("parquet")
    rows = [{"bytes": path.read_bytes(), "path": path.name} for path in CLIPS]
    rows.insert(1, {"bytes": b"no audio", "path": "broken.wav"})
    features = datasets.Features({"audio": datasets.Audio(sampling_rate=16000), "text": datasets.Value("string")})
    table = pyarrow.table({"audio": rows, "text": ["a"] * 4}, schema=features.arrow_schema)
    pyarrow.parquet.write_table(table, folder / "train.parquet")
    return folder


def test_clips_that_cannot_be_used_are_skipped_counted_and_listed(folder, tmp_path, capsys):
    corpus = load_corpus([folder], tmp_path, sample_rate=16000)
    assert len(corpus) == 3
    for number, path in enumerate(sorted(CLIPS)):
        torch.testing.assert_close(corpus.waveform(number), load_audio(path), atol=1e-4, rtol=0)
    assert "3 clips, 1 left out" in capsys.readouterr().err
    left_out = json.loads((tmp_path / "left_out.json").read_text())
    assert [Path(name).name for name in left_out] == ["broken.wav"]
    assert len(load_corpus([folder], tmp_path, sample_rate=16000)) == 3
    assert capsys.readouterr().err == ""  # not decoded again
    load_corpus([folder], tmp_path, sample_rate=8000)
    assert capsys.readouterr().err != ""


def test_a_manifest_chooses_the_files(folder, tmp_path):
    table, lines = folder.parent / "some.csv", folder.parent / "some.jsonl"
    table.write_text(f"path,text\n{folder.name}/{CLIPS[2].name},hello\n")
    lines.write_text(json.dumps({"path": str(folder / CLIPS[0].name), "text": "hello"}) + "\n\n")
    paths = [str(folder / CLIPS[2].name), str(folder / CLIPS[0].name)]
    assert [clip.path for clip in Speech([table, str(lines)]).clips] == paths
    (tmp_path / "manifest.csv").write_text("path\none.wav\n")
    (tmp_path / "two.wav").touch()
    assert [clip.path for clip in Speech([tmp_path]).clips] == [str(tmp_path / "one.wav")]
    (tmp_path / "manifest.csv").write_text("file\none.wav\n")
    for data, message in [
        (tmp_path, "row 1 of .*manifest.csv names no audio: each row needs a `path`"),
        (tmp_path / "none.csv", "cannot open .*none.csv"),
        (tmp_path / "empty", "there is no folder .*empty"),
    ]:
        with pytest.raises(AudioError, match=message):
            Speech([data])


@pytest.mark.parametrize("streaming", [False, True])
def test_a_dataset_is_read_by_name_and_split(parquet, tmp_path, datasets_cache, streaming):
    dataset = Dataset(str(parquet), "train", streaming=streaming)
    corpus = load_corpus([dataset], tmp_path / "audio", sample_rate=16000)
    assert len(corpus) == 3
    torch.testing.assert_close(corpus.waveform(2), load_audio(CLIPS[2]), atol=1e-4, rtol=0)
    assert list(corpus.store.left_out) == ["train-0000001"]
    first = Dataset(str(parquet), "train", streaming=streaming, hours=0.0005)
    assert [clip.path for clip, _ in Speech([first]).read(16000)] == [f"{parquet}/train/{CLIPS[0].name}"]


def test_a_dataset_that_cannot_be_read_says_why(parquet, datasets_cache):
    for dataset, message in [
        (Dataset(str(parquet / "none"), "train"), "none, split train, cannot be read: Couldn't find"),
        (Dataset(str(parquet), "test"), 'split test, cannot be read: Unknown split "test"'),
        (Dataset(str(parquet), "train", audio="speech"), r"it has no column 'speech', .* \['audio', 'text'\]"),
        (Dataset("openslr/librispeech_asr", "train.100", "clean"), "cannot be read: Couldn't reach"),
    ]:
        with pytest.raises(AudioError, match=message):
            list(Speech([dataset]).read(16000))


def test_data_of_a_config_are_names_and_datasets(tmp_path):
    path = tmp_path / "kmeans.yaml"
    text = (CONFIGS / "smoke" / "kmeans.yaml").read_text().replace("[tests/data]", "[c, {dataset: d, %s}]")
    path.write_text(text % "split: train, hours: 2")
    assert load_config(path, KMeansConfig).data == ["c", Dataset("d", "train", hours=2.0)]
    path.write_text(text % "part: train")
    with pytest.raises(ConfigError, match=r"data\[1\]: unknown keys \['part'\]; known are .*'split'"):
        load_config(path, KMeansConfig)


def test_too_few_clips_for_validation(folder, tmp_path):
    with pytest.raises(AudioError, match="3 clips of audio, 3 of them for validation: none left"):
        load_corpus([folder], tmp_path, sample_rate=16000).split(3)


def test_batches_hold_every_clip_once_an_epoch_on_the_frame_grid(tmp_path):
    lengths = np.array([9000, 20000, 31000, 8000, 50000])
    corpus = corpus_of(tmp_path, np.split(np.arange(lengths.sum()).astype(np.int16), lengths.cumsum()[:-1]))
    batches = length_batches(lengths, np.arange(5), 40000, 32000, np.random.default_rng(0))
    seen: list[int] = []
    while len(seen) < 5:
        clips = next(batches)
        seen += clips.tolist()
        crops, starts = crop_batch(corpus, clips, 32000, 320, np.random.default_rng(1))
        assert crops.numel() <= 40000 or len(clips) == 1
        for clip, start, crop in zip(clips, starts, crops, strict=True):
            assert torch.equal(crop, corpus.waveform(clip, start * 320, len(crop)))
    assert sorted(seen) == [0, 1, 2, 3, 4]
