"""Language models: what they are trained on, what they say next, and what they are worth."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import CLIPS, ROOT, copy_clips, refuses
from language_data import equal, make_tokens
from safetensors.torch import load_file, save_file

from semtok import Tokenizer, Tokens, Vocoder, corpus, load_audio
from semtok.errors import CheckpointError, ConfigError, SemtokError, TextError, TokensError
from semtok.language import UnitVocabulary, Word, read_words, shuffle_words
from semtok.language.model import SpeechLanguageModel
from semtok.training.config import load_config
from semtok.training.language.config import LanguageConfig
from semtok.training.language.sources import load_utterances
from semtok.training.steps import train

CONFIG = """
model: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}
length: 32
batch_size: 2
steps: 6
learning_rate: 0.01
warmup_steps: 1
validation_clips: 1
test_clips: 1
save_every: 3
log_every: 1
word_orders: 3
"""


@pytest.fixture(scope="module")
def room(istft_folder, tmp_path_factory):
    """Tokens of the three recordings, as `semtok encode` writes them, a file of words, and a config."""
    room = tmp_path_factory.mktemp("language")
    tokenizer = Tokenizer.from_pretrained(istft_folder)
    (room / "tokens" / "deep").mkdir(parents=True)
    lines = []
    for clip in CLIPS:
        tokenizer.encode(clip).save(room / "tokens" / "deep" / f"{clip.stem}.safetensors")
        words = [["one", 0.2, 0.3], ["two", 0.5, 0.4], ["three", 1.0, 0.5]]
        lines.append(json.dumps({"path": f"deep/{clip.name}", "words": words}))
    (room / "words.jsonl").write_text("\n".join(lines))
    head = f"folder: {room}/run\ndata: [{room}/tokens]\ncheckpoint: {istft_folder}\nwords: {room}/words.jsonl\n"
    (room / "config.yaml").write_text(head + CONFIG)
    return room


def run_training(room, name, *changes):
    train("language", str(room / "config.yaml"), [f"folder={room / name}", *changes])
    return room / name


@pytest.fixture(scope="module")
def trained(room):
    """A model of the deepest layer, and one of two layers with durations."""
    run_training(room, "frames")
    return run_training(room, "durations", "max_duration=4", "layers=[4,1]", "length=128")


@pytest.fixture(scope="module")
def models(room, trained):
    return {name: SpeechLanguageModel.from_pretrained(room / name / "best") for name in ("frames", "durations")}


def test_a_run_reads_the_deepest_layer_by_default(models):
    assert models["frames"].vocabulary.layers == (4,)
    assert models["durations"].vocabulary.layers == (4, 1)


def test_a_run_is_logged_and_tested_beside_ngrams(room, trained):
    lines = [json.loads(line) for line in (room / "frames" / "log.jsonl").read_text().splitlines()]
    assert {"bits", "steps_per_second"} <= lines[0].keys()
    assert [line["step"] for line in lines if "valid_bits" in line] == [3, 6]
    result = json.loads((room / "frames" / "test.json").read_text())
    assert result["clips"] == 1 and result["word_order"]["pairs"] == 3
    order = result["word_order"]
    for numbers in (result["bits"], result["bits_per_second"], order["right"], order["right_away_from_cuts"]):
        assert list(numbers) == ["model", "unigram", "5-gram"]
    # 12 codes, begin and end; a frame is an id, and the end one more
    assert 1 < result["bits"]["model"] < math.log2(14) + 1
    assert 49 < result["bits_per_second"]["model"] / result["bits"]["model"] < 51
    # a unigram cannot tell orders apart, nor a 5-gram away from cuts
    assert order["right"]["unigram"] == order["right_away_from_cuts"]["5-gram"] == 0.5
    assert all(0 <= share <= 1 for share in (*order["right"].values(), *order["right_away_from_cuts"].values()))
    with_durations = json.loads((room / "durations" / "test.json").read_text())["word_order"]
    assert "right" in with_durations and "right_away_from_cuts" not in with_durations


def test_a_model_may_be_saved_in_half_precision(room, trained):
    half = run_training(room, "half", "half_precision=true") / "best"
    whole = room / "frames" / "best"
    assert (half / "model.safetensors").stat().st_size < 0.7 * (whole / "model.safetensors").stat().st_size
    for (name, one), (_, other) in zip(
        *(SpeechLanguageModel.from_pretrained(at).network.state_dict().items() for at in (half, whole)), strict=True
    ):
        assert one.dtype == torch.float32 and torch.equal(one, other.half().float()), name


def test_transformers_loads_the_network(room, trained):
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(room / "frames" / "best")
    assert network.config.vocab_size == 14 and network.config.eos_token_id == 13


@torch.inference_mode()
def test_bits_are_those_of_transformers_loss(models, room):
    model = models["frames"]
    tokens = Tokens.cat([Tokens.load(path) for path in sorted((room / "tokens").rglob("*.safetensors"))])
    short = tokens.cut(0, 30)  # with begin and end 32, the model's context
    for number, bits in enumerate(model.bits(short)):
        (ids,) = model.vocabulary.to_ids(short[number])
        loss = model.network(ids[None], labels=ids[None]).loss
        assert float(bits.mean()) * math.log(2) == pytest.approx(float(loss), rel=1e-4)
    for number, bits in enumerate(model.bits(tokens)):
        (ids,) = model.vocabulary.to_ids(tokens[number])
        assert len(bits) == len(ids) - 1
        assert torch.allclose(bits, model.bits(tokens[number])[0], rtol=1e-3)
        # ids 32 ... 47 are predicted from id 16 on
        loss = model.network(ids[None, 16:48]).logits[0, 15:-1].log_softmax(1).gather(1, ids[32:48, None])
        assert torch.allclose(bits[31:47], -loss[:, 0] / math.log(2), rtol=1e-3)


@pytest.mark.parametrize("name", ["frames", "durations"])
def test_a_continuation_follows_its_prompt(models, tokenizer, name):
    model = models[name]
    prompts = tokenizer.encode(CLIPS[:2])
    longer = model.continue_tokens(prompts, 0.5, seed=1)
    assert longer.layers == model.vocabulary.layers
    assert longer.lengths.tolist() == (prompts.lengths + 25).tolist()
    Tokens(longer.codes, longer.lengths, longer.layers, 50.0, longer.codebook_sizes, longer.fingerprint)
    for prompt, utterance in zip(prompts.select(longer.layers), longer, strict=True):
        assert equal(utterance.cut(0, int(prompt.lengths[0])), prompt)
    assert equal(model.continue_tokens(prompts[1], 0.5, seed=1), longer[1])
    assert not equal(model.continue_tokens(prompts, 0.5, seed=2), longer)


def test_the_likeliest_is_drawn_alone(models, tokenizer):
    model, prompt = models["frames"], tokenizer.encode(CLIPS[0]).cut(0, 10)
    cold = model.continue_tokens(prompt, 0.4, temperature=1e-4)
    assert equal(cold, model.continue_tokens(prompt, 0.4, top_k=1, seed=5))
    (ids,) = model.vocabulary.to_ids(cold)
    with torch.inference_mode():
        scores = model.network(ids[None, :-2]).logits[0, -1, : model.vocabulary.begin_id]
    assert int(scores.argmax()) == int(ids[-2])


def test_long_prompts_keep_their_last_part(models, tokenizer):
    """The context is 32 ids: begin, and 15 frames of the prompt at least."""
    model, prompt = models["frames"], tokenizer.encode(CLIPS[0])
    frames = int(prompt.lengths[0])
    whole = model.continue_tokens(prompt, 0.6, top_k=1)
    last = model.continue_tokens(prompt.cut(frames - 15, frames), 0.6, top_k=1)
    assert equal(whole.cut(frames, frames + 30), last.cut(15, 45))


def test_continuations_that_cannot_be_are_refused(models, tokenizer, other_folder):
    model, prompt = models["frames"], tokenizer.encode(CLIPS[0])
    with refuses(TokensError, "at least a frame (0.02 s)", "got 0 s, 1.0 and None"):
        model.continue_tokens(prompt, 0)
    with refuses(TokensError, "got 1 s, -1 and 0"):
        model.continue_tokens(prompt, 1, temperature=-1, top_k=0)
    with refuses(TokensError, "this vocabulary takes those of"):
        model.continue_tokens(Tokenizer.from_pretrained(other_folder).encode(CLIPS[0]), 1)


def test_a_model_of_another_checkpoint_by_now_is_refused(room, trained, other_folder, tmp_path):
    model = SpeechLanguageModel.from_pretrained(room / "frames" / "best")
    model.save_pretrained(tmp_path)
    entries = json.loads((tmp_path / "language.json").read_text())
    (tmp_path / "language.json").write_text(json.dumps(entries | {"checkpoint": str(other_folder)}))
    with refuses(CheckpointError, "this model is of tokenizer", "train the model anew"):
        SpeechLanguageModel.from_pretrained(tmp_path).continue_speech(CLIPS[0], 1)
    (tmp_path / "language.json").write_text(json.dumps(entries | {"format_version": 2}))
    with refuses(ConfigError, "format_version must be 1, got 2"):
        SpeechLanguageModel.from_pretrained(tmp_path)
    with refuses(CheckpointError, "no file language.json"):
        SpeechLanguageModel.from_pretrained(other_folder)


def test_damaged_weights_are_refused(room, trained, tmp_path):
    folder = shutil.copytree(room / "frames" / "best", tmp_path / "model")
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}, weights, {"format": "pt"})
    with refuses(CheckpointError, "model.safetensors does not fit", "lm_head.weight"):
        SpeechLanguageModel.from_pretrained(folder)
    weights.write_bytes(weights.read_bytes()[:500])
    with refuses(CheckpointError, "model.safetensors: it is truncated", "fetch it again"):
        SpeechLanguageModel.from_pretrained(folder)


def test_the_config_of_a_network_chooses_neither_weights_nor_memory(room, trained, tmp_path):
    folder = shutil.copytree(room / "frames" / "best", tmp_path / "model")
    path, weights = folder / "config.json", load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, folder / "other.safetensors", {"format": "pt"})
    entries = json.loads(path.read_text())
    path.write_text(json.dumps(entries | {"transformers_weights": "other.safetensors"}))
    state = SpeechLanguageModel.from_pretrained(folder).network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in weights.items())
    for sizes in ({"vocab_size": 1 << 30}, {"num_hidden_layers": 1 << 30}, {"model_type": "wavlm"}):
        path.write_text(json.dumps(entries | sizes))
        with refuses(SemtokError, str(folder)):
            SpeechLanguageModel.from_pretrained(folder)


def test_continue_writes_prompt_and_continuation(run, room, trained, tmp_path, istft_folder):
    target = tmp_path / "out.wav"
    code, _, err = run("continue", CLIPS[0], "--model", room / "frames" / "best", "--seconds", 0.5, "-o", target)
    assert code == 0 and "0.5 s more" in err
    waveform = load_audio(target)
    prompt = Tokenizer.from_pretrained(istft_folder).encode(CLIPS[0], layers=[4])
    assert len(waveform) == (int(prompt.lengths[0]) + 25) * 320
    decoded = Vocoder.from_pretrained(istft_folder).decode(prompt)[0]
    half = len(decoded) // 2
    assert torch.allclose(waveform[:half], decoded[:half], atol=1e-3)
    options = ("--model", room / "frames" / "best", "--seconds", 0.5, "--prompt-seconds", 1, "-o", target)
    code, _, err = run("continue", CLIPS[0], *options)
    assert code == 0 and "1.0 s of prompt and 0.5 s more" in err and len(load_audio(target)) == 75 * 320
    code, _, err = run("continue", CLIPS[0], "--model", room / "tokens", "-o", target)
    assert code == 1 and "no file language.json" in err


def test_tokens_that_cannot_be_trained_on_are_refused(room, istft_folder, tmp_path):
    copy_clips(tmp_path / "audio")
    with refuses(TokensError, "there are no tokens in", "semtok encode-corpus FOLDER"):
        run_training(room, "x", f"data=[{tmp_path}/audio]")
    with refuses(TokensError, "3 utterances, 2 of them for validation and 1 for test"):
        run_training(room, "x", "validation_clips=2")
    (tmp_path / "tokens").mkdir()
    make_tokens([[0]], sizes={4: (12,)}).save(tmp_path / "tokens" / "x.safetensors")
    with refuses(TokensError, "tokenizer print, the checkpoint, for x of", "takes those of"):
        run_training(room, "x", f"data=[{tmp_path}/tokens]")
    with refuses(ConfigError, "length must be at least 2"):
        run_training(room, "x", "length=1")
    (tmp_path / "words.jsonl").write_text('{"path": "elsewhere.flac", "words": [["a", 0, 1], ["b", 1, 1]]}')
    with refuses(TextError, "none of 1 test clips, such as deep/", "has two words in", "must end as theirs"):
        run_training(room, "x", f"words={tmp_path}/words.jsonl")
    assert not (room / "x" / "log.jsonl").exists()


def test_a_corpus_says_what_is_for_training(room, istft_folder, tmp_path):
    rows = [f"{clip},{split}" for clip, split in zip(CLIPS, ("test", "train", "valid"), strict=True)]
    rows.append(f"{CLIPS[0]},other")
    ids = ["a", "b", "c", "d"]
    lines = ["path,split,id", *(f"{row},{name}" for row, name in zip(rows, ids, strict=True))]
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    tokenizer = Tokenizer.from_pretrained(istft_folder)
    corpus.encode_corpus(tokenizer, tmp_path / "clips.csv", tmp_path / "corpus")
    config = load_config(
        room / "config.yaml", LanguageConfig, [f"data=[{tmp_path}/corpus]", "leave_out_splits=[other]"]
    )
    utterances = load_utterances(config, UnitVocabulary.of(tokenizer, layers=[3]))
    assert [[u.name for u in part] for part in (utterances.training, utterances.validation, utterances.test)] == [
        *(["b"], ["c"], ["a"])
    ]
    assert equal(utterances.test[0].tokens, tokenizer.encode(CLIPS[0], layers=[3]))


WORDS = [Word("a", 0.02, 0.04), Word("b", 0.06, 0.02), Word("c", 0.12, 0.02)]


def test_words_change_places_and_pauses_stay():
    # pause 0; a 1 2; b 3; pause 4 5; c 6; pause 7
    tokens = make_tokens([[0, 1, 2, 3, 4, 5, 6, 7]], sizes={7: (8,)})
    orders = set()
    for seed in range(40):
        shuffled, before = shuffle_words(tokens, WORDS, np.random.default_rng(seed))
        assert shuffled.codes[0, 0].tolist() == before.tolist()
        orders.add(tuple(before.tolist()))
    assert orders == {
        (0, 1, 2, 6, 4, 5, 3, 7),
        (0, 3, 1, 2, 4, 5, 6, 7),
        (0, 3, 6, 4, 5, 1, 2, 7),
        (0, 6, 1, 2, 4, 5, 3, 7),
        (0, 6, 3, 4, 5, 1, 2, 7),
    }
    with refuses(TextError, "two words", "got 1"):
        shuffle_words(tokens, WORDS[:1], np.random.default_rng(0))


def test_files_of_words_are_read_or_refused(tmp_path):
    path = tmp_path / "words.jsonl"
    path.write_text(
        '{"path": "a/b.flac", "words": [["hi", 0.5, 0.25]]}\n{"path": "c\u2028d\x85", "words": []}\n', "utf-8"
    )
    assert read_words(path) == {"a/b": [Word("hi", 0.5, 0.25)], "c\u2028d\x85": []}
    path.write_text('{"path": "a/b.flac", "words": [["hi", 0.5, 0.25]]}\n{"path": "c"}\n')
    with refuses(TextError, "line 2 of", "KeyError('words')"):
        read_words(path)
    with refuses(TextError, "no file of words"):
        read_words(tmp_path / "gone.jsonl")


def test_the_tutorial_runs(run, tmp_path, monkeypatch):
    """The commands of docs/language-models.md, with its config, on three recordings."""
    monkeypatch.chdir(tmp_path)
    copy_clips(tmp_path / "recordings")
    shutil.copy(CLIPS[0], "prompt.flac")
    page = (ROOT / "docs" / "language-models.md").read_text()
    (config,) = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "language.yaml").write_text(config)
    commands = re.findall(r"^semtok (.+)$", page, re.M)
    assert [command.split()[0] for command in commands] == ["encode-corpus", "train", "continue"]
    for command in commands:
        assert run(*shlex.split(command))[0] == 0, command
    added = len(load_audio("continued.wav")) - len(load_audio("prompt.flac"))
    assert 3.9 < added / 16000 < 4
    assert json.loads(Path("runs/language/test.json").read_text())["clips"] == 1
