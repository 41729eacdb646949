"""Tokens of a corpus as toolkits for speech read them: each read back by the toolkit's own reader where it installs,
and by its bytes elsewhere."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import shutil
from functools import partial
from pathlib import Path

import helpers
import numpy as np
import pytest
import torch
from helpers import CLIPS, copy_clips, files_in
from test_corpus_export import files_left_open

from semtok import corpus, load_audio
from semtok.errors import CorpusError

refuses = partial(helpers.refuses, CorpusError)
IDS = ["b-2", "b-10", "a-1"]
ROWS = [
    {"text": "one  two", "speaker": "ann", "language": "en", "normalized_text": "one two", "source_id": "a-1"},
    {"text": "three", "speaker": "ann", "language": "en"},
    {"text": "vier", "speaker": "bo", "language": "de", "context_id": "b-2"},
]


def encode(tokenizer, folder: Path, rows: list[dict]) -> Path:
    copy_clips(folder)
    rows = [{"id": name, "path": path.name, **row} for name, path, row in zip(IDS, CLIPS, rows, strict=True)]
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus.encode_corpus(tokenizer, folder / "list.jsonl", folder / "tokens", num_shards=2)
    return folder / "tokens"


@pytest.fixture(scope="module")
def encoded(tokenizer, tmp_path_factory) -> Path:
    return encode(tokenizer, tmp_path_factory.mktemp("encoded"), ROWS)


@pytest.fixture
def with_rows(tokenizer, tmp_path):
    """Gives a corpus of the three clips with other columns."""
    return lambda *rows: encode(tokenizer, tmp_path / "other", list(rows))


@pytest.fixture(scope="module")
def codes(tokenizer) -> dict[str, np.ndarray]:
    """[rows, frames] of each recording, rows of 40, 30 and 12 codes."""
    return {name: tokenizer.encode(path).codes[0].numpy() for name, path in zip(IDS, CLIPS, strict=True)}


def without_repetitions(row: np.ndarray) -> list[int]:
    return [code for code, _ in itertools.groupby(row.tolist())]


class DasbReader:
    """What DASB's TokensLoader does, step by step: lines of the index, kaldiio, columns; numpy for the embeddings."""

    def __init__(self, folder: Path) -> None:
        lines = [line.strip().split(None, 1) for line in (folder / "tokens.scp").read_text().splitlines()]
        self.places, self.folder = dict(lines), folder

    def tokens(self, name: str, num_codebooks: int | list[int]) -> torch.Tensor:
        import kaldiio

        tokens = torch.from_numpy(kaldiio.load_mat(self.places[name])).long()
        return tokens[:, :num_codebooks] if isinstance(num_codebooks, int) else tokens[:, num_codebooks]

    def embeddings(self, num_codebooks: list[int], vocab_size: int) -> torch.Tensor:
        table = torch.from_numpy(np.load(self.folder / "embeddings.npy"))
        return torch.cat([table[row * vocab_size : (row + 1) * vocab_size] for row in num_codebooks])


def test_dasb_loads_tokens_and_begins_from_the_centroids(encoded, codes, tokenizer, tmp_path):
    pytest.importorskip("kaldiio")
    written = corpus.export(encoded, "dasb", tmp_path / "dasb")
    assert sorted(path.name for path in written) == files_in(tmp_path / "dasb")
    reader, facts = DasbReader(tmp_path / "dasb"), json.loads((tmp_path / "dasb/tokens.json").read_text())
    asked = {"num_codebooks": 3, "vocab_size": 40, "sample_rate": 16000, "encoder_dim": 32, "rows": ["l1", "l3", "l4"]}
    assert asked.items() <= facts.items()
    for name, rows in codes.items():
        assert np.array_equal(reader.tokens(name, 3), rows.T)
        assert np.array_equal(reader.tokens(name, [2, 0]), rows[[2, 0]].T)
    table = reader.embeddings([2, 1], facts["vocab_size"])
    assert table.shape == (80, 32) and table.dtype == torch.float32
    assert table[:12].equal(tokenizer.centroids(4)) and not table[12:40].any()
    assert table[40:70].equal(tokenizer.centroids(3))


def test_dasb_needs_the_checkpoint_of_the_tokens(encoded, other_folder, tmp_path, run):
    pytest.importorskip("kaldiio")
    code, _, printed = run("corpus", "export", encoded, "dasb", tmp_path / "out", "--checkpoint", other_folder)
    assert code == 1 and "name the checkpoint that encoded it" in printed and not (tmp_path / "out").exists()


