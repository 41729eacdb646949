"""Tokens of a corpus as trainers of language models read them: conversations, and documents of ids."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import helpers
import numpy as np
import pytest
import torch
from helpers import CLIPS, copy_clips
from language_data import make_text_tokenizer
from test_corpus_formats import encode

from semtok import Tokenizer, corpus
from semtok.errors import CorpusError
from semtok.language import UnitVocabulary, separate

refuses = partial(helpers.refuses, CorpusError)
ROWS = [{"text": "the cat"}, {"text": "sat {down}"}, {"text": "the cat sat"}]
TEMPLATE = "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }} {{ eos_token }}{% endfor %}"


@pytest.fixture(scope="module")
def encoded(tokenizer, tmp_path_factory) -> Path:
    return encode(tokenizer, tmp_path_factory.mktemp("encoded"), ROWS)


@pytest.fixture(scope="module")
def codes(tokenizer) -> list[np.ndarray]:
    """[rows, frames] of each recording."""
    return [tokenizer.encode(path).codes[0].numpy() for path in CLIPS]


@pytest.fixture
def spoken_tokenizer():
    """A tokenizer of text with an end token and a chat template."""
    text_tokenizer = make_text_tokenizer()
    text_tokenizer.add_special_tokens({"eos_token": "</s>", "pad_token": "<pad>"})
    text_tokenizer.chat_template = TEMPLATE
    return text_tokenizer


def test_conversations_with_speech_in_the_answer(encoded, codes, tmp_path, spoken_tokenizer, datasets_cache):
    import datasets

    folder = tmp_path / "tts"
    written = corpus.export(encoded, "chat", folder, layers=[4])
    assert sorted(written) == sorted(folder.iterdir())
    vocabulary = UnitVocabulary.load(folder / "vocabulary.json").extend(spoken_tokenizer)
    rows = datasets.load_dataset("json", data_files=str(folder / "messages.jsonl"), split="train")
    assert rows.column_names == ["messages"]
    for row, expected, facts in zip(rows, codes, ROWS, strict=True):
        user, assistant = row["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant") and user["content"].endswith(facts["text"])
        names = assistant["content"].replace("><", "> <").split()
        assert names == ["<|begin_of_speech|>", *(f"<|s_{code}|>" for code in expected[2]), "<|end_of_speech|>"]
        ids = spoken_tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=False)
        (speech,) = [part for part in separate(ids, vocabulary, spoken_tokenizer) if not isinstance(part, str)]
        assert np.array_equal(speech.codes[0, 0], expected[2])


def test_llama_factory_finds_both_forms(encoded, tmp_path):
    corpus.export(encoded, "chat", tmp_path / "tts", layers=[4, 1])
    info = json.loads((tmp_path / "tts/dataset_info.json").read_text())
    assert list(info) == ["tts", "tts_sharegpt"]
    # what LLaMA-Factory makes of an entry: the messages of a line, by the names of their tags
    turns = []
    for entry in info.values():
        assert entry["formatting"] == "sharegpt"
        tags = entry.get(
            "tags", {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"}
        )
        lines = (tmp_path / "tts" / entry["file_name"]).read_text().splitlines()
        messages = [json.loads(line)[entry["columns"]["messages"]] for line in lines]
        assert all(
            [one[tags["role_tag"]] for one in two] == [tags["user_tag"], tags["assistant_tag"]] for two in messages
        )
        turns.append([[one[tags["content_tag"]] for one in two] for two in messages])
    assert turns[0] == turns[1] and len(turns[0]) == 3 and "<l4_" in turns[0][0][1] and "<l1_" in turns[0][0][1]


def test_recordings_are_input_and_templates_are_chosen(run, encoded, tmp_path):
    code, _, printed = run(
        *("corpus", "export", encoded, "chat", tmp_path / "asr", "--layers", "4", "--answer", "{text}"),
        *("--instruction", "Write: {audio}", "--instruction", "<audio> {audio} or {speech}?"),
    )
    assert code == 0, printed
    records = [json.loads(line) for line in (tmp_path / "asr/messages.jsonl").read_text().splitlines()]
    for record, path, row in zip(records, CLIPS, ROWS, strict=True):
        user, assistant = (message["content"] for message in record["messages"])
        assert assistant == row["text"]
        assert record["audios"] == [str(encoded.parent / path.name)]
        assert user == "Write: <audio>" or user.startswith("<audio> <audio> or <|begin_of_speech|>")
    info = json.loads((tmp_path / "asr/dataset_info.json").read_text())
    assert all(entry["columns"]["audios"] == "audios" for entry in info.values())


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"instructions": ["{question}"]}, ["needs columns question", "has text"]),
        ({"instructions": ["{text"]}, ["template '{text' is malformed"]),
        ({"instructions": []}, ["at least one instruction"]),
        ({"answer": "{audio}"}, ["recordings in the user's turn only"]),
        ({"words": "words.jsonl"}, ["chat takes no words, only vocabulary, instructions, answer"]),
    ],
)
def test_templates_are_checked(encoded, tmp_path, options, parts):
    with refuses(*parts):
        corpus.export(encoded, "chat", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_texts_that_look_like_tokens_are_named(tokenizer, tmp_path):
    rows = [{"text": "a <|s_3|> b"}, {"text": "fine"}, {"text": "an <audio> tag"}]
    tokens = encode(tokenizer, tmp_path / "corpus", rows)
    with refuses("names of tokens in them: 'b-2', 'a-1'"):
        corpus.export(tokens, "chat", tmp_path / "out", layers=[4])
    assert not (tmp_path / "out").exists()


def test_vocabularies_of_others_are_refused(encoded, tokenizer, tmp_path):
    other = UnitVocabulary(tokenizer.codebooks, 50.0, "another")
    other.save(tmp_path / "other.json")
    UnitVocabulary.of(tokenizer, layout="delay").save(tmp_path / "delay.json")
    UnitVocabulary.of(tokenizer, layers=[4, 1]).save(tmp_path / "rows.json")
    for name, part in [("other", "of tokenizer another"), ("delay", "layout delay"), ("rows", "rows l4, l1")]:
        with refuses(f"{name}.json", part):
            corpus.export(encoded, "megatron", tmp_path / "out", vocabulary=tmp_path / f"{name}.json")
    corpus.export(encoded, "megatron", tmp_path / "out", layers=[4, 1], vocabulary=tmp_path / "rows.json")


@pytest.mark.filterwarnings("ignore")  # of what trl imports
def test_trl_trains_on_the_messages(encoded, tmp_path, spoken_tokenizer, datasets_cache):
    trl = pytest.importorskip("trl")
    import datasets
    from transformers import LlamaConfig, LlamaForCausalLM

    corpus.export(encoded, "chat", tmp_path / "tts", layers=[4])
    vocabulary = UnitVocabulary.load(tmp_path / "tts/vocabulary.json").extend(spoken_tokenizer)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary.end_id + 1, **sizes))
    settings = trl.SFTConfig(
        str(tmp_path / "run"), max_steps=2, per_device_train_batch_size=2, report_to="none", bf16=False, use_cpu=True
    )
    rows = datasets.load_dataset("json", data_files=str(tmp_path / "tts/messages.jsonl"), split="train")
    before = model.get_input_embeddings().weight.detach().clone()
    trainer = trl.SFTTrainer(model, args=settings, train_dataset=rows, processing_class=spoken_tokenizer)
    assert trainer.train().global_step == 2
    changed = (model.get_input_embeddings().weight != before).any(dim=1).nonzero().flatten()
    assert set(range(vocabulary.first_id, vocabulary.end_id + 1)) & set(changed.tolist())


class IndexedDataset:
    """Megatron's index and data, read by numpy as its documentation lays them out."""

    def __init__(self, prefix: Path) -> None:
        index = prefix.with_suffix(".idx").read_bytes()
        assert index[:9] == b"MMIDIDX\0\0" and int.from_bytes(index[9:17], "little") == 1
        self.dtype = {4: np.int32, 8: np.uint16}[index[17]]
        count, documents = np.frombuffer(index, np.int64, 2, 18)
        self.counts = np.frombuffer(index, np.int32, count, 34)
        self.starts = np.frombuffer(index, np.int64, count, 34 + 4 * count)
        self.documents = np.frombuffer(index, np.int64, documents, 34 + 12 * count)
        assert len(index) == 34 + 12 * count + 8 * documents
        self.content = prefix.with_suffix(".bin").read_bytes()

    def __getitem__(self, number: int) -> list[int]:
        return np.frombuffer(self.content, self.dtype, self.counts[number], self.starts[number]).tolist()


