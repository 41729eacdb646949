"""n-gram language models: their files, how they are made of texts, and how they lead the search of a recogniser."""

from __future__ import annotations

import gzip
import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from helpers import CLIPS, refuses
from task_models import make_model

from semtok.downstream import SpeechRecognizer
from semtok.downstream.arpa import BEGIN, END, SPACE, UNKNOWN, BackoffModel
from semtok.downstream.ctc import beam_search, best_path
from semtok.downstream.decoding import DecodingConfig, TextScorer
from semtok.errors import ConfigError, TextError
from semtok.training.downstream.witten_bell import estimate, spell, split_words

TEXTS = ["A BAD CAB", "A CAB", "A BAD BAD DAB", "CAB A"]
# What SRILM's documentation of the format shows: words, backoff weights, and spaces between columns.
ARPA = """what stands before the data says nothing

\\data\\
ngram 1=5
ngram  2=2

\\1-grams:
-99 <s> -0.3010
-0.6021\t</s>
-0.6021\tA\t-0.1761
-0.4\tBAD
-1.5\t<unk>

\\2-grams:
-0.1\t<s> A
-0.2\tA BAD

\\end\\
"""


@pytest.fixture(params=["words", "characters"])
def model(request) -> BackoffModel:
    return estimate(map(split_words if request.param == "words" else spell, TEXTS), 3)


def write(tmp_path, text):
    path = tmp_path / "model.arpa"
    path.write_text(text)
    return path


def test_scores_are_those_of_the_file_or_backed_off(tmp_path):
    model = BackoffModel.load(write(tmp_path, ARPA))
    assert (model.order, model.of_characters) == (2, False)
    expected = {
        (BEGIN, "A"): -0.1,
        (BEGIN, "BAD"): -0.3010 - 0.4,
        ("BAD", "A"): -0.6021,
        ("A", "BAD"): -0.2,
        ("A", "NEVER"): -0.1761 - 1.5,
        ("NEVER", END): -0.6021,
    }
    for (context, unit), score in expected.items():
        assert model.score(("BAD", context), unit) == pytest.approx(score * math.log(10))


def test_a_model_is_the_same_after_it_is_written(model, tmp_path):
    for name in ("model.arpa", "model.arpa.gz"):
        model.save(tmp_path / name)
        again = BackoffModel.load(tmp_path / name)
        assert again.grams.keys() == model.grams.keys() and again.of_characters == model.of_characters
        for gram, numbers in model.grams.items():
            assert again.grams[gram] == pytest.approx(numbers, rel=1e-4)
    assert gzip.decompress((tmp_path / "model.arpa.gz").read_bytes()) == (tmp_path / "model.arpa").read_bytes()


def test_what_may_follow_sums_to_one_whatever_came_before(model):
    units = sorted(model.units - {BEGIN})
    for context in itertools.product([*units, BEGIN, "NEVER"], repeat=2):
        assert sum(math.exp(model.score(context, unit)) for unit in units) == pytest.approx(1)


def test_estimates_are_witten_and_bells():
    model = estimate(map(split_words, TEXTS), 2)
    words = [(BEGIN, *text.split(), END) for text in TEXTS]
    once = Counter(word for text in words for word in text[1:])
    pairs = Counter(pair for text in words for pair in itertools.pairwise(text))
    total, kinds = sum(once.values()), len(once)

    def single(word):
        return (once[word] + kinds / (kinds + 1)) / (total + kinds)

    for context in [BEGIN, "A", "BAD", "CAB"]:
        followers = [count for (first, _), count in pairs.items() if first == context]
        for word in [*once, "NEVER"]:
            expected = (pairs[context, word] + len(followers) * single(word)) / (sum(followers) + len(followers))
            assert math.exp(model.score((context,), word)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("\\data\\", "data"), "no line"),
        (("ngram 1=5", "ngram 1=4"), "says 4 1-grams"),
        (("ngram 1=5", "ngram 1=6"), "says 6 1-grams"),
        (("ngram 1=5", "ngram 1=999999999"), "expected 1 to 20000000"),
        (("ngram  2=2", "ngram  3=2"), "out of order"),
        (("\\end\\", ""), "does not end"),
        (("-0.2\tA BAD\n\n\\end\\", ""), "has 1"),
        (("-0.4\tBAD", "-0.4\tA"), "comes twice"),
        (("A BAD", "A DAB"), "no 1-grams"),
        (("-0.4\tBAD", "BAD"), "expected a number"),
        (("-0.4\tBAD", "0.4\tBAD"), "at most 0"),
        (("-0.4\tBAD", "nan\tBAD"), "finite"),
        (("-0.4\tBAD", "-0.4\t" + "B" * 3000), "longer than"),
        (("\\2-grams:", "\\4-grams:"), "should begin"),
    ],
)
def test_files_that_are_wrong_are_told(tmp_path, change, message):
    assert change[0] in ARPA
    with refuses(TextError, message):
        BackoffModel.load(write(tmp_path, ARPA.replace(*change, 1)))


