"""Checkpoint folders: what is written comes back, parts that do not belong together or are broken are told apart."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from checkpoints import ENCODER_LAYERS, GENERATORS, make_tokenizer, make_vocoder
from encoders import tiny_model
from helpers import CLIPS, refuses, run_python
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from semtok import SemtokError, Tokenizer, Vocoder, load_audio
from semtok.checkpoints.tensors import read_tensors, write_tensors
from semtok.errors import CheckpointError, ConfigError

WEIGHTS = ["centroids.safetensors", "encoder/model.safetensors", "vocoder.safetensors"]
FILES = sorted(["config.json", "encoder/config.json", *WEIGHTS])


def load(folder, name):
    """Whatever of a checkpoint the file `name` is needed for."""
    return (Vocoder if name.startswith("vocoder") else Tokenizer).from_pretrained(folder)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def metadata(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def assert_same_files(folder, other):
    """The metadata of a safetensors file may come in any order."""
    assert contents(folder).keys() == contents(other).keys()
    for name, content in contents(folder).items():
        if name.endswith(".json"):
            assert content == (other / name).read_bytes()
        else:
            ours, theirs = load_file(folder / name), load_file(other / name)
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) and ours[key].dtype == theirs[key].dtype for key in ours)
            assert metadata(folder / name) == metadata(other / name)


@pytest.fixture(scope="module")
def clip():
    return load_audio(CLIPS[0])[:20000]


@pytest.fixture
def edit(copy):
    """Changes an entry of `config.json`, given by its keys; `...` removes it."""

    def edit(*keys, to, path=copy / "config.json"):
        entries = section = json.loads(path.read_text())
        for key in keys[:-1]:
            section = section[key]
        if to is ...:
            del section[keys[-1]]
        else:
            section[keys[-1]] = to
        path.write_text(json.dumps(entries))
        return copy

    return edit


# --- what is written comes back


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("order", ["tokenizer first", "vocoder first"])
def test_one_folder_holds_both(tmp_path, clip, generator, order):
    tokenizer = make_tokenizer()
    vocoder = make_vocoder(tokenizer, generator)
    for part in (tokenizer, vocoder) if order == "tokenizer first" else (vocoder, tokenizer):
        part.save_pretrained(tmp_path / "new" / "folder")
    assert sorted(contents(tmp_path / "new" / "folder")) == FILES

    tokens = tokenizer.encode(clip)
    for name in (tmp_path / "new" / "folder", str(tmp_path / "new" / "folder")):
        again = Tokenizer.from_pretrained(name)
        assert again.fingerprint == tokenizer.fingerprint
        assert torch.equal(again.encode(clip).codes, tokens.codes)
        assert torch.equal(Vocoder.from_pretrained(name).decode(tokens), vocoder.decode(tokens))


def test_saving_what_was_loaded_writes_the_same(istft_folder, tmp_path):
    Tokenizer.from_pretrained(istft_folder).save_pretrained(tmp_path / "again")
    Vocoder.from_pretrained(istft_folder).save_pretrained(tmp_path / "again")
    assert_same_files(tmp_path / "again", istft_folder)


def test_only_the_encoder_layers_up_to_the_deepest_are_saved(istft_folder, tokenizer):
    model = transformers.AutoModel.from_pretrained(istft_folder / "encoder")
    assert len(model.encoder.layers) == 4 < ENCODER_LAYERS
    made = make_tokenizer().encoder.model.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, made[name])


def test_files_are_readable_by_others_and_name_no_place(istft_folder):
    umask = os.umask(0)
    os.umask(umask)
    for name, content in contents(istft_folder).items():
        assert (istft_folder / name).stat().st_mode & 0o777 == 0o666 & ~umask
        assert str(istft_folder.parent).encode() not in content


@pytest.mark.parametrize("layers", [[1], [3, 1]])
def test_some_layers_make_a_smaller_tokenizer(istft_folder, tmp_path, clip, layers):
    Tokenizer.from_pretrained(istft_folder, layers=layers).save_pretrained(tmp_path)
    smaller, whole = Tokenizer.from_pretrained(tmp_path), Tokenizer.from_pretrained(istft_folder)
    assert smaller.layers == tuple(sorted(layers))
    assert smaller.fingerprint == whole.fingerprint
    assert len(smaller.encoder.model.encoder.layers) == max(layers)
    assert (tmp_path / WEIGHTS[1]).stat().st_size < (istft_folder / WEIGHTS[1]).stat().st_size
    tokens = smaller.encode(clip)
    assert torch.equal(tokens.codes, whole.encode(clip, layers=sorted(layers)).codes)
    vocoder = Vocoder.from_pretrained(istft_folder)
    vocoder.save_pretrained(tmp_path)
    assert torch.equal(Vocoder.from_pretrained(tmp_path).decode(tokens), vocoder.decode(tokens))


def test_half_precision_is_stored_where_it_loses_nothing(tmp_path):
    exact = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    tensors = {
        "exact": exact,
        "rounded": exact.half().float(),
        "large": torch.tensor([65504.0, 1e5]),
        "small": torch.tensor([1e-8, 1.0]),
        "transposed": exact.half().float().T,
        "count": torch.tensor(3),
    }
    write_tensors(tmp_path / "a.safetensors", tensors, "f1")
    stored = {name: tensor.dtype for name, tensor in load_file(tmp_path / "a.safetensors").items()}
    assert [name for name, dtype in stored.items() if dtype == torch.float16] == ["rounded", "transposed"]
    found = read_tensors(tmp_path / "a.safetensors", "f1")
    for name, tensor in tensors.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], tensor.float())
    assert list(read_tensors(tmp_path / "a.safetensors", "f1", ["small", "exact"])) == ["small", "exact"]


# --- encoders as others publish them


@pytest.fixture
def publish(copy):
    """Replaces the encoder's weights by those that another tool wrote."""

    def publish(state):
        path = copy / "encoder" / "model.safetensors"
        save_file(state, path, metadata=metadata(path))
        return copy

    return publish