def read_documents(folder: Path) -> list[list[int]]:
    """All documents, by numpy, and by Megatron's own reader where it is installed."""
    dataset = IndexedDataset(folder / "codes")
    documents = [dataset[number] for number in range(len(dataset.counts))]
    assert dataset.documents.tolist() == list(range(len(documents) + 1))
    if helpers.is_installed("megatron"):
        from megatron.core.datasets.indexed_dataset import IndexedDataset as Megatron

        theirs = Megatron(str(folder / "codes"))
        assert [theirs[number].tolist() for number in range(len(theirs))] == documents
        assert theirs.document_indices.tolist() == dataset.documents.tolist()
    return documents


@pytest.mark.filterwarnings("ignore")  # of what megatron imports, where it is installed
@pytest.mark.parametrize("layers", [None, [4]])
def test_megatron_reads_documents_of_a_vocabulary(encoded, codes, tmp_path, layers):
    corpus.export(encoded, "megatron", tmp_path / "ids", layers=layers)
    vocabulary = UnitVocabulary.load(tmp_path / "ids/vocabulary.json")
    facts = json.loads((tmp_path / "ids/codes.json").read_text())
    assert facts["end_of_document"] == vocabulary.end_id + 1 == facts["vocabulary_size"] - 1
    for document, expected in zip(read_documents(tmp_path / "ids"), codes, strict=True):
        assert document[-1] == facts["end_of_document"]
        tokens = vocabulary.from_ids([torch.tensor(document[:-1])])
        assert np.array_equal(tokens.codes[0], expected if layers is None else expected[2:])


