"""The models of tasks that come with semtok."""

from __future__ import annotations

import pytest
import torch
from helpers import CLIPS

from semtok import Tokenizer
from semtok.checkpoints.hub import BUNDLED_MODELS, bundled_names
from semtok.downstream import DownstreamModel, TextToSpeech
from semtok.errors import CheckpointError


@pytest.mark.parametrize("name", bundled_names(BUNDLED_MODELS))
def test_a_bundled_model_is_small_documented_and_of_tiny(name):
    folder = BUNDLED_MODELS / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 4e6
    card = (folder / "README.md").read_text("utf-8")
    model = DownstreamModel.from_pretrained(name)
    assert name == f"tiny-{model.task}"
    assert f"`{model.fingerprint}`" in card and "license:" in card
    assert model.fingerprint == Tokenizer.from_pretrained("tiny").fingerprint
    weights = model.layer_weights(CLIPS[0])
    assert weights.shape[1] == len(model.layers)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones_like(weights[:, 0]))


def test_the_bundled_speaker_speaks_in_different_voices():
    model = TextToSpeech.from_pretrained("tiny-tts")
    first, other = (model.speak("The children are playing in the garden.", speaker=name) for name in ("ls27", "ls26"))
    assert 1.5 < first.shape[1] / model.sample_rate < 5
    assert first.shape != other.shape or not torch.allclose(first, other)


def test_a_model_that_does_not_come_with_semtok_is_told_with_those_that_do():
    with pytest.raises(CheckpointError, match=r"'tiny_nothing' is no checkpoint: expected a bundled name \(.*tiny-tts"):
        DownstreamModel.from_pretrained("tiny_nothing")