@pytest.mark.parametrize("form", ["weight norm of old", "task head", "no mask embedding"])
def test_published_encoders_are_read(publish, copy, tokenizer, clip, form):
    state = load_file(copy / WEIGHTS[1])
    if form == "weight norm of old":
        names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new, old in names.items():
            state = {name.replace(new, old): tensor for name, tensor in state.items()}
    elif form == "task head":
        state = {f"hubert.{name}": tensor for name, tensor in state.items()} | {"lm_head.weight": torch.zeros(5, 32)}
    else:
        del state["masked_spec_embed"]
    again = Tokenizer.from_pretrained(publish(state))
    assert torch.equal(again.encode(clip).codes, tokenizer.encode(clip).codes)
    if form == "no mask embedding":
        assert (again.encoder.model.masked_spec_embed == 0).all()


def test_a_missing_mask_embedding_takes_no_random_numbers(publish, copy):
    state = load_file(copy / WEIGHTS[1])
    del state["masked_spec_embed"]
    before = torch.get_rng_state()
    Tokenizer.from_pretrained(publish(state))
    assert torch.equal(torch.get_rng_state(), before)


# --- parts of different checkpoints


def test_a_folder_keeps_to_one_tokenizer(copy, other_folder):
    ours, theirs = (Tokenizer.from_pretrained(folder).fingerprint for folder in (copy, other_folder))
    before = contents(copy)
    with refuses(
        CheckpointError,
        f"cannot save to {copy}: tokenizer {theirs} and a vocoder of tokenizer {ours}",
        "another folder",
    ):
        Tokenizer.from_pretrained(other_folder).save_pretrained(copy)
    with refuses(CheckpointError, f"tokenizer {ours} and a vocoder of tokenizer {theirs} cannot share a folder"):
        Vocoder.from_pretrained(other_folder).save_pretrained(copy)
    assert contents(copy) == before


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_file_of_another_checkpoint_is_noticed(copy, other_folder, name):
    shutil.copy(other_folder / name, copy / name)
    ours, theirs = (
        json.loads((f / "config.json").read_text())["tokenizer"]["fingerprint"] for f in (copy, other_folder)
    )
    with refuses(
        CheckpointError, copy / name, f"is of tokenizer {theirs}, config.json of tokenizer {ours}", "together"
    ):
        load(copy, name)


