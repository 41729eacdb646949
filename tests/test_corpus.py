"""A corpus of speech to a corpus of tokens: every kind of source, shards that are made once, and what may go wrong."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import datasets
import fsspec
import helpers
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from helpers import CLIPS, TESTS, copy_clips, files_in, run_python, write_csv

from semtok import Tokenizer, Vocoder, corpus, load_audio, save_audio
from semtok.corpus import encoding
from semtok.corpus.run import default_num_shards, is_one_of_several, own_shards, read_run
from semtok.corpus.worker import read_errors
from semtok.errors import AudioError, CorpusError, LayerError
from semtok.support.progress import ProgressBar

refuses = partial(helpers.refuses, CorpusError)
NAMES = [path.name for path in CLIPS]


@pytest.fixture
def audio(tmp_path) -> Path:
    return copy_clips(tmp_path / "audio")


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture(scope="module")
def encoded(tokenizer, tmp_path_factory) -> Path:
    """A corpus of the three recordings with texts, in two shards; tests do not change it."""
    folder = tmp_path_factory.mktemp("encoded")
    copy_clips(folder / "audio")
    write_csv(folder / "audio/manifest.csv", [{"path": name, "text": name[:5]} for name in NAMES])
    corpus.encode_corpus(tokenizer, folder / "audio", folder / "tokens", num_shards=2)
    return folder / "tokens"


def write_manifest(path, rows):
    if path.suffix == ".csv":
        write_csv(path, rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def assert_holds(folder, tokenizer, recordings):
    """The ids of a corpus and their tokens are those of these recordings, in their order."""
    clips = list(corpus.read(folder))
    assert [clip.id for clip in clips] == list(recordings)
    for clip, recording in zip(clips, recordings.values(), strict=True):
        assert clip.tokens.codes.equal(tokenizer.encode(recording).codes), clip.id


def errors(folder):
    return [json.loads(line) for path in sorted(folder.glob("errors/*")) for line in path.read_text().splitlines()]


# --- tokens back


def test_a_folder_becomes_the_tokens_of_its_recordings(tokenizer, istft_folder, audio, out):
    done = corpus.encode_corpus(tokenizer, audio, out, num_shards=2)
    assert (done.shards, done.clips, done.failed) == (2, 3, 0)
    assert_holds(out, tokenizer, dict(zip(NAMES, CLIPS, strict=True)))
    clips = corpus.read(out)
    assert len(clips) == 3 and clips[-1].id == clips[2].id == NAMES[2]
    clip = clips[NAMES[1]]
    assert clip.num_samples == len(load_audio(CLIPS[1])) and clip.duration == clip.num_samples / 16000
    assert (clip.start, clip.path, clip.columns) == (0, NAMES[1], {})
    vocoder = Vocoder.from_pretrained(istft_folder)
    assert vocoder.decode(clip.tokens).equal(vocoder.decode(tokenizer.encode(CLIPS[1])))
    with pytest.raises(IndexError, match="no clip 3"):
        clips[3]
    with pytest.raises(KeyError, match="nobody"):
        clips["nobody"]


def test_layers_are_read_alone_and_in_the_order_asked(tokenizer, encoded):
    assert corpus.read(encoded, layers=[4, 1])[0].tokens.codes.equal(tokenizer.encode(CLIPS[0], layers=[4, 1]).codes)
    with pytest.raises(LayerError, match="has no layers"):
        corpus.read(encoded, layers=[2])


def test_residual_stages_have_a_column_each(tokenizer, tmp_path, audio, out):
    stages = {1: [tokenizer.centroids(1), tokenizer.centroids(1) / 10], 3: [tokenizer.centroids(3)]}
    residual = Tokenizer.from_centroids(tokenizer.encoder.model, stages, normalize=True)
    corpus.encode_corpus(residual, audio, out)
    assert pq.read_schema(out / "data/part-00000.parquet").names[-3:] == ["l1_s1", "l1_s2", "l3"]
    assert_holds(out, residual, dict(zip(NAMES, CLIPS, strict=True)))


def test_the_files_say_what_they_hold(tokenizer, encoded):
    schema = pq.read_schema(encoded / "data/part-00000.parquet")
    facts = json.loads(schema.metadata[b"semtok"])
    assert (facts["fingerprint"], facts["layers"]) == (tokenizer.fingerprint, [1, 3, 4])
    assert (facts["codebook_sizes"], facts["frame_rate"], facts["dtype"]) == ([40, 30, 12], 50.0, "float32")
    assert schema.field("l1").type == pa.list_(pa.uint16())
    card = (encoded / "README.md").read_text()
    assert "Clips: 3" in card and tokenizer.fingerprint in card and "`l4` of 12" in card


def test_datasets_reads_the_folder(encoded, tmp_path):
    dataset = datasets.load_dataset(str(encoded), split="train", cache_dir=str(tmp_path))
    assert dataset["id"][:] == NAMES and dataset["text"][:] == [name[:5] for name in NAMES]
    assert dataset.features["l3"] == datasets.List(datasets.Value("uint16"))
    assert dataset[1]["l3"] == corpus.read(encoded)[1].tokens.codes[0, 1].tolist()


def test_a_card_that_somebody_wrote_stays(tokenizer, audio, out):
    out.mkdir()
    (out / "README.md").write_text("mine")
    corpus.encode_corpus(tokenizer, audio, out)
    assert (out / "README.md").read_text() == "mine"


# --- sources


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_manifest_cuts_segments_and_passes_its_columns(tokenizer, audio, out, suffix):
    soundfile.write(audio / "at_8k.wav", soundfile.read(CLIPS[0])[0], 8000)
    rows = [
        {"path": NAMES[0], "start": 0.5, "duration": 1.25, "speaker": "anna", "age": 30, "score": 1, "is_read": True},
        {"path": NAMES[0], "start": 1.75, "duration": None, "speaker": None, "age": 31, "score": 0.5, "is_read": False},
        {"path": NAMES[1], "start": None, "duration": 99, "speaker": "bert", "age": 32, "score": 2, "is_read": True},
        {"path": "at_8k.wav", "start": None, "duration": None, "speaker": "", "age": 33, "score": 3, "is_read": True},
    ]
    corpus.encode_corpus(tokenizer, write_manifest(audio / f"list{suffix}", rows), out)
    first = load_audio(CLIPS[0])
    wholes = {NAMES[1]: CLIPS[1], "at_8k.wav": audio / "at_8k.wav"}
    ids = [f"{NAMES[0]}#0.5-1.75", f"{NAMES[0]}#1.75"]
    assert_holds(out, tokenizer, dict(zip(ids, [first[8000:28000], first[28000:]], strict=True)) | wholes)
    clips = list(corpus.read(out))
    assert [(clip.start, clip.num_samples) for clip in clips[:2]] == [(0.5, 20000), (1.75, len(first) - 28000)]
    ages = [clip.columns["age"] for clip in clips]
    assert ages == (["30", "31", "32", "33"] if suffix == ".csv" else [30, 31, 32, 33])
    if suffix != ".csv":
        assert [clip.columns["score"] for clip in clips] == [1.0, 0.5, 2.0, 3.0]
        assert clips[1].columns == {"speaker": None, "age": 31, "score": 0.5, "is_read": False}


def test_ids_may_be_chosen_and_what_is_no_text_or_number_is_json(tokenizer, audio, out):
    rows = [{"id": 7, "path": NAMES[0], "words": ["a", "b"]}, {"id": 8, "path": NAMES[1], "words": "c"}]
    corpus.encode_corpus(tokenizer, write_manifest(audio / "list.jsonl", rows), out)
    assert [(clip.id, clip.columns["words"]) for clip in corpus.read(out)] == [("7", '["a", "b"]'), ("8", "c")]


@pytest.mark.parametrize("kind", ["folder", "manifest", "tars"])
def test_buckets_are_read_by_fsspec(tokenizer, tmp_path, out, kind):
    memory = fsspec.filesystem("memory")
    root = f"/{tmp_path.name}-{kind}"
    for path in CLIPS:
        memory.pipe(f"{root}/{path.name}", path.read_bytes())
    memory.pipe(f"{root}/list.csv", f"path\n{NAMES[0]}\nmemory:/{root}/{NAMES[1]}\n".encode())
    memory.pipe(f"{root}/tars/0.tar", tar_of({f"a{number}.flac": path for number, path in enumerate(CLIPS)}))
    source = f"memory:/{root}" + {"folder": "", "manifest": "/list.csv", "tars": "/tars"}[kind]
    if kind == "folder":
        memory.rm(f"{root}/tars", recursive=True)
    corpus.encode_corpus(tokenizer, source, out)
    ids = {
        "folder": NAMES,
        "manifest": [NAMES[0], f"memory:/{root}/{NAMES[1]}"],
        "tars": ["0/a0", "0/a1", "0/a2"],
    }[kind]
    assert_holds(out, tokenizer, dict(zip(ids, CLIPS, strict=False)))
    assert corpus.verify(out, tokenizer).agreement == 1


def tar_of(files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in files.items():
            data = data.read_bytes() if isinstance(data, Path) else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return content.getvalue()


def test_tars_of_webdataset(tokenizer, tmp_path, out):
    folder = tmp_path / "tars"
    folder.mkdir()
    texts = {"x/one.txt": b"hello", "x/one.json": b'{"a": 1}'}
    (folder / "b.tar").write_bytes(tar_of({"x/one.flac": CLIPS[0], **texts, "two.FLAC": CLIPS[1], "no.txt": b"?"}))
    (folder / "a.tar").write_bytes(tar_of({"one.flac": CLIPS[2], "two.flac": CLIPS[0]})[:-30000])
    done = corpus.encode_corpus(tokenizer, folder, out)
    assert (done.shards, done.clips, done.failed) == (2, 3, 2)
    assert_holds(out, tokenizer, {"a/one": CLIPS[2], "b/x/one": CLIPS[0], "b/two": CLIPS[1]})
    assert corpus.read(out)["b/x/one"].columns == {"txt": "hello", "json": '{"a": 1}'}
    assert corpus.read(out)["b/two"].columns == {"txt": None, "json": None}
    assert [(row["id"], row["error"].partition(":")[0]) for row in errors(out)] == [
        ("a.tar", "a.tar cannot be read to its end"),
        ("b/no", "b.tar/no has 0 files of audio among ['txt']"),
    ]


def test_two_clips_of_one_name_in_a_tar(tokenizer, tmp_path, out):
    (tmp_path / "a.tar").write_bytes(tar_of({"x.flac": CLIPS[0], "y.flac": CLIPS[1], "./x.flac": CLIPS[2]}))
    corpus.encode_corpus(tokenizer, tmp_path / "a.tar", out)
    assert_holds(out, tokenizer, {"a/x": CLIPS[0], "a/y": CLIPS[1]})
    assert [row["error"] for row in errors(out)] == ["another clip before it has the id 'a/x'"]


@pytest.mark.parametrize("ids", [True, False])
def test_a_dataset_is_streamed_file_by_file(tokenizer, tmp_path, out, ids):
    folder = tmp_path / "dataset"
    folder.mkdir()
    for number, paths in enumerate([CLIPS[:2], CLIPS[2:]]):
        rows = {"speech": [{"bytes": path.read_bytes(), "path": path.name} for path in paths], "age": [30] * len(paths)}
        rows |= {"key": [path.stem for path in paths]} if ids else {}
        dataset = datasets.Dataset.from_dict(rows).cast_column("speech", datasets.Audio(decode=False))
        dataset.to_parquet(folder / f"train-{number:05}-of-00002.parquet")
    done = corpus.encode_corpus(tokenizer, f"hub:{folder}?audio=speech&id=key", out)
    assert (done.shards, done.clips) == (2, 3)
    names = (
        [path.stem for path in CLIPS] if ids else ["train-00000-0000000", "train-00000-0000001", "train-00001-0000000"]
    )
    assert_holds(out, tokenizer, dict(zip(names, CLIPS, strict=True)))
    assert corpus.read(out)[0].columns == {"age": 30} and corpus.read(out)[0].path == NAMES[0]
    assert corpus.verify(out, tokenizer).clips == 3
    with pytest.raises(AudioError, match="has no column 'audio'"):
        corpus.encode_corpus(tokenizer, f"hub:{folder}", out)
    with pytest.raises(AudioError, match="unknown options"):
        corpus.encode_corpus(tokenizer, f"hub:{folder}?spilt=train", out)


def test_the_tokens_may_lie_in_the_folder_of_the_audio(tokenizer, audio):
    corpus.encode_corpus(tokenizer, audio, audio / "tokens")
    assert corpus.encode_corpus(tokenizer, audio, audio / "tokens").shards == 0


# --- shards


def test_a_run_that_was_stopped_goes_on(tokenizer, audio, out, encoded, monkeypatch):
    shutil.copy(encoded.parent / "audio/manifest.csv", audio)
    with monkeypatch.context() as patch:
        calls = []

        def stop(self, **numbers):
            calls.append(numbers)
            if len(calls) == 3:
                raise KeyboardInterrupt

        patch.setattr(ProgressBar, "show", stop)
        with pytest.raises(KeyboardInterrupt):
            corpus.encode_corpus(tokenizer, audio, out, num_shards=2)
    assert [path.name for path in (out / "data").iterdir()] == ["part-00000.parquet"]
    state = corpus.status(out)
    assert (state.missing, state.clips, state.array) == ((1,), 1, "1")
    with refuses("1 of 2 shards", "are missing", "semtok corpus status"):
        corpus.read(out)
    assert len(corpus.read(out, partial=True)) == 1
    assert corpus.encode_corpus(tokenizer, audio, out).shards == 1
    for name in files_in(encoded / "data"):
        assert (out / "data" / name).read_bytes() == (encoded / "data" / name).read_bytes()


@pytest.mark.parametrize("cut", [0, 100, -100])
def test_a_half_written_shard_is_made_again(tokenizer, audio, out, cut):
    corpus.encode_corpus(tokenizer, audio, out, num_shards=2)
    path = out / "data/part-00001.parquet"
    path.write_bytes(path.read_bytes()[:cut])
    assert corpus.status(out).missing == (1,)
    assert corpus.encode_corpus(tokenizer, audio, out).shards == 1
    assert_holds(out, tokenizer, dict(zip(NAMES, CLIPS, strict=True)))


def test_killed_workers_and_races_leave_every_clip_once(istft_folder, tmp_path):
    speech = torch.cat([load_audio(path) for path in CLIPS])
    (tmp_path / "audio").mkdir()
    for number in range(14):
        save_audio(tmp_path / f"audio/{number:02}.wav", speech[9000 * number :][: 4000 + 900 * number])
    arguments = istft_folder, tmp_path / "audio", tmp_path / "out", 1, "--kills", 2
    printed = run_python(TESTS / "killed_corpus.py", *arguments, PYTHONPATH=str(helpers.ROOT))
    assert printed.startswith("1 corpora")


def slurm(task, first, last, count, step):
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize("shards", [1, 3])
def test_two_that_are_told_no_shards_share_them(tokenizer, audio, out, monkeypatch, shards):
    encode, begun, first = encoding.encode_shard, [], Barrier(min(shards, 2))

    def record(tokenizer, source, folder, run, shard, report):
        begun.append(shard)
        if len(begun) <= first.parties:
            first.wait(timeout=60)
        encode(tokenizer, source, folder, run, shard, report)

    monkeypatch.setattr(encoding, "encode_shard", record)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: corpus.encode_corpus(tokenizer, audio, out, num_shards=shards), range(2)))
    assert sorted(begun) == list(range(shards)) and sum(process.clips for process in done) == 3
    assert_holds(out, tokenizer, dict(zip(NAMES, CLIPS, strict=True)))
    assert not [name for name in files_in(out) if name.endswith("lock")]


def test_slurm_and_torchrun_say_which_shards(tokenizer, audio, out, monkeypatch):
    assert own_shards(5, {}) == [0, 1, 2, 3, 4]
    assert own_shards(5, {"RANK": "1", "WORLD_SIZE": "2"}) == [1, 3]
    assert own_shards(5, {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "2"}) == [3]
    for first, step in [(0, 1), (1, 1), (7, 1), (0, 4), (1, 2)]:  # sbatch --array=1-5, --array=1-9:2
        last = first + 4 * step
        tasks = [slurm(task, first, last, 5, step) for task in range(first, last + 1, step)]
        assert [own_shards(5, task) for task in tasks] == [[0], [1], [2], [3], [4]]
    assert own_shards(5, slurm(4, 1, 4, 3, 1)) == [4]  # the shards that are missing: --array=1,3-4
    for environment in ({"WORLD_SIZE": "4"}, {"RANK": "1"}, {"RANK": "4", "WORLD_SIZE": "4"}):
        with refuses("WORLD_SIZE is", "RANK", "which shards are this process's", "torchrun sets both"):
            own_shards(8, environment)
    with refuses("RANK must be a whole number, got 'x'"):
        own_shards(8, {"RANK": "x", "WORLD_SIZE": "4"})
    assert own_shards(3, {"WORLD_SIZE": "1"}) == [0, 1, 2] and not is_one_of_several({"WORLD_SIZE": "1"})
    assert default_num_shards(4001, 2000, {}) == 3
    assert default_num_shards(4001, 2000, {"RANK": "0", "WORLD_SIZE": "8"}) == 8
    assert default_num_shards(4001, 2000, {"SLURM_ARRAY_TASK_COUNT": "2"}) == 2
    assert not is_one_of_several({})
    monkeypatch.setattr("semtok.corpus.run.os.environ", {})
    corpus.encode_corpus(tokenizer, audio, out, num_shards=5, shards=[3])
    assert corpus.status(out).array == "0-2,4"
    with refuses("no shard 5", "has 5"):
        corpus.encode_corpus(tokenizer, audio, out, shards=[5])
    corpus.encode_corpus(tokenizer, audio, out, shards=[0, 1, 2, 4])  # more shards than clips: some are empty
    assert corpus.status(out).array == ""
    assert_holds(out, tokenizer, dict(zip(NAMES, CLIPS, strict=True)))


# --- what may go wrong


def test_what_decides_the_result_is_locked(tokenizer, other_folder, istft_folder, audio, out):
    corpus.encode_corpus(tokenizer, audio, out, num_shards=2)
    before = {name: (out / name).read_bytes() for name in files_in(out)}
    other = Tokenizer.from_pretrained(other_folder)
    with refuses(out, "begun with fingerprint =", tokenizer.fingerprint, other.fingerprint, "another folder"):
        corpus.encode_corpus(other, audio, out)
    with refuses("layers = (1, 3, 4)", "(1,)"):
        corpus.encode_corpus(tokenizer, audio, out, layers=[1])
    with refuses("dtype = 'float32'", "'bfloat16'"):
        corpus.encode_corpus(Tokenizer.from_pretrained(istft_folder, dtype="bfloat16"), audio, out)
    with refuses("num_shards = 2", "3"):
        corpus.encode_corpus(tokenizer, audio, out, num_shards=3)
    with refuses("whole number from 1"):
        corpus.encode_corpus(tokenizer, audio, out, num_shards=0)
    (audio / NAMES[0]).rename(audio / "renamed.flac")
    with refuses("the clips listed in plan"):
        corpus.encode_corpus(tokenizer, audio, out)
    assert {name: (out / name).read_bytes() for name in before} == before


def test_shards_of_another_run_are_refused(tokenizer, other_folder, audio, out, tmp_path):
    other = Tokenizer.from_pretrained(other_folder)
    corpus.encode_corpus(tokenizer, audio, out, num_shards=2)
    corpus.encode_corpus(other, audio, tmp_path / "other", num_shards=2)
    shutil.copy(tmp_path / "other/data/part-00001.parquet", out / "data")
    for use in (corpus.read, corpus.status, partial(corpus.encode_corpus, tokenizer, audio)):
        with refuses("part-00001.parquet is of another run", other.fingerprint, tokenizer.fingerprint):
            use(out)


def test_clips_that_cannot_be_encoded_are_listed(tokenizer, audio, out):
    (audio / "bad.wav").write_bytes(b"no audio")
    save_audio(audio / "short.wav", torch.zeros(300))
    rows = [
        {"path": NAMES[0]},
        {"path": "bad.wav"},
        {"path": "short.wav"},
        {"path": "gone.wav"},
        {"path": NAMES[1], "start": 3.5, "duration": 0.6},
        {"path": NAMES[1], "start": 3.5, "duration": 0.495},  # 5 ms too long, as rounding makes it
        {"path": NAMES[1], "start": 100},
    ]
    done = corpus.encode_corpus(tokenizer, write_manifest(audio / "list.jsonl", rows), out)
    assert (done.clips, done.failed) == (2, 5)
    assert [clip.id for clip in corpus.read(out)] == [NAMES[0], f"{NAMES[1]}#3.5-3.995"]
    found = {row["id"]: row["error"] for row in errors(out)}
    assert len(found) == 5
    assert "corrupt" in found["bad.wav"] and "fewer than the 400" in found["short.wav"]
    assert "there is no audio file" in found["gone.wav"]
    assert "lasts 3.99 s: there is no part of it from 3.5 s to 4.1 s" in found[f"{NAMES[1]}#3.5-4.1"]
    assert "from 100 s to the end" in found[f"{NAMES[1]}#100"]
    assert corpus.status(out).failed == 5
    assert corpus.verify(out, tokenizer).clips == 2


def test_names_with_other_line_separators(tokenizer, audio, out):
    name = "a talk\u2028part two\x85.wav"
    (audio / name).write_bytes(b"no audio")
    corpus.encode_corpus(tokenizer, audio, out)
    assert corpus.status(out).failed == 1 and corpus.verify(out, tokenizer).agreement == 1
    assert [row["id"] for row in read_errors(out, 0)] == [name]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"path": NAMES[0]}, {"path": NAMES[1]}, {"path": NAMES[0]}],
            f"ids occur more than once, such as '{NAMES[0]}'",
        ),
        ([{"id": "a", "path": NAMES[0]}, {"id": "a", "path": NAMES[1]}], "such as 'a'"),
        ([{"path": NAMES[0], "start": -1}], "start of row 1"),
        (
            [{"path": NAMES[0], "start": 0, "duration": "long"}],
            "duration of row 1 of .* in seconds, got 'long'",
        ),
        ([{"file": NAMES[0]}], "row 1 of .* names no audio: each row needs a `path`"),
        ([{"path": NAMES[0], "l1": 3, "source_l1": 4}], r"columns \['l1'\] .* passed on as source_NAME"),
        ([], "there is no audio"),
    ],
)
def test_manifests_that_make_no_sense_are_refused(tokenizer, audio, out, rows, message):
    with pytest.raises((AudioError, CorpusError), match=message):
        corpus.encode_corpus(tokenizer, write_manifest(audio / "list.jsonl", rows), out)
    assert not out.exists() or files_in(out) == []


def test_sources_that_are_none(tokenizer, tmp_path, out):
    (tmp_path / "bad.jsonl").write_text("{")
    (tmp_path / "bad.csv").write_text("path,text\na.wav,b,c\n")
    for name, message in [
        ("nowhere", "there is no folder"),
        ("nowhere.csv", "cannot open .*nowhere.csv"),
        ("bad.jsonl", "line 1 of .*bad.jsonl is not JSON"),
        ("bad.csv", "row 1 has more fields than there are columns"),
    ]:
        with pytest.raises(AudioError, match=message):
            corpus.encode_corpus(tokenizer, tmp_path / name, out)
    with pytest.raises(AudioError, match="cannot open nosuch://bucket"):
        corpus.encode_corpus(tokenizer, "nosuch://bucket/list.csv", out)
    with refuses("is no corpus of tokens: it has no run.json"):
        corpus.status(tmp_path)


def test_a_run_keeps_its_file_and_its_digest(tmp_path):
    """Shards carry the digest: with another one, corpora that were begun by version 0.2.0 could not be finished."""
    run = {
        "fingerprint": "print", "layers": [7, 1], "stages": [1, 2], "codebook_sizes": [10, 5, 4], "frame_rate": 50.0,
        "sample_rate": 16000, "dtype": "float32", "plan": "plan", "rows": 3, "num_shards": 2,
        "columns": {"text": "string"}, "rows_are_clips": True, "source": "clips", "checkpoint": None, "semtok": "0.2.0",
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(run))
    there = read_run(tmp_path)
    assert there.digest == "c7c29958183272b8"
    (tmp_path / "again").mkdir()
    there.lock(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "run.json").read_text()) == run


def test_a_full_disk_stops_the_run_and_harms_nothing(tokenizer, audio, out, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with refuses(out, "is full", "run again"):
            corpus.encode_corpus(tokenizer, audio, out, num_shards=2)
    assert files_in(out) == []
    assert corpus.encode_corpus(tokenizer, audio, out, num_shards=2).shards == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_small_file_system_that_is_full(tokenizer, audio, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (disk / "ballast").write_bytes(bytes(40 << 10))
        with refuses("is full"):
            corpus.encode_corpus(tokenizer, audio, disk / "tokens", num_shards=3)
        assert not list(disk.rglob("*.tmp"))
        (disk / "ballast").unlink()
        corpus.encode_corpus(tokenizer, audio, disk / "tokens")
        assert_holds(disk / "tokens", tokenizer, dict(zip(NAMES, CLIPS, strict=True)))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_old_leftovers_are_removed(tokenizer, audio, out):
    corpus.encode_corpus(tokenizer, audio, out)
    for name, mtime in [("old", 1e9), ("new", None)]:
        path = out / f"data/.part-00000.parquet.{name}.tmp"
        path.touch()
        if mtime is not None:
            os.utime(path, (mtime, mtime))
    corpus.encode_corpus(tokenizer, audio, out)
    assert [name for name in files_in(out / "data") if name.endswith("tmp")] == [".part-00000.parquet.new.tmp"]


def test_leftovers_that_others_rename_meanwhile(tokenizer, audio, out, monkeypatch):
    corpus.encode_corpus(tokenizer, audio, out)
    leftover = out / "data/.part-00000.parquet.renamed.tmp"
    leftover.touch()
    os.utime(leftover, (1e9, 1e9))
    stat = Path.stat

    def rename_then_stat(path, **options):
        if path == leftover:
            leftover.unlink(missing_ok=True)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", rename_then_stat)
    assert corpus.encode_corpus(tokenizer, audio, out).shards == 0


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_disk_without_hard_links(tokenizer, other_folder, audio, out, monkeypatch, reason):
    def link(*paths, **options):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "link", link)
    corpus.encode_corpus(tokenizer, audio, out)
    assert_holds(out, tokenizer, dict(zip(NAMES, CLIPS, strict=True)))
    with refuses("begun with fingerprint"):
        corpus.encode_corpus(Tokenizer.from_pretrained(other_folder), audio, out)
    assert [path for path in files_in(out) if "lock" in path] == []


def test_numbers_of_numpy_are_numbers(tokenizer, audio, out):
    corpus.encode_corpus(tokenizer, audio, out, layers=np.array([4, 1]), num_shards=np.int64(2), shards=np.arange(2))
    assert json.loads((out / "run.json").read_text())["num_shards"] == 2
    assert corpus.read(out).codebooks.layers == (4, 1)
    for number in (2.0, True, "2"):
        with refuses("num_shards must be a whole number from 1", repr(number)):
            corpus.encode_corpus(tokenizer, audio, out, num_shards=number)


def test_verify_sees_other_tokens_and_lost_clips(tokenizer, other_folder, audio, out):
    corpus.encode_corpus(tokenizer, audio, out)
    assert corpus.verify(out, tokenizer).equal == sum(tokenizer.encode(path).codes.numel() for path in CLIPS)
    path = out / "data/part-00000.parquet"
    table = pq.read_table(path)
    codes = table.column("l3").to_pylist()
    wrong = table.set_column(table.column_names.index("l3"), "l3", pa.array([codes[0][::-1], *codes[1:]]))
    pq.write_table(wrong.cast(table.schema), path)
    assert corpus.verify(out, tokenizer).agreement < 0.95
    pq.write_table(table[:2], path)
    with refuses("does not hold what it should: 1 clips", NAMES[2]):
        corpus.verify(out, tokenizer)
    with refuses("is of tokenizer"):
        corpus.verify(out, Tokenizer.from_pretrained(other_folder))


# --- the command


def test_the_commands(run, istft_folder, audio, out):
    (audio / "bad.wav").write_bytes(b"no audio")
    arguments = ["encode-corpus", audio, out, "-c", istft_folder, "--layers", "4,1", "--num-shards", 4]
    code, printed, told = run(*arguments, "--shard-index", "0,2-3")
    assert code == 0 and "3 of 4 shards, 3 clips" in printed and "missing: 1" in printed
    assert run("corpus", "status", out)[:2] == (1, printed[printed.index(str(out)) :])
    code, printed, told = run(*arguments)
    assert code == 1 and "encoded 0 clips" in printed and "1 failed" in printed
    assert "failed: cannot read bad.wav" in told
    code, printed, _ = run("corpus", "status", out)
    assert code == 0 and "4 of 4 shards, 3 clips" in printed and "missing" not in printed
    code, printed, _ = run("corpus", "verify", out, "--clips", 2)
    assert code == 0 and printed.startswith("2 clips encoded again") and "codes are the same" in printed
    assert corpus.read(out).codebooks.layers == (4, 1)
    assert run(*arguments, "--shard-index", "a")[0] == 2
    code, _, told = run("encode-corpus", audio, out, "-c", istft_folder)
    assert code == 1 and "error:" in told and "layers = (4, 1)" in told


def test_a_share_of_clips_may_fail(run, istft_folder, audio, out):
    (audio / "bad.wav").write_bytes(b"no audio")
    arguments = ["encode-corpus", audio, "-c", istft_folder, "--layers", 1]
    for share, expected in [("0.2", 1), ("0.25", 0)]:
        code, printed, _ = run(*arguments, f"{out}-{share}", "--max-failed", share)
        assert code == expected and "encoded 3 clips" in printed and "1 failed" in printed
    assert run(*arguments, out, "--max-failed", "2")[0] == 2
    (one := audio.parent / "one").mkdir()
    (audio / NAMES[0]).rename(one / NAMES[0])
    code, printed, _ = run("encode-corpus", one, out, "-c", istft_folder)
    assert code == 0 and "encoded 1 clip, " in printed and "1 of 1 shard, 1 clip, " in printed


def test_a_folder_with_other_files_is_refused(tokenizer, audio, out):
    out.mkdir()
    for name in (".gitattributes", "README.md"):
        (out / name).write_text("mine")
    (out / "notes.txt").touch()
    for folder, name in ((out, "notes.txt"), (audio, NAMES[0])):
        with refuses(folder, "holds other files, such as", name, "give a new folder"):
            corpus.encode_corpus(tokenizer, audio, folder)
    assert files_in(out) == [".gitattributes", "README.md", "notes.txt"]
    (out / "notes.txt").unlink()
    assert corpus.encode_corpus(tokenizer, audio, out).clips == 3


def test_the_tutorial_runs(run, tmp_path, monkeypatch):
    shutil.copytree(helpers.ROOT / "examples/data", tmp_path / "examples/data")
    monkeypatch.chdir(tmp_path)
    page = (helpers.ROOT / "docs/corpora.md").read_text()
    commands = re.findall(r"^semtok (.+)$", "".join(re.findall(r"^```bash\n(.*?)^```", page, re.M | re.S)), re.M)
    assert len(commands) == 8
    for command in commands:
        incomplete = "--shard-index 0,2" in command
        assert run(*shlex.split(command))[0] == 0, command
        folder = command.split()[2]
        assert corpus.status(folder).missing == (1,) * incomplete


def test_samples_are_those_that_were_read_not_those_of_the_header(tokenizer, audio, out):
    """A FLAC that was written to a pipe does not know how many it has."""
    path = audio / NAMES[0]
    content, samples = bytearray(path.read_bytes()), len(load_audio(path))
    # STREAMINFO: 20 bits of sample rate, 8 of channels and depth, 36 of samples
    facts = int.from_bytes(content[18:26], "big")
    assert facts & ((1 << 36) - 1) == samples
    path.write_bytes(content[:18] + (facts - samples).to_bytes(8, "big") + content[26:])
    corpus.encode_corpus(tokenizer, audio, out)
    clip = corpus.read(out)[NAMES[0]]
    assert (clip.num_samples, clip.duration) == (samples, samples / 16000)
    assert clip.tokens.codes.equal(tokenizer.encode(CLIPS[0]).codes)
