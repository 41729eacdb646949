"""Corpora whose files were damaged, or written by somebody else: a reader says so, and names the file."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import helpers
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from bit_flips import flip_bits
from helpers import CLIPS, DATA, copy_clips

from semtok import Tokenizer, corpus
from semtok.errors import CorpusError

refuses = partial(helpers.refuses, CorpusError)
FLIPS = 60


@pytest.fixture(scope="module")
def encoded(tokenizer, tmp_path_factory) -> Path:
    """A corpus in two shards; tests do not change it."""
    folder = tmp_path_factory.mktemp("encoded")
    corpus.encode_corpus(tokenizer, copy_clips(folder / "audio"), folder / "tokens", num_shards=2)
    return folder / "tokens"


@pytest.fixture
def out(encoded, tmp_path) -> Path:
    return shutil.copytree(encoded, tmp_path / "tokens")


def test_no_flipped_bit_is_silent(encoded):
    """Of 1,000 flips: `python tests/bit_flips.py CORPUS 1000`."""
    flips = flip_bits(encoded, FLIPS)
    assert (flips.refused_by_read, flips.refused_by_verify) == (FLIPS, FLIPS)
    assert flip_bits(encoded, 10, "plan-*.parquet").refused_by_verify == 10


def test_a_corpus_without_checksums_is_read_and_told(out):
    older = DATA / "written_0.2/corpus"
    assert corpus.verify_bytes(older).without_checksums == corpus.verify_bytes(older).files == 3
    whole = corpus.verify_bytes(out)
    assert (whole.files, whole.without_checksums) == (3, 0)
    assert whole.bytes == sum(path.stat().st_size for path in out.rglob("*.parquet"))


def test_all_damaged_files_are_named(out, run):
    for path in sorted(out.glob("data/*")):
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
    with refuses("part-00000.parquet is damaged", "part-00001.parquet is damaged", "Remove it and run again"):
        corpus.verify_bytes(out)
    code, _, told = run("corpus", "verify", out, "--bytes")
    assert code == 1 and "part-00001.parquet is damaged" in told
    shutil.rmtree(out / "data")
    code, printed, _ = run("corpus", "verify", out, "--bytes")
    assert code == 0 and printed.startswith("1 file, ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda codes: [[40, *codes[0][1:]], *codes[1:]], "column l1 holds other numbers than codes from 0 to 39"),
        (lambda codes: [[-1, *codes[0][1:]], *codes[1:]], "column l1 holds other numbers than codes from 0 to 39"),
        (lambda codes: [[None, *codes[0][1:]], *codes[1:]], "column l1 holds other numbers than codes from 0 to 39"),
        (lambda codes: [codes[0][1:], *codes[1:]], "column l1 has clips of other lengths than num_frames says"),
        (lambda codes: [None, *codes[1:]], "column l1 has no value in some rows"),
        (lambda codes: [[0.5] for _ in codes], "missing or damaged"),
        (lambda codes: None, "missing or damaged"),
    ],
)
def test_what_no_tokenizer_makes_is_refused(out, change, message):
    path = out / "data/part-00001.parquet"
    table = pq.read_table(path)
    position = table.column_names.index("l1")
    changed = change(table["l1"].to_pylist())
    table = table.remove_column(position)
    if changed is not None:
        kind = pa.float32() if changed == [[0.5]] * len(changed) else pa.int64()
        table = table.add_column(position, "l1", pa.array(changed, pa.list_(kind)))
    pq.write_table(table, path)
    with refuses(message):
        list(corpus.read(out))
    with refuses("part-00001.parquet is damaged"):
        corpus.verify_bytes(out)


def test_codes_of_large_codebooks_are_right(tokenizer, tmp_path):
    sizes = {1: 40_000, 3: 70_000}
    features = tokenizer.features(CLIPS[0], layers=list(sizes))[0]
    generator = torch.Generator().manual_seed(0)
    centroids = {
        layer: frames.mean(dim=0) + frames.std(dim=0) * torch.randn(size, frames.shape[1], generator=generator)
        for (layer, size), frames in zip(sizes.items(), features, strict=True)
    }
    large = Tokenizer.from_centroids(tokenizer.encoder.model, centroids, normalize=True)
    corpus.encode_corpus(large, copy_clips(tmp_path / "audio"), tmp_path / "out")
    schema = pq.read_schema(tmp_path / "out/data/part-00000.parquet")
    assert [schema.field(name).type.value_type for name in ("l1", "l3")] == [pa.uint16(), pa.uint32()]
    codes = [clip.tokens.codes for clip in corpus.read(tmp_path / "out")]
    assert [max(int(clip[0, row].max()) for clip in codes) > limit for row, limit in enumerate([32_768, 65_536])] == [
        True,
        True,
    ]
    for clip, path in zip(codes, CLIPS, strict=True):
        assert clip.equal(large.encode(path).codes)


CHANGES = [
    ("num_shards", "2", "num_shards: expected int, got '2'"),
    ("num_shards", 10**9, "num_shards must be at most"),
    ("num_shards", -1, "num_shards must be at least 1"),
    ("frame_rate", None, "frame_rate: expected float, got None"),
    ("frame_rate", 25.0, "part-00000.parquet is of another run: its frame_rate is 50.0"),
    ("sample_rate", 8000, "part-00000.parquet is of another run: its sample_rate is 16000"),
    ("layers", [1, 3], "layers [1, 3] need as many stages"),
    ("codebook_sizes", [40, 30, 13], "part-00000.parquet is of another run: its codebook_sizes"),
    ("plan", "../../elsewhere", "plan must be a digest"),
    ("columns", {"l1": "int64"}, "columns must be others than those of tokens"),
    ("columns", {"text": ["string"]}, "expected str, got"),
    ("columns", [], "columns: expected dict"),
    ("fingerprint", [1], "fingerprint: expected str, got [1]"),
    ("colour", "red", "unknown keys ['colour']"),
]


@pytest.mark.parametrize(("name", "value", "message"), CHANGES)
def test_a_run_that_says_something_else_is_refused(out, name, value, message):
    path = out / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    for use in (corpus.read, corpus.status, corpus.verify_bytes):
        with refuses(message):
            use(out)


@pytest.mark.parametrize("text", ["", "[]", "[" * 5000, "{", '{"layers": 1e999}', "\ud800", '{"a": 1, "a": 2}'])
def test_a_run_that_is_no_json_of_ours_is_refused(out, text):
    (out / "run.json").write_text(text, errors="surrogatepass")
    with refuses(out / "run.json"):
        corpus.read(out)
