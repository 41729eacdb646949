"""Clips of any source: the right segments, ids, columns and waveforms, and what a source may not reach."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import os
import tarfile
from decimal import Decimal
from functools import partial

import helpers
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from helpers import CLIPS, copy_clips

from semtok import corpus, load_audio
from semtok.analysis import Study
from semtok.errors import AudioError
from semtok.speech.columns import common_types, fit
from semtok.speech.reading import Speech
from semtok.speech.sources import Dataset, open_source
from semtok.training.data.corpus import load_corpus
from semtok.training.downstream.clips import load_clips
from semtok.training.downstream.config import TaskData

refuses = partial(helpers.refuses, AudioError)
NAMES = [path.name for path in CLIPS]
RATE = 16000


@pytest.fixture
def audio(tmp_path):
    return copy_clips(tmp_path / "audio")


def lines(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def a_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def a_dataset(folder, columns, features):
    """A dataset as it lies on the hub: Parquet, audio as bytes and path, and the features in its metadata."""
    datasets = pytest.importorskip("datasets")
    folder.mkdir()
    audio = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds = {
        name: audio if isinstance(feature, datasets.Audio) else feature.pa_type for name, feature in features.items()
    }
    table = pa.table({name: pa.array(columns[name], kinds[name]) for name in features})
    info = {"info": {"features": datasets.Features(features).to_dict()}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), folder / "train.parquet")
    return folder


def segments(folder):
    """A manifest of two segments of a recording and a whole one, and their waveforms."""
    rows = [
        {"path": NAMES[0], "start": 0.5, "duration": 1.25, "text": "one", "split": "train"},
        {"path": NAMES[0], "start": 1.75, "text": "two", "split": "test"},
        {"path": NAMES[1], "text": "three", "split": "train"},
    ]
    first = load_audio(CLIPS[0])
    return lines(folder / "list.jsonl", rows), [first[8000:28000], first[28000:], load_audio(CLIPS[1])]


def folder_of(kind, audio, tmp_path):
    """A source of the three recordings."""
    contents = {f"{number}.flac": path.read_bytes() for number, path in enumerate(CLIPS)}
    if kind == "folder":
        return audio
    if kind == "tar":
        return a_tar(tmp_path / "x.tar", contents)
    if kind == "tar.gz":
        return a_tar(tmp_path / "x.tar.gz", contents, "w:gz")
    if kind == "dataset":
        datasets = pytest.importorskip("datasets")
        rows = {"audio": [{"bytes": data, "path": name} for name, data in contents.items()]}
        return f"hub:{a_dataset(tmp_path / 'dataset', rows, {'audio': datasets.Audio()})}"
    lhotse = pytest.importorskip("lhotse")
    cuts = lhotse.CutSet.from_cuts(lhotse.Recording.from_file(path).to_cut() for path in CLIPS)
    if kind == "cuts":
        cuts.to_file(tmp_path / "cuts.jsonl.gz")
        return tmp_path / "cuts.jsonl.gz"
    (tmp_path / "shar").mkdir()
    cuts.to_shar(tmp_path / "shar", fields={"recording": "wav"}, shard_size=2)
    return tmp_path / "shar"


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "dataset", "cuts", "shar"])
def test_every_source_is_read_and_numbered(kind, audio, tmp_path, datasets_cache):
    speech = Speech([folder_of(kind, audio, tmp_path)])
    expected = [load_audio(path) for path in CLIPS]
    read = list(speech.read(RATE))
    assert len(speech) == 3 and [clip for clip, _ in read] == speech.clips
    for (_, waveform), wanted in zip(read, expected, strict=True):
        torch.testing.assert_close(waveform, wanted, atol=1e-4, rtol=0)
    assert len({clip.id for clip in speech.clips}) == 3
    some = {number: recording.load() for number, _, recording in speech.recordings(RATE, [2, 0])}
    assert {number: len(waveform) for number, waveform in some.items()} == {0: len(expected[0]), 2: len(expected[2])}
    parts = speech.parts(2)
    assert [clip for part in parts for clip, _ in part.read(RATE)] == speech.clips
    assert [stamp for part in parts for stamp in part.stamps] == speech.stamps


def test_segments_are_read_and_splits_left_out(audio):
    manifest, waveforms = segments(audio)
    speech = Speech([manifest])
    assert [clip.id for clip in speech.clips] == [f"{NAMES[0]}#0.5-1.75", f"{NAMES[0]}#1.75", NAMES[1]]
    for (_, waveform), wanted in zip(speech.read(RATE), waveforms, strict=True):
        assert waveform.equal(wanted)
    assert [waveform.equal(waveforms[1]) for _, waveform in speech.read(RATE, [1])] == [True]
    train = Speech([manifest], leave_out_splits=["test"])
    assert [clip.label("text") for clip in train.clips] == ["one", "three"]
    manifest.rename(audio / "manifest.jsonl")  # which a folder is listed by
    assert [clip.start for clip in Speech([audio]).clips] == [0.5, 1.75, None]


def test_ids_of_several_sources_are_told_apart(audio, tmp_path):
    other = copy_clips(tmp_path / "other")
    speech = Speech([audio, other])
    assert [clip.id for clip in speech.clips] == [f"{folder}/{name}" for folder in (audio, other) for name in NAMES]
    assert [clip.path for clip in speech.clips] == [clip.id for clip in speech.clips]


def test_a_replaced_recording_has_another_stamp(audio):
    before = Speech([audio]).stamps
    os.utime(audio / NAMES[1], ns=(0, 0))
    assert [one == other for one, other in zip(before, Speech([audio]).stamps, strict=True)] == [True, False, True]


def test_training_learns_the_segments(audio, tmp_path):
    manifest, waveforms = segments(audio)
    learnt = load_corpus([manifest], tmp_path / "cache", sample_rate=RATE)
    assert learnt.lengths.tolist() == [len(waveform) for waveform in waveforms]
    torch.testing.assert_close(learnt.waveform(1), waveforms[1], atol=1e-4, rtol=0)


def test_studies_are_of_segments_and_of_tars(audio, tokenizer, tmp_path):
    manifest, waveforms = segments(audio)
    phones = [["A", 0.0, 0.75], ["B", 0.75, 1.5]]
    lines(audio / "phones.jsonl", [{"path": NAMES[0], "phones": phones}])
    study = Study(tokenizer, manifest, tmp_path / "report", alignments=audio / "phones.jsonl")
    codes = [tokenizer.encode(waveform).codes[0].numpy() for waveform in waveforms]
    assert np.array_equal(study.frames.codes, np.concatenate(codes, axis=1))
    first, second = (study.tiers["phones"][number] for number in (0, 1))
    assert (first.phones, first.starts.tolist(), first.ends.tolist()) == (("A", "B"), [0, 0.25], [0.25, 1.25])
    assert (second.phones, second.starts.tolist(), second.ends.tolist()) == (("B",), [0], [0.5])
    tar = Study(tokenizer, folder_of("tar", audio, tmp_path), tmp_path / "other")
    codes = [tokenizer.encode(path).codes[0].numpy() for path in CLIPS]
    assert np.array_equal(tar.frames.codes, np.concatenate(codes, axis=1))
    assert tar.stability().rows


def test_encode_refuses_segments(run, audio, tmp_path):
    manifest, _ = segments(audio)
    code, _, err = run("encode", manifest, "-o", tmp_path / "out")
    assert code == 2 and "segments" in err and "encode-corpus" in err


# --- manifests


def test_ids_are_exact(audio):
    rows = [{"path": NAMES[0], "id": number} for number in (0, 1)]
    rows += [{"path": NAMES[0], "start": start, "duration": 0.2} for start in (12345.01, 12345.02, 0.1)]
    ids = [clip.id for clip in open_source(lines(audio / "list.jsonl", rows)).rows()]
    assert ids == ["0", "1", *(f"{NAMES[0]}#{ends}" for ends in ("12345.01-12345.21", "12345.02-12345.22", "0.1-0.3"))]


def test_a_file_is_a_source_of_one_clip(audio):
    speech = Speech([audio / NAMES[1], audio / NAMES[0]])
    assert [clip.id for clip in open_source(audio / NAMES[1]).rows()] == [NAMES[1]]
    assert [waveform.tolist() for _, waveform in speech.read(16000)] == [
        load_audio(audio / name, sample_rate=16000).tolist() for name in (NAMES[1], NAMES[0])
    ]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_excel(audio, mark, delimiter):
    rows = [["path", "text"], [NAMES[0], "grüß"], [NAMES[1], "b"], ["", ""]]
    (audio / "list.csv").write_bytes(mark + "".join(delimiter.join(row) + "\r\n" for row in rows).encode())
    clips = list(open_source(audio / "list.csv").rows())
    assert [(clip.id, dict(clip.columns)) for clip in clips] == [
        (NAMES[0], {"text": "grüß"}),
        (NAMES[1], {"text": "b"}),
    ]
    (audio / "list.jsonl").write_bytes(mark + json.dumps({"path": NAMES[0], "text": "a\u2028b\u0085"}).encode() + b"\n")
    assert [clip.columns["text"] for clip in open_source(audio / "list.jsonl").rows()] == ["a\u2028b\u0085"]
    (audio / "list.csv").write_bytes("path,text\na.wav,grüß\n".encode("latin1"))
    with refuses("list.csv is no manifest", "not in UTF-8"):
        list(open_source(audio / "list.csv").rows())


def test_columns_fit_their_types():
    values = [2**63, Decimal("1.50"), np.int64(3), np.zeros((1, 2)), datetime.date(2026, 1, 2), float("nan"), True]
    kinds = [common_types([{"a": value}])["a"] for value in values]
    assert kinds == ["string", "string", "int64", "string", "string", "double", "bool"]
    assert [fit(value, kind) for value, kind in zip(values[:5], kinds, strict=False)] == [
        *("9223372036854775808", "1.50", 3, "[[0.0, 0.0]]", '"2026-01-02"'),
    ]
    assert type(fit(np.int64(3), "int64")) is int
    assert common_types([{"a": 1}, {"a": 2**64}])["a"] == "string"


def test_columns_of_tokens_get_other_names(audio):
    rows = [{"path": NAMES[0], "num_samples": 1, "l7": "x", "l1_s2": "y", "l7b": "z"}]
    (clip,) = open_source(lines(audio / "list.jsonl", rows)).rows()
    assert dict(clip.columns) == {"source_num_samples": 1, "source_l7": "x", "source_l1_s2": "y", "l7b": "z"}


@pytest.mark.parametrize("name", ["../audio/a.wav", "b/../../a.wav", "http://127.0.0.1/a.wav", "file:///etc/passwd"])
def test_a_manifest_reaches_no_further_than_its_folder(audio, name):
    with refuses("row 1 of", name, "leads out of" if ".." in name else "--allow-urls"):
        list(open_source(lines(audio / "list.jsonl", [{"path": name}])).rows())


def test_urls_may_be_allowed(audio, tmp_path):
    manifest = lines(audio / "list.jsonl", [{"path": f"file://{audio / NAMES[0]}"}])
    source = open_source(manifest, allow_urls=True)
    ((_, recording),) = source.recordings(source.rows(), RATE)
    assert recording.load().equal(load_audio(CLIPS[0]))
    assert [clip.path for clip in open_source(lines(audio / "l.jsonl", [{"path": str(CLIPS[0])}])).rows()] == [
        str(CLIPS[0])
    ]


def test_special_files_are_not_read(audio):
    os.mkfifo(audio / "pipe.wav")
    rows = lines(audio / "list.jsonl", [{"path": "/dev/zero"}, {"path": "pipe.wav"}, {"path": NAMES[0]}])
    outcomes = [outcome for _, outcome in Speech([rows]).read(RATE)]
    assert [str(outcome) for outcome in outcomes[:2]] == [
        f"{name} is a device, pipe or socket: a source names files" for name in ("/dev/zero", audio / "pipe.wav")
    ]
    assert outcomes[2].equal(load_audio(CLIPS[0]))


@pytest.mark.parametrize(
    "line",
    [
        b"null",
        b"[" * 100_000,
        b'{"path": "\\ud800.wav"}',
        b'{"path": 1e999}',
        b'{"path": "a.wav", "n": 18446744073709551616}',
    ],
)
def test_hostile_lines_are_refused(audio, line):
    (audio / "list.jsonl").write_bytes(line + b"\n")
    with refuses("list.jsonl"):
        list(open_source(audio / "list.jsonl").rows())


# --- tars


def test_tars_in_the_working_folder(audio, tmp_path, monkeypatch):
    folder_of("tar", audio, tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("x.tar", "./x.tar"):
        assert [clip.id for clip in Speech([name]).clips] == ["x/0", "x/1", "x/2"]


@pytest.mark.parametrize("compressed", [False, True])
def test_links_of_a_tar(audio, tmp_path, compressed):
    with tarfile.open(tmp_path / "x.tar", "w:gz" if compressed else "w") as tar:
        tar.add(CLIPS[0], "a.flac")
        for kind, name, target in [
            (tarfile.LNKTYPE, "b.flac", "a.flac"),
            (tarfile.SYMTYPE, "deep/c.flac", "../a.flac"),
            (tarfile.SYMTYPE, "d.flac", "/etc/passwd"),
            (tarfile.SYMTYPE, "latest", "deep"),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    outcomes = {clip.id: outcome for clip, outcome in Speech([tmp_path / "x.tar"]).read(RATE)}
    assert list(outcomes) == ["x/a", "x/b", "x/deep/c", "x/d"]
    read = ["x/a"] if compressed else ["x/a", "x/b", "x/deep/c"]
    assert [name for name, outcome in outcomes.items() if torch.is_tensor(outcome)] == read
    assert all(outcomes[name].equal(load_audio(CLIPS[0])) for name in read)
    assert "d.flac is a link to what cannot be read" in str(outcomes["x/d"])


def test_what_a_tar_unpacks_to_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("semtok.speech.sources.tars.MAX_BYTES", 1 << 20)
    a_tar(tmp_path / "x.tar", {"a.wav": bytes(2 << 20), "b.flac": CLIPS[0].read_bytes()}, "w:gz")
    outcomes = [outcome for _, outcome in Speech([tmp_path / "x.tar"]).read(RATE)]
    assert "x.tar/a.wav has 2097152 bytes" in str(outcomes[0]) and outcomes[1].equal(load_audio(CLIPS[0]))
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    (tmp_path / "y.tar").write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))
    ((clip, error),) = Speech([tmp_path / "y.tar"]).read(RATE)
    assert clip.id == "y.tar" and "a header has 1099511627776 bytes" in str(error)


# --- datasets


def test_datasets_with_two_columns_of_audio_and_names_of_tokens(tmp_path, datasets_cache):
    datasets = pytest.importorskip("datasets")
    one = {"bytes": CLIPS[0].read_bytes(), "path": "a.flac"}
    kinds = {"path": "string", "num_samples": "int32", "id": "int32", "big": "uint64"}
    features = {"audio": datasets.Audio(), "noisy": datasets.Audio()} | {
        name: datasets.Value(kind) for name, kind in kinds.items()
    }
    columns = {"audio": [one] * 3, "noisy": [one] * 3, "path": ["a", "b", "c"], "num_samples": [1, 2, 3]}
    columns |= {"id": [7, 7, 0], "big": [2**63 + 1] * 3}
    source = open_source(f"hub:{a_dataset(tmp_path / 'ds', columns, features)}")
    assert source.columns == {"source_path": "string", "source_num_samples": "int64", "big": "uint64"}
    clips = [clip for clip, _ in source.recordings(source.rows(), RATE)]
    assert [clip.id for clip in clips] == ["7", "7-train-00000-0000001", "0"]
    assert dict(clips[1].columns) == {"source_path": "b", "source_num_samples": 2, "big": 2**63 + 1}


def test_splits_of_datasets_are_left_out(audio, tmp_path, datasets_cache):
    name = folder_of("dataset", audio, tmp_path)
    assert [clip.label("split") for clip in Speech([name]).clips] == ["train"] * 3
    assert Speech([name], leave_out_splits=["train"]).clips == []
    hours = len(load_audio(CLIPS[0])) / RATE / 3600
    first = Speech([Dataset(name.removeprefix("hub:"), "train", hours=hours)])
    assert len(first.clips) == 1


# --- Lhotse


def test_what_lhotse_changes_it_loads(tokenizer, tmp_path):
    lhotse = pytest.importorskip("lhotse")
    cut = lhotse.Recording.from_file(CLIPS[0]).to_cut()
    part = cut.truncate(offset=1, duration=1.5)
    cuts = [cut.with_id("plain"), part.perturb_speed(1.1).with_id("fast"), cut.perturb_volume(0.1).with_id("quiet")]
    cuts += [cut.resample(8000).with_id("narrow"), cut.with_id("again")]
    lhotse.CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    speech = Speech([tmp_path / "cuts.jsonl.gz"])
    assert [clip.id for clip in speech.clips] == ["plain", "fast", "quiet", "narrow", "again"]
    read = [waveform.numpy() for _, waveform in speech.read(RATE)]
    assert np.allclose(read[1], cuts[1].load_audio()[0]) and len(read[1]) == round(1.5 / 1.1 * RATE)
    assert np.allclose(read[2], read[0] * 0.1, atol=1e-6) and np.array_equal(read[4], read[0])
    narrow = io.BytesIO()
    soundfile.write(narrow, cuts[3].load_audio()[0], 8000, format="WAV", subtype="FLOAT")
    assert np.allclose(read[3], load_audio(narrow.getvalue(), sample_rate=RATE), atol=1e-6)
    assert [waveform.equal(torch.from_numpy(read[2])) for _, waveform in speech.read(RATE, [2])] == [True]
    done = corpus.encode_corpus(tokenizer, tmp_path / "cuts.jsonl.gz", tmp_path / "tokens", num_shards=2)
    assert (done.clips, done.failed) == (5, 0)
    assert corpus.read(tmp_path / "tokens")["fast"].tokens.codes.equal(tokenizer.encode(read[1]).codes)


def test_what_lhotse_knows_of_cuts_is_kept(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    cut = lhotse.Recording.from_file(CLIPS[0]).to_cut()
    say = partial(lhotse.SupervisionSegment, recording_id=cut.recording_id, duration=1)
    two, one, none = (cut.with_id(name) for name in ("two", "one", "none"))
    two.supervisions = [
        say("b", start=1, text="world", speaker="bert", language="en", custom={"score": 2}),
        say("a", start=0, text="hello", speaker="anna", language="en"),
    ]
    one.supervisions = [say("c", start=0, text="hi", custom={"score": 3})]
    none.custom = {"text": "mine", "language": "de", "tags": ["a", "b"], "id": 5}
    lhotse.CutSet.from_cuts([two, one, none]).to_file(tmp_path / "cuts.jsonl.gz")
    columns = [
        {k: v for k, v in clip.columns.items() if v is not None} for clip in Speech([tmp_path / "cuts.jsonl.gz"]).clips
    ]
    assert columns[0] == {
        "text": "hello world",
        "language": "en",
        "supervisions": [
            {"start": 0, "duration": 1, "text": "hello", "speaker": "anna", "language": "en"},
            {"start": 1, "duration": 1, "text": "world", "speaker": "bert", "language": "en", "score": 2},
        ],
    }
    assert columns[1] == {"text": "hi", "score": 3}
    assert columns[2] == {"text": "mine", "language": "de", "tags": ["a", "b"], "source_id": 5}


def test_commands_of_lhotse_are_not_run(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    cut = lhotse.Recording.from_file(CLIPS[0]).to_cut()
    for where in ("sources", "transforms"):
        entry = cut.to_dict()
        command = {"type": "command", "channels": [0], "source": f"touch {tmp_path}/ran"}
        if where == "sources":
            entry["recording"]["sources"] = [command]
        else:
            room = {**entry["recording"], "sources": [command]}
            entry["recording"]["transforms"] = [{"name": "ReverbWithImpulseResponse", "kwargs": {"rir": room}}]
        with gzip.open(tmp_path / "cuts.jsonl.gz", "wt") as file:
            file.write(json.dumps(entry) + "\n")
        with refuses("has audio of type ['command']"):
            Speech([tmp_path / "cuts.jsonl.gz"])
    assert not (tmp_path / "ran").exists()


def test_a_list_of_cuts_that_ends_early_is_refused(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    path = tmp_path / "cuts.jsonl.gz"
    lhotse.CutSet.from_cuts([lhotse.Recording.from_file(CLIPS[0]).to_cut()]).to_file(path)
    path.write_bytes(path.read_bytes()[:-20])
    with refuses("cuts.jsonl.gz is no manifest of cuts"):
        Speech([path])


def test_a_task_learns_from_segments(tmp_path, tokenizer):
    """As many frames of each as `encode` makes of that part of the recording, and the same codes."""
    manifest = tmp_path / "segments.csv"
    rows = [f"{CLIPS[0]},{start:.2f},0.60" for start in (0, 0.6, 1.2)]
    manifest.write_text("\n".join(["path,start,duration", *rows]))
    clips = load_clips(TaskData(sources=[str(manifest)], validation_clips=1), tokenizer, tmp_path / "cache")
    waveform = load_audio(CLIPS[0])
    for number in range(3):
        first = round(0.6 * number * 16000)
        assert clips.inputs(number).equal(tokenizer.encode(waveform[first : first + 9600]).codes[0])