def test_espnet_reads_characters_and_pseudo_labels(encoded, codes, tmp_path):
    folder = tmp_path / "text"
    corpus.export(encoded, "espnet-text", folder, layers=[3])
    names = ["distinct_cjk_token_lists", "pseudo_labels_km30.txt", "text.rm", "text.ts", "utt2num_frames_km30"]
    assert files_in(folder) == names
    signs = dict(line.split() for line in (folder / names[0]).read_text("utf-8").splitlines())
    assert signs == {str(code): chr(0x4E00 + code) for code in range(30)}
    _, labels, rm, ts, frames = (
        dict(line.split(" ", 1) for line in (folder / name).read_text("utf-8").splitlines()) for name in names
    )
    assert list(ts) == list(labels) == sorted(IDS, key=str.encode)
    for name, rows in codes.items():
        assert [ord(sign) - 0x4E00 for sign in ts[name]] == rows[1].tolist()
        assert [ord(sign) - 0x4E00 for sign in rm[name]] == without_repetitions(rows[1])
        assert labels[name].split() == list(map(str, rows[1])) and int(frames[name]) == rows.shape[1]
    if helpers.is_installed("typeguard", "espnet2"):
        from espnet2.fileio.read_text import read_2columns_text

        assert read_2columns_text(folder / "text.ts") == ts


def test_espnet_speechlm_reads_flat_frames(encoded, codes, tmp_path):
    kaldiio = pytest.importorskip("kaldiio")
    folder = tmp_path / "lm"
    written = corpus.export(encoded, "espnet-speechlm", folder)
    assert sorted(written) == sorted(folder.iterdir())
    data = json.loads((folder / "data.json").read_text())
    assert (data["task"], data["num_examples"], data["examples"]) == ("audiolm", 3, IDS)
    path, modality, kind = data["data_files"][0].split(",")
    assert (modality, kind) == ("codec", "kaldi_ark")
    names = Path(data["vocabularies"][0]).read_text().splitlines()
    rows = int((folder / "token_lists/codec_code_per_frame").read_text())
    # ESPnet's joint vocabulary: 256 special tokens, then these names
    vocabulary = [f"<special_{number}>" for number in range(256)] + names
    vectors = kaldiio.load_scp(path)
    assert list(vectors) == IDS and rows == 3 and len(names) == 120
    for name, expected in codes.items():
        assert vectors[name].dtype == np.int32 and vectors[name].ndim == 1
        frames = vectors[name].reshape(-1, rows) + 256
        assert [vocabulary[number] for number in frames[5]] == [
            f"<codec_layer{row}_code{code}>" for row, code in enumerate(expected[:, 5])
        ]
        assert np.array_equal(frames - 256 - [0, 40, 80], expected.T)
    assert (folder / "text").read_text() == "b-2 one two\nb-10 three\na-1 vier\n"
    assert (folder / "utt2spk").read_text() == "b-2 ann\nb-10 ann\na-1 bo\n"
    if helpers.is_installed("typeguard", "h5py", "espnet2"):
        from espnet2.train.dataset import ESPnetMultiTaskDataset

        with files_left_open():
            triplets = [(str(folder / "data.json"), "_", "dataset_json")]
            dataset = ESPnetMultiTaskDataset(triplets, preprocess=lambda uid, data: data)
        assert sorted(dataset.example_list) == sorted(f"audiolm_{name}" for name in IDS)
        _, loaded = dataset.datasets[0]["b-10"]
        assert np.array_equal(loaded["wav.scp"], vectors["b-10"])


