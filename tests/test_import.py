"""`semtok import`: other people's checkpoints to semtok's own format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders import tiny_model
from helpers import DATA, files_in, run_python
from published_layout import reference_clips, write_encoder
from safetensors.torch import load_file, save_file
from speechbrain_reference import LAYERS

from semtok import Tokenizer, Vocoder
from semtok.checkpoints.importing import import_kmeans
from semtok.checkpoints.untrusted import read_centroids
from semtok.errors import CheckpointError

KMEANS = DATA / "kmeans"
DIM = 6  # of the files there


def save_encoder(folder: Path, name: str = "hubert-base", *, normalize: bool = True, **config: object) -> Path:
    model = tiny_model(name, **config)
    write_encoder(folder, model.config.to_dict(), model.state_dict(), normalize=normalize)
    return folder


@pytest.fixture
def encoder(tmp_path):
    """An encoder of 3 layers, as wide as the k-means files."""
    narrow = {"hidden_size": DIM, "num_attention_heads": 2, "num_conv_pos_embedding_groups": 2}
    return save_encoder(tmp_path / "hub" / "encoder", **narrow)


# --- semtok import kmeans


def test_kmeans_are_imported_and_loaded_without_the_libraries_that_wrote_them(encoder, tmp_path):
    files = {0: "joblib_zlib.bin", 1: "joblib_float64.pt", 2: "flat_l2.faiss", 3: "float64.npy"}
    arguments = ["import", "kmeans", "--encoder", str(encoder), "-o", str(tmp_path / "mine")]
    for layer, name in files.items():
        arguments += ["--layer", str(layer), str(KMEANS / name)]
    code = f"""if True:
        import sys
        sys.modules |= dict.fromkeys(["joblib", "sklearn", "faiss"])
        from semtok import Tokenizer
        from semtok.cli import main
        try:
            main({arguments})
        except SystemExit as exit:
            assert exit.code == 0
        print(Tokenizer.from_pretrained({str(tmp_path / "mine")!r}))"""
    printed = run_python("-c", code)
    assert printed.startswith("imported the tokenizer ")
    assert "Tokenizer(layers=(0, 1, 2, 3), codebook_sizes=(8, 8, 8, 8)" in printed

    beside = {"encoder/config.json", "encoder/model.safetensors"}
    assert set(files_in(tmp_path / "mine")) == {"config.json", "centroids.safetensors"} | beside
    tokenizer = Tokenizer.from_pretrained(tmp_path / "mine")
    centroids = {layer: read_centroids(KMEANS / name) for layer, name in files.items()}
    for layer in files:
        assert torch.equal(tokenizer.centroids(layer), centroids[layer])
    model = tiny_model("hubert-base", hidden_size=DIM, num_attention_heads=2, num_conv_pos_embedding_groups=2)
    clip = reference_clips()["offset"]
    expected = Tokenizer.from_centroids(model, centroids, normalize=True).encode(clip)
    assert torch.equal(tokenizer.encode(clip).codes, expected.codes)


def test_an_encoder_of_the_hub_is_kept_by_reference(run, encoder, hub_server, tmp_path):
    commit = hub_server.add("facebook/hubert-base-ls960", encoder).refs["v1"]
    hub_server.repos["facebook/hubert-base-ls960"].commit({"config.json": b"another"})
    by_id = ("--encoder", "facebook/hubert-base-ls960", "--encoder-revision", "v1")
    code, out, err = run("import", "kmeans", *by_id, "--layer", 2, KMEANS / "float32.npy", "-o", tmp_path / "mine")
    assert (code, err) == (0, "")
    assert set(files_in(tmp_path / "mine")) == {"config.json", "centroids.safetensors"}
    assert "model.safetensors" not in hub_server.downloads
    config = json.loads((tmp_path / "mine" / "config.json").read_text())["tokenizer"]
    assert (config["encoder"], config["encoder_revision"]) == ("facebook/hubert-base-ls960", commit)
    tokenizer = Tokenizer.from_pretrained(tmp_path / "mine")
    assert out == f"imported the tokenizer {tokenizer.fingerprint}, layers 2, to {tmp_path / 'mine'}\n"
    assert len(tokenizer.encoder.model.encoder.layers) == 2


def save_in_shards(folder: Path, kind: str) -> None:
    """Replaces `model.safetensors` by the shards that transformers writes of large models, or wrote as pickles."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem, suffix, save = {
        "safetensors": ("model", "safetensors", save_file),
        "bin": ("pytorch_model", "bin", torch.save),
    }[kind]
    weight_map = {name: f"{stem}-{1 + number % 3:05}-of-00003.{suffix}" for number, name in enumerate(weights)}
    for shard in set(weight_map.values()):
        save({name: weights[name] for name in weights if weight_map[name] == shard}, folder / shard)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_an_encoder_in_shards(run, encoder, hub_server, tmp_path, kind):
    layer = ("--layer", 3, KMEANS / "float32.npy")
    assert run("import", "kmeans", "--encoder", encoder, *layer, "-o", tmp_path / "whole")[0] == 0
    save_in_shards(encoder, kind)
    hub_server.add("me/encoder", encoder)
    assert run("import", "kmeans", "--encoder", encoder, *layer, "-o", tmp_path / "folder")[0] == 0
    assert run("import", "kmeans", "--encoder", "me/encoder", *layer, "-o", tmp_path / "hub")[0] == 0
    clip = reference_clips()["speech"]
    whole, folder, hub = (Tokenizer.from_pretrained(tmp_path / name) for name in ("whole", "folder", "hub"))
    assert whole.fingerprint == folder.fingerprint
    assert torch.equal(folder.encode(clip).codes, whole.encode(clip).codes)
    assert torch.equal(hub.encode(clip).codes, whole.encode(clip).codes)


