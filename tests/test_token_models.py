"""Models of tasks and language models beside each other: pushed, loaded, and with whose access they load the rest."""

from __future__ import annotations

import re

import pytest
import torch
from checkpoints import CLIPS
from huggingface_hub import constants
from task_models import make_model
from transformers import LlamaConfig, LlamaForCausalLM

from semtok.downstream import SpeechRecognizer, TextToSpeech
from semtok.errors import CheckpointError, ConfigError
from semtok.language import UnitVocabulary
from semtok.language.model import LanguageModelConfig, SpeechLanguageModel

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
KINDS = {"lstm": SpeechRecognizer, "synthesizer": TextToSpeech, "language": SpeechLanguageModel}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def make(request, kind, tokenizer):
    """A model of the kind, of random weights, whose checkpoint has a name."""
    name = next(name for name, one in KINDS.items() if one is kind)

    def make(checkpoint):
        if kind is not SpeechLanguageModel:
            return make_model(name, tokenizer, checkpoint)
        vocabulary = UnitVocabulary.of(tokenizer, layers=[4])
        sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        torch.manual_seed(0)
        network = LlamaForCausalLM(LlamaConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **sizes))
        return SpeechLanguageModel(network, LanguageModelConfig(1, checkpoint, vocabulary))

    return make


@pytest.fixture
def hub(hub_server, istft_folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    hub_server.add("me/secret", istft_folder, private=True)
    return hub_server


def test_the_tokenizer_and_the_vocoder_are_loaded_with_the_access_of_the_model(kind, make, hub, cache, tmp_path):
    commit = make("me/secret").push_to_hub("me/model", private=True, token="writes")
    own = tmp_path / "own"
    access = {"token": "reads", "cache_dir": own}
    model = kind.from_pretrained("me/model", **access)
    assert model.source == f"me/model@{commit}"
    assert model.tokenizer.source.startswith("me/secret@") and model.vocoder.source.startswith("me/secret@")
    assert {path.name for path in own.glob("models--*")} == {"models--me--model", "models--me--secret"}
    assert not cache.exists()
    hub.requests.clear()
    again = kind.from_pretrained("me/model", cache_dir=own, local_files_only=True)
    assert again.tokenizer.fingerprint == again.vocoder.fingerprint == again.fingerprint
    assert hub.requests == []
    with pytest.raises(CheckpointError, match="me/secret, or it is private"):
        _ = kind.from_pretrained(own / "models--me--model" / "snapshots" / commit).tokenizer


def test_revisions_and_the_card(kind, make, hub, tmp_path):
    model = make("me/secret")
    first = model.push_to_hub("me/model", token="writes", license="mit")
    model.push_to_hub("me/model", token="writes", revision="later")
    assert kind.from_pretrained("me/model", revision=first).source == f"me/model@{first}"
    assert kind.from_pretrained("me/model", revision="later").source != f"me/model@{first}"
    card = hub.repos["me/model"].commits[first]["README.md"].decode()
    assert f'{kind.__name__}.from_pretrained("me/model")' in card and "license: mit" in card
    assert f"- Tokenizer fingerprint: `{model.fingerprint}`" in card and "- Tokenizer: `me/secret`" in card


def test_a_folder_of_another_kind_is_not_overwritten(kind, make, tokenizer, istft_folder, tmp_path):
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    before = (tmp_path / "checkpoint" / "config.json").read_bytes()
    with pytest.raises(CheckpointError):
        make("me/secret").save_pretrained(tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint" / "config.json").read_bytes() == before
    make("me/secret").save_pretrained(tmp_path / "model")
    with pytest.raises((CheckpointError, ConfigError)):
        tokenizer.save_pretrained(tmp_path / "model")


def test_a_checkpoint_that_others_have_not_is_not_pushed(make, hub, istft_folder):
    with pytest.raises(CheckpointError, match="which others have not: push the tokenizer first"):
        make(str(istft_folder)).push_to_hub("me/model", token="writes")


def test_a_tokenizer_is_taken_over_if_it_is_the_models(kind, make, tokenizer, other_folder, tmp_path):
    make("nowhere").save_pretrained(tmp_path)
    assert kind.from_pretrained(tmp_path, tokenizer=tokenizer).tokenizer is tokenizer
    other = type(tokenizer).from_pretrained(other_folder)
    with pytest.raises(CheckpointError, match=re.escape(f"the tokenizer is of {other.fingerprint}")):
        kind.from_pretrained(tmp_path, tokenizer=other)


def test_the_language_model_speaks_from_the_hub(hub, tokenizer, istft_folder):
    hub.add("me/open", istft_folder)
    vocabulary = UnitVocabulary.of(tokenizer, layers=[4])
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    network = LlamaForCausalLM(LlamaConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **sizes))
    SpeechLanguageModel(network, LanguageModelConfig(1, "me/open", vocabulary)).push_to_hub("me/lm", token="writes")
    model = SpeechLanguageModel.from_pretrained("me/lm")
    speech = model.continue_speech(CLIPS[0], 0.2, prompt_seconds=0.2)
    assert speech.shape[1] == 20 * model.hop_length and model.sample_rate == tokenizer.sample_rate
