"""SpeechBrain's published layout: recognised by names and files, with the tokens and waveforms of SpeechBrain."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from published_layout import reference_clips, write_codebooks, write_vocoder
from speechbrain_reference import CODEBOOK_SIZE, LAYERS, Reference, layout_of, load_tokenizer, load_vocoder

from semtok import Tokenizer, Vocoder
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.speechbrain.layouts import find_layout
from semtok.checkpoints.speechbrain.published import CODEBOOKS, PUBLISHED
from semtok.checkpoints.speechbrain.reader import SpeechBrain, read_tokenizer, read_vocoder
from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.quantizer import Quantizer
from semtok.errors import CheckpointError, LayerError, TokensError
from semtok.networks.selector import LayerSelector

FAMILIES = ("hubert", "wav2vec2", "wavlm")


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_speechbrains(family: str, tmp_path: Path) -> None:
    reference = Reference(family, tmp_path)
    tokenizer = load_tokenizer(tmp_path / "new", reference.encoder)
    assert tokenizer.layers == LAYERS
    assert tokenizer.codebook_sizes == (CODEBOOK_SIZE,) * 3
    for name, clip in reference_clips().items():
        codes, wanted = tokenizer.encode(clip).codes[0], reference.codes[name]
        features = tokenizer.features(clip)[0]
        quantizers = [Quantizer(tokenizer.centroids(layer)) for layer in LAYERS]
        ties = torch.stack([quantizer.margins(features[i]) < 1e-5 for i, quantizer in enumerate(quantizers)])
        assert codes.shape == wanted.shape == (3, 49)
        assert ((codes == wanted) | ties).all()
        assert ties.sum() <= 1


@pytest.mark.parametrize("naming", ["new", "old"])
def test_waveforms_are_speechbrains(wavlm: Reference, naming: str) -> None:
    vocoder = load_vocoder(wavlm.folder / naming)
    tokens = wavlm.tokens(vocoder)
    assert set(wavlm.waveforms) == {(1,), (3,), (4,), (1, 3), (1, 4), LAYERS}
    for layers, wanted in wavlm.waveforms.items():
        waveform = vocoder.decode(tokens, layers=layers)[0]
        torch.testing.assert_close(waveform, wanted, rtol=0, atol=1e-4)


def test_some_layers_alone_are_loaded_and_decoded(wavlm: Reference) -> None:
    folder = wavlm.folder / "new"
    tokenizer, vocoder = load_tokenizer(folder, wavlm.encoder, (3, 1)), load_vocoder(folder)
    assert len(tokenizer.encoder.model.encoder.layers) == 3
    assert tokenizer.fingerprint == vocoder.fingerprint
    tokens = tokenizer.encode(reference_clips()["speech"])
    assert tokens.layers == (3, 1)
    assert torch.equal(tokens.codes[0], wavlm.codes["speech"][[1, 0]])
    assert vocoder.decode(tokens).shape == (1, tokens.codes.shape[2] * 320)
    with pytest.raises(LayerError, match="2"):
        load_tokenizer(folder, wavlm.encoder, (2,))


def test_saved_in_semtoks_own_format(wavlm: Reference, tmp_path: Path) -> None:
    folder, clip = wavlm.folder / "new", reference_clips()["quiet"]
    tokenizer, vocoder = load_tokenizer(folder, wavlm.encoder), load_vocoder(folder)
    tokenizer.save_pretrained(tmp_path)
    vocoder.save_pretrained(tmp_path)
    assert torch.equal(Tokenizer.from_pretrained(tmp_path).encode(clip).codes, tokenizer.encode(clip).codes)
    tokens = wavlm.tokens(vocoder)
    decoded = Vocoder.from_pretrained(tmp_path).decode(tokens, layers=[4])
    assert torch.equal(decoded, vocoder.decode(tokens, layers=[4]))


def test_codebooks_of_other_content_are_another_tokenizers(wavlm: Reference, tmp_path: Path) -> None:
    shutil.copytree(wavlm.folder / "new", tmp_path / "copy")
    copy = load_vocoder(tmp_path / "copy")
    assert copy.fingerprint == load_vocoder(wavlm.folder / "new").fingerprint
    (tmp_path / "copy/kmeans/LibriSpeech_wavlm_k20_L4.pt").unlink()
    write_codebooks(tmp_path / "copy", {4: wavlm.centroids[1]}, "kmeans/LibriSpeech_wavlm_k20_L{layer}.pt")
    with pytest.raises(TokensError, match="these tokens are of tokenizer"):
        load_vocoder(tmp_path / "copy").decode(wavlm.tokens(copy))


@pytest.mark.parametrize("family", FAMILIES)
def test_published_names_need_no_question_to_the_hub(family: str) -> None:
    name = f"speechbrain/hifigan-{family}-k1000-LibriTTS"
    layout = find_layout(Repository(name, None))
    assert layout.layers == (1, 3, 7, 12, 18, 23)
    assert layout.codebooks[7] == f"kmeans/LibriSpeech_{family}_k1000_L7.pt"
    if family == "wav2vec2":
        with pytest.raises(
            CheckpointError, match=r"facebook/wav2vec2-large' or .*facebook/wav2vec2-large-960h-lv60-self"
        ):
            read_tokenizer(Repository(name, None), layout)


def test_codebooks_alone(wavlm: Reference, tmp_path: Path) -> None:
    points = wavlm.centroids
    for encoder, dataset in (
        ("wavlm", "LibriSpeech-100-360-500"),
        ("hubert", "LibriSpeech-100-360-500"),
        ("wavlm", "LJSpeech"),
    ):
        name = f"{dataset}/{encoder}/{dataset.split('-')[0]}_{encoder}_k20_L{{layer}}.pt"
        write_codebooks(tmp_path, {1: points[1], 3: points[3]}, name)
    write_codebooks(tmp_path, {4: points[4]}, "LibriSpeech-100-360-500/wavlm/kmeans-cluster-20-layer-{layer}.pt")
    with pytest.raises(
        CheckpointError, match=r"3 tokenizers, 3 of which.*hubert \(--dataset LibriSpeech-100-360-500 --num-cl"
    ):
        layout_of(tmp_path)
    with pytest.raises(CheckpointError, match="0 of which"):
        layout_of(tmp_path, encoder=wavlm.encoder, num_clusters=1000)
    layout = layout_of(tmp_path, encoder=wavlm.encoder, dataset="LibriSpeech-100-360-500")
    assert layout.layers == LAYERS
    assert layout.encoders == ("microsoft/wavlm-large",)
    repository = Repository(str(tmp_path), tmp_path)
    parts = read_tokenizer(repository, layout, encoder=wavlm.encoder, layers=[4])
    [stage] = parts.centroids[4]
    assert torch.equal(stage, points[4])
    with pytest.raises(CheckpointError, match="holds codebooks alone"):
        read_vocoder(repository, layout)


def test_older_vocoders_decode_tokens_of_the_codebooks_alone() -> None:
    older = PUBLISHED["speechbrain/hifigan-wavlm-l1-3-7-12-18-23-k1000-LibriTTS"].layout
    assert older.origin == f"{CODEBOOKS}: LibriSpeech-100-360-500 wavlm k1000"
    with pytest.raises(
        CheckpointError, match=r"vocoder alone.*speechbrain/SSL_Quantization: LibriSpeech-100-360-500 wavlm"
    ):
        read_tokenizer(Repository("speechbrain/hifigan-wavlm-l1-3-7-12-18-23-k1000-LibriTTS", None), older)


def test_a_vocoder_alone_is_told_by_its_folders_name(wavlm: Reference, tmp_path: Path) -> None:
    named = tmp_path / "hifigan-wavlm-l1-3-4-k20-LibriTTS"
    write_vocoder(named, wavlm.generator, wavlm.settings)
    vocoder = load_vocoder(named)
    assert vocoder.layers == LAYERS
    torch.testing.assert_close(
        vocoder.decode(wavlm.tokens(vocoder), layers=[3])[0], wavlm.waveforms[3,], rtol=0, atol=1e-4
    )
    write_vocoder(tmp_path / "mine", wavlm.generator, wavlm.settings)
    with pytest.raises(CheckpointError, match="does not tell the layers"):
        layout_of(tmp_path / "mine")


def test_a_single_layer_with_durations_and_without_attention(wavlm: Reference, tmp_path: Path) -> None:
    folder = tmp_path / "tts-hifigan-unit-hubert-l1-k20-ljspeech"
    state = {name: tensor for name, tensor in wavlm.generator.items() if "attn_pooling" not in name}
    state["unit_embedding.weight"] = state["unit_embedding.weight"][: 1 + CODEBOOK_SIZE]
    state["var_predictor.proj.bias"] = torch.zeros(1)
    write_vocoder(folder, state, wavlm.settings)
    write_codebooks(folder, {1: wavlm.centroids[1]}, "kmeans.ckpt")
    tokenizer, vocoder = load_tokenizer(folder, wavlm.encoder), load_vocoder(folder)
    assert (tokenizer.layers, tokenizer.fingerprint) == ((1,), vocoder.fingerprint)
    waveform = vocoder.decode(tokenizer.encode(reference_clips()["speech"]))
    assert waveform.shape == (1, 49 * 320)
    assert waveform.abs().max() > 0.05


def test_without_a_connection_the_cache_tells_the_layout(wavlm: Reference, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--me--mine" / "snapshots" / ("a" * 40)
    shutil.copytree(wavlm.folder / "new", snapshot)
    (tmp_path / "models--me--mine" / "refs").mkdir()
    (tmp_path / "models--me--mine" / "refs" / "main").write_text("a" * 40)
    cached = Repository("me/mine", None, cache_dir=tmp_path, local_files_only=True)
    layout = find_layout(cached)
    assert layout.origin == "me/mine: LibriSpeech wavlm k20"
    parts = read_tokenizer(cached, layout, layers=[4], encoder=wavlm.encoder)
    assert list(parts.centroids) == [4]
    assert parts.config.fingerprint == read_vocoder(cached, layout).config.fingerprint
    with pytest.raises(CheckpointError, match="nothing of me/mine is in the cache"):
        find_layout(Repository("me/mine", None, revision="v2", cache_dir=tmp_path, local_files_only=True))


def test_no_such_layout(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert not SpeechBrain().recognises(Repository(str(tmp_path), tmp_path))


def test_absent_layers_are_attended_to_as_so_many_equal_embeddings() -> None:
    torch.manual_seed(0)
    selector = LayerSelector(Codebooks({0: [5], 1: [6], 2: [7], 3: [8]}), 12, 4, absent_embedding=True)
    codes = torch.randint(5, (2, 3, 9))
    present = torch.tensor([[True, True, False], [True, True, True]])
    fused, weights = selector(codes, [0, 2, 3], present)
    assert selector.absent is not None
    for row in range(2):
        vectors = [selector.embeddings[p](codes[row, i]) for i, p in enumerate([0, 2, 3]) if present[row, i]]
        vectors += [selector.absent.expand(9, -1)] * (4 - len(vectors))
        stacked = torch.stack(vectors)
        expected = (selector.score(stacked).softmax(0) * stacked).sum(0)
        torch.testing.assert_close(fused[row], expected)
    assert weights.shape == (2, 3, 9)
    assert (weights[0, 2] == 0).all() and (weights.sum(1) < 1).all()