def test_shards_elsewhere_are_refused(encoder, tmp_path):
    save_in_shards(encoder, "safetensors")
    index = encoder / "model.safetensors.index.json"
    for shard in ("../model-00001-of-00003.safetensors", "/tmp/x.safetensors", "pytorch_model.bin"):
        index.write_text(json.dumps({"weight_map": {"a": shard}}))
        with pytest.raises(CheckpointError, match=f"names '{shard}', which is no shard beside it"):
            import_kmeans({1: KMEANS / "float32.npy"}, tmp_path / "out", encoder=str(encoder))
    index.write_text(json.dumps({"weight_map": {"a": "model-00007-of-00003.safetensors"}}))
    with pytest.raises(CheckpointError, match="has no file model-00007"):
        import_kmeans({1: KMEANS / "float32.npy"}, tmp_path / "out", encoder=str(encoder))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "preprocessor", "normalize"),
    [
        ("hubert-large", {"do_normalize": True}, True),
        ("wav2vec2-base", {"do_normalize": False}, False),
        ("wavlm-base", {}, True),  # as in transformers' feature extractor
        ("wav2vec2-bert", None, True),
    ],
)
def test_normalisation_is_read_from_the_encoder(run, tmp_path, name, preprocessor, normalize):
    folder = save_encoder(tmp_path / "encoder", name)
    (folder / "preprocessor_config.json").unlink()
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    torch.save(torch.randn(4, 32), tmp_path / "km.pt")
    arguments = ("--encoder", folder, "--layer", 1, tmp_path / "km.pt", "-o", tmp_path / "mine")
    assert run("import", "kmeans", *arguments)[0] == 0
    assert Tokenizer.from_pretrained(tmp_path / "mine").config.normalize is normalize


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("--layer 1 --layer 2 float32.npy", 2, "2 layers [1, 2] for 1 files: give each file its --layer"),
        ("--layer 1 float32.npy float64.npy", 2, "1 layers [1] for 2 files"),
        ("--layer 1 float32.npy --layer 1 float64.npy", 2, "each layer can have one file, got layers [1, 1]"),
        ("float32.npy", 2, "Missing option '--layer'"),
        ("--layer 1 nonesuch.npy", 2, "'nonesuch.npy' does not exist"),
        ("--layer 4 float32.npy", 1, "the encoder encoder has no layers [4], only [0, 1, 2, 3]"),
        ("--layer 1 ivf.faiss", 1, "ivf.faiss"),
        (
            "--layer 1 wide.pt",
            1,
            "wide.pt has centroids of 7 dimensions, the features of encoder have 6: give the enco",
        ),
    ],
)
def test_wrong_input_for_kmeans(run, encoder, monkeypatch, arguments, code, message):
    shutil.copytree(KMEANS, encoder.parent, dirs_exist_ok=True)
    monkeypatch.chdir(encoder.parent)
    torch.save(torch.randn(4, 7), "wide.pt")
    found, out, err = run("import", "kmeans", "--encoder", "encoder", "-o", "out", *arguments.split())
    assert (found, out) == (code, "")
    assert message in err if code == 1 else message in " ".join(err.split())
    assert not Path("out").exists()


def test_wrong_encoders_for_kmeans(run, encoder, istft_folder, tmp_path):
    def error(name):
        where = ("--layer", 1, KMEANS / "float32.npy", "-o", tmp_path / "out")
        code, _, err = run("import", "kmeans", "--encoder", name, *where)
        assert (code, err.count("\n")) == (1, 1)
        assert not (tmp_path / "out").exists()
        return err

    assert "is no encoder of transformers: its config.json has no hidden_size" in error(istft_folder)
    assert "'nonesuch' is no checkpoint: expected" in error("nonesuch")
    (encoder / "preprocessor_config.json").unlink()
    assert "has no preprocessor_config.json, which says by do_normalize whether" in error(encoder)