def test_a_changed_centroids_file_is_noticed(copy):
    tensors = load_file(copy / WEIGHTS[0])
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, copy / WEIGHTS[0])
    with refuses(CheckpointError, "centroids.safetensors is of tokenizer None, config.json of tokenizer"):
        Tokenizer.from_pretrained(copy)


def test_a_half_of_a_checkpoint(edit):
    folder = edit("vocoder", to=...)
    Tokenizer.from_pretrained(folder)
    with refuses(CheckpointError, folder, "holds a tokenizer alone, no vocoder"):
        Vocoder.from_pretrained(folder)


def test_the_other_half(edit):
    folder = edit("tokenizer", to=...)
    Vocoder.from_pretrained(folder)
    with refuses(CheckpointError, folder, "holds a vocoder alone, no tokenizer"):
        Tokenizer.from_pretrained(folder)


# --- broken files


@pytest.mark.parametrize("kind", [Tokenizer, Vocoder])
def test_a_folder_that_is_no_checkpoint(tmp_path, kind):
    with refuses(CheckpointError, f"{tmp_path} has no file config.json: it is no checkpoint, or an incomplete one"):
        kind.from_pretrained(tmp_path)
    tiny_model("hubert-base").save_pretrained(tmp_path)
    with refuses(
        CheckpointError, f"{tmp_path} has a config.json without format_version: it is no checkpoint, or an incomplete"
    ):
        kind.from_pretrained(tmp_path)
    assert issubclass(CheckpointError, SemtokError)


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("kept", [0, 5, 500, -1])
def test_truncated_weights(copy, name, kept):
    (copy / name).write_bytes((copy / name).read_bytes()[:kept])
    size = (copy / name).stat().st_size
    with refuses(CheckpointError, copy / name, f"({size} bytes) cannot be loaded", "fetch it again"):
        load(copy, name)


@pytest.mark.parametrize("name", FILES)
def test_missing_files(copy, name):
    (copy / name).unlink()
    wanted = f"{name.split('/')[-1]} in its folder encoder/" if "/" in name else name
    with refuses(CheckpointError, f"{copy} has no file {wanted}: it is no checkpoint, or an incomplete one"):
        load(copy, name)


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"no config"])
def test_config_that_is_no_json(copy, content):
    (copy / "config.json").write_bytes(content)
    with refuses(CheckpointError, copy / "config.json", "is not JSON"):
        Tokenizer.from_pretrained(copy)


# Stands for a torchaudio that does not fit torch.
WITHOUT_TRANSFORMERS = """
import sys
sys.modules["transformers"] = None
from semtok import Tokenizer
print(Tokenizer.from_pretrained("tiny").fingerprint)
"""


def test_transformers_is_not_needed_to_load():
    assert run_python("-c", WITHOUT_TRANSFORMERS).strip() == Tokenizer.from_pretrained("tiny").fingerprint


FIRST_USE = """
import threading
from semtok import Tokenizer
answers, gate = [], threading.Barrier(8)
def load():
    gate.wait()
    try:
        answers.append(Tokenizer.from_pretrained("tiny").fingerprint)
    except BaseException as error:
        answers.append(repr(error))
threads = [threading.Thread(target=load) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(answers), *set(answers), sep="|")
"""


def test_the_first_use_may_come_from_several_threads():
    assert re.fullmatch("8[|][0-9a-f]{16}\n", run_python("-c", FIRST_USE))


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_config_of_another_version(edit, version):
    folder = edit("format_version", to=version)
    with refuses(CheckpointError, f"has format_version {version!r}, this semtok reads 1", "upgrade semtok"):
        Vocoder.from_pretrained(folder)


HIFIGAN = {
    "channels": 8,
    "upsample_factors": [160, 2],
    "upsample_kernel_sizes": [160, 4],
    "resblock_kernel_sizes": [3],
    "resblock_dilations": [1],
}


