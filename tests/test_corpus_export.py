"""Tokens of a corpus in the formats of others, each read back by the library that owns the format."""

from __future__ import annotations

import gc
import itertools
import json
import shutil
import warnings
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import helpers
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from helpers import CLIPS, copy_clips

from semtok import corpus, load_audio
from semtok.errors import AudioError, CorpusError

refuses = partial(helpers.refuses, CorpusError)
NAMES = [path.name for path in CLIPS]
TEXTS = ["one", "two", "three"]


@pytest.fixture(scope="module")
def encoded(tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("encoded")
    copy_clips(folder)
    facts = {"age": 30, "speaker": "anna", "language": "en"}
    rows = [{"path": name, "text": text, **facts} for name, text in zip(NAMES, TEXTS, strict=True)]
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus.encode_corpus(tokenizer, folder / "list.jsonl", folder / "tokens", num_shards=2)
    return folder / "tokens"


@pytest.fixture(scope="module")
def codes(tokenizer) -> list[np.ndarray]:
    """[rows, frames] of each recording."""
    return [tokenizer.encode(path).codes[0].numpy() for path in CLIPS]


@contextmanager
def files_left_open():
    """Readers that leave files to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def test_lhotse_reads_cuts_with_target_codes(encoded, codes, tmp_path):
    lhotse = pytest.importorskip("lhotse")
    corpus.export(encoded, "lhotse", tmp_path / "shar")
    with files_left_open():
        cuts = list(lhotse.CutSet.from_shar(in_dir=tmp_path / "shar"))
    assert [cut.id for cut in cuts] == NAMES
    for cut, expected, text in zip(cuts, codes, TEXTS, strict=True):
        assert np.array_equal(cut.load_target_codes(), expected) and np.array_equal(cut.target_codes.load(), expected)
        assert cut.supervisions[0].text == text and cut.age == 30
        assert cut.target_codes.temporal_dim == 1 and cut.target_codes.frame_shift == 0.02


def test_cuts_of_lhotse_are_encoded(tokenizer, tmp_path):
    lhotse = pytest.importorskip("lhotse")
    recordings = [lhotse.Recording.from_file(path) for path in CLIPS]
    said = lhotse.SupervisionSegment("s", recordings[0].id, 0, 1, text="hello", speaker="anna")
    cuts = [recording.to_cut() for recording in recordings]
    cuts[1] = cuts[1].truncate(offset=0.5, duration=1.25).with_id("part")
    cuts[0].supervisions, cuts[2].custom = [said], {"age": 30}
    lhotse.CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    corpus.encode_corpus(tokenizer, tmp_path / "cuts.jsonl.gz", tmp_path / "tokens")
    clips = list(corpus.read(tmp_path / "tokens"))
    waveforms = [load_audio(path) for path in CLIPS]
    assert [clip.id for clip in clips] == [cuts[0].id, "part", cuts[2].id]
    for clip, waveform in zip(clips, [waveforms[0], waveforms[1][8000:28000], waveforms[2]], strict=True):
        assert clip.tokens.codes.equal(tokenizer.encode(waveform).codes)
    assert [(clip.columns["text"], clip.columns["age"]) for clip in clips] == [
        ("hello", None),
        (None, None),
        (None, 30),
    ]
    stereo = lhotse.CutSet.from_cuts([cuts[0].pad(9)])
    stereo.to_file(tmp_path / "mixed.jsonl.gz")
    with pytest.raises(AudioError, match="is no part of one mono recording"):
        corpus.encode_corpus(tokenizer, tmp_path / "mixed.jsonl.gz", tmp_path / "other")


def test_shards_of_lhotse_shar_are_encoded(tokenizer, tmp_path):
    lhotse = pytest.importorskip("lhotse")
    shar, out = tmp_path / "shar", tmp_path / "tokens"
    shar.mkdir()
    cuts = [lhotse.Recording.from_file(path).to_cut() for path in CLIPS]
    cuts[0].supervisions = [lhotse.SupervisionSegment("s", cuts[0].id, 0, 1, text="hello", speaker="anna")]
    cuts[1] = cuts[1].truncate(offset=0.5, duration=1.25).with_id("a part.wav")
    cuts[2].custom = {"age": 30}
    stereo = lhotse.MultiCut("two", 0, 1, [0, 1], recording=lhotse.Recording.from_file(stereo_file(tmp_path)))
    with files_left_open():
        lhotse.CutSet.from_cuts([*cuts, stereo]).to_shar(shar, fields={"recording": "wav"}, shard_size=2)
    done = corpus.encode_corpus(tokenizer, shar, out)
    assert (done.clips, done.failed) == (3, 1)
    assert "cut two has no recording of one channel" in next((out / "errors").iterdir()).read_text()
    clips = list(corpus.read(out))
    assert [clip.id for clip in clips] == [cut.id for cut in cuts]
    waveforms = [load_audio(path) for path in CLIPS]
    for clip, waveform in zip(clips, [waveforms[0], waveforms[1][8000:28000], waveforms[2]], strict=True):
        assert clip.tokens.codes.equal(tokenizer.encode(waveform).codes)
    assert [(clip.columns["text"], clip.columns["age"]) for clip in clips] == [
        ("hello", None),
        (None, None),
        (None, 30),
    ]


def test_shar_with_missing_recordings_loses_nothing_without_a_word(tokenizer, tmp_path):
    lhotse = pytest.importorskip("lhotse")
    shar = tmp_path / "shar"
    shar.mkdir()
    cuts = [lhotse.Recording.from_file(path).to_cut() for path in CLIPS]
    with files_left_open():
        lhotse.CutSet.from_cuts(cuts).to_shar(shar, fields={"recording": "wav"}, shard_size=3)
    (tar,) = shar.glob("recording.*.tar")
    whole = tar.read_bytes()
    tar.write_bytes(whole[: len(whole) // 2])
    done = corpus.encode_corpus(tokenizer, shar, tmp_path / "tokens")
    assert done.failed == 1 and done.clips < 3
    assert "cannot be read to its end" in (tmp_path / "tokens/errors/part-00000.jsonl").read_text()
    tar.unlink()
    with pytest.raises(
        AudioError, match=r"cuts.000000.jsonl.gz has no recordings beside it: expected recording.000000"
    ):
        corpus.encode_corpus(tokenizer, shar, tmp_path / "other")


def stereo_file(folder):
    soundfile.write(folder / "two.wav", np.zeros((16000, 2)), 16000)
    return folder / "two.wav"


def test_kaldiio_reads_an_archive_a_row(encoded, codes, tmp_path):
    kaldiio = pytest.importorskip("kaldiio")
    written = corpus.export(encoded, "kaldi", tmp_path / "ark", layers=[4, 1])
    assert [path.name for path in written] == ["l4.ark", "l4.scp", "l1.ark", "l1.scp"]
    for row, path in [(2, "l4.scp"), (0, "l1.scp")]:
        vectors = kaldiio.load_scp(str(tmp_path / "ark" / path))
        assert sorted(vectors) == sorted(NAMES)
        for name, expected in zip(NAMES, codes, strict=True):
            assert vectors[name].dtype == np.int32 and np.array_equal(vectors[name], expected[row])


def test_webdataset_reads_tars(encoded, codes, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    written = corpus.export(encoded, "webdataset", tmp_path / "tars")
    with files_left_open():
        samples = list(webdataset.WebDataset([str(path) for path in written], shardshuffle=False).decode())
    assert [sample["json"]["id"] for sample in samples] == NAMES
    for sample, expected, text in zip(samples, codes, TEXTS, strict=True):
        assert sample["codes.npy"].dtype == np.uint16 and np.array_equal(sample["codes.npy"], expected)
        assert sample["json"]["text"] == text and sample["json"]["rows"] == ["l1", "l3", "l4"]


def test_slamkit_gets_units_and_how_often_each_came(encoded, codes, tmp_path):
    (path,) = corpus.export(encoded, "slamkit", tmp_path / "slamkit", layers=[4])
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["file_name"] for record in records] == NAMES
    for record, expected in zip(records, codes, strict=True):
        assert set(record) == {"units", "duration", "file_name"}
        assert all(one != other for one, other in itertools.pairwise(record["units"]))
        assert np.array_equal(np.repeat(record["units"], record["duration"]), expected[2])
    with refuses("one row of codes", "l1, l3, l4", "choose one layer"):
        corpus.export(encoded, "slamkit", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.fixture
def named(encoded, tmp_path):
    """Gives the corpus with other ids."""

    def named(*ids: str) -> Path:
        folder = shutil.copytree(encoded, tmp_path / "named")
        rest = list(ids)
        for path in sorted(folder.glob("data/*")):
            table = pq.read_table(path)
            names, rest = rest[: len(table)], rest[len(table) :]
            pq.write_table(
                table.set_column(0, "id", pa.array(names)).replace_schema_metadata(table.schema.metadata), path
            )
        return folder

    return named


@pytest.mark.parametrize(
    ("form", "ids", "parts"),
    [
        ("webdataset", ("a.b", "c", "a_b"), ["one key for several clips: 'a.b', 'a_b'"]),
        ("webdataset", ("/a", "c", "a"), ["one key for several clips: '/a', 'a'"]),
        ("webdataset", ("a/", "/", "b"), ["keys of WebDataset end in a name, 2 ids are others: 'a/', '/'"]),
        *(
            (form, ("a", "b c", "d\u3000e"), ["Kaldi's keys are single words, 2 ids are others: 'b c', 'd\\u3000e'"])
            for form in ("kaldi", "dasb", "espnet-text", "espnet-speechlm")
        ),
        ("nemo", ("../..", "/abs", "a..b/c"), ["stay in their folder, 2 ids are others: '../..', '/abs'"]),
        ("lhotse", ("../..", "/abs", "a..b/c"), ["stay in their folder, 2 ids are others: '../..', '/abs'"]),
    ],
)
def test_ids_that_a_format_cannot_hold_are_named_before_anything_is_written(named, tmp_path, form, ids, parts):
    with refuses(*parts, "give the clips other ids"):
        corpus.export(named(*ids), form, tmp_path / "out", layers=[4])
    assert not (tmp_path / "out").exists()


def test_ids_that_look_like_paths(named, codes, tmp_path):
    webdataset, kaldiio = pytest.importorskip("webdataset"), pytest.importorskip("kaldiio")
    ids = ["/abs/x.wav", "\u97f3/c", "a_b"]
    written = corpus.export(named(*ids), "webdataset", tmp_path / "tars")
    with files_left_open():
        samples = list(webdataset.WebDataset([str(path) for path in written], shardshuffle=False).decode())
    assert [sample["json"]["id"] for sample in samples] == ids
    assert not any(sample["__key__"].startswith("/") for sample in samples)
    for folder in ("a,b", "a b", "a:b"):
        corpus.export(tmp_path / "named", "kaldi", tmp_path / folder, layers=[4])
        vectors = kaldiio.load_scp(str(tmp_path / folder / "l4.scp"))
        assert all(np.array_equal(vectors[name], rows[2]) for name, rows in zip(ids, codes, strict=True))


@pytest.mark.parametrize("form", corpus.EXPORTERS)
@pytest.mark.parametrize("there", [True, False])
def test_exports_appear_whole(encoded, tmp_path, form, there, monkeypatch):
    target = tmp_path / "out"
    if there:
        target.mkdir()
    with monkeypatch.context() as patch:
        clips = corpus.TokenCorpus.__iter__

        def stop(self):
            yield next(clips(self))
            raise KeyboardInterrupt

        patch.setattr(corpus.TokenCorpus, "__iter__", stop)
        with pytest.raises(KeyboardInterrupt):
            corpus.export(encoded, form, target, layers=[4])
    assert (list(target.iterdir()) if there else not target.exists()) == ([] if there else True)
    written = corpus.export(encoded, form, target, layers=[4])
    assert sorted(written) == sorted(target.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_lhotse_takes_no_percent_sign(encoded, tmp_path):
    with refuses("no path with a percent sign", "100% speech"):
        corpus.export(encoded, "lhotse", tmp_path / "100% speech")


def test_formats_and_folders_are_checked(run, encoded, tmp_path):
    with refuses("there is no format 'hdf5', only dasb, espnet-text"):
        corpus.export(encoded, "hdf5", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with refuses(tmp_path / "full", "is there already"):
        corpus.export(encoded, "megatron", tmp_path / "full")
    code, printed, _ = run("corpus", "export", encoded, "webdataset", tmp_path / "tars")
    assert code == 0 and "part-00000.tar" in printed