@pytest.mark.parametrize("normalize", [True, False])
def test_the_encoder_of_a_checkpoint_is_normalised_as_its_tokenizer_says(tmp_path, normalize):
    centroids = {1: torch.randn(4, 32)}
    tokenizer = Tokenizer.from_centroids(tiny_model("hubert-base"), centroids, normalize=normalize)
    tokenizer.save_pretrained(tmp_path / "mine")
    numpy_file = tmp_path / "km.npy"
    np.save(numpy_file, centroids[1].numpy())
    imported = import_kmeans({1: numpy_file}, tmp_path / "again", encoder=str(tmp_path / "mine" / "encoder"))
    assert imported.normalize is normalize


def test_another_checkpoint_is_not_overwritten(run, encoder, tmp_path):
    def arguments(name, folder="mine"):
        where = ("--layer", 1, KMEANS / name, "-o", tmp_path / folder)
        return ("import", "kmeans", "--encoder", encoder, *where)

    assert run(*arguments("float32.npy"))[0] == 0
    before = (tmp_path / "mine" / "centroids.safetensors").read_bytes()
    assert run(*arguments("float32.npy"))[0] == 0  # the same once more
    code, _, err = run(*arguments("flat_ip.faiss"))
    assert code == 1
    assert "mine holds another checkpoint, of tokenizer " in err
    assert "import to another folder" in err
    assert (tmp_path / "mine" / "centroids.safetensors").read_bytes() == before
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text("{}")
    code, _, err = run(*arguments("float32.npy", "theirs"))
    assert code == 1
    assert "format_version None" in err
    assert set(files_in(tmp_path / "theirs")) == {"config.json"}


# --- semtok import speechbrain


def test_speechbrains_folder_is_imported_whole(run, wavlm, tmp_path):
    mine, clip = tmp_path / "mine", reference_clips()["quiet"]
    code, out, err = run("import", "speechbrain", wavlm.folder / "new", "--encoder", wavlm.encoder, "-o", mine)
    assert (code, err) == (0, "")
    tokenizer, vocoder = Tokenizer.from_pretrained(mine), Vocoder.from_pretrained(mine)
    fingerprint = tokenizer.fingerprint
    assert out == "".join(
        f"imported the {part} {fingerprint}, layers 1, 3, 4, to {mine}\n" for part in ("tokenizer", "vocoder")
    )
    theirs = Tokenizer.from_pretrained(wavlm.folder / "new", encoder=wavlm.encoder)
    assert torch.equal(tokenizer.encode(clip).codes, theirs.encode(clip).codes)
    decoded = vocoder.decode(wavlm.tokens(vocoder), layers=[1, 4])[0]
    torch.testing.assert_close(decoded, wavlm.waveforms[1, 4], rtol=0, atol=1e-4)
    assert not [name for name in files_in(mine) if Path(name).suffix not in (".safetensors", ".json", ".md")]
    assert run("info", mine)[0] == 0


def test_parts_of_speechbrains_folders(run, wavlm, tmp_path):
    shutil.copytree(wavlm.folder / "new" / "kmeans", tmp_path / "codebooks" / "kmeans")
    name = "hifigan-wavlm-l1-3-4-k20-LibriTTS"
    shutil.copytree(wavlm.folder / "old", tmp_path / name, ignore=shutil.ignore_patterns("kmeans"))
    choice = ("--encoder", wavlm.encoder, "--dataset", "LibriSpeech", "--num-clusters", 20)
    code, out, err = run(
        "import", "speechbrain", tmp_path / "codebooks", *choice, "--layers", "4,1", "-o", tmp_path / "a"
    )
    assert (code, out.count("\n")) == (0, 1), err
    assert Tokenizer.from_pretrained(tmp_path / "a").layers == (1, 4)
    code, out, err = run("import", "speechbrain", tmp_path / name, "-o", tmp_path / "b")
    assert (code, out.count("\n")) == (0, 1), err
    assert Vocoder.from_pretrained(tmp_path / "b").layers == LAYERS
    # each says what it is of; the folder of the one does not take the other
    code, _, err = run("import", "speechbrain", tmp_path / name, "-o", tmp_path / "a")
    assert code == 1
    assert "holds another checkpoint" in err
    assert not (tmp_path / "a" / "vocoder.safetensors").exists()


def test_wrong_input_for_speechbrain(run, wavlm, istft_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    theirs = (wavlm.folder / "new", "--encoder", wavlm.encoder)
    for arguments, message in [
        ([istft_folder], "is in semtok's own format: load it as it is"),
        ([tmp_path / "empty"], "It holds no files. Expected: "),
        (["nonesuch"], "'nonesuch' is no checkpoint: expected"),
        ([*theirs, "--layers", "2"], "has no layers [2], only [1, 3, 4]"),
        ([*theirs, "--num-clusters", "7"], "0 of which are asked for"),
    ]:
        code, out, err = run("import", "speechbrain", *arguments, "-o", tmp_path / "out")
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert message in err
        assert not (tmp_path / "out").exists()