@pytest.mark.filterwarnings("ignore")  # of what megatron imports, where it is installed
def test_several_corpora_become_one(encoded, codes, tokenizer, other_folder, tmp_path, run):
    copy_clips(tmp_path / "more")
    corpus.encode_corpus(tokenizer, tmp_path / "more", tmp_path / "second")
    code, _, printed = run("corpus", "export", encoded, tmp_path / "second", "megatron", tmp_path / "ids")
    assert code == 0, printed
    vocabulary = UnitVocabulary.load(tmp_path / "ids/vocabulary.json")
    documents = read_documents(tmp_path / "ids")
    for document, expected in zip(documents, codes * 2, strict=True):
        assert np.array_equal(vocabulary.from_ids([torch.tensor(document[:-1])]).codes[0], expected)
    for form in corpus.EXPORTERS:
        with refuses("one key for several clips: 'b-2', 'b-10', 'a-1'"):
            corpus.export([encoded, encoded], form, tmp_path / "twice")
    with refuses("needs columns text", "has none"):
        corpus.export([encoded, tmp_path / "second"], "chat", tmp_path / "twice")
    corpus.encode_corpus(Tokenizer.from_pretrained(other_folder), tmp_path / "more", tmp_path / "third")
    with refuses(encoded, tokenizer.fingerprint, tmp_path / "third", "their codes mean different sounds"):
        corpus.export([encoded, tmp_path / "third"], "megatron", tmp_path / "twice")
    corpus.encode_corpus(
        Tokenizer.from_pretrained(tokenizer.source, layers=[4]), tmp_path / "more", tmp_path / "fourth"
    )
    with refuses("has rows l1, l3, l4", "choose layers that both have"):
        corpus.export([encoded, tmp_path / "fourth"], "megatron", tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("with_words", [False, True])
def test_megatron_reads_text_and_speech(encoded, codes, tmp_path, spoken_tokenizer, with_words):
    spoken_tokenizer.save_pretrained(tmp_path / "text")
    options = {"text_tokenizer": str(tmp_path / "text")}
    if with_words:
        words = [[word, 0.2 * number, 0.1] for number, word in enumerate(["the", "cat"] * 4)]
        lines = [json.dumps({"path": path.name, "words": words}) for path in CLIPS]
        (tmp_path / "words.jsonl").write_text("\n".join(lines))
        options["words"] = tmp_path / "words.jsonl"
    corpus.export(encoded, "megatron", tmp_path / "ids", layers=[4], **options)
    from transformers import AutoTokenizer

    joint = AutoTokenizer.from_pretrained(tmp_path / "ids/tokenizer")
    vocabulary = UnitVocabulary.load(tmp_path / "ids/vocabulary.json").located_in(joint)
    assert json.loads((tmp_path / "ids/codes.json").read_text())["vocabulary_size"] == len(joint)
    for document, expected, row in zip(read_documents(tmp_path / "ids"), codes, ROWS, strict=True):
        assert document[-1] == joint.eos_token_id
        parts = separate(document[:-1], vocabulary, joint)
        if not with_words:
            text, speech = parts
            assert text == joint.decode(joint.encode(row["text"])) and np.array_equal(speech.codes[0], expected[2:])
        for part in parts:
            assert (
                set(part.split()) <= {"the", "cat", "sat", "down", "<unk>"} if isinstance(part, str) else len(part) == 1
            )


def test_texts_for_documents_are_checked(encoded, tmp_path, text_tokenizer):
    text_tokenizer.save_pretrained(tmp_path / "text")
    for options, part in [
        ({"text_tokenizer": str(tmp_path / "text")}, "has no end token"),
        ({"text_tokenizer": str(tmp_path / "none")}, "no tokenizer of transformers"),
        ({"words": tmp_path / "words.jsonl"}, "name a text tokenizer too"),
    ]:
        with refuses(part):
            corpus.export(encoded, "megatron", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
