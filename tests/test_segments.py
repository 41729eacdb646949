"""Tokenizers of segments: exact in batches and windows, read and written, decoded, and never taken for frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import make_tokenizer, make_vocoder
from helpers import CLIPS, DATA, ROOT

from semtok import Tokenizer, Tokens, Vocoder, corpus, load_audio
from semtok.codebooks.segmentation import Segmentation, norm_peaks, penalized_codes
from semtok.errors import CheckpointError, ConfigError, LayerError, SemtokError, TokensError
from semtok.export.onnx import export_onnx
from semtok.language import UnitVocabulary, deduplicate, repeat, spans
from semtok.segments import vocoder_of_segments
from semtok.training.config import load_config
from semtok.training.kmeans.config import KMeansConfig
from semtok.training.kmeans.trainer import train_kmeans

LAYER = 3
BY_PENALTY = Segmentation(penalty=0.2)
BY_PEAKS = Segmentation(boundary_layer=2)
BOTH = pytest.mark.parametrize("segmentation", [BY_PENALTY, BY_PEAKS], ids=["penalty", "peaks"])


@pytest.fixture(scope="module")
def frames() -> Tokenizer:
    return make_tokenizer()


@pytest.fixture(scope="module")
def speech() -> list[torch.Tensor]:
    return [load_audio(clip) for clip in CLIPS[:2]]


def units(tokens: Tokens) -> list[int]:
    return deduplicate(tokens)[0].lengths.tolist()


@BOTH
def test_segments_are_fewer_than_runs_of_frames(frames, speech, segmentation):
    tokenizer = frames.segmented(LAYER, segmentation)
    tokens = tokenizer.encode(speech)
    every = frames.encode(speech, layers=[LAYER])
    assert tokens.lengths.tolist() == every.lengths.tolist() and tokens.layers == (LAYER,)
    assert all(1 < few < many for few, many in zip(units(tokens), units(every), strict=True))


@BOTH
def test_a_clip_has_the_same_segments_alone_and_in_a_batch(frames, speech, segmentation):
    tokenizer = frames.segmented(LAYER, segmentation)
    clips = [speech[0], speech[1][:9000], speech[0][:16000]]
    for clip, utterance in zip(clips, tokenizer.encode(clips), strict=True):
        assert torch.equal(tokenizer.encode(clip).codes, utterance.codes)


def test_codes_by_a_penalty_are_those_of_all_distances_at_once(frames, speech):
    tokenizer = frames.segmented(LAYER, BY_PENALTY)
    centroids = frames.centroids(LAYER).double()
    distances = torch.cdist(frames.features(speech[0], layers=[LAYER])[:, 0].double(), centroids).square()
    penalty = 0.2 * float((centroids - centroids.mean(0)).square().sum(1).mean())
    assert torch.equal(tokenizer.encode(speech[0]).codes[:, 0], penalized_codes(distances, penalty))


def test_a_penalty_looks_beyond_the_windows_of_a_long_recording(frames, speech):
    """Also where a window ends in the middle of a segment, and windows are shorter than what the penalty weighs."""
    long = torch.cat(speech)
    tokenizer = frames.segmented(LAYER, Segmentation(penalty=0.5))
    windows = {"chunk_seconds": 0.5, "context_seconds": 0.5}
    centroids = frames.centroids(LAYER)
    distances = torch.cdist(frames.features(long, layers=[LAYER], **windows)[:, 0], centroids).square()
    whole = penalized_codes(distances, 0.5 * float(centroids.var(0, correction=0).sum()))
    assert torch.equal(tokenizer.encode(long, **windows).codes[:, 0], whole)


def test_segments_begin_at_peaks_of_the_norm():
    norms = torch.tensor([1.0, 1, 5, 1, 1, 1.1, 1, 4, 4, 1])
    assert norm_peaks(norms[:, None], 1, 0.45).tolist() == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2]


def test_peaks_are_those_of_scipy():
    signal = pytest.importorskip("scipy.signal")
    generator = np.random.default_rng(0)
    for _ in range(50):
        values = generator.integers(0, 6, 40).astype(float)
        scaled = (values - values.mean()) / values.std()
        peaks, _ = signal.find_peaks(scaled, prominence=0.8)
        begins = norm_peaks(torch.from_numpy(values)[:, None], 1, 0.8).diff().nonzero()[:, 0] + 1
        assert begins.tolist() == peaks.tolist()


def test_the_code_of_a_segment_is_that_of_its_mean(frames, speech):
    tokens = frames.segmented(LAYER, BY_PEAKS).encode(speech[0])
    content, boundary = frames.encoder(speech[0][None], torch.tensor([len(speech[0])]), [LAYER, 2])[0][0]
    segments = norm_peaks(boundary, 3, 0.45)
    for number in segments.unique():
        mean = content[segments == number].mean(0)
        assert (tokens.codes[0, 0][segments == number] == frames.network.quantizer(LAYER)(mean[None])[0, 0]).all()


def test_spherical_codes_do_not_depend_on_the_length_of_centroids(frames, speech):
    segmentation = Segmentation(boundary_layer=2, spherical=True)
    centroids = frames.centroids(LAYER)
    scaled = centroids * torch.rand(len(centroids), 1).add(0.5)
    made = [
        Tokenizer.from_centroids(frames.encoder.model, {LAYER: points}, normalize=True).segmented(LAYER, segmentation)
        for points in (centroids, scaled)
    ]
    assert torch.equal(made[0].encode(speech).codes, made[1].encode(speech).codes)


@BOTH
def test_a_folder_gives_the_same_segments_and_speech(frames, speech, segmentation, tmp_path):
    tokenizer = frames.segmented(LAYER, segmentation)
    vocoder = vocoder_of_segments(make_vocoder(frames, "istft"), frames, tokenizer)
    tokenizer.save_pretrained(tmp_path)
    vocoder.save_pretrained(tmp_path)
    tokens = tokenizer.encode(speech)
    again = Tokenizer.from_pretrained(tmp_path).encode(speech)
    assert again.fingerprint == tokens.fingerprint != frames.fingerprint and torch.equal(again.codes, tokens.codes)
    read = Vocoder.from_pretrained(tmp_path)
    assert torch.equal(read.decode(again), vocoder.decode(tokens))


def test_the_vocoder_says_what_that_of_frames_says_of_the_same_codes(frames, speech):
    tokenizer, vocoder = frames.segmented(LAYER, BY_PENALTY), make_vocoder(frames, "istft")
    tokens = tokenizer.encode(speech[0])
    same = Tokens.of(list(tokens.codes), tokens.codebooks, tokens.frame_rate, frames.fingerprint)
    torch.testing.assert_close(vocoder_of_segments(vocoder, frames, tokenizer).decode(tokens), vocoder.decode(same))


def test_units_and_durations_go_to_a_vocabulary_and_back(frames, speech):
    tokenizer = frames.segmented(LAYER, BY_PENALTY)
    tokens = tokenizer.encode(speech)
    few, durations = deduplicate(tokens)
    assert torch.equal(repeat(few, durations).codes, tokens.codes)
    vocabulary = UnitVocabulary.of(tokenizer, max_duration=16)
    assert torch.equal(vocabulary.from_ids(vocabulary.to_ids(tokens)).codes, tokens.codes)


def test_spans_say_when_each_segment_is_spoken(frames):
    codes = torch.tensor([[[4, 4, 4, 7, 7]], [[1, -1, -1, -1, -1]]])
    tokens = Tokens(codes, torch.tensor([5, 1]), [LAYER], 50.0, [30], "x")
    first, second = spans(tokens)
    assert first.codes.tolist() == [[4, 7]] and second.codes.tolist() == [[1]]
    assert first.starts.tolist() == pytest.approx([0, 0.06]) and first.ends.tolist() == pytest.approx([0.06, 0.1])


@BOTH
def test_a_stream_gives_all_frames_with_a_stated_delay(frames, speech, segmentation):
    tokenizer = frames.segmented(LAYER, segmentation)
    stream = tokenizer.stream(look_ahead_seconds=0.5)
    parts = [stream.push(piece) for piece in speech[0].split(4000)] + [stream.flush()]
    together = torch.cat([part.codes for part in parts], dim=2)
    whole = tokenizer.encode(speech[0])
    assert together.shape == whole.codes.shape
    assert 0.8 < stream.latency_seconds < 0.9


def test_frames_and_segments_are_refused_by_name(frames, speech):
    tokenizer = frames.segmented(LAYER, BY_PENALTY)
    with pytest.raises(TokensError, match=r"segments \(.*penalty=0\.2\).*this vocabulary takes those of frames"):
        UnitVocabulary.of(frames, layers=[LAYER]).to_ids(tokenizer.encode(speech[0]))
    with pytest.raises(TokensError, match=r"tokens of frames, this vocabulary takes those of segments"):
        UnitVocabulary.of(tokenizer).to_ids(frames.encode(speech[0]))
    other = frames.segmented(LAYER, BY_PEAKS)
    with pytest.raises(TokensError, match=r"segments \(.*peaks=2"):
        UnitVocabulary.of(tokenizer).to_ids(other.encode(speech[0]))


def test_a_penalty_that_leaves_one_segment_warns(frames, speech):
    with pytest.warns(UserWarning, match=r"became a single segment.*penalty=1000"):
        frames.segmented(LAYER, Segmentation(penalty=1000.0)).encode(speech[0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either a penalty"),
        ({"penalty": 1.0, "boundary_layer": 2}, "either a penalty"),
        ({"penalty": 0.0}, "above 0"),
        ({"penalty": float("nan")}, "above 0"),
        ({"boundary_layer": 2, "window": 0}, "window must be an odd number of frames"),
        ({"boundary_layer": 2, "window": 4}, "odd"),
        ({"boundary_layer": 2, "prominence": -1.0}, "prominence"),
        ({"boundary_layer": -1}, "at least 0"),
    ],
)
def test_segmentations_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        Segmentation(**values)


def test_what_cannot_be_segmented_is_refused(frames, tmp_path):
    with pytest.raises(LayerError, match="no layers"):
        frames.segmented(2, BY_PENALTY)
    with pytest.raises(ConfigError, match="boundary_layer must be a layer up to 3"):
        frames.segmented(LAYER, Segmentation(boundary_layer=4))
    tokenizer = frames.segmented(LAYER, BY_PENALTY)
    with pytest.raises(SemtokError, match="cannot be exported"):
        export_onnx(tmp_path / "onnx", tokenizer)
    with pytest.raises(CheckpointError, match="not of"):
        vocoder_of_segments(make_vocoder(frames, "istft"), tokenizer, tokenizer)


def test_a_corpus_holds_segments_as_it_holds_frames(frames, speech, tmp_path):
    tokenizer = frames.segmented(LAYER, BY_PENALTY)
    corpus.encode_corpus(tokenizer, DATA, tmp_path / "tokens")
    clip = corpus.read(tmp_path / "tokens")[Path(CLIPS[0]).name]
    assert torch.equal(clip.tokens.codes, tokenizer.encode(speech[0]).codes)
    assert UnitVocabulary.of(tokenizer).to_ids(clip.tokens)


def test_a_codebook_of_segments_is_trained_and_decoded(frames, speech, run, tmp_path):
    frames.save_pretrained(tmp_path / "frames")
    make_vocoder(frames, "istft").save_pretrained(tmp_path / "frames")
    config = KMeansConfig(
        folder=str(tmp_path / "run"),
        data=[str(DATA)],
        encoder=str(tmp_path / "frames/encoder"),
        layers=[LAYER],
        codebook_sizes=[20],
        normalize=True,
        segmentation=Segmentation(boundary_layer=2, spherical=True),
    )
    train_kmeans(config)
    trained = Tokenizer.from_pretrained(tmp_path / "run/tokenizer")
    torch.testing.assert_close(trained.centroids(LAYER).norm(dim=1), torch.ones(20))
    tokens = trained.encode(speech[0])
    assert len(tokens.codes.unique()) > 3
    assert run("segment", tmp_path / "frames", "--units", tmp_path / "run/tokenizer", "-o", tmp_path / "out")[0] == 0
    assert Vocoder.from_pretrained(tmp_path / "out").decode(tokens).shape == (1, tokens.codes.shape[2] * 320)


def test_the_command_makes_a_checkpoint_of_segments(frames, speech, run, tmp_path):
    frames.save_pretrained(tmp_path / "frames")
    code, out, err = run("segment", tmp_path / "frames", "--layer", 3, "--penalty", 0.2, "-o", tmp_path / "out")
    assert code == 0 and "layer 3" in out and "without a vocoder" in err
    expected = frames.segmented(LAYER, BY_PENALTY).encode(speech[0])
    assert torch.equal(Tokenizer.from_pretrained(tmp_path / "out").encode(speech[0]).codes, expected.codes)


@pytest.mark.parametrize(
    ("layers", "sizes", "segmentation"),
    [
        ([1, 3], [20, 20], BY_PEAKS),
        ([3], [[20, 5]], BY_PEAKS),
        ([1], [20], BY_PEAKS),
        ([3], [20], BY_PENALTY),
    ],
)
def test_codebooks_that_segments_cannot_have_are_refused(layers, sizes, segmentation):
    with pytest.raises(ConfigError, match="a codebook for segments needs one layer of one stage"):
        KMeansConfig(
            folder="run",
            data=["data"],
            encoder="encoder",
            layers=layers,
            codebook_sizes=sizes,
            normalize=True,
            segmentation=segmentation,
        )


def test_the_published_units_have_their_config():
    config = load_config(ROOT / "configs/libritts-wavlm-large/kmeans_segments.yaml", KMeansConfig)
    assert config.segmentation == Segmentation(boundary_layer=13, spherical=True)
