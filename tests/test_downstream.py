"""Models of tasks: a clip alone as beside others, saved as loaded, layer weights, text, CTC, and wrong input."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import math
import shutil

import numpy as np
import pytest
import torch
from checkpoints import CLIPS, draw_tokens, make_vocoder
from encoders import tiny_model
from helpers import changed_tokens
from huggingface_hub import constants
from task_models import HEADS, KINDS, POOLINGS, make_model

from semtok import Tokenizer, Tokens, downstream, load_audio
from semtok.codebooks.codebooks import Codebooks
from semtok.downstream import (
    TASKS,
    DownstreamModel,
    SpeakerVerifier,
    SpeechEnhancer,
    SpeechRecognizer,
    UtteranceClassifier,
)
from semtok.downstream.config import FrontConfig
from semtok.downstream.conformer import Attention, Conformer, ConformerConfig
from semtok.downstream.ctc import align, beam_search, best_path
from semtok.downstream.enhancer import CodePredictor
from semtok.downstream.front import Front
from semtok.downstream.pooling import build_pooling
from semtok.downstream.text import TextCodec, edit_distance, normalize
from semtok.errors import AudioError, CheckpointError, ConfigError, LayerError, SpeakerError, TextError, TokensError
from semtok.networks.selector import LayerSelector
from semtok.training.downstream import objective_of


@pytest.fixture(scope="module")
def clips() -> list[torch.Tensor]:
    return [load_audio(path)[:length] for path, length in zip(CLIPS, (16000, 40000, 9000), strict=False)]


@pytest.fixture(scope="module")
def models(tokenizer) -> dict[str, DownstreamModel]:
    return {name: make_model(name, tokenizer) for name in HEADS}


def answer(model: DownstreamModel, audio) -> list:
    """What a model of any task says of clips, a list."""
    match model:
        case SpeechRecognizer():
            return model.log_probabilities(audio)
        case UtteranceClassifier():
            return [torch.tensor(list(one.probabilities.values())) for one in model.classify(audio)]
        case SpeakerVerifier():
            return list(model.embed(audio))
        case SpeechEnhancer():
            return [utterance.codes for utterance in model.enhance_tokens(audio)]
        case _:
            return [model.speak_tokens("HELLO", reference=audio).codes]


@pytest.mark.parametrize("name", HEADS)
def test_a_clip_gets_the_same_alone_and_beside_others(models, clips, name):
    model = models[name]
    if name == "synthesizer":
        together, alone = model._outputs(clips, None, None), [model._outputs(clip, None, None)[0] for clip in clips]
    else:
        together, alone = answer(model, clips), [answer(model, clip)[0] for clip in clips]
    assert len(together) == len(clips)
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_features_of_clips_are_made_in_batches(tokenizer, clips):
    model = make_model("lstm", tokenizer, feature_dim=tokenizer.encoder.dim)
    alone = [model.log_probabilities(clip)[0] for clip in clips]
    batches = []
    hook = tokenizer.encoder.register_forward_hook(lambda module, inputs, output: batches.append(len(inputs[0])))
    together = model.log_probabilities(clips)
    hook.remove()
    assert batches == [len(clips)]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_saved_and_loaded_it_is_the_same(models, clips, tokenizer, name, tmp_path):
    models[name].save_pretrained(tmp_path)
    loaded = DownstreamModel.from_pretrained(tmp_path, tokenizer=tokenizer)
    assert type(loaded) is KINDS[name] and loaded.head_config == models[name].head_config
    assert loaded.source == str(tmp_path)
    for one, other in zip(answer(loaded, clips[0]), answer(models[name], clips[0]), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["conformer", "ecapa", "enhancer"])
def test_tokens_give_the_same_as_their_audio_whatever_the_order_of_their_layers(models, clips, tokenizer, name):
    tokens = tokenizer.encode(clips, layers=tuple(reversed(tokenizer.layers)))
    for one, other in zip(answer(models[name], tokens), answer(models[name], clips), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_layer_weights_sum_to_one_on_the_frames_of_a_clip(models, clips, tokenizer):
    lengths = tokenizer.encode(clips).lengths
    weights = models["lstm"].layer_weights(clips)
    assert weights.shape == (3, len(tokenizer.layers), int(lengths.max()))
    for row, length in zip(weights, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:, :length].sum(0), torch.ones(length))
        assert not row[:, length:].any()
    alone = models["lstm"].layer_weights(clips[2])
    torch.testing.assert_close(alone[0], weights[2, :, : alone.shape[2]])


def test_layer_importance_is_kept(tokenizer, tmp_path):
    model = make_model("lstm", tokenizer)
    assert model.layer_importance == {}
    shares = (0.5, 0.3, 0.2)
    model.config = dataclasses.replace(model.config, layer_importance=shares)
    model.save_pretrained(tmp_path)
    loaded = SpeechRecognizer.from_pretrained(tmp_path)
    assert loaded.layer_importance == dict(zip(tokenizer.layers, shares, strict=True))
    with pytest.raises(ConfigError, match="a number for each of layers"):
        dataclasses.replace(model.config, layer_importance=(1.0,))


@pytest.fixture(scope="module")
def staged() -> Tokenizer:
    """A tokenizer with three residual stages of its first layer."""
    generator = torch.Generator().manual_seed(0)
    stages = [torch.randn(8, 32, generator=generator) for _ in range(3)]
    centroids = {1: stages, 2: torch.randn(9, 32, generator=generator)}
    return Tokenizer.from_centroids(tiny_model("hubert-base"), centroids, normalize=True)


def test_a_model_may_do_with_the_first_stages(staged, clips):
    whole = make_model("lstm", staged)
    config = dataclasses.replace(whole.config, codebooks=Codebooks({1: (8,), 2: (9,)}))
    model = SpeechRecognizer(config, SpeechRecognizer.build_network(config), tokenizer=staged)
    tokens = staged.encode(clips)
    other = changed_tokens(tokens, codes=tokens.codes.clone())
    other.codes[:, 1:3] = torch.where(other.codes[:, 1:3] >= 0, 0, -1)
    for one, two in zip(model.log_probabilities(tokens), model.log_probabilities(other), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    config = dataclasses.replace(whole.config, codebooks=Codebooks({1: (8, 8, 8, 8), 2: (9,)}))
    deeper = SpeechRecognizer(config, SpeechRecognizer.build_network(config), tokenizer=staged)
    with pytest.raises(TokensError, match=r"layer 1 of these tokens has codebooks of \[8, 8, 8\] codes"):
        deeper.transcribe(tokens)


def test_stages_are_predicted_one_after_the_other(staged):
    torch.manual_seed(0)
    predict = CodePredictor(6, staged.codebooks)
    x = torch.randn(2, 5, 6)
    scores, codes = predict(x)
    forced, same = predict(x, codes)
    assert torch.equal(same, codes)
    for one, two in zip(scores, forced, strict=True):
        torch.testing.assert_close(one, two)
    changed = codes.clone()
    changed[..., 0] = (changed[..., 0] + 1) % 8
    others, _ = predict(x, changed)
    differ = [not torch.allclose(one, two) for one, two in zip(scores, others, strict=True)]
    assert differ == [False, True, True, False]


@pytest.mark.parametrize("frames, steps", [(40, 20), (41, 21)])
def test_the_last_step_of_a_recogniser_holds_the_frames_that_are_left(models, frames, steps):
    """All its steps see them, as attention does."""
    model = models["conformer"]
    tokens = draw_tokens(model, [frames])
    other = changed_tokens(tokens, codes=tokens.codes.clone())
    other.codes[:, 0, -1] = (tokens.codes[:, 0, -1] + 1) % 40
    (one,), (two,) = model.log_probabilities(tokens), model.log_probabilities(other)
    assert one.shape[0] == steps and model.network.head.steps(tokens.lengths).tolist() == [steps]
    assert (one - two).abs().amax(dim=1).min() > 1e-6


@pytest.mark.parametrize("name", ["conformer", "enhancer"])
def test_windows_of_long_recordings_give_what_the_whole_does_where_nothing_looks_farther(models, tokenizer, name):
    """Of convolutions alone, which see a few frames, there is no difference: each step is in its place, once."""
    model = make_model(name, tokenizer)
    for module in model.network.modules():
        if isinstance(module, Attention):
            torch.nn.init.zeros_(module.output[0].weight)
    tokens = draw_tokens(model, [7001])
    (codes,), front, head = tokens.codes, model.network.front, model.network.head
    with torch.inference_mode():
        whole = head(front(codes[None], tokens.lengths)[0], tokens.lengths)[0]
    (windowed,) = model._outputs(tokens, None, None)
    torch.testing.assert_close(windowed, whole, atol=1e-5, rtol=1e-4)


def test_long_recordings_go_through_in_windows(models, tokenizer, monkeypatch):
    from semtok.downstream import model as module

    tokens = tokenizer.encode(CLIPS[0])
    whole = models["enhancer"].enhance_tokens(tokens)
    wide = models["conformer"].log_probabilities(tokens)[0]
    monkeypatch.setattr(module, "_WINDOW_FRAMES", 61)
    monkeypatch.setattr(module, "_CONTEXT_FRAMES", 31)
    assert models["enhancer"].enhance_tokens(tokens).lengths == whole.lengths
    narrow = models["conformer"].log_probabilities(tokens)[0]
    assert narrow.shape == wide.shape
    # of a random network what is far away counts for little, and each step is in its place
    assert torch.nn.functional.cosine_similarity(narrow, wide, dim=1).min() > 0.9


@pytest.mark.parametrize("codebooks", [{1: (40,), 3: (30,)}, {1: (8, 8), 2: (9,), 4: (12, 5, 3)}])
def test_scores_once_a_table_row_equal_those_frame_by_frame(codebooks):
    """Of layers of one stage; the score of a layer of several depends on the sum of their embeddings."""
    torch.manual_seed(0)
    selector = LayerSelector(Codebooks(codebooks), 8, 4)
    codes = torch.stack([torch.randint(size, (3, 50)) for sizes in codebooks.values() for size in sizes], dim=1)
    assert codes[:, 0].numel() > max(max(sizes) for sizes in codebooks.values())
    embedded = selector.embed(codes)
    torch.testing.assert_close(selector.scores(codes, embedded), selector.score(embedded).squeeze(-1))


FRONTS = {
    "attention": FrontConfig(dim=8, fusion="attention", attention_dim=4),
    "floor": FrontConfig(dim=8, fusion="attention", attention_dim=4, floor=0.3),
    "gates": FrontConfig(dim=8, fusion="gates", attention_dim=4),
    "concatenate": FrontConfig(dim=8, fusion="concatenate"),
    "rank": FrontConfig(dim=8, fusion="concatenate", rank=3),
    "uniform": FrontConfig(dim=8, fusion="uniform"),
}


def make_front(tokenizer: Tokenizer, name: str) -> tuple[Front, torch.Tensor]:
    """A front of random weights whose scores are not small, and codes of thirty frames."""
    torch.manual_seed(0)
    front = Front(FRONTS[name], tokenizer.codebooks)
    if FRONTS[name].attention_dim is not None:
        front.selector.score[2].weight.data *= 20
    return front, torch.stack([torch.randint(size, (1, 30)) for size in tokenizer.codebooks.sizes], dim=1)


@pytest.mark.parametrize("name", FRONTS)
def test_every_fusion_is_the_same_alone_and_beside_others_and_as_saved(tokenizer, clips, name, tmp_path):
    model = make_model("lstm", tokenizer, **dataclasses.asdict(FRONTS[name]))
    model.save_pretrained(tmp_path)
    loaded = DownstreamModel.from_pretrained(tmp_path, tokenizer=tokenizer)
    together, weights = model.log_probabilities(clips), loaded.layer_weights(clips)
    for one, shares, clip in zip(together, weights, clips, strict=True):
        torch.testing.assert_close(one, loaded.log_probabilities(clip)[0], atol=1e-5, rtol=1e-4)
        alone = model.layer_weights(clip)[0]
        torch.testing.assert_close(shares[:, : alone.shape[1]], alone, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.sum(0), torch.ones(alone.shape[1]))
        assert not shares[:, alone.shape[1] :].any()


@pytest.mark.parametrize("name", ["gates", "concatenate", "rank"])
def test_without_competition_each_layer_adds_the_same_whatever_the_others_say(tokenizer, name):
    front, codes = make_front(tokenizer, name)
    lengths, layers = torch.tensor([30]), len(tokenizer.layers)
    fused, shares = front(codes, lengths)
    alone = [front(codes, lengths, torch.arange(layers)[None] == layer)[0] for layer in range(layers)]
    nothing = front(codes, lengths, torch.zeros(1, layers, dtype=torch.bool))[0] if name != "gates" else 0
    torch.testing.assert_close(fused, sum(alone) - (layers - 1) * nothing)
    added = torch.stack([(part - nothing).norm(dim=2) for part in alone], dim=1)
    if name == "gates":
        added = added / front.selector.embed(codes).norm(dim=3)
    torch.testing.assert_close(shares, added / added.sum(dim=1, keepdim=True))


def test_concatenation_is_a_linear_map_of_all_embeddings(tokenizer):
    front, codes = make_front(tokenizer, "concatenate")
    joined = front.selector.embed(codes).transpose(1, 2).flatten(2)
    torch.testing.assert_close(front(codes, torch.tensor([30]))[0], front.concatenate(joined))


def test_a_floor_leaves_a_share_to_every_layer(tokenizer):
    front, codes = make_front(tokenizer, "floor")
    fused, shares = front(codes, torch.tensor([30]))
    assert 0.0999 < shares.min() < 0.11 and shares.max() > 0.6
    torch.testing.assert_close(fused, (shares[..., None] * front.selector.embed(codes)).sum(dim=1))


def test_closed_gates_have_shares(tokenizer):
    front, codes = make_front(tokenizer, "gates")
    front.selector.score[0].bias.data.fill_(1e4)
    front.selector.score[2].weight.data.fill_(-1.0)
    fused, shares = front(codes, torch.tensor([30]))
    assert fused.abs().max() < 1e-3 and shares.isfinite().all()


def test_a_config_from_before_there_was_a_choice_is_one_of_attention():
    assert FrontConfig(dim=8, attention_dim=4) == FrontConfig(dim=8, fusion="attention", attention_dim=4)
    assert FrontConfig(dim=8) == FrontConfig(dim=8, fusion="concatenate")


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"fusion": "gates"}, "'attention' or 'gates', and no other, needs an attention_dim"),
        ({"fusion": "concatenate", "attention_dim": 4}, "needs an attention_dim"),
        ({"fusion": "gates", "attention_dim": 4, "floor": 0.1}, "floor is a share below 1 for fusion 'attention'"),
        ({"fusion": "attention", "attention_dim": 4, "floor": 1.0}, "got 1.0"),
        ({"fusion": "uniform", "rank": 4}, "rank is for fusion 'concatenate'"),
        ({"fusion": "vote"}, "fusion must be one of concatenate, attention, gates, uniform"),
    ],
)
def test_a_fusion_has_its_own_settings_alone(entries, message):
    with pytest.raises(ConfigError, match=message):
        FrontConfig(dim=8, **entries)


@pytest.mark.parametrize("name", FRONTS)
def test_absent_layers_count_for_nothing(tokenizer, name):
    front, codes = make_front(tokenizer, name)
    present = torch.tensor([[True, False, True]])
    fused, weights = front(codes, torch.tensor([30]), present)
    codes[:, 1] = 0
    again, _ = front(codes, torch.tensor([30]), present)
    torch.testing.assert_close(fused, again, rtol=0, atol=0)
    assert not weights[:, 1].any()
    hidden = torch.zeros(1, 30, dtype=torch.bool)
    hidden[:, 5:9] = True
    masked, _ = front(codes, torch.tensor([20]), present, hidden)
    assert not masked[:, 5:9].any() and not masked[:, 20:].any() and masked[:, 9:20].any()


def test_a_model_that_learnt_without_layers_takes_tokens_that_lack_some(tokenizer, clips):
    model = make_model("statistics", tokenizer, any_layers=True)
    tokens = tokenizer.encode(clips)
    weights = model.layer_weights(tokens.select([4, 1]))
    assert not weights[:, 1].any() and weights[:, 0].any() and weights[:, 2].any()
    assert len(model.classify(tokens.select([3]))) == 3


def test_padding_takes_part_in_no_pooling_and_no_conformer():
    torch.manual_seed(0)
    x, lengths = torch.randn(2, 40, 6), torch.tensor([40, 25])
    spoilt = x.clone()
    spoilt[1, 25:] = 100.0
    for pooling in (build_pooling(config, 6).eval() for config in POOLINGS.values()):
        clean = torch.where(torch.arange(40)[None, :, None] < lengths[:, None, None], x, 0)
        assert pooling(clean, lengths).shape == (2, pooling.dim)
        torch.testing.assert_close(
            pooling(clean, lengths)[1], pooling(x[1:, :25], lengths[1:])[0], atol=1e-5, rtol=1e-4
        )
    conformer = Conformer(ConformerConfig(dim=8, layers=2, heads=2, feedforward=16, kernel=5)).eval()
    x, spoilt = torch.nn.functional.pad(x, (0, 2)), torch.nn.functional.pad(spoilt, (0, 2))
    torch.testing.assert_close(conformer(x, lengths), conformer(spoilt, lengths), rtol=0, atol=0)


def test_statistics_are_mean_and_deviation():
    x = torch.randn(1, 50, 4, generator=torch.Generator().manual_seed(0))
    pooled = build_pooling(POOLINGS["statistics"], 4)(x, torch.tensor([50]))
    torch.testing.assert_close(pooled[0, :4], x[0].mean(0))
    torch.testing.assert_close(pooled[0, 4:], x[0].std(0, unbiased=False), atol=1e-3, rtol=1e-3)


def test_verification_is_the_cosine_against_the_threshold(tokenizer, clips):
    verifier = make_model("verifier", tokenizer)
    (same,) = verifier.verify(clips[0], clips[0])
    assert same.score == pytest.approx(1, abs=1e-5) and same.same
    first, second = verifier.embed([clips[0], clips[1]])
    (other,) = verifier.verify(clips[0], clips[1])
    assert other.score == pytest.approx(float(first @ second), abs=1e-5)
    assert other.same == (other.score >= 0.2)
    for threshold, answer in ((other.score, True), (math.nextafter(other.score, 2), False)):
        verifier.head_config = dataclasses.replace(verifier.head_config, threshold=threshold)
        assert verifier.verify(clips[0], clips[1])[0].same is answer
    with pytest.raises(AudioError, match="in pairs, got 2 and 1"):
        verifier.verify(clips[:2], clips[0])


def test_enhanced_and_spoken_tokens_are_decoded_by_the_vocoder(models, tokenizer, clips):
    enhancer, speaker = models["enhancer"], models["synthesizer"]
    enhancer.vocoder = speaker.vocoder = make_vocoder(tokenizer, "istft")
    frames = tokenizer.encode(clips).lengths
    assert enhancer.enhance(clips).shape == (3, int(frames.max()) * 320)
    tokens = speaker.speak_tokens(["Hello. World", "Ada"], speaker="bert")
    waveform = speaker.speak(["Hello. World", "Ada"], speaker="bert")
    assert waveform.shape == (2, int(tokens.lengths.max()) * 320)
    assert not waveform[1, int(tokens.lengths[1]) * 320 :].any()


def test_units_last_as_many_frames_as_the_network_says(tokenizer):
    """Four each, the silence on either side of the text too; half of that at twice the speed."""
    model = make_model("synthesizer", tokenizer)
    torch.nn.init.zeros_(model.network.head.duration.weight)
    torch.nn.init.constant_(model.network.head.duration.bias, math.log1p(4))
    units = len("HELLO") + 2
    for speed, frames in ((1, 4), (2, 2), (0.5, 8), (10, 1)):
        assert model.speak_tokens("hello", speed=speed).lengths.tolist() == [frames * units]


def test_frames_of_a_unit_know_where_in_it_their_middle_is_and_how_long_it_lasts(models):
    head, places = models["synthesizer"].network.head, []
    hook = head.place.register_forward_hook(lambda module, inputs, output: places.append(inputs[0]))
    head.decode(torch.zeros(1, 3, 16), torch.tensor([[2, 1, 4]]))
    hook.remove()
    middles = [1 / 4, 3 / 4, 1 / 2, 1 / 8, 3 / 8, 5 / 8, 7 / 8]
    lasting = [math.log1p(frames) for frames in (2, 2, 1, 4, 4, 4, 4)]
    torch.testing.assert_close(places[0], torch.tensor([middles, lasting]).T)


def test_a_model_may_choose_who_speaks_by_default(models, tokenizer):
    model = models["synthesizer"]
    head = model.config.head | {"default_speaker": "bert"}
    other = type(model)(dataclasses.replace(model.config, head=head), model.network, tokenizer=tokenizer)
    for speaker, speech in (("anna", model), ("bert", other)):
        assert speech.speak_tokens("hello").codes.equal(model.speak_tokens("hello", speaker=speaker).codes)


def test_voices_and_speed_change_what_is_spoken(models, clips):
    model = models["synthesizer"]
    anna = model.speak_tokens("hello world")
    assert torch.equal(anna.codes, model.speak_tokens("hello world", speaker="anna").codes)
    assert not torch.equal(anna.codes, model.speak_tokens("hello world", speaker="bert").codes)
    assert torch.equal(
        model.speak_tokens("hello", reference=clips[1]).codes, model.speak_tokens("hello", reference=clips[1:2]).codes
    )
    assert model.speak_tokens("hello world", speed=0.1).lengths > anna.lengths
    with pytest.raises(SpeakerError, match=r"no speaker 'carl': known are anna, bert"):
        model.speak_tokens("hello", speaker="carl")
    with pytest.raises(SpeakerError, match="got both"):
        model.speak_tokens("hello", speaker="anna", reference=clips[0])


@pytest.mark.parametrize(
    "text, error",
    [
        ("", "there is no text in ''"),
        (" ?! ", "there is no text"),
        ("HELLO 42", r"characters '2', '4' .* \(write numbers as words\); known are"),
        ("Füße", "characters 'F', 'S', 'Ü' of 'Füße' are not known; known are"),
    ],
)
def test_text_that_cannot_be_said(models, text, error):
    with pytest.raises(TextError, match=error):
        models["synthesizer"].speak_tokens(text)


def test_wrong_input_is_told(models, tokenizer, clips, other_folder):
    model, tokens = models["lstm"], tokenizer.encode(clips)
    with pytest.raises(LayerError, match=r"needs the tokens of layers \[1, 3, 4\], these lack \[3\]"):
        model.transcribe(tokens.select([1, 4]))
    with pytest.raises(TokensError, match=r"are of tokenizer .* takes those of"):
        model.transcribe(Tokenizer.from_pretrained(other_folder).encode(clips))
    with pytest.raises(AudioError, match=r"too short|one frame|at least"):
        model.transcribe(torch.zeros(100))
    with pytest.raises(TokensError, match="utterance 2 of these tokens has no frames"):
        model.transcribe(
            Tokens(
                torch.where(torch.tensor([True, True, False])[:, None, None], tokens.codes, -1),
                tokens.lengths * torch.tensor([1, 1, 0]),
                tokens.layers,
                50.0,
                tokens.codebook_sizes,
                tokens.fingerprint,
            )
        )
    with pytest.raises(TokensError, match="takes features, not tokens"):
        make_model("lstm", tokenizer, feature_dim=32).transcribe(tokens)


def test_models_that_cannot_be_loaded(models, tmp_path, istft_folder, other_folder, tokenizer):
    models["lstm"].save_pretrained(tmp_path / "asr")
    with pytest.raises(CheckpointError, match="is a model of task 'asr': load it by SpeechRecognizer"):
        UtteranceClassifier.from_pretrained(tmp_path / "asr")
    with pytest.raises(CheckpointError, match="is no downstream model"):
        SpeechRecognizer.from_pretrained(istft_folder)
    with pytest.raises(CheckpointError, match=f"is of tokenizer {tokenizer.fingerprint}"):
        SpeechRecognizer.from_pretrained(tmp_path / "asr", tokenizer=Tokenizer.from_pretrained(other_folder))
    with pytest.raises(CheckpointError, match="is no downstream model"):
        models["lstm"].save_pretrained(istft_folder)
    with pytest.raises(CheckpointError, match="holds a model of task asr"):
        models["ecapa"].save_pretrained(tmp_path / "asr")
    config = tmp_path / "asr" / "config.json"
    entries = json.loads(config.read_text())
    config.write_text(json.dumps(entries | {"task": "diarization"}))
    with pytest.raises(CheckpointError, match=r"task 'diarization', known are .*classifier"):
        DownstreamModel.from_pretrained(tmp_path / "asr")
    config.write_text(json.dumps(entries | {"front": {"dim": 13, "fusion": "attention", "attention_dim": 6}}))
    with pytest.raises(CheckpointError, match="do not fit its config"):
        DownstreamModel.from_pretrained(tmp_path / "asr")


def test_weights_of_another_tokenizer_are_refused(models, other_folder, tmp_path):
    """Of the same shapes: nothing but the fingerprint tells them apart."""
    other = Tokenizer.from_pretrained(other_folder)
    models["lstm"].save_pretrained(tmp_path / "mine")
    make_model("lstm", other).save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path / "mine")
    with pytest.raises(CheckpointError, match=f"is of tokenizer {other.fingerprint}, config.json of tokenizer"):
        SpeechRecognizer.from_pretrained(tmp_path / "mine")


@pytest.mark.parametrize("name", TASKS)
def test_the_line_of_a_task_leads_to_its_model_and_its_objective(name):
    task = TASKS[name]
    assert task.model is getattr(downstream, task.model_name) is objective_of(name).model
    assert (task.model.task, task.name) == (name, name)
    own = inspect.signature(getattr(task.model, task.method)).parameters
    assert {option.name: option.default for option in task.options}.items() <= {
        name: parameter.default for name, parameter in own.items()
    }.items()


@pytest.mark.parametrize(
    "text, upper, expected",
    [
        ("It\u2019s  'fine', isn't it?", True, "IT'S FINE ISN'T IT"),
        ("Grüße, Welt!", False, "Grüße Welt"),
        ("a-b\tc\n42", True, "A B C 42"),
        ("''", True, ""),
        ("co\u00adoperate a\u2060b \u200eword\u200f", False, "cooperate ab word"),  # soft hyphen, joiner, directions
        ("col·lega, a · b·", False, "col·lega a b"),
        # Sinhala with a joiner, Persian with a non-joiner
        ("\u0dc1\u0dca\u200d\u0dbb\u0dd3 \u200d", False, "\u0dc1\u0dca\u200d\u0dbb\u0dd3"),
        ("\u0645\u06cc\u200c\u062e\u0648", False, "\u0645\u06cc\u200c\u062e\u0648"),
        ("สวัสดี\u200bครับ", False, "สวัสดี ครับ"),  # a zero-width space is one
        ("👩\u200d🔬 ok", True, "OK"),
    ],
)
def test_normalized_text(text, upper, expected):
    assert normalize(text, upper=upper) == expected


def test_text_to_numbers_and_back():
    characters = TextCodec.fit(["Hello world", "the cat"])
    assert characters.decode(characters.encode("the world")) == "THE WORLD"
    assert characters.size == len(set("HELLO WORLD THE CAT")) + 1
    assert min(characters.encode("the world")) == 1 == characters.space
    subwords = TextCodec.fit(["the cat sat on the mat", "the hat"] * 5, subwords=25)
    numbers = subwords.encode("the mat")
    assert subwords.decode(numbers) == "THE MAT" and len(numbers) < len("THE MAT") and min(numbers) >= 1
    assert TextCodec(subwords.config).encode("the mat") == numbers
    with pytest.raises(TextError, match="'B'"):
        subwords.encode("bat")


def test_edit_distance():
    assert edit_distance("KITTEN", "SITTING") == 3
    assert edit_distance("", "ABC") == 3 == edit_distance("ABC", "")
    assert edit_distance(["A", "B"], ["A", "C", "B"]) == 1


def path_sums(probabilities: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of each label sequence, from all paths."""
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(probabilities.shape[1]), repeat=len(probabilities)):
        labels = tuple(label for label, _ in itertools.groupby(path) if label)
        sums[labels] = sums.get(labels, 0) + float(
            np.prod([row[p] for row, p in zip(probabilities, path, strict=True)])
        )
    return sums