@pytest.mark.parametrize(
    ("keys", "value", "parts"),
    [
        (["extra"], 1, ["unknown keys ['extra']; known are ['format_version', 'model_type', 'tokenizer', 'vocoder']"]),
        (["tokenizer", "hop"], 320, ["tokenizer: unknown keys ['hop']; known are ['codebook_sizes', 'dim', 'encoder'"]),
        (["tokenizer", "layers"], ..., ["tokenizer: missing keys ['layers']"]),
        (["tokenizer", "dim"], "32", ["tokenizer: dim: expected int, got '32'"]),
        (["tokenizer", "normalize"], 1, ["tokenizer: normalize: expected bool, got 1"]),
        (
            ["tokenizer", "layers"],
            [1, 3, "4"],
            ["must be a list of integers of at least 0, got (1, 3, '4')"],
        ),
        (["tokenizer"], [], ["tokenizer: expected keys and values, got []"]),
        (["tokenizer", "layers"], [1, 4, 3], ["tokenizer: layers must be ascending", "got [1, 4, 3]"]),
        (["tokenizer", "layers"], [1, 3, 3], ["tokenizer: each layer can have its codebooks once"]),
        (["tokenizer", "layers"], [-1, 3, 4], ["tokenizer: layers must be a list of integers of at least 0"]),
        (["tokenizer", "layers"], [], ["tokenizer: layers [] need as many stages"]),
        (
            ["tokenizer", "codebook_sizes"],
            [40, 30],
            ["tokenizer: layers [1, 3, 4] with stages [1, 1, 1] need 3 codebook_sizes, got [40, 30]"],
        ),
        (["tokenizer", "codebook_sizes"], [40, 30, 1], ["each at least 2, got [40, 30, 1]"]),
        (["tokenizer", "hop_length"], 0, ["tokenizer: hop_length must be at least 1, got 0"]),
        (
            ["tokenizer", "encoder"],
            "me/encoder",
            ["encoder 'me/encoder' with encoder_revision None: expected a hub id"],
        ),
        (["tokenizer", "encoder_revision"], "main", ["encoder 'encoder' with encoder_revision 'main'"]),
        (["tokenizer", "fingerprint"], "f1", ["tokenizer f1 and a vocoder of tokenizer", "cannot share a folder"]),
        (["vocoder", "layers"], [3, 1, 4], ["vocoder: layers must be ascending"]),
        (["vocoder", "hop_length"], 160, ["vocoder: the generator makes 320 samples a frame, expected 160"]),
        (["vocoder", "generator"], {}, ["generator: a generator is given by exactly one of the entries"]),
        (["vocoder", "generator", "hifigan"], HIFIGAN, ["generator: a generator is given by exactly one of"]),
        (
            ["vocoder", "generator", "wavenet"],
            {},
            ["generator: unknown keys ['wavenet']; known are ['hifigan', 'istft']"],
        ),
        (
            ["vocoder", "generator", "istft", "stft_hop_length"],
            150,
            ["istft: stft_hop_length 150 must divide the hop_length"],
        ),
        (["vocoder", "generator", "istft", "n_fft"], 240, ["istft: n_fft 240 must be even and at least twice the"]),
        (
            ["vocoder", "generator"],
            {"hifigan": HIFIGAN | {"upsample_kernel_sizes": [160, 3]}},
            ["hifigan: each of upsample_factors (160, 2) needs a kernel as large or larger by an even number, got"],
        ),
        (["vocoder", "generator"], {"hifigan": HIFIGAN | {"channels": 6}}, ["channels 6 cannot be halved 2 times"]),
        (
            ["vocoder", "generator"],
            {"hifigan": HIFIGAN | {"resblock_kernel_sizes": [3, 4]}},
            ["resblock_kernel_sizes must be odd numbers, got (3, 4)"],
        ),
    ],
)
def test_config_entries_that_are_refused(edit, keys, value, parts):
    folder = edit(*keys, to=value)
    with refuses(ConfigError, folder / "config.json", *parts):
        load(folder, keys[0])
    with refuses(ConfigError, *parts):  # nor is anything saved there
        make_tokenizer().save_pretrained(folder)


# --- files that contradict the config