def test_nemo_reads_codes_of_target_context_and_source(encoded, codes, tmp_path):
    lhotse = pytest.importorskip("lhotse")
    corpus.export(encoded, "nemo", tmp_path / "LibriTTS")
    with files_left_open():
        cuts = {cut.id: cut for cut in lhotse.CutSet.from_shar(in_dir=tmp_path / "LibriTTS")}
    context = {"b-2": "b-10", "b-10": "b-2", "a-1": "b-2"}
    for (name, cut), row in zip(cuts.items(), ROWS, strict=True):
        assert cut.target_codes.load().dtype == np.int32 and np.array_equal(cut.target_codes.load(), codes[name])
        assert np.array_equal(cut.context_codes.load(), codes[context[name]])
        assert cut.has_custom("source_codes") == (name == "b-2")
        said, speaker = cut.supervisions[0], f"| Language:{row['language']} Dataset:LibriTTS Speaker:{row['speaker']} |"
        assert (said.speaker, said.language, cut.lang) == (speaker, row["language"], row["language"])
        assert said.normalized_text == said.text == " ".join(row["text"].split())
    assert np.array_equal(cuts["b-2"].source_codes.load(), codes["a-1"])
    assert cuts["b-2"].target_codes.temporal_dim == 1


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([{"text": "x", "speaker": "a", "language": "en"}, {"text": "y"}, {}], ["a text of every clip", "'a-1'"]),
        ([{"text": "x", "speaker": "a"}] * 3, ["needs columns language", "has text, speaker"]),
        (
            [{"text": "x", "speaker": name, "language": "en"} for name in ("a b", "c", "d|e")],
            ["single words without |", "'b-2' has 'a b', 'a-1' has 'd|e'"],
        ),
        ([{"text": "x", "speaker": "a", "language": "en-GB"}] * 3, ["languages", "'b-2' has 'en-GB', 'b-10'"]),
        (
            [{"text": "x", "speaker": "a", "language": "en", "context_id": name} for name in ("q", "b-2", "r")],
            ["context_id names clips that are not in this corpus: 'q', 'r'"],
        ),
    ],
)
def test_what_nemo_cannot_hold_is_named_before_anything_is_written(with_rows, tmp_path, rows, parts):
    pytest.importorskip("lhotse")
    with refuses(*parts):
        corpus.export(with_rows(*rows), "nemo", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fairseq_reads_units_in_the_order_of_its_manifest(encoded, codes, tmp_path):
    folder = tmp_path / "train"
    corpus.export(encoded, "km", folder, layers=[4])
    assert files_in(folder) == [
        "dict.km.txt",
        *(f"train.{kind}" for kind in ("durations", "km", "tsv", "txt", "units")),
    ]
    root, *lines = (folder / "train.tsv").read_text().splitlines()
    paths, samples = zip(*(line.split("\t") for line in lines), strict=True)
    assert [Path(root, path) for path in paths] == [encoded.parent / path.name for path in CLIPS]
    assert list(map(int, samples)) == [len(load_audio(path)) for path in CLIPS]
    km, units, durations = (
        [list(map(int, line.split())) for line in (folder / f"train.{kind}").read_text().splitlines()]
        for kind in ("km", "units", "durations")
    )
    for number, rows in enumerate(codes.values()):
        assert km[number] == rows[2].tolist() and units[number] == without_repetitions(rows[2])
        assert np.repeat(units[number], durations[number]).tolist() == km[number]
    assert (folder / "dict.km.txt").read_text() == "".join(f"{code} 1\n" for code in range(12))
    records = [json.loads(line) for line in (folder / "train.txt").read_text().splitlines()]
    assert [list(map(int, record["hubert"].split())) for record in records] == km
    assert all(Path(record["audio"]).is_file() and record["duration"] > 1 for record in records)


@pytest.mark.parametrize(
    ("form", "name", "layers", "parts"),
    [
        ("espnet-text", "out", [3, 4], ["ESPnet's text holds one row of codes, these are l3, l4"]),
        ("espnet-text", "out", [3], ["signs for 20 codes of a codebook, these are larger: l3 of 30"]),
        ("km", "out", [3, 4], ["fairseq's .km holds one row of codes"]),
        ("km", "a b", [3], ["letters, digits and _.-, got 'a b'"]),
        ("espnet-speechlm", "a,b", [3], ["no path with ,", "a,b"]),
        ("nemo", "a b", [3], ["got 'a b'"]),
        ("dasb", "a\nb", [3], ["no path with a line break"]),
    ],
)
def test_what_a_format_cannot_hold_is_refused(encoded, tmp_path, monkeypatch, form, name, layers, parts):
    monkeypatch.setattr("semtok.corpus.exporters.espnet_text._MOST", 20)
    with refuses(*parts):
        corpus.export(encoded, form, tmp_path / name, layers=layers)
    assert not (tmp_path / name).exists()


def test_speakers_of_espnet_are_words_and_may_be_missing(with_rows, tmp_path):
    pytest.importorskip("kaldiio")
    tokens = with_rows({"speaker": "a b"}, {"speaker": "c"}, {})
    with refuses("Kaldi's speakers are single words, but 'b-2' has 'a b'"):
        corpus.export(tokens, "espnet-speechlm", tmp_path / "out")


def test_recordings_have_to_be_whole_and_there(tokenizer, tmp_path):
    copy_clips(tmp_path / "audio")
    rows = [{"path": path.name, "start": start} for path, start in zip(CLIPS, ("", "0.5", ""), strict=True)]
    table = helpers.write_csv(tmp_path / "audio" / "list.csv", rows)
    corpus.encode_corpus(tokenizer, table, tmp_path / "parts")
    with refuses("fairseq's .tsv names whole recordings, these clips are parts of one", CLIPS[1].name):
        corpus.export(tmp_path / "parts", "km", tmp_path / "out", layers=[4])
    corpus.encode_corpus(tokenizer, copy_clips(tmp_path / "more"), tmp_path / "whole")
    (tmp_path / "more" / CLIPS[2].name).unlink()
    with refuses("but there are no files", CLIPS[2].name, tmp_path / "more"):
        corpus.export(tmp_path / "whole", "km", tmp_path / "out", layers=[4])
    assert not (tmp_path / "out").exists()


def test_the_page_runs(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(helpers.ROOT / "examples/data/speech.flac", tmp_path)
    page = (helpers.ROOT / "docs/toolkits.md").read_text()
    (tmp_path / "speech.csv").write_text(re.search(r"^```csv\n(.*?)^```", page, re.M | re.S)[1])
    commands = re.findall(r"^semtok (.+)$", re.search(r"^```bash\n(.*?)^```", page, re.M | re.S)[1], re.M)
    assert len(commands) == 8
    for command in commands:
        assert run(*shlex.split(command))[0] == 0, command
    facts = json.loads((tmp_path / "exported/dasb/tokens.json").read_text())
    for name in ("num_codebooks", "vocab_size", "sample_rate", "encoder_dim"):
        assert re.search(rf"^{name}: {facts[name]}\b", page, re.M), name
    ids = json.loads((tmp_path / "exported/megatron/codes.json").read_text())
    assert f"--vocab-size {ids['end_of_document']}`" in page