@pytest.mark.parametrize("seed", range(4))
def test_beam_search_finds_the_likeliest_labels(seed):
    scores = 1.5 * torch.randn(6, 3, generator=torch.Generator().manual_seed(seed))
    sums = path_sums(scores.softmax(1).numpy())
    assert tuple(beam_search(scores.log_softmax(1), beam=50)) == max(sums, key=sums.__getitem__)


def test_best_path_merges_and_drops_blanks():
    path = [0, 2, 2, 0, 2, 1, 1, 0]
    assert best_path(torch.nn.functional.one_hot(torch.tensor(path)).float()) == [2, 2, 1]


@pytest.mark.parametrize("labels", [[1], [1, 2], [2, 2], [1, 2, 1]])
def test_alignment_is_the_likeliest_path(labels):
    probabilities = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)).softmax(1)
    best = max(
        (p for p in itertools.product(range(3), repeat=6) if [k for k, _ in itertools.groupby(p) if k] == labels),
        key=lambda path: float(np.prod([row[p] for row, p in zip(probabilities.numpy(), path, strict=True)])),
    )
    firsts = [t for t, label in enumerate(best) if label and (t == 0 or best[t - 1] != label)]
    assert align(probabilities.log(), labels).tolist() == firsts


def test_a_text_too_long_for_its_speech_is_told():
    with pytest.raises(TextError, match="2 steps of speech are too few for a text of 2 units"):
        align(torch.zeros(2, 4), [1, 1])


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_pushed_to_the_hub_and_loaded_from_there(tokenizer, clips, hub_server, monkeypatch, istft_folder):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    model = make_model("lstm", tokenizer, "tiny")
    commit = model.push_to_hub("me/asr", token="writes", license="apache-2.0", datasets=["openslr/librispeech_asr"])
    loaded = DownstreamModel.from_pretrained("me/asr", tokenizer=tokenizer)
    assert loaded.source == f"me/asr@{commit}"
    assert loaded.transcribe(clips) == model.transcribe(clips)
    repo = hub_server.repos["me/asr"]
    card = repo.commits[commit]["README.md"]
    text = card.decode() if isinstance(card, bytes) else str(card)
    assert "pipeline_tag: automatic-speech-recognition" in text and "SpeechRecognizer.from_pretrained" in text
    with pytest.raises(CheckpointError, match="push the tokenizer first"):
        make_model("lstm", tokenizer, str(istft_folder)).push_to_hub("me/other", token="writes")