@pytest.mark.parametrize(
    ("keys", "value", "parts"),
    [
        (["codebook_sizes"], [40, 31, 12], ["centroids of layer 3 must have shapes [[31, 32]], got [[30, 32]]"]),
        (["layers"], [1, 2, 4], ["centroids.safetensors lacks the tensors ['layer_2']; it has ['layer_1', 'layer_3'"]),
        (
            ["dim"],
            48,
            ["(dim, sample_rate, hop_length) of the encoder are (32, 16000, 320), expected (48, 16000, 320)"],
        ),
        (["sample_rate"], 8000, ["are (32, 16000, 320), expected (32, 8000, 320)"]),
    ],
)
def test_a_tokenizer_that_contradicts_its_config(edit, keys, value, parts):
    folder = edit("tokenizer", *keys, to=value)
    with refuses(CheckpointError, *parts):
        Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize(("key", "value"), [("embedding_dim", 9), ("codebook_sizes", [40, 30, 13])])
def test_a_vocoder_that_contradicts_its_config(edit, key, value):
    folder = edit("vocoder", key, to=value)
    with refuses(CheckpointError, f"the weights of {folder} do not fit its config", "size mismatch for"):
        Vocoder.from_pretrained(folder)


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("num_hidden_layers", 3, ["the encoder", "has 3 layers, 4 are needed"]),
        ("intermediate_size", 65, ["does not fit the config.json beside it; missing or of another shape", "65"]),
        ("conv_bias", True, ["does not fit the config.json beside it; missing or of another shape", "conv.bias"]),
        ("model_type", "bert", ["encoder: an encoder of type 'bert', supported are data2vec-audio, hubert, "]),
        ("model_type", "nonesuch", ["encoder: an encoder of type 'nonesuch', supported are"]),
    ],
)
def test_an_encoder_that_contradicts_its_config(edit, copy, key, value, parts):
    edit(key, to=value, path=copy / "encoder" / "config.json")
    with refuses(CheckpointError, *parts):
        Tokenizer.from_pretrained(copy)


def test_an_encoder_config_that_is_no_json(copy):
    (copy / "encoder" / "config.json").write_text("{")
    with refuses(CheckpointError, copy / "encoder" / "config.json", "is not JSON"):
        Tokenizer.from_pretrained(copy)


def test_remote_code_is_never_run(edit, copy):
    """Nor is the user asked whether to."""
    edit("auto_map", to={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}, path=copy / "encoder" / "config.json")
    (copy / "encoder" / "evil.py").write_text("raise SystemExit('ran')")
    Tokenizer.from_pretrained(copy)


# --- nothing is left half written


@pytest.mark.parametrize("failing", range(5))
def test_a_failing_save_leaves_no_file_cut(tmp_path, istft_folder, monkeypatch, failing):
    """The disk is full at the n-th file: those before are new, this and those after are as they were."""
    new = Tokenizer.from_pretrained(istft_folder), Vocoder.from_pretrained(istft_folder)
    Tokenizer.from_pretrained(istft_folder, layers=[1]).save_pretrained(tmp_path)
    old, started = contents(tmp_path), []

    def until_full(write):
        def write_if_there_is_room(path, data, **options):
            started.append(path)
            full = len(started) > failing
            write(path, data[: len(data) // 2] if full else data, **options)
            if full:
                raise OSError("no space left on device")

        return write_if_there_is_room

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", until_full(Path.write_bytes))
        patch.setattr(Path, "write_text", until_full(Path.write_text))
        with refuses(OSError, "no space left"):
            for part in new:
                part.save_pretrained(tmp_path)
    after = contents(tmp_path)
    assert set(after) <= set(FILES)
    assert sum(after[name] != old.get(name) for name in after) == failing
    for part in new:
        part.save_pretrained(tmp_path)
    assert_same_files(tmp_path, istft_folder)


def test_a_new_folder_is_a_checkpoint_only_when_whole(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError("no space left on device")))
        with refuses(OSError, "no space left"):
            make_tokenizer().save_pretrained(tmp_path / "new")
    with refuses(CheckpointError, "has no file config.json: it is no checkpoint, or an incomplete one"):
        Tokenizer.from_pretrained(tmp_path / "new")