def test_files_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "cut.arpa.gz").write_bytes(gzip.compress(ARPA.encode())[:-20])
    (tmp_path / "other.arpa.gz").write_bytes(b"no gzip")
    (tmp_path / "bytes.arpa").write_bytes(b"\\data\\\n\xff\xfe\n")
    for name in ("cut.arpa.gz", "other.arpa.gz", "bytes.arpa", "gone.arpa"):
        with pytest.raises(TextError):
            BackoffModel.load(tmp_path / name)
    with pytest.raises(TextError, match="no texts"):
        estimate([], 2)


def all_texts(probabilities: np.ndarray) -> dict[tuple[int, ...], float]:
    """The log-probability of each label sequence, from all paths."""
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(probabilities.shape[1]), repeat=len(probabilities)):
        labels = tuple(label for label, _ in itertools.groupby(path) if label)
        sums[labels] = sums.get(labels, 0) + float(np.prod(probabilities[np.arange(len(path)), path]))
    return {labels: math.log(total) for labels, total in sums.items()}


def language_score(model: BackoffModel, text: str, config: DecodingConfig) -> float:
    """Of a whole text, without a search."""
    units = spell(text) if model.of_characters else text.split()
    context, total = (BEGIN,), 0.0
    for unit in [*units, END]:
        total += config.weight * model.score(context, unit)
        context = (*context, unit)
    return total + config.bonus * len(units)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("config", [DecodingConfig(2000, 0.7, 1.5), DecodingConfig(2000, 1.5, -0.5)])
def test_the_search_is_exact_where_its_beam_holds_all(model, config, seed):
    pieces = [" ", "A", "B", "C"]
    scores = 1.5 * torch.randn(6, 5, generator=torch.Generator().manual_seed(seed))
    sums = all_texts(scores.double().softmax(1).numpy())
    totals = {
        labels: score + language_score(model, "".join(pieces[label - 1] for label in labels), config)
        for labels, score in sums.items()
    }
    found = beam_search(scores.log_softmax(1), config.beam, TextScorer(model, pieces, config))
    assert totals[tuple(found)] == pytest.approx(max(totals.values()))


def test_a_language_model_mends_what_is_heard():
    pieces = [" ", "A", "B", "C", "D"]
    heard = torch.full((11, 6), -6.0)
    for step, label in enumerate([2, 0, 1, 0, 4, 0, 2, 0, 3, 0, 0]):  # A CAB
        heard[step, label] = 0.0
    heard[4, 5] = 0.2  # A DAB, a little likelier, and a word too
    assert "".join(pieces[label - 1] for label in best_path(heard)) == "A DAB"
    scorer = TextScorer(estimate(map(split_words, TEXTS), 3), pieces, DecodingConfig(8, 1.0))
    assert "".join(pieces[label - 1] for label in beam_search(heard.log_softmax(1), 8, scorer)) == "A CAB"


def test_a_recogniser_keeps_its_language_model_and_takes_another(tokenizer, tmp_path, run):
    recogniser = make_model("conformer", tokenizer)
    plain = recogniser.transcribe(CLIPS[0], beam=4)
    recogniser.language_model = estimate(map(spell, ["HELLO WORLD", "HELLO BOB"]), 3)
    led = recogniser.transcribe(CLIPS[0], beam=4, lm_weight=2, insertion_bonus=1)
    assert led != plain == recogniser.transcribe(CLIPS[0], beam=4, lm_weight=0)
    recogniser.save_pretrained(tmp_path / "model")
    loaded = SpeechRecognizer.from_pretrained(tmp_path / "model", tokenizer=tokenizer)
    assert loaded.transcribe(CLIPS[0], beam=4, lm_weight=2, insertion_bonus=1) == led
    estimate(map(split_words, ["HELLO WORLD"]), 2).save(tmp_path / "words.arpa")
    other = loaded.transcribe(CLIPS[0], beam=4, language_model=tmp_path / "words.arpa", insertion_bonus=5)
    assert other != led


def test_a_model_of_other_letters_and_weights_without_sense_are_refused(tokenizer, tmp_path):
    recogniser = make_model("conformer", tokenizer)
    with refuses(TextError, "none of which can be written", "capitals"):
        recogniser.transcribe(CLIPS[0], language_model=estimate(map(spell, ["hello"]), 2))
    with pytest.raises(ConfigError, match="weight must lie in"):
        recogniser.transcribe(CLIPS[0], beam=2, lm_weight=-1)
    assert {UNKNOWN, SPACE} <= estimate([spell("A B")], 1).units
