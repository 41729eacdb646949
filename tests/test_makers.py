"""Everything that is made of clips and kept: the right values, whatever happens to the run or to a recording."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from encoders import tiny_model
from helpers import CLIPS, copy_clips

from semtok import Tokenizer, load_audio
from semtok.analysis.frames import FrameStatistics
from semtok.speech.clip import Clip
from semtok.speech.store import Maker, Part, Store, open_store
from semtok.training.data.corpus import Samples, load_corpus
from semtok.training.data.disturbances import Disturbances
from semtok.training.data.encoded import Codes, Features
from semtok.training.data.noises import Background
from semtok.training.downstream.clips import Changed
from semtok.training.downstream.config import AugmentationConfig
from semtok.training.encoder.teachers import Components, SelfSupervised
from semtok.training.vocoder.token_corpus import CodesAndGain

SAMPLE_RATE = 16000


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Of a codebook with more codes than 15 bits tell apart, and of one with few."""
    model = tiny_model("hubert-base")
    generator = torch.Generator().manual_seed(0)
    sizes = {1: 40_000, 2: 10}
    centroids = {layer: torch.randn(size, 32, generator=generator) for layer, size in sizes.items()}
    return Tokenizer.from_centroids(model, centroids, normalize=True)


@pytest.fixture(scope="module")
def makers(tokenizer) -> Mapping[str, Maker]:
    encoder = tokenizer.encoder
    teacher = object.__new__(SelfSupervised)
    teacher._encoder, teacher._device = encoder, torch.device("cpu")
    disturbances = Disturbances(noise=[str(CLIPS[0])])
    background = Background(disturbances, [str(clip) for clip in CLIPS[1:]], [], SAMPLE_RATE)
    augmentation = AugmentationConfig(speeds=(0.9, 1.1), noisy_copies=1, disturbances=disturbances)
    whitening = {2: (torch.zeros(encoder.dim), torch.eye(encoder.dim)[:, :3])}
    return {
        "samples": Samples(SAMPLE_RATE),
        "codes": Codes(tokenizer),
        "features": Features(encoder, (1, 2), "mine"),
        "codes and gain": CodesAndGain(Codes(tokenizer), 0.05),
        "copies": Changed(Codes(tokenizer), augmentation, background, SAMPLE_RATE, seed=0),
        "frames of a study": FrameStatistics(tokenizer, 0.5),
        "teacher": Components(teacher, "mine", whitening, "this corpus"),
    }


def parts() -> list[Part]:
    """A part for each of the three recordings."""

    def part(path):
        clip = Clip(path.name, str(path))
        return Part(path.name, lambda: [(clip, load_audio(path))], [clip])

    return [part(path) for path in CLIPS]


def arrays_of(store: Store, maker: Maker) -> dict[str, list[np.ndarray]]:
    return {
        name: [store[name][clip, copy] for clip in range(len(store)) for copy in range(store[name].copies(clip))]
        for name in maker.forms
    }


@pytest.mark.parametrize(
    "name", ["samples", "codes", "features", "codes and gain", "copies", "frames of a study", "teacher"]
)
def test_a_maker_that_is_stopped_goes_on_as_if_unbroken(makers, name, tmp_path, monkeypatch):
    maker, made = makers[name], []
    unbroken = arrays_of(open_store(parts(), maker, tmp_path / "unbroken"), maker)
    original = type(maker).make

    def stopping(self, waveforms):
        made.append(len(waveforms))
        if made == [1, 1]:
            raise KeyboardInterrupt
        return original(self, waveforms)

    monkeypatch.setattr(type(maker), "make", stopping)
    with pytest.raises(KeyboardInterrupt):
        open_store(parts(), maker, tmp_path / "broken")
    resumed = open_store(parts(), maker, tmp_path / "broken")
    assert made == [1, 1, 1, 1], "the first recording is made once"
    for array, clips in arrays_of(resumed, maker).items():
        assert len(clips) == (9 if name == "copies" else 3)
        for ours, theirs in zip(clips, unbroken[array], strict=True):
            assert len(ours) > 0 and np.array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["codes", "codes and gain", "frames of a study"])
def test_codes_are_those_of_encode_whatever_the_size_of_the_codebook(makers, tokenizer, name, tmp_path):
    store = open_store(parts(), makers[name], tmp_path)
    codes = [store["codes"][clip] for clip in range(3)]
    assert max(of_clip.max() for of_clip in codes) > np.iinfo(np.int16).max
    for of_clip, path in zip(codes, CLIPS, strict=True):
        assert np.array_equal(of_clip.astype(np.int64).T, tokenizer.encode(path).codes[0].numpy())


def test_features_are_those_of_the_encoder(makers, tokenizer, tmp_path):
    store = open_store(parts(), makers["features"], tmp_path)
    for number, path in enumerate(CLIPS):
        expected = tokenizer.features(path)[0].half().numpy()
        assert np.array_equal(store["features"][number].transpose(1, 0, 2), expected)


def test_a_recording_that_is_replaced_under_its_name_is_read_again(tokenizer, tmp_path):
    folder = copy_clips(tmp_path / "speech")
    before = load_corpus([folder], tmp_path / "audio", sample_rate=SAMPLE_RATE)
    maker = Codes(tokenizer)
    open_store(before.parts(), maker, tmp_path / "tokens")
    names = sorted(path.name for path in CLIPS)
    shutil.copy(CLIPS[0].with_name(names[2]), folder / names[0])
    after = load_corpus([folder], tmp_path / "audio", sample_rate=SAMPLE_RATE)
    assert after.digest != before.digest
    assert torch.equal(after.waveform(0), after.waveform(2)) and not torch.equal(after.waveform(0), before.waveform(0))
    codes = open_store(after.parts(), maker, tmp_path / "tokens")["codes"]
    assert np.array_equal(codes[0], codes[2]) and len(codes[1]) > 0


def test_copies_are_codes_of_changed_waveforms_drawn_by_their_samples(makers, tokenizer, tmp_path):
    store = open_store(parts(), makers["copies"], tmp_path)
    turned = open_store(parts()[::-1], makers["copies"], tmp_path / "turned")
    for number, path in enumerate(CLIPS):
        plain = tokenizer.encode(path).lengths.item()
        slow, fast, noisy = (store["codes"][number, copy] for copy in range(3))
        assert len(fast) < plain == len(noisy) < len(slow)
        for copy in range(3):
            assert np.array_equal(turned["codes"][2 - number, copy], store["codes"][number, copy])
