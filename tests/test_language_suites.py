"""sWUGGY, sBLIMP, StoryCloze and SALMon: the layouts of their owners, what is missing, and how a model is judged."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from helpers import CLIPS, refuses, write_csv
from transformers import LlamaConfig, LlamaForCausalLM

from semtok import load_audio, save_audio
from semtok.errors import AudioError, SemtokError
from semtok.evaluation.language import evaluate_language
from semtok.evaluation.suites import Pair, read_suite
from semtok.language import UnitVocabulary
from semtok.language.model import LanguageModelConfig, SpeechLanguageModel


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def names(pairs):
    return [(pair.positive.name, pair.negative.name) for pair in pairs]


@pytest.fixture
def lexical(tmp_path):
    """sWUGGY: two words in two voices, one of them out of the vocabulary."""
    folder = touch(tmp_path / "lexical" / "dev", *(f"{name}.wav" for name in "abcdefgh"))
    rows = [
        {"filename": name, "id": number // 4, "voice": "xy"[number // 2 % 2], "correct": (number + 1) % 2}
        | {"frequency": "oov" if number >= 4 else "3"}
        for number, name in enumerate("abcdefgh")
    ]
    write_csv(folder / "gold.csv", rows)
    return tmp_path


# --- layouts


def test_zerospeech_pairs_are_of_an_id_and_a_voice(lexical):
    (task,) = read_suite(lexical).items()
    name, pairs = task
    assert name == "lexical/dev" and read_suite(lexical / "lexical" / "dev").keys() == {"dev"}
    assert names(pairs) == [("a.wav", "b.wav"), ("c.wav", "d.wav"), ("e.wav", "f.wav"), ("g.wav", "h.wav")]
    assert [(pair.item, pair.group) for pair in pairs] == [("0", "")] * 2 + [("1", "out of vocabulary")] * 2


def test_types_of_sentences_are_groups(tmp_path):
    folder = touch(tmp_path, "p.wav", "q.wav")
    rows = [{"filename": f"{name}.wav", "id": "1", "type": "agreement", "correct": int(name == "q")} for name in "pq"]
    write_csv(folder / "gold.csv", rows)
    ((pair,),) = read_suite(tmp_path).values()
    assert (pair.positive.name, pair.negative.name, pair.group) == ("q.wav", "p.wav", "agreement")


def test_salmon_has_a_folder_a_part_and_its_first_recording_is_right(tmp_path):
    for part in ("speaker_consistency", "sentiment_alignment"):
        touch(tmp_path / part, "sample_10_1.wav", "sample_10_0.wav", "sample_2_0.wav", "sample_2_1.wav")
    tasks = read_suite(tmp_path)
    assert tasks.keys() == {"sentiment_alignment", "speaker_consistency"}
    expected = [("sample_2_0.wav", "sample_2_1.wav"), ("sample_10_0.wav", "sample_10_1.wav")]
    assert all(names(pairs) == expected for pairs in tasks.values())


def test_storycloze_says_which_is_wrong_or_counts_in_turn(tmp_path):
    touch(tmp_path / "sSC", "7_correct.wav", "7_incorrect.wav", "8_correct.wav", "8_incorrect.wav")
    touch(tmp_path / "tSC", "0_x.wav", "1_x.wav", "2_y.wav", "3_y.wav")
    spoken, topic = read_suite(tmp_path).values()
    assert names(spoken) == [("7_correct.wav", "7_incorrect.wav"), ("8_correct.wav", "8_incorrect.wav")]
    assert names(topic) == [("0_x.wav", "1_x.wav"), ("2_y.wav", "3_y.wav")]


def test_any_pairs_by_a_file_of_them(tmp_path):
    touch(tmp_path / "wav", "yes.flac", "no.flac")
    write_csv(tmp_path / "pairs.csv", [{"positive": "wav/yes.flac", "negative": "wav/no.flac", "group": "mine"}])
    ((pair,),) = read_suite(tmp_path).values()
    assert names([pair]) == [("yes.flac", "no.flac")] and pair.group == "mine"


# --- what is missing


def test_pairs_without_a_half_are_all_named(lexical, tmp_path):
    (lexical / "lexical" / "dev" / "b.wav").unlink()
    (lexical / "lexical" / "dev" / "g.wav").unlink()
    touch(tmp_path / "room_consistency", "sample_3_0.wav", "sample_4_1.wav", "sample_5_0.wav", "sample_5_1.wav")
    touch(tmp_path / "tSC", "4_x.wav", "7_y.wav")
    with refuses(SemtokError, "6 pairs") as refused:
        read_suite(tmp_path)
    for part in ("0 (x) has no wrong half beside a.wav", "1 (y) has no right half beside h.wav"):
        assert part in str(refused.value)
    for part in (
        "3 has no wrong half beside sample_3_0.wav",
        "4 has no right half",
        "4 has no wrong",
        "6 has no right",
    ):
        assert part in str(refused.value)


def test_what_is_no_suite_is_refused(tmp_path):
    with refuses(SemtokError, "no suite", "nowhere"):
        read_suite(tmp_path / "nowhere")
    with refuses(SemtokError, "no pairs"):
        read_suite(tmp_path)
    touch(tmp_path / "odd", "speech.wav")
    with refuses(SemtokError, "'speech'", "gold.csv"):
        read_suite(tmp_path)
    touch(tmp_path / "twice", "1_correct.wav", "1_correct_too.wav", "1_incorrect.wav")
    with refuses(SemtokError, "2 recordings for one half of pair 1", "1_correct.wav"):
        read_suite(tmp_path / "twice")
    (touch(tmp_path / "gold") / "gold.csv").write_text("filename,word\na,b\n")
    with refuses(SemtokError, "no columns correct, id"):
        read_suite(tmp_path / "gold")


# --- models


class Stub:
    """Finds what its path says: bits a token, tokens, and seconds."""

    vocabulary = SimpleNamespace(layers=(1,))

    @property
    def tokenizer(self):
        return SimpleNamespace(encode=lambda path, layers: self.read(path))

    @staticmethod
    def read(path):
        bits, count, seconds = map(float, path.stem.split("-"))
        return SimpleNamespace(bits=torch.full((int(count),), bits), durations=torch.tensor([seconds]))

    @staticmethod
    def bits(tokens):
        return [tokens.bits]


def test_accuracy_is_by_token_and_by_second_and_an_item_counts_once(tmp_path):
    def pair(item, positive, negative, group=""):
        return Pair(item, tmp_path / f"{positive}.wav", tmp_path / f"{negative}.wav", group)

    pairs = [
        pair("one", "2-10-1", "3-10-1"),  # right either way
        pair("one", "3-10-1", "2-10-1"),  # the other voice is wrong
        pair("two", "2-10-1", "3-5-1", "rare"),  # right by token, wrong by second: 20 against 15 bits
        pair("three", "2-10-1", "2-10-1", "rare"),  # a tie
    ]
    accuracies = evaluate_language(Stub(), {"task": pairs})
    assert accuracies.keys() == {"task", "task: others", "task: rare"}
    assert accuracies["task"].items == 3 and accuracies["task: rare"].items == 2
    assert accuracies["task"].by_token == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert accuracies["task"].by_second == pytest.approx((0.5 + 0 + 0.5) / 3)
    low, high = accuracies["task"].token_interval
    assert low <= accuracies["task"].by_token <= high


@pytest.fixture(scope="module")
def model_folder(tokenizer, istft_folder, tmp_path_factory):
    vocabulary = UnitVocabulary.of(tokenizer, layers=[4])
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    torch.manual_seed(0)
    network = LlamaForCausalLM(LlamaConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **sizes))
    folder = tmp_path_factory.mktemp("model")
    SpeechLanguageModel(network, LanguageModelConfig(1, str(istft_folder), vocabulary)).save_pretrained(folder)
    return folder


def test_the_command_reports_with_published_figures_beside(run, model_folder, tmp_path):
    suite = tmp_path / "suite" / "speaker_consistency"
    suite.mkdir(parents=True)
    wav = load_audio(CLIPS[0])
    for number in range(2):
        for half in range(2):
            save_audio(suite / f"sample_{number}_{half}.wav", wav[4000 * number + 9000 * half :][:8000])
    code, out, _ = run("evaluate", "language", model_folder, "--suite", suite.parent, "-o", tmp_path / "report")
    assert code == 0 and "speaker_consistency | 2 |" in out
    numbers = json.loads((tmp_path / "report" / "language.json").read_text(encoding="utf-8"))
    model = SpeechLanguageModel.from_pretrained(model_folder)
    means = [
        [float(model.bits(model.tokenizer.encode(suite / f"sample_{number}_{half}.wav", layers=[4]))[0].mean())]
        for number in range(2)
        for half in range(2)
    ]
    wins = [means[0] < means[1], means[2] < means[3]]
    assert numbers["tasks"]["speaker_consistency"]["by_token"] == sum(wins) / 2
    assert {"TWIST-7B", "Slam (scaled)"} <= {row["system"] for row in numbers["published"]}
    assert "slamkit" in out and "salmon" in out


def test_a_benchmark_has_the_accuracies_of_the_tokenizer_of_the_model(run, model_folder, istft_folder, tmp_path):
    suite = tmp_path / "suite"
    suite.mkdir()
    wav = load_audio(CLIPS[0])
    for number in range(4):
        save_audio(suite / f"{number}_x.wav", wav[4000 * number :][:8000])
    options = ["--suite", suite, "--language-model", model_folder, "-o", tmp_path / "report"]
    code, _, err = run("benchmark", istft_folder, f"{istft_folder}:4", *options)
    assert code == 0, err
    whole, alone = json.loads((tmp_path / "report" / "benchmark.json").read_text(encoding="utf-8"))["entries"]
    (expected,) = evaluate_language(SpeechLanguageModel.from_pretrained(model_folder), read_suite(suite)).values()
    assert alone["figures"].keys() == whole["missing"].keys() == {"suite, by token", "suite, by second"}
    assert alone["figures"]["suite, by token"]["value"] == expected.by_token and not alone["missing"]
    assert alone["figures"]["suite, by second"]["clips"] == expected.items == 2
    assert "no language model given is of its tokens and layers" in whole["missing"]["suite, by token"]
    code, _, err = run("benchmark", istft_folder, *options)
    assert code == 1 and "no language model is of these tokenizers and layers" in err and "layers 4 of" in err
    code, _, err = run("benchmark", istft_folder, *options[:2], "-o", tmp_path / "none")
    assert code == 2 and "need each other" in err


def test_a_recording_that_cannot_be_read_is_an_error(model_folder, tmp_path):
    touch(tmp_path, "0_correct.wav", "0_incorrect.wav")
    with pytest.raises(AudioError):
        evaluate_language(SpeechLanguageModel.from_pretrained(model_folder), read_suite(tmp_path))
