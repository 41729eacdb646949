"""Tokens: what they check, how they are taken apart and joined, and that a file gives back what went in."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import pytest
import torch
from helpers import changed_tokens, refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

from semtok.codebooks.layers import check_layers
from semtok.errors import LayerError, SemtokError, TokensError
from semtok.tokens import Tokens


def make(lengths, layers, codebook_sizes, *, seed=0, extra_frames=0):
    """Random tokens of these lengths in frames, padded by `extra_frames` more than the longest needs."""
    generator = torch.Generator().manual_seed(seed)
    frames = max(lengths) + extra_frames
    codes = torch.stack(
        [torch.randint(size, (len(lengths), frames), generator=generator) for size in codebook_sizes], dim=1
    )
    for row, length in zip(codes, lengths, strict=True):
        row[:, length:] = -1
    return Tokens(codes, torch.tensor(lengths), tuple(layers), 50.0, tuple(codebook_sizes), "f1")


@st.composite
def any_tokens(draw):
    lengths = draw(st.lists(st.integers(0, 12), min_size=1, max_size=5))
    layers = draw(st.lists(st.integers(0, 24), min_size=1, max_size=5, unique=True))
    sizes = [draw(st.sampled_from([1, 2, 500, 2**15, 2**15 + 1, 100_000])) for _ in layers]
    return make(lengths, layers, sizes, seed=draw(st.integers(0, 99)), extra_frames=draw(st.integers(0, 2)))


def assert_same(tokens, other):
    assert torch.equal(tokens.codes, other.codes)
    assert torch.equal(tokens.lengths, other.lengths)
    assert tokens.codes.dtype == tokens.lengths.dtype == torch.int64
    for field in ("layers", "frame_rate", "codebook_sizes", "fingerprint"):
        assert getattr(tokens, field) == getattr(other, field)


@pytest.fixture
def tokens():
    return make([4, 2, 3], layers=[7, 1, 3], codebook_sizes=[10, 500, 2])


# --- taking apart and joining


@settings(deadline=None)
@given(any_tokens())
def test_a_file_gives_back_what_went_in(tokens):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokens.safetensors")
        tokens.save(path)
        assert_same(Tokens.load(path), tokens)
        assert list(Path(folder).iterdir()) == [path]
        fits = max(tokens.codebook_sizes) <= 2**15
        assert load_file(path)["codes"].dtype == (torch.int16 if fits else torch.int32)


@given(any_tokens(), st.data())
def test_select_answers_in_the_order_asked(tokens, data):
    order = data.draw(st.permutations(tokens.layers))
    asked = order[: data.draw(st.integers(1, len(order)))]
    selected = tokens.select(asked)
    assert selected.layers == tuple(asked)
    for position, layer in enumerate(asked):
        there = tokens.layers.index(layer)
        assert torch.equal(selected.codes[:, position], tokens.codes[:, there])
        assert selected.codebook_sizes[position] == tokens.codebook_sizes[there]
    assert_same(tokens.select(order).select(tokens.layers), tokens)


@given(any_tokens(), st.data())
def test_utterances_and_slices_are_cut_to_their_longest(tokens, data):
    index = data.draw(st.integers(-len(tokens), len(tokens) - 1))
    length = int(tokens.lengths[index])
    one = tokens[index]
    assert len(one) == 1
    assert one.lengths.tolist() == [length]
    assert torch.equal(one.codes[0], tokens.codes[index, :, :length])

    start = data.draw(st.integers(0, len(tokens) - 1))
    stop = data.draw(st.integers(start + 1, len(tokens)))
    part = tokens[start:stop]
    assert part.lengths.tolist() == tokens.lengths[start:stop].tolist()
    assert torch.equal(part.codes, tokens.codes[start:stop, :, : max(part.lengths.tolist())])


@given(any_tokens())
def test_cat_undoes_taking_apart(tokens):
    assert_same(Tokens.cat(list(tokens)), tokens[:])
    assert_same(Tokens.cat([tokens]), tokens)


def test_length_is_the_batch(tokens):
    assert len(tokens) == 3
    assert [utterance.codes.shape[2] for utterance in tokens] == [4, 2, 3]


def test_durations_in_seconds_and_bitrate(tokens):
    assert tokens.durations.tolist() == pytest.approx([0.08, 0.04, 0.06])
    assert tokens.bitrate == pytest.approx(50 * (math.log2(10) + math.log2(500) + 1))
    assert tokens.select([3]).bitrate == 50.0


def test_to_a_device(tokens):
    assert_same(tokens.to("cpu"), tokens)


def test_repr_shows_shapes_and_no_values(tokens):
    assert repr(tokens) == (
        "Tokens(codes=[3, 3, 4] on cpu, lengths=[3], layers=(7, 1, 3), frame_rate=50.0, "
        "codebook_sizes=(10, 500, 2), fingerprint='f1')"
    )


# --- errors of the methods


@pytest.mark.parametrize(
    "layers, message",
    [
        (3, "layers must be a list of integers such as [7], got 3"),
        (None, "layers must be a list of integers such as [7], got None"),
        ("37", "layers must be a list of integers such as [7], got '37'"),
        ([3.0], "layers must be a list of integers such as [7], got [3.0]"),
        ([], "no layers asked for: this Tokens has [7, 1, 3]"),
        ([3, 5, 9], "this Tokens has no layers [5, 9], only [7, 1, 3]"),
        ([-1], "this Tokens has no layers [-1], only [7, 1, 3]"),
        ([3, 7, 3], "each layer can be asked for once, got [3, 7, 3]"),
    ],
)
def test_layers_that_cannot_be_selected(tokens, layers, message):
    with refuses(LayerError, message):
        tokens.select(layers)
    assert issubclass(LayerError, SemtokError) and issubclass(LayerError, ValueError)


def test_layers_may_come_in_any_row_of_integers():
    for layers in ((3, 1), range(3, 0, -2), torch.tensor([3, 1]), torch.tensor([3, 1]).numpy()):
        asked = check_layers(layers, (1, 2, 3), owner="the vocoder")
        assert asked == (3, 1)
        assert all(type(layer) is int for layer in asked)


@pytest.mark.parametrize("index", [3, -4])
def test_no_such_utterance(tokens, index):
    with refuses(IndexError, f"there is no utterance {index} in a batch of 3"):
        tokens[index]


def test_other_indices(tokens):
    with refuses(IndexError, "slice(3, None, None) takes no utterance of a batch of 3"):
        tokens[3:]
    with refuses(TypeError, "indexed by an int or a slice of utterances, got [3, 7]; select() takes layers"):
        tokens[[3, 7]]


@pytest.mark.parametrize(
    "change, parts",
    [
        ({"fingerprint": "f2"}, ["differ in their fingerprint: 'f1' and 'f2'"]),
        ({"layers": (1, 7, 3)}, ["differ in their layers: (7, 1, 3) and (1, 7, 3)"]),
        ({"codebook_sizes": (10, 500, 4)}, ["codebooks: Codebooks({7: (10,)", "3: (2,)}) and Codebooks(", "3: (4,)})"]),
        ({"frame_rate": 25.0}, ["differ in their frame_rate: 50.0 and 25.0"]),
    ],
)
def test_batches_that_do_not_belong_together(tokens, change, parts):
    with refuses(TokensError, "cannot join batches that", *parts):
        Tokens.cat([tokens, changed_tokens(tokens, **change)])


def test_nothing_to_join(tokens):
    with refuses(TokensError, "cat joins a list of Tokens, got []"):
        Tokens.cat([])
    with refuses(TokensError, "cat joins a list of Tokens, got ['Tokens', 'Tensor']"):
        Tokens.cat([tokens, tokens.codes])


# --- what tokens must be


def changed(codes, position, value):
    codes = codes.clone()
    codes[position] = value
    return codes


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: {"codes": t.codes.numpy()}, "codes must be an int64 tensor, got ndarray"),
        (lambda t: {"codes": t.codes.int()}, "codes must be an int64 tensor, got torch.int32"),
        (lambda t: {"lengths": [4, 2, 3]}, "lengths must be an int64 tensor, got list"),
        (lambda t: {"lengths": t.lengths.float()}, "lengths must be an int64 tensor, got torch.float32"),
        (lambda t: {"codes": t.codes[0]}, "[batch >= 1, 3 rows, frames], with a row a layer and stage, got [3, 4]"),
        (
            lambda t: {"codes": t.codes[:, :2]},
            "[batch >= 1, 3 rows, frames], with a row a layer and stage, got [3, 2, 4]",
        ),
        (
            lambda t: {"codes": t.codes[:0], "lengths": t.lengths[:0]},
            "codes must be [batch >= 1, 3 rows, frames], with a row a layer and stage, got [0, 3, 4]",
        ),
        (lambda t: {"lengths": t.lengths[:2]}, "lengths must be [batch] = [3], got [2]"),
        (lambda t: {"lengths": t.lengths.to("meta")}, "codes are on cpu, lengths on meta: move one of them"),
        (lambda t: {"lengths": t.lengths + 1}, "lengths must lie in 0 ... 4 frames, got 3 to 5"),
        (lambda t: {"lengths": t.lengths - 3}, "lengths must lie in 0 ... 4 frames, got -1 to 1"),
        (
            lambda t: {"codes": changed(t.codes, (2, 0, 1), 10)},
            "code 10 of layer 7 (utterance 2, frame 1) is not allowed: expected 0 ... 9",
        ),
        (
            lambda t: {"codes": changed(t.codes, (0, 1, 3), -1)},
            "code -1 of layer 1 (utterance 0, frame 3) is not allowed: expected 0 ... 499",
        ),
        (
            lambda t: {"codes": changed(t.codes, (1, 2, 2), 0)},
            "code 0 of layer 3 (utterance 1, frame 2) is not allowed: expected -1 past the length",
        ),
        (lambda t: {"layers": "713"}, "layers must be a list of integers of at least 0, got '713'"),
        (lambda t: {"layers": (7, -1, 3)}, "layers must be a list of integers of at least 0, got (7, -1, 3)"),
        (lambda t: {"layers": (7, True, 3)}, "layers must be a list of integers of at least 0, got (7, True, 3)"),
        (lambda t: {"layers": (7, 1, 7)}, "each layer can have its codebooks once, got layers [7, 1, 7]"),
        (lambda t: {"layers": (), "codebook_sizes": ()}, "layers [] need as many stages, each at least 1, got"),
        (
            lambda t: {"codebook_sizes": (10, 500)},
            "layers [7, 1, 3] with stages [1, 1, 1] need 3 codebook_sizes, got [10, 500]",
        ),
        (lambda t: {"codebook_sizes": (10, 0, 2)}, "codebook_sizes must be a list of integers of at least 1"),
        (lambda t: {"frame_rate": 0.0}, "frame_rate must be a number above 0, got 0.0"),
        (lambda t: {"frame_rate": math.nan}, "frame_rate must be a number above 0, got nan"),
        (lambda t: {"frame_rate": "50"}, "frame_rate must be a number above 0, got '50'"),
        (lambda t: {"fingerprint": None}, "fingerprint must be a string, got None"),
    ],
)
def test_malformed_tokens(tokens, change, message):
    with refuses(TokensError, message):
        changed_tokens(tokens, **change(tokens))


# --- files


def test_missing_file_and_folder(tmp_path, tokens):
    with refuses(TokensError, "there is no file", tmp_path / "none.safetensors"):
        Tokens.load(tmp_path / "none.safetensors")
    with refuses(TokensError, "cannot write", "the folder", "none does not exist, create it first"):
        tokens.save(tmp_path / "none" / "a.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 40, -1])
def test_truncated_file(tmp_path, tokens, kept):
    path = tmp_path / "cut.safetensors"
    tokens.save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with refuses(
        TokensError, f"cannot read tokens from {path} ({path.stat().st_size} bytes): Error while deserializing"
    ):
        Tokens.load(path)


def test_foreign_file(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    with refuses(TokensError, "model.safetensors", "format and version are (None, None)", "it holds no tokens"):
        Tokens.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "change, parts",
    [
        ({"version": "2"}, ["format and version are ('semtok-tokens', '2')", "another version of semtok"]),
        ({"layers": None}, ["it lacks 'layers'"]),
        ({"fingerprint": None}, ["it lacks 'fingerprint'"]),
        ({"layers": "[7, 1"}, ["Expecting"]),
        ({"layers": "3"}, ["layers must be a list of integers of at least 0, got 3"]),
        ({"codebook_sizes": "[2, 2, 2]"}, ["of layer 7", "is not allowed: expected 0 ... 1"]),
    ],
)
def test_changed_metadata(tmp_path, tokens, change, parts):
    path = tmp_path / "changed.safetensors"
    metadata = {
        "format": "semtok-tokens",
        "version": "1",
        "layers": json.dumps(tokens.layers),
        "frame_rate": "50.0",
        "codebook_sizes": json.dumps(tokens.codebook_sizes),
        "fingerprint": "f1",
    }
    tensors = {"codes": tokens.codes.short(), "lengths": tokens.lengths}
    path.write_bytes(save(tensors, metadata))
    assert_same(Tokens.load(path), tokens)

    path.write_bytes(save(tensors, {key: value for key, value in (metadata | change).items() if value is not None}))
    with refuses(TokensError, "cannot read tokens from", path, *parts):
        Tokens.load(path)
    path.write_bytes(save({"codes": tensors["codes"]}, metadata))
    with refuses(TokensError, path, "it lacks 'lengths'"):
        Tokens.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, tokens, monkeypatch):
    path = tmp_path / "tokens.safetensors"
    tokens.save(path)

    def full_disk(self, data):
        Path.open(self, "wb").close()
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with refuses(OSError, "no space left"):
        tokens[0].save(path)
    assert_same(Tokens.load(path), tokens)
    assert list(tmp_path.iterdir()) == [path]
